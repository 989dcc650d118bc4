/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Automata: which of many patterns a text has, in one pass. */

/* The tables of all automata of a program, whose compiler puts them here (policy-compiler/src/automaton.rs has their form). */
const volatile char tetra_automata[8] SEC(".rodata.automata") = {};

#define AUTOMATON_ROW_HEAD 16

/*
 * A bit for each test that holds. `classes` is the offset of an automaton's classes, `row` that of its first row.
 *
 * Global, so that the verifier looks at it once, however often a program calls it: it follows the loop byte by byte. There
 * is one branch for each, because it keeps no more than 8,192 of them open. One function for each size of tables, so that
 * the mask that keeps offsets inside is a constant.
 */
#define AUTOMATON(size) \
GLOBAL __u64 automaton_##size(__u32 slot, __u32 classes, __u32 row) \
{ \
	struct text *t = bpf_map_lookup_elem(&tetra_texts, &slot); \
	const char *tables = (const char *)tetra_automata; \
	__u64 found = 0; \
\
	if (!t) \
		return 0; \
	OPAQUE(tables); \
	const char *class_of = tables + (classes & (size - 1)); \
	__u32 len = t->len; \
\
	_Pragma("clang loop unroll(disable)") \
	for (__u32 i = 0; i < TEXT_MAX; i++) { \
		if (i >= len) \
			break; \
		__u64 class = *(const __u8 *)(class_of + (__u8)t->bytes[i]); \
		const char *at = tables + (row & (size - 1)); \
\
		found |= *(const __u64 *)at; \
		row = *(const __u32 *)(at + AUTOMATON_ROW_HEAD + class * 4); \
	} \
	const char *at = tables + (row & (size - 1)); \
	return found | *(const __u64 *)at | *(const __u64 *)(at + 8); \
} \
LIBRARY __u64 tetra_automaton_##size(struct text *t, __u32 classes, __u32 row) \
{ \
	return automaton_##size(t->slot, classes, row); \
}

AUTOMATON(4096)
AUTOMATON(16384)
AUTOMATON(65536)
AUTOMATON(262144)
AUTOMATON(1048576)
AUTOMATON(4194304)
AUTOMATON(16777216)
