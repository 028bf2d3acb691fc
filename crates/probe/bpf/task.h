/* SPDX-License-Identifier: GPL-2.0 */
/* iter/task: a Task record for each process, and for each thread when asked. */
#ifndef NABE_TASK_H
#define NABE_TASK_H

#include "cgroup.h"
#include "path.h"
#include "rss.h"

#define PF_KTHREAD 0x00200000
#define PF_WQ_WORKER 0x00000020
#define PIDTYPE_PGID 2
#define PIDTYPE_SID 3
#define MAX_RT_PRIO 100
#define DEFAULT_PRIO 120
#define NAME_TEXT 96

static struct {
	struct nabe_header header;
	struct nabe_task task;
} task_record;
static struct {
	struct nabe_header header;
	struct nabe_thread_times times;
} times_record;
static struct path_text exe_text;
static struct path_text cwd_text;
static char name_text[NAME_TEXT + 8];
static __u32 name_used;
static struct path reader_root;

static __always_inline void fill_ids(struct nabe_task *out, struct task_struct *task, __u32 pid)
{
	struct pid_namespace *ns = NULL;
	struct pid *own;

	out->pid = pid;
	out->tid = tid_of(task);
	out->ppid = tgid_of(task->real_parent);
	out->tracer = task->ptrace ? tgid_of(task->parent) : 0;
	out->pgid = reader_nr(task->signal->pids[PIDTYPE_PGID]);
	out->sid = reader_nr(task->signal->pids[PIDTYPE_SID]);
	out->pidns_level = task->thread_pid->level;
	own = BPF_CORE_READ(task, thread_pid);
	out->vtid = pid_at(own, out->pidns_level, &ns);
	out->ns_pid_own = BPF_CORE_READ(ns, ns.inum);
	out->vpid = out->vtid;
	if (task->pid != task->tgid)
		out->vpid = pid_at(BPF_CORE_READ(task, group_leader, thread_pid), out->pidns_level,
				   &ns);
}

static __always_inline void fill_cred(struct nabe_task *out, struct task_struct *task)
{
	const struct cred *cred = task->cred;
	__u64 caps[5] = {};

	out->ruid = cred->uid.val;
	out->euid = cred->euid.val;
	out->suid = cred->suid.val;
	out->rgid = cred->gid.val;
	out->egid = cred->egid.val;
	out->sgid = cred->sgid.val;
	/* The five sets lie side by side in this order since 4.3. */
	bpf_probe_read_kernel(caps, sizeof(caps), &cred->cap_inheritable);
	out->cap_inheritable = caps[0];
	out->cap_permitted = caps[1];
	out->cap_effective = caps[2];
	out->cap_bounding = caps[3];
	out->cap_ambient = caps[4];
	out->ns_user = cred->user_ns->ns.inum;
	out->loginuid = -1;
	if (bpf_core_field_exists(task->loginuid))
		out->loginuid = task->loginuid.val;
}

static __always_inline void fill_namespaces(struct nabe_task *out, struct task_struct *task)
{
	struct nsproxy *proxy = task->nsproxy;

	/* A zombie has none: loads through NULL read as zero. */
	out->ns_uts = proxy->uts_ns->ns.inum;
	out->ns_ipc = proxy->ipc_ns->ns.inum;
	out->ns_mnt = proxy->mnt_ns->ns.inum;
	out->ns_pid = proxy->pid_ns_for_children->ns.inum;
	out->ns_net = proxy->net_ns->ns.inum;
	out->ns_time = 0;
	if (bpf_core_field_exists(proxy->time_ns))
		out->ns_time = proxy->time_ns->ns.inum;
	out->ns_cgroup = proxy->cgroup_ns->ns.inum;
}

/* In the encoding of /proc/PID/stat. */
static __always_inline __u32 tty_of(struct signal_struct *signal)
{
	struct tty_struct *tty = signal->tty;
	struct tty_driver *driver;
	__u32 minor;

	if (!tty)
		return 0;
	driver = tty->driver;
	minor = driver->minor_start + tty->index;
	return (minor & 0xff) | (driver->major << 8) | ((minor & ~0xffu) << 12);
}

static __always_inline void fill_times(struct nabe_task *out, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	/* The leader speaks for the threads that have gone. */
	bool leader = task->pid == task->tgid;

	out->start_ns = task->start_boottime;
	out->utime_ns = task->utime + (leader ? signal->utime : 0);
	out->stime_ns = task->stime + (leader ? signal->stime : 0);
	out->runtime_ns = task->se.sum_exec_runtime + (leader ? signal->sum_sched_runtime : 0);
	out->minflt = task->min_flt + (leader ? signal->min_flt : 0);
	out->majflt = task->maj_flt + (leader ? signal->maj_flt : 0);
	out->threads = signal->nr_threads;
	out->oom_score_adj = signal->oom_score_adj;
	out->tty = tty_of(signal);
}

static __always_inline void fill_state(struct nabe_task *out, struct task_struct *task)
{
	__u32 state;

	if (bpf_core_field_exists(task->__state))
		state = task->__state;
	else
		state = ((struct task_struct___old *)task)->state;
	out->state = state | task->exit_state;
	out->task_flags = task->flags;
	out->nice = task->static_prio - DEFAULT_PRIO;
	out->priority = task->prio - MAX_RT_PRIO;
	out->policy = task->policy;
	out->seccomp = 0;
	if (bpf_core_field_exists(task->seccomp.mode))
		out->seccomp = task->seccomp.mode;
	out->bits = (task->atomic_flags & 1 ? NABE_TASK_NO_NEW_PRIVS : 0) |
		    (task->mm ? NABE_TASK_HAS_MM : 0) |
		    (task->flags & PF_KTHREAD ? NABE_TASK_KTHREAD : 0);
	__builtin_memset(out->comm, 0, sizeof(out->comm));
	bpf_probe_read_kernel_str(out->comm, sizeof(out->comm), &task->comm);
}

/* A kernel thread's whole name, as /proc/PID/comm has it; its length, 0 when comm is the whole. */
static __always_inline __u32 full_name(struct nabe_task *out, struct task_struct *task)
{
	struct worker *worker;
	struct kthread *kthread;
	char *name;
	long n, m;
	__u64 at;

	if (!(task->flags & PF_KTHREAD) || !bpf_core_field_exists(struct kthread, full_name))
		return 0;
	kthread = BPF_CORE_READ(task, worker_private);
	if (!kthread)
		return 0;
	name = BPF_CORE_READ(kthread, full_name);
	n = bpf_probe_read_kernel_str(name_text, NAME_TEXT / 2, name ? name : (char *)&task->comm);
	if (n <= 1)
		return 0;
	if (!(task->flags & PF_WQ_WORKER))
		return name ? n - 1 : 0;
	worker = BPF_CORE_READ(kthread, data);
	at = n - 1;
	BOUND(at, 31);
	m = bpf_probe_read_kernel_str(&name_text[at + 1], sizeof(worker->desc), &worker->desc);
	if (m <= 1)
		return name ? n - 1 : 0;
	name_text[at] = BPF_CORE_READ(worker, current_work) ? '+' : '-';
	return at + m;
}

static __always_inline void fill_exe_facts(struct nabe_task *out, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	unsigned long magic = BPF_CORE_READ(inode, i_sb, s_magic);
	void *upper = NULL;

	out->exe_inode = BPF_CORE_READ(inode, i_ino);
	out->exe_dev = BPF_CORE_READ(inode, i_sb, s_dev);
	out->exe_nlink = BPF_CORE_READ(inode, i_nlink);
	out->exe_flags = NABE_EXE_KNOWN;
	if (dentry_memfd(dentry, magic))
		out->exe_flags |= NABE_EXE_MEMFD;
	else if (dentry_deleted(dentry))
		out->exe_flags |= NABE_EXE_DELETED;
	if (magic == OVERLAYFS_MAGIC) {
		/*
		 * struct ovl_inode may be in a module, so its BTF is not at hand: the upper
		 * dentry has stood right behind the inode in it since 4.13.
		 */
		bpf_probe_read_kernel(&upper, sizeof(upper),
				      (void *)inode + bpf_core_type_size(struct inode));
		out->exe_flags |= upper ? NABE_EXE_UPPER : NABE_EXE_LOWER;
	}
}

static __always_inline void fill_exe(struct nabe_task *out, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *file = BPF_CORE_READ(mm, exe_file);

	if (!mm || !file)
		return;
	fill_exe_facts(out, file);
	path_walk(&exe_text, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt),
		  &reader_root, out->exe_flags & NABE_EXE_MEMFD);
	out->exe_len = exe_text.len;
	if (exe_text.cut)
		task_record.header.flags |= NABE_FLAG_CUT;
}

static __always_inline void fill_cwd(struct nabe_task *out, struct task_struct *task)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct path pwd = {};

	if (!fs || bpf_core_read(&pwd.dentry, sizeof(pwd.dentry), &fs->pwd.dentry) || !pwd.dentry)
		return;
	path_walk(&cwd_text, pwd.dentry, BPF_CORE_READ(fs, pwd.mnt), &reader_root, false);
	out->cwd_len = cwd_text.len;
	if (cwd_text.cut)
		task_record.header.flags |= NABE_FLAG_CUT;
}

static __always_inline int emit_times(struct seq_file *seq, struct task_struct *task, __u32 pid)
{
	struct nabe_thread_times *out = &times_record.times;

	times_record.header.len = sizeof(times_record);
	times_record.header.kind = NABE_KIND_THREAD_TIMES;
	out->pid = pid;
	out->tid = tid_of(task);
	out->utime_ns = task->utime;
	out->stime_ns = task->stime;
	out->runtime_ns = task->se.sum_exec_runtime;
	out->minflt = task->min_flt;
	out->majflt = task->maj_flt;
	return bpf_seq_write(seq, &times_record, sizeof(times_record));
}

static __always_inline int emit_task(struct seq_file *seq, struct task_struct *task, __u32 pid)
{
	struct nabe_task *out = &task_record.task;
	__u64 name_len;
	__u32 len;

	task_record.header.kind = NABE_KIND_TASK;
	task_record.header.flags = 0;
	out->exe_inode = out->exe_dev = out->exe_nlink = out->exe_flags = 0;
	out->exe_len = out->cwd_len = 0;
	fill_ids(out, task, pid);
	fill_cred(out, task);
	fill_namespaces(out, task);
	fill_times(out, task);
	fill_state(out, task);
	out->vm_pages = task->mm->total_vm;
	out->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	out->cgroup_set = opaque(task->cgroups);
	if (config.needs & NEED_RSS)
		fill_rss(out, task);
	if (config.needs & NEED_EXE)
		fill_exe(out, task);
	if (config.needs & NEED_CWD)
		fill_cwd(out, task);
	/* Through memory, for the verifier: one way from here on, not one for each length. */
	name_used = full_name(out, task);
	name_len = *(volatile __u32 *)&name_used;
	BOUND(name_len, 127);
	if (name_len > NAME_TEXT)
		name_len = 0;
	out->name_len = name_len;
	len = sizeof(task_record) + out->exe_len + out->cwd_len + name_len;
	task_record.header.len = ALIGN8(len);
	bpf_seq_write(seq, &task_record, sizeof(task_record));
	if (config.needs & NEED_EXE && out->exe_len)
		emit_path(seq, &exe_text);
	if (config.needs & NEED_CWD && out->cwd_len)
		emit_path(seq, &cwd_text);
	if (name_len)
		bpf_seq_write(seq, name_text, name_len);
	return emit_pad(seq, len);
}

SEC("?iter/task")
int nabe_task(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	__u32 pid;

	if (ctx->meta->seq_num == 0) {
		struct task_struct *reader = (void *)bpf_get_current_task();

		reader_root.dentry = BPF_CORE_READ(reader, fs, root.dentry);
		reader_root.mnt = BPF_CORE_READ(reader, fs, root.mnt);
		if (config.needs & NEED_RSS)
			learn_cpu_offsets();
	}
	if (!task)
		return 0;
	task = PLAIN(task, task_struct);
	pid = tgid_of(task);
	if (!task_wanted(task, pid))
		return 0;
	if (task->pid != task->tgid && !(config.needs & NEED_THREADS)) {
		if (config.needs & NEED_THREAD_TIMES)
			emit_times(seq, task, pid);
		return 0;
	}
	emit_task(seq, task, pid);
	if (config.needs & NEED_CGROUP)
		emit_cgroups(seq, task);
	return 0;
}

#endif
