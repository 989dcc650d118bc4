/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Calls under way: what the entry of a call has to tell to its exit. */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 8192);
	MAP_TYPE(key, struct pending_key);
	MAP_TYPE(value, __u64);
} tetra_pending SEC(".maps");

LIBRARY int tetra_pending_put(__u32 hook_key, __u64 value, __u32 policy_slot)
{
	struct pending_key key = { bpf_get_current_pid_tgid(), hook_key, 0 };

	if (!bpf_map_update_elem(&tetra_pending, &key, &value, BPF_ANY))
		return 0;
	tetra_count(policy_slot, POLICY_PENDING_FULL);
	return -1;
}

LIBRARY __u64 tetra_pending_take(__u32 hook_key)
{
	struct pending_key key = { bpf_get_current_pid_tgid(), hook_key, 0 };
	__u64 *found = bpf_map_lookup_elem(&tetra_pending, &key);

	if (!found)
		return 0;
	__u64 value = *found;
	bpf_map_delete_elem(&tetra_pending, &key);
	return value;
}
