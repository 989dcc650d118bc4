/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Scratch memory: per CPU, a few elements, because a program may be interrupted or preempted by another one. */
#ifndef TETRA_SCRATCH_H
#define TETRA_SCRATCH_H
#include "maps.h"

/*
 * An element is taken by adding 1 to its counter and seeing 1. Adding comes first, so of two programs that interrupt
 * each other in the middle at most one sees 1; the others undo and try the next element. This needs no fetching
 * atomics, which 5.10 lacks.
 */
INLINE struct scratch *scratch_take(__u32 level)
{
	struct scratch *s = bpf_map_lookup_elem(&tetra_scratch, &level);
	if (!s)
		return 0;
	__sync_fetch_and_add(&s->busy, 1);
	if (*(volatile __u64 *)&s->busy != 1) {
		__sync_fetch_and_add(&s->busy, -1);
		return 0;
	}
	s->level = level;
	return s;
}

INLINE struct scratch *scratch_enter(void)
{
	struct scratch *s = scratch_take(0);
	if (s)
		return s;
	s = scratch_take(1);
	if (s)
		return s;
	return scratch_take(2);
}

/* The element of a level, for functions that take integers only. */
INLINE struct scratch *scratch_of(__u32 level)
{
	return bpf_map_lookup_elem(&tetra_scratch, &level);
}

INLINE void scratch_leave(struct scratch *s)
{
	__sync_fetch_and_add(&s->busy, -1);
}

INLINE struct text *scratch_text(struct scratch *s, __u32 index)
{
	if (index >= SCRATCH_TEXTS)
		return 0;
	__u32 slot = s->level * SCRATCH_TEXTS + index;
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot);
	if (t)
		t->slot = slot;
	return t;
}

#endif
