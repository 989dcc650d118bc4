/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Calls under way: what the entry of a call has to tell to its exit. */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 8192);
	MAP_TYPE(key, struct pending_key);
	MAP_TYPE(value, __u64);
} tetra_pending SEC(".maps");

INLINE int pending_store(__u32 key, __u64 value, __u32 policy_slot)
{
	struct pending_key k = { bpf_get_current_pid_tgid(), key, 0 };

	if (!bpf_map_update_elem(&tetra_pending, &k, &value, BPF_ANY))
		return 0;
	count_policy(policy_slot, POLICY_PENDING_FULL);
	return -1;
}

/* Which hooks of the target have an entry, by slot modulo 64: an exit with a thousand hooks looks once. */
INLINE int pending_mark(__u32 target_key, __u32 policy_slot)
{
	struct pending_key k = { bpf_get_current_pid_tgid(), target_key, 0 };
	__u64 bit = 1ULL << (policy_slot & 63);
	__u64 *marked = bpf_map_lookup_elem(&tetra_pending, &k);

	if (!marked)
		return pending_store(target_key, bit, policy_slot);
	*marked |= bit; /* of this thread alone */
	return 0;
}

GLOBAL int pending_put(__u32 hook_key, __u64 value, __u32 policy_slot, __u32 target_key)
{
	if (pending_store(hook_key, value, policy_slot))
		return -1;
	return pending_mark(target_key, policy_slot);
}

LIBRARY int tetra_pending_put(__u32 hook_key, __u64 value, __u32 policy_slot, __u32 target_key)
{
	return pending_put(hook_key, value, policy_slot, target_key);
}

GLOBAL int notify(__u32 key, __u64 value, __u32 policy_slot)
{
	return pending_store(key, value, policy_slot);
}

LIBRARY int tetra_notify(__u32 key, __u64 value, __u32 policy_slot)
{
	return notify(key, value, policy_slot);
}

GLOBAL __u64 pending_get(__u32 key)
{
	struct pending_key k = { bpf_get_current_pid_tgid(), key, 0 };
	__u64 *found = bpf_map_lookup_elem(&tetra_pending, &k);

	return found ? *found : 0;
}

LIBRARY __u64 tetra_pending_get(__u32 key)
{
	return pending_get(key);
}

GLOBAL __u64 pending_take(__u32 key)
{
	struct pending_key k = { bpf_get_current_pid_tgid(), key, 0 };
	__u64 *found = bpf_map_lookup_elem(&tetra_pending, &k);

	if (!found)
		return 0;
	__u64 value = *found;
	bpf_map_delete_elem(&tetra_pending, &k);
	return value;
}

LIBRARY __u64 tetra_pending_take(__u32 key)
{
	return pending_take(key);
}
