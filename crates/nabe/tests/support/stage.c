/*
 * stage: plays one odd process for a live test, and takes it away again.
 *
 *   stage ROLE [ARGUMENT…]
 *
 * When all is in place it prints one line `READY pid=… key=value…` and waits for the end of its
 * standard input (or SIGTERM); then everything that it made is gone. Children die with it, whatever
 * ends it. `pid` is the process that the role is about: often a child. What is not possible here
 * prints `CANNOT reason` instead.
 *
 * C and not Rust or Python: raw system calls without unsafe in the tests, and cc is there wherever
 * nabe can be built.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char **arguments; /* after the role; ends with NULL */

static void cannot(const char *what)
{
	printf("CANNOT %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(3);
}

static int must(int result, const char *what)
{
	if (result < 0)
		cannot(what);
	return result;
}

static const char *argument(int number)
{
	for (int i = 0; i <= number; i++)
		if (!arguments[i]) {
			errno = EINVAL;
			cannot("argument");
		}
	return arguments[number];
}

/* Ends the line and waits for the end of the test. */
static void ready(void)
{
	char byte;

	printf("\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
}

static void say_pid(pid_t pid)
{
	printf("READY pid=%d", pid);
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* A child that dies with us and has nothing of ours but stderr. 0 in the child. */
static pid_t child(void)
{
	pid_t parent = getpid(), pid = must(fork(), "fork");

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* In a PID namespace of its own it has no parent to see. */
	if (getppid() && getppid() != parent)
		_exit(1);
	close(0);
	close(1);
	must(open("/dev/null", O_RDWR), "/dev/null");
	must(dup(0), "dup");
	return 0;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* Waits until `pid` has become another program: the pipe closes with its exec. */
static void wait_for_exec(int ends[2])
{
	char byte;

	close(ends[1]);
	while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(ends[0]);
}

/* sleep: does nothing, under the arguments given. */
static void role_sleep(void)
{
	say_pid(getpid());
	ready();
}

/* comm NAME: a name of one's own choosing. */
static void role_comm(void)
{
	prctl(PR_SET_NAME, argument(0));
	role_sleep();
}

/* zombie */
static void role_zombie(void)
{
	pid_t pid = child();
	siginfo_t info;

	if (!pid)
		_exit(7);
	must(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), "waitid");
	say_pid(pid);
	ready();
	end(pid);
}

/* stopped MEGABYTES: touches that much of anonymous memory, then stops. */
static void role_stopped(void)
{
	size_t size = strtoul(argument(0), NULL, 10) << 20;
	int status;
	pid_t pid = child();

	if (!pid) {
		char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			_exit(1);
		for (size_t at = 0; at < size; at += 4096)
			memory[at] = 1;
		raise(SIGSTOP);
		sleep_for_ever();
	}
	must(waitpid(pid, &status, WUNTRACED), "waitpid");
	say_pid(pid);
	ready();
	end(pid);
}

/* busy: uses both kinds of CPU time, then stops, so that its times stand still. */
static void role_busy(void)
{
	int status;
	pid_t pid = child();

	if (!pid) {
		volatile unsigned long sum = 0;

		for (unsigned long i = 0; i < 100000000; i++)
			sum += i;
		for (int i = 0; i < 200000; i++)
			close(open("/dev/null", O_RDONLY));
		raise(SIGSTOP);
		sleep_for_ever();
	}
	must(waitpid(pid, &status, WUNTRACED), "waitpid");
	say_pid(pid);
	ready();
	end(pid);
}

static int bound_unix(int type, const char *name, size_t length)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = must(socket(AF_UNIX, type, 0), "unix socket");

	memcpy(address.sun_path, name, length);
	must(bind(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + length), "bind");
	return fd;
}

static int connected_unix(int type, const char *name, size_t length)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = must(socket(AF_UNIX, type, 0), "unix socket");

	memcpy(address.sun_path, name, length);
	must(connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + length), "connect");
	return fd;
}

/* unix DIR NAME: sockets of every kind; prints the descriptor of each. The abstract name is NAME. */
static void role_unix(void)
{
	char name[108] = "", path[108], datagrams[108], sequence[108];
	size_t length = 1 + snprintf(name + 1, sizeof name - 1, "%s", argument(1));
	int abstract = bound_unix(SOCK_STREAM, name, length), listener, client, accepted, pair[2];

	must(listen(abstract, 4), "listen");
	snprintf(path, sizeof path, "%s/s", argument(0));
	listener = bound_unix(SOCK_STREAM, path, strlen(path) + 1);
	must(listen(listener, 4), "listen");
	client = connected_unix(SOCK_STREAM, path, strlen(path) + 1);
	accepted = must(accept(listener, NULL, NULL), "accept");
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	snprintf(datagrams, sizeof datagrams, "%s/d", argument(0));
	snprintf(sequence, sizeof sequence, "%s/q", argument(0));
	say_pid(getpid());
	printf(" abstract=%d listener=%d client=%d accepted=%d pair0=%d pair1=%d dgram=%d seqpacket=%d", abstract,
	       listener, client, accepted, pair[0], pair[1],
	       bound_unix(SOCK_DGRAM, datagrams, strlen(datagrams) + 1),
	       bound_unix(SOCK_SEQPACKET, sequence, strlen(sequence) + 1));
	ready();
}

/* families: netlink, packet and raw sockets. */
static void role_families(void)
{
	say_pid(getpid());
	printf(" netlink=%d packet=%d raw=%d raw6=%d", must(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "netlink"),
	       must(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), "packet"),
	       must(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "raw"),
	       must(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), "raw6"));
	ready();
}

static int inet_socket(int type, in_port_t *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = must(socket(AF_INET, type, 0), "socket");

	must(bind(fd, (struct sockaddr *)&address, length), "bind");
	must(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
	*port = ntohs(address.sin_port);
	return fd;
}

static int connect_to(int type, in_port_t to, in_port_t *from)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(to),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = must(socket(AF_INET, type, 0), "socket");

	must(connect(fd, (struct sockaddr *)&address, length), "connect");
	must(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
	*from = ntohs(address.sin_port);
	return fd;
}

static void reset_on_close(int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "SO_LINGER");
}

/* inet: a TCP listener on 127.0.0.1, a connection to it, one on ::1, a bound and a connected UDP socket. */
static void role_inet(void)
{
	in_port_t port, from, udp, udp_from;
	int listener = inet_socket(SOCK_STREAM, &port), client, accepted, bound, joined, six;
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t length = sizeof address;

	must(listen(listener, 8), "listen");
	client = connect_to(SOCK_STREAM, port, &from);
	accepted = must(accept(listener, NULL, NULL), "accept");
	reset_on_close(client);
	reset_on_close(accepted);
	bound = inet_socket(SOCK_DGRAM, &udp);
	joined = connect_to(SOCK_DGRAM, udp, &udp_from);
	six = must(socket(AF_INET6, SOCK_STREAM, 0), "inet6");
	must(bind(six, (struct sockaddr *)&address, length), "bind ::1");
	must(listen(six, 8), "listen");
	must(getsockname(six, (struct sockaddr *)&address, &length), "getsockname");
	say_pid(getpid());
	printf(" listener=%d client=%d accepted=%d bound=%d joined=%d six=%d port=%d from=%d udp=%d udp_from=%d port6=%d",
	       listener, client, accepted, bound, joined, six, port, from, udp, udp_from,
	       ntohs(address.sin6_port));
	ready();
	/* The client first: its end goes by a reset, and nothing waits. */
	close(client);
	close(accepted);
}

/* netns: in a network namespace of its own with loopback up: a listener, one socket in TIME-WAIT, one
 * orphan in FIN-WAIT-1 (its peer reads nothing), and the listener's other connections. */
static void role_netns(void)
{
	static char block[1 << 16];
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct stat namespace;
	in_port_t port, waiting, orphan;
	int listener, client, server;
	char byte;

	must(unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)");
	must(ioctl(must(socket(AF_INET, SOCK_DGRAM, 0), "socket"), SIOCSIFFLAGS, &loopback), "lo up");
	listener = inet_socket(SOCK_STREAM, &port);
	must(listen(listener, 8), "listen");
	/* Who closes first waits. */
	client = connect_to(SOCK_STREAM, port, &waiting);
	server = must(accept(listener, NULL, NULL), "accept");
	close(client);
	must(read(server, &byte, 1), "read");
	close(server);
	/* Data that the peer does not take keeps a closed socket alive. */
	client = connect_to(SOCK_STREAM, port, &orphan);
	server = must(accept(listener, NULL, NULL), "accept");
	must(fcntl(client, F_SETFL, O_NONBLOCK), "O_NONBLOCK");
	while (write(client, block, sizeof block) > 0)
		;
	close(client);
	must(stat("/proc/self/ns/net", &namespace), "stat");
	say_pid(getpid());
	printf(" listener=%d port=%d time_wait=%d orphan=%d server=%d netns=%lu", listener, port, waiting, orphan,
	       server, (unsigned long)namespace.st_ino);
	ready();
	reset_on_close(server);
}

/* time_wait: leaves one socket in TIME-WAIT behind, in the namespace that it is started in; for
 * namespaces that go with the test. */
static void role_time_wait(void)
{
	in_port_t port, waiting;
	int listener = inet_socket(SOCK_STREAM, &port), client, server;
	char byte;

	must(listen(listener, 8), "listen");
	client = connect_to(SOCK_STREAM, port, &waiting);
	server = must(accept(listener, NULL, NULL), "accept");
	close(client);
	must(read(server, &byte, 1), "read");
	close(server);
	say_pid(getpid());
	printf(" time_wait=%d", waiting);
	ready();
}

/* files DIR: one descriptor of each kind. */
static void role_files(void)
{
	char path[4096];
	int regular, removed, ends[2], poll;

	snprintf(path, sizeof path, "%s/regular", argument(0));
	regular = must(open(path, O_CREAT | O_RDWR, 0600), path);
	must(write(regular, "0123456789", 10), "write");
	must(lseek(regular, 4, SEEK_SET), "lseek");
	snprintf(path, sizeof path, "%s/removed", argument(0));
	removed = must(open(path, O_CREAT | O_WRONLY | O_APPEND, 0600), path);
	must(unlink(path), "unlink");
	must(pipe(ends), "pipe");
	poll = must(epoll_create1(0), "epoll");
	say_pid(getpid());
	printf(" regular=%d removed=%d pipe_r=%d pipe_w=%d epoll=%d eventfd=%d memfd=%d directory=%d null=%d", regular,
	       removed, ends[0], ends[1], poll, must(eventfd(0, 0), "eventfd"),
	       must(memfd_create("stage", 0), "memfd"), must(open(argument(0), O_DIRECTORY), "directory"),
	       must(open("/dev/null", O_RDONLY), "/dev/null"));
	ready();
}

/* longpath DIR LENGTH…: a file whose whole path has each of these lengths. */
static void role_longpath(void)
{
	char name[256];

	say_pid(getpid());
	for (int i = 1; arguments[i]; i++) {
		size_t wanted = strtoul(arguments[i], NULL, 10), at = strlen(argument(0));

		must(chdir(argument(0)), "chdir");
		/* Directories of 200 characters until one name is left. */
		while (wanted - at > 255) {
			memset(name, 'd', 200);
			name[200] = 0;
			if (mkdir(name, 0700) && errno != EEXIST)
				cannot("mkdir");
			must(chdir(name), "chdir");
			at += 201;
		}
		memset(name, 'f', sizeof name);
		name[wanted - at - 1] = 0;
		printf(" fd%d=%d", i, must(open(name, O_CREAT | O_RDWR, 0600), "long path"));
	}
	must(chdir("/"), "chdir /");
	ready();
}

static void become(int fd, char **argv, int ends[2])
{
	char *environment[] = { "PATH=/usr/bin:/bin", NULL };

	must(fcntl(ends[1], F_SETFD, FD_CLOEXEC), "FD_CLOEXEC");
	fexecve(fd, argv, environment);
	_exit(1);
}

static int copy_of_us(int to)
{
	static char block[1 << 16];
	int from = must(open("/proc/self/exe", O_RDONLY), "/proc/self/exe");
	ssize_t got;

	while ((got = must(read(from, block, sizeof block), "read")) > 0)
		must(write(to, block, got), "write");
	close(from);
	return to;
}

/* memfd: a program that is in no file system. */
static void role_memfd(void)
{
	int fd = copy_of_us(must(memfd_create("payload", MFD_CLOEXEC), "memfd")), ends[2];
	char *argv[] = { "payload", "wait", NULL };
	pid_t pid;

	must(pipe(ends), "pipe");
	if (!(pid = child()))
		become(fd, argv, ends);
	wait_for_exec(ends);
	say_pid(pid);
	ready();
	end(pid);
}

/* deleted DIR: a program that has been removed since. */
static void role_deleted(void)
{
	char path[4096];
	int fd, ends[2];
	char *argv[] = { "gone", "wait", NULL };
	pid_t pid;

	snprintf(path, sizeof path, "%s/gone", argument(0));
	fd = copy_of_us(must(open(path, O_CREAT | O_WRONLY, 0700), path));
	close(fd);
	fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	must(pipe(ends), "pipe");
	if (!(pid = child()))
		become(fd, argv, ends);
	wait_for_exec(ends);
	must(unlink(path), "unlink");
	say_pid(pid);
	ready();
	end(pid);
}

/* wait: what the programs above do; children of a role, so without an input to wait for. */
static void role_wait(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sleep_for_ever();
}

static void *thread(void *name)
{
	prctl(PR_SET_NAME, name);
	must(write(*(int *)((char *)name + 16), "t", 1), "write");
	sleep_for_ever();
	return NULL;
}

/* threads COUNT: named worker-1 … worker-COUNT. */
static void role_threads(void)
{
	static struct {
		char name[16];
		int ready;
	} names[64];
	long count = strtol(argument(0), NULL, 10);
	int ends[2];
	pthread_t id;
	char byte;

	must(pipe(ends), "pipe");
	for (long i = 0; i < count && i < 64; i++) {
		snprintf(names[i].name, sizeof names[i].name, "worker-%ld", i + 1);
		names[i].ready = ends[1];
		if (pthread_create(&id, NULL, thread, &names[i]))
			cannot("pthread_create");
		must(read(ends[0], &byte, 1), "read");
	}
	say_pid(getpid());
	ready();
}

/* traced: a child that we trace. */
static void role_traced(void)
{
	pid_t pid = child();

	if (!pid)
		sleep_for_ever();
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) {
		end(pid);
		cannot("ptrace");
	}
	say_pid(pid);
	printf(" tracer=%d", getpid());
	ready();
	end(pid);
}

/* setuid: root by effective user, somebody else by real user, as a set-uid program is. */
static void role_setuid(void)
{
	must(setresuid(65534, 0, 0), "setresuid");
	role_sleep();
}

/* kthread: dressed as one. */
static void role_kthread(void)
{
	int ends[2];
	char *argv[] = { "[kworker/0:1]", "wait", NULL };
	pid_t pid;
	int fd = must(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "/proc/self/exe");

	must(pipe(ends), "pipe");
	if (!(pid = child()))
		become(fd, argv, ends);
	wait_for_exec(ends);
	say_pid(pid);
	ready();
	end(pid);
}

/* nested: a child in PID and user namespaces of its own; it is 1 there. */
static void role_nested(void)
{
	pid_t pid;

	must(unshare(CLONE_NEWUSER | CLONE_NEWPID), "unshare");
	pid = child();
	if (!pid)
		sleep_for_ever();
	say_pid(pid);
	ready();
	end(pid);
}

/* storm: children that come and go as fast as they can. */
static void role_storm(void)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };

	say_pid(getpid());
	printf("\n");
	fflush(stdout);
	while (poll(&input, 1, 0) == 0) {
		pid_t pids[16];

		for (int i = 0; i < 16; i++)
			if (!(pids[i] = child()))
				_exit(0);
		for (int i = 0; i < 16; i++)
			waitpid(pids[i], NULL, 0);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*play)(void);
	} roles[] = {
		{ "sleep", role_sleep },       { "comm", role_comm },	    { "zombie", role_zombie },
		{ "stopped", role_stopped },   { "busy", role_busy },	    { "unix", role_unix },
		{ "families", role_families }, { "inet", role_inet },	    { "netns", role_netns },
		{ "files", role_files },       { "longpath", role_longpath }, { "memfd", role_memfd },
		{ "deleted", role_deleted },   { "wait", role_wait },	    { "threads", role_threads },
		{ "traced", role_traced },     { "setuid", role_setuid },   { "kthread", role_kthread },
		{ "nested", role_nested },     { "storm", role_storm },	    { "time_wait", role_time_wait },
	};

	if (argc < 2)
		return 2;
	arguments = argv + 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		if (!strcmp(argv[1], roles[i].name)) {
			roles[i].play();
			return 0;
		}
	fprintf(stderr, "stage: no role %s\n", argv[1]);
	return 2;
}
