/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Who a socket belongs to, for policies that follow sockets (TrackSock): much of the network runs in whatever process the kernel
 * happens to interrupt. Owners are those of one policy. A policy that never untracks fills the map, and the oldest go first.
 */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 16384);
	MAP_TYPE(key, struct sock_owner_key);
	MAP_TYPE(value, struct sock_owner);
} tetra_sock_owners SEC(".maps");

GLOBAL int track_sock(__u32 level, __u32 policy_slot)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	struct sock_owner_key key = { *OBJECT_ADDRESS(s), policy_slot, 0 };
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 tgid = pid_tgid >> 32;
	struct process *process = bpf_map_lookup_elem(&tetra_processes, &tgid);
	struct sock_owner owner = { tgid, pid_tgid, process ? process->start_ktime : 0 };

	if (!key.sock)
		return 0;
	if (!bpf_map_update_elem(&tetra_sock_owners, &key, &owner, BPF_ANY))
		return 0;
	count_policy(policy_slot, POLICY_PENDING_FULL);
	return -1;
}

LIBRARY int tetra_track_sock(struct scratch *s, const void *sk, __u32 policy_slot)
{
	*OBJECT_ADDRESS(s) = (__u64)sk;
	return track_sock(s->level, policy_slot);
}

GLOBAL int untrack_sock(__u32 level, __u32 policy_slot)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	struct sock_owner_key key = { *OBJECT_ADDRESS(s), policy_slot, 0 };

	bpf_map_delete_elem(&tetra_sock_owners, &key);
	return 0;
}

LIBRARY int tetra_untrack_sock(struct scratch *s, const void *sk, __u32 policy_slot)
{
	*OBJECT_ADDRESS(s) = (__u64)sk;
	return untrack_sock(s->level, policy_slot);
}

GLOBAL int set_owner(__u32 level, __u32 policy_slot)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return -1;
	struct sock_owner_key key = { *OBJECT_ADDRESS(s), policy_slot, 0 };
	struct sock_owner *owner = bpf_map_lookup_elem(&tetra_sock_owners, &key);
	struct record_policy *record = (void *)s->record;

	/* the first socket that somebody owns decides */
	if (!owner || record->owner_tid)
		return 0;
	record->header.tgid = owner->tgid;
	record->header.start_ktime = owner->start_ktime;
	record->owner_tid = owner->tid;
	return 0;
}

LIBRARY int tetra_set_owner(struct scratch *s, const void *sk, __u32 policy_slot)
{
	*OBJECT_ADDRESS(s) = (__u64)sk;
	return set_owner(s->level, policy_slot);
}

/* A socket that a function returns. */
PUT_OBJECT(returned_sock, argument_sock)
{
	fill_sock(to, address);
}
