/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The current process and its ancestors. */

#define LINEAGE_MAX 256

LIBRARY struct process *tetra_process(void)
{
	__u64 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&tetra_processes, &tgid);
}

/*
 * Both stop behind pid 1, whose parent is the idle task with tgid 0, its own parent. They go by address: for each field
 * behind a pointer that it knows, the verifier searches all type names of the kernel, so following 256 parents took it
 * seven seconds on 6.18.
 */
GLOBAL int lineage_has_tgid(__u32 value)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	for (int i = 0; i < LINEAGE_MAX; i++) {
		__u32 tgid = READ(task, tgid);

		if (!tgid)
			return 0;
		if (tgid == value)
			return 1;
		task = READ(task, real_parent);
	}
	return -1;
}

GLOBAL int lineage_has_namespace_pid(__u32 value)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	for (int i = 0; i < LINEAGE_MAX; i++) {
		if (!READ(task, tgid))
			return 0;
		/* the pid of a process is that of its leader, whatever thread this is */
		struct task_struct *leader = READ(task, group_leader);
		struct pid *pid = READ(leader, thread_pid);
		__u32 level = READ(pid, level);
		struct upid upid = {};

		/* in the initial namespace a process has no pid in one of its own */
		if (level)
			bpf_probe_read_kernel(&upid, sizeof upid, &pid->numbers[level]);
		else if (!i)
			return -1;
		if ((__u32)upid.nr == value)
			return 1;
		task = READ(task, real_parent);
	}
	return -1;
}

LIBRARY int tetra_lineage_has_pid(__u32 value, __u32 is_namespace_pid)
{
	return is_namespace_pid ? lineage_has_namespace_pid(value) : lineage_has_tgid(value);
}
