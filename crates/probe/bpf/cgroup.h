/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Cgroup records: for each set of cgroups that a task is in, once, the cgroup
 * of every hierarchy with its path.
 */
#ifndef NABE_CGROUP_H
#define NABE_CGROUP_H

#include "nabe.h"

#define CGROUP_STEPS 512 /* names of all hierarchies: 14 of them 35 deep */
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

/*
 * Where the walk over a set's hierarchies and their paths is. In memory of its
 * own: on the stack, the verifier would need more rounds to see that it repeats.
 */
static struct cgroup_place {
	struct list_head *head;
	struct list_head *at;
	struct kernfs_node *kn; /* NULL between two hierarchies */
	__u32 failed;
} cgroup_place;

static __always_inline void cgroup_begin(struct cgroup_place *place)
{
	/* Pointers are copied before BPF_CORE_READ(), which would relocate our struct, too. */
	struct list_head *at = place->at;
	struct cgrp_cset_link *link =
		(void *)at - bpf_core_field_offset(struct cgrp_cset_link, cgrp_link);
	struct cgroup *cgroup = BPF_CORE_READ(link, cgrp);
	struct cgroup_root *root = BPF_CORE_READ(cgroup, root);
	struct nabe_cgroup *out = &cgroup_record.cgroup;
	struct kernfs_node *kn = BPF_CORE_READ(cgroup, kn);
	__u64 name_len;
	long n;

	place->kn = kn;
	place->at = BPF_CORE_READ(at, next);
	cgroup_used = 0;
	cgroup_record.header.kind = NABE_KIND_CGROUP;
	cgroup_record.header.flags = 0;
	out->cgroup_id = BPF_CORE_READ(kn, id);
	out->hierarchy = BPF_CORE_READ(root, hierarchy_id);
	out->subsystems = BPF_CORE_READ(root, subsys_mask);
	n = bpf_probe_read_kernel_str(cgroup_root_name, sizeof(cgroup_root_name), &root->name);
	name_len = n > 0 ? n - 1 : 0;
	BOUND(name_len, 63);
	out->name_len = name_len;
}

static __always_inline int cgroup_end(struct seq_file *seq)
{
	struct nabe_cgroup *out = &cgroup_record.cgroup;
	__u64 name_len = out->name_len, path_len = cgroup_used;
	__u32 len;

	BOUND(name_len, 63);
	BOUND(path_len, CGROUP_ROOM - 1);
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

/* One name up, or one hierarchy on: names stand from the leaf up to the root, each with its NUL. */
static __always_inline bool cgroup_step(struct seq_file *seq)
{
	struct cgroup_place *place = &cgroup_place;
	struct kernfs_node *kn = place->kn, *parent;
	__u64 used = cgroup_used;
	long n;

	if (!kn) {
		if (place->at == place->head || !place->at)
			return true;
		cgroup_begin(place);
		return false;
	}
	parent = kernfs_parent(kn);
	if (parent && used <= CGROUP_ROOM - CGROUP_NAME) {
		BOUND(used, CGROUP_ROOM - 1);
		n = bpf_probe_read_kernel_str(&cgroup_text[used], CGROUP_NAME,
					      BPF_CORE_READ(kn, name));
		if (n > 0) {
			cgroup_used = used + n;
			place->kn = parent;
			return false;
		}
	}
	if (parent)
		cgroup_record.header.flags |= NABE_FLAG_CUT;
	place->failed |= cgroup_end(seq);
	place->kn = NULL;
	return false;
}

static __always_inline void emit_cgroups(struct seq_file *seq, struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct list_head *head = (void *)set + bpf_core_field_offset(struct css_set, cgrp_links);
	__u64 key = (__u64)set;
	__u8 told = 1;
	int i;

	if (!set || bpf_map_lookup_elem(&seen, &key))
		return;
	cgroup_record.cgroup.cgroup_set = opaque(set);
	cgroup_place.head = head;
	cgroup_place.at = BPF_CORE_READ(head, next);
	cgroup_place.kn = NULL;
	cgroup_place.failed = 0;
	LOOP(i, CGROUP_STEPS, cgroup_step(seq));
	/* What overflowed the buffer is thrown away as a whole and told again. */
	if (!cgroup_place.failed)
		bpf_map_update_elem(&seen, &key, &told, BPF_ANY);
}

#endif
