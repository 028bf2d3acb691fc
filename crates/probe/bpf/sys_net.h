/* SPDX-License-Identifier: GPL-2.0 */
/* System calls on sockets, and reads and writes of many parts. */
#ifndef NABE_SYS_NET_H
#define NABE_SYS_NET_H

#include "event_socket.h"

static __always_inline __u8 family(__u32 kernel)
{
	kernel &= 0xff;
	return kernel < 40 && kernel != 27 && kernel != 28 ? kernel : 0;
}

/* queuepct, queuelen, queuemax of the listener. */
static __always_inline void put_queue(struct out *o, __u64 task, long ret, __s32 fd)
{
	struct sock *sk = ret >= 0 ? sock_of(task, fd) : NULL;
	__u32 len, most;

	if (!sk) {
		put_none(o);
		put_none(o);
		put_none(o);
		return;
	}
	len = FIELD(sk, sk_ack_backlog);
	most = FIELD(sk, sk_max_ack_backlog);
	put_u8(o, most ? (__u64)len * 100 / most : 0);
	put_u32(o, len);
	put_u32(o, most);
}

/* fd1, fd2 and the identities of both ends. */
static __always_inline void put_pair(struct out *o, __u64 task, long ret, __u64 from)
{
	struct unix_sock *own;
	struct sock *peer;
	__s32 fds[2];

	if (ret || bpf_probe_read_user(fds, sizeof(fds), (void *)from)) {
		put_none(o);
		put_none(o);
		put_none(o);
		put_none(o);
		return;
	}
	put_u64(o, (__s64)fds[0]);
	put_u64(o, (__s64)fds[1]);
	own = (void *)sock_of(task, fds[0]);
	if (!own || !bpf_core_type_exists(struct unix_sock)) {
		put_none(o);
		put_none(o);
		return;
	}
	peer = BPF_CORE_READ(own, peer);
	put_u64(o, opaque(own));
	put_u64(o, peer ? opaque(peer) : 0);
}

#define SOL_SOCKET 1
#define DYN_BYTES 0
#define DYN_ERRNO 1
#define DYN_U32 2
#define DYN_U64 3
#define DYN_TIMEVAL 4

static __always_inline __u8 option_level(__u32 level)
{
	return level == SOL_SOCKET ? 1 : level == 6 /* IPPROTO_TCP */ ? 2 : 0;
}

static __always_inline __u8 option_name(__u32 level, __u32 name)
{
	if (level != SOL_SOCKET)
		return 0;
	switch (name) {
	case 55: /* SO_COOKIE */
		return 52;
	case 57: /* SO_PEERGROUPS */
		return 53;
	case 59: /* SO_... of 4.18 */
		return 51;
	case 66: /* SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW */
	case 67:
		return name - 46;
	}
	return name <= 50 ? name : 0;
}

/* A socket option's value: what kind it is, the level and name say. */
static __always_inline void put_option(struct out *o, __u32 level, __u32 name, __u64 from, __u32 len)
{
	__u8 *to = o->buf + o->at;
	__u64 value[2] = {}, n = least(len, 1024);
	__s32 number = 0;

	if (level == SOL_SOCKET && (name == 20 || name == 21 || name == 66 || name == 67)) {
		if (bpf_probe_read_user(value, sizeof(value), (void *)from))
			goto none;
		to[0] = DYN_TIMEVAL;
		*(__u64 *)(to + 1) = value[0] * 1000000000ull + value[1] * 1000;
		n = 9;
	} else if (level == SOL_SOCKET && name == 57) {
		if (!user_u64(value, from))
			goto none;
		to[0] = DYN_U64;
		*(__u64 *)(to + 1) = value[0];
		n = 9;
	} else if (level == SOL_SOCKET && name != 13 && name != 17 && name != 26 && len == 4) {
		if (bpf_probe_read_user(&number, sizeof(number), (void *)from))
			goto none;
		to[0] = name == 4 ? DYN_ERRNO : DYN_U32;
		if (name == 4) {
			*(__u64 *)(to + 1) = -(__s64)number;
			n = 9;
		} else {
			*(__u32 *)(to + 1) = number;
			n = 5;
		}
	} else {
		to[0] = DYN_BYTES;
		asm volatile("" : "+r"(n));
		if (n > 1024 || bpf_probe_read_user(to + 1, n, (void *)from))
			goto none;
		n += 1;
	}
	put_len(o, n);
	o->at += n;
	return;
none:
	put_none(o);
}

SEC("?tp_btf/sys_exit")
int nabe_socket(__u64 *ctx)
{
	__u32 len = 0;

	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_socket:
		RESULT(SOCKET_SOCKET_X), V32(family(ARG0(regs))), A32(1), A32(2);
		V32(fd_flags(ARG1(regs)));
		break;
	case NR_bind:
		user_address(s, ARG1(regs), ARG2(regs));
		RESULT(SOCKET_BIND_X), put_address(&o, s), FD(0);
		break;
	case NR_connect:
		/* nabe_connect has read the address. */
		RESULT(SOCKET_CONNECT_X);
		if (ret == 0 || ret == -EINPROGRESS)
			put_ends(&o, s, ARG0(regs), OUTBOUND);
		else
			NONE();
		FD(0), put_address(&o, s);
		break;
	case NR_listen:
		RESULT(SOCKET_LISTEN_X), FD(0), A32(1);
		break;
	case NR_accept:
		RESULT(SOCKET_ACCEPT_5_X), put_tuple(&o, s, ret, INBOUND, 0, 0);
		put_queue(&o, s->task, ret, ARG0(regs));
		break;
	case NR_accept4:
		RESULT(SOCKET_ACCEPT4_6_X), put_tuple(&o, s, ret, INBOUND, 0, 0);
		put_queue(&o, s->task, ret, ARG0(regs)), V32(fd_flags(ARG3(regs)));
		break;
	case NR_shutdown:
		RESULT(SOCKET_SHUTDOWN_X), FD(0), V8(ARG1(regs) < 3 ? ARG1(regs) : 0xff);
		break;
	case NR_getsockname:
		EVENT(SOCKET_GETSOCKNAME_X);
		break;
	case NR_getpeername:
		EVENT(SOCKET_GETPEERNAME_X);
		break;
	case NR_socketpair:
		RESULT(SOCKET_SOCKETPAIR_X), put_pair(&o, s->task, ret, ARG3(regs));
		V32(family(ARG0(regs))), A32(1), A32(2);
		break;
	case NR_setsockopt:
		RESULT(SOCKET_SETSOCKOPT_X), FD(0), V8(option_level(ARG1(regs)));
		V8(option_name(ARG1(regs), ARG2(regs)));
		put_option(&o, ARG1(regs), ARG2(regs), ARG3(regs), ARG4(regs)), A32(4);
		break;
	case NR_getsockopt:
		bpf_probe_read_user(&len, sizeof(len), (void *)ARG4(regs));
		RESULT(SOCKET_GETSOCKOPT_X), FD(0), V8(option_level(ARG1(regs)));
		V8(option_name(ARG1(regs), ARG2(regs)));
		put_option(&o, ARG1(regs), ARG2(regs), ARG3(regs), len), V32(len);
		break;
	}
	CALL_END();
}

SEC("?tp_btf/sys_exit")
int nabe_send(__u64 *ctx)
{
	__u32 len = 0;

	CALL_BEGIN(ctx);
	if (state_only(s) && stream(s, ARG0(regs))) {
		count_filtered();
		return 0;
	}
	switch (NR(regs)) {
	case NR_sendto:
		RESULT(SOCKET_SENDTO_X);
		put_user_bytes(&o, (void *)ARG1(regs), wanted_bytes(s, ret, ARG2(regs)));
		FD(0), A32(2);
		if (ret >= 0)
			put_tuple(&o, s, ARG0(regs), OUTBOUND, ARG4(regs), ARG5(regs));
		else
			NONE();
		break;
	case NR_recvfrom:
		RESULT(SOCKET_RECVFROM_X);
		put_user_bytes(&o, (void *)ARG1(regs), wanted_bytes(s, ret, 0));
		if (ARG4(regs))
			bpf_probe_read_user(&len, sizeof(len), (void *)ARG5(regs));
		if (ret >= 0)
			put_tuple(&o, s, ARG0(regs), INBOUND, ARG4(regs), len);
		else
			NONE();
		FD(0), A32(2);
		break;
	case NR_pread64:
		RESULT(SYSCALL_PREAD_X);
		put_user_bytes(&o, (void *)ARG1(regs), wanted_bytes(s, ret, 0));
		FD(0), A32(2), A64(3);
		break;
	case NR_pwrite64:
		RESULT(SYSCALL_PWRITE_X);
		put_user_bytes(&o, (void *)ARG1(regs), wanted_bytes(s, ret, ARG2(regs)));
		FD(0), A32(2), A64(3);
		break;
	}
	CALL_END();
}

#define GATHER(iov, parts, most)                             \
	do {                                                 \
		SETTLE(&o);                                  \
		if (!put_gathered(&o, s, iov, parts, most))  \
			goto large;                          \
	} while (0)

SEC("?tp_btf/sys_exit")
int nabe_vector(__u64 *ctx)
{
	CALL_BEGIN(ctx);
	switch (NR(regs)) {
	case NR_readv:
		RESULT(SYSCALL_READV_X), V32(ret > 0 ? ret : 0);
		GATHER(ARG1(regs), ARG2(regs), wanted_bytes(s, ret, 0));
		FD(0);
		break;
	case NR_preadv:
		RESULT(SYSCALL_PREADV_X), V32(ret > 0 ? ret : 0);
		GATHER(ARG1(regs), ARG2(regs), wanted_bytes(s, ret, 0));
		FD(0), A64(3);
		break;
	case NR_writev:
		RESULT(SYSCALL_WRITEV_X);
		GATHER(ARG1(regs), ARG2(regs), wanted_bytes(s, ret, SNAPLEN_MAX));
		FD(0), V32(s->size);
		break;
	case NR_pwritev:
		RESULT(SYSCALL_PWRITEV_X);
		GATHER(ARG1(regs), ARG2(regs), wanted_bytes(s, ret, SNAPLEN_MAX));
		FD(0), V32(s->size), A64(3);
		break;
	case NR_process_vm_readv:
		RESULT(SYSCALL_PROCESS_VM_READV_X), FD(0);
		GATHER(ARG1(regs), ARG2(regs), wanted_bytes(s, ret, 0));
		break;
	case NR_process_vm_writev:
		RESULT(SYSCALL_PROCESS_VM_WRITEV_X), FD(0);
		GATHER(ARG1(regs), ARG2(regs), wanted_bytes(s, ret, 0));
		break;
	}
	CALL_END();
large:
	count_up(too_large);
	return 0;
}

/* struct user_msghdr */
struct message {
	__u64 name;
	__u32 name_len;
	__u32 pad;
	__u64 iov;
	__u64 parts;
	__u64 control;
	__u64 control_len;
	__u32 flags;
	__u32 pad2;
};

static __always_inline bool user_message(struct message *to, __u64 from)
{
	return !bpf_probe_read_user(to, sizeof(*to), (void *)from);
}

/* data, fd, size, tuple */
static __always_inline int put_sent(struct out *o, struct event_scratch *s, long ret, __s32 fd,
				    struct message *m)
{
	SETTLE(o);
	if (!put_gathered(o, s, m->iov, m->parts, wanted_bytes(s, ret, SNAPLEN_MAX)))
		return -1;
	put_u64(o, (__s64)fd);
	put_u32(o, s->size);
	if (ret >= 0)
		put_tuple(o, s, fd, OUTBOUND, m->name, m->name_len);
	else
		put_none(o);
	return 0;
}

#define CONTROL_HEAD 16
#define SCM_RIGHTS 1
/* What the kernel puts before descriptors: credentials, a pidfd, a label, times. */
#define CONTROLS 4

/* struct cmsghdr */
struct control_head {
	__u64 len;
	__s32 level;
	__s32 type;
};

/* How many descriptors a message has brought; s->kn2 is where their numbers are. */
static __always_inline __u32 find_rights(struct event_scratch *s, __u64 at, __u64 left)
{
	struct control_head head;
	int i;

	for (i = 0; i < CONTROLS; i++) {
		if (left < CONTROL_HEAD || bpf_probe_read_user(&head, sizeof(head), (void *)at))
			return 0;
		if (head.len < CONTROL_HEAD || head.len > left)
			return 0;
		if (head.level == SOL_SOCKET && head.type == SCM_RIGHTS) {
			s->kn2 = at + CONTROL_HEAD;
			return least((head.len - CONTROL_HEAD) / 4, TOLD_MAX);
		}
		at += ALIGN8(head.len);
		left -= least(ALIGN8(head.len), left);
	}
	return 0;
}

SEC("?tp_btf/sys_exit")
int nabe_message(__u64 *ctx)
{
	struct message m = {};
	__u64 n;

	CALL_BEGIN(ctx);
	if (!user_message(&m, ARG1(regs)))
		m.parts = 0;
	/* A stream's message changes state when descriptors come along. */
	if (state_only(s) && stream(s, ARG0(regs)) && !(m.control && m.control_len)) {
		count_filtered();
		return 0;
	}
	switch (NR(regs)) {
	case NR_sendmsg:
		RESULT(SOCKET_SENDMSG_X);
		if (put_sent(&o, s, ret, ARG0(regs), &m))
			goto large;
		break;
	case NR_recvmsg:
		RESULT(SOCKET_RECVMSG_X), V32(ret > 0 ? ret : 0);
		GATHER(m.iov, m.parts, wanted_bytes(s, ret, 0));
		if (ret >= 0)
			put_tuple(&o, s, ARG0(regs), INBOUND, m.name, m.name_len);
		else
			NONE();
		n = ret >= 0 && m.control ? least(m.control_len, 4096) : 0;
		put_user_bytes(&o, (void *)m.control, n), FD(0);
		s->told = n >= CONTROL_HEAD + 4 && HOOK(HOOK_TOLD) ? find_rights(s, (__u64)m.control, n) : 0;
		break;
	}
	if (!event) {
		count_up(broken);
		return 0;
	}
	put_head(o.buf, pending_ids(s), event, o.n, pending_flags(s));
	scratch_send(&o);
	if (event == EV_SOCKET_RECVMSG_X && s->told)
		bpf_tail_call_static(ctx, &handlers, HANDLE_TOLD);
	return 0;
large:
	count_up(too_large);
	return 0;
}

/*
 * Messages of one call that are told one by one; more are counted as too large.
 * Without open-coded loops, more than two are too much for the verifier.
 */
#define MESSAGES (MODERN ? 16 : 2)

/* One message: struct mmsghdr is a header and how many bytes went. */
static __always_inline int one_message(struct event_scratch *s, struct pt_regs *regs, bool sent,
				       __u64 from, __u16 flags)
{
	struct message m = {};
	__u16 event = 0;
	struct out o = { .buf = s->bytes };
	__u32 n = 0;

	if (!user_message(&m, from) ||
	    bpf_probe_read_user(&n, sizeof(n), (void *)(from + sizeof(m))))
		return -1;
	if (sent)
		EVENT(SOCKET_SENDMMSG_X);
	else
		EVENT(SOCKET_RECVMMSG_X);
	V64(n), FD(0), V32(n);
	SETTLE(&o);
	if (!put_gathered(&o, s, m.iov, m.parts, least(control.snaplen, n)))
		return -1;
	put_tuple(&o, s, ARG0(regs), sent, m.name, m.name_len);
	if (!sent)
		put_user_bytes(&o, (void *)m.control, m.control ? least(m.control_len, 4096) : 0);
	put_head(o.buf, pending_ids(s), event, o.n, flags);
	scratch_send(&o);
	return 0;
}

static __always_inline bool messages_step(struct event_scratch *s, struct pt_regs *regs, bool sent,
					  long ret, __u16 flags)
{
	if (s->told >= ret || one_message(s, regs, sent, s->kn2, flags))
		return true;
	s->kn2 += sizeof(struct message) + 8;
	s->told++;
	return false;
}

SEC("?tp_btf/sys_exit")
int nabe_messages(__u64 *ctx)
{
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);
	struct pt_regs *regs = (void *)ctx[0];
	long ret = ctx[1];
	__u16 event = 0, flags;
	struct out o = {};
	bool sent;
	int i;

	if (!s)
		return 0;
	flags = pending_flags(s);
	sent = NR(regs) == NR_sendmmsg;
	if (ret <= 0) {
		o.buf = s->bytes;
		if (sent)
			RESULT(SOCKET_SENDMMSG_X);
		else
			RESULT(SOCKET_RECVMMSG_X);
		FD(0), NONE(), NONE(), NONE();
		if (!sent)
			NONE();
		put_head(o.buf, pending_ids(s), event, o.n, flags);
		scratch_send(&o);
		return 0;
	}
	s->kn2 = ARG1(regs);
	s->told = 0;
	LOOP(i, MESSAGES, messages_step(s, regs, sent, ret, flags));
	if (s->told < ret)
		__sync_fetch_and_add(&counts[bpf_get_smp_processor_id() & (MAX_CPUS - 1)].too_large,
				     ret - s->told);
	return 0;
}

#endif
