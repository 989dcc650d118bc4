/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Buffers: bytes of which the call says how many, in one piece or in segments. */

/* Most segments that a call may name (UIO_MAXIOV, include/uapi/linux/uio.h). */
#define SEGMENTS_MAX 1024

/* `struct iovec`, whose layout is part of the ABI. */
struct segment { __u64 base, len; };

/* How an address has to be read. */
INLINE int is_of_user(__u64 address, __u32 is_users)
{
	return is_users || (__s64)address >= 0;
}

/* Segments of a call, and what of them is meant. */
struct segments {
	__u64 array, count;       /* struct iovec at `array` */
	__u64 skip;               /* bytes of the first one that are left out */
	__u64 size;               /* bytes after which it ends */
	__u32 array_is_user, bytes_are_user;
	/* so far */
	__u64 total;              /* bytes that were named */
	__u32 len;                /* bytes that were read */
	__u32 fault;              /* 0, or ARG_FAULT or ARG_USER_FAULT */
};

/*
 * They stand behind the bytes of the text that is filled, because global functions take integers only: what a program passes as an
 * address may be a pointer to the verifier.
 */
INLINE struct segments *segments_of(struct text *t)
{
	_Static_assert(sizeof(struct segments) <= TEXT_SLACK, "a text has room for it");
	return (void *)(t->bytes + TEXT_MAX);
}

INLINE int buffer_fault(struct text *t, int is_user)
{
	text_fault(t);
	return is_user ? -ARG_USER_FAULT : -ARG_FAULT;
}

INLINE int buffer_finish(struct text *t, __u32 len, __u64 size)
{
	t->len = len;
	t->flags = size > 0xffffffff ? 0xffffffff : size;
	t->mode = 0;
	t->status = size > len ? ARG_TRUNCATED : ARG_OK;
	return len;
}

GLOBAL int read_buffer(__u32 slot, __u64 size, __u32 is_users)
{
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!t)
		return -ARG_FAULT;
	__u64 address = segments_of(t)->array;
	__u32 len = size < TEXT_MAX ? size : TEXT_MAX;

	OPAQUE(len);
	if (len > TEXT_MAX)
		return -ARG_FAULT;
	int is_user = is_of_user(address, is_users);
	long failed = is_user ? bpf_probe_read_user(t->bytes, len, (void *)address)
			      : bpf_probe_read_kernel(t->bytes, len, (void *)address);
	return failed ? buffer_fault(t, is_user) : buffer_finish(t, len, size);
}

LIBRARY int tetra_read_buffer(struct text *t, __u64 address, __u64 size, __u32 is_users)
{
	segments_of(t)->array = address;
	return read_buffer(t->slot, size, is_users);
}

#define SEGMENT_ON 0
#define SEGMENT_END 1

INLINE int segment_fault(struct segments *of, int is_user)
{
	of->fault = is_user ? ARG_USER_FAULT : ARG_FAULT;
	return SEGMENT_END;
}

/*
 * Reads a segment to the record's memory, which is free until a record is begun: there is no room behind a text to read a piece of
 * any length to any place.
 */
GLOBAL int read_segment(__u32 level, __u32 slot, __u32 index)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!s || !t)
		return SEGMENT_END;
	struct segments *of = segments_of(t);
	if (index >= of->count || of->total >= of->size)
		return SEGMENT_END;
	struct segment segment = {};
	const void *at = (void *)(of->array + index * sizeof segment);
	long failed = of->array_is_user ? bpf_probe_read_user(&segment, sizeof segment, at)
					: bpf_probe_read_kernel(&segment, sizeof segment, at);
	if (failed)
		return segment_fault(of, of->array_is_user);
	if (!index) {
		__u64 skip = of->skip < segment.len ? of->skip : segment.len;
		segment.base += skip;
		segment.len -= skip;
	}
	__u64 left = of->size - of->total;
	__u64 size = segment.len < left ? segment.len : left;
	of->total += size;
	__u32 place = of->len;
	OPAQUE(place);
	if (place > TEXT_MAX)
		return SEGMENT_END;
	__u32 room = TEXT_MAX - place;
	__u32 piece = size < room ? size : room;
	OPAQUE(piece);
	if (!piece || piece > TEXT_MAX)
		return SEGMENT_ON;
	failed = of->bytes_are_user ? bpf_probe_read_user(s->record + place, piece, (void *)segment.base)
				    : bpf_probe_read_kernel(s->record + place, piece, (void *)segment.base);
	if (failed)
		return segment_fault(of, of->bytes_are_user);
	of->len = place + piece;
	return SEGMENT_ON;
}

/* The bytes of the segments that are described behind the text. */
INLINE int read_segments(struct scratch *s, struct text *t)
{
	struct segments *of = segments_of(t);

	of->total = 0;
	of->len = 0;
	of->fault = 0;
	for (__u32 i = 0; i < SEGMENTS_MAX; i++)
		if (read_segment(s->level, t->slot, i) != SEGMENT_ON)
			break;
	if (of->fault)
		return buffer_fault(t, of->fault == ARG_USER_FAULT);
	bpf_probe_read_kernel(t->bytes, TEXT_MAX, s->record);
	return buffer_finish(t, of->len, of->total);
}

GLOBAL int read_iovec(__u32 level, __u32 slot, __u64 count, __u32 is_users)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!s || !t)
		return -ARG_FAULT;
	/* the bytes of an array that the kernel has made may be anywhere; the kernel makes them for itself seldom */
	struct segments *of = segments_of(t);
	of->count = count;
	of->skip = 0;
	of->size = ~0ull;
	of->array_is_user = is_of_user(of->array, is_users);
	of->bytes_are_user = 1;
	return read_segments(s, t);
}

LIBRARY int tetra_read_iovec(struct scratch *s, struct text *t, __u64 address, __u64 count, __u32 is_users)
{
	segments_of(t)->array = address;
	return read_iovec(s->level, t->slot, count, is_users);
}

#define SEGMENTS_NONE 0          /* pages, or nothing */
#define SEGMENTS_ONE 1           /* one piece: `array` is its address, `size` its length */
#define SEGMENTS_MANY 2

/* What a struct iov_iter describes. */
INLINE int iov_iter_segments(struct segments *of, __u64 address)
{
	const struct iov_iter *iter = (void *)address;
	const struct iov_iter___with_direction *old = (void *)address;
	const struct iov_iter___named_iov *named = (void *)address;
	__u32 type;

	of->count = READ(iter, nr_segs);
	of->skip = READ(iter, iov_offset);
	of->size = READ(iter, count);
	of->array_is_user = 0;
	of->bytes_are_user = 1;
	if (KERNEL_FIELD_EXISTS(struct iov_iter, iter_type))
		type = READ(iter, iter_type);
	else
		type = READ(old, type) & ~1u; /* the lowest bit is the direction */
	if (KERNEL_ENUMERATOR_EXISTS(iter_type, ITER_UBUF) && type == KERNEL_ENUMERATOR(iter_type, ITER_UBUF)) {
		of->array = (__u64)READ(iter, ubuf) + of->skip;
		return SEGMENTS_ONE;
	}
	if (KERNEL_FIELD_EXISTS(struct iov_iter, __iov))
		of->array = (__u64)READ(iter, __iov);
	else
		of->array = (__u64)READ(named, iov);
	if (type == KERNEL_ENUMERATOR(iter_type, ITER_KVEC))
		of->bytes_are_user = 0;
	else if (type != KERNEL_ENUMERATOR(iter_type, ITER_IOVEC))
		return SEGMENTS_NONE;
	if (of->count != 1)
		return SEGMENTS_MANY;
	struct segment only = {};
	if (bpf_probe_read_kernel(&only, sizeof only, (void *)of->array))
		return SEGMENTS_MANY; /* which finds the fault */
	of->array = only.base + of->skip;
	return SEGMENTS_ONE;
}

GLOBAL int read_iov_iter(__u32 level, __u32 slot)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!s || !t)
		return -ARG_FAULT;
	struct segments *of = segments_of(t);

	switch (iov_iter_segments(of, of->array)) {
	case SEGMENTS_ONE:
		return read_buffer(slot, of->size, of->bytes_are_user);
	case SEGMENTS_MANY:
		return read_segments(s, t);
	default:
		return buffer_fault(t, 0);
	}
}

LIBRARY int tetra_read_iov_iter(struct scratch *s, struct text *t, __u64 address)
{
	segments_of(t)->array = address;
	return read_iov_iter(s->level, t->slot);
}
