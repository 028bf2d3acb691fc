/* SPDX-License-Identifier: GPL-2.0 */
/* Signals, switches, page faults, and children that are followed: on request only. */
#ifndef NABE_SCHED_H
#define NABE_SCHED_H

#include "sys_call.h"

#define SI_USER 0
#define SIGCHLD 17
#define SIGRTMIN 32

struct sigkill {
	int _pid;
} __attribute__((preserve_access_index));

union __sifields {
	struct sigkill _kill;
} __attribute__((preserve_access_index));

/* The start of every siginfo; a sender's number comes first in its union. */
struct kernel_siginfo {
	int si_signo;
	int si_code;
	union __sifields _sifields;
} __attribute__((preserve_access_index));

/* Who sent it, as far as the signal's code says that somebody did. */
static __always_inline __s32 sender(__u32 sig, struct kernel_siginfo *info)
{
	if (sig != SIGCHLD && sig < SIGRTMIN && BPF_CORE_READ(info, si_code) > SI_USER)
		return 0;
	return BPF_CORE_READ(info, _sifields._kill._pid);
}

/* Whether a hook's event is wanted of this process. */
static __always_inline bool hook_wanted(__u32 hook, __u32 tgid)
{
	if (!(HOOK(hook) & CALL_WANTED) || tgid == control.own)
		return false;
	/* It has no result: when only what failed is wanted, it is not. */
	if (picked(tgid, 0))
		return true;
	count_up(filtered_hooks);
	return false;
}

SEC("?tp_btf/signal_deliver")
int nabe_signal(__u64 *ctx)
{
	struct kernel_siginfo *info = (void *)ctx[1];
	__u64 id = this_ids();
	__u32 sig = ctx[0];

	if (!hook_wanted(HOOK_SIGNAL, id >> 32))
		return 0;
	FIXED_BEGIN(o, id, EV_SIGNALDELIVER_E, 3, 17, 0);
	/* SEND_SIG_NOINFO (of every SIGKILL) and SEND_SIG_PRIV are no pointers. */
	if ((__u64)info <= 2)
		put_none(&o);
	else
		put_u64(&o, (__s64)sender(sig, info));
	put_u64(&o, (__u32)id);
	put_u8(&o, sig);
	FIXED_END(o);
	return 0;
}

/* preempt, prev, next: the one that leaves tells. */
SEC("?tp_btf/sched_switch")
int nabe_switch(__u64 *ctx)
{
	struct task_struct *prev = PLAIN((void *)ctx[1], task_struct);
	struct task_struct *next = PLAIN((void *)ctx[2], task_struct);

	if (!hook_wanted(HOOK_SWITCH, FIELD(prev, tgid)))
		return 0;
	FIXED_BEGIN(o, this_ids(), EV_SCHEDSWITCH_6_E, 6, 36, 0);
	put_u64(&o, FIELD(next, pid));
	put_u64(&o, FIELD(prev, maj_flt));
	put_u64(&o, FIELD(prev, min_flt));
	put_memory(&o, prev);
	FIXED_END(o);
	return 0;
}

static __always_inline __u32 fault_bits(__u64 error)
{
	__u32 out = error & 1 ? 1 : 2;

	out |= error & 2 ? 4 : 8;
	out |= error & 4 ? 0x10 : 0x20;
	return out | BIT(error, 8, 0x40) | BIT(error, 0x10, 0x80);
}

static __always_inline int fault(__u32 hook, __u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[1];
	__u64 ids = this_ids();

	if (!hook_wanted(hook, ids >> 32))
		return 0;
	FIXED_BEGIN(o, ids, EV_PAGE_FAULT_E, 3, 20, 0);
	put_u64(&o, ctx[0]);
	put_u64(&o, regs->ip);
	put_u32(&o, fault_bits(ctx[2]));
	FIXED_END(o);
	return 0;
}

SEC("?tp_btf/page_fault_user")
int nabe_fault_user(__u64 *ctx)
{
	return fault(HOOK_FAULT_USER, ctx);
}

SEC("?tp_btf/page_fault_kernel")
int nabe_fault_kernel(__u64 *ctx)
{
	return fault(HOOK_FAULT_KERNEL, ctx);
}

/* parent, child: a child of a process that is followed is followed. */
SEC("?tp_btf/sched_process_fork")
int nabe_follow(__u64 *ctx)
{
	struct task_struct *parent = PLAIN((void *)ctx[0], task_struct);
	struct task_struct *child = PLAIN((void *)ctx[1], task_struct);
	__u32 from = FIELD(parent, tgid), to = FIELD(child, tgid);
	struct nabe_from nothing = {};

	if (from == to || !bpf_map_lookup_elem(&pids, &from))
		return 0;
	if (bpf_map_update_elem(&pids, &to, &nothing, BPF_ANY))
		count_up(broken);
	return 0;
}

/* --- the start of a call, for those that can be changed behind our back --- */

SEC("?tp_btf/sys_enter")
int nabe_enter(__u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	struct event_scratch *s;
	struct event_call call;
	__u64 nr = ctx[1];
	__u16 event = 0;
	struct out o = {};
	struct who by;

	if (nr >= MAX_CALLS)
		return 0;
	BOUND(nr, MAX_CALLS - 1);
	*(__u64 *)&call = *(volatile __u64 *)&control.calls[nr];
	if (!(call.flags & CALL_ENTER))
		return 0;
	by = who();
	if (by.is_32 || by.ids >> 32 == control.own)
		return 0;
	/* Not yet failed: what fails is known at the end. */
	if (!picked(by.ids >> 32, -1)) {
		count_up(filtered_hooks);
		return 0;
	}
	s = scratch_of(SCRATCH_ENTER);
	if (!s)
		return 0;
	o.buf = s->bytes;
	switch (nr) {
	case NR_open:
		EVENT(SYSCALL_OPEN_E), TEXT(0), V32(open_flags(ARG1(regs)));
		V32(open_mode(ARG1(regs), ARG2(regs)));
		break;
	case NR_openat:
		EVENT(SYSCALL_OPENAT_2_E), FD(0), TEXT(1), V32(open_flags(ARG2(regs)));
		V32(open_mode(ARG2(regs), ARG3(regs)));
		break;
	case NR_openat2: {
		__u64 how[3] = {};

		EVENT(SYSCALL_OPENAT2_E), FD(0), TEXT(1);
		if (bpf_probe_read_user(how, sizeof(how), (void *)ARG2(regs)))
			NONE(), NONE(), NONE();
		else
			V32(open_flags(how[0])), V32(open_mode(how[0], how[1])), V32(resolve_bits(how[2]));
		break;
	}
	case NR_creat:
		EVENT(SYSCALL_CREAT_E), TEXT(0), V32(ARG1(regs) & 07777);
		break;
	case NR_connect:
		user_address(s, ARG1(regs), ARG2(regs));
		EVENT(SOCKET_CONNECT_E), FD(0), put_address(&o, s);
		break;
	default:
		return 0;
	}
	put_head(o.buf, by.ids, event, o.n, 0);
	scratch_send(&o);
	return 0;
}

#endif
