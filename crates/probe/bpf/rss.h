/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The exact resident set: since 6.2 the counters of an mm are per-CPU, and what
 * a CPU has not yet handed in is missing from the base count.
 */
#ifndef NABE_RSS_H
#define NABE_RSS_H

#include "nabe.h"

#define MM_COUNTERS 4 /* file, anon, swap, shmem: include/linux/mm_types_task.h */

/*
 * A per-CPU map of our own tells each CPU's distance from the first copy of
 * per-CPU data: the address of an element on that CPU less the map's per-CPU
 * pointer. The kernel's own this_cpu_off is x86 only and not in every kallsyms.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} cpu_anchor SEC(".maps");

static __u64 cpu_offset[MAX_CPUS];
static __u32 cpu_offsets;

/* The map's per-CPU pointer, found through the reader's descriptor of the map. */
static __always_inline __u64 anchor_base(void)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	struct file **fds = BPF_CORE_READ(reader, files, fdt, fd);
	struct bpf_array *array;
	struct file *file = NULL;
	__u64 base = 0;

	bpf_probe_read_kernel(&file, sizeof(file), fds + config.anchor_fd);
	array = BPF_CORE_READ(file, private_data);
	bpf_probe_read_kernel(&base, sizeof(base), &array->pptrs);
	return base;
}

/* Once a run. */
static __always_inline void learn_cpu_offsets(void)
{
	__u32 zero = 0, cpu;
	__u64 base;

	cpu_offsets = 0;
	/* Since 5.19. */
	if (!bpf_core_enum_value_exists(enum bpf_func_id___percpu,
					BPF_FUNC_map_lookup_percpu_elem___percpu))
		return;
	base = anchor_base();
	if (!base)
		return;
	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		__u64 *element;

		if (cpu >= config.cpus)
			break;
		element = bpf_map_lookup_percpu_elem(&cpu_anchor, &zero, cpu);
		if (!element)
			break;
		/* Through memory: the verifier does not subtract from a map's pointer. */
		*(volatile __u64 *)&cpu_offset[cpu] = (__u64)element;
		*(volatile __u64 *)&cpu_offset[cpu] -= base;
		cpu_offsets = cpu + 1;
	}
}

/*
 * Sums in the making. Not on the stack: the verifier would follow each way
 * through here to the end of the program with other bounds on them.
 */
static struct {
	__s64 sum[MM_COUNTERS];
	__u64 at[MM_COUNTERS];
	__s32 part[MM_COUNTERS];
} rss;

static __always_inline void add_part(void)
{
	int i;

	for (i = 0; i < MM_COUNTERS; i++)
		rss.sum[i] += rss.part[i];
}

static __always_inline void add_cpus(void)
{
	/* Since 6.6 the counters of one mm are allocated together. */
	bool together = rss.at[3] - rss.at[0] == 3 * sizeof(__s32);
	__u32 cpu, i;

	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		if (cpu >= config.cpus || cpu >= cpu_offsets)
			break;
		if (together) {
			bpf_probe_read_kernel(rss.part, sizeof(rss.part),
					      (void *)(rss.at[0] + cpu_offset[cpu]));
		} else {
			for (i = 0; i < MM_COUNTERS; i++)
				bpf_probe_read_kernel(&rss.part[i], sizeof(rss.part[i]),
						      (void *)(rss.at[i] + cpu_offset[cpu]));
		}
		add_part();
	}
}

/* Until 6.1 each thread holds back up to 64 pages; those of other threads stay unknown. */
static __always_inline void add_held_back(struct task_struct *task)
{
	struct task_struct___split *split = (void *)task;

	if (!bpf_core_field_exists(split->rss_stat))
		return;
	bpf_core_read(rss.part, sizeof(rss.part), &split->rss_stat.count);
	add_part();
}

static __always_inline void sum_rss(struct task_struct *task, struct mm_struct *mm)
{
	struct mm_struct___atomic *old = (void *)mm;
	int i;

	if (bpf_core_type_exists(struct mm_rss_stat)) {
		bpf_probe_read_kernel(rss.sum, sizeof(rss.sum),
				      (void *)mm + bpf_core_field_offset(old->rss_stat));
		add_held_back(task);
		return;
	}
	for (i = 0; i < MM_COUNTERS; i++) {
		/* Not rss_stat[i]: the stride is the kernel's, not ours. */
		struct percpu_counter *counter = (void *)mm + bpf_core_field_offset(mm->rss_stat) +
						 i * bpf_core_type_size(struct percpu_counter);

		rss.sum[i] = BPF_CORE_READ(counter, count);
		rss.at[i] = (__u64)BPF_CORE_READ(counter, counters);
	}
	add_cpus();
}

static __always_inline void fill_rss(struct nabe_task *out, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	int i;

	__builtin_memset(&rss, 0, sizeof(rss));
	if (mm)
		sum_rss(task, mm);
	/* Not below 0; without branches, each of which would double the verifier's work. */
	for (i = 0; i < MM_COUNTERS; i++)
		rss.sum[i] &= ~(rss.sum[i] >> 63);
	out->rss_file_pages = rss.sum[0];
	out->rss_anon_pages = rss.sum[1];
	out->swap_pages = rss.sum[2];
	out->rss_shmem_pages = rss.sum[3];
}

#endif
