/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Descriptors that no system call's result tells of: opened through an io_uring, received with a
 * message. They are told as the schema's iterators tell them (task_file_*), for the state only, at
 * the moment when they come to be. A close through an io_uring is told as the call.
 */
#ifndef NABE_SYS_TOLD_H
#define NABE_SYS_TOLD_H

#include "event_socket.h"

#define AF_NETLINK 16
#define S_IFDIR 0040000
#define S_IFIFO 0010000
#define PIPEFS_MAGIC 0x50495045

#define HANDLE_TOLD 19
/* Descriptors of one message that are told: a program can follow upon itself so many times. */
#define TOLD_MAX 30

/* fd_type of task_file_anon_inode, by the first eight letters of the name. */
static __always_inline __u8 anon_type(__u64 name)
{
	switch (name) {
	case 0x6466746e6576655bull: /* [eventfd */
		return 1;
	case 0x6f70746e6576655bull: /* [eventpo */
		return 2;
	case 0x796669746f6e695bull: /* [inotify */
	case 0x00796669746f6e69ull: /* inotify */
		return 3;
	case 0x666c616e6769735bull: /* [signalf */
		return 4;
	case 0x646672656d69745bull: /* [timerfd */
		return 5;
	case 0x6e6972755f6f695bull: /* [io_urin */
		return 6;
	case 0x756166726573755bull: /* [userfau */
		return 7;
	case 0x005d64666469705bull: /* [pidfd] */
		return 8;
	case 0x0070616d2d667062ull: /* bpf-map */
		return 9;
	case 0x676f72702d667062ull: /* bpf-prog */
		return 10;
	case 0x6b6e696c5f667062ull: /* bpf_link */
		return 11;
	case 0x726574695f667062ull: /* bpf_iter */
		return 12;
	case 0x76655f667265705bull: /* [perf_ev */
		return 13;
	}
	return 0;
}

/* fd_type, path. */
static __always_inline void put_anon(struct out *o, struct dentry *dentry)
{
	static const char prefix[] = "anon_inode:";
	__u64 first = 0;
	long n;

	bpf_probe_read_kernel(&first, sizeof(first), FIELD(dentry, d_name.name));
	put_u8(o, anon_type(first));
	__builtin_memcpy(o->buf + o->at, prefix, sizeof(prefix) - 1);
	n = bpf_probe_read_kernel_str(o->buf + o->at + sizeof(prefix) - 1, 64, FIELD(dentry, d_name.name));
	if (n < 0)
		n = 0;
	put_len(o, n + sizeof(prefix) - 1);
	o->at += n + sizeof(prefix) - 1;
}

/* sk_type, sk_proto and what follows by the family; the event of that family. */
static __always_inline __u16 put_socket(struct out *o, struct sock *sk, __s32 fd)
{
	struct inet_sock *inet = PLAIN(sk, inet_sock);
	__u16 event = 0, family = FIELD(sk, __sk_common.skc_family);
	struct unix_address *address;
	__u8 *to;

	if (family == AF_INET)
		EVENT_TO(o, event, ITER_TASK_FILE_SOCKET_INET_E);
	else if (family == AF_INET6)
		EVENT_TO(o, event, ITER_TASK_FILE_SOCKET_INET6_E);
	else if (family == AF_UNIX && bpf_core_type_exists(struct unix_sock))
		EVENT_TO(o, event, ITER_TASK_FILE_SOCKET_UNIX_E);
	else if (family == AF_NETLINK)
		EVENT_TO(o, event, ITER_TASK_FILE_SOCKET_NETLINK_E);
	else
		return 0;
	put_u32(o, fd);
	put_u16(o, FIELD(sk, sk_type));
	put_u16(o, FIELD(sk, sk_protocol));
	to = o->buf + o->at;
	switch (family) {
	case AF_INET:
		put_u32(o, FIELD(inet, inet_saddr));
		put_u16(o, __builtin_bswap16(FIELD(inet, inet_sport)));
		put_u32(o, FIELD(sk, __sk_common.skc_daddr));
		put_u16(o, __builtin_bswap16(FIELD(sk, __sk_common.skc_dport)));
		break;
	case AF_INET6:
		bpf_core_read(to, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		o->at += 16;
		put_len(o, 16);
		put_u16(o, __builtin_bswap16(FIELD(inet, inet_sport)));
		bpf_core_read(to + 18, 16, &sk->__sk_common.skc_v6_daddr);
		o->at += 16;
		put_len(o, 16);
		put_u16(o, __builtin_bswap16(FIELD(sk, __sk_common.skc_dport)));
		break;
	case AF_UNIX:
		address = BPF_CORE_READ((struct unix_sock *)sk, addr);
		put_u64(o, opaque(sk));
		to = o->buf + o->at;
		if (address) {
			long n = unix_path(to, address);

			put_len(o, n);
			o->at += n;
		} else {
			put_none(o);
		}
		break;
	}
	return event;
}

static __always_inline __u32 mount_id(struct file *file)
{
	void *mnt = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = mnt - bpf_core_field_offset(struct mount, mnt);

	return BPF_CORE_READ(mount, mnt_id);
}

/* One that is there, if it is; as an event for the state. */
static __always_inline void tell_descriptor(struct event_scratch *s, __u64 ids, __s32 fd)
{
	struct file *file = file_of(s->task, fd);
	struct out o = { .buf = s->bytes };
	struct dentry *dentry;
	struct inode *inode;
	__u64 magic, ino;
	__u16 event = 0;
	__u32 kind;

	if (!file)
		return;
	inode = PLAIN(BPF_CORE_READ(file, f_inode), inode);
	ino = FIELD(inode, i_ino);
	kind = FIELD(inode, i_mode) & S_IFMT;
	dentry = PLAIN(BPF_CORE_READ(file, f_path.dentry), dentry);
	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (kind == S_IFSOCK) {
		struct sock *sk = sock_of(s->task, fd);

		event = sk ? put_socket(&o, sk, fd) : 0;
		if (!event)
			return;
	} else if (!kind) {
		EVENT(ITER_TASK_FILE_ANON_INODE_E), V32(fd), put_anon(&o, dentry);
	} else if (kind == S_IFIFO && magic == PIPEFS_MAGIC) {
		EVENT(ITER_TASK_FILE_PIPE_E), V32(fd), NONE();
	} else {
		bool plain = false;

		if (kind == S_IFDIR)
			EVENT(ITER_TASK_FILE_DIRECTORY_E);
		else if (kind == S_IFIFO)
			EVENT(ITER_TASK_FILE_PIPE_E);
		else if (dentry_memfd(dentry, magic))
			EVENT(ITER_TASK_FILE_MEMFD_E);
		else
			EVENT(ITER_TASK_FILE_REGULAR_E), plain = true;
		V32(fd), put_path(&o, s, file);
		if (plain)
			V32(open_flags(BPF_CORE_READ(file, f_flags))), V32(mount_id(file));
	}
	V64(ino);
	put_head(o.buf, ids, event, o.n, FLAG_STATE_ONLY);
	scratch_send(&o);
}

/* Behind nabe_message, and behind itself: those of one message, one by one. */
SEC("?tp_btf/sys_exit")
int nabe_told(__u64 *ctx)
{
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);
	__u64 ids;
	__s32 fd;

	if (!s || !s->told || bpf_probe_read_user(&fd, sizeof(fd), (void *)s->kn2))
		return 0;
	s->told--;
	s->kn2 += sizeof(fd);
	ids = this_ids();
	tell_descriptor(s, ids, fd);
	bpf_tail_call_static(ctx, &handlers, HANDLE_TOLD);
	return 0;
}

/* io_uring's kinds of requests: include/uapi/linux/io_uring.h. */
#define RING_ACCEPT 13
#define RING_OPENAT 18
#define RING_CLOSE 19
#define RING_OPENAT2 28
#define RING_SOCKET 45

struct io_cqe {
	__s32 res;
} __attribute__((preserve_access_index));

/* With its result since 5.19 (cd0ca2e048dc). */
struct io_kiocb {
	__u8 opcode;
	struct io_cqe cqe;
} __attribute__((preserve_access_index));

/* Stands where the request does. */
struct io_close {
	int fd;
} __attribute__((preserve_access_index));

/* ring, request: a request is done. */
SEC("?tp_btf/io_uring_complete")
int nabe_ring(__u64 *ctx)
{
	struct io_kiocb *request = PLAIN((void *)ctx[1], io_kiocb);
	struct event_scratch *s;
	struct io_close *close;
	struct who by;
	__u32 tgid;
	__u8 kind;
	__s32 res;

	if (!bpf_core_field_exists(request->cqe) || !bpf_core_type_exists(struct io_close) || !request)
		return 0;
	kind = FIELD(request, opcode);
	if (kind != RING_OPENAT && kind != RING_OPENAT2 && kind != RING_ACCEPT && kind != RING_SOCKET &&
	    kind != RING_CLOSE)
		return 0;
	res = FIELD(request, cqe.res);
	by = who();
	tgid = by.ids >> 32;
	if (res < 0 || tgid == control.own || (control.select && distance(control.select, tgid) == FAR))
		return 0;
	/* Its worker threads are nobody's: descriptors are the process's. */
	by.ids = (__u64)tgid << 32 | tgid;
	if (kind == RING_CLOSE) {
		close = PLAIN((void *)ctx[1], io_close);
		FIXED_BEGIN(o, by.ids, EV_SYSCALL_CLOSE_X, 2, 16, FLAG_STATE_ONLY);
		put_u64(&o, 0);
		put_u64(&o, (__s64)FIELD(close, fd));
		FIXED_END(o);
		return 0;
	}
	s = scratch_of(SCRATCH_RING);
	if (!s)
		return 0;
	s->task = by.task;
	tell_descriptor(s, by.ids, res);
	return 0;
}

#endif
