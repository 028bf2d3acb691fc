/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every program shares: the configuration, which tasks are wanted, and how
 * a record leaves.
 *
 * All globals are one map each for the whole object. One reader reads one
 * iterator at a time, so the scratch areas need no lock.
 */
#ifndef NABE_H
#define NABE_H

#include "core.h"
#include "record.gen.h"

/* Bits of nabe_config.needs: nabe_event::Needs. */
#define NEED_RSS (1u << 1)
#define NEED_THREAD_TIMES (1u << 2)
#define NEED_CGROUP (1u << 4)
#define NEED_EXE (1u << 5)
#define NEED_CWD (1u << 6)
#define NEED_ARGS (1u << 7)
#define NEED_ENV (1u << 8)
#define NEED_FD_PATH (1u << 11)
#define NEED_THREADS (1u << 13)

/* Bits of nabe_config.select. */
#define SELECT_PIDS 1u
#define SELECT_EUIDS 2u
#define SELECT_NAMES 4u
#define SELECT_ONLY_SOCKETS 8u
#define SELECT_FAMILIES 16u
#define SELECT_TYPES 32u
#define SELECT_STATES 64u

#define MAX_EUIDS 16
#define MAX_NAMES 16
#define MAX_CPUS 1024

/* The twin of iter::config::Config; frozen, so that the verifier drops what is off. */
struct nabe_config {
	__u32 needs;
	__u32 select;
	__u32 reader_inner; /* the reader is not in the initial PID namespace */
	__u32 reader_pidns;
	__u32 cpus;
	__u32 n_euids;
	__u32 n_names;
	__u32 types;
	__u64 families;
	__u32 states;
	union {
		__u32 anchor_fd; /* iterators: the reader's descriptor of the map cpu_anchor */
		__u32 ring_shift; /* events: 0, or one more than the bits of a CPU's number below its ring's */
	};
	__u32 euids[MAX_EUIDS];
	__u64 names[MAX_NAMES][2];
	__u64 secret;
};
_Static_assert(sizeof(struct nabe_config) == 376, "the Rust side has the same size");

const volatile struct nabe_config config = {};

/*
 * An address as a number: the verifier allows no arithmetic on a pointer that it
 * knows by its type, so the pointer is read back from the stack.
 */
static __always_inline __u64 number_of(const void *address)
{
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &address);
	return number;
}

/* An identity that does not tell the kernel's address: records are saved and shared. */
static __always_inline __u64 opaque(const void *address)
{
	return number_of(address) ^ config.secret;
}

/* Wanted tgids, and from where on their arguments are wanted. Sized by the loader. */
struct nabe_from {
	__u32 argv;
	__u32 env;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nabe_from);
} pids SEC(".maps");

#define ALIGN8(n) (((n) + 7u) & ~7u)
/* The compiler must keep a bound that it can prove and the verifier cannot. */
#define BOUND(n, mask) asm volatile("%0 &= %1" : "+r"(n) : "i"(mask))

/* Writes what is left to a multiple of 8. */
static __always_inline int emit_pad(struct seq_file *seq, __u32 written)
{
	__u64 pad = -written & 7;
	__u64 zero = 0;

	BOUND(pad, 7);
	return pad ? bpf_seq_write(seq, &zero, pad) : 0;
}

/*
 * LOOP(i, n, step): step until it says true, n times at most. Since 6.4 the
 * verifier looks at an open-coded iterator's body a few times instead of n.
 */
#define LOOP(i, n, step)                                    \
	do {                                                \
		if (MODERN) {                               \
			bpf_for(i, 0, n) {                  \
				if (step)                   \
					break;              \
			}                                   \
		} else {                                    \
			for (i = 0; i < (n); i++) {         \
				if (step)                   \
					break;              \
			}                                   \
		}                                           \
	} while (0)

/*
 * The same pointer, no longer trusted: since 6.2 the verifier searches all of
 * the kernel's BTF by name, some 0.4 ms, for each pointer that is loaded from
 * a trusted one. Loads through either are checked at run time all the same.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
/* Open-coded iterators and casts to any kernel type: 6.4. */
#define MODERN bpf_core_type_exists(struct bpf_iter_num)
#define PLAIN(ptr, type)                                                               \
	((struct type *)(MODERN ? bpf_rdonly_cast(ptr, bpf_core_type_id_kernel(struct type)) : \
				  (void *)(ptr)))
/*
 * A field behind a pointer that the verifier knows by its type only when MODERN
 * (by PLAIN): a plain load there, a call elsewhere, which costs five times as much.
 */
#define FIELD(ptr, field) (MODERN ? (ptr)->field : BPF_CORE_READ(ptr, field))

/* The number and the namespace of pid at a depth that it has. */
static __always_inline __u32 pid_at(struct pid *pid, __u32 level, struct pid_namespace **ns)
{
	void *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
		   level * bpf_core_type_size(struct upid);
	__u32 nr = 0;

	bpf_probe_read_kernel(&nr, sizeof(nr), at + bpf_core_field_offset(struct upid, nr));
	bpf_probe_read_kernel(ns, sizeof(*ns), at + bpf_core_field_offset(struct upid, ns));
	return nr;
}

/* The number of pid as the reader counts; 0 where the reader cannot see it. */
static __always_inline __u32 reader_nr(struct pid *pid)
{
	struct pid_namespace *ns = NULL;
	struct task_struct *reader;
	__u32 level, nr;

	/* Everyone has a number in the initial namespace. */
	if (!config.reader_inner)
		return pid->numbers[0].nr;
	reader = (void *)bpf_get_current_task();
	level = BPF_CORE_READ(reader, thread_pid, level);
	if (!pid || BPF_CORE_READ(pid, level) < level)
		return 0;
	nr = pid_at((void *)number_of(pid), level, &ns);
	return BPF_CORE_READ(ns, ns.inum) == config.reader_pidns ? nr : 0;
}

static __always_inline __u32 tgid_of(struct task_struct *task)
{
	if (!config.reader_inner)
		return task->tgid;
	return reader_nr(BPF_CORE_READ(task, group_leader, thread_pid));
}

static __always_inline __u32 tid_of(struct task_struct *task)
{
	if (!config.reader_inner)
		return task->pid;
	return reader_nr(BPF_CORE_READ(task, thread_pid));
}

static __always_inline bool name_wanted(struct task_struct *task)
{
	__u64 comm[2] = {};
	__u32 i;

	bpf_probe_read_kernel_str(comm, sizeof(comm), &task->comm);
	for (i = 0; i < MAX_NAMES; i++) {
		if (i >= config.n_names)
			break;
		if (comm[0] == config.names[i][0] && comm[1] == config.names[i][1])
			return true;
	}
	return false;
}

static __always_inline bool euid_wanted(__u32 euid)
{
	__u32 i;

	for (i = 0; i < MAX_EUIDS; i++) {
		if (i >= config.n_euids)
			break;
		if (euid == config.euids[i])
			return true;
	}
	return false;
}

/* A thread is wanted when it or its process is: the selection may only be too wide. */
static __always_inline bool task_wanted(struct task_struct *task, __u32 pid)
{
	if (!pid)
		return false;
	if ((config.select & SELECT_PIDS) && !bpf_map_lookup_elem(&pids, &pid))
		return false;
	if ((config.select & SELECT_EUIDS) && !euid_wanted(task->cred->euid.val) &&
	    !euid_wanted(task->group_leader->cred->euid.val))
		return false;
	if ((config.select & SELECT_NAMES) && !name_wanted(task) &&
	    !name_wanted(task->group_leader))
		return false;
	return true;
}

#endif
