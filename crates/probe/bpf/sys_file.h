/* SPDX-License-Identifier: GPL-2.0 */
/* System calls with paths and other texts. */
#ifndef NABE_SYS_FILE_H
#define NABE_SYS_FILE_H

#include "sys_call.h"

#define CREAT_UPPER_LAYER 1
#define CREAT_LOWER_LAYER 2

static __always_inline void put_created(struct out *o, __u64 task, long fd, __u64 mode)
{
	struct opened file = {};

	put_u32(o, mode & 07777);
	if (fd < 0) {
		put_none(o);
		put_none(o);
		put_u16(o, 0);
		return;
	}
	file = opened_file(task, fd);
	put_u32(o, file.dev);
	put_u64(o, file.ino);
	put_u16(o, (file.flags & FD_UPPER_LAYER ? CREAT_UPPER_LAYER : 0) |
			   (file.flags & FD_LOWER_LAYER ? CREAT_LOWER_LAYER : 0));
}

/* RESOLVE_*: BENEATH, IN_ROOT, NO_MAGICLINKS, NO_SYMLINKS, NO_XDEV, CACHED. */
static __always_inline __u32 resolve_bits(__u64 r)
{
	return BIT(r, 8, 1) | BIT(r, 0x10, 2) | BIT(r, 2, 4) | BIT(r, 4, 8) | BIT(r, 1, 0x10) |
	       BIT(r, 0x20, 0x20);
}

/* openat2: flags, mode, resolve, dev, ino from struct open_how. */
static __always_inline void put_open_how(struct out *o, __u64 task, long fd, __u64 from)
{
	struct opened file = {};
	__u64 how[3] = {};

	if (fd >= 0)
		file = opened_file(task, fd);
	if (bpf_probe_read_user(how, sizeof(how), (void *)from)) {
		put_none(o);
		put_none(o);
		put_none(o);
	} else {
		put_u32(o, open_flags(how[0]) | file.flags);
		put_u32(o, open_mode(how[0], how[1]));
		put_u32(o, resolve_bits(how[2]));
	}
	if (fd < 0) {
		put_none(o);
		put_none(o);
		return;
	}
	put_u32(o, file.dev);
	put_u64(o, file.ino);
}

/* open_by_handle_at: flags, path, dev, ino. */
static __always_inline void put_by_handle(struct out *o, struct event_scratch *s, long fd, __u64 how)
{
	struct opened file = {};

	if (fd >= 0)
		file = opened_file(s->task, fd);
	put_u32(o, open_flags(how) | file.flags);
	if (fd < 0) {
		put_none(o);
		put_none(o);
		put_none(o);
		return;
	}
	put_path(o, s, file_of(s->task, fd));
	put_u32(o, file.dev);
	put_u64(o, file.ino);
}

#define MS_MGC_MSK 0xffff0000u
#define MS_MGC_VAL 0xC0ED0000u

static __always_inline __u32 mount_flags(__u32 flags)
{
	return (flags & MS_MGC_MSK) == MS_MGC_VAL ? flags & ~MS_MGC_MSK : flags;
}

/* fsconfig: its value as bytes, as text; which of them its command says. */
static __always_inline void put_fsconfig(struct out *o, long ret, __u32 cmd, __u64 value, __u64 aux)
{
	bool text = cmd == 1 || cmd == 3 || cmd == 4; /* SET_STRING, SET_PATH, SET_PATH_EMPTY */

	if (ret >= 0 && cmd == 2 /* SET_BINARY */)
		put_user_bytes(o, (void *)value, least((__u32)aux, PATH_MAX));
	else
		put_none(o);
	if (ret >= 0 && text)
		put_user_text(o, (void *)value, PATH_MAX);
	else
		put_none(o);
}

SEC("?tp_btf/sys_exit")
int nabe_path(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_creat:
		RESULT(SYSCALL_CREAT_X), TEXT(0), put_created(&o, s->task, ret, ARG1(regs));
		break;
	case NR_openat2:
		RESULT(SYSCALL_OPENAT2_X), FD(0), TEXT(1), put_open_how(&o, s->task, ret, ARG2(regs));
		break;
	case NR_access:
		RESULT(SYSCALL_ACCESS_X), TEXT(0), V32(ARG1(regs) & 7);
		break;
	case NR_chdir:
		RESULT(SYSCALL_CHDIR_X), TEXT(0);
		break;
	case NR_chroot:
		RESULT(SYSCALL_CHROOT_X), TEXT(0);
		break;
	case NR_chmod:
		RESULT(SYSCALL_CHMOD_X), TEXT(0), V32(ARG1(regs) & 07777);
		break;
	case NR_fchmodat:
		RESULT(SYSCALL_FCHMODAT_X), FD(0), TEXT(1), V32(ARG2(regs) & 07777);
		break;
	case NR_chown:
		RESULT(SYSCALL_CHOWN_X), TEXT(0), A32(1), A32(2);
		break;
	case NR_lchown:
		RESULT(SYSCALL_LCHOWN_X), TEXT(0), A32(1), A32(2);
		break;
	case NR_fchownat:
		RESULT(SYSCALL_FCHOWNAT_X), FD(0), TEXT(1), A32(2), A32(3),
			V32(ARG4(regs) & 0x1400);
		break;
	case NR_mkdir:
		RESULT(SYSCALL_MKDIR_2_X), TEXT(0), A32(1);
		break;
	case NR_mkdirat:
		RESULT(SYSCALL_MKDIRAT_X), FD(0), TEXT(1), A32(2);
		break;
	case NR_mknod:
		RESULT(SYSCALL_MKNOD_X), TEXT(0), V32(ARG1(regs) & 0177777), A32(2);
		break;
	case NR_mknodat:
		RESULT(SYSCALL_MKNODAT_X), FD(0), TEXT(1), V32(ARG2(regs) & 0177777), A32(3);
		break;
	case NR_rmdir:
		RESULT(SYSCALL_RMDIR_2_X), TEXT(0);
		break;
	case NR_stat:
		RESULT(SYSCALL_STAT_X), TEXT(0);
		break;
	case NR_lstat:
		RESULT(SYSCALL_LSTAT_X), TEXT(0);
		break;
	case NR_newfstatat:
		RESULT(SYSCALL_NEWFSTATAT_X), FD(0), TEXT(1), V32(ARG3(regs) & 0x1900);
		break;
	case NR_umount2:
		RESULT(SYSCALL_UMOUNT2_X), TEXT(0), V32(ARG1(regs) & 0xf);
		break;
	case NR_unlink:
		RESULT(SYSCALL_UNLINK_2_X), TEXT(0);
		break;
	case NR_unlinkat:
		RESULT(SYSCALL_UNLINKAT_2_X), FD(0), TEXT(1), V32(ARG2(regs) & 0x200);
		break;
	case NR_getcwd:
		RESULT(SYSCALL_GETCWD_X);
		if (ret >= 0)
			TEXT(0);
		else
			NONE();
		break;
	case NR_memfd_create:
		RESULT(SYSCALL_MEMFD_CREATE_X), TEXT(0), V32(ARG1(regs) & 7);
		break;
	}
	CALL_END();
}

SEC("?tp_btf/sys_exit")
int nabe_paths(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_link:
		RESULT(SYSCALL_LINK_2_X), TEXT(0), TEXT(1);
		break;
	case NR_linkat:
		RESULT(SYSCALL_LINKAT_2_X), FD(0), TEXT(1), FD(2), TEXT(3), V32(ARG4(regs) & 0x1400);
		break;
	case NR_rename:
		RESULT(SYSCALL_RENAME_X), TEXT(0), TEXT(1);
		break;
	case NR_renameat:
		RESULT(SYSCALL_RENAMEAT_X), FD(0), TEXT(1), FD(2), TEXT(3);
		break;
	case NR_renameat2:
		RESULT(SYSCALL_RENAMEAT2_X), FD(0), TEXT(1), FD(2), TEXT(3), A32(4);
		break;
	case NR_symlink:
		RESULT(SYSCALL_SYMLINK_X), TEXT(0), TEXT(1);
		break;
	case NR_symlinkat:
		RESULT(SYSCALL_SYMLINKAT_X), TEXT(0), FD(1), TEXT(2);
		break;
	case NR_mount:
		RESULT(SYSCALL_MOUNT_X), TEXT(0), TEXT(1), TEXT(2), V32(mount_flags(ARG3(regs)));
		break;
	case NR_open_by_handle_at:
		RESULT(SYSCALL_OPEN_BY_HANDLE_AT_X), FD(0);
		put_by_handle(&o, s, ret, ARG2(regs));
		break;
	case NR_init_module:
		RESULT(SYSCALL_INIT_MODULE_X);
		put_user_bytes(&o, (void *)ARG0(regs), least(ARG1(regs), control.snaplen));
		A64(1), TEXT(2);
		break;
	case NR_finit_module:
		RESULT(SYSCALL_FINIT_MODULE_X), FD(0), TEXT(1), V32(ARG2(regs) & 7);
		break;
	case NR_delete_module:
		RESULT(SYSCALL_DELETE_MODULE_X), TEXT(0);
		V32(BIT(ARG1(regs), 0x200, 1) | BIT(ARG1(regs), 0x800, 2));
		break;
	case NR_fsconfig:
		RESULT(SYSCALL_FSCONFIG_X), FD(0), A32(1), TEXT(2);
		put_fsconfig(&o, ret, ARG1(regs), ARG3(regs), ARG4(regs));
		A32(4);
		break;
	}
	CALL_END();
}

#endif
