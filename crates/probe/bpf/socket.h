/* SPDX-License-Identifier: GPL-2.0 */
/* What stands behind a socket: family, state, addresses, queues, unix names. */
#ifndef NABE_SOCKET_H
#define NABE_SOCKET_H

#include "nabe.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define SOCK_STREAM 1
#define SOCK_RAW 3
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262
#define TCP_SYN_RECV 3
#define TCP_TIME_WAIT 6
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12
#define UNIX_NAME_ROOM 128 /* sun_path has 108; a power of two */
#define UNIX_QUEUE_STEPS 64

static struct nabe_socket socket_record;
static char unix_name[UNIX_NAME_ROOM];
static char unix_peer_name[UNIX_NAME_ROOM];

static __always_inline __u16 swap16(__u16 n)
{
	return __builtin_bswap16(n);
}

/* sk_type and sk_protocol were bit fields until 5.5: nabe starts at 5.8. */
static __always_inline bool socket_wanted(__u16 family, __u16 type, __u8 state)
{
	if ((config.select & SELECT_FAMILIES) && (family > 63 || !(config.families >> family & 1)))
		return false;
	if ((config.select & SELECT_TYPES) && (type > 31 || !(config.types >> type & 1)))
		return false;
	if ((config.select & SELECT_STATES) && (state > 31 || !(config.states >> state & 1)))
		return false;
	return true;
}

static __always_inline __u64 socket_inode(struct socket *socket)
{
	struct socket_alloc *alloc =
		(void *)socket - bpf_core_field_offset(struct socket_alloc, socket);

	return socket ? BPF_CORE_READ(alloc, vfs_inode.i_ino) : 0;
}

/* The fields that every sock has, also those in TIME-WAIT. */
static __always_inline void fill_sock_common(struct nabe_socket *out, struct sock_common *skc)
{
	out->family = FIELD(skc, skc_family);
	out->state = FIELD(skc, skc_state);
	out->cookie = opaque(skc);
	out->netns = MODERN ? skc->skc_net.net->ns.inum : BPF_CORE_READ(skc, skc_net.net, ns.inum);
	if (out->family == AF_INET) {
		bpf_core_read(out->src_addr, 4, &skc->skc_rcv_saddr);
		bpf_core_read(out->dst_addr, 4, &skc->skc_daddr);
	} else if (out->family == AF_INET6) {
		bpf_core_read(out->src_addr, 16, &skc->skc_v6_rcv_saddr);
		bpf_core_read(out->dst_addr, 16, &skc->skc_v6_daddr);
	} else {
		return;
	}
	out->src_port = FIELD(skc, skc_num);
	out->dst_port = swap16(FIELD(skc, skc_dport));
}

static __always_inline void fill_inet(struct nabe_socket *out, struct sock *sk)
{
	if (out->sock_type == SOCK_RAW) {
		out->extra = out->src_port;
		out->src_port = out->dst_port = 0;
	}
	if (out->state == TCP_LISTEN) {
		out->rx_queue = FIELD(sk, sk_ack_backlog);
		out->tx_queue = FIELD(sk, sk_max_ack_backlog);
	} else if (out->protocol == IPPROTO_TCP && out->sock_type == SOCK_STREAM) {
		struct tcp_sock *tp = PLAIN(sk, tcp_sock);
		__s32 rx = FIELD(tp, rcv_nxt) - FIELD(tp, copied_seq);

		out->rx_queue = rx > 0 ? rx : 0;
		out->tx_queue = FIELD(tp, write_seq) - FIELD(tp, snd_una);
	} else {
		out->rx_queue = FIELD(sk, sk_backlog.rmem_alloc.counter);
		/* One is held by the socket itself. */
		out->tx_queue = FIELD(sk, sk_wmem_alloc.refs.counter) - 1;
	}
}

/* Its name; a path ends at its NUL, an abstract name is cut where its length says. */
static __always_inline __u16 unix_name_of(struct sock *sk, char *to)
{
	struct unix_sock *u = PLAIN(sk, unix_sock);
	struct unix_address *addr = FIELD(u, addr);
	__u64 len;

	if (!addr)
		return 0;
	/* sun_family comes first. */
	len = FIELD(addr, len) - 2;
	if (len > 108)
		return 0;
	BOUND(len, UNIX_NAME_ROOM - 1);
	if (bpf_probe_read_kernel(to, len, (void *)addr + bpf_core_field_offset(addr->name) + 2))
		return 0;
	if (len && to[0] && !to[(len - 1) & (UNIX_NAME_ROOM - 1)])
		len--;
	return len;
}

/* Bytes of a stream, or of the first message of anything else: as SIOCINQ counts. */
static __always_inline __u32 unix_queued(struct sock *sk, bool stream)
{
	struct sk_buff_head *head;
	struct sk_buff *skb;
	__u32 sum = 0;
	int i;

	if (!FIELD(sk, sk_receive_queue.qlen))
		return 0;
	head = (void *)sk + bpf_core_field_offset(sk->sk_receive_queue);
	skb = BPF_CORE_READ(head, next);
	for (i = 0; i < UNIX_QUEUE_STEPS; i++) {
		if ((void *)skb == (void *)head || !skb)
			break;
		sum += BPF_CORE_READ(skb, len);
		if (!stream)
			break;
		skb = BPF_CORE_READ(skb, next);
	}
	return sum;
}

static __always_inline void fill_unix(struct nabe_socket *out, struct sock *sk)
{
	struct unix_sock *u = PLAIN(sk, unix_sock);
	struct sock *peer = FIELD(u, peer);

	out->name_len = unix_name_of(sk, unix_name);
	if (peer) {
		out->peer_len = unix_name_of(peer, unix_peer_name);
		out->peer_inode = socket_inode(FIELD(peer, sk_socket));
	}
	if (out->state == TCP_LISTEN) {
		out->rx_queue = FIELD(sk, sk_receive_queue.qlen);
		out->tx_queue = FIELD(sk, sk_max_ack_backlog);
	} else {
		out->rx_queue = unix_queued(sk, out->sock_type == SOCK_STREAM);
		out->tx_queue = FIELD(sk, sk_wmem_alloc.refs.counter) - 1;
	}
}

static __always_inline void fill_other(struct nabe_socket *out, struct sock *sk)
{
	if (out->family == AF_NETLINK) {
		struct netlink_sock *nlk = (void *)sk;

		out->extra = BPF_CORE_READ(nlk, portid);
	} else if (out->family == AF_PACKET && bpf_core_type_exists(struct packet_sock)) {
		struct packet_sock *po = (void *)sk;

		out->extra = BPF_CORE_READ(po, ifindex);
		out->protocol = swap16(BPF_CORE_READ(po, num));
	}
	out->rx_queue = FIELD(sk, sk_backlog.rmem_alloc.counter);
}

/* Fills socket_record; false when the selection leaves this socket out. */
static __always_inline bool fill_socket(struct sock *sk)
{
	struct nabe_socket *out = &socket_record;

	__builtin_memset(out, 0, sizeof(*out));
	out->sock_type = FIELD(sk, sk_type);
	out->protocol = FIELD(sk, sk_protocol);
	fill_sock_common(out, PLAIN(sk, sock_common));
	if (!socket_wanted(out->family, out->sock_type, out->state))
		return false;
	out->uid = FIELD(sk, sk_uid.val);
	if (out->family == AF_INET || out->family == AF_INET6)
		fill_inet(out, sk);
	else if (out->family == AF_UNIX && bpf_core_type_exists(struct unix_sock))
		fill_unix(out, sk);
	else
		fill_other(out, sk);
	return true;
}

static __always_inline void emit_unix_names(struct seq_file *seq)
{
	__u64 name = socket_record.name_len, peer = socket_record.peer_len;

	BOUND(name, UNIX_NAME_ROOM - 1);
	BOUND(peer, UNIX_NAME_ROOM - 1);
	if (name)
		bpf_seq_write(seq, unix_name, name);
	if (peer)
		bpf_seq_write(seq, unix_peer_name, peer);
}

#endif
