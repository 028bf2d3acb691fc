/*
 * population: fills this machine with a known number of processes and descriptors, for live tests
 * and benches, and takes all of it away again.
 *
 *   population [--processes N] [--holders N] [--fork] [--freeze] [--dir DIR]
 *
 *   --processes N  sleeping processes, 4 descriptors each (default 5000)
 *   --holders N    processes with 1,003 descriptors each: 600 files, 201 TCP (one listener and 100
 *                  connections to itself on loopback), 100 unix streams, 96 pipe ends, an epoll, an
 *                  eventfd, a timerfd and 3 standard ones (default 20)
 *   --fork         the sleepers stay copies of this program instead of becoming `sleep infinity`: quicker
 *   --freeze       stop every child (SIGSTOP) before READY
 *   --dir DIR      where the holders' files are made (default: a new directory in $TMPDIR or /tmp)
 *
 * When all is there it prints one line
 *   READY pid=… pgid=… processes=… holders=… descriptors=… first=… last=… holder_pids=a,b,c
 * (pgid: the process group of all children; descriptors: those of the children; first and last:
 * pids of the first and last sleeper) and waits for the end of its standard input, SIGTERM, SIGINT or
 * SIGHUP. Then everything is killed and removed. Children also die with their parent, whatever
 * ends it. Connections are reset, so that no TIME-WAIT is left.
 *
 * C, because the tests need it before cargo has built anything and it must be there in a second:
 *   cc -O2 -o population population.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SLEEPER_FDS = 4,
	HOLDER_FILES = 600,
	HOLDER_CONNECTIONS = 100,
	HOLDER_UNIX_PAIRS = 50,
	HOLDER_PIPES = 48,
	HOLDER_FDS = 3 + HOLDER_FILES + 1 + 2 * HOLDER_CONNECTIONS + 2 * HOLDER_UNIX_PAIRS + 2 * HOLDER_PIPES + 3,
};

static pid_t group;	  /* of all children; the first child leads it */
static pid_t *children;
static long born;
static char directory[4000];
static int made_directory;
static int signal_pipe[2];
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	int saved = errno;
	ssize_t ignored = write(signal_pipe[1], &number, 1);

	(void)ignored;
	stopped = 1;
	errno = saved;
}

static void remove_files(void)
{
	struct dirent *entry;
	DIR *list;

	if (!directory[0] || !(list = opendir(directory)))
		return;
	while ((entry = readdir(list)))
		if (!strncmp(entry->d_name, "population-", 11))
			unlinkat(dirfd(list), entry->d_name, 0);
	closedir(list);
	if (made_directory)
		rmdir(directory);
}

static void remove_all(void)
{
	/* By pid: the group may hold nothing yet, or have been left by its leader. */
	for (long i = 0; i < born; i++)
		kill(children[i], SIGKILL);
	for (long i = 0; i < born; i++)
		while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
			;
	born = 0;
	remove_files();
}

static void die(const char *what)
{
	fprintf(stderr, "population: %s: %s\n", what, strerror(errno));
	remove_all();
	exit(1);
}

/* In a child: a failure ends the child, and the parent sees the closed pipe. */
static int must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "population: child: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
	return result;
}

static void reset_on_close(int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "SO_LINGER");
}

static void open_connections(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

	must(bind(listener, (struct sockaddr *)&address, length), "bind");
	must(listen(listener, HOLDER_CONNECTIONS), "listen");
	must(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
	for (int i = 0; i < HOLDER_CONNECTIONS; i++) {
		int client = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

		must(connect(client, (struct sockaddr *)&address, length), "connect");
		reset_on_close(client);
		reset_on_close(must(accept(listener, NULL, NULL), "accept"));
	}
}

static void open_holder(long number)
{
	char path[4096];
	int ends[2];

	for (int i = 0; i < HOLDER_FILES; i++) {
		snprintf(path, sizeof path, "%s/population-holder-%ld-file-%d", directory, number, i);
		must(open(path, O_RDWR | O_CREAT, 0600), path);
	}
	open_connections();
	for (int i = 0; i < HOLDER_UNIX_PAIRS; i++)
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	for (int i = 0; i < HOLDER_PIPES; i++)
		must(pipe(ends), "pipe");
	must(epoll_create1(0), "epoll_create1");
	must(eventfd(0, 0), "eventfd");
	must(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd_create");
}

/* Leaves descriptors 0 to 2 on /dev/null and `ready`, which must be above them, and nothing else. */
static void start_child(pid_t parent, int ready)
{
	int null = must(open("/dev/null", O_RDWR), "/dev/null");

	must(setpgid(0, group), "setpgid");
	must(prctl(PR_SET_PDEATHSIG, SIGKILL), "PR_SET_PDEATHSIG");
	if (getppid() != parent)
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		must(dup2(null, fd), "dup2");
	if (null > 2)
		close(null);
	must(close_range(3, ready - 1, 0), "close_range");
	must(close_range(ready + 1, ~0U, 0), "close_range");
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/*
 * A holder says that it is ready by closing `ready` after writing a byte. A sleeper's `ready` closes
 * with its exec; with --fork at once.
 */
static void child(long number, int is_holder, int stay, pid_t parent, int ready)
{
	start_child(parent, ready);
	if (is_holder) {
		open_holder(number);
		must(write(ready, "h", 1), "write");
		close(ready);
		prctl(PR_SET_NAME, "holder");
		sleep_for_ever();
	}
	/* The fourth descriptor. */
	must(open("/dev/null", O_RDONLY), "/dev/null");
	must(write(ready, "s", 1), "write");
	if (stay) {
		close(ready);
		sleep_for_ever();
	}
	must(fcntl(ready, F_SETFD, FD_CLOEXEC), "FD_CLOEXEC");
	execlp("sleep", "sleep", "infinity", (char *)NULL);
	must(-1, "sleep");
}

/* Forks one child; waits until it has all its descriptors and, unless it stays, has become `sleep`. */
static void bear(long number, int is_holder, int stay)
{
	pid_t parent = getpid(), pid;
	int ends[2], ready[2];
	char byte[2];

	/* Below 3 when the caller closed its standard descriptors: dup2 in the child would hit it. */
	if (pipe(ends) || (ready[0] = fcntl(ends[0], F_DUPFD, 10)) < 0 ||
	    (ready[1] = fcntl(ends[1], F_DUPFD, 10)) < 0)
		die("pipe");
	close(ends[0]);
	close(ends[1]);
	pid = fork();
	if (pid == 0)
		child(number, is_holder, stay, parent, ready[1]);
	if (pid < 0)
		die("fork");
	children[born++] = pid;
	if (!group)
		group = pid;
	/* Both sides do it: whoever comes first. */
	setpgid(pid, group);
	close(ready[1]);
	if (read(ready[0], byte, 1) != 1) {
		errno = stopped ? EINTR : ECHILD;
		die("a child did not start");
	}
	/* End of file: the descriptor is gone from the child. */
	while (read(ready[0], byte, 1) < 0 && errno == EINTR && !stopped)
		;
	close(ready[0]);
	if (stopped) {
		remove_all();
		exit(1);
	}
}

static void check_room(long wanted)
{
	struct rlimit files;
	long pid_max = 0;
	FILE *file = fopen("/proc/sys/kernel/pid_max", "r");

	if (file) {
		if (fscanf(file, "%ld", &pid_max) != 1)
			pid_max = 0;
		fclose(file);
	}
	if (pid_max && wanted > pid_max * 3 / 4) {
		fprintf(stderr, "population: %ld processes do not fit below pid_max %ld\n", wanted, pid_max);
		exit(1);
	}
	if (getrlimit(RLIMIT_NOFILE, &files))
		die("RLIMIT_NOFILE");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files))
		die("RLIMIT_NOFILE");
	if (files.rlim_max < HOLDER_FDS + 16) {
		fprintf(stderr, "population: a holder needs %d descriptors, the limit is %ld\n", HOLDER_FDS,
			(long)files.rlim_max);
		exit(1);
	}
}

static void choose_directory(const char *wish)
{
	const char *temporary = getenv("TMPDIR");

	if (wish) {
		snprintf(directory, sizeof directory, "%s", wish);
		return;
	}
	snprintf(directory, sizeof directory, "%s/population.XXXXXX", temporary ? temporary : "/tmp");
	if (!mkdtemp(directory)) {
		directory[0] = 0;
		die("mkdtemp");
	}
	made_directory = 1;
}

static void freeze(void)
{
	for (long i = 0; i < born; i++)
		if (kill(children[i], SIGSTOP))
			die("SIGSTOP");
	for (long i = 0; i < born; i++) {
		int status;

		if (waitpid(children[i], &status, WUNTRACED) < 0 || !WIFSTOPPED(status))
			die("a child did not stop");
	}
}

static void wait_for_end(void)
{
	struct pollfd both[2] = { { .fd = 0, .events = POLLIN }, { .fd = signal_pipe[0], .events = POLLIN } };
	char buffer[256];

	for (;;) {
		if (poll(both, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			die("poll");
		}
		if (both[1].revents || (both[0].revents && read(0, buffer, sizeof buffer) <= 0))
			return;
	}
}

static void say_ready(long processes, long holders)
{
	printf("READY pid=%d pgid=%d processes=%ld holders=%ld descriptors=%ld first=%d last=%d holder_pids=",
	       getpid(), group, processes, holders, processes * SLEEPER_FDS + holders * HOLDER_FDS,
	       processes ? children[holders] : 0, processes ? children[born - 1] : 0);
	for (long i = 0; i < holders; i++)
		printf("%s%d", i ? "," : "", children[i]);
	printf("\n");
	fflush(stdout);
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < 0) {
		fprintf(stderr, "population: not a number: %s\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "processes", required_argument, NULL, 'p' },
		{ "holders", required_argument, NULL, 'h' },
		{ "fork", no_argument, NULL, 'k' },
		{ "freeze", no_argument, NULL, 'z' },
		{ "dir", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	struct sigaction action = { .sa_handler = on_signal };
	long processes = 5000, holders = 20;
	int option, stay = 0, frozen = 0;
	const char *wish = NULL;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p': processes = number(optarg); break;
		case 'h': holders = number(optarg); break;
		case 'k': stay = 1; break;
		case 'z': frozen = 1; break;
		case 'd': wish = optarg; break;
		default: return 2;
		}
	}
	check_room(processes + holders);
	if (!(children = calloc(processes + holders + 1, sizeof *children)) || pipe2(signal_pipe, O_CLOEXEC))
		die("start");
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (holders)
		choose_directory(wish);
	for (long i = 0; i < holders; i++)
		bear(i, 1, 1);
	for (long i = 0; i < processes; i++)
		bear(i, 0, stay);
	if (frozen)
		freeze();
	say_ready(processes, holders);
	wait_for_end();
	remove_all();
	return 0;
}
