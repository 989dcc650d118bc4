/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sockets and socket addresses. */

#define AF_INET 2
#define AF_INET6 10

/* Start of struct sock_common, where one read fetches everything but IPv6 addresses. */
struct sock_head {
	__u32 daddr, saddr;
	__u32 hash;
	__u16 dport, sport;
	__u16 family;
	__u8 state;
	__u8 rest;
};

#define COMMON_AT(field) (KERNEL_OFFSET(struct sock_common, field) - KERNEL_OFFSET(struct sock_common, skc_daddr))

INLINE int read_sock_head(struct sock_head *head, const struct sock *sk)
{
	if (COMMON_AT(skc_rcv_saddr) == 4 && COMMON_AT(skc_dport) == 12 && COMMON_AT(skc_num) == 14 &&
	    COMMON_AT(skc_family) == 16 && COMMON_AT(skc_state) == 18)
		return bpf_probe_read_kernel(head, sizeof *head, &sk->__sk_common.skc_daddr);
	head->daddr = READ(sk, __sk_common.skc_daddr);
	head->saddr = READ(sk, __sk_common.skc_rcv_saddr);
	head->dport = READ(sk, __sk_common.skc_dport);
	head->sport = READ(sk, __sk_common.skc_num);
	head->family = READ(sk, __sk_common.skc_family);
	head->state = READ(sk, __sk_common.skc_state);
	return !head->family;
}

/* The fields whose place or meaning depends on the family. */
INLINE void put_sock_head(struct argument_sock *to, const struct sock *sk, struct sock_head *head)
{
	to->cookie = (__u64)sk;
	to->family = head->family;
	to->state = head->state;
	to->pad = 0;
	__builtin_memset(to->saddr, 0, sizeof to->saddr + sizeof to->daddr);
	if (head->family == AF_INET6) {
		bpf_probe_read_kernel(to->saddr, sizeof to->saddr, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(to->daddr, sizeof to->daddr, &sk->__sk_common.skc_v6_daddr);
	} else if (head->family == AF_INET) {
		*(__u32 *)to->saddr = head->saddr;
		*(__u32 *)to->daddr = head->daddr;
	} else { /* the fields mean something else there */
		head->sport = 0;
		head->dport = 0;
	}
	to->sport = head->sport;
	to->dport = __builtin_bswap16(head->dport);
}

INLINE int fill_sock(struct argument_sock *to, const struct sock *sk)
{
	struct sock_head head;

	if (read_sock_head(&head, sk))
		return -ARG_FAULT;
	to->mark = READ(sk, sk_mark);
	to->priority = READ(sk, sk_priority);
	to->type = READ(sk, sk_type);
	to->protocol = READ(sk, sk_protocol);
	put_sock_head(to, sk, &head);
	return 0;
}

LIBRARY int tetra_read_sock(struct scratch *s, __u32 i, const void *address)
{
	return fill_sock(&s->sock[i & 1], address);
}

LIBRARY int tetra_read_sock_trusted(struct scratch *s, __u32 i, void *pointer)
{
	struct sock *sk = pointer;
	struct argument_sock *to = &s->sock[i & 1];
	struct sock_head head;

	if (may_be_null(sk) || !sk)
		return tetra_read_sock(s, i, sk);
	head.daddr = sk->__sk_common.skc_daddr;
	head.saddr = sk->__sk_common.skc_rcv_saddr;
	head.dport = sk->__sk_common.skc_dport;
	head.sport = sk->__sk_common.skc_num;
	head.family = sk->__sk_common.skc_family;
	head.state = sk->__sk_common.skc_state;
	to->mark = sk->sk_mark;
	to->priority = sk->sk_priority;
	to->type = sk->sk_type;
	to->protocol = sk->sk_protocol;
	put_sock_head(to, sk, &head);
	return 0;
}

/* Both address families have family and port first; IPv6 addresses stand behind four bytes of flow label. */
struct sockaddr_head { __u16 family, port; __u32 addr; };

INLINE int read_sockaddr(struct argument_sockaddr *to, const void *address, __u32 is_user)
{
	struct sockaddr_head head;

	if (is_user ? bpf_probe_read_user(&head, sizeof head, address)
		    : bpf_probe_read_kernel(&head, sizeof head, address))
		return -ARG_FAULT;
	to->family = head.family;
	to->port = 0;
	to->pad = 0;
	__builtin_memset(to->addr, 0, sizeof to->addr);
	if (head.family == AF_INET) {
		*(__u32 *)to->addr = head.addr;
	} else if (head.family == AF_INET6) {
		const void *addr = address + sizeof head;
		if (is_user ? bpf_probe_read_user(to->addr, sizeof to->addr, addr)
			    : bpf_probe_read_kernel(to->addr, sizeof to->addr, addr))
			return -ARG_FAULT;
	} else {
		return 0;
	}
	to->port = __builtin_bswap16(head.port);
	return 0;
}

LIBRARY int tetra_read_sockaddr(struct scratch *s, __u32 i, const void *address, __u32 is_user)
{
	return read_sockaddr(&s->sockaddr[i & 1], address, is_user);
}
