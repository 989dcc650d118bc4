/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Stage 2: the policies that apply to the workload of the current process. The maps are described in record.h.
 *
 * The cgroup is that of the moment, so a process that is moved is treated like its new neighbours from the next call on. A
 * cgroup belongs to the workload of its nearest ancestor that has one: so do those that a container makes within its own,
 * before or after it was assigned. Nobody follows the making of cgroups for that; the first process that is asked about
 * walks up, and the answer is kept until an assignment changes.
 */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, __u64);
	MAP_TYPE(value, __u32);
} tetra_workloads SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, CGROUP_CACHE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
} tetra_cgroup_cache SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct cgroup_view);
} tetra_cgroup_view SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
} tetra_workload_sets SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct policy_set);
} tetra_policy_sets SEC(".maps");

INLINE struct cgroup_view *cgroup_view(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tetra_cgroup_view, &zero);
}

/* By address: the way from a css_set to a version 1 hierarchy is an index, which trusted pointers cannot go. */
INLINE struct cgroup *current_cgroup(struct cgroup_view *view)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct css_set *set = READ(task, cgroups);
	struct cgroup_subsys_state *css = 0;
	__u32 controller = view->controller;

	if (!controller)
		return READ(set, dfl_cgrp);
	bpf_probe_read_kernel(&css, sizeof css, &set->subsys[controller - 1]);
	return READ(css, cgroup);
}

INLINE __u64 id_of_cgroup(struct cgroup *cgroup)
{
	struct kernfs_node *node = READ(cgroup, kn);

	return READ(node, id);
}

/* Ids are given out in turn, but not one after the other: files take them too. */
INLINE __u32 cache_index(__u64 id)
{
	return ((__u32)id * 0x9e3779b1u) >> (32 - 13);
}
_Static_assert(CGROUP_CACHE == 1 << 13, "cache_index gives 13 bits");

/*
 * Looks for the nearest ancestor with a workload and keeps the answer. The epoch is read before the assignments are: if one
 * changes meanwhile, what is kept here no longer counts. That order must hold on machines that reorder loads, so the key
 * is made to depend on the epoch.
 */
GLOBAL int find_workload(void)
{
	struct cgroup_view *view = cgroup_view();
	if (!view)
		return WORKLOAD_NONE;
	__u32 epoch = *(volatile __u32 *)&view->epoch;
	struct cgroup *cgroup = current_cgroup(view);
	__u64 own = id_of_cgroup(cgroup);
	__u32 workload = WORKLOAD_ALL;
	__u64 nothing = epoch;

	asm volatile("%0 ^= %0" : "+r"(nothing));
	for (int i = 0; i < CGROUP_LEVELS; i++) {
		if (!cgroup) {
			workload = WORKLOAD_NONE;
			break;
		}
		__u64 key = id_of_cgroup(cgroup) | nothing;
		__u32 *assigned = bpf_map_lookup_elem(&tetra_workloads, &key);

		if (assigned) {
			workload = *assigned;
			break;
		}
		struct cgroup_subsys_state *parent = READ(cgroup, self.parent);

		cgroup = READ(parent, cgroup);
	}
	__u32 index = cache_index(own);
	__u64 *cached = bpf_map_lookup_elem(&tetra_cgroup_cache, &index);

	if (cached && epoch)
		*(volatile __u64 *)cached = own << 32 | (__u64)epoch << 16 | workload;
	return workload;
}

LIBRARY struct policy_set *tetra_policies(void)
{
	struct cgroup_view *view = cgroup_view();
	if (!view)
		return 0;
	__u64 id = view->controller ? id_of_cgroup(current_cgroup(view)) : bpf_get_current_cgroup_id();
	__u32 index = cache_index(id);
	__u64 *cached = bpf_map_lookup_elem(&tetra_cgroup_cache, &index);
	if (!cached)
		return 0;
	__u64 entry = *(volatile __u64 *)cached;
	__u32 workload = entry & 0xffff;

	if (entry >> 16 != ((__u64)(__u32)id << 16 | view->epoch))
		workload = find_workload();
	__u64 *set = bpf_map_lookup_elem(&tetra_workload_sets, &workload);
	if (!set)
		return 0;
	__u32 number = *(volatile __u64 *)set;

	return bpf_map_lookup_elem(&tetra_policy_sets, &number);
}
