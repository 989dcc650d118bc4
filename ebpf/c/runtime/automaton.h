/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Automata: which of many patterns a text has, in one pass (tables: policy-compiler/src/automaton.rs). */

#define AUTOMATON_CLASSES 256
#define AUTOMATON_ROW_HEAD 16

/*
 * A bit for each test that holds. The caller passes the mask as a constant, so that the verifier, which looks at this function
 * once for each call, sees that rows lie inside the table. There is one branch a byte only: the verifier keeps no more than
 * 8,192 of them open.
 */
LIBRARY __u64 tetra_automaton(const struct text *t, const char *table, __u64 mask, __u64 row)
{
	const char *rows = table + AUTOMATON_CLASSES;
	__u64 found = 0;
	__u32 len = t->len;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < TEXT_MAX; i++) {
		if (i >= len)
			break;
		__u64 class = *(const __u8 *)(table + (__u8)t->bytes[i]);
		const char *at = rows + (row & mask);

		found |= *(const __u64 *)at;
		row = *(const __u32 *)(at + AUTOMATON_ROW_HEAD + class * 4);
	}
	const char *at = rows + (row & mask);

	return found | *(const __u64 *)at | *(const __u64 *)(at + 8);
}
