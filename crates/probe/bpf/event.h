/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every event program shares: what is wanted, the ring, and how a record is
 * written. A record is what crates/probe/src/live/record.rs reads:
 *
 *   struct event_head, then __u16 lengths[count], then the parameters back to back
 *
 * in the order of the event table; a value that could not be read has length 0.
 * Records of fixed size are written into the ring; others are put together in a
 * scratch area of the CPU and copied. No program can interrupt itself on one CPU
 * (the kernel counts and skips that), so each hook has its own scratch area.
 */
#ifndef NABE_EVENT_H
#define NABE_EVENT_H

#include "nabe.h"
#include "event.gen.h"
#include "path.h"

#define MAX_CALLS 512
#define RECORD_MAX 0xffff /* more than this is cut or counted as too large */
#define SNAPLEN_MAX 65000
#define EINPROGRESS 115

enum {
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};
#define BPF_RB_NO_WAKEUP 1

/* Bits of event_call.flags. */
#define CALL_WANTED 1 /* handed out when the predicates hold */
#define CALL_STATE 2 /* handed out in any case when it has succeeded, for the state */
#define CALL_ENTER 4 /* its start is wanted, too */
#define CALL_KIN 8 /* it may change what is known of other processes */

/* Bits of event_control.select. */
#define PICK_PID 1u /* one process */
#define PICK_PIDS 2u /* the map `pids` */
#define PICK_CGROUPS 4u
#define PICK_NAMES 8u
#define PICK_EUIDS 16u
#define PICK_FAILED 32u
#define PICK_FOLLOW 64u
#define PICK_STRANGERS 128u /* the map `strangers` */

#define FLAG_STATE_ONLY 1

/* The twin of live::control::Call. */
struct event_call {
	__u16 event;
	__u16 code;
	__u8 flags;
	__u8 handler;
	__u16 spare;
};

/* The twin of live::control::Control. It changes while programs run. */
struct event_control {
	__u32 select;
	__u32 snaplen;
	__u32 pid;
	__u32 n_names;
	__u32 n_euids;
	__u32 hooks; /* bits HOOK_*: which of the rarer events are wanted, and how */
	__u32 own; /* the reader's process, which is not looked at */
	__u32 floor; /* for measuring: bytes of the bare record */
	__u32 hierarchies; /* bits: where cgroups are told apart, see whereabouts() */
	__u32 spare;
	__u32 euids[MAX_EUIDS];
	__u64 names[MAX_NAMES][2];
	struct event_call calls[MAX_CALLS];
	struct event_call calls32[MAX_CALLS]; /* by the numbers of int 0x80; all generic */
};
_Static_assert(sizeof(struct event_control) == 40 + 64 + 256 + 2 * 4096, "as in live::control");

volatile struct event_control control SEC(".data.control") = {};

#define HOOK(hook) (control.hooks >> (4 * (hook)) & 3)
enum hook { HOOK_EXEC, HOOK_EXIT, HOOK_SIGNAL, HOOK_SWITCH, HOOK_FAULT_USER, HOOK_FAULT_KERNEL, HOOK_TOLD };

/* What was not handed out; one line for each CPU, read through mmap. */
struct event_count {
	__u64 filtered;
	__u64 ring_full;
	__u64 too_large;
	__u64 broken;
	__u64 filtered_hooks;
	__u64 spare[3];
};

struct event_count counts[MAX_CPUS] SEC(".bss.counts");

struct event_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* sized by the loader */
};

struct event_ring ring SEC(".maps");

/* On machines with many CPUs each group of them has a ring of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1); /* sized by the loader */
	__type(key, __u32);
	__array(values, struct event_ring);
} rings SEC(".maps");

/* The ring of this CPU's group. */
static __always_inline void *group_ring(void)
{
	__u32 group = bpf_get_smp_processor_id() >> ((config.ring_shift - 1) & 31);

	return bpf_map_lookup_elem(&rings, &group);
}

/* The configuration is frozen, so that the verifier drops what does not run. */
static __always_inline void *ring_reserve(__u64 size)
{
	void *group;

	if (!config.ring_shift)
		return bpf_ringbuf_reserve(&ring, size, 0);
	group = group_ring();
	return group ? bpf_ringbuf_reserve(group, size, 0) : NULL;
}

static __always_inline long ring_output(void *data, __u64 size)
{
	void *group;

	if (!config.ring_shift)
		return bpf_ringbuf_output(&ring, data, size, BPF_RB_NO_WAKEUP);
	group = group_ring();
	return group ? bpf_ringbuf_output(group, data, size, BPF_RB_NO_WAKEUP) : -1;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u32);
} handlers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* sized by the loader */
	__type(key, __u64);
	__type(value, __u8);
} cgroups SEC(".maps");

/* Where no wanted thread is, by whereabouts(): APART or FAR. Filled while programs run. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* sized by the loader */
	__type(key, __u64);
	__type(value, __u8);
} strangers SEC(".maps");

struct event_head {
	__u64 ts; /* boot clock */
	__u32 tid;
	__u32 tgid;
	__u16 event;
	__u16 cpu;
	__u16 count;
	__u16 flags;
};
#define HEAD 24
_Static_assert(sizeof(struct event_head) == HEAD, "as in live::record");

/* Room for RECORD_MAX and one more value behind it, and what walks need. */
struct event_scratch {
	__u8 bytes[2 * (RECORD_MAX + 1)];
	__u64 names[16]; /* also room for a socket address */
	__u64 kn; /* or where an iovec goes on */
	__u32 depth;
	__u32 parts;
	__u64 place_at;
	__u64 left;
	__u64 size;
	__u64 kn2; /* where messages go on, and how many were told */
	__u64 told;
	__u64 task; /* the thread that runs, where its system call is told */
	struct path_place place;
	struct path_text path;
};

/*
 * A program does not interrupt itself on a CPU, so the busiest counter, which
 * only the end of system calls has, needs no atomic.
 */
#define count_filtered() counts[bpf_get_smp_processor_id() & (MAX_CPUS - 1)].filtered++

#define count_up(what)                                                            \
	__sync_fetch_and_add(&counts[bpf_get_smp_processor_id() & (MAX_CPUS - 1)].what, 1)

/* --- who did it --- */

static __always_inline struct task_struct *this_task(void)
{
	return PLAIN((void *)bpf_get_current_task(), task_struct);
}

/*
 * What every program asks of the thread that runs, by one call: as
 * bpf_get_current_pid_tgid(), and whether its system call came by the 32-bit table,
 * where its number means another call. Where the kernel allows it, numbers behind
 * the trusted pointer are loaded without any check.
 */
struct who {
	__u64 ids;
	__u64 task; /* its address */
	bool is_32;
};

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 2
#define X32_BIT 0x40000000
#endif

static __always_inline struct who who(void)
{
	struct task_struct *task;
	struct who out = {};

	if (MODERN) {
		task = bpf_get_current_task_btf();
		out.task = (__u64)task;
		out.ids = (__u64)(__u32)task->tgid << 32 | (__u32)task->pid;
#if defined(__TARGET_ARCH_x86)
		if (bpf_core_field_exists(task->thread_info.status))
			out.is_32 = task->thread_info.status & TS_COMPAT;
#endif
		return out;
	}
	out.ids = bpf_get_current_pid_tgid();
	task = (void *)bpf_get_current_task();
	out.task = (__u64)task;
#if defined(__TARGET_ARCH_x86)
	if (bpf_core_field_exists(task->thread_info.status))
		out.is_32 = BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
#endif
	return out;
}

static __always_inline __u64 this_ids(void)
{
	return who().ids;
}

static __always_inline bool picked_name(void)
{
	__u64 comm[2] = {};
	__u32 i;

	bpf_get_current_comm(comm, sizeof(comm));
	for (i = 0; i < MAX_NAMES; i++) {
		if (i >= control.n_names)
			break;
		if (comm[0] == control.names[i][0] && comm[1] == control.names[i][1])
			return true;
	}
	return false;
}

static __always_inline bool picked_euid(struct task_struct *task)
{
	const struct cred *cred = FIELD(task, cred);
	__u32 euid = FIELD(cred, euid.val);
	__u32 i;

	for (i = 0; i < MAX_EUIDS; i++) {
		if (i >= control.n_euids)
			break;
		if (euid == control.euids[i])
			return true;
	}
	return false;
}

#define CGROUP_SUBSYSTEMS 16
#define CGROUP_UP 8

static __always_inline struct kernfs_node *kernfs_up(struct kernfs_node *kn)
{
	struct kernfs_node___rcu *now = (void *)kn;

	if (bpf_core_field_exists(now->__parent))
		return BPF_CORE_READ(now, __parent);
	return BPF_CORE_READ(kn, parent);
}

/* The task's own cgroups, v2 and v1, and those above them. */
static __always_inline bool picked_cgroup(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct kernfs_node *kn = BPF_CORE_READ(set, dfl_cgrp, kn);
	int i;

	for (i = 0; i < CGROUP_UP; i++) {
		__u64 id = BPF_CORE_READ(kn, id);

		if (!kn)
			break;
		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
		kn = kernfs_up(kn);
	}
	for (i = 0; i < CGROUP_SUBSYSTEMS; i++) {
		struct cgroup_subsys_state *css = NULL;
		__u64 id;

		if (i >= bpf_core_field_size(set->subsys) / sizeof(void *))
			break;
		bpf_probe_read_kernel(&css, sizeof(css),
				      (void *)set + bpf_core_field_offset(set->subsys) +
					      i * sizeof(css));
		id = BPF_CORE_READ(css, cgroup, kn, id);
		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
	}
	return false;
}

/* Whether the process is one of those that are looked at. */
static __always_inline bool picked_process(__u32 select, __u32 tgid)
{
	if ((select & PICK_PID) && tgid != control.pid)
		return false;
	return !(select & PICK_PIDS) || bpf_map_lookup_elem(&pids, &tgid);
}

/* A pointer in an array, loaded as the first member of what it might be. */
static __always_inline void *pointer_at(void *place)
{
	void *out = NULL;

	if (MODERN)
		return PLAIN(place, list_head)->next;
	bpf_probe_read_kernel(&out, sizeof(out), place);
	return out;
}

static __always_inline __u64 mixed(__u64 before, struct cgroup *cgroup)
{
	struct kernfs_node *kn = FIELD(cgroup, kn);

	return (before ^ FIELD(kn, id)) * 0x9e3779b97f4a7c15ull;
}

#define HIERARCHY_V2 (1u << 31)
#define MIX_V1(bit, name)                                                               	if ((control.hierarchies & (1u << (bit))) &&                                    	    bpf_core_enum_value_exists(enum cgroup_subsys_id, name##_cgrp_id)) {         		struct cgroup_subsys_state *css = pointer_at(                           			(void *)set + bpf_core_field_offset(set->subsys) +              			8 * bpf_core_enum_value(enum cgroup_subsys_id, name##_cgrp_id)); 		css = PLAIN(css, cgroup_subsys_state);                                  		out = mixed(out, FIELD(css, cgroup));                                   	}

/*
 * The thread's cgroups as one number: the ids of those in which the reader tells
 * containers apart. Ids are never given again.
 */
static __always_inline __u64 whereabouts(struct task_struct *task)
{
	struct css_set *set = FIELD(task, cgroups);
	__u64 out = 0;

	if (control.hierarchies & HIERARCHY_V2)
		out = mixed(out, FIELD(set, dfl_cgrp));
	MIX_V1(0, cpuset)
	MIX_V1(1, cpu)
	MIX_V1(2, cpuacct)
	MIX_V1(3, io)
	MIX_V1(4, memory)
	return out;
}

/* How far the thread that runs is from those that are looked at. */
#define NEAR 0
#define APART 1 /* it may come near: what it has then must be known */
#define FAR 2 /* what it does changes nothing of these, but for kin */

static __always_inline __u32 distance(__u32 select, __u32 tgid)
{
	__u64 where;
	__u8 *known;

	if (!picked_process(select, tgid))
		return FAR;
	if (!(select & PICK_STRANGERS))
		return NEAR;
	where = whereabouts(this_task());
	known = bpf_map_lookup_elem(&strangers, &where);
	return known ? *known : NEAR;
}

/* Whether the other predicates hold for the thread that runs. */
static __always_inline bool picked_thread(__u32 select, long ret)
{
	if ((select & PICK_FAILED) && ret >= 0)
		return false;
	if ((select & PICK_NAMES) && !picked_name())
		return false;
	if ((select & PICK_EUIDS) && !picked_euid(this_task()))
		return false;
	if ((select & PICK_CGROUPS) && !picked_cgroup(this_task()))
		return false;
	return true;
}

/* Whether all predicates hold for the thread that runs. */
static __always_inline bool picked(__u32 tgid, long ret)
{
	__u32 select = control.select;

	return !select || (distance(select, tgid) == NEAR && picked_thread(select, ret));
}

/* --- a record in the making --- */

struct out {
	__u8 *buf;
	__u64 at;
	__u32 n;
};

static __always_inline void put_head(__u8 *buf, __u64 ids, __u16 event, __u16 count, __u16 flags)
{
	struct event_head *head = (void *)buf;

	head->ts = bpf_ktime_get_boot_ns();
	*(__u64 *)&head->tid = ids;
	head->event = event;
	head->cpu = bpf_get_smp_processor_id();
	head->count = count;
	head->flags = flags;
}

static __always_inline void put_len(struct out *o, __u16 len)
{
	*(__u16 *)(o->buf + HEAD + 2 * o->n) = len;
	o->n++;
}

#define PUT(bits)                                                                    \
	static __always_inline void put_u##bits(struct out *o, __u##bits value)      \
	{                                                                            \
		*(__u##bits *)(o->buf + o->at) = value;                              \
		o->at += bits / 8;                                                   \
		put_len(o, bits / 8);                                                \
	}
PUT(8)
PUT(16)
PUT(32)
PUT(64)
#undef PUT

static __always_inline void put_none(struct out *o)
{
	put_len(o, 0);
}

/* Bounds that the verifier has lost; they hold by the sizes of what was put. */
#define SETTLE(o)                                             \
	do {                                                  \
		asm volatile("" : "+r"((o)->at));             \
		if ((o)->at > RECORD_MAX)                     \
			return -1;                            \
	} while (0)

/*
 * Text of the thread's with its NUL; its length, negative when it cannot be read.
 * Until 6.12 the length of an empty text is told as 0, without its NUL.
 */
static __always_inline long user_text(__u8 *to, __u32 room, const void *from)
{
	long n = bpf_probe_read_user_str(to, room, from);

	if (n == 0) {
		*to = 0;
		n = 1;
	}
	return n;
}

/* Text of the thread's, with its NUL; nothing when it cannot be read. */
static __always_inline void put_user_text(struct out *o, const void *from, __u32 room)
{
	long n = user_text(o->buf + o->at, room, from);

	if (n < 0)
		n = 0;
	put_len(o, n);
	o->at += n;
}

static __always_inline void put_kernel_text(struct out *o, const void *from, __u32 room)
{
	long n = bpf_probe_read_kernel_str(o->buf + o->at, room, from);

	if (n < 0)
		n = 0;
	put_len(o, n);
	o->at += n;
}

/* The compiler forgets what it knows of a number. */
#define KEEP(n) asm volatile("" : "+r"(n))

/* Bytes of the thread's: all of them or nothing. */
static __always_inline void put_user_bytes(struct out *o, const void *from, __u64 len)
{
	KEEP(len);
	if (len > SNAPLEN_MAX)
		len = SNAPLEN_MAX;
	KEEP(len);
	if (bpf_probe_read_user(o->buf + o->at, len, from))
		len = 0;
	put_len(o, len);
	o->at += len;
}

static __always_inline __u64 least(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

#endif
