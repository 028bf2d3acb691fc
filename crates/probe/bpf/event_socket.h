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

/* The longest address that is read. */
#define ADDRESS_MAX (2 + UNIX_PATH)
#define ADDRESS_WORDS 14

/* A socket address as user space has it, what is missing of it being 0. */
struct address {
	union {
		struct {
			__u16 family;
			__be16 port;
			__be32 v4;
		};
		__u64 words[ADDRESS_WORDS];
		__u8 bytes[8 * ADDRESS_WORDS];
	};
	__u64 path_len;
	__u64 spare; /* paths are read by words */
};
_Static_assert(sizeof(struct address) <= sizeof(((struct event_scratch *)0)->names), "its place");
_Static_assert(8 * ADDRESS_WORDS > ADDRESS_MAX, "room for a NUL");

static __always_inline struct address *address_of(struct event_scratch *s)
{
	return (void *)s->names;
}

/* Reads the address of at most len bytes that came with the call; its family is 0 when there is none. */
static __always_inline void user_address(struct event_scratch *s, __u64 from, __u64 len)
{
	struct address *to = address_of(s);


	to->words[0] = to->words[1] = to->words[2] = to->words[3] = 0;
	KEEP(len);
	if (len > ADDRESS_MAX)
		len = ADDRESS_MAX;
	KEEP(len);
	if (!from || len < 2)
		return;
	if (bpf_probe_read_user(to->bytes, len, (void *)from))
		to->family = 0;
	to->bytes[len] = 0;
}

/* Where the lowest byte is that is 0: those below it have no bit set. */
static __always_inline __u32 zero_byte(__u64 zeros)
{
	__u32 at = 0, low = zeros;

	if (!low) {
		at = 4;
		low = zeros >> 32;
	}
	if (!(low & 0xffff)) {
		at += 2;
		low >>= 16;
	}
	return at + !(low & 0xff);
}

/*
 * The path of such an address or, without the NUL that it begins with, its abstract
 * name; with its NUL. Two words take less time than a helper that looks for a NUL.
 */
static __always_inline long user_unix_path(__u8 *to, struct address *a)
{
	__u8 *from = a->bytes + 2 + !a->bytes[2];
	__u64 n;
	int i;

	a->path_len = UNIX_PATH;
	for (i = 0; i < ADDRESS_WORDS; i++) {
		__u64 word = *(__u64 *)(from + 8 * i);
		__u64 zeros = (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;

		*(__u64 *)(to + 8 * i) = word;
		if (zeros) {
			a->path_len = 8 * i + zero_byte(zeros) + 1;
			break;
		}
	}
	/* By way of memory the verifier forgets which of so many numbers it is. */
	n = *(volatile __u64 *)&a->path_len;
	if (n >= UNIX_PATH) {
		n = UNIX_PATH;
		to[UNIX_PATH - 1] = 0;
	}
	return n;
}

/*
 * The path of a socket or, without the NUL that it begins with, its abstract name; with its NUL.
 * What is behind the address is no part of it: whoever had that memory before has left it there.
 */
static __always_inline long unix_path(__u8 *to, struct unix_address *address)
{
	char *from = (char *)address + bpf_core_field_offset(address->name) + 2;
	/* sun_family comes first; a path counts its NUL, and an abstract name the one before it. */
	__u64 len = (__s64)BPF_CORE_READ(address, len) - 2;
	char first;
	__u64 n;
	long got;

	/* A path that fills sun_path has its NUL behind it. */
	if (len - 1 > UNIX_PATH || bpf_probe_read_kernel(&first, 1, from))
		return 0;
	KEEP(len);
	if (len > UNIX_PATH)
		len = UNIX_PATH;
	got = bpf_probe_read_kernel_str(to, len, first ? from : from + 1);
	n = got > 0 ? got : 0;
	/* The verifier of 5.10 forgets on the way that it is no error. */
	BOUND(n, 127);
	return n;
}

/* struct sockaddr_in, as far as it says something. */
struct end_v4 {
	__u16 family;
	__be16 port;
	__be32 addr;
};

static __always_inline long address_v4(__u8 *to, struct end_v4 end)
{
	to[0] = AF_INET;
	*(__u32 *)(to + 1) = end.addr;
	*(__u16 *)(to + 5) = __builtin_bswap16(end.port);
	return 7;
}

/* What the thread gave as an address: see user_address(). */
static __always_inline void put_address(struct out *o, struct event_scratch *s)
{
	struct address *a = address_of(s);
	__u8 *to = o->buf + o->at;
	long n;

	switch (a->family) {
	case AF_INET:
		n = address_v4(to, (struct end_v4){ a->family, a->port, a->v4 });
		break;
	case AF_INET6:
		to[0] = AF_INET6;
		*(__u64 *)(to + 1) = a->words[1];
		*(__u64 *)(to + 9) = a->words[2];
		*(__u16 *)(to + 17) = __builtin_bswap16(a->port);
		n = 19;
		break;
	case AF_UNIX:
		to[0] = AF_UNIX;
		n = 1 + user_unix_path(to + 1, a);
		break;
	default:
		n = 0;
	}
	put_len(o, n);
	o->at += n;
}

static __always_inline struct sock *sock_of(__u64 task, __s32 fd)
{
	struct file *file = file_of(task, fd);
	struct socket *socket;
	struct inode *inode;

	if (!file)
		return NULL;
	inode = FIELD(file, f_inode);
	if ((FIELD(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = PLAIN(FIELD(file, private_data), socket);
	return FIELD(socket, sk);
}

struct inet_sock {
	__be32 inet_saddr;
	__be16 inet_sport;
} __attribute__((preserve_access_index));

/* `peer` is the other end that the call has named, or nothing. */
static __always_inline long tuple_v4(__u8 *to, struct sock *sk, bool out, struct end_v4 peer)
{
	struct inet_sock *inet = PLAIN(sk, inet_sock);
	__u32 local = FIELD(inet, inet_saddr), remote = FIELD(sk, __sk_common.skc_daddr);
	__u16 local_port = FIELD(inet, inet_sport);
	__u16 remote_port = FIELD(sk, __sk_common.skc_dport);

	/* A socket that is not connected knows no other end; the call does. */
	if (!remote_port && peer.family == AF_INET) {
		remote = peer.addr;
		remote_port = peer.port;
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
	struct inet_sock *inet = PLAIN(sk, inet_sock);
	__u16 local_port = FIELD(inet, inet_sport);
	__u16 remote_port = FIELD(sk, __sk_common.skc_dport);
	__u32 local_at = out ? 1 : 19, remote_at = out ? 19 : 1;

	to[0] = AF_INET6;
	bpf_core_read(to + local_at, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	if (!remote_port && peer->family == AF_INET6) {
		*(__u64 *)(to + remote_at) = peer->words[1];
		*(__u64 *)(to + remote_at + 8) = peer->words[2];
		remote_port = peer->port;
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
		return 17 + user_unix_path(to + 17, peer);
	return 17 + unix_path(to + 17, address);
}

/* Both ends of a socket, beside the address that came with the call: see user_address(). */
static __always_inline void put_ends(struct out *o, struct event_scratch *s, __s32 fd, bool out)
{
	struct address *peer = address_of(s);
	struct sock *sk = sock_of(s->task, fd);
	__u8 *to = o->buf + o->at;
	long n = 0;

	if (sk) {
		switch (FIELD(sk, __sk_common.skc_family)) {
		case AF_INET:
			n = tuple_v4(to, sk, out,
				     (struct end_v4){ peer->family, peer->port, peer->v4 });
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

/* Both ends of a socket; `given` is the address that came with the call, or 0. */
static __always_inline void put_tuple(struct out *o, struct event_scratch *s, __s32 fd, bool out,
				      __u64 given, __u64 given_len)
{
	user_address(s, given, given_len);
	put_ends(o, s, fd, out);
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
	return pending_flags(s) & FLAG_STATE_ONLY;
}

/* Bytes of payload that are wanted of a call that moved `ret`, or wanted to move `size`. */
static __always_inline __u64 wanted_bytes(struct event_scratch *s, long ret, __u64 size)
{
	return state_only(s) ? 0 : least(control.snaplen, ret > 0 ? ret : size);
}

/* What a call on a connected stream moves changes no state: its ends are known. */
static __always_inline bool stream(struct event_scratch *s, __s32 fd)
{
	struct sock *sk = sock_of(s->task, fd);

	return sk && FIELD(sk, sk_type) == 1 /* SOCK_STREAM */;
}

#endif
