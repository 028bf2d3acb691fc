/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How the programs behind the first one write an event: a case for each system
 * call, a line for each parameter, in the order of the event table.
 */
#ifndef NABE_SYS_CALL_H
#define NABE_SYS_CALL_H

#include "event_task.h"

/* What the first program has left for those behind it. */
static __always_inline __u64 pending_ids(struct event_scratch *s)
{
	return *(__u64 *)&((struct event_head *)s->bytes)->tid;
}

static __always_inline __u16 pending_flags(struct event_scratch *s)
{
	return ((struct event_head *)s->bytes)->flags;
}

/* What every such program begins with. */
#define CALL_BEGIN(ctx)                                              \
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);       \
	struct pt_regs *regs = (void *)(ctx)[0];                     \
	long ret = (ctx)[1];                                         \
	__u16 event = 0;                                             \
	struct out o = {};                                           \
                                                                     \
	if (!s)                                                      \
		return 0;                                            \
	o.buf = s->bytes;                                            \
	(void)ret

/* ... and ends with. A call without a case is a mistake of the loader. */
#define CALL_END()                                                   \
	if (!event) {                                                \
		count_up(broken);                                    \
		return 0;                                            \
	}                                                            \
	put_head(o.buf, pending_ids(s), event, o.n, pending_flags(s));       \
	scratch_send(&o);                                            \
	return 0

/* The event of a case; with its result. */
#define EVENT_TO(o, event, name) ((event) = EV_##name, (o)->n = 0, (o)->at = HEAD + 2 * N_##name)
#define EVENT(name) EVENT_TO(&o, event, name)
#define RESULT(name) (EVENT(name), put_u64(&o, ret))

/* An argument as a parameter: a descriptor or process number, text, numbers. */
#define FD(n) put_u64(&o, (__s64)(__s32)ARG##n(regs))
#define TEXT(n) put_user_text(&o, (void *)ARG##n(regs), PATH_MAX)
#define A64(n) put_u64(&o, ARG##n(regs))
#define A32(n) put_u32(&o, ARG##n(regs))
#define A8(n) put_u8(&o, ARG##n(regs))
/* A number. */
#define V64(v) put_u64(&o, v)
#define V32(v) put_u32(&o, v)
#define V16(v) put_u16(&o, v)
#define V8(v) put_u8(&o, v)
#define NONE() put_none(&o)

/* O_CLOEXEC, O_NONBLOCK and O_DIRECT as the schema has them. */
static __always_inline __u32 fd_flags(__u64 f)
{
	return BIT(f, 0x800, 1 << 6) | BIT(f, 0x80000, 1 << 12) | BIT(f, K_O_DIRECT, 1 << 9);
}

/* Eight bytes of the thread's; false when they cannot be read. */
static __always_inline bool user_u64(__u64 *to, __u64 from)
{
	return !bpf_probe_read_user(to, sizeof(*to), (void *)from);
}

/* A number behind a pointer, or nothing. */
static __always_inline void put_pointed_u64(struct out *o, __u64 from)
{
	__u64 value;

	if (user_u64(&value, from))
		put_u64(o, value);
	else
		put_none(o);
}

static __always_inline void put_pointed_u32(struct out *o, __u64 from)
{
	__u32 value;

	if (!bpf_probe_read_user(&value, sizeof(value), (void *)from))
		put_u32(o, value);
	else
		put_none(o);
}

/* A struct timespec in nanoseconds, or nothing. */
static __always_inline void put_timespec(struct out *o, __u64 from)
{
	__u64 time[2];

	if (!bpf_probe_read_user(time, sizeof(time), (void *)from))
		put_u64(o, time[0] * 1000000000ull + time[1]);
	else
		put_none(o);
}

#endif
