/* SPDX-License-Identifier: GPL-2.0 */
/* What is told of a task when it is born or executes: events with 21 and 31 parameters. */
#ifndef NABE_EVENT_TASK_H
#define NABE_EVENT_TASK_H

#include "event_file.h"

#define ARGS_ROOM 4096 /* as the schema's other writers cut */
#define PIDTYPE_TGID 1
#define PIDTYPE_PGID 2
#define PF_KTHREAD 0x00200000
#define RLIMIT_NOFILE 7
#define PAGES_KIB(pages) ((pages) << 2)

/* The number of pid in the namespace at level. */
static __always_inline __u32 pid_nr(struct pid *pid, __u32 level)
{
	struct pid_namespace *ns = NULL;

	return pid ? pid_at(pid, level, &ns) : 0;
}

static __always_inline struct pid *tgid_pid(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, thread_pid);
}

static __always_inline __u64 rss_pages(struct mm_struct *mm, __u32 which)
{
	struct mm_struct___atomic *old = (void *)mm;
	struct percpu_counter *counter;
	__s64 pages = 0;

	if (bpf_core_type_exists(struct mm_rss_stat)) {
		bpf_probe_read_kernel(&pages, sizeof(pages),
				      (void *)mm + bpf_core_field_offset(old->rss_stat) + 8 * which);
	} else {
		counter = (void *)mm + bpf_core_field_offset(mm->rss_stat) +
			  which * bpf_core_type_size(struct percpu_counter);
		pages = BPF_CORE_READ(counter, count);
	}
	return pages & ~(pages >> 63);
}

/* vm_size, vm_rss, vm_swap in KiB. */
static __always_inline void put_memory(struct out *o, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	if (!mm) {
		put_u32(o, 0);
		put_u32(o, 0);
		put_u32(o, 0);
		return;
	}
	put_u32(o, PAGES_KIB(BPF_CORE_READ(mm, total_vm)));
	put_u32(o, PAGES_KIB(rss_pages(mm, 0) + rss_pages(mm, 1) + rss_pages(mm, 3)));
	put_u32(o, PAGES_KIB(rss_pages(mm, 2)));
}

/* Texts of the thread's, back to back; the last byte is made a NUL. */
static __always_inline void put_user_texts(struct out *o, __u64 from, __u64 len)
{
	__u64 last;

	KEEP(len);
	if (len > ARGS_ROOM)
		len = 0;
	/* The compiler must not make one comparison of two: 6.1 loses the bound. */
	BOUND(len, 2 * ARGS_ROOM - 1);
	if (!len || bpf_probe_read_user(o->buf + o->at, len, (void *)from)) {
		put_none(o);
		return;
	}
	/* 6.1 does not learn from len != 0 that it is 1 at least. */
	last = o->at + len - 1;
	KEEP(last);
	if (last > 2 * RECORD_MAX) {
		put_none(o);
		return;
	}
	o->buf[last] = 0;
	put_len(o, len);
	o->at += len;
}

/* exe and args: argument 0 and the others. */
static __always_inline void put_arguments(struct out *o, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u64 start = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	__u64 before = o->at, used;

	put_user_text(o, (void *)start, ARGS_ROOM);
	used = o->at - before;
	start += used;
	put_user_texts(o, start, start < end ? least(end - start, ARGS_ROOM - used) : 0);
}

/* tid, pid, ptid, cwd, fdlimit, pgft_maj, pgft_min, vm_*, comm. */
static __always_inline void put_ids(struct out *o, struct task_struct *task)
{
	put_u64(o, FIELD(task, pid));
	put_u64(o, FIELD(task, tgid));
	put_u64(o, BPF_CORE_READ(task, real_parent, pid));
	/* The current directory follows from chdir; no writer of the schema fills it. */
	put_none(o);
	put_u64(o, BPF_CORE_READ(task, signal, rlim[RLIMIT_NOFILE].rlim_cur));
	put_u64(o, FIELD(task, maj_flt));
	put_u64(o, FIELD(task, min_flt));
	put_memory(o, task);
	put_kernel_text(o, (void *)task + bpf_core_field_offset(task->comm), 16);
}

/* --- cgroups: "cpuset=/a/b" NUL "cpu=/a/b" NUL ... --- */

#define CGROUP_DEPTH 16
#define CGROUP_NAME 128

/* Names are collected from the leaf up, then written from the root down. */
static __always_inline bool cgroup_up(struct event_scratch *s)
{
	struct kernfs_node *kn = (void *)s->kn;
	__u32 depth = s->depth;

	if (!kn || depth >= CGROUP_DEPTH)
		return true;
	s->names[depth & (CGROUP_DEPTH - 1)] = (__u64)BPF_CORE_READ(kn, name);
	s->depth = depth + 1;
	s->kn = (__u64)kernfs_up(kn);
	return false;
}

static __always_inline bool cgroup_down(struct event_scratch *s)
{
	__u64 at = s->place_at;
	__u32 depth = s->depth;
	long n;

	/* The last, the root, has no name. */
	if (!depth || at > RECORD_MAX)
		return true;
	depth--;
	s->depth = depth;
	s->bytes[at] = '/';
	n = bpf_probe_read_kernel_str(&s->bytes[at + 1], CGROUP_NAME,
				      (void *)s->names[depth & (CGROUP_DEPTH - 1)]);
	if (n > 1)
		s->place_at = at + n;
	return false;
}

/* One subsystem's path behind what is there. */
static __always_inline void cgroup_path(struct event_scratch *s, struct css_set *set, __u32 which)
{
	struct cgroup_subsys_state *css = NULL;
	struct kernfs_node *kn;
	__u64 at = s->place_at;
	long n;
	int i;

	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(set->subsys) + which * sizeof(css));
	if (!css || at > RECORD_MAX)
		return;
	n = bpf_probe_read_kernel_str(&s->bytes[at], 32, BPF_CORE_READ(css, ss, name));
	if (n <= 0)
		return;
	at += n;
	s->bytes[at - 1] = '=';
	kn = BPF_CORE_READ(css, cgroup, kn);
	s->place_at = at;
	s->kn = (__u64)kn;
	s->depth = 0;
	LOOP(i, CGROUP_DEPTH, cgroup_up(s));
	/* Without the root's empty name, but a path always has a '/'. */
	if (s->depth && s->depth < CGROUP_DEPTH)
		s->depth--;
	LOOP(i, CGROUP_DEPTH, cgroup_down(s));
	if (s->place_at == at) {
		s->bytes[at] = '/';
		s->place_at = at + 1;
	}
	at = s->place_at;
	if (at > RECORD_MAX)
		return;
	s->bytes[at] = 0;
	s->place_at = at + 1;
}

#define CGROUP_PATH(s, set, id)                                                    \
	do {                                                                      \
		if (bpf_core_enum_value_exists(enum cgroup_subsys_id, id))        \
			cgroup_path(s, set, bpf_core_enum_value(enum cgroup_subsys_id, id)); \
	} while (0)

/* false when there is no room: the record is given up. */
static __always_inline bool put_cgroups(struct out *o, struct event_scratch *s, struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	__u64 before = o->at, at;

	s->place_at = before;
	CGROUP_PATH(s, set, cpuset_cgrp_id);
	CGROUP_PATH(s, set, cpu_cgrp_id);
	CGROUP_PATH(s, set, cpuacct_cgrp_id);
	CGROUP_PATH(s, set, io_cgrp_id);
	CGROUP_PATH(s, set, memory_cgrp_id);
	at = s->place_at;
	if (at > RECORD_MAX)
		return false;
	put_len(o, at - before);
	o->at = at;
	return true;
}

/* --- clone --- */

#define CL_CHILD_IN_PIDNS (1u << 29)

static __always_inline __u32 clone_bits(__u64 f)
{
	__u32 out = 0;

	out |= BIT(f, 0x400, 1 << 0) | BIT(f, 0x200, 1 << 1); /* FILES FS */
	out |= BIT(f, 0x80000000, 1 << 2); /* IO */
	out |= BIT(f, 0x08000000, 1 << 3) | BIT(f, 0x40000000, 1 << 4); /* NEWIPC NEWNET */
	out |= BIT(f, 0x00020000, 1 << 5) | BIT(f, 0x20000000, 1 << 6); /* NEWNS NEWPID */
	out |= BIT(f, 0x04000000, 1 << 7) | BIT(f, 0x8000, 1 << 8); /* NEWUTS PARENT */
	out |= BIT(f, 0x00100000, 1 << 9) | BIT(f, 0x2000, 1 << 10); /* PARENT_SETTID PTRACE */
	out |= BIT(f, 0x800, 1 << 11) | BIT(f, 0x00040000, 1 << 12); /* SIGHAND SYSVSEM */
	out |= BIT(f, 0x00010000, 1 << 13) | BIT(f, 0x00800000, 1 << 14); /* THREAD UNTRACED */
	out |= BIT(f, 0x100, 1 << 15) | BIT(f, 0x10000000, 1 << 20); /* VM NEWUSER */
	out |= BIT(f, 0x00200000, 1 << 23) | BIT(f, 0x01000000, 1 << 24); /* CHILD_CLEAR/SETTID */
	out |= BIT(f, 0x00080000, 1 << 25) | BIT(f, 0x4000, 1 << 27); /* SETTLS VFORK */
	out |= BIT(f, 0x02000000, 1 << 28); /* NEWCGROUP */
	return out;
}

/* The flags of a clone, with whether the child's numbers differ from ours. */
static __always_inline __u32 clone_flags(struct task_struct *task, __u64 kernel)
{
	__u32 out = clone_bits(kernel);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct pid_namespace *own = NULL, *children = BPF_CORE_READ(task, nsproxy, pid_ns_for_children);
	__u32 level = BPF_CORE_READ(pid, level);

	pid_at(pid, level, &own);
	if (level || own != children || (kernel & 0x20000000))
		out |= CL_CHILD_IN_PIDNS;
	return out;
}

/* uid, gid, vtid, vpid and when the PID namespace's first process started, 21 in all. */
static __always_inline void put_clone_end(struct out *o, struct task_struct *task, bool child)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct pid_namespace *ns = NULL;

	put_u32(o, BPF_CORE_READ(cred, euid.val));
	put_u32(o, BPF_CORE_READ(cred, egid.val));
	put_u64(o, pid_at(pid, level, &ns));
	put_u64(o, pid_nr(tgid_pid(task), level));
	put_u64(o, child ? BPF_CORE_READ(ns, child_reaper, start_boottime) : 0);
}

/* --- exec --- */

#define EXE_WRITABLE 1
#define EXE_UPPER_LAYER 2
#define EXE_FROM_MEMFD 4
#define EXE_LOWER_LAYER 8

static __always_inline __u32 tty_number(struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);
	struct tty_driver *driver;

	if (!tty)
		return 0;
	driver = BPF_CORE_READ(tty, driver);
	return device(BPF_CORE_READ(driver, major) << 20 |
		      (BPF_CORE_READ(driver, minor_start) + BPF_CORE_READ(tty, index)));
}

/*
 * Whether the thread's user may write its executable, as far as mode bits and
 * capabilities tell: no groups beside the first, no ACLs.
 */
static __always_inline bool exe_writable(const struct cred *cred, struct inode *inode)
{
	__u32 mode = BPF_CORE_READ(inode, i_mode), uid = BPF_CORE_READ(inode, i_uid.val);
	__u64 caps = 0;

	/* Mounted read-only, or immutable. */
	if ((BPF_CORE_READ(inode, i_sb, s_flags) & 1) || (BPF_CORE_READ(inode, i_flags) & 8))
		return false;
	if (BPF_CORE_READ(cred, fsuid.val) == uid || (mode & 2))
		return true;
	if (BPF_CORE_READ(cred, fsgid.val) == BPF_CORE_READ(inode, i_gid.val) && (mode & 020))
		return true;
	bpf_core_read(&caps, sizeof(caps), &cred->cap_effective);
	return caps & (1 << 1 | 1 << 3); /* DAC_OVERRIDE, FOWNER */
}

static __always_inline __u64 epoch_ns(__s64 seconds, __u64 nanoseconds)
{
	return seconds * 1000000000ull + nanoseconds;
}

static __always_inline void put_times(struct out *o, struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		/* Since 6.13 the highest bit says that somebody has looked (I_CTIME_QUERIED). */
		put_u64(o, epoch_ns(BPF_CORE_READ(inode, i_ctime_sec),
				    BPF_CORE_READ(inode, i_ctime_nsec) & 0x7fffffff));
		put_u64(o, epoch_ns(BPF_CORE_READ(inode, i_mtime_sec),
				    BPF_CORE_READ(inode, i_mtime_nsec)));
		return;
	}
	struct inode___under *under = (void *)inode;
	struct inode___old *old = (void *)inode;
	struct timespec64 c = {}, m = {};

	if (bpf_core_field_exists(under->__i_ctime))
		bpf_core_read(&c, sizeof(c), &under->__i_ctime);
	else
		bpf_core_read(&c, sizeof(c), &old->i_ctime);
	if (bpf_core_field_exists(under->__i_mtime))
		bpf_core_read(&m, sizeof(m), &under->__i_mtime);
	else
		bpf_core_read(&m, sizeof(m), &old->i_mtime);
	put_u64(o, epoch_ns(c.tv_sec, c.tv_nsec));
	put_u64(o, epoch_ns(m.tv_sec, m.tv_nsec));
}

/* Of the executable: flags, three sets of capabilities, inode, two times, euid. */
static __always_inline void put_exe(struct out *o, struct task_struct *task, struct file *file)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u32 layer = overlay_layer(PLAIN(inode, inode)), flags = 0;
	__u64 caps[3] = {};

	if (exe_writable(cred, inode))
		flags |= EXE_WRITABLE;
	if (layer)
		flags |= layer == OVERLAY_UPPER ? EXE_UPPER_LAYER : EXE_LOWER_LAYER;
	if (dentry_memfd(BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(inode, i_sb, s_magic)))
		flags |= EXE_FROM_MEMFD;
	/* inheritable, permitted, effective lie side by side. */
	bpf_core_read(caps, sizeof(caps), &cred->cap_inheritable);
	put_u32(o, flags);
	put_u64(o, caps[0]);
	put_u64(o, caps[1]);
	put_u64(o, caps[2]);
	put_u64(o, BPF_CORE_READ(inode, i_ino));
	put_times(o, inode);
	put_u32(o, BPF_CORE_READ(cred, euid.val));
}

/* The executable's path in the tree of mounts that it is in. */
static __always_inline void put_path(struct out *o, struct event_scratch *s, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct path none = {};
	__u64 start, len;

	path_walk_at(&s->path, &s->place, dentry, BPF_CORE_READ(file, f_path.mnt), &none,
		     dentry_memfd(dentry, BPF_CORE_READ(dentry, d_inode, i_sb, s_magic)));
	start = *(volatile __u32 *)&s->path.start;
	len = *(volatile __u32 *)&s->path.len;
	BOUND(start, PATH_ROOM - 1);
	BOUND(len, 2 * PATH_ROOM - 1);
	if (!len ||
	    bpf_probe_read_kernel(o->buf + o->at, len, &s->path.text[start])) {
		put_none(o);
		return;
	}
	o->buf[o->at + len] = 0;
	put_len(o, len + 1);
	o->at += len + 1;
}

/* tty, vpgid, loginuid. */
static __always_inline void put_session(struct out *o, struct task_struct *task)
{
	struct pid *own = BPF_CORE_READ(task, thread_pid);

	put_u32(o, tty_number(task));
	put_u64(o, pid_nr(BPF_CORE_READ(task, signal, pids[PIDTYPE_PGID]), BPF_CORE_READ(own, level)));
	if (bpf_core_field_exists(task->loginuid))
		put_u32(o, BPF_CORE_READ(task, loginuid.val));
	else
		put_none(o);
}

#endif
