// A known load, for tests/workload.rs.
//
//   workload count FILE   makes known numbers of system calls of each family, while its name is
//                         "counted", and says which in FILE: `name number` lines
//   workload state FILE   brings its descriptors and itself through everything that changes them, and
//                         says in FILE what /proc shows in the end: `tid fd target`, `tid cwd path` and
//                         `tid ids uid gid sid pgid name` lines
//
// Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

#define COUNTS(DO) \
	DO(getppid, 37, syscall(SYS_getppid)) \
	DO(openat, 23, fd = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR)) \
	DO(read, 29, syscall(SYS_read, fd, buffer, 8)) \
	DO(write, 31, syscall(SYS_write, fd, buffer, 8)) \
	DO(pread, 7, syscall(SYS_pread64, fd, buffer, 8, 0)) \
	DO(pwrite, 11, syscall(SYS_pwrite64, fd, buffer, 8, 0)) \
	DO(lseek, 13, syscall(SYS_lseek, fd, 0, SEEK_SET)) \
	DO(newfstatat, 17, syscall(SYS_newfstatat, AT_FDCWD, "/", &status, 0)) \
	DO(faccessat, 5, syscall(SYS_faccessat, AT_FDCWD, "/", F_OK)) \
	DO(fcntl, 19, syscall(SYS_fcntl, fd, F_GETFD)) \
	DO(ioctl, 41, syscall(SYS_ioctl, fd, 0x5401, buffer)) \
	DO(dup, 3, syscall(SYS_dup, fd)) \
	DO(close, 43, syscall(SYS_close, -1)) \
	DO(pipe2, 2, syscall(SYS_pipe2, pair, 0)) \
	DO(eventfd2, 5, syscall(SYS_eventfd2, 0, 0)) \
	DO(timerfd_create, 7, syscall(SYS_timerfd_create, CLOCK_MONOTONIC, 0)) \
	DO(inotify_init1, 3, syscall(SYS_inotify_init1, 0)) \
	DO(epoll_create1, 11, syscall(SYS_epoll_create1, 0)) \
	DO(memfd_create, 13, syscall(SYS_memfd_create, "m", 0)) \
	DO(socket, 17, sock = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0)) \
	DO(connect, 19, syscall(SYS_connect, sock, &nobody, sizeof(nobody))) \
	DO(bind, 5, syscall(SYS_bind, -1, &nobody, sizeof(nobody))) \
	DO(sendto, 23, syscall(SYS_sendto, sock, buffer, 4, MSG_NOSIGNAL, 0, 0)) \
	DO(recvfrom, 29, syscall(SYS_recvfrom, sock, buffer, 4, MSG_DONTWAIT, 0, 0)) \
	DO(getsockname, 3, syscall(SYS_getsockname, sock, 0, 0)) \
	DO(setsockopt, 7, syscall(SYS_setsockopt, sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))) \
	DO(mmap, 13, place = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) \
	DO(mprotect, 11, syscall(SYS_mprotect, place, 4096, PROT_READ | PROT_WRITE)) \
	DO(munmap, 5, syscall(SYS_munmap, place, 4096)) \
	DO(madvise, 17, syscall(SYS_madvise, 0, 4096, MADV_NORMAL)) \
	DO(mkdirat, 3, syscall(SYS_mkdirat, AT_FDCWD, "/nonexistent/a", 0700)) \
	DO(unlinkat, 7, syscall(SYS_unlinkat, AT_FDCWD, "/nonexistent/a", 0)) \
	DO(renameat2, 5, syscall(SYS_renameat2, AT_FDCWD, "/nonexistent/a", AT_FDCWD, "/nonexistent/b", 0)) \
	DO(symlinkat, 11, syscall(SYS_symlinkat, "a", AT_FDCWD, "/nonexistent/a")) \
	DO(linkat, 13, syscall(SYS_linkat, AT_FDCWD, "/nonexistent/a", AT_FDCWD, "/nonexistent/b", 0)) \
	DO(fchmodat, 17, syscall(SYS_fchmodat, AT_FDCWD, "/nonexistent/a", 0700)) \
	DO(fchownat, 19, syscall(SYS_fchownat, AT_FDCWD, "/nonexistent/a", 0, 0, 0)) \
	DO(mount, 3, syscall(SYS_mount, "none", "/nonexistent", "tmpfs", 0, 0)) \
	DO(kill, 23, syscall(SYS_kill, getpid_, 0)) \
	DO(tgkill, 29, syscall(SYS_tgkill, getpid_, getpid_, 0)) \
	DO(nanosleep, 2, syscall(SYS_nanosleep, &nap, 0)) \
	DO(futex, 31, syscall(SYS_futex, &one, 1, 1, 0, 0, 0)) \
	DO(getuid, 37, syscall(SYS_getuid)) \
	DO(setpgid, 5, syscall(SYS_setpgid, 0, 0)) \
	DO(ptrace, 2, syscall(SYS_ptrace, -1, 0, 0, 0)) \
	DO(bpf, 3, syscall(SYS_bpf, -1, 0, 0)) \
	DO(execve, 7, syscall(SYS_execve, "/nonexistent/a", 0, 0)) \
	DO(getdents64, 11, syscall(SYS_getdents64, fd, buffer, 8)) \
	DO(chdir, 13, syscall(SYS_chdir, "/nonexistent"))

static void count(FILE *out)
{
	int fd = -1, sock = -1, pair[2], one = 1, getpid_ = getpid();
	char buffer[64] = "payload";
	void *place = 0;
	struct stat status;
	struct timespec nap = { 0, 1000 };
	struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_port = htons(1) };

	nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
#define SAY(name, number, call) fprintf(out, #name " %d\n", number);
	COUNTS(SAY)
	fclose(out);
	prctl(PR_SET_NAME, "counted");
#define MAKE(name, number, call) for (int i = 0; i < number; i++) (void)(call);
	COUNTS(MAKE)
	prctl(PR_SET_NAME, "done");
}

/* /proc, also from where it cannot be seen. */
static int proc_at;

/* What /proc says, and an event of each descriptor. */
static void report(FILE *out)
{
	char path[64], target[4096];
	int tid = syscall(SYS_gettid), proc = openat(proc_at, ".", O_RDONLY | O_DIRECTORY);

	for (int fd = 0; fd < 256; fd++) {
		if (fd == fileno(out))
			continue;
		if (fd == proc)
			continue;
		snprintf(path, sizeof(path), "self/task/%d/fd/%d", tid, fd);
		ssize_t length = readlinkat(proc, path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = 0;
		fprintf(out, "%d %d %s\n", tid, fd, target);
		fcntl(fd, F_GETFL);
	}
	fprintf(out, "%d cwd %s\n", tid, getcwd(target, sizeof(target)));
	snprintf(path, sizeof(path), "self/task/%d/comm", tid);
	int comm = openat(proc, path, O_RDONLY);
	ssize_t length = read(comm, target, sizeof(target) - 1);
	target[length > 0 ? length - 1 : 0] = 0;
	close(comm);
	close(proc);
	fprintf(out, "%d ids %d %d %d %d %s\n", tid, geteuid(), getegid(), getsid(0), getpgrp(), target);
	fflush(out);
	/* Where it is. */
	syscall(SYS_getppid);
}

static FILE *report_to;
static char *program, *file;

static void *alone(void *unused)
{
	(void)unused;
	if (unshare(CLONE_FILES) < 0)
		return 0;
	dup2(open("/dev/zero", O_RDONLY), 90);
	report(report_to);
	return 0;
}

static void *executes(void *unused)
{
	(void)unused;
	execl(program, program, "report", file, (char *)0);
	return 0;
}

static int passed(int from, int to, int fd)
{
	char byte = 'x', room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int got;

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	if (sendmsg(from, &message, 0) < 0 || recvmsg(to, &message, 0) < 0)
		return -1;
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(got));
	return got;
}

/* Opens a file through an io_uring; -1 where there is none. */
static int ring_opened(const char *path)
{
	unsigned params[30] = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1, params), result;
	char *queue, *entries;

	if (ring < 0)
		return -1;
	queue = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	entries = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0x10000000);
	if (queue == MAP_FAILED || entries == MAP_FAILED)
		return -1;
	entries[0] = 18; /* IORING_OP_OPENAT */
	*(int *)(entries + 4) = AT_FDCWD;
	*(unsigned long *)(entries + 16) = (unsigned long)path;
	*(unsigned *)(entries + 28) = O_RDONLY;
	/* The list of entries, the tail, and what comes back: both queues are in one mapping. */
	*(unsigned *)(queue + params[16]) = 0;
	__atomic_store_n((unsigned *)(queue + params[11]), 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, ring, 1, 1, 1, 0, 0);
	result = *(int *)(queue + params[25] + 8);
	munmap(queue, 4096);
	munmap(entries, 4096);
	close(ring);
	return result;
}

/* Others than those who began: another name, another session, another user, another root. */
static void become(void)
{
	prctl(PR_SET_NAME, "another");
	setsid();
	chdir("/var");
	if (chroot("/usr") < 0 || chdir("/bin") < 0)
		_exit(1);
	open("/lib", O_RDONLY | O_DIRECTORY);
	if (setresgid(65531, 65532, 65533) < 0 || setresuid(65534, 65532, 65533) < 0)
		_exit(1);
	/* What was set shows in children, too. */
	if (fork() == 0) {
		setpgid(0, 0);
		report(report_to);
		_exit(0);
	}
	wait(0);
	report(report_to);
	_exit(0);
}

static void state(void)
{
	pthread_t thread;
	int pair[2], fd, other;
	pid_t child;

	/* Files, copies, and numbers that are used again. */
	fd = open("/dev/null", O_RDWR);
	dup2(fd, 20);
	dup3(fd, 21, O_CLOEXEC);
	fcntl(fd, F_DUPFD, 22);
	fcntl(fd, F_DUPFD_CLOEXEC, 23);
	close(fd);
	open("/dev/zero", O_RDONLY);
	open("/dev/full", O_RDONLY | O_CLOEXEC);
	fd = open("/etc", O_RDONLY | O_DIRECTORY);
	openat(fd, "passwd", O_RDONLY);
	chdir("/usr");
	open("bin", O_RDONLY | O_DIRECTORY);
	fcntl(open("/dev/null", O_RDONLY), F_SETFD, FD_CLOEXEC);
	dup2(open("/dev/null", O_RDONLY), 60);
	dup2(60, 61);
	dup2(60, 62);
	syscall(SYS_close_range, 60, 61, 0);
	dup2(62, 63);
	syscall(SYS_close_range, 63, 63, 4 /* CLOSE_RANGE_CLOEXEC */);
	/* Others than files. */
	pipe(pair);
	pipe2(pair, O_CLOEXEC);
	eventfd(0, 0);
	epoll_create1(0);
	inotify_init1(0);
	timerfd_create(CLOCK_MONOTONIC, 0);
	memfd_create("note", 0);
	socket(AF_INET, SOCK_DGRAM, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	/* A descriptor that came by message takes the number of one that was closed. */
	other = open("/dev/zero", O_RDONLY);
	fd = open("/dev/full", O_RDONLY);
	close(fd);
	fd = passed(pair[0], pair[1], other);
	ring_opened("/etc/passwd");
	fchdir(open("/var", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	/* A child that is born with copies, and one that executes in its parent's memory. */
	child = fork();
	if (child == 0) {
		close(20);
		chdir("/");
		report(report_to);
		_exit(0);
	}
	waitpid(child, 0, 0);
	child = vfork();
	if (child == 0) {
		execl(program, program, "report", file, (char *)0);
		_exit(1);
	}
	waitpid(child, 0, 0);
	child = fork();
	if (child == 0)
		become();
	waitpid(child, 0, 0);
	/* A thread that leaves the table, then one that executes. */
	pthread_create(&thread, 0, alone, 0);
	pthread_join(thread, 0);
	report(report_to);
	pthread_create(&thread, 0, executes, 0);
	pthread_join(thread, 0);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	program = argv[0];
	file = argv[2];
	report_to = fopen(file, "ae");
	proc_at = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!report_to || proc_at < 0)
		return 1;
	if (!strcmp(argv[1], "count"))
		count(report_to);
	else if (!strcmp(argv[1], "state"))
		state();
	else
		report(report_to);
	return 0;
}
