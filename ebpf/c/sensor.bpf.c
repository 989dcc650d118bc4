/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Base process sensor: says which processes there are and what they execute. Three BTF tracepoints, one object for
 * every kernel from 5.10. It keeps `tetra_processes` (made at fork, renewed at exec, removed at exit) and sends a
 * record for each of the three.
 *
 * What is known at sched_process_exec and what is not: the credentials are already those of the new image and the old
 * ones are gone. That a set-user-id bit took effect is derived from the file's mode and owner and bprm->per_clear (which the kernel sets
 * only when it honours the bit, so nosuid mounts, no_new_privs and tracers are accounted for). Capabilities
 * of the file are seen where they show: a process without uid 0 can hold permitted capabilities that are not ambient
 * only through them. For uid 0 the two cannot be told apart here, and EXEC_FILE_CAPS is not set.
 */
#include "ring.h"
#include "walk.h"

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, SENSOR_COUNTERS);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
} tetra_sensor_counters SEC(".maps");

#define ARGS_INLINE 12288  /* longest arguments within the exec record */
#define DATA_CHUNK 16384   /* bytes of a RECORD_DATA */
#define DATA_CHUNKS 400    /* 6.25 MiB; the kernel allows 6 MiB for arguments and environment together */
#define ARGV0_CHUNKS 33    /* one string may have 128 KiB */
#define ANCESTORS 8        /* how far to look for a parent with a record */
#define CGROUP_NAME_MAX 256

#define ADDR_NO_RANDOMIZE 0x40000 /* of PER_CLEAR_ON_SETID */
#define S_ISUID 04000
#define S_ISGID 02000
#define S_IXGRP 00010

static void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&tetra_sensor_counters, &counter);
	if (value)
		__sync_fetch_and_add(value, 1);
}

INLINE void count_result(long error, __u32 sent)
{
	count(error ? sent + 1 : sent); /* every *_LOST stands behind its *_SENT */
}


struct pid_facts { __u32 nspid; __u32 pid_ns; };

/* The pid in the task's own pid namespace, 0 if that is the initial one, and the namespace. */
INLINE void read_pid(struct pid_facts *facts, struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	__u32 level = pid->level;
	struct upid upid = {};

	bpf_probe_read_kernel(&upid, sizeof upid, &pid->numbers[level]);
	facts->nspid = level ? upid.nr : 0;
	facts->pid_ns = upid.ns ? READ(upid.ns, ns.inum) : 0;
}

INLINE void write_header(struct record_header *header, __u32 size, __u16 kind, __u16 flags, __u64 now, __u32 tgid,
			 __u32 tid, __u64 start_ktime)
{
	header->size = size;
	header->kind = kind;
	header->flags = flags;
	header->ktime = now;
	header->tgid = tgid;
	header->tid = tid;
	header->start_ktime = start_ktime;
}

/* ---- exec ---- */

INLINE void read_namespaces(__u32 *ns, struct task_struct *task, const struct cred *cred, __u32 pid_ns)
{
	struct nsproxy *proxy = task->nsproxy;

	ns[0] = proxy->uts_ns->ns.inum;
	ns[1] = proxy->ipc_ns->ns.inum;
	ns[2] = proxy->mnt_ns->ns.inum;
	ns[3] = pid_ns;
	ns[4] = proxy->pid_ns_for_children->ns.inum;
	ns[5] = proxy->net_ns->ns.inum;
	ns[6] = proxy->time_ns->ns.inum;
	ns[7] = proxy->time_ns_for_children->ns.inum;
	ns[8] = proxy->cgroup_ns->ns.inum;
	ns[9] = cred->user_ns->ns.inum;
}

struct capabilities { __u64 inheritable, permitted, effective, bounding, ambient; };

INLINE __u32 read_creds(struct record_creds *to, struct task_struct *task, const struct cred *cred)
{
	struct capabilities caps = {};

	to->uid = cred->uid.val;
	to->gid = cred->gid.val;
	to->euid = cred->euid.val;
	to->egid = cred->egid.val;
	to->suid = cred->suid.val;
	to->sgid = cred->sgid.val;
	to->fsuid = cred->fsuid.val;
	to->fsgid = cred->fsgid.val;
	to->securebits = cred->securebits;
	to->auid = KERNEL_FIELD_EXISTS(struct task_struct, loginuid) ? task->loginuid.val : -1u;
	/* The five sets stand side by side; their type differs between kernels, their 8 bytes do not. */
	bpf_probe_read_kernel(&caps, sizeof caps, &cred->cap_inheritable);
	to->cap_permitted = caps.permitted;
	to->cap_effective = caps.effective;
	to->cap_inheritable = caps.inheritable;
	return to->uid && to->euid && (caps.permitted & ~caps.ambient) ? EXEC_FILE_CAPS : 0;
}

INLINE __u32 read_image(struct record_exec *record, struct linux_binprm *bprm)
{
	struct file *file = bprm->file;
	struct inode *inode = file->f_inode;
	struct dentry *dentry = file->f_path.dentry;
	__u32 mode = inode->i_mode;
	__u32 flags = 0;

	record->inode = inode->i_ino;
	record->nlink = inode->i_nlink;
	if (!record->nlink)
		flags |= EXEC_FILELESS;
	if (!dentry->d_hash.pprev && dentry != dentry->d_parent)
		flags |= EXEC_DELETED;
	if (bprm->per_clear & ADDR_NO_RANDOMIZE) {
		if ((mode & S_ISUID) && record->creds.euid != record->creds.uid)
			flags |= EXEC_SETUID;
		if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && record->creds.egid != record->creds.gid)
			flags |= EXEC_SETGID;
	}
	return flags;
}

/* The nearest ancestor with a record: the parent, unless the sensor has missed it. */
INLINE __u32 read_parent(struct record_exec *record, struct task_struct *task)
{
	struct task_struct *parent = task->real_parent;

	record->parent_tgid = parent->tgid;
	for (int i = 0; i < ANCESTORS; i++) {
		__u64 tgid = parent->tgid;
		struct process *process = bpf_map_lookup_elem(&tetra_processes, &tgid);

		if (process) {
			record->parent_tgid = tgid;
			record->parent_start_ktime = process->start_ktime;
			return 0;
		}
		if (tgid <= 1)
			break;
		parent = parent->real_parent;
	}
	record->parent_start_ktime = 0;
	return EXEC_MISSED_PARENT;
}

/* What read_args and send_data share, in the frame of the scratch element. */
struct exec_frame {
	__u64 args;                /* user address of argv[1] */
	__u64 now;
	__u32 args_total;
	__u32 args_sent;
	__u32 tgid;
	__u32 pad;
};

/*
 * Sends one piece of the arguments, built where the exec record will stand afterwards. Returns EXEC_* flags; 0: go on.
 */
GLOBAL int send_chunk(__u32 level)
{
	struct scratch *s = bpf_map_lookup_elem(&tetra_scratch, &level);
	struct config *c = config();
	if (!s || !c)
		return EXEC_ERROR_ARGS;
	void *ring = ring_of_cpu(c);
	if (!ring)
		return EXEC_ERROR_ARGS;
	struct exec_frame *frame = (void *)s->frame;
	struct record_data *record = (void *)s->record;
	__u32 offset = frame->args_sent;
	__u32 total = frame->args_total;

	if (offset >= total)
		return EXEC_DATA_ARGS;
	__u32 len = total - offset;
	if (len > DATA_CHUNK)
		len = DATA_CHUNK;
	if (bpf_probe_read_user(record + 1, len, (void *)(frame->args + offset)))
		return EXEC_DATA_ARGS | EXEC_ERROR_ARGS | EXEC_TRUNCATED_ARGS;
	__u32 size = (sizeof *record + len + 7) & ~7u;
	write_header(&record->header, size, RECORD_DATA, 0, frame->now, frame->tgid, frame->tgid, frame->now);
	record->offset = offset;
	record->len = len;
	frame->args_sent = offset + len;
	long error = bpf_ringbuf_output(ring, record, size, wakeup_flags(ring, c));
	count_result(error, SENSOR_DATA_SENT);
	return error ? EXEC_DATA_ARGS | EXEC_TRUNCATED_ARGS : 0;
}

/* Sends the arguments in pieces; stops at the first that is lost, so that what the reader has is a prefix. */
GLOBAL int send_data(__u32 level)
{
	for (int i = 0; i < DATA_CHUNKS; i++) {
		int flags = send_chunk(level);
		if (flags)
			return flags;
	}
	return EXEC_DATA_ARGS | EXEC_TRUNCATED_ARGS;
}

/* How many bytes a string takes that is longer than a text, its NUL included; 0 if it cannot be read. */
GLOBAL int measure_string(__u32 level)
{
	struct scratch *s = bpf_map_lookup_elem(&tetra_scratch, &level);
	if (!s)
		return 0;
	__u64 from = ((struct exec_frame *)s->frame)->args;
	__u32 measured = 0;

	for (int i = 0; i < ARGV0_CHUNKS; i++) {
		long len = read_user_string(s->record, TEXT_MAX, (void *)(from + measured));
		if (len <= 0)
			return 0;
		if (len < TEXT_MAX)
			return measured + len;
		measured += TEXT_MAX - 1;
	}
	return 0;
}

/* Finds the arguments behind argv[0], and sends them in pieces if they are long. Returns EXEC_* flags. */
INLINE __u32 find_args(struct scratch *s, struct task_struct *task)
{
	struct exec_frame *frame = (void *)s->frame;
	struct mm_struct *mm = task->mm;
	__u64 from = mm->arg_start;
	__u64 end = mm->arg_end;
	long len;

	frame->args_total = 0;
	if (from >= end) /* argc 0, which 5.10 still allows */
		return 0;
	len = read_user_string(s->record, TEXT_MAX, (void *)from);
	if (len == TEXT_MAX) {
		frame->args = from;
		len = measure_string(s->level);
	}
	if (len <= 0)
		return EXEC_ERROR_ARGS;
	from += len;
	if (from >= end)
		return 0;
	frame->args = from;
	frame->args_total = end - from;
	frame->args_sent = 0;
	return end - from > ARGS_INLINE ? send_data(s->level) : 0;
}

INLINE __u32 put_filename(struct record_exec *record, void *to, struct linux_binprm *bprm)
{
	long len = bpf_probe_read_kernel_str(to, TEXT_MAX, bprm->filename);

	record->filename_len = 0;
	if (len <= 0 || len > TEXT_MAX) {
		record->exec_flags |= EXEC_ERROR_FILENAME;
		return 0;
	}
	record->filename_len = len - 1;
	return len - 1;
}

INLINE __u32 put_args(struct record_exec *record, void *to, struct scratch *s)
{
	struct exec_frame *frame = (void *)s->frame;
	__u32 len = frame->args_total;

	record->args_len = 0;
	record->args_total = len;
	if (len > ARGS_INLINE)
		return 0;
	if (bpf_probe_read_user(to, len, (void *)frame->args)) {
		record->exec_flags |= EXEC_ERROR_ARGS;
		return 0;
	}
	record->args_len = len;
	return len;
}

INLINE __u32 put_cwd(struct record_exec *record, void *to, struct scratch *s, struct task_struct *task)
{
	struct fs_struct *fs = task->fs;
	struct text *t = scratch_text(s, 0);

	record->cwd_len = 0;
	if (!fs || !t) {
		record->exec_flags |= EXEC_NO_CWD;
		return 0;
	}
	__u32 len = walk_trusted(t, fs->pwd.dentry, fs->pwd.mnt, fs->root.dentry, fs->root.mnt);
	OPAQUE(len);
	if (len > TEXT_MAX) { /* a negative status too */
		record->exec_flags |= EXEC_ERROR_CWD;
		return 0;
	}
	if (!len)
		record->exec_flags |= EXEC_ROOT_CWD;
	if (t->flags & PATH_UNRESOLVED)
		record->exec_flags |= EXEC_CWD_UNRESOLVED;
	bpf_probe_read_kernel(to, len, t->bytes);
	record->cwd_len = len;
	return len;
}

INLINE __u32 put_cgroup_name(struct record_exec *record, void *to, struct kernfs_node *node)
{
	long len = bpf_probe_read_kernel_str(to, CGROUP_NAME_MAX, node->name);

	record->cgroup_name_len = 0;
	if (len <= 0 || len > CGROUP_NAME_MAX) {
		record->exec_flags |= EXEC_ERROR_CGROUP;
		return 0;
	}
	record->cgroup_name_len = len - 1;
	return len - 1;
}

/* Renews the process record, or makes one if the sensor has not seen the process before. */
INLINE void renew_process(struct scratch *s, struct record_exec *record)
{
	__u64 tgid = record->header.tgid;
	struct process *process = bpf_map_lookup_elem(&tetra_processes, &tgid);
	struct process *made = (void *)s->frame + sizeof(struct exec_frame);
	struct process *to = process ? process : made;

	record->old_start_ktime = process ? process->start_ktime : 0;
	record->process_flags = (process ? process->flags & (PROCESS_CLONED | PROCESS_IN_INIT_TREE) : 0) | PROCESS_EXECED |
				(record->nspid == 1 ? PROCESS_IN_INIT_TREE : 0);
	to->start_ktime = record->header.ktime;
	to->parent_start_ktime = record->parent_start_ktime;
	to->parent_tgid = record->parent_tgid;
	to->nspid = record->nspid;
	to->flags = record->process_flags;
	to->pad = 0;
	for (int i = 0; i < POLICY_WORDS; i++)
		to->policy_words[i] = 0;
	to->cgroup_id = record->cgroup_id;
	for (int i = 0; i < 10; i++)
		to->ns[i] = record->ns[i];
	to->capabilities[0] = record->creds.cap_effective;
	to->capabilities[1] = record->creds.cap_inheritable;
	to->capabilities[2] = record->creds.cap_permitted;
	if (!process && bpf_map_update_elem(&tetra_processes, &tgid, made, BPF_ANY))
		count(SENSOR_PROCESS_TABLE_FULL);
}

INLINE void send_exec(struct scratch *s, struct config *c, void *ring, struct task_struct *task,
		      struct linux_binprm *bprm)
{
	struct exec_frame *frame = (void *)s->frame;
	struct record_exec *record = (void *)s->record;
	const struct cred *cred = task->cred;
	struct kernfs_node *node = task->cgroups->dfl_cgrp->kn;
	struct pid_facts pid;
	__u64 now = bpf_ktime_get_ns();
	__u32 tgid = task->tgid;

	frame->now = now;
	frame->tgid = tgid;
	__u32 flags = find_args(s, task);

	write_header(&record->header, 0, RECORD_EXEC, 0, now, tgid, tgid, now);
	read_pid(&pid, task);
	record->nspid = pid.nspid;
	read_namespaces(record->ns, task, cred, pid.pid_ns);
	flags |= read_creds(&record->creds, task, cred);
	flags |= read_image(record, bprm);
	flags |= read_parent(record, task);
	record->exec_flags = flags;
	record->cgroup_id = node->id;
	renew_process(s, record);

	void *base = record + 1;
	__u32 size = put_filename(record, base, bprm);
	size += put_args(record, base + size, s);
	size += put_cwd(record, base + size, s, task);
	size += put_cgroup_name(record, base + size, node);
	size = (sizeof *record + size + 7) & ~7u;
	record->header.size = size;
	count_result(bpf_ringbuf_output(ring, record, size, wakeup_flags(ring, c)), SENSOR_EXEC_SENT);
}

SEC("tp_btf/sched_process_exec")
int sensor_exec(__u64 *context)
{
	struct task_struct *task = (void *)context[0];
	struct linux_binprm *bprm = (void *)context[2];
	struct config *c = config();
	if (!c)
		return 0;
	void *ring = ring_of_cpu(c);
	if (!ring)
		return 0;
	struct scratch *s = scratch_enter();
	if (!s) {
		count(SENSOR_SCRATCH_EXHAUSTED);
		count(SENSOR_EXEC_LOST);
		return 0;
	}
	send_exec(s, c, ring, task, bprm);
	scratch_leave(s);
	return 0;
}

/* ---- fork ---- */

SEC("tp_btf/sched_process_fork")
int sensor_fork(__u64 *context)
{
	struct task_struct *creator = (void *)context[0];
	struct task_struct *child = (void *)context[1];
	__u64 tgid = child->tgid;

	if ((__u32)child->pid != tgid) /* a thread */
		return 0;
	struct config *c = config();
	if (!c)
		return 0;
	void *ring = ring_of_cpu(c);
	if (!ring)
		return 0;

	/*
	 * Of CLONE_PARENT siblings the creator is named, not the parent they share: until it executes, the child is a
	 * copy of its creator.
	 */
	__u64 parent_tgid = creator->tgid;
	struct process *parent = bpf_map_lookup_elem(&tetra_processes, &parent_tgid);
	struct process process = {};
	struct pid_facts pid;

	read_pid(&pid, child);
	process.start_ktime = bpf_ktime_get_ns();
	process.parent_tgid = parent_tgid;
	process.nspid = pid.nspid;
	process.flags = PROCESS_CLONED | (pid.nspid == 1 ? PROCESS_IN_INIT_TREE : 0);
	process.cgroup_id = child->cgroups->dfl_cgrp->kn->id;
	if (parent) {
		process.parent_start_ktime = parent->start_ktime;
		process.flags |= parent->flags & PROCESS_IN_INIT_TREE;
		for (int i = 0; i < POLICY_WORDS; i++)
			process.policy_words[i] = parent->policy_words[i];
		for (int i = 0; i < 10; i++)
			process.ns[i] = parent->ns[i];
		for (int i = 0; i < 3; i++)
			process.capabilities[i] = parent->capabilities[i];
	}
	if (bpf_map_update_elem(&tetra_processes, &tgid, &process, BPF_ANY))
		count(SENSOR_PROCESS_TABLE_FULL);

	struct record_clone *record = bpf_ringbuf_reserve(ring, sizeof *record, 0);
	if (!record) {
		count(SENSOR_CLONE_LOST);
		return 0;
	}
	count(SENSOR_CLONE_SENT);
	write_header(&record->header, sizeof *record, RECORD_CLONE, 0, process.start_ktime, tgid, tgid,
		     process.start_ktime);
	record->parent_start_ktime = process.parent_start_ktime;
	record->parent_tgid = parent_tgid;
	record->nspid = process.nspid;
	record->process_flags = process.flags;
	record->pad = 0;
	bpf_ringbuf_submit(record, wakeup_flags(ring, c));
	return 0;
}

/* ---- exit ---- */

/*
 * The tracepoint runs for every thread, when the kernel has already counted it out. Two threads that die at once may
 * both find nobody alive; whoever removes the process record says it.
 */
SEC("tp_btf/sched_process_exit")
int sensor_exit(__u64 *context)
{
	struct task_struct *task = (void *)context[0];
	struct signal_struct *signal = task->signal;

	if (signal->live.counter)
		return 0;
	struct config *c = config();
	if (!c)
		return 0;
	void *ring = ring_of_cpu(c);
	if (!ring)
		return 0;
	__u64 tgid = task->tgid;
	struct process *process = bpf_map_lookup_elem(&tetra_processes, &tgid);
	if (!process)
		return 0;
	__u64 start_ktime = process->start_ktime;
	if (bpf_map_delete_elem(&tetra_processes, &tgid))
		return 0;

	struct record_exit *record = bpf_ringbuf_reserve(ring, sizeof *record, 0);
	if (!record) {
		count(SENSOR_EXIT_LOST);
		return 0;
	}
	count(SENSOR_EXIT_SENT);
	write_header(&record->header, sizeof *record, RECORD_EXIT, 0, bpf_ktime_get_ns(), tgid, task->pid, start_ktime);
	/* As wait(2) tells it: the last thread to die need not be the one that decided how. */
	record->exit_code = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	record->pad = 0;
	bpf_ringbuf_submit(record, wakeup_flags(ring, c));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
