/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Test programs: the runtime library from every kind of hook that generated programs use, in trusted and in address
 * form. Each sends the path it walked, with its own number as call_id, for the process whose pid is config.agent_tgid.
 */
#define TETRA_STATIC_LIBRARY
#include "runtime.bpf.c"

struct pt_regs { unsigned long di, si, dx; } CORE;

INLINE int wanted(void)
{
	struct config *c = config();

	return c && c->agent_tgid == bpf_get_current_pid_tgid() >> 32;
}

#define WALK(number, walk)                                                                         \
	do {                                                                                       \
		struct scratch *s = wanted() ? tetra_enter() : 0;                                  \
		if (!s)                                                                            \
			return 0;                                                                  \
		struct text *t = tetra_text(s, 7);                                                 \
		if (t) {                                                                           \
			tetra_record_begin(s, 1, 0, 0, number);                                    \
			tetra_put_integer(s, walk, ARG_OK);                                        \
			tetra_put_path(s, t);                                                      \
			if (tetra_rate_limit(s, 0, 1, 1))                                          \
				tetra_submit(s, 0, 0);                                             \
		}                                                                                  \
		tetra_leave(s);                                                                    \
		return 0;                                                                          \
	} while (0)

SEC("lsm/file_open")
int lsm_file(__u64 *context) { WALK(1, tetra_walk_file_trusted(t, (void *)context[0])); }

SEC("lsm/bprm_check_security")
int lsm_binprm(__u64 *context) { WALK(2, tetra_walk_binprm_trusted(t, (void *)context[0])); }

SEC("lsm/inode_getattr")
int lsm_path(__u64 *context) { WALK(3, tetra_walk_path_trusted(t, (void *)context[0])); }

SEC("lsm/inode_unlink")
int lsm_dentry(__u64 *context) { WALK(4, tetra_walk_dentry_trusted(t, (void *)context[1])); }

SEC("lsm/mmap_file")
int lsm_maybe_null(__u64 *context) { WALK(5, tetra_walk_file_trusted(t, (void *)context[0])); }

SEC("fentry/security_file_open")
int fentry_file(__u64 *context) { WALK(6, tetra_walk_file_trusted(t, (void *)context[0])); }

SEC("fexit/security_file_open")
int fexit_file(__u64 *context) { WALK(7, tetra_walk_file_trusted(t, (void *)context[0])); }

SEC("fentry/security_bprm_check")
int fentry_binprm(__u64 *context) { WALK(8, tetra_walk_binprm_trusted(t, (void *)context[0])); }

SEC("fentry/security_inode_getattr")
int fentry_path(__u64 *context) { WALK(9, tetra_walk_path_trusted(t, (void *)context[0])); }

SEC("fentry/security_inode_unlink")
int fentry_dentry(__u64 *context) { WALK(10, tetra_walk_dentry_trusted(t, (void *)context[1])); }

SEC("fentry/security_file_permission")
int fentry_all(__u64 *context)
{
	struct scratch *s = wanted() ? tetra_enter() : 0;
	if (!s)
		return 0;
	struct text *t = tetra_text(s, 0), *u = tetra_text(s, 1);
	struct process *process = tetra_process();
	if (t && u) {
		tetra_record_begin(s, 1, 0, 0, 11);
		int result = tetra_walk_file_trusted(t, (void *)context[0]);
		tetra_walk_exe(u);
		tetra_put_integer(s, result, ARG_OK);
		tetra_put_path(s, t);
		tetra_put_path(s, u);
		tetra_put_integer(s, process ? process->flags : 0, ARG_OK);
		tetra_put_integer(s, tetra_lineage_has_pid(1, 0), ARG_OK);
		tetra_submit(s, 0, 0);
	}
	tetra_leave(s);
	return 0;
}

/* What the outline says of a path, and the path. */
#define OUTLINE(number, path_of, outline_of, walk)                                                 \
	do {                                                                                       \
		void *pointer = (void *)context[0];                                                \
		struct scratch *s = wanted() ? tetra_enter() : 0;                                  \
		if (!s)                                                                            \
			return 0;                                                                  \
		struct text *t = tetra_text(s, 7);                                                 \
		struct path *path = path_of(pointer);                                              \
		const void *mount = (void *)path->mnt - KERNEL_OFFSET(struct mount, mnt);          \
		struct outline o = {};                                                             \
		if (t) {                                                                           \
			tetra_record_begin(s, 1, 0, 0, number);                                    \
			tetra_put_integer(s, outline_of(&o, pointer, mount), ARG_OK);              \
			tetra_put_integer(s, o.head, ARG_OK);                                      \
			tetra_put_integer(s, o.tail, ARG_OK);                                      \
			walk(t, pointer);                                                          \
			tetra_put_path(s, t);                                                      \
			tetra_submit(s, 0, 0);                                                     \
		}                                                                                  \
		tetra_leave(s);                                                                    \
		return 0;                                                                          \
	} while (0)

#define PATH_OF_FILE(pointer) (&((struct file *)(pointer))->f_path)

SEC("lsm/file_permission")
int lsm_outline(__u64 *context) { OUTLINE(20, PATH_OF_FILE, tetra_outline_file, tetra_walk_file_trusted); }

SEC("fentry/security_inode_getattr")
int fentry_outline(__u64 *context) { OUTLINE(21, (struct path *), tetra_outline_path, tetra_walk_path_trusted); }

SEC("kprobe/security_file_open")
int kprobe_file(struct pt_regs *regs) { WALK(12, tetra_walk_file(t, (void *)regs->di)); }

SEC("kprobe/security_bprm_check")
int kprobe_binprm(struct pt_regs *regs) { WALK(13, tetra_walk_binprm(t, (void *)regs->di)); }

SEC("kprobe/security_inode_getattr")
int kprobe_path(struct pt_regs *regs) { WALK(14, tetra_walk_path(t, (void *)regs->di)); }

SEC("kprobe/security_inode_unlink")
int kprobe_dentry(struct pt_regs *regs) { WALK(15, tetra_walk_dentry(t, (void *)regs->si)); }

SEC("kprobe/__x64_sys_fchdir")
int kprobe_fd(struct pt_regs *regs)
{
	struct pt_regs *user = (void *)regs->di;
	WALK(16, tetra_walk_fd(t, READ(user, di)));
}

SEC("kprobe/security_socket_connect")
int kprobe_connect(struct pt_regs *regs)
{
	struct scratch *s = wanted() ? tetra_enter() : 0;
	if (!s)
		return 0;
	tetra_record_begin(s, 1, 0, 0, 17);
	tetra_put_sockaddr(s, 0, -tetra_read_sockaddr(s, 0, (void *)regs->si, 0));
	tetra_submit(s, 0, 0);
	tetra_leave(s);
	return 0;
}

SEC("kprobe/tcp_connect")
int kprobe_sock(struct pt_regs *regs)
{
	struct scratch *s = wanted() ? tetra_enter() : 0;
	if (!s)
		return 0;
	tetra_record_begin(s, 1, 0, 0, 18);
	tetra_put_sock(s, 0, -tetra_read_sock(s, 0, (void *)regs->di));
	tetra_submit(s, 0, 0);
	tetra_leave(s);
	return 0;
}

SEC("fentry/tcp_connect")
int fentry_sock(__u64 *context)
{
	struct scratch *s = wanted() ? tetra_enter() : 0;
	if (!s)
		return 0;
	tetra_record_begin(s, 1, 0, 0, 19);
	tetra_put_sock(s, 1, -tetra_read_sock(s, 1, (void *)context[0]));
	tetra_submit(s, 0, 0);
	tetra_leave(s);
	return 0;
}
