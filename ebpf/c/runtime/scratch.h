/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Scratch memory and counters. */

struct policy_counters { __u64 counter[POLICY_COUNTERS]; };

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct policy_counters);
} tetra_policy_counters SEC(".maps");

LIBRARY struct scratch *tetra_enter(void)
{
	return scratch_enter();
}

LIBRARY void tetra_leave(struct scratch *s)
{
	scratch_leave(s);
}

LIBRARY struct text *tetra_text(struct scratch *s, __u32 index)
{
	return scratch_text(s, index);
}

INLINE void count_policy(__u32 policy_slot, __u32 counter)
{
	struct policy_counters *counters = bpf_map_lookup_elem(&tetra_policy_counters, &policy_slot);

	if (counters && counter < POLICY_COUNTERS)
		__sync_fetch_and_add(&counters->counter[counter], 1); /* atomic: another program may interrupt here */
}

GLOBAL int count_of_policy(__u32 policy_slot, __u32 counter)
{
	count_policy(policy_slot, counter);
	return 0;
}

LIBRARY void tetra_count(__u32 policy_slot, __u32 counter)
{
	count_of_policy(policy_slot, counter);
}

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
} tetra_policy_modes SEC(".maps");

/*
 * Not in the generated code: the kernel expands each lookup in an array in place and moves the rest of the program, which for
 * a thousand policies took a third of the time of a load.
 */
GLOBAL int monitors(__u32 policy_slot)
{
	__u32 *mode = bpf_map_lookup_elem(&tetra_policy_modes, &policy_slot);

	return mode && *mode != POLICY_MODE_ENFORCE;
}

LIBRARY int tetra_monitors(__u32 policy_slot)
{
	return monitors(policy_slot);
}
