/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Test program: calls the runtime library as its argument says. It listens to getpriority(2) with a `which` that no
 * kernel knows: which = MAGIC | operation, who = a number, and the third argument register a user address.
 */
#define TETRA_STATIC_LIBRARY
#include "runtime.bpf.c"

#define MAGIC 0x7e7a0000
#define SYS_getpriority 140

struct pt_regs { unsigned long di, si, dx; } CORE;
struct socket { struct sock *sk; } CORE;

enum {
	WALK_FD, WALK_FILE, WALK_PATH, WALK_DENTRY, WALK_EXE, WALK_EXE_TRUSTED, WALK_PWD_TRUSTED, WALK_DENTRY_TRUSTED,
	READ_USER, READ_KERNEL, READ_SOCK, READ_SOCKADDR, LINEAGE, LINEAGE_NAMESPACE, RATE_LIMIT, PENDING, LANE, OVERFLOW,
	NESTING,
	/* for measuring: these send nothing */
	ONLY_NOTHING, ONLY_WALK_TRUSTED, ONLY_WALK, ONLY_BEGIN, ONLY_READ, ONLY_SOCK, ONLY_EVENT,
};

INLINE struct file *file_of(__u32 fd)
{
	struct files_struct *files = TASK_FIELD(current_task(), files);
	struct fdtable *table = TASK_FIELD(files, fdt);
	struct file *file = 0;

	bpf_probe_read_kernel(&file, sizeof file, TASK_FIELD(table, fd) + fd);
	return file;
}

INLINE void send(struct scratch *s, int result, struct text *t, int is_path)
{
	tetra_put_integer(s, result, ARG_OK);
	if (is_path)
		tetra_put_path(s, t);
	else
		tetra_put_string(s, t);
	tetra_submit(s, 1, 0);
}

INLINE void nest(struct scratch *s)
{
	struct scratch *a = tetra_enter(), *b = tetra_enter(), *c = tetra_enter();

	tetra_put_integer(s, (a ? 1 : 0) | (b ? 2 : 0) | (c ? 4 : 0), ARG_OK);
	if (a)
		tetra_leave(a);
	if (b)
		tetra_leave(b);
	if (c)
		tetra_leave(c);
	a = tetra_enter();
	tetra_put_integer(s, a ? a->level : -1, ARG_OK);
	if (a)
		tetra_leave(a);
	tetra_submit(s, 1, 0);
}

INLINE void run(struct scratch *s, struct text *t, __u32 operation, __u32 who, void *user)
{
	switch (operation) {
	case ONLY_NOTHING: return;
	case ONLY_WALK: tetra_walk_path(t, &TASK_FIELD(current_task(), fs)->pwd); return;
#ifndef TETRA_LEGACY
	case ONLY_WALK_TRUSTED: tetra_walk_path_trusted(t, &current_task()->fs->pwd); return;
#endif
	case ONLY_READ: tetra_read_user_string(t, user); return;
	case ONLY_SOCK: {
		struct socket *socket = READ(file_of(who), private_data);
		tetra_read_sock(s, 1, READ(socket, sk));
		return;
	}
	}
	tetra_record_begin(s, 0xabcd00000005, 3, RECORD_FLAG_UNDECIDED, operation);
	switch (operation) {
	case ONLY_BEGIN: return;
	case ONLY_EVENT: /* what a typical policy sends */
		tetra_read_user_string(t, user);
		tetra_put_string(s, t);
		tetra_put_integer(s, 1, ARG_OK);
		tetra_submit(s, 1, 0);
		return;
	case WALK_FD: send(s, tetra_walk_fd(t, who), t, 1); break;
	case WALK_FILE: send(s, tetra_walk_file(t, file_of(who)), t, 1); break;
	case WALK_PATH: send(s, tetra_walk_path(t, &file_of(who)->f_path), t, 1); break;
	case WALK_DENTRY: {
		struct file *file = file_of(who);
		send(s, tetra_walk_dentry(t, READ(file, f_path.dentry)), t, 1);
		break;
	}
	case WALK_EXE: send(s, tetra_walk_exe(t), t, 1); break;
#ifndef TETRA_LEGACY
	case WALK_EXE_TRUSTED: send(s, tetra_walk_file_trusted(t, current_task()->mm->exe_file), t, 1); break;
	case WALK_PWD_TRUSTED: send(s, tetra_walk_path_trusted(t, &current_task()->fs->pwd), t, 1); break;
	case WALK_DENTRY_TRUSTED: send(s, tetra_walk_dentry_trusted(t, current_task()->fs->pwd.dentry), t, 1); break;
#endif
	case READ_USER: send(s, tetra_read_user_string(t, user), t, 0); break;
	case READ_KERNEL: {
		struct file *file = file_of(who);
		struct dentry *dentry = READ(file, f_path.dentry);
		send(s, tetra_read_kernel_string(t, READ(dentry, d_name.name)), t, 0);
		break;
	}
	case READ_SOCK: {
		struct socket *socket = READ(file_of(who), private_data);
		int result = tetra_read_sock(s, 1, READ(socket, sk));
		tetra_put_integer(s, result, ARG_OK);
		tetra_put_sock(s, 1, result ? ARG_FAULT : ARG_OK);
		tetra_submit(s, 1, 0);
		break;
	}
	case READ_SOCKADDR: {
		int result = tetra_read_sockaddr(s, 0, user, 1);
		tetra_put_integer(s, result, ARG_OK);
		tetra_put_sockaddr(s, 0, result ? ARG_FAULT : ARG_OK);
		tetra_submit(s, 1, 0);
		break;
	}
	case LINEAGE: send(s, tetra_lineage_has_pid(who, 0), t, 0); break;
	case LINEAGE_NAMESPACE: send(s, tetra_lineage_has_pid(who, 1), t, 0); break;
	case RATE_LIMIT:
		tetra_read_user_string(t, user);
		tetra_put_string(s, t);
		if (tetra_rate_limit(s, 1, 0, (__u64)who * 1000000))
			tetra_submit(s, 1, 0);
		break;
	case PENDING: {
		__u64 none = tetra_pending_take(7);
		int put = tetra_pending_put(7, who, 1, 9);
		__u64 other = tetra_pending_take(8);
		__u64 seen = tetra_pending_get(7);
		__u64 some = tetra_pending_take(7);
		__u64 gone = tetra_pending_take(7);
		tetra_pending_put(8, who, 67, 9);
		__u64 marks = tetra_pending_take(9);
		tetra_put_integer(s, none, ARG_OK);
		tetra_put_integer(s, put, ARG_OK);
		tetra_put_integer(s, other, ARG_OK);
		tetra_put_integer(s, some, ARG_OK);
		tetra_put_integer(s, gone, ARG_OK);
		tetra_put_integer(s, seen, ARG_OK);
		tetra_put_integer(s, marks, ARG_OK);
		tetra_submit(s, 1, 0);
		break;
	}
	case LANE:
		tetra_put_integer(s, who, ARG_FAULT);
		tetra_submit(s, 1, 1);
		break;
	case OVERFLOW: /* as many copies of a string as asked for, up to eight */
		tetra_read_user_string(t, user);
		for (__u32 i = 0; i < 8; i++)
			if (i < who)
				tetra_put_string(s, t);
		tetra_submit(s, 1, 0);
		break;
	case NESTING: nest(s); break;
	}
}

SEC("tp_btf/sys_enter")
int library(__u64 *context)
{
	struct pt_regs *regs = (void *)context[0];

	if (context[1] != SYS_getpriority)
		return 0;
	__u32 which = regs->di;
	if ((which & 0xffff0000) != MAGIC)
		return 0;
	/* the reader shares the ring with every other run of the test */
	struct config *c = config();
	if (!c || c->agent_tgid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	struct scratch *s = tetra_enter();
	if (!s)
		return 0;
	struct text *t = tetra_text(s, 0);
	if (t)
		run(s, t, which & 0xffff, regs->si, (void *)regs->dx);
	tetra_leave(s);
	return 0;
}
