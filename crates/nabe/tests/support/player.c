// SPDX-License-Identifier: Apache-2.0
/*
 * Plays a case of Falco's live suite: a chain of processes, the last of which makes one system call.
 * What to do is in the environment, so that names and arguments are the case's own:
 *
 *   PLAY_CHAIN  processes to come, "exe\x1fargv0\x1fuid\x1farg...\x1e" each; every process takes the
 *               first, starts it with the rest, and waits for it
 *   PLAY_STEP   "call\x1fargument..." for the last one
 *   PLAY_SLEEP  seconds before the step
 *   PLAY_COPY   programs of the chain that are not there are made, as copies of this one, and go
 *               again; other users keep all capabilities, and what the step has opened goes, too
 *
 * The status is 0 when the step could be made.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int split(char *text, char *parts[], int most)
{
	int n = 0;
	char *part;

	while (n < most && (part = strsep(&text, "\x1f")))
		parts[n++] = part;
	return n;
}

/* Makes the folders above a path, as far as they are missing. */
static void make_way(const char *path)
{
	char folder[512];

	for (const char *end = path; (end = strchr(end + 1, '/'));) {
		snprintf(folder, sizeof(folder), "%.*s", (int)(end - path), path);
		mkdir(folder, 0755);
	}
}

/* A copy of ourselves at a path; whether it is new. */
static int copy(const char *path)
{
	struct stat data;
	int from, to;

	if (!access(path, F_OK))
		return 0;
	make_way(path);
	from = open("/proc/self/exe", O_RDONLY);
	to = open(path, O_WRONLY | O_CREAT | O_EXCL, 0755);
	if (from < 0 || to < 0 || fstat(from, &data) || sendfile(to, from, NULL, data.st_size) != data.st_size)
		return -1;
	close(from);
	close(to);
	return 1;
}

/* Becomes a user; with `keep` all capabilities stay, through programs that are executed, too. */
static int become(int user, int keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (!keep)
		return setgid(user) || setuid(user);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || setgid(user) || setuid(user) ||
	    syscall(SYS_capget, &header, data))
		return -1;
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data))
		return -1;
	for (int cap = 0; cap < 64; cap++)
		if (data[cap / 32].permitted >> (cap % 32) & 1)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	return 0;
}

static int start(char *chain)
{
	char *rest = strchr(chain, '\x1e'), *parts[16] = {0}, *argv[16] = {0};
	int n, status, made = 0, copies = !!getenv("PLAY_COPY");
	pid_t child;

	if (!rest)
		return 1;
	*rest++ = 0;
	rest = strdup(rest);
	n = split(strdup(chain), parts, 15);
	if (n < 3)
		return 1;
	argv[0] = parts[1];
	for (int i = 3; i < n; i++)
		argv[i - 2] = parts[i];
	if (copies && (made = copy(parts[0])) < 0)
		return 2;
	child = fork();
	if (!child) {
		if (atoi(parts[2]) && become(atoi(parts[2]), copies))
			_exit(3);
		setenv("PLAY_CHAIN", rest, 1);
		execv(parts[0], argv);
		_exit(4);
	}
	status = child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ? 5 : WEXITSTATUS(status);
	if (made)
		unlink(parts[0]);
	return status;
}

/* The end of a connection to ourselves. */
static int connected(const char *address, int port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1, one = 1, listener, client;
	struct sockaddr *to = is_v4 ? (void *)&v4 : (void *)&v6;
	socklen_t len = is_v4 ? sizeof(v4) : sizeof(v6);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	/* Engines' own networks may be without IPv6. */
	if (unshare(CLONE_NEWNET))
		return -1;
	if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
		return -1;
	listener = socket(to->sa_family, SOCK_STREAM, 0);
	client = socket(to->sa_family, SOCK_STREAM, 0);
	ioctl(listener, SIOCSIFFLAGS, &lo);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(listener, to, len) || listen(listener, 1) || connect(client, to, len) ? -1 : client;
}

/* Connects to an address of a network of our own, where somebody listens. */
static int reach(const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	char command[256];
	int listener, one = 1;

	if (unshare(CLONE_NEWNET))
		return -1;
	snprintf(command, sizeof(command), "ip link set lo up && ip addr add %s/32 dev lo", address);
	if (system(command))
		return -1;
	inet_pton(AF_INET, address, &to.sin_addr);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&to, sizeof(to)) || listen(listener, 1))
		return -1;
	return connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof(to));
}

/* Runs ourselves from a file that is in memory only. */
static int fileless(void)
{
	int from = open("/proc/self/exe", O_RDONLY), to = memfd_create("eg_memfd", 0);
	char *argv[] = {"eg_memfd", NULL}, *none[] = {NULL};
	struct stat data;

	if (fstat(from, &data) || sendfile(to, from, NULL, data.st_size) != data.st_size)
		return -1;
	return fexecve(to, argv, none);
}

static int step(char *text)
{
	char *a[8] = {0};
	int n = split(text, a, 8);

	if (!strcmp(a[0], "open") && n == 4)
		return syscall(SYS_open, a[1], atoi(a[2]), atoi(a[3]));
	if (!strcmp(a[0], "openat") && n == 4)
		return syscall(SYS_openat, AT_FDCWD, a[1], atoi(a[2]), atoi(a[3]));
	if (!strcmp(a[0], "openat2") && n == 4) {
		struct open_how how = {.flags = atoi(a[2]), .mode = atoi(a[3])};

		return syscall(SYS_openat2, AT_FDCWD, a[1], &how, sizeof(how));
	}
	if (!strcmp(a[0], "link"))
		return syscall(SYS_link, a[1], a[2]);
	if (!strcmp(a[0], "linkat"))
		return linkat(AT_FDCWD, a[1], AT_FDCWD, a[2], 0);
	if (!strcmp(a[0], "symlink"))
		return syscall(SYS_symlink, a[1], a[2]);
	if (!strcmp(a[0], "symlinkat"))
		return symlinkat(a[1], AT_FDCWD, a[2]);
	if (!strcmp(a[0], "socket"))
		return socket(AF_PACKET, SOCK_RAW, 0);
	if (!strcmp(a[0], "dup2") && n == 4)
		return syscall(SYS_dup2, connected(a[1], atoi(a[2])), atoi(a[3]));
	if (!strcmp(a[0], "dup3") && n == 4)
		return syscall(SYS_dup3, connected(a[1], atoi(a[2])), atoi(a[3]), 0);
	if (!strcmp(a[0], "reach"))
		return reach(a[1], atoi(a[2]));
	if (!strcmp(a[0], "fileless"))
		return fileless();
	return -1;
}

int main(void)
{
	char *chain = getenv("PLAY_CHAIN"), *what = getenv("PLAY_STEP"), *seconds = getenv("PLAY_SLEEP");
	char *a[8] = {0}, *path = NULL;

	if (chain && *chain)
		return start(chain);
	if (seconds)
		sleep(atoi(seconds));
	if (!what || !*what)
		return 0;
	if (getenv("PLAY_COPY") && !strncmp(what, "open", 4) && split(strdup(what), a, 8) > 1) {
		path = a[1];
		make_way(path);
	}
	if (step(strdup(what)) < 0)
		return 6;
	if (path)
		unlink(path);
	return 0;
}
