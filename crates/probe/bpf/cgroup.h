/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Cgroup records: for each set of cgroups that a task is in, once, the cgroup
 * of every hierarchy with its path.
 */
#ifndef NABE_CGROUP_H
#define NABE_CGROUP_H

#include "nabe.h"

#define HIERARCHIES 20 /* v2, and a v1 hierarchy for each controller and name */
#define CGROUP_DEPTH 40
#define CGROUP_ROOM 4096
#define CGROUP_NAME 256

/* Sets that were told; when it is full, a set is told again, which does no harm. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, 1 /* BPF_F_NO_PREALLOC */);
	__type(key, __u64);
	__type(value, __u8);
} seen SEC(".maps");

static struct {
	struct nabe_header header;
	struct nabe_cgroup cgroup;
} cgroup_record;
static char cgroup_text[2 * CGROUP_ROOM];
static char cgroup_root_name[64];
static __u32 cgroup_used;

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	struct kernfs_node___rcu *now = (void *)kn;

	if (bpf_core_field_exists(now->__parent))
		return BPF_CORE_READ(now, __parent);
	return BPF_CORE_READ(kn, parent);
}

/* Names from the leaf up to the root, each with its NUL. */
static __always_inline void cgroup_path(struct kernfs_node *kn)
{
	int depth;

	cgroup_used = 0;
	for (depth = 0; depth < CGROUP_DEPTH; depth++) {
		struct kernfs_node *parent = kernfs_parent(kn);
		__u64 at = cgroup_used;
		long n;

		if (!parent)
			return;
		if (at > CGROUP_ROOM - CGROUP_NAME)
			break;
		n = bpf_probe_read_kernel_str(&cgroup_text[at], CGROUP_NAME,
					      BPF_CORE_READ(kn, name));
		if (n <= 0)
			break;
		cgroup_used = at + n;
		kn = parent;
	}
	cgroup_record.header.flags |= NABE_FLAG_CUT;
}

static __always_inline int emit_cgroup(struct seq_file *seq, __u64 set, struct cgroup *cgroup)
{
	struct cgroup_root *root = BPF_CORE_READ(cgroup, root);
	struct kernfs_node *kn = BPF_CORE_READ(cgroup, kn);
	struct nabe_cgroup *out = &cgroup_record.cgroup;
	__u64 name_len, path_len;
	__u32 len;
	long n;

	cgroup_record.header.kind = NABE_KIND_CGROUP;
	cgroup_record.header.flags = 0;
	out->cgroup_set = set;
	out->cgroup_id = BPF_CORE_READ(kn, id);
	out->hierarchy = BPF_CORE_READ(root, hierarchy_id);
	out->subsystems = BPF_CORE_READ(root, subsys_mask);
	n = bpf_probe_read_kernel_str(cgroup_root_name, sizeof(cgroup_root_name), &root->name);
	name_len = n > 0 ? n - 1 : 0;
	BOUND(name_len, 63);
	cgroup_path(kn);
	path_len = cgroup_used;
	BOUND(path_len, CGROUP_ROOM - 1);
	out->name_len = name_len;
	out->path_len = path_len;
	len = sizeof(cgroup_record) + name_len + path_len;
	cgroup_record.header.len = ALIGN8(len);
	bpf_seq_write(seq, &cgroup_record, sizeof(cgroup_record));
	if (name_len)
		bpf_seq_write(seq, cgroup_root_name, name_len);
	if (path_len)
		bpf_seq_write(seq, cgroup_text, path_len);
	return emit_pad(seq, len);
}

static __always_inline void emit_cgroups(struct seq_file *seq, struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct list_head *head, *at;
	__u64 key = (__u64)set;
	__u8 told = 1;
	int failed = 0;
	int i;

	if (!set || bpf_map_lookup_elem(&seen, &key))
		return;
	head = (void *)set + bpf_core_field_offset(struct css_set, cgrp_links);
	at = BPF_CORE_READ(head, next);
	for (i = 0; i < HIERARCHIES; i++) {
		struct cgrp_cset_link *link;
		struct cgroup *cgroup;

		if (at == head || !at)
			break;
		link = (void *)at - bpf_core_field_offset(struct cgrp_cset_link, cgrp_link);
		cgroup = BPF_CORE_READ(link, cgrp);
		if (!cgroup)
			break;
		failed |= emit_cgroup(seq, key, cgroup);
		at = BPF_CORE_READ(at, next);
	}
	/* What overflowed the buffer is thrown away as a whole and told again. */
	if (!failed)
		bpf_map_update_elem(&seen, &key, &told, BPF_ANY);
}

#endif
