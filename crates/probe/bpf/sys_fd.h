/* SPDX-License-Identifier: GPL-2.0 */
/* System calls on descriptors and memory, without texts. */
#ifndef NABE_SYS_FD_H
#define NABE_SYS_FD_H

#include "sys_call.h"

/* F_*: 0 to 4 as they are, one up; the others by name. */
static __always_inline __u8 fcntl_cmd(__u32 cmd)
{
	if (cmd <= 5)
		return cmd + 1;
	switch (cmd) {
	case 6: /* F_SETLK */
		return 8;
	case 7: /* F_SETLKW */
		return 9;
	case 8: /* F_SETOWN */
		return 10;
	case 9: /* F_GETOWN */
		return 12;
	case 10: /* F_SETSIG */
		return 13;
	case 11: /* F_GETSIG */
		return 15;
	case 15: /* F_SETOWN_EX, F_GETOWN_EX */
	case 16:
		return cmd + 6;
	case 36: /* F_OFD_GETLK, _SETLK, _SETLKW */
	case 37:
	case 38:
		return cmd - 6;
	case 1024: /* F_SETLEASE, F_GETLEASE */
	case 1025:
		return cmd - 1024 + 23;
	case 1026: /* F_NOTIFY */
		return 27;
	case 1029: /* F_CANCELLK */
		return 25;
	case 1030: /* F_DUPFD_CLOEXEC */
		return 26;
	case 1031: /* F_SETPIPE_SZ, F_GETPIPE_SZ */
	case 1032:
		return cmd - 1031 + 28;
	}
	return 0;
}

static __always_inline __u32 protection(__u64 f)
{
	return (f & 0xf) | BIT(f, 0x1000000, 0x10) | BIT(f, 0x2000000, 0x20);
}

static __always_inline __u32 mmap_flags(__u64 f)
{
	return (f & 3) | BIT(f, 0x10, 4) | BIT(f, 0x20, 8) | BIT(f, 0x40, 0x10) |
	       BIT(f, 0x4000, 0x40) | BIT(f, 0x8000, 0x80) | BIT(f, 0x10000, 0x100) |
	       BIT(f, 0x100, 0x200) | BIT(f, 0x800, 0x400) | BIT(f, 0x1000, 0x800) |
	       BIT(f, 0x2000, 0x4000);
}

/* fd1, fd2, ino of a pipe. */
static __always_inline void put_pipe(struct out *o, __u64 task, long ret, __u64 from)
{
	__s32 fds[2];
	struct inode *inode;
	struct file *file;

	if (ret || bpf_probe_read_user(fds, sizeof(fds), (void *)from)) {
		put_none(o);
		put_none(o);
		put_none(o);
		return;
	}
	put_u64(o, (__s64)fds[0]);
	put_u64(o, (__s64)fds[1]);
	file = file_of(task, fds[0]);
	if (!file) {
		put_none(o);
		return;
	}
	inode = FIELD(file, f_inode);
	put_u64(o, FIELD(inode, i_ino));
}

SEC("?tp_btf/sys_exit")
int nabe_fd(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_bpf:
		RESULT(SYSCALL_BPF_2_X), A32(0);
		break;
	case NR_close_range:
		RESULT(SYSCALL_CLOSE_RANGE_X), A32(0), A32(1), V32(ARG2(regs) & 6);
		break;
	case NR_copy_file_range:
		RESULT(SYSCALL_COPY_FILE_RANGE_X), FD(2), A64(3), FD(0), A64(1), A64(4);
		break;
	case NR_dup:
		RESULT(SYSCALL_DUP_1_X), FD(0);
		break;
	case NR_dup2:
		RESULT(SYSCALL_DUP2_X), FD(0), FD(1);
		break;
	case NR_dup3:
		RESULT(SYSCALL_DUP3_X), FD(0), FD(1), V32(BIT(ARG2(regs), 0x80000, 1 << 12));
		break;
	case NR_epoll_create:
		RESULT(SYSCALL_EPOLL_CREATE_X), A32(0);
		break;
	case NR_epoll_create1:
		RESULT(SYSCALL_EPOLL_CREATE1_X), V32(BIT(ARG0(regs), 0x80000, 1));
		break;
	case NR_epoll_wait:
		RESULT(SYSCALL_EPOLLWAIT_X), FD(2);
		break;
	case NR_eventfd:
		RESULT(SYSCALL_EVENTFD_X), V64((__u32)ARG0(regs)), V32(0);
		break;
	case NR_eventfd2:
		RESULT(SYSCALL_EVENTFD2_X), V16(fd_flags(ARG1(regs))), V64((__u32)ARG0(regs));
		break;
	case NR_fchdir:
		RESULT(SYSCALL_FCHDIR_X), FD(0);
		break;
	case NR_fchmod:
		RESULT(SYSCALL_FCHMOD_X), FD(0), V32(ARG1(regs) & 07777);
		break;
	case NR_fchown:
		RESULT(SYSCALL_FCHOWN_X), FD(0), A32(1), A32(2);
		break;
	case NR_fcntl:
		RESULT(SYSCALL_FCNTL_X), FD(0), V8(fcntl_cmd(ARG1(regs))), A64(2);
		break;
	case NR_flock:
		RESULT(SYSCALL_FLOCK_X), FD(0), V32(ARG1(regs) & 0xf);
		break;
	case NR_fstat:
		RESULT(SYSCALL_FSTAT_X), FD(0);
		break;
	case NR_getdents:
		RESULT(SYSCALL_GETDENTS_X), FD(0);
		break;
	case NR_getdents64:
		RESULT(SYSCALL_GETDENTS64_X), FD(0);
		break;
	case NR_inotify_init:
		RESULT(SYSCALL_INOTIFY_INIT_X), V8(0);
		break;
	case NR_inotify_init1:
		RESULT(SYSCALL_INOTIFY_INIT1_X), V16(fd_flags(ARG0(regs)));
		break;
	case NR_ioctl:
		RESULT(SYSCALL_IOCTL_3_X), FD(0), A64(1), A64(2);
		break;
	case NR_lseek:
		RESULT(SYSCALL_LSEEK_X), FD(0), A64(1), A8(2);
		break;
	case NR_pidfd_getfd:
		RESULT(SYSCALL_PIDFD_GETFD_X), FD(0), FD(1), A32(2);
		break;
	case NR_pidfd_open:
		RESULT(SYSCALL_PIDFD_OPEN_X), FD(0), V32(BIT(ARG1(regs), 0x800, 1));
		break;
	case NR_pipe:
		RESULT(SYSCALL_PIPE_X), put_pipe(&o, s->task, ret, ARG0(regs));
		break;
	case NR_pipe2:
		RESULT(SYSCALL_PIPE2_X), put_pipe(&o, s->task, ret, ARG0(regs)), V32(fd_flags(ARG1(regs)));
		break;
	case NR_sendfile:
		RESULT(SYSCALL_SENDFILE_X), put_pointed_u64(&o, ARG2(regs)), FD(0), FD(1), A64(3);
		break;
	case NR_signalfd:
		RESULT(SYSCALL_SIGNALFD_X), FD(0), put_pointed_u32(&o, ARG1(regs)), V8(0);
		break;
	case NR_signalfd4:
		RESULT(SYSCALL_SIGNALFD4_X), V16(fd_flags(ARG3(regs))), FD(0);
		put_pointed_u32(&o, ARG1(regs));
		break;
	case NR_splice:
		RESULT(SYSCALL_SPLICE_X), FD(0), FD(2), A64(4), V32(ARG5(regs) & 0xf);
		break;
	case NR_timerfd_create:
		RESULT(SYSCALL_TIMERFD_CREATE_X), A8(0), V8(fd_flags(ARG1(regs)));
		break;
	case NR_userfaultfd:
		RESULT(SYSCALL_USERFAULTFD_X), V32(fd_flags(ARG0(regs)));
		break;
	}
	CALL_END();
}

/* vm_size, vm_rss, vm_swap of the thread that runs. */
#define MEMORY() put_memory(&o, this_task())

SEC("?tp_btf/sys_exit")
int nabe_memory(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_brk:
		RESULT(SYSCALL_BRK_4_X), MEMORY(), A64(0);
		break;
	case NR_mmap:
		RESULT(SYSCALL_MMAP_X), MEMORY(), A64(0), A64(1), V32(protection(ARG2(regs)));
		V32(mmap_flags(ARG3(regs))), FD(4), A64(5);
		break;
	case NR_munmap:
		RESULT(SYSCALL_MUNMAP_X), MEMORY(), A64(0), A64(1);
		break;
	case NR_mprotect:
		RESULT(SYSCALL_MPROTECT_X), A64(0), A64(1), V32(protection(ARG2(regs)));
		break;
	case NR_mlock:
		RESULT(SYSCALL_MLOCK_X), A64(0), A64(1);
		break;
	case NR_mlock2:
		RESULT(SYSCALL_MLOCK2_X), A64(0), A64(1), V32(ARG2(regs) & 1);
		break;
	case NR_mlockall:
		RESULT(SYSCALL_MLOCKALL_X), V32(ARG0(regs) & 7);
		break;
	case NR_munlock:
		RESULT(SYSCALL_MUNLOCK_X), A64(0), A64(1);
		break;
	case NR_munlockall:
		RESULT(SYSCALL_MUNLOCKALL_X);
		break;
	}
	CALL_END();
}

#endif
