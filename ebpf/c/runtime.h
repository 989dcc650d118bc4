/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Runtime library: the functions that generated programs call. They are hidden, which the compiler's linker turns into
 * static; it takes only what a program reaches. Functions with default visibility that these call in turn stay global:
 * the verifier checks those once and steps over every call, which is how long loops fit on every kernel. Two builds
 * exist: `runtime.bpf.o` for kernels from 5.11, which reach the current task through a pointer that the verifier knows,
 * and `runtime-legacy.bpf.o` for 5.10.
 *
 * Functions ending in `_trusted` take pointers that the verifier knows (fentry, fexit, fmod_ret, LSM, tp_btf) and
 * dereference them directly; the others take addresses and use bpf_probe_read_kernel. All survive NULL, also where the
 * verifier is wrong about it (see may_be_null in bpf.h): programs that follow such pointers themselves must do the same.
 *
 * Stack: the deepest walk takes 320 of the 512 bytes that all frames may use together.
 */
#ifndef TETRA_RUNTIME_H
#define TETRA_RUNTIME_H
#include "bpf.h"
#include "record.h"

struct scratch; struct text; struct process; struct outline; struct policy_set;

/* Takes a scratch element for this run; NULL if programs nest too deep. Every taken element is given back by tetra_leave. */
LIBRARY struct scratch *tetra_enter(void);
/* Gives s back. It names the element because programs may be preempted, so the last to enter need not be the first to leave. */
LIBRARY void tetra_leave(struct scratch *s);
/* The index-th text of the level (0..SCRATCH_TEXTS-1); NULL only for an index out of range, but the verifier wants the check. */
LIBRARY struct text *tetra_text(struct scratch *s, __u32 index);
/* The record of the current process, or NULL. */
LIBRARY struct process *tetra_process(void);
/* The policies that apply to the workload of the current process; NULL never in fact. */
LIBRARY struct policy_set *tetra_policies(void);

/* Each fills *t (len, flags, mode, status) and returns its length, or a negative ARG_* status if there is no text. */
LIBRARY int tetra_read_user_string(struct text *t, const void *user);
LIBRARY int tetra_read_kernel_string(struct text *t, const void *address);
/*
 * Bytes, of which the call says how many: a buffer, the segments of an array of struct iovec, those of a struct iov_iter (all of them
 * one after the other). flags gets the number named, status ARG_TRUNCATED if that is more than a text takes. An error is
 * -ARG_FAULT if memory of the kernel could not be read, and -ARG_USER_FAULT if it was the user's. is_users: no address means the kernel's.
 */
LIBRARY int tetra_read_buffer(struct text *t, __u64 address, __u64 size, __u32 is_users);
LIBRARY int tetra_read_iovec(struct scratch *s, struct text *t, __u64 address, __u64 count, __u32 is_users);
LIBRARY int tetra_read_iov_iter(struct scratch *s, struct text *t, __u64 address);
LIBRARY int tetra_walk_path(struct text *t, const void *path);            /* struct path * as an address */
LIBRARY int tetra_walk_path_trusted(struct text *t, void *path);
LIBRARY int tetra_walk_file(struct text *t, const void *file);            /* struct file *: its f_path, mode of its inode */
LIBRARY int tetra_walk_file_trusted(struct text *t, void *file);
LIBRARY int tetra_walk_dentry(struct text *t, const void *dentry);        /* inside one mount */
LIBRARY int tetra_walk_dentry_trusted(struct text *t, void *dentry);
LIBRARY int tetra_walk_fd(struct text *t, __u32 fd);                      /* current->files; no file: -ARG_FAULT */
LIBRARY int tetra_walk_binprm(struct text *t, const void *bprm);          /* struct linux_binprm *: its file */
LIBRARY int tetra_walk_binprm_trusted(struct text *t, void *bprm);
LIBRARY int tetra_walk_exe(struct text *t);                               /* current->mm->exe_file; none: -ARG_FAULT */

/*
 * The two ends of a path, see runtime/outline.h: 1, or 0 if only the whole path can tell. The pointer is one that the
 * verifier knows, and not NULL; mount is the struct mount around its mnt. The `_trusted` ones take that as a pointer that
 * the verifier lets programs follow (bpf_rdonly_cast).
 */
LIBRARY int tetra_outline_file(struct outline *o, void *file, const void *mount);
LIBRARY int tetra_outline_path(struct outline *o, void *path, const void *mount);
LIBRARY int tetra_outline_file_trusted(struct outline *o, void *file, void *mount);
LIBRARY int tetra_outline_path_trusted(struct outline *o, void *path, void *mount);

/* Fills s->sock[i] / s->sockaddr[i]; 0, or -ARG_FAULT. i is 0 or 1. */
LIBRARY int tetra_read_sock(struct scratch *s, __u32 i, const void *sk);
LIBRARY int tetra_read_sock_trusted(struct scratch *s, __u32 i, void *sk);
LIBRARY int tetra_read_sockaddr(struct scratch *s, __u32 i, const void *address, __u32 is_user);

/*
 * 1 if tgid (or the pid in the own pid namespace, 0 in the initial one) of the current process or an ancestor is value, else 0;
 * -1 if that cannot be told, or if the current process is in the initial pid namespace and has no such pid.
 */
LIBRARY int tetra_lineage_has_pid(__u32 value, __u32 is_namespace_pid);

/* How many arguments a record may hold; put fails on more. */
#define ARGUMENTS_MAX 32

/*
 * Building a record: begin resets the cursor and writes the header, put appends one argument, submit sends it.
 * tag_and_template: object tag << 32 | template index.
 */
LIBRARY int tetra_record_begin(struct scratch *s, __u64 tag_and_template, __u32 action, __u32 record_flags, __u64 call_id);
LIBRARY int tetra_put_integer(struct scratch *s, __u64 value, __u32 status);
LIBRARY int tetra_put_string(struct scratch *s, struct text *t);
LIBRARY int tetra_put_path(struct scratch *s, struct text *t);
LIBRARY int tetra_put_buffer(struct scratch *s, struct text *t);
LIBRARY int tetra_put_sock(struct scratch *s, __u32 i, __u32 status);
LIBRARY int tetra_put_sockaddr(struct scratch *s, __u32 i, __u32 status);
/*
 * Sends what does not fit a text, before the record of which it is a part: all of a buffer, up to BUFFER_PIECES texts. flags: 1 as
 * is_users, 2 for lane 1.
 */
LIBRARY int tetra_send_buffer(struct scratch *s, struct text *t, __u64 address, __u64 size, __u32 flags);
LIBRARY int tetra_send_iov_iter(struct scratch *s, struct text *t, __u64 address, __u32 flags);
/* Appends the kernel's or the process's stack to the record, behind all arguments and in this order. ctx: that of the program. */
LIBRARY int tetra_put_stack(struct scratch *s, void *ctx, __u32 is_user);
/* Appends a sock that is read now. */
LIBRARY int tetra_put_returned_sock(struct scratch *s, const void *sk);
/*
 * Sockets and whom they belong to, for one policy: the current process from now on, or nobody; and the record becomes one about the
 * owner, if there is one. Not while an argument is put.
 */
LIBRARY int tetra_track_sock(struct scratch *s, const void *sk, __u32 policy_slot);
LIBRARY int tetra_untrack_sock(struct scratch *s, const void *sk, __u32 policy_slot);
LIBRARY int tetra_set_owner(struct scratch *s, const void *sk, __u32 policy_slot);
/* lane: 0 observation (sharded by CPU), 1 enforcement. Counts POLICY_POST_SENT or POLICY_POST_LOST. */
LIBRARY int tetra_submit(struct scratch *s, __u32 policy_slot, __u32 lane);

LIBRARY void tetra_count(__u32 policy_slot, __u32 counter);

/* 1 if the policy is in mode monitor: it sends no signals and replaces no results. */
LIBRARY int tetra_monitors(__u32 policy_slot);

/*
 * Rate limit: 1 if the record in s (arguments already put) may pass, 0 if the same one passed within interval_ns
 * (and then counts POLICY_RATE_LIMITED). scope: 0 thread, 1 process, 2 global. The key holds the template, the scope
 * id and the first 40 bytes of each argument, hashed to 128 bits with a per-boot key.
 */
LIBRARY int tetra_rate_limit(struct scratch *s, __u32 policy_slot, __u32 scope, __u64 interval_ns);

/*
 * Calls under way, for hooks whose decision or event needs both entry and return (map `tetra_pending`, LRU hash keyed by
 * pid_tgid and a key). put: 0, or -1 if full (counted); it also sets the bit `policy_slot % 64` of the target's own value, so
 * that an exit asks for that one first. get: the value, or 0 if there is none (no value is 0). take: removes it too.
 */
LIBRARY int tetra_pending_put(__u32 hook_key, __u64 value, __u32 policy_slot, __u32 target_key);
LIBRARY __u64 tetra_pending_get(__u32 key);
LIBRARY __u64 tetra_pending_take(__u32 key);

/* Leaves a value for an enforcer of the same thread, which gets and takes it as above: 0, or -1 if full (counted). */
LIBRARY int tetra_notify(__u32 key, __u64 value, __u32 policy_slot);

#endif
