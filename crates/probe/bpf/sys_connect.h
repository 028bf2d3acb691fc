/* SPDX-License-Identifier: GPL-2.0 */
/*
 * connect, in front of nabe_socket: the address is read once, onto the stack, where the kernel's
 * check of the destination is cheapest, and what is most frequent goes straight into the ring.
 */
#ifndef NABE_SYS_CONNECT_H
#define NABE_SYS_CONNECT_H

#include "event_socket.h"

#define HANDLE_SOCKET 12
/* Paths of up to this many words take a smaller record. */
#define PATH_FEW 4

/* Word `i` of the text that begins with the address's third byte, or behind the NUL there. */
static __always_inline __u64 path_word(__u64 *words, int i, __u32 shift)
{
	return words[i] >> shift | words[i + 1] << (64 - shift);
}

/* The first byte that is 0 among the first `most` words of the text, behind it; 0 for none. */
static __always_inline __u64 path_end(struct event_scratch *s, __u64 *words, int most, __u32 shift)
{
	int i;

	s->size = 0;
#pragma clang loop unroll(full)
	for (i = 0; i < most; i++) {
		__u64 word = path_word(words, i, shift);
		__u64 zeros = (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;

		if (zeros) {
			s->size = 8 * i + zero_byte(zeros) + 1;
			break;
		}
	}
	/* By way of memory the verifier forgets which of so many numbers it is. */
	return *(volatile __u64 *)&s->size;
}

static __always_inline int connect_v4(struct pt_regs *regs, struct event_scratch *s, long ret,
				      __u64 first)
{
	struct end_v4 end = { first, first >> 16, first >> 32 };
	struct sock *sk = NULL;
	__u64 n = 0;

	if (ret == 0 || ret == -EINPROGRESS) {
		sk = sock_of(s->task, ARG0(regs));
		if (sk && FIELD(sk, __sk_common.skc_family) != AF_INET)
			return -1;
	}
	FIXED_BEGIN(o, pending_ids(s), EV_SOCKET_CONNECT_X, N_SOCKET_CONNECT_X, 8 + 13 + 8 + 7,
		    pending_flags(s));
	put_u64(&o, ret);
	if (sk)
		n = tuple_v4(o.buf + o.at, sk, OUTBOUND, end);
	put_len(&o, n);
	o.at += n;
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	put_len(&o, address_v4(o.buf + o.at, end));
	FIXED_END(o);
	return 0;
}

/* One that failed: it has no other end. */
static __always_inline int connect_path(struct pt_regs *regs, struct event_scratch *s, long ret,
					__u64 *words)
{
	__u32 shift = words[0] >> 16 & 0xff ? 16 : 24, i;
	__u64 n = path_end(s, words, PATH_FEW, shift);
	__u8 *to;

	if (!n || n > 8 * PATH_FEW)
		return -1;
	FIXED_BEGIN(o, pending_ids(s), EV_SOCKET_CONNECT_X, N_SOCKET_CONNECT_X,
		    8 + 8 + 1 + 8 * PATH_FEW, pending_flags(s));
	put_u64(&o, ret);
	put_none(&o);
	put_u64(&o, (__s64)(__s32)ARG0(regs));
	to = o.buf + o.at;
	to[0] = AF_UNIX;
#pragma clang loop unroll(full)
	for (i = 0; i < PATH_FEW; i++)
		*(__u64 *)(to + 1 + 8 * i) = path_word(words, i, shift);
	put_len(&o, 1 + n);
	FIXED_END(o);
	return 0;
}

SEC("?tp_btf/sys_exit")
int nabe_connect(__u64 *ctx)
{
	struct event_scratch *s = scratch_of(SCRATCH_SYSCALL);
	struct pt_regs *regs = (void *)ctx[0];
	__u64 words[ADDRESS_WORDS + 2];
	long ret = ctx[1];
	__u64 len;
	int i;

	if (!s)
		return 0;
	len = ARG2(regs);
#pragma clang loop unroll(full)
	for (i = 0; i < ADDRESS_WORDS + 2; i++)
		words[i] = 0;
	KEEP(len);
	if (len > ADDRESS_MAX)
		len = ADDRESS_MAX;
	KEEP(len);
	if (len < 2 || bpf_probe_read_user(words, len, (void *)ARG1(regs)))
		words[0] = 0;
	switch ((__u16)words[0]) {
	case AF_INET:
		if (!connect_v4(regs, s, ret, words[0]))
			return 0;
		break;
	case AF_UNIX:
		if (ret && ret != -EINPROGRESS && !connect_path(regs, s, ret, words))
			return 0;
		break;
	}
#pragma clang loop unroll(full)
	for (i = 0; i < ADDRESS_WORDS; i++)
		address_of(s)->words[i] = words[i];
	bpf_tail_call_static(ctx, &handlers, HANDLE_SOCKET);
	count_up(broken);
	return 0;
}

#endif
