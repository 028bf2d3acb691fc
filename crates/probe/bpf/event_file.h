/* SPDX-License-Identifier: GPL-2.0 */
/* Arguments of system calls, the scratch areas, and what is behind a descriptor. */
#ifndef NABE_EVENT_FILE_H
#define NABE_EVENT_FILE_H

#include "event.h"
#include "path.h"

#define PATH_MAX 4096

#if defined(__TARGET_ARCH_x86)
#define NR(regs) ((regs)->orig_ax & ~X32_BIT)
#define ARG0(regs) ((regs)->di)
#define ARG1(regs) ((regs)->si)
#define ARG2(regs) ((regs)->dx)
#define ARG3(regs) ((regs)->r10)
#define ARG4(regs) ((regs)->r8)
#define ARG5(regs) ((regs)->r9)
#endif

/* One scratch area for each hook and CPU. */
enum { SCRATCH_SYSCALL, SCRATCH_EXEC, SCRATCH_ENTER, SCRATCH_RING, SCRATCHES };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRATCHES); /* for each CPU: sized by the loader */
	__type(key, __u32);
	__type(value, struct event_scratch);
} scratch SEC(".maps");

static __always_inline struct event_scratch *scratch_of(__u32 hook)
{
	__u32 key = bpf_get_smp_processor_id() * SCRATCHES + hook;

	return bpf_map_lookup_elem(&scratch, &key);
}

#define SCRATCH_BEGIN(o, s, ids, event, n_, flags_)                    \
	struct out o = { .buf = (s)->bytes, .n = 0, .at = HEAD + 2 * (n_) }; \
	put_head(o.buf, ids, event, n_, flags_)

/* What is too large for the ring is counted apart. */
static __always_inline void scratch_send(struct out *o)
{
	__u64 len = o->at;

	asm volatile("" : "+r"(len));
	if (len > RECORD_MAX) {
		count_up(too_large);
		return;
	}
	if (ring_output(o->buf, len))
		count_up(ring_full);
}
#define SCRATCH_END(o) scratch_send(&o)

/* --- descriptors --- */

/* What is behind a descriptor of the task at that address. */
static __always_inline struct file *file_of(__u64 at, __s32 fd)
{
	struct task_struct *task = PLAIN((void *)at, task_struct);
	struct files_struct *files = FIELD(task, files);
	struct fdtable *table = FIELD(files, fdt);

	if (fd < 0 || (__u32)fd >= FIELD(table, max_fds))
		return NULL;
	return PLAIN(pointer_at(FIELD(table, fd) + fd), file);
}

/* As user space writes device numbers: new_encode_dev(). */
static __always_inline __u32 device(__u32 dev)
{
	__u32 major = dev >> 20, minor = dev & 0xfffff;

	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

#define OVERLAY_UPPER 1
#define OVERLAY_LOWER 2

/* Which layer of an overlay an inode is in; 0 for other file systems. */
static __always_inline __u32 overlay_layer(struct inode *inode)
{
	struct super_block *sb = FIELD(inode, i_sb);
	void *upper = NULL;

	if (FIELD(sb, s_magic) != OVERLAYFS_MAGIC)
		return 0;
	/* As in task.h: the upper dentry stands right behind the inode. */
	bpf_probe_read_kernel(&upper, sizeof(upper),
			      (void *)inode + bpf_core_type_size(struct inode));
	return upper ? OVERLAY_UPPER : OVERLAY_LOWER;
}

/* A bit of the kernel's as a bit of the schema's. */
#define BIT(value, kernel, schema)                               \
	(((__u32)((value) >> __builtin_ctzll(kernel)) & 1)        \
	 << __builtin_ctzll(schema))

#define O_F_CREATED (1 << 14)
#define FD_UPPER_LAYER (1 << 15)
#define FD_LOWER_LAYER (1 << 16)
#define FMODE_CREATED 0x100000

/* O_* of x86 and of arm64's generic ABI differ in four bits. */
#if defined(__TARGET_ARCH_x86)
#define K_O_DIRECT 040000
#define K_O_LARGEFILE 0100000
#define K_O_DIRECTORY 0200000
#endif

static __always_inline __u32 open_flags(__u64 f)
{
	__u32 out = ((f & 3) + 1) & 3; /* RDONLY 1, WRONLY 2, RDWR 3 */

	out |= BIT(f, 0100, 1 << 2); /* CREAT */
	out |= BIT(f, 02000, 1 << 3); /* APPEND */
	out |= BIT(f, 010000, 1 << 4); /* DSYNC */
	out |= BIT(f, 0200, 1 << 5); /* EXCL */
	out |= BIT(f, 04000, 1 << 6); /* NONBLOCK */
	out |= BIT(f, 04000000, 1 << 7); /* SYNC's own bit */
	out |= BIT(f, 01000, 1 << 8); /* TRUNC */
	out |= BIT(f, K_O_DIRECT, 1 << 9);
	out |= BIT(f, K_O_DIRECTORY, 1 << 10);
	out |= BIT(f, K_O_LARGEFILE, 1 << 11);
	out |= BIT(f, 02000000, 1 << 12); /* CLOEXEC */
	out |= BIT(f, 020000000, 1 << 13); /* TMPFILE's own bit */
	return out;
}

/* The mode counts only when a file may be made; S_I* are the same in both. */
static __always_inline __u32 open_mode(__u64 flags, __u64 mode)
{
	return flags & (0100 | 020000000) ? mode & 07777 : 0;
}

struct opened {
	__u64 ino;
	__u32 dev;
	__u32 flags;
};

static __always_inline struct opened opened_file(__u64 task, __s32 fd)
{
	struct opened out = {};
	struct file *file = file_of(task, fd);
	struct super_block *sb;
	struct inode *inode;
	__u32 layer;

	if (!file)
		return out;
	inode = FIELD(file, f_inode);
	sb = FIELD(inode, i_sb);
	out.dev = device(FIELD(sb, s_dev));
	out.ino = FIELD(inode, i_ino);
	if (FIELD(file, f_mode) & FMODE_CREATED)
		out.flags |= O_F_CREATED;
	layer = overlay_layer(inode);
	if (layer)
		out.flags |= layer == OVERLAY_UPPER ? FD_UPPER_LAYER : FD_LOWER_LAYER;
	return out;
}

/* flags, mode, dev, ino: how open and its kin end. */
static __always_inline void put_opened(struct out *o, __u64 task, long fd, __u64 how, __u64 mode)
{
	struct opened file = {};

	if (fd >= 0)
		file = opened_file(task, fd);
	put_u32(o, open_flags(how) | file.flags);
	put_u32(o, open_mode(how, mode));
	if (fd >= 0) {
		put_u32(o, file.dev);
		put_u64(o, file.ino);
	} else {
		put_none(o);
		put_none(o);
	}
}

#endif
