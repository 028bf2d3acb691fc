/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The system calls that a busy machine makes most, without a tail call: generic,
 * close, read and write, openat. Everything else is in sys_*.h, one program each.
 */
#ifndef NABE_SYS_HOT_H
#define NABE_SYS_HOT_H

#include "event_file.h"

/* Numbers of handlers: live::control::Handler. */
enum {
	HANDLE_GENERIC = 0,
	HANDLE_CLOSE = 1,
	HANDLE_DATA = 2,
	HANDLE_OPEN = 3,
	/* The others are slots of `handlers`. */
};

/* A record of fixed size, written in the ring. */
#define FIXED_BEGIN(o, event, count, size, flags)                                 \
	struct out o = { .n = 0, .at = HEAD + 2 * (count) };                      \
	o.buf = bpf_ringbuf_reserve(&ring, HEAD + 2 * (count) + (size), 0);       \
	if (!o.buf) {                                                             \
		count_up(ring_full);                                              \
		return 0;                                                         \
	}                                                                         \
	put_head(o.buf, event, count, flags)
#define FIXED_END(o) bpf_ringbuf_submit(o.buf, BPF_RB_NO_WAKEUP)

static __always_inline int hot_generic(struct event_call call, __u32 nr, __u16 flags)
{
	FIXED_BEGIN(o, EV_GENERIC_X, 2, 4, flags);
	put_u16(&o, call.code);
	put_u16(&o, nr);
	FIXED_END(o);
	return 0;
}

static __always_inline int hot_close(struct pt_regs *regs, long ret, __u16 flags)
{
	FIXED_BEGIN(o, EV_SYSCALL_CLOSE_X, 2, 16, flags);
	put_u64(&o, ret);
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	FIXED_END(o);
	return 0;
}

/* Up to this many bytes go straight into the ring, which has room for so many then. */
#define DATA_FEW 16
#define DATA_MANY 96

static __always_inline int hot_data_of(struct pt_regs *regs, long ret, __u16 event, __u16 flags,
				       __u64 wanted, __u64 room)
{
	FIXED_BEGIN(o, event, 4, 20 + room, flags);
	put_u64(&o, ret);
	asm volatile("" : "+r"(wanted));
	if (wanted > room || bpf_probe_read_user(o.buf + o.at, wanted, (void *)ARG1(regs)))
		wanted = 0;
	put_len(&o, wanted);
	o.at += wanted;
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	put_u32(&o, ARG2(regs));
	FIXED_END(o);
	return 0;
}

/* read and write, with as much of the data as is wanted. */
static __always_inline int hot_data(struct pt_regs *regs, long ret, __u16 event, __u16 flags)
{
	__u64 snaplen = control.snaplen, wanted;
	struct event_scratch *s;

	if (!snaplen || ret <= 0) {
		FIXED_BEGIN(o, event, 4, 20, flags);
		put_u64(&o, ret);
		put_none(&o);
		put_u64(&o, (__s64)(__s32)ARG0(regs));
		put_u32(&o, ARG2(regs));
		FIXED_END(o);
		return 0;
	}
	wanted = least(ret, snaplen);
	if (wanted <= DATA_FEW)
		return hot_data_of(regs, ret, event, flags, wanted, DATA_FEW);
	if (wanted <= DATA_MANY)
		return hot_data_of(regs, ret, event, flags, wanted, DATA_MANY);
	s = scratch_of(SCRATCH_SYSCALL);
	if (!s)
		return 0;
	SCRATCH_BEGIN(o, s, event, 4, flags);
	put_u64(&o, ret);
	put_user_bytes(&o, (void *)ARG1(regs), wanted);
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	put_u32(&o, ARG2(regs));
	SCRATCH_END(o);
	return 0;
}

static __always_inline int hot_open(struct pt_regs *regs, long ret, __u32 nr, __u16 flags)
{
	bool at = nr == NR_openat;
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);
	__u64 name, how, mode;

	if (!s)
		return 0;
	name = at ? ARG1(regs) : ARG0(regs);
	how = at ? ARG2(regs) : ARG1(regs);
	mode = at ? ARG3(regs) : ARG2(regs);
	if (at) {
		SCRATCH_BEGIN(o, s, EV_SYSCALL_OPENAT_2_X, N_SYSCALL_OPENAT_2_X, flags);
		put_u64(&o, ret);
		put_u64(&o, (__s64)(__s32)ARG0(regs));
		put_user_text(&o, (void *)name, PATH_MAX);
		put_opened(&o, ret, how, mode);
		SCRATCH_END(o);
	} else {
		SCRATCH_BEGIN(o, s, EV_SYSCALL_OPEN_X, N_SYSCALL_OPEN_X, flags);
		put_u64(&o, ret);
		put_user_text(&o, (void *)name, PATH_MAX);
		put_opened(&o, ret, how, mode);
		SCRATCH_END(o);
	}
	return 0;
}

/* How a call is handed out: -1 not at all, otherwise the flags of its record. */
static __always_inline int call_flags(struct event_call call, __u32 tgid, long ret)
{
	if ((call.flags & CALL_WANTED) && picked(tgid, ret))
		return 0;
	if ((call.flags & CALL_STATE) && (ret >= 0 || ret == -EINPROGRESS))
		return FLAG_STATE_ONLY;
	return -1;
}

/* For measuring: what being there costs, and a record of 64 bytes of which nothing is read. */
SEC("?tp_btf/sys_exit")
int nabe_floor_empty(__u64 *ctx)
{
	return 0;
}

SEC("?tp_btf/sys_exit")
int nabe_floor_record(__u64 *ctx)
{
	FIXED_BEGIN(o, EV_GENERIC_X, 2, 36, 0);
	put_u16(&o, 0);
	put_u16(&o, 0);
	FIXED_END(o);
	return 0;
}

SEC("?tp_btf/sys_exit")
int nabe_exit(__u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	long ret = ctx[1];
	__u64 nr = NR(regs);
	struct event_call call;
	__u32 tgid;
	int flags;

	if (nr >= MAX_CALLS)
		return 0;
	BOUND(nr, MAX_CALLS - 1);
	if (call_is_32())
		*(__u64 *)&call = *(volatile __u64 *)&control.calls32[nr];
	else
		*(__u64 *)&call = *(volatile __u64 *)&control.calls[nr];
	if (!call.flags)
		return 0;
	tgid = this_ids() >> 32;
	if (tgid == control.own)
		return 0;
	flags = call_flags(call, tgid, ret);
	if (flags < 0) {
		count_filtered();
		return 0;
	}
	switch (call.handler) {
	case HANDLE_GENERIC:
		return hot_generic(call, nr, flags);
	case HANDLE_CLOSE:
		return hot_close(regs, ret, flags);
	case HANDLE_DATA:
		return hot_data(regs, ret, call.event, flags);
	case HANDLE_OPEN:
		return hot_open(regs, ret, nr, flags);
	}
	{
		struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);

		if (!s)
			return 0;
		((struct event_head *)s->bytes)->flags = flags;
		bpf_tail_call(ctx, &handlers, call.handler);
		count_up(broken);
	}
	return 0;
}

#endif
