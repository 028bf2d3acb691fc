/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Paths by walking dentries with reads that cannot fault. bpf_d_path() would be
 * shorter, but it trusts its argument: an mm or an fs_struct can be freed while
 * we look at its task. It is also missing from iterators before 5.12.
 */
#ifndef NABE_PATH_H
#define NABE_PATH_H

#include "nabe.h"

#define PATH_ROOM 4096 /* PATH_MAX; a power of two */
#define PATH_STEPS 128 /* names and mounts; what is deeper is cut */
#define NAME_ROOM 256

#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define OVERLAYFS_MAGIC 0x794c7630

/* Text ends at PATH_ROOM; what is behind is never read, but the verifier adds up bounds. */
struct path_text {
	__u32 start;
	__u32 len;
	bool cut;
	char text[2 * PATH_ROOM];
};

static const char deleted_mark[10] = " (deleted)";

static __always_inline void path_begin(struct path_text *out)
{
	out->start = PATH_ROOM;
	out->len = 0;
	out->cut = false;
}

/* Puts '/' and a name in front. */
static __always_inline bool path_prepend(struct path_text *out, const unsigned char *name, __u32 len)
{
	__u64 at = out->start;
	__u64 n = len;

	BOUND(n, NAME_ROOM - 1);
	if (at < n + 1)
		return false;
	at -= n + 1;
	BOUND(at, PATH_ROOM - 1);
	out->text[at] = '/';
	/* Again: 6.12 has forgotten it by now. */
	BOUND(n, NAME_ROOM - 1);
	if (bpf_probe_read_kernel(&out->text[at + 1], n, name))
		return false;
	out->start = at;
	return true;
}

static __always_inline bool dentry_deleted(struct dentry *dentry)
{
	return !BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry;
}

static __always_inline bool dentry_memfd(struct dentry *dentry, unsigned long magic)
{
	char name[8] = {};

	if (magic != TMPFS_MAGIC && magic != HUGETLBFS_MAGIC)
		return false;
	bpf_probe_read_kernel(name, 6, BPF_CORE_READ(dentry, d_name.name));
	return *(__u64 *)name == 0x3a64666d656dULL /* "memfd:" */ &&
	       BPF_CORE_READ(dentry, d_parent) == dentry;
}

/* In memory of its own, as the place of the walk over cgroups. */
struct path_place {
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *mnt_root;
	struct dentry *stop_dentry;
	struct vfsmount *stop_mnt;
};

static __always_inline bool path_whole(struct path_text *out)
{
	out->cut = false;
	return true;
}

/* One name or one mount up; true at the end. */
static __always_inline bool path_step(struct path_text *out, struct path_place *at)
{
	struct dentry *dentry = PLAIN(at->dentry, dentry), *parent;
	struct qstr name;

	if (dentry == at->stop_dentry && at->mnt == at->stop_mnt)
		return path_whole(out);
	if (dentry == at->mnt_root) {
		void *mnt = at->mnt;
		struct mount *m = PLAIN(mnt - bpf_core_field_offset(struct mount, mnt), mount);
		struct mount *up = FIELD(m, mnt_parent);

		if (up == m)
			return path_whole(out);
		at->dentry = FIELD(m, mnt_mountpoint);
		at->mnt = (void *)up + bpf_core_field_offset(struct mount, mnt);
		at->mnt_root = FIELD(up, mnt.mnt_root);
		return false;
	}
	parent = FIELD(dentry, d_parent);
	if (parent == dentry || !parent)
		return path_whole(out);
	name.len = FIELD(dentry, d_name.len);
	name.name = FIELD(dentry, d_name.name);
	at->dentry = parent;
	return !path_prepend(out, name.name, name.len);
}

/* Up to the reader's root, or the root of the mount tree that the path is in. */
static __always_inline void path_walk_at(struct path_text *out, struct path_place *at,
					 struct dentry *dentry, struct vfsmount *mnt,
					 struct path *root, bool memfd)
{
	__u32 end;
	int i;

	at->dentry = dentry;
	at->mnt = mnt;
	at->stop_dentry = root->dentry;
	at->stop_mnt = root->mnt;
	path_begin(out);
	if (memfd || dentry_deleted(dentry)) {
		__builtin_memcpy(&out->text[PATH_ROOM - sizeof(deleted_mark)], deleted_mark,
				 sizeof(deleted_mark));
		out->start = PATH_ROOM - sizeof(deleted_mark);
	}
	end = out->start;
	if (memfd) {
		path_prepend(out, BPF_CORE_READ(dentry, d_name.name),
			     BPF_CORE_READ(dentry, d_name.len));
	} else {
		at->mnt_root = BPF_CORE_READ(mnt, mnt_root);
		out->cut = true;
		LOOP(i, PATH_STEPS, path_step(out, at));
	}
	if (out->start == end)
		path_prepend(out, NULL, 0);
	out->len = PATH_ROOM - out->start;
}

#ifndef NABE_EVENT_H
/* One reader reads one iterator at a time. */
static struct path_place path_place;

static __always_inline void path_walk(struct path_text *out, struct dentry *dentry,
				      struct vfsmount *mnt, struct path *root, bool memfd)
{
	path_walk_at(out, &path_place, dentry, mnt, root, memfd);
}

static __always_inline int emit_path(struct seq_file *seq, struct path_text *path)
{
	__u64 start = path->start, len = path->len;

	if (!len)
		return 0;
	BOUND(start, PATH_ROOM - 1);
	if (len > PATH_ROOM - start)
		return 0;
	if (len > PATH_ROOM)
		return 0;
	return bpf_seq_write(seq, &path->text[start], len);
}
#endif

#endif
