/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Hook programs for the tests of the loader, one for each attach type, in one object. Each counts the calls of
 * getpgid(2) by thread group TGID in a policy slot of its own, from slot SLOT on; the denying ones refuse them.
 */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define EPERM 1
#ifdef __TARGET_AARCH64
#define NR_GETPGID 155
#else
#define NR_GETPGID 121
#endif

struct counters { u64 value[16]; };

struct {
	int (*type)[6]; /* BPF_MAP_TYPE_PERCPU_ARRAY */
	int (*max_entries)[1024];
	u32 *key;
	struct counters *value;
} tetra_policy_counters SEC(".maps");

/* A map that no other object has, and constants in a section: both are the loader's to make. */
struct {
	int (*type)[2]; /* BPF_MAP_TYPE_ARRAY */
	int (*max_entries)[1];
	u32 *key;
	u64 *value;
} own_map SEC(".maps");

static const volatile u32 first_slot = SLOT;

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;

/* Counts the call if it is ours. In .text, so that it is linked to every program. */
__attribute__((noinline, visibility("hidden"))) int count(u32 slot)
{
	u32 zero = 0;
	if (bpf_get_current_pid_tgid() >> 32 != TGID)
		return 0;
	u64 *own = bpf_map_lookup_elem(&own_map, &zero);
	if (own)
		__sync_fetch_and_add(own, 1);
	slot += first_slot;
	struct counters *counters = bpf_map_lookup_elem(&tetra_policy_counters, &slot);
	if (!counters)
		return 0;
	__sync_fetch_and_add(&counters->value[0], 1);
	return 1;
}

SEC("kprobe/f") int on_kprobe(void *ctx) { count(0); return 0; }
SEC("kretprobe/f") int on_kretprobe(void *ctx) { count(1); return 0; }
SEC("kprobe.multi/f") int on_kprobe_multi(void *ctx) { count(2); return 0; }
SEC("kretprobe.multi/f") int on_kretprobe_multi(void *ctx) { count(10); return 0; }
SEC("fentry/f") int on_fentry(u64 *ctx) { count(3); return 0; }
SEC("fexit/f") int on_fexit(u64 *ctx) { count(4); return 0; }
SEC("tracepoint/f") int on_tracepoint(u64 *ctx)
{
	if (ctx[1] == NR_GETPGID)
		count(5);
	return 0;
}
SEC("raw_tp/f") int on_raw_tp(u64 *ctx)
{
	if (ctx[1] == NR_GETPGID)
		count(6);
	return 0;
}
SEC("tp_btf/f") int on_tp_btf(u64 *ctx)
{
	if (ctx[1] == NR_GETPGID)
		count(7);
	return 0;
}
SEC("fmod_ret/f") int on_fmod_ret(u64 *ctx) { return count(8) ? -EPERM : 0; }
SEC("lsm/f") int on_lsm(u64 *ctx) { return count(9) ? -EPERM : 0; }

SEC("raw_tp/bad") int on_bad(u64 *ctx)
{
	u64 *address = (u64 *)ctx[0];
	*address = 1; /* no pointer for the verifier */
	return 0;
}
