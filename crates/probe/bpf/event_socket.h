/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Socket addresses and tuples: a byte for the family, then
 *   inet   address and port, or both ends' (source first)
 *   unix   a path, or two identities (destination first) and a path
 * Addresses in the network's order, ports in the machine's.
 */
#ifndef NABE_EVENT_SOCKET_H
#define NABE_EVENT_SOCKET_H

#include "sys_call.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define UNIX_PATH 108
#define S_IFMT 00170000
#define S_IFSOCK 0140000

/* Who began: the thread (it connects, sends) or the other end (it accepts, receives). */
#define OUTBOUND true
#define INBOUND false

/* A socket address as user space has it: the longest that is read. */
struct address {
	__u16 family;
	union {
		struct {
			__be16 port;
			__be32 v4;
		} __attribute__((packed));
		struct {
			__be16 port6;
			__u32 flow;
			__u8 v6[16];
		} __attribute__((packed));
		char path[UNIX_PATH];
	};
} __attribute__((packed));
_Static_assert(sizeof(struct address) == 2 + UNIX_PATH, "as sockaddr_un");

/* Reads an address of at most len bytes; its family, 0 when there is none. */
static __always_inline __u16 user_address(struct address *to, __u64 from, __u64 len)
{
	__builtin_memset(to, 0, sizeof(*to));
	asm volatile("" : "+r"(len));
	if (len > sizeof(*to))
		len = sizeof(*to);
	if (!from || len < 2 || bpf_probe_read_user(to, len, (void *)from))
		return 0;
	return to->family;
}

/* A path or, without the NUL that it begins with, an abstract name. */
static __always_inline long unix_path(__u8 *to, const char *from)
{
	char first = 1;
	long n;

	bpf_probe_read_kernel(&first, 1, from);
	n = bpf_probe_read_kernel_str(to, UNIX_PATH, first ? from : from + 1);
	return n > 0 ? n : 0;
}

/* What the thread gave as an address. */
static __always_inline void put_address(struct out *o, struct event_scratch *s, __u64 from, __u64 len)
{
	struct address *a = (void *)s->names;
	__u8 *to = o->buf + o->at;
	long n;

	switch (user_address(a, from, len)) {
	case AF_INET:
		to[0] = AF_INET;
		*(__u32 *)(to + 1) = a->v4;
		*(__u16 *)(to + 5) = __builtin_bswap16(a->port);
		n = 7;
		break;
	case AF_INET6:
		to[0] = AF_INET6;
		__builtin_memcpy(to + 1, a->v6, 16);
		*(__u16 *)(to + 17) = __builtin_bswap16(a->port6);
		n = 19;
		break;
	case AF_UNIX:
		to[0] = AF_UNIX;
		n = 1 + unix_path(to + 1, a->path);
		break;
	default:
		n = 0;
	}
	put_len(o, n);
	o->at += n;
}

static __always_inline struct sock *sock_of(__s32 fd)
{
	struct file *file = file_of(fd);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

struct inet_sock {
	__be32 inet_saddr;
	__be16 inet_sport;
} __attribute__((preserve_access_index));

static __always_inline long tuple_v4(__u8 *to, struct sock *sk, bool out, struct address *peer)
{
	struct inet_sock *inet = (void *)sk;
	__u32 local = BPF_CORE_READ(inet, inet_saddr), remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	__u16 local_port = BPF_CORE_READ(inet, inet_sport);
	__u16 remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);

	/* A socket that is not connected knows no other end; the call does. */
	if (!remote_port && peer->family == AF_INET) {
		remote = peer->v4;
		remote_port = peer->port;
	}
	to[0] = AF_INET;
	*(__u32 *)(to + 1) = out ? local : remote;
	*(__u16 *)(to + 5) = __builtin_bswap16(out ? local_port : remote_port);
	*(__u32 *)(to + 7) = out ? remote : local;
	*(__u16 *)(to + 11) = __builtin_bswap16(out ? remote_port : local_port);
	return 13;
}

static __always_inline long tuple_v6(__u8 *to, struct sock *sk, bool out, struct address *peer)
{
	struct inet_sock *inet = (void *)sk;
	__u16 local_port = BPF_CORE_READ(inet, inet_sport);
	__u16 remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	__u32 local_at = out ? 1 : 19, remote_at = out ? 19 : 1;

	to[0] = AF_INET6;
	bpf_core_read(to + local_at, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	if (!remote_port && peer->family == AF_INET6) {
		__builtin_memcpy(to + remote_at, peer->v6, 16);
		remote_port = peer->port6;
	} else {
		bpf_core_read(to + remote_at, 16, &sk->__sk_common.skc_v6_daddr);
	}
	*(__u16 *)(to + local_at + 16) = __builtin_bswap16(local_port);
	*(__u16 *)(to + remote_at + 16) = __builtin_bswap16(remote_port);
	return 37;
}

/* Identities do not tell the kernel's addresses; the snapshot has the same. */
static __always_inline long tuple_unix(__u8 *to, struct sock *sk, bool out, struct address *peer)
{
	struct unix_sock *own = (void *)sk;
	struct sock *other = BPF_CORE_READ(own, peer);
	struct unix_sock *named = out ? (void *)other : own;
	struct unix_address *address = BPF_CORE_READ(named, addr);
	__u64 here = opaque(sk), there = other ? opaque(other) : 0;

	to[0] = AF_UNIX;
	*(__u64 *)(to + 1) = out ? there : here;
	*(__u64 *)(to + 9) = out ? here : there;
	if (out && !other && peer->family == AF_UNIX)
		return 17 + unix_path(to + 17, peer->path);
	/* sun_family comes first. */
	return 17 + unix_path(to + 17, (char *)address + bpf_core_field_offset(address->name) + 2);
}

/* Both ends of a socket; `given` is the address that came with the call, or 0. */
static __always_inline void put_tuple(struct out *o, struct event_scratch *s, __s32 fd, bool out,
				      __u64 given, __u64 given_len)
{
	struct address *peer = (void *)s->names;
	struct sock *sk = sock_of(fd);
	__u8 *to = o->buf + o->at;
	long n = 0;

	if (sk) {
		user_address(peer, given, given_len);
		switch (BPF_CORE_READ(sk, __sk_common.skc_family)) {
		case AF_INET:
			n = tuple_v4(to, sk, out, peer);
			break;
		case AF_INET6:
			n = tuple_v6(to, sk, out, peer);
			break;
		case AF_UNIX:
			if (bpf_core_type_exists(struct unix_sock))
				n = tuple_unix(to, sk, out, peer);
			break;
		}
	}
	put_len(o, n);
	o->at += n;
}

/* --- gathered data --- */

#define PARTS 64

/* One part of an iovec behind what is there. */
static __always_inline bool gather_step(struct event_scratch *s)
{
	__u64 part[2], n = s->left, at = s->place_at;

	if (!s->parts || at > RECORD_MAX)
		return true;
	s->parts--;
	if (bpf_probe_read_user(part, sizeof(part), (void *)s->kn))
		return true;
	s->kn += sizeof(part);
	s->size += part[1];
	if (n > part[1])
		n = part[1];
	asm volatile("" : "+r"(n));
	if (n > SNAPLEN_MAX)
		n = SNAPLEN_MAX;
	if (!n)
		return false;
	if (bpf_probe_read_user(&s->bytes[at], n, (void *)part[0]))
		return true;
	s->place_at = at + n;
	s->left -= n;
	return false;
}

/* The first `most` bytes of what an iovec names; s->size is the whole size afterwards. */
static __always_inline bool put_gathered(struct out *o, struct event_scratch *s, __u64 iov,
					 __u64 parts, __u64 most)
{
	__u64 before = o->at, at;
	int i;

	s->kn = iov;
	s->parts = parts;
	s->size = 0;
	s->left = most;
	s->place_at = before;
	LOOP(i, PARTS, gather_step(s));
	at = s->place_at;
	if (at > RECORD_MAX || at < before)
		return false;
	put_len(o, at - before);
	o->at = at;
	return true;
}

/* Whether the record is there for the state only, which no payload changes. */
static __always_inline bool state_only(struct event_scratch *s)
{
	return ((struct event_head *)s->bytes)->flags & FLAG_STATE_ONLY;
}

/* Bytes of payload that are wanted of a call that moved `ret`, or wanted to move `size`. */
static __always_inline __u64 wanted_bytes(struct event_scratch *s, long ret, __u64 size)
{
	return state_only(s) ? 0 : least(control.snaplen, ret > 0 ? ret : size);
}

/* What a call on a connected stream moves changes no state: its ends are known. */
static __always_inline bool stream(__s32 fd)
{
	struct sock *sk = sock_of(fd);

	return sk && BPF_CORE_READ(sk, sk_type) == 1 /* SOCK_STREAM */;
}

#endif
