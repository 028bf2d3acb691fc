/* SPDX-License-Identifier: GPL-2.0 */
/* iter/task_file: an Fd record for each open descriptor, with its Socket. */
#ifndef NABE_FILE_H
#define NABE_FILE_H

#include "path.h"
#include "socket.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define O_CLOEXEC 02000000

#define SOCKFS_MAGIC 0x534f434b
#define ANON_INODE_FS_MAGIC 0x09041934
#define PID_FS_MAGIC 0x50494446

/* nabe_event::symbol::FD_TYPE */
enum fd_type {
	FD_OTHER = 0,
	FD_FILE = 1,
	FD_SOCKET = 2,
	FD_PIPE = 3,
	FD_DIRECTORY = 4,
	FD_DEVICE = 5,
	FD_MEMFD = 6,
	FD_ANON = 7,
	FD_EVENTFD = 8,
	FD_EPOLL = 9,
	FD_INOTIFY = 10,
	FD_SIGNALFD = 11,
	FD_TIMERFD = 12,
	FD_BPF = 13,
	FD_IO_URING = 14,
	FD_PIDFD = 15,
	FD_PERF_EVENT = 16,
	FD_USERFAULTFD = 17,
	FD_FANOTIFY = 18,
};

static struct {
	struct nabe_header header;
	struct nabe_fd fd;
} fd_record;
static char fd_path[2 * PATH_ROOM];
static struct path_text fd_walk;
static struct path fd_root;

/* The first characters of a name as a number, little-endian. */
#define WORD(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

/* By the name that the kernel gave the anonymous inode: "[eventpoll]", "inotify", "bpf-map". */
static __always_inline __u32 anon_type(struct dentry *dentry)
{
	__u32 name[2] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	switch (name[0]) {
	case WORD('[', 'e', 'v', 'e'): /* [eventfd] and [eventpoll] differ in the 7th */
		return (name[1] >> 16 & 0xff) == 'p' || (name[1] >> 8 & 0xff) == 'p' ? FD_EPOLL :
										       FD_EVENTFD;
	case WORD('i', 'n', 'o', 't'):
		return FD_INOTIFY;
	case WORD('[', 's', 'i', 'g'):
		return FD_SIGNALFD;
	case WORD('[', 't', 'i', 'm'):
		return FD_TIMERFD;
	case WORD('b', 'p', 'f', '-'):
	case WORD('b', 'p', 'f', '_'):
		return FD_BPF;
	case WORD('[', 'i', 'o', '_'):
		return FD_IO_URING;
	case WORD('[', 'p', 'i', 'd'):
		return FD_PIDFD;
	case WORD('[', 'p', 'e', 'r'):
		return FD_PERF_EVENT;
	case WORD('[', 'u', 's', 'e'):
		return FD_USERFAULTFD;
	case WORD('[', 'f', 'a', 'n'):
		return FD_FANOTIFY;
	}
	return FD_ANON;
}

static __always_inline __u32 fd_type_of(__u32 mode, unsigned long magic, struct dentry *dentry)
{
	if (magic == ANON_INODE_FS_MAGIC)
		return anon_type(dentry);
	if (magic == PID_FS_MAGIC)
		return FD_PIDFD;
	switch (mode & S_IFMT) {
	case S_IFREG:
		return dentry_memfd(dentry, magic) ? FD_MEMFD : FD_FILE;
	case S_IFSOCK:
		return FD_SOCKET;
	case S_IFIFO:
		return FD_PIPE;
	case S_IFDIR:
		return FD_DIRECTORY;
	case S_IFCHR:
	case S_IFBLK:
		return FD_DEVICE;
	}
	return FD_OTHER;
}

/* The bit is in the table of descriptors, not in the file. */
static __always_inline bool closes_on_exec(struct task_struct *task, __u32 fd)
{
	unsigned long *bits = task->files->fdt->close_on_exec;
	unsigned long word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), bits + fd / 64);
	return word >> (fd & 63) & 1;
}

static __always_inline void fill_fd(struct nabe_fd *out, struct task_struct *task,
				    struct file *file, __u32 fd)
{
	struct inode *inode = file->f_inode;
	struct dentry *dentry = file->f_path.dentry;
	unsigned long magic = inode->i_sb->s_magic;
	struct mount *mount =
		(void *)file->f_path.mnt - bpf_core_field_offset(struct mount, mnt);

	out->fd = fd;
	out->inode = inode->i_ino;
	out->offset = file->f_pos;
	out->size = inode->i_size;
	out->dev = inode->i_sb->s_dev;
	out->rdev = inode->i_rdev;
	out->open_flags = file->f_flags & ~O_CLOEXEC;
	if (closes_on_exec(task, fd))
		out->open_flags |= O_CLOEXEC;
	out->mode = inode->i_mode;
	/* stat(2) hides the type that anonymous inodes have had since 6.17. */
	if (magic == ANON_INODE_FS_MAGIC)
		out->mode &= ~S_IFMT;
	out->nlink = inode->i_nlink;
	out->mount_id = BPF_CORE_READ(mount, mnt_id);
	out->fd_type = fd_type_of(out->mode, magic, dentry);
	out->access = file->f_mode & 3;
	out->path_len = out->socket_len = 0;
}

static __always_inline void emit_fd(struct seq_file *seq, const char *path, __u64 path_len)
{
	__u32 len = sizeof(fd_record) + path_len + fd_record.fd.socket_len;

	if (fd_record.fd.socket_len) {
		len += socket_record.name_len + socket_record.peer_len;
		fd_record.header.flags |= NABE_FLAG_SOCKET;
	}
	fd_record.header.kind = NABE_KIND_FD;
	fd_record.header.len = ALIGN8(len);
	bpf_seq_write(seq, &fd_record, sizeof(fd_record));
	if (fd_record.fd.socket_len)
		bpf_seq_write(seq, &socket_record, sizeof(socket_record));
	if (path && path_len)
		bpf_seq_write(seq, (void *)path, path_len);
	if (fd_record.fd.socket_len)
		emit_unix_names(seq);
	emit_pad(seq, len);
}

/* Fills fd_record and, for a socket, socket_record; false when it is not wanted. */
static __always_inline bool fd_wanted(struct task_struct *task, struct file *file, __u32 fd)
{
	struct socket *socket;
	struct inode *inode;
	struct sock *sk;
	__u32 pid;

	inode = file->f_inode;
	if ((config.select & SELECT_ONLY_SOCKETS) && (inode->i_mode & S_IFMT) != S_IFSOCK)
		return false;
	pid = tgid_of(task);
	if (!task_wanted(task, pid))
		return false;
	fd_record.header.flags = 0;
	fd_record.fd.pid = pid;
	fill_fd(&fd_record.fd, task, file, fd);
	if (fd_record.fd.fd_type != FD_SOCKET || inode->i_sb->s_magic != SOCKFS_MAGIC)
		return true;
	socket = PLAIN(file->private_data, socket);
	sk = FIELD(socket, sk);
	if (!sk)
		return true;
	if (!fill_socket(sk))
		return false;
	fd_record.fd.socket_len = sizeof(socket_record);
	return true;
}

SEC("?iter/task_file")
int nabe_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (task && file &&
	    fd_wanted(PLAIN(task, task_struct), PLAIN(file, file), ctx->fd))
		emit_fd(ctx->meta->seq, NULL, 0);
	return 0;
}

/* With paths, by bpf_d_path(), which iterators have since 5.12: this file is held. */
SEC("?iter/task_file")
int nabe_file_path(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	__u64 n;
	long len;

	if (!task || !file ||
	    !fd_wanted(PLAIN(task, task_struct), PLAIN(file, file), ctx->fd))
		return 0;
	len = bpf_d_path(&file->f_path, fd_path, PATH_ROOM);
	if (len <= 0) {
		fd_record.header.flags |= NABE_FLAG_UNREAD;
		n = 0;
	} else {
		n = len - 1;
	}
	BOUND(n, PATH_ROOM - 1);
	fd_record.fd.path_len = n;
	emit_fd(ctx->meta->seq, fd_path, n);
	return 0;
}

/*
 * With paths, without bpf_d_path(). Where the kernel would make a name up, the
 * reader must: of pipes and sockets nothing comes, of anonymous inodes '/' and a name.
 */
SEC("?iter/task_file")
int nabe_file_walk(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct dentry *dentry;
	__u64 start, n;

	if (ctx->meta->seq_num == 0) {
		struct task_struct *reader = (void *)bpf_get_current_task();

		fd_root.dentry = BPF_CORE_READ(reader, fs, root.dentry);
		fd_root.mnt = BPF_CORE_READ(reader, fs, root.mnt);
	}
	if (!task || !file ||
	    !fd_wanted(PLAIN(task, task_struct), PLAIN(file, file), ctx->fd))
		return 0;
	path_begin(&fd_walk);
	file = PLAIN(file, file);
	dentry = file->f_path.dentry;
	if (file->f_inode->i_sb->s_magic == ANON_INODE_FS_MAGIC) {
		path_prepend(&fd_walk, dentry->d_name.name, dentry->d_name.len);
		fd_walk.len = PATH_ROOM - fd_walk.start;
	} else if (dentry->d_parent != dentry || dentry == file->f_path.mnt->mnt_root ||
		   fd_record.fd.fd_type == FD_MEMFD) {
		path_walk(&fd_walk, dentry, file->f_path.mnt, &fd_root,
			  fd_record.fd.fd_type == FD_MEMFD);
	}
	if (fd_walk.cut)
		fd_record.header.flags |= NABE_FLAG_CUT;
	start = fd_walk.start;
	n = fd_walk.len;
	BOUND(start, PATH_ROOM - 1);
	BOUND(n, PATH_ROOM - 1);
	fd_record.fd.path_len = n;
	emit_fd(ctx->meta->seq, &fd_walk.text[start], n);
	return 0;
}

#endif
