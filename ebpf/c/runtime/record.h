/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Building and sending policy records. */

/* Value of scratch.cursor once something did not fit: nothing fits behind it, and submit counts the record as lost. */
#define CURSOR_OVERFLOW (RECORD_MAX + 1)

/*
 * What builds and sends records is global, and what generated programs call only passes the level of the scratch element on:
 * in a program for a thousand policies the verifier would follow each of a thousand calls to its end.
 */
GLOBAL int record_begin(__u32 level, __u64 tag_and_template, __u64 action_and_flags, __u64 call_id)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	__u32 record_flags = action_and_flags;
	struct record_policy *record = (void *)s->record;
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 tgid = pid_tgid >> 32;
	struct process *process = bpf_map_lookup_elem(&tetra_processes, &tgid);

	record->header.kind = RECORD_POLICY;
	record->header.flags = process ? record_flags : record_flags | RECORD_FLAG_UNKNOWN_PROCESS;
	record->header.ktime = bpf_ktime_get_ns();
	record->header.tgid = tgid;
	record->header.tid = pid_tgid;
	record->header.start_ktime = process ? process->start_ktime : 0;
	record->call_id = call_id;
	record->cgroup_id = bpf_get_current_cgroup_id();
	record->object_tag = tag_and_template >> 32;
	record->template_index = tag_and_template;
	record->action = action_and_flags >> 32;
	record->argument_count = 0;
	record->owner_tid = 0;
	s->cursor = sizeof *record;
	return 0;
}

LIBRARY int tetra_record_begin(struct scratch *s, __u64 tag_and_template, __u32 action, __u32 record_flags,
			       __u64 call_id)
{
	return record_begin(s->level, tag_and_template, (__u64)action << 32 | record_flags, call_id);
}

/*
 * Makes room for an argument of `len` bytes and writes its header. Returns where the payload goes, as an offset into
 * s->record that is below RECORD_MAX, or 0.
 */
INLINE __u32 put_argument(struct scratch *s, __u32 status, __u32 len)
{
	struct record_policy *record = (void *)s->record;
	__u32 at = s->cursor;
	OPAQUE(at);
	__u32 count = record->argument_count;

	if (at > RECORD_MAX - sizeof(struct record_argument) || count >= ARGUMENTS_MAX ||
	    at + sizeof(struct record_argument) + ((len + 7) & ~7u) > RECORD_MAX) {
		s->cursor = CURSOR_OVERFLOW;
		return 0;
	}
	struct record_argument *argument = (void *)s->record + at;
	argument->status = status;
	argument->len = len;
	record->argument_count = count + 1;
	at += sizeof *argument;
	s->cursor = at + ((len + 7) & ~7u);
	return at;
}

GLOBAL int put_integer(__u32 level, __u64 value, __u32 status)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	__u32 at = put_argument(s, status, sizeof value);

	OPAQUE(at);
	if (!at || at > RECORD_MAX)
		return -1;
	*(__u64 *)(s->record + at) = value;
	return 0;
}

LIBRARY int tetra_put_integer(struct scratch *s, __u64 value, __u32 status)
{
	return put_integer(s->level, value, status);
}

/* Copies a text to an offset. Two halves, because the verifier takes the largest of both, and the slack is half a text. */
INLINE int put_text(struct scratch *s, __u32 at, struct text *t, __u32 len)
{
	OPAQUE(at);
	OPAQUE(len);
	if (at > RECORD_MAX || len > TEXT_MAX)
		return -1;
	if (len <= TEXT_MAX / 2) {
		bpf_probe_read_kernel(s->record + at, len, t->bytes);
		return 0;
	}
	bpf_probe_read_kernel(s->record + at, TEXT_MAX / 2, t->bytes);
	at += TEXT_MAX / 2;
	len -= TEXT_MAX / 2;
	OPAQUE(at);
	OPAQUE(len);
	if (at > RECORD_MAX || len > TEXT_MAX / 2)
		return -1;
	bpf_probe_read_kernel(s->record + at, len, t->bytes + TEXT_MAX / 2);
	return 0;
}

INLINE __u32 text_len(struct text *t)
{
	return t->len > TEXT_MAX ? TEXT_MAX : t->len;
}

GLOBAL int put_string(__u32 level, __u32 slot)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!s || !t)
		return -1;
	__u32 len = text_len(t);
	__u32 at = put_argument(s, t->status, len);

	return at ? put_text(s, at, t, len) : -1;
}

LIBRARY int tetra_put_string(struct scratch *s, struct text *t)
{
	return put_string(s->level, t->slot);
}

GLOBAL int put_path(__u32 level, __u32 slot)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!s || !t)
		return -1;
	__u32 len = text_len(t);
	__u32 at = put_argument(s, t->status, sizeof(struct argument_path) + len);

	OPAQUE(at);
	if (!at || at > RECORD_MAX)
		return -1;
	struct argument_path *path = (void *)s->record + at;
	path->flags = t->flags;
	path->mode = t->mode;
	path->pad = 0;
	return put_text(s, at + sizeof *path, t, len);
}

LIBRARY int tetra_put_path(struct scratch *s, struct text *t)
{
	return put_path(s->level, t->slot);
}

GLOBAL int put_buffer(__u32 level, __u32 slot)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (!s || !t)
		return -1;
	__u32 len = text_len(t);
	__u32 at = put_argument(s, t->status, sizeof(struct argument_buffer) + len);

	OPAQUE(at);
	if (!at || at > RECORD_MAX)
		return -1;
	struct argument_buffer *buffer = (void *)s->record + at;
	buffer->size = t->flags;
	buffer->place = slot % SCRATCH_TEXTS; /* not the slot: a rate limit compares it */
	return put_text(s, at + sizeof *buffer, t, len);
}

LIBRARY int tetra_put_buffer(struct scratch *s, struct text *t)
{
	return put_buffer(s->level, t->slot);
}

/*
 * A value that could not be read has no payload. Copied by words: the compiler cannot know that an offset into the record
 * is a multiple of eight, and would copy bytes.
 */
#define PUT_VALUE(s, value, status)                                                                \
	({                                                                                         \
		_Static_assert(sizeof(value) % sizeof(__u64) == 0, "whole words");                 \
		__u32 at_ = put_argument(s, status, (status) == ARG_FAULT ? 0 : sizeof(value));     \
		OPAQUE(at_);                                                                       \
		if (!at_ || at_ > RECORD_MAX)                                                      \
			return -1;                                                                 \
		if ((status) != ARG_FAULT)                                                         \
			copy_words((void *)(s)->record + at_, (void *)&(value), sizeof(value) / sizeof(__u64)); \
		0;                                                                                 \
	})

INLINE void copy_words(__u64 *to, const __u64 *from, int words)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < words; i++)
		to[i] = from[i];
}

GLOBAL int put_sock(__u32 level, __u32 i, __u32 status)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	return PUT_VALUE(s, s->sock[i & 1], status);
}

LIBRARY int tetra_put_sock(struct scratch *s, __u32 i, __u32 status)
{
	return put_sock(s->level, i, status);
}

GLOBAL int put_sockaddr(__u32 level, __u32 i, __u32 status)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	return PUT_VALUE(s, s->sockaddr[i & 1], status);
}

LIBRARY int tetra_put_sockaddr(struct scratch *s, __u32 i, __u32 status)
{
	return put_sockaddr(s->level, i, status);
}

INLINE int send_record(struct scratch *s, __u32 lane)
{
	struct record_policy *record = (void *)s->record;
	struct config *c = config();
	__u32 size = s->cursor;
	OPAQUE(size);

	if (!c || size > RECORD_MAX)
		return -1;
	void *ring;
	if (lane) {
		__u32 shard = c->ring_shards;
		ring = bpf_map_lookup_elem(&tetra_rings, &shard);
	} else {
		ring = ring_of_cpu(c);
	}
	if (!ring)
		return -1;
	record->header.size = size;
	return bpf_ringbuf_output(ring, record, size, lane ? BPF_RB_FORCE_WAKEUP : wakeup_flags(ring, c));
}

/* What generated programs pass beside an address: whether no address means the kernel's, and which lane the record takes. */
#define BUFFER_IS_USERS 1
#define BUFFER_LANE 2

/*
 * Sends a buffer that is longer than a text, in pieces, for the record that has been built. The text is free by then, and the pieces
 * are made in it. A piece that cannot be read or sent is missing, which whoever has the record can tell by its size.
 */
GLOBAL int send_buffer(__u32 level, __u32 slot, __u64 size, __u32 flags)
{
	struct scratch *s = scratch_of(level);
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	struct config *c = config();
	if (!s || !t || !c || size <= TEXT_MAX)
		return 0;
	__u64 address = segments_of(t)->array;
	void *ring;
	if (flags & BUFFER_LANE) {
		__u32 shard = c->ring_shards;
		ring = bpf_map_lookup_elem(&tetra_rings, &shard);
	} else {
		ring = ring_of_cpu(c);
	}
	if (!ring)
		return 0;
	struct record_policy *record = (void *)s->record;
	struct record_buffer *piece = (void *)t->bytes;

	_Static_assert(sizeof *piece + TEXT_MAX <= sizeof t->bytes, "a piece fits a text");
	piece->header = record->header;
	piece->header.kind = RECORD_BUFFER;
	piece->header.flags = 0;
	piece->place = slot % SCRATCH_TEXTS;
	piece->pad = 0;
	for (__u32 i = 0; i < BUFFER_PIECES; i++) {
		__u64 offset = (__u64)i * TEXT_MAX;
		if (offset >= size)
			break;
		__u32 len = size - offset < TEXT_MAX ? size - offset : TEXT_MAX;
		OPAQUE(len);
		if (!len || len > TEXT_MAX)
			break;
		const void *from = (void *)(address + offset);
		long failed = is_of_user(address, flags & BUFFER_IS_USERS) ? bpf_probe_read_user(piece + 1, len, from)
									    : bpf_probe_read_kernel(piece + 1, len, from);
		if (failed)
			break;
		piece->offset = offset;
		piece->len = len;
		piece->header.size = sizeof *piece + len;
		bpf_ringbuf_output(ring, piece, sizeof *piece + len, BPF_RB_NO_WAKEUP);
	}
	return 0;
}

LIBRARY int tetra_send_buffer(struct scratch *s, struct text *t, __u64 address, __u64 size, __u32 flags)
{
	segments_of(t)->array = address;
	return send_buffer(s->level, t->slot, size, flags);
}

/* The same for a buffer in one piece that a struct iov_iter describes. */
LIBRARY int tetra_send_iov_iter(struct scratch *s, struct text *t, __u64 address, __u32 flags)
{
	struct segments *of = segments_of(t);

	if (iov_iter_segments(of, address) == SEGMENTS_ONE)
		send_buffer(s->level, t->slot, of->size, of->bytes_are_user | (flags & BUFFER_LANE));
	return 0;
}

GLOBAL int submit(__u32 level, __u32 policy_slot, __u32 lane)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	int error = send_record(s, lane);

	count_policy(policy_slot, error ? POLICY_POST_LOST : POLICY_POST_SENT);
	return error ? -1 : 0;
}

LIBRARY int tetra_submit(struct scratch *s, __u32 policy_slot, __u32 lane)
{
	return submit(s->level, policy_slot, lane);
}
