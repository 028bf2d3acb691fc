/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The exact resident set: since 6.2 the counters of an mm are per-CPU, and what
 * a CPU has not yet handed in is missing from the base count.
 */
#ifndef NABE_RSS_H
#define NABE_RSS_H

#include "nabe.h"

#define MM_COUNTERS 4 /* file, anon, swap, shmem: include/linux/mm_types_task.h */

/* Each CPU's distance from the first copy of per-CPU data; x86 keeps it in a per-CPU variable. */
extern const unsigned long this_cpu_off __ksym __weak;

static __u64 cpu_offset[MAX_CPUS];
static __u32 cpu_offsets;

/* Once a run. */
static __always_inline void learn_cpu_offsets(void)
{
	__u32 cpu;

	cpu_offsets = 0;
	if (!bpf_ksym_exists(&this_cpu_off))
		return;
	for (cpu = 0; cpu < MAX_CPUS; cpu++) {
		const unsigned long *offset;

		if (cpu >= config.cpus)
			break;
		offset = bpf_per_cpu_ptr(&this_cpu_off, cpu);
		if (!offset)
			break;
		cpu_offset[cpu] = *offset;
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

static __always_inline void fill_rss(struct nabe_task *out, struct mm_struct *mm)
{
	__s64 sum[MM_COUNTERS] = {};
	int i;

	if (mm && bpf_core_type_exists(struct mm_rss_stat)) {
		struct mm_struct___atomic *old = (void *)mm;

		bpf_probe_read_kernel(sum, sizeof(sum),
				      (void *)mm + bpf_core_field_offset(old->rss_stat));
	} else if (mm) {
		__u64 at[MM_COUNTERS];

		for (i = 0; i < MM_COUNTERS; i++) {
			sum[i] = BPF_CORE_READ(mm, rss_stat[i].count);
			at[i] = (__u64)BPF_CORE_READ(mm, rss_stat[i].counters);
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
