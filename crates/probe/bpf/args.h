/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iter.s/task: command lines and environments out of the processes' memory, by
 * the rules of fs/proc/base.c. One run gives at most PIECE bytes of each; what
 * is longer is fetched by further runs, from the places in the map pids.
 */
#ifndef NABE_ARGS_H
#define NABE_ARGS_H

#include "nabe.h"

/* An iterator's buffer holds 32 KiB, and a record must fit in one: 2 x 12 KiB does. */
#define ARGS_PIECE 12288
#define ARGS_MASK 16383
#define FROM_NOTHING 0xffffffffu /* this one has been read to its end */
#define TITLE_ROOM 4096 /* a page, as get_mm_proctitle() reads */

static struct {
	struct nabe_header header;
	struct nabe_args args;
} args_record;
static char argv_text[ARGS_MASK + 1];
static char env_text[ARGS_MASK + 1];
static char title_text[TITLE_ROOM];

/* Copies a piece; the bytes that came. */
static __always_inline __u32 args_copy(char *to, struct task_struct *task, unsigned long start,
				       __u32 total, __u32 offset)
{
	__u64 n;
	long err;

	if (offset >= total)
		return 0;
	n = total - offset;
	if (n > ARGS_PIECE)
		n = ARGS_PIECE;
	BOUND(n, ARGS_MASK);
	err = bpf_copy_from_user_task(to, n, (void *)(start + offset), task, 0);
	if (!err)
		return n;
	args_record.args.error = -err;
	args_record.header.flags |= NABE_FLAG_UNREAD;
	return 0;
}

/*
 * Whoever overwrote the NUL behind its arguments has set a title with
 * setproctitle(3): a text up to the first NUL, which may run into the environment.
 */
static __always_inline __u32 args_title(struct task_struct *task, unsigned long start,
					unsigned long env_end)
{
	__u64 room = TITLE_ROOM;
	long n;

	if (env_end > start && env_end - start < room)
		room = env_end - start;
	BOUND(room, 8191);
	if (room > TITLE_ROOM)
		room = TITLE_ROOM;
	if (bpf_copy_from_user_task(title_text, room, (void *)start, task, 0))
		return 0;
	if (room < TITLE_ROOM)
		title_text[room & (TITLE_ROOM - 1)] = 0;
	n = bpf_probe_read_kernel_str(argv_text, TITLE_ROOM, title_text);
	return n > 0 ? n : 0;
}

static __always_inline __u32 area(unsigned long start, unsigned long end)
{
	return end > start ? end - start : 0;
}

static __always_inline int emit_args(struct seq_file *seq, struct task_struct *task, __u32 pid,
				     const struct nabe_from *from)
{
	struct nabe_args *out = &args_record.args;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	unsigned long arg_start = BPF_CORE_READ(mm, arg_start);
	unsigned long arg_end = BPF_CORE_READ(mm, arg_end);
	unsigned long env_start = BPF_CORE_READ(mm, env_start);
	unsigned long env_end = BPF_CORE_READ(mm, env_end);
	__u64 argv_len = 0, env_len = 0;
	char last = 0;
	__u32 len;

	args_record.header.kind = NABE_KIND_ARGS;
	args_record.header.flags = 0;
	out->pid = pid;
	out->error = 0;
	out->start_ns = task->start_boottime;
	out->argv_offset = from->argv;
	out->env_offset = from->env;
	out->argv_total = out->env_total = 0;
	if (config.needs & NEED_ARGS) {
		out->argv_total = area(arg_start, arg_end);
		argv_len = args_copy(argv_text, task, arg_start, out->argv_total, from->argv);
		if (argv_len && argv_len == out->argv_total) {
			__u64 end = argv_len - 1;

			BOUND(end, ARGS_MASK);
			last = argv_text[end];
		} else if (argv_len && !from->argv) {
			bpf_copy_from_user_task(&last, 1, (void *)arg_end - 1, task, 0);
		}
		if (last && !from->argv) {
			argv_len = args_title(task, arg_start, env_start == arg_end ? env_end : arg_end);
			out->argv_total = argv_len;
		}
	}
	if (config.needs & NEED_ENV) {
		out->env_total = area(env_start, env_end);
		env_len = args_copy(env_text, task, env_start, out->env_total, from->env);
	}
	BOUND(argv_len, ARGS_MASK);
	BOUND(env_len, ARGS_MASK);
	out->argv_len = argv_len;
	out->env_len = env_len;
	len = sizeof(args_record) + argv_len + env_len;
	args_record.header.len = ALIGN8(len);
	bpf_seq_write(seq, &args_record, sizeof(args_record));
	if (argv_len)
		bpf_seq_write(seq, argv_text, argv_len);
	if (env_len)
		bpf_seq_write(seq, env_text, env_len);
	return emit_pad(seq, len);
}

SEC("?iter.s/task")
int nabe_args(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *plain;
	struct nabe_from from = {};
	struct nabe_from *wanted;
	__u32 pid;

	if (!task)
		return 0;
	plain = PLAIN(task, task_struct);
	if (plain->pid != plain->tgid || !plain->mm)
		return 0;
	pid = tgid_of(plain);
	if (!task_wanted(plain, pid))
		return 0;
	if (config.select & SELECT_PIDS) {
		wanted = bpf_map_lookup_elem(&pids, &pid);
		if (!wanted)
			return 0;
		from = *wanted;
		if (from.argv == FROM_NOTHING)
			return 0;
	}
	emit_args(ctx->meta->seq, task, pid, &from);
	return 0;
}

#endif
