/* SPDX-License-Identifier: GPL-2.0 */
/* Tasks that are born (both sides), fail to execute, execute, and end. */
#ifndef NABE_SYS_TASK_H
#define NABE_SYS_TASK_H

#include "sys_call.h"

static __always_inline int send_clone(struct event_scratch *s, __u16 event, long ret, __u64 kernel)
{
	struct task_struct *task = this_task();

	SCRATCH_BEGIN(o, s, pending_ids(s), event, N_SYSCALL_CLONE_20_X, pending_flags(s));
	put_u64(&o, ret);
	if (ret >= 0) {
		put_arguments(&o, task);
	} else {
		put_none(&o);
		put_none(&o);
	}
	put_ids(&o, task);
	SETTLE(&o);
	if (!put_cgroups(&o, s, task))
		return -1;
	put_u32(&o, clone_flags(task, kernel));
	put_clone_end(&o, task, ret == 0);
	SCRATCH_END(o);
	return 0;
}

SEC("?tp_btf/sys_exit")
int nabe_clone(__u64 *ctx)
{
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);
	struct pt_regs *regs = (void *)ctx[0];
	long ret = ctx[1];
	__u64 flags = 0;
	__u16 event;

	if (!s)
		return 0;
	switch (NR(regs)) {
	case NR_clone:
		event = EV_SYSCALL_CLONE_20_X;
		flags = ARG0(regs);
		break;
	case NR_clone3:
		event = EV_SYSCALL_CLONE3_X;
		bpf_probe_read_user(&flags, sizeof(flags), (void *)ARG0(regs));
		break;
	case NR_fork:
		event = EV_SYSCALL_FORK_20_X;
		break;
	default:
		event = EV_SYSCALL_VFORK_20_X;
		flags = 0x4100; /* VFORK and VM */
	}
	if (send_clone(s, event, ret, flags))
		count_up(too_large);
	return 0;
}

SEC("?tp_btf/sched_process_exec")
int nabe_exec(__u64 *ctx)
{
	struct event_scratch *s = scratch_of(SCRATCH_EXEC);
	struct linux_binprm *bprm = (void *)ctx[2];
	struct task_struct *task = PLAIN((void *)ctx[0], task_struct);
	struct mm_struct *mm;
	struct file *file;
	__u64 start, end;
	__u16 flags = 0;

	if (!s || FIELD(task, flags) & PF_KTHREAD)
		return 0;
	if (!(HOOK(HOOK_EXEC) & CALL_WANTED) || !picked(FIELD(task, tgid), 0)) {
		if (!(HOOK(HOOK_EXEC) & CALL_STATE)) {
			count_up(filtered_hooks);
			return 0;
		}
		flags = FLAG_STATE_ONLY;
	}
	mm = BPF_CORE_READ(task, mm);
	file = BPF_CORE_READ(mm, exe_file);
	SCRATCH_BEGIN(o, s, this_ids(), EV_SYSCALL_EXECVE_19_X, N_SYSCALL_EXECVE_19_X, flags);
	put_u64(&o, 0);
	put_arguments(&o, task);
	put_ids(&o, task);
	SETTLE(&o);
	if (!put_cgroups(&o, s, task))
		goto large;
	start = BPF_CORE_READ(mm, env_start);
	end = BPF_CORE_READ(mm, env_end);
	put_user_texts(&o, start, start < end ? least(end - start, ARGS_ROOM) : 0);
	put_session(&o, task);
	put_exe(&o, task, file);
	SETTLE(&o);
	put_path(&o, s, file);
	put_u64(&o, pid_nr(BPF_CORE_READ(task, signal, pids[PIDTYPE_PGID]), 0));
	put_u32(&o, BPF_CORE_READ(task, cred, egid.val));
	put_kernel_text(&o, BPF_CORE_READ(bprm, filename), PATH_MAX);
	SCRATCH_END(o);
	return 0;
large:
	count_up(too_large);
	return 0;
}

/* --- an execve that fails: what was asked for is still in the caller's memory --- */

#define TEXTS_MOST 64

/* One text of an array of pointers behind what is there. */
static __always_inline bool texts_step(struct event_scratch *s)
{
	__u64 at = s->place_at, from = 0;
	long n;

	if (s->left < at || bpf_probe_read_user(&from, sizeof(from), (void *)s->kn) || !from)
		return true;
	s->kn += sizeof(from);
	if (at > RECORD_MAX)
		return true;
	n = user_text(&s->bytes[at], ARGS_ROOM, (void *)from);
	if (n > 0)
		s->place_at = at + n;
	return n <= 0;
}

/* The texts from `array` on; what is beyond ARGS_ROOM is cut. */
static __always_inline bool put_text_array(struct out *o, struct event_scratch *s, __u64 array)
{
	__u64 before = o->at, at;
	int i;

	s->kn = array;
	s->place_at = before;
	s->left = before + ARGS_ROOM;
	LOOP(i, TEXTS_MOST, texts_step(s));
	at = s->place_at;
	if (at > RECORD_MAX || at < before)
		return false;
	if (at - before > ARGS_ROOM) {
		at = before + ARGS_ROOM;
		if (at > RECORD_MAX)
			return false;
		o->buf[at - 1] = 0;
	}
	put_len(o, at - before);
	o->at = at;
	return true;
}

static __always_inline void put_failed_exe(struct out *o, __u64 argv)
{
	__u64 first = 0;

	bpf_probe_read_user(&first, sizeof(first), (void *)argv);
	put_user_text(o, (void *)first, ARGS_ROOM);
}

SEC("?tp_btf/sys_exit")
int nabe_exec_failed(__u64 *ctx)
{
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);
	struct task_struct *task = this_task();
	struct pt_regs *regs = (void *)ctx[0];
	struct mm_struct *mm;
	struct file *file;
	__u64 argv, env;
	long ret = ctx[1];
	__u16 count;
	bool at;

	/* A success is told by the scheduler's hook; here its arguments are gone. */
	if (!s || ret == 0)
		return 0;
	at = NR(regs) == NR_execveat;
	argv = at ? ARG2(regs) : ARG1(regs);
	env = at ? ARG3(regs) : ARG2(regs);
	mm = BPF_CORE_READ(task, mm);
	file = BPF_CORE_READ(mm, exe_file);
	/* The schema has no file name for execveat. */
	count = at ? N_SYSCALL_EXECVEAT_X : N_SYSCALL_EXECVE_19_X;
	SCRATCH_BEGIN(o, s, pending_ids(s), at ? EV_SYSCALL_EXECVEAT_X : EV_SYSCALL_EXECVE_19_X,
		      count, pending_flags(s));
	put_u64(&o, ret);
	put_failed_exe(&o, argv);
	SETTLE(&o);
	if (!put_text_array(&o, s, argv + 8))
		goto large;
	put_ids(&o, task);
	SETTLE(&o);
	if (!put_cgroups(&o, s, task))
		goto large;
	if (!put_text_array(&o, s, env))
		goto large;
	put_session(&o, task);
	put_exe(&o, task, file);
	SETTLE(&o);
	put_path(&o, s, file);
	put_u64(&o, pid_nr(BPF_CORE_READ(task, signal, pids[PIDTYPE_PGID]), 0));
	put_u32(&o, BPF_CORE_READ(task, cred, egid.val));
	if (!at)
		put_user_text(&o, (void *)ARG0(regs), PATH_MAX);
	SCRATCH_END(o);
	return 0;
large:
	count_up(too_large);
	return 0;
}

/* --- whom children go to --- */

#define THREADS_LOOKED_AT 16
#define ANCESTORS_LOOKED_AT 16
#define PF_EXITING 0x00000004

/* A thread of the same process that goes on; 0 when there is none, -1 when there are too many. */
static __always_inline __s64 living_thread(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct list_head *head = (void *)signal + bpf_core_field_offset(signal->thread_head);
	struct list_head *at = BPF_CORE_READ(head, next);
	int i;

	for (i = 0; i < THREADS_LOOKED_AT; i++) {
		struct task_struct *thread;

		if (at == head || !at)
			return 0;
		thread = (void *)at - bpf_core_field_offset(struct task_struct, thread_node);
		if (!(BPF_CORE_READ(thread, flags) & PF_EXITING))
			return BPF_CORE_READ(thread, pid);
		at = BPF_CORE_READ(at, next);
	}
	return -1;
}

/* As find_new_reaper(): a sibling, the nearest ancestor that asked for it, the namespace's init. */
static __always_inline __s64 reaper(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level), i;
	struct pid_namespace *ns = NULL;
	struct task_struct *init, *at;
	struct signal_struct *signal;
	__s64 found = living_thread(task);

	if (found)
		return found;
	pid_at(pid, level, &ns);
	init = BPF_CORE_READ(ns, child_reaper);
	if (init == (void *)number_of(task))
		return 0;
	signal = BPF_CORE_READ(task, signal);
	if (!BPF_CORE_READ_BITFIELD_PROBED(signal, has_child_subreaper))
		return BPF_CORE_READ(init, pid);
	at = BPF_CORE_READ(task, real_parent);
	for (i = 0; i < ANCESTORS_LOOKED_AT; i++) {
		if (BPF_CORE_READ(at, thread_pid, level) != level || at == init)
			return BPF_CORE_READ(init, pid);
		signal = BPF_CORE_READ(at, signal);
		if (BPF_CORE_READ_BITFIELD_PROBED(signal, is_child_subreaper)) {
			found = living_thread(at);
			if (found)
				return found;
		}
		at = BPF_CORE_READ(at, real_parent);
	}
	return -1;
}

/* The reaper, 0 without children, nothing when it could not be found. */
static __always_inline void put_reaper(struct out *o, struct task_struct *task)
{
	void *head = (void *)number_of(task) + bpf_core_field_offset(struct task_struct, children);
	struct list_head *children = head;
	__s64 found = 0;

	if (BPF_CORE_READ(children, next) != children)
		found = reaper((void *)number_of(task));
	if (found < 0)
		put_none(o);
	else
		put_u64(o, found);
}

/* How a thread that ends leaves: wait(2)'s status and its parts; whom its children go to. */
SEC("?tp_btf/sched_process_exit")
int nabe_leave(__u64 *ctx)
{
	struct task_struct *task = PLAIN((void *)ctx[0], task_struct);
	__u32 code = FIELD(task, exit_code), signal = code & 0x7f;
	__u16 flags = 0;

	if (FIELD(task, flags) & PF_KTHREAD)
		return 0;
	if (!(HOOK(HOOK_EXIT) & CALL_WANTED) || !picked(FIELD(task, tgid), 0)) {
		if (!(HOOK(HOOK_EXIT) & CALL_STATE)) {
			count_up(filtered_hooks);
			return 0;
		}
		flags = FLAG_STATE_ONLY;
	}
	FIXED_BEGIN(o, this_ids(), EV_PROCEXIT_1_E, 5, 26, flags);
	put_u64(&o, (__s64)(__s32)code);
	put_u64(&o, code >> 8 & 0xff);
	put_u8(&o, signal == 0x7f ? 0 : signal);
	put_u8(&o, !!(code & 0x80));
	put_reaper(&o, task);
	FIXED_END(o);
	return 0;
}

#endif
