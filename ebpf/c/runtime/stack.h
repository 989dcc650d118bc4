/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Stack traces of records. */

#define BPF_F_USER_STACK (1ull << 8)

/*
 * Appends the addresses of the kernel's or the process's stack to the record, behind its arguments. Straight into the record and
 * not by a map of stacks: no two traces take each other's place, and one that is sent is never gone when it is looked up.
 *
 * Not global: the kernel wants the program's own context.
 */
LIBRARY int tetra_put_stack(struct scratch *s, void *ctx, __u32 is_user)
{
	struct record_policy *record = (void *)s->record;
	__u32 at = s->cursor;

	OPAQUE(at);
	if (at > RECORD_MAX - sizeof(struct record_argument) - STACK_MAX) {
		s->cursor = CURSOR_OVERFLOW;
		return -1;
	}
	struct record_argument *stack = (void *)s->record + at;
	long len = bpf_get_stack(ctx, stack + 1, STACK_MAX, is_user ? BPF_F_USER_STACK : 0);
	if (len < 0 || len > STACK_MAX)
		len = 0;
	stack->status = len ? ARG_OK : ARG_FAULT;
	stack->len = len;
	record->header.flags |= is_user ? RECORD_FLAG_USER_STACK : RECORD_FLAG_KERNEL_STACK;
	s->cursor = at + sizeof *stack + len;
	return 0;
}
