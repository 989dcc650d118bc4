/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Packets: the two ends of an IP packet in a socket buffer, from its headers. */

#define IP_FRAGMENT 0x1fff /* of frag_off: not the first fragment */
#define IPV6_EXTENSIONS 8  /* headers that are passed over */

#define IPPROTO_HOPOPTS 0
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_DCCP 33
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_AH 51
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136

struct ipv4_header {
	__u8 version_ihl, tos;
	__u16 length, id, fragment;
	__u8 ttl, protocol;
	__u16 check;
	__u32 saddr, daddr;
};

struct ipv6_header {
	__u8 version, flow[3];
	__u16 length;
	__u8 next, hops;
	__u8 saddr[16], daddr[16];
};

struct ipv6_extension { __u8 next, length; __u16 fragment; };

/* What of a packet is in linear memory: offsets from `head`. */
struct linear { const void *head; __u32 tail; };

INLINE int read_packet(void *to, __u32 size, const struct linear *packet, __u32 offset)
{
	if (offset > packet->tail || size > packet->tail - offset)
		return -1;
	return bpf_probe_read_kernel(to, size, packet->head + offset);
}

INLINE void read_packet_ports(struct argument_sock *to, const struct linear *packet, __u32 offset)
{
	__u16 ports[2];

	switch (to->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		if (!read_packet(ports, sizeof ports, packet, offset)) {
			to->sport = __builtin_bswap16(ports[0]);
			to->dport = __builtin_bswap16(ports[1]);
		}
	}
}

INLINE void read_ipv4(struct argument_sock *to, const struct linear *packet, __u32 offset)
{
	struct ipv4_header ip;

	if (read_packet(&ip, sizeof ip, packet, offset))
		return;
	to->family = AF_INET;
	to->protocol = ip.protocol;
	*(__u32 *)to->saddr = ip.saddr;
	*(__u32 *)to->daddr = ip.daddr;
	/* only the first fragment has ports */
	if (!(__builtin_bswap16(ip.fragment) & IP_FRAGMENT))
		read_packet_ports(to, packet, offset + (ip.version_ihl & 15) * 4);
}

INLINE void read_ipv6(struct argument_sock *to, const struct linear *packet, __u32 offset)
{
	struct ipv6_header ip;
	struct ipv6_extension extension;
	__u8 next;

	if (read_packet(&ip, sizeof ip, packet, offset))
		return;
	to->family = AF_INET6;
	__builtin_memcpy(to->saddr, ip.saddr, sizeof to->saddr);
	__builtin_memcpy(to->daddr, ip.daddr, sizeof to->daddr);
	next = ip.next;
	offset += sizeof ip;
	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		__u32 length;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT &&
		    next != IPPROTO_AH && next != IPPROTO_DSTOPTS)
			break;
		if (read_packet(&extension, sizeof extension, packet, offset))
			break;
		/* RFC 8200, section 4; RFC 4302, section 2.2 */
		length = (extension.length + 1) * 8;
		if (next == IPPROTO_FRAGMENT)
			length = 8;
		if (next == IPPROTO_AH)
			length = (extension.length + 2) * 4;
		if (next == IPPROTO_FRAGMENT && __builtin_bswap16(extension.fragment) >> 3) {
			/* only the first fragment has ports */
			to->protocol = extension.next;
			return;
		}
		next = extension.next;
		offset += length;
	}
	to->protocol = next;
	read_packet_ports(to, packet, offset);
}

/*
 * What is no IP packet has no family and no ends. The version is taken from the header itself: where a packet is sent,
 * skb->protocol is not set yet. `cookie` holds hash and length, as the fields of a socket that a packet lacks.
 */
GLOBAL int read_skb(__u32 level, __u32 i)
{
	struct scratch *s = scratch_of(level);
	struct linear packet;
	__u8 version;

	if (!s)
		return -ARG_FAULT;
	struct argument_sock *to = &s->sock[i & 1];
	const struct sk_buff *skb = (const void *)to->cookie;

	__builtin_memset(to, 0, sizeof *to);
	if (bpf_probe_read_kernel(&packet.head, sizeof packet.head, &skb->head))
		return -ARG_FAULT;
	packet.tail = READ(skb, tail);
	to->cookie = READ(skb, hash) | (__u64)READ(skb, len) << 32;
	to->mark = READ(skb, mark);
	to->priority = READ(skb, priority);
	__u32 offset = READ(skb, network_header);

	if (!read_packet(&version, sizeof version, &packet, offset)) {
		if (version >> 4 == 4)
			read_ipv4(to, &packet, offset);
		else if (version >> 4 == 6)
			read_ipv6(to, &packet, offset);
	}
	return 0;
}

/* Global functions take no pointers that the verifier knows: the address goes through memory. */
LIBRARY int tetra_read_skb(struct scratch *s, __u32 i, const void *address)
{
	s->sock[i & 1].cookie = (__u64)address;
	return read_skb(s->level, i);
}
