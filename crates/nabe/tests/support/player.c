// SPDX-License-Identifier: Apache-2.0
/*
 * Plays a case of Falco's live suite: a chain of processes, the last of which makes one system call.
 * What to do is in the environment, so that names and arguments are the case's own:
 *
 *   PLAY_CHAIN  processes to come, "exe\x1fargv0\x1fuid\x1farg...\x1e" each; every process takes the
 *               first, starts it with the rest, and waits for it
 *   PLAY_STEP   "call\x1fargument..." for the last one
 *   PLAY_SLEEP  seconds before the step
 *
 * The status is 0 when the step could be made.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

static int start(char *chain)
{
	char *rest = strchr(chain, '\x1e'), *parts[16] = {0}, *argv[16] = {0};
	int n, status;
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
	child = fork();
	if (!child) {
		if (atoi(parts[2]) && (setgid(atoi(parts[2])) || setuid(atoi(parts[2]))))
			_exit(3);
		setenv("PLAY_CHAIN", rest, 1);
		execv(parts[0], argv);
		_exit(4);
	}
	return child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ? 5 : WEXITSTATUS(status);
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
	if (!strcmp(a[0], "reach"))
		return reach(a[1], atoi(a[2]));
	if (!strcmp(a[0], "fileless"))
		return fileless();
	return -1;
}

int main(void)
{
	char *chain = getenv("PLAY_CHAIN"), *what = getenv("PLAY_STEP"), *seconds = getenv("PLAY_SLEEP");

	if (chain && *chain)
		return start(chain);
	if (seconds)
		sleep(atoi(seconds));
	return what && *what && step(strdup(what)) < 0 ? 6 : 0;
}
