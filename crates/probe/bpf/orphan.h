/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iter/tcp, iter/udp, iter/unix: the sockets of the reader's network namespace
 * that no descriptor refers to: TIME-WAIT, half-open, not yet accepted, left
 * behind by their process, or the kernel's own.
 */
#ifndef NABE_ORPHAN_H
#define NABE_ORPHAN_H

#include "file.h"

static __always_inline bool has_file(struct sock *sk)
{
	struct socket *socket = FIELD(sk, sk_socket);

	return socket && FIELD(socket, file);
}

static __always_inline void emit_orphan(struct seq_file *seq)
{
	__builtin_memset(&fd_record.fd, 0, sizeof(fd_record.fd));
	fd_record.header.flags = 0;
	fd_record.fd.fd = -1;
	fd_record.fd.fd_type = FD_SOCKET;
	fd_record.fd.mode = S_IFSOCK;
	fd_record.fd.socket_len = sizeof(socket_record);
	emit_fd(seq, NULL, 0);
}

SEC("?iter/tcp")
int nabe_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct nabe_socket *out = &socket_record;
	__u8 state;

	if (!skc)
		return 0;
	skc = PLAIN(skc, sock_common);
	state = skc->skc_state;
	if (state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV) {
		struct sock *sk = PLAIN(skc, sock);

		if (!has_file(sk) && fill_socket(sk))
			emit_orphan(ctx->meta->seq);
		return 0;
	}
	/* These two are not struct sock: they have the common part only. */
	__builtin_memset(out, 0, sizeof(*out));
	out->sock_type = SOCK_STREAM;
	out->protocol = IPPROTO_TCP;
	fill_sock_common(out, skc);
	/* What everyone calls it, /proc/net/tcp too. */
	if (state == TCP_NEW_SYN_RECV)
		out->state = TCP_SYN_RECV;
	if (socket_wanted(out->family, out->sock_type, out->state))
		emit_orphan(ctx->meta->seq);
	return 0;
}

SEC("?iter/udp")
int nabe_udp(struct bpf_iter__udp *ctx)
{
	struct sock *sk = (void *)ctx->udp_sk;

	if (!sk)
		return 0;
	sk = PLAIN(sk, sock);
	if (!has_file(sk) && fill_socket(sk))
		emit_orphan(ctx->meta->seq);
	return 0;
}

/* Since 5.15. */
SEC("?iter/unix")
int nabe_unix(struct bpf_iter__unix *ctx)
{
	struct sock *sk = (void *)ctx->unix_sk;

	if (!sk)
		return 0;
	sk = PLAIN(sk, sock);
	if (!has_file(sk) && fill_socket(sk))
		emit_orphan(ctx->meta->seq);
	return 0;
}

#endif
