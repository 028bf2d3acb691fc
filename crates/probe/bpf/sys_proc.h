/* SPDX-License-Identifier: GPL-2.0 */
/* System calls about processes, users, signals and time, and between processes. */
#ifndef NABE_SYS_PROC_H
#define NABE_SYS_PROC_H

#include "sys_call.h"

/* The three sets that the thread has now: inheritable, permitted, effective. */
static __always_inline void put_capabilities(struct out *o)
{
	const struct cred *cred = BPF_CORE_READ(this_task(), cred);
	__u64 caps[3] = {};

	bpf_core_read(caps, sizeof(caps), &cred->cap_inheritable);
	put_u64(o, caps[0]);
	put_u64(o, caps[1]);
	put_u64(o, caps[2]);
}

/* cur, max of a struct rlimit, or nothing. */
static __always_inline void put_limits(struct out *o, bool there, __u64 from)
{
	__u64 limits[2];

	if (there && from && !bpf_probe_read_user(limits, sizeof(limits), (void *)from)) {
		put_u64(o, limits[0]);
		put_u64(o, limits[1]);
	} else {
		put_none(o);
		put_none(o);
	}
}

static __always_inline __u8 resource(__u32 kernel)
{
	return kernel < 16 ? kernel : 0xff;
}

#define PR_SET_NAME 15
#define PR_GET_NAME 16
#define PR_GET_CHILD_SUBREAPER 37

/* arg2 as text, as number: which, the option says. */
static __always_inline void put_prctl(struct out *o, __u32 option, __u64 arg2)
{
	__s32 value;

	if (option == PR_SET_NAME || option == PR_GET_NAME) {
		put_user_text(o, (void *)arg2, 16);
		put_none(o);
		return;
	}
	put_none(o);
	if (option != PR_GET_CHILD_SUBREAPER)
		put_u64(o, arg2);
	else if (!bpf_probe_read_user(&value, sizeof(value), (void *)arg2))
		put_u64(o, (__s64)value);
	else
		put_none(o);
}

/* PTRACE_*: the schema counts them one after the other. */
static __always_inline __u16 ptrace_request(__u64 kernel)
{
	if (kernel <= 9)
		return kernel + 1;
	if (kernel >= 0x4200 && kernel <= 0x420b)
		return kernel - 0x4200 + 14;
	switch (kernel) {
	case 12: /* GETREGS, SETREGS, GETFPREGS, SETFPREGS */
	case 13:
	case 14:
	case 15:
		return kernel + 14;
	case 16: /* ATTACH, DETACH */
	case 17:
		return kernel - 5;
	case 18: /* GETFPXREGS, SETFPXREGS */
	case 19:
		return kernel + 12;
	case 21: /* OLDSETOPTIONS */
		return 32;
	case 24: /* SYSCALL */
		return 13;
	case 25: /* GET_THREAD_AREA, SET_THREAD_AREA */
	case 26:
		return kernel + 8;
	case 30: /* ARCH_PRCTL, SYSEMU, SYSEMU_SINGLESTEP, SINGLEBLOCK */
	case 31:
	case 32:
	case 33:
		return kernel + 5;
	}
	return 0;
}

#define DYN_SIGNAL 1

/* One byte that says which kind of value follows, then the value. */
static __always_inline void put_dyn_u64(struct out *o, __u8 kind, __u64 value)
{
	*(o->buf + o->at) = kind;
	*(__u64 *)(o->buf + o->at + 1) = value;
	o->at += 9;
	put_len(o, 9);
}

/* addr and data of a ptrace; what it peeked at is behind its fourth argument. */
static __always_inline void put_ptrace(struct out *o, long ret, __u64 request, __u64 addr, __u64 data)
{
	__u64 value = data;

	if (ret < 0) {
		put_none(o);
		put_none(o);
		return;
	}
	put_dyn_u64(o, 0, addr);
	if (request == 7 || request == 9 || request == 17 || request == 24) {
		/* CONT, SINGLESTEP, DETACH, SYSCALL: a signal. */
		*(__u16 *)(o->buf + o->at) = DYN_SIGNAL | (__u16)(data << 8);
		o->at += 2;
		put_len(o, 2);
		return;
	}
	if (request >= 1 && request <= 3 && !user_u64(&value, data)) {
		put_none(o);
		return;
	}
	put_dyn_u64(o, 0, value);
}

SEC("?tp_btf/sys_exit")
int nabe_proc(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_capset:
		RESULT(SYSCALL_CAPSET_X), put_capabilities(&o);
		break;
	case NR_getuid:
		EVENT(SYSCALL_GETUID_X), V32(ret);
		break;
	case NR_geteuid:
		EVENT(SYSCALL_GETEUID_X), V32(ret);
		break;
	case NR_getgid:
		EVENT(SYSCALL_GETGID_X), V32(ret);
		break;
	case NR_getegid:
		EVENT(SYSCALL_GETEGID_X), V32(ret);
		break;
	case NR_getresuid:
		RESULT(SYSCALL_GETRESUID_X), put_pointed_u32(&o, ARG0(regs));
		put_pointed_u32(&o, ARG1(regs)), put_pointed_u32(&o, ARG2(regs));
		break;
	case NR_getresgid:
		RESULT(SYSCALL_GETRESGID_X), put_pointed_u32(&o, ARG0(regs));
		put_pointed_u32(&o, ARG1(regs)), put_pointed_u32(&o, ARG2(regs));
		break;
	case NR_setuid:
		RESULT(SYSCALL_SETUID_X), A32(0);
		break;
	case NR_setgid:
		RESULT(SYSCALL_SETGID_X), A32(0);
		break;
	case NR_setreuid:
		RESULT(SYSCALL_SETREUID_X), A32(0), A32(1);
		break;
	case NR_setregid:
		RESULT(SYSCALL_SETREGID_X), A32(0), A32(1);
		break;
	case NR_setresuid:
		RESULT(SYSCALL_SETRESUID_X), A32(0), A32(1), A32(2);
		break;
	case NR_setresgid:
		RESULT(SYSCALL_SETRESGID_X), A32(0), A32(1), A32(2);
		break;
	case NR_setsid:
		RESULT(SYSCALL_SETSID_X);
		break;
	case NR_setpgid:
		RESULT(SYSCALL_SETPGID_X), FD(0), FD(1);
		break;
	case NR_setns:
		RESULT(SYSCALL_SETNS_X), FD(0), V32(clone_bits((__u32)ARG1(regs)));
		break;
	case NR_unshare:
		RESULT(SYSCALL_UNSHARE_X), V32(clone_bits((__u32)ARG0(regs)));
		break;
	case NR_kill:
		RESULT(SYSCALL_KILL_X), FD(0), A8(1);
		break;
	case NR_tkill:
		RESULT(SYSCALL_TKILL_X), FD(0), A8(1);
		break;
	case NR_tgkill:
		RESULT(SYSCALL_TGKILL_X), FD(0), FD(1), A8(2);
		break;
	case NR_getrlimit:
		RESULT(SYSCALL_GETRLIMIT_X), put_limits(&o, ret == 0, ARG1(regs));
		V8(resource(ARG0(regs)));
		break;
	case NR_setrlimit:
		RESULT(SYSCALL_SETRLIMIT_X), put_limits(&o, true, ARG1(regs));
		V8(resource(ARG0(regs)));
		break;
	case NR_prlimit64:
		RESULT(SYSCALL_PRLIMIT_X), put_limits(&o, true, ARG2(regs));
		put_limits(&o, ret == 0, ARG3(regs)), FD(0), V8(resource(ARG1(regs)));
		break;
	case NR_prctl:
		RESULT(SYSCALL_PRCTL_X), A32(0), put_prctl(&o, ARG0(regs), ARG1(regs));
		break;
	case NR_ptrace:
		RESULT(SYSCALL_PTRACE_X);
		put_ptrace(&o, ret, ARG0(regs), ARG2(regs), ARG3(regs));
		V16(ptrace_request(ARG0(regs))), FD(1);
		break;
	case NR_seccomp:
		RESULT(SYSCALL_SECCOMP_X), A64(0), V64((__u32)ARG1(regs));
		break;
	}
	CALL_END();
}

/* --- waiting, futexes, semaphores --- */

#define POLL_MOST 16 /* as the schema's other writers cut */

static __always_inline __u16 poll_bits(__u16 f)
{
	/* IN, PRI, OUT; RDHUP; ERR, HUP, NVAL, RDNORM, RDBAND, WRNORM, WRBAND. */
	return (f & 7) | BIT(f, 0x2000, 8) | BIT(f, 8, 0x10) | BIT(f, 0x10, 0x20) |
	       BIT(f, 0x20, 0x40) | BIT(f, 0x40, 0x80) | BIT(f, 0x80, 0x100) |
	       BIT(f, 0x100, 0x200) | BIT(f, 0x200, 0x400);
}

struct pollfd {
	__s32 fd;
	__u16 events;
	__u16 revents;
};

/* u16 count, then i64 descriptor and i16 what happened, each. */
static __always_inline void put_polled(struct out *o, __u64 from, __u32 count)
{
	__u64 at = o->at + 2;
	__u16 told = 0;
	int i;

	for (i = 0; i < POLL_MOST; i++) {
		struct pollfd one;

		if (i >= count ||
		    bpf_probe_read_user(&one, sizeof(one), (void *)(from + i * sizeof(one))))
			break;
		*(__u64 *)(o->buf + at) = (__s64)one.fd;
		*(__u16 *)(o->buf + at + 8) = poll_bits(one.revents);
		at += 10;
		told++;
	}
	if (count && !told) {
		put_none(o);
		return;
	}
	*(__u16 *)(o->buf + o->at) = told;
	put_len(o, at - o->at);
	o->at = at;
}

static __always_inline __u16 semctl_cmd(__u32 cmd)
{
	switch (cmd) {
	case 0: /* IPC_RMID */
		return 4;
	case 1: /* IPC_SET */
		return 2;
	case 2: /* IPC_STAT */
		return 1;
	case 3: /* IPC_INFO */
		return 8;
	case 11: /* GETPID */
		return 0x100;
	case 12: /* GETVAL */
		return 0x200;
	case 13: /* GETALL */
		return 0x40;
	case 14: /* GETNCNT */
		return 0x80;
	case 15: /* GETZCNT */
		return 0x400;
	case 16: /* SETVAL */
		return 0x1000;
	case 17: /* SETALL */
		return 0x800;
	case 18: /* SEM_STAT */
		return 0x20;
	case 19: /* SEM_INFO */
		return 0x10;
	}
	return 0;
}

struct sembuf {
	__u16 num;
	__s16 op;
	__u16 flg;
};

static __always_inline void put_semaphore(struct out *o, bool there, __u64 from)
{
	struct sembuf one;

	if (!there || bpf_probe_read_user(&one, sizeof(one), (void *)from)) {
		put_none(o);
		put_none(o);
		put_none(o);
		return;
	}
	put_u16(o, one.num);
	put_u16(o, one.op);
	put_u16(o, BIT(one.flg, 04000, 1) | BIT(one.flg, 010000, 2));
}

SEC("?tp_btf/sys_exit")
int nabe_ipc(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_poll:
		RESULT(SYSCALL_POLL_X), put_polled(&o, ARG0(regs), ARG1(regs)), FD(2);
		break;
	case NR_ppoll:
		RESULT(SYSCALL_PPOLL_X), put_polled(&o, ARG0(regs), ARG1(regs));
		put_timespec(&o, ARG2(regs)), put_pointed_u32(&o, ARG3(regs));
		break;
	case NR_select:
		RESULT(SYSCALL_SELECT_X);
		break;
	case NR_nanosleep:
		RESULT(SYSCALL_NANOSLEEP_X), put_timespec(&o, ARG0(regs));
		break;
	case NR_futex:
		RESULT(SYSCALL_FUTEX_X), A64(0), V16(ARG1(regs) & 0x18f), A64(2);
		break;
	case NR_semctl:
		RESULT(SYSCALL_SEMCTL_X), A32(0), A32(1), V16(semctl_cmd(ARG2(regs)));
		if ((__u32)ARG2(regs) == 16)
			A32(3);
		else
			NONE();
		break;
	case NR_semget:
		RESULT(SYSCALL_SEMGET_X), A32(0), A32(1);
		V32(BIT(ARG2(regs), 01000, 1 << 13) | BIT(ARG2(regs), 02000, 1 << 14));
		break;
	case NR_semop:
		RESULT(SYSCALL_SEMOP_X), A32(2), put_semaphore(&o, ARG2(regs) > 0, ARG1(regs));
		put_semaphore(&o, ARG2(regs) > 1, ARG1(regs) + sizeof(struct sembuf)), A32(0);
		break;
	case NR_io_uring_enter:
		RESULT(SYSCALL_IO_URING_ENTER_X), FD(0), A32(1), A32(2), V32(ARG3(regs) & 0xf);
		put_pointed_u32(&o, ARG4(regs));
		break;
	case NR_io_uring_register:
		RESULT(SYSCALL_IO_URING_REGISTER_X), FD(0), V16(ARG1(regs)), A64(2), A32(3);
		break;
	}
	CALL_END();
}

/* --- seldom --- */

/* sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features. */
static __always_inline void put_uring(struct out *o, __u64 from)
{
	__u32 p[6], f;

	if (bpf_probe_read_user(p, sizeof(p), (void *)from)) {
		put_none(o);
		put_none(o);
		put_none(o);
		put_none(o);
		put_none(o);
		put_none(o);
		return;
	}
	f = p[2];
	put_u32(o, p[0]);
	put_u32(o, p[1]);
	/* IOPOLL, SQPOLL; SQ_AFF, CQSIZE, CLAMP, ATTACH_WQ, R_DISABLED. */
	put_u32(o, (f & 3) | (f & 0x7c) << 1);
	put_u32(o, p[3]);
	put_u32(o, p[4]);
	put_u32(o, p[5] & 0x6ff);
}

static __always_inline __u16 quota_cmd(__u32 cmd)
{
	__u32 sub = cmd >> 8;

	/* SYNC, QUOTAON, QUOTAOFF, GETFMT, GETINFO, SETINFO, GETQUOTA, SETQUOTA. */
	if (sub == 0x800001)
		return 0x80;
	if (sub >= 0x800002 && sub <= 0x800008)
		return 1 << (sub - 0x800002);
	/* XQUOTAON and what follows it. */
	if (sub >= 0x5801 && sub <= 0x5807)
		return 0x100 << (sub - 0x5801);
	return 0;
}

static __always_inline __u8 quota_format(__u32 format)
{
	return format == 1 ? 2 : format == 2 ? 4 : format == 4 ? 8 : 1;
}

/* dqb_*, seven numbers, as far as they are valid (struct if_dqblk). */
static __always_inline void put_quota(struct out *o, bool there, __u64 from)
{
	__u64 q[9] = {};
	__u32 valid;

	if (!there || bpf_probe_read_user(q, sizeof(q), (void *)from))
		q[8] = 0;
	valid = q[8];
#define QUOTA(bit, at)                      \
	do {                                \
		if (valid & (bit))          \
			put_u64(o, q[at]);  \
		else                        \
			put_none(o);        \
	} while (0)
	QUOTA(1, 0);
	QUOTA(1, 1);
	QUOTA(2, 2);
	QUOTA(4, 3);
	QUOTA(4, 4);
	QUOTA(16, 6);
	QUOTA(32, 7);
#undef QUOTA
}

/* dqi_bgrace, dqi_igrace, dqi_flags, as far as they are valid (struct if_dqinfo). */
static __always_inline void put_quota_info(struct out *o, bool there, __u64 from)
{
	struct {
		__u64 bgrace, igrace;
		__u32 flags, valid;
	} q = {};

	if (!there || bpf_probe_read_user(&q, sizeof(q), (void *)from))
		q.valid = 0;
	if (q.valid & 1)
		put_u64(o, q.bgrace);
	else
		put_none(o);
	if (q.valid & 2)
		put_u64(o, q.igrace);
	else
		put_none(o);
	if (q.valid & 4)
		put_u8(o, q.flags);
	else
		put_none(o);
}

static __always_inline void put_quotactl(struct out *o, __u32 kernel, __u64 special, __u32 id, __u64 addr)
{
	__u16 cmd = quota_cmd(kernel);
	__u32 type = kernel & 0xff, format;

	put_user_text(o, (void *)special, PATH_MAX);
	if (cmd == 1)
		put_user_text(o, (void *)addr, PATH_MAX);
	else
		put_none(o);
	put_quota(o, cmd == 0x20 || cmd == 0x40, addr);
	put_quota_info(o, cmd == 8 || cmd == 0x10, addr);
	if (cmd == 4 && !bpf_probe_read_user(&format, sizeof(format), (void *)addr))
		put_u8(o, quota_format(format));
	else
		put_none(o);
	put_u16(o, cmd);
	put_u8(o, type < 2 ? 1 << type : 0);
	if (cmd == 0x20 || cmd == 0x40 || cmd == 0x400 || cmd == 0x800)
		put_u32(o, id);
	else
		put_none(o);
	put_u8(o, cmd == 1 ? quota_format(id) : 1);
}

/* Which of keyctl's arguments 2 to 5 it has (low bits), and which are texts (high bits). */
static __always_inline __u32 key_arguments(__u32 op)
{
	switch (op) {
	case 1: /* JOIN_SESSION_KEYRING */
		return 0x11;
	case 3: /* REVOKE, CLEAR, SET_REQKEY_KEYRING, ASSUME_AUTHORITY, INVALIDATE */
	case 7:
	case 14:
	case 16:
	case 21:
		return 0x01;
	case 0: /* GET_KEYRING_ID, SETPERM, LINK, UNLINK, SET_TIMEOUT, GET_PERSISTENT, CAPABILITIES */
	case 5:
	case 8:
	case 9:
	case 15:
	case 22:
	case 31:
		return 0x03;
	case 2: /* UPDATE, CHOWN, DESCRIBE, READ, NEGATE, GET_SECURITY, WATCH_KEY */
	case 4:
	case 6:
	case 11:
	case 13:
	case 17:
	case 32:
		return 0x07;
	case 29: /* RESTRICT_KEYRING */
		return 0x67;
	case 24: /* PKEY_QUERY */
		return 0x47;
	case 10: /* SEARCH */
		return 0x6f;
	case 25: /* PKEY_ENCRYPT, DECRYPT, SIGN, VERIFY */
	case 26:
	case 27:
	case 28:
		return 0x2f;
	case 12: /* INSTANTIATE, REJECT, INSTANTIATE_IOV, DH_COMPUTE, MOVE */
	case 19:
	case 20:
	case 23:
	case 30:
		return 0x0f;
	}
	return 0;
}

#define KEY_TEXT 1

static __always_inline void put_key(struct out *o, __u32 which, __u32 place, __u64 value)
{
	long n;

	if (!(which >> place & 1)) {
		put_none(o);
		return;
	}
	if (!(which >> (4 + place) & 1)) {
		put_dyn_u64(o, 0, value);
		return;
	}
	*(o->buf + o->at) = KEY_TEXT;
	n = user_text(o->buf + o->at + 1, PATH_MAX, (void *)value);
	if (n < 0) {
		put_none(o);
		return;
	}
	put_len(o, n + 1);
	o->at += n + 1;
}

SEC("?tp_btf/sys_exit")
int nabe_seldom(__u64 *ctx)
{
	__u32 which;

	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_io_uring_setup:
		RESULT(SYSCALL_IO_URING_SETUP_X), A32(0), put_uring(&o, ARG1(regs));
		break;
	case NR_quotactl:
		RESULT(SYSCALL_QUOTACTL_X);
		put_quotactl(&o, ARG0(regs), ARG1(regs), ARG2(regs), ARG3(regs));
		break;
	case NR_keyctl:
		which = key_arguments(ARG0(regs));
		RESULT(SYSCALL_KEYCTL_X), A32(0);
		put_key(&o, which, 0, ARG1(regs)), put_key(&o, which, 1, ARG2(regs));
		put_key(&o, which, 2, ARG3(regs)), put_key(&o, which, 3, ARG4(regs));
		break;
	}
	CALL_END();
}

#endif
