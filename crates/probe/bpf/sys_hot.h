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
#define FIXED_BEGIN(o, ids, event, count, size, flags)                            \
	struct out o = { .n = 0, .at = HEAD + 2 * (count) };                      \
	o.buf = ring_reserve(HEAD + 2 * (count) + (size));                        \
	if (!o.buf) {                                                             \
		count_up(ring_full);                                              \
		return 0;                                                         \
	}                                                                         \
	put_head(o.buf, ids, event, count, flags)
#define FIXED_END(o) bpf_ringbuf_submit(o.buf, BPF_RB_NO_WAKEUP)

static __always_inline int hot_generic(struct event_call call, __u64 ids, __u32 nr, __u16 flags)
{
	FIXED_BEGIN(o, ids, EV_GENERIC_X, 2, 4, flags);
	put_u16(&o, call.code);
	put_u16(&o, nr);
	FIXED_END(o);
	return 0;
}

static __always_inline int hot_close(struct pt_regs *regs, __u64 ids, long ret, __u16 flags)
{
	FIXED_BEGIN(o, ids, EV_SYSCALL_CLOSE_X, 2, 16, flags);
	put_u64(&o, ret);
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	FIXED_END(o);
	return 0;
}

/* Up to this many bytes go straight into the ring, which has room for so many then. */
#define DATA_FEW 16
#define DATA_MANY 96

static __always_inline int hot_data_of(struct pt_regs *regs, __u64 ids, long ret, __u16 event,
				       __u16 flags, __u64 wanted, __u64 room)
{
	__u64 data[DATA_MANY / 8];
	int i;

	for (i = 0; i < DATA_MANY / 8; i++)
		if (8 * i < room)
			data[i] = 0;
	asm volatile("" : "+r"(wanted));
	if (wanted > room || bpf_probe_read_user(data, wanted, (void *)ARG1(regs)))
		wanted = 0;
	FIXED_BEGIN(o, ids, event, 4, 20 + room, flags);
	put_u64(&o, ret);
#pragma clang loop unroll(full)
	for (i = 0; i < DATA_MANY / 8; i++)
		if (8 * i < room)
			*(__u64 *)(o.buf + o.at + 8 * i) = data[i];
	put_len(&o, wanted);
	o.at += wanted;
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	put_u32(&o, ARG2(regs));
	FIXED_END(o);
	return 0;
}

/* read and write, with as much of the data as is wanted. */
static __always_inline int hot_data(struct pt_regs *regs, __u64 ids, long ret, __u16 event, __u16 flags)
{
	__u64 snaplen = control.snaplen, wanted;
	struct event_scratch *s;

	if (!snaplen || ret <= 0) {
		FIXED_BEGIN(o, ids, event, 4, 20, flags);
		put_u64(&o, ret);
		put_none(&o);
		put_u64(&o, (__s64)(__s32)ARG0(regs));
		put_u32(&o, ARG2(regs));
		FIXED_END(o);
		return 0;
	}
	wanted = least(ret, snaplen);
	if (wanted <= DATA_FEW)
		return hot_data_of(regs, ids, ret, event, flags, wanted, DATA_FEW);
	if (wanted <= DATA_MANY)
		return hot_data_of(regs, ids, ret, event, flags, wanted, DATA_MANY);
	s = scratch_of(SCRATCH_SYSCALL);
	if (!s)
		return 0;
	SCRATCH_BEGIN(o, s, ids, event, 4, flags);
	put_u64(&o, ret);
	put_user_bytes(&o, (void *)ARG1(regs), wanted);
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	put_u32(&o, ARG2(regs));
	SCRATCH_END(o);
	return 0;
}

static __always_inline int hot_open(struct pt_regs *regs, struct who *by, long ret, __u32 nr, __u16 flags)
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
		SCRATCH_BEGIN(o, s, by->ids, EV_SYSCALL_OPENAT_2_X, N_SYSCALL_OPENAT_2_X, flags);
		put_u64(&o, ret);
		put_u64(&o, (__s64)(__s32)ARG0(regs));
		put_user_text(&o, (void *)name, PATH_MAX);
		put_opened(&o, by->task, ret, how, mode);
		SCRATCH_END(o);
	} else {
		SCRATCH_BEGIN(o, s, by->ids, EV_SYSCALL_OPEN_X, N_SYSCALL_OPEN_X, flags);
		put_u64(&o, ret);
		put_user_text(&o, (void *)name, PATH_MAX);
		put_opened(&o, by->task, ret, how, mode);
		SCRATCH_END(o);
	}
	return 0;
}

/* How a call is handed out: -1 not at all, otherwise the flags of its record. */
static __always_inline int call_flags(struct event_call call, __u32 tgid, long ret)
{
	__u32 select = control.select;
	__u32 far = select ? distance(select, tgid) : NEAR;

	if (far == NEAR && (call.flags & CALL_WANTED) && (!select || picked_thread(select, ret)))
		return 0;
	/* Descriptors are a process's own: of others only kin matters. */
	if (far == FAR && !(call.flags & CALL_KIN))
		return -1;
	if ((call.flags & CALL_STATE) && (ret >= 0 || ret == -EINPROGRESS))
		return FLAG_STATE_ONLY;
	return -1;
}

/* For measuring: what being there costs. */
SEC("?tp_btf/sys_exit")
int nabe_floor_empty(__u64 *ctx)
{
	return 0;
}

/* A record of so many bytes, all of them written, none of them read from anywhere. */
#define FLOOR(size)                                                       \
	case size: {                                                      \
		__u64 *buf = ring_reserve(size);                          \
									  \
		if (!buf) {                                               \
			count_up(ring_full);                              \
			return 0;                                         \
		}                                                         \
		__builtin_memset(buf + 3, 0, size - HEAD);                \
		put_head((void *)buf, this_ids(), EV_GENERIC_X, 2, 0);                \
		bpf_ringbuf_submit(buf, BPF_RB_NO_WAKEUP);                \
		return 0;                                                 \
	}

/* For measuring: the least that a record costs; its size is in control.floor. */
SEC("?tp_btf/sys_exit")
int nabe_floor_record(__u64 *ctx)
{
	switch (control.floor) {
	FLOOR(32)
	FLOOR(40)
	FLOOR(48)
	FLOOR(56)
	FLOOR(64)
	FLOOR(72)
	FLOOR(80)
	FLOOR(88)
	FLOOR(96)
	FLOOR(104)
	FLOOR(112)
	FLOOR(120)
	FLOOR(128)
	FLOOR(160)
	FLOOR(192)
	FLOOR(256)
	}
	count_up(broken);
	return 0;
}

/*
 * A call with its number as a constant is a jump; one with a number from memory
 * would be an indirect one, which is slow where the processor needs guarding.
 */
#define GO_ON(handler)                                        \
	case handler:                                         \
		bpf_tail_call_static(ctx, &handlers, handler); \
		break;

SEC("?tp_btf/sys_exit")
int nabe_exit(__u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	long ret = ctx[1];
	__u64 nr = NR(regs);
	struct event_scratch *s;
	struct event_call call;
	struct who by;
	int flags;

	if (nr >= MAX_CALLS)
		return 0;
	BOUND(nr, MAX_CALLS - 1);
	*(__u64 *)&call = *(volatile __u64 *)&control.calls[nr];
	if (!call.flags && !control.calls32[nr].flags)
		return 0;
	by = who();
	if (by.is_32)
		*(__u64 *)&call = *(volatile __u64 *)&control.calls32[nr];
	if (!call.flags || by.ids >> 32 == control.own)
		return 0;
	/* What call_flags() would say, too, in fewer steps: the most frequent answer. */
	if ((control.select & PICK_PID) && by.ids >> 32 != control.pid && !(call.flags & CALL_KIN)) {
		count_filtered();
		return 0;
	}
	flags = call_flags(call, by.ids >> 32, ret);
	if (flags < 0) {
		count_filtered();
		return 0;
	}
	switch (call.handler) {
	case HANDLE_GENERIC:
		return hot_generic(call, by.ids, nr, flags);
	case HANDLE_CLOSE:
		return hot_close(regs, by.ids, ret, flags);
	case HANDLE_DATA:
		return hot_data(regs, by.ids, ret, call.event, flags);
	case HANDLE_OPEN:
		return hot_open(regs, &by, ret, nr, flags);
	}
	s = scratch_of(SCRATCH_SYSCALL);
	if (!s)
		return 0;
	*(__u64 *)&((struct event_head *)s->bytes)->tid = by.ids;
	((struct event_head *)s->bytes)->flags = flags;
	s->task = by.task;
	switch (call.handler) {
	GO_ON(4)
	GO_ON(5)
	GO_ON(6)
	GO_ON(7)
	GO_ON(8)
	GO_ON(9)
	GO_ON(10)
	GO_ON(11)
	GO_ON(12)
	GO_ON(13)
	GO_ON(14)
	GO_ON(15)
	GO_ON(16)
	GO_ON(17)
	GO_ON(18)
	}
	count_up(broken);
	return 0;
}

#endif
