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

static __always_inline void add_cpus(__s64 sum[MM_COUNTERS], const __u64 at[MM_COUNTERS])
{
	__u32 cpu;

	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		__s32 part[MM_COUNTERS] = {};
		int i;

		if (cpu >= config.cpus || cpu >= cpu_offsets)
			break;
		/* Since 6.6 the counters of one mm are allocated together. */
		if (at[3] - at[0] == 3 * sizeof(__s32) && at[1] - at[0] == sizeof(__s32)) {
			bpf_probe_read_kernel(part, sizeof(part), (void *)(at[0] + cpu_offset[cpu]));
		} else {
			for (i = 0; i < MM_COUNTERS; i++)
				bpf_probe_read_kernel(&part[i], sizeof(part[i]),
						      (void *)(at[i] + cpu_offset[cpu]));
		}
		for (i = 0; i < MM_COUNTERS; i++)
			sum[i] += part[i];
	}
}

/* Until 6.1 each thread holds back up to 64 pages; those of other threads stay unknown. */
static __always_inline void add_held_back(__s64 sum[MM_COUNTERS], struct task_struct *task)
{
	struct task_struct___split *split = (void *)task;
	__s32 part[MM_COUNTERS] = {};
	int i;

	if (!bpf_core_field_exists(split->rss_stat))
		return;
	bpf_core_read(part, sizeof(part), &split->rss_stat.count);
	for (i = 0; i < MM_COUNTERS; i++)
		sum[i] += part[i];
}

static __always_inline void fill_rss(struct nabe_task *out, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__s64 sum[MM_COUNTERS] = {};
	int i;

	if (mm && bpf_core_type_exists(struct mm_rss_stat)) {
		struct mm_struct___atomic *old = (void *)mm;

		bpf_probe_read_kernel(sum, sizeof(sum),
				      (void *)mm + bpf_core_field_offset(old->rss_stat));
		add_held_back(sum, task);
	} else if (mm) {
		__u64 at[MM_COUNTERS];

		for (i = 0; i < MM_COUNTERS; i++) {
			/* Not rss_stat[i]: the stride is the kernel's, not ours. */
			struct percpu_counter *counter =
				(void *)mm + bpf_core_field_offset(mm->rss_stat) +
				i * bpf_core_type_size(struct percpu_counter);

			sum[i] = BPF_CORE_READ(counter, count);
			at[i] = (__u64)BPF_CORE_READ(counter, counters);
		}
		add_cpus(sum, at);
	}
	for (i = 0; i < MM_COUNTERS; i++)
		if (sum[i] < 0)
			sum[i] = 0;
	out->rss_file_pages = sum[0];
	out->rss_anon_pages = sum[1];
	out->swap_pages = sum[2];
	out->rss_shmem_pages = sum[3];
}

#endif
