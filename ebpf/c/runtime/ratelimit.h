/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Rate limits. The key of a record is a hash of its arguments; whoever could make two records collide could hide one
 * behind the other, so the hash is keyed: SipHash-1-3 with 128 bits of output, and a key made at boot.
 */

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct ratelimit_key);
	MAP_TYPE(value, __u64);
} tetra_ratelimit SEC(".maps");

struct seed { __u64 key[2]; };

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct seed);
} tetra_seed SEC(".maps");

#define ARGUMENT_HASHED 40 /* bytes of each argument that count */

struct sip { __u64 v0, v1, v2, v3; };

INLINE __u64 rotate(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

INLINE void sip_round(struct sip *h)
{
	h->v0 += h->v1; h->v1 = rotate(h->v1, 13); h->v1 ^= h->v0; h->v0 = rotate(h->v0, 32);
	h->v2 += h->v3; h->v3 = rotate(h->v3, 16); h->v3 ^= h->v2;
	h->v0 += h->v3; h->v3 = rotate(h->v3, 21); h->v3 ^= h->v0;
	h->v2 += h->v1; h->v1 = rotate(h->v1, 17); h->v1 ^= h->v2; h->v2 = rotate(h->v2, 32);
}

INLINE void sip_word(struct sip *h, __u64 word)
{
	h->v3 ^= word;
	sip_round(h);
	h->v0 ^= word;
}

/* Hashes the arguments of the record in the scratch element `level`, into a key that it leaves in its slack. */
GLOBAL int hash_arguments(__u32 level)
{
	__u32 zero = 0;
	struct scratch *s = scratch_of(level);
	struct seed *seed = bpf_map_lookup_elem(&tetra_seed, &zero);
	if (!s || !seed)
		return -1;
	struct record_policy *record = (void *)s->record;
	struct ratelimit_key *key = (void *)s->slack;
	__u64 k0 = seed->key[0], k1 = seed->key[1];
	struct sip h = {
		k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573,
	};
	__u32 count = record->argument_count;
	__u32 at = sizeof *record;

	for (__u32 i = 0; i < ARGUMENTS_MAX; i++) {
		__u64 words[ARGUMENT_HASHED / 8] = {};

		if (i >= count)
			break;
		OPAQUE(at);
		if (at > RECORD_MAX)
			return -1;
		struct record_argument *argument = (void *)s->record + at;
		__u32 len = argument->len;
		__u32 hashed = len;

		OPAQUE(hashed);
		if (hashed > ARGUMENT_HASHED)
			hashed = ARGUMENT_HASHED;
		bpf_probe_read_kernel(words, hashed, argument + 1);
		sip_word(&h, *(__u64 *)argument);
		for (int w = 0; w < ARGUMENT_HASHED / 8; w++)
			sip_word(&h, words[w]);
		at += sizeof *argument + ((len + 7) & ~7u);
	}
	sip_word(&h, (__u64)count << 56);
	h.v2 ^= 0xee;
	for (int i = 0; i < 3; i++)
		sip_round(&h);
	key->hash[0] = h.v0 ^ h.v1 ^ h.v2 ^ h.v3;
	h.v1 ^= 0xdd;
	for (int i = 0; i < 3; i++)
		sip_round(&h);
	key->hash[1] = h.v0 ^ h.v1 ^ h.v2 ^ h.v3;
	return 0;
}

GLOBAL int rate_limit(__u32 level, __u32 policy_slot, __u32 scope, __u64 interval_ns)
{
	struct scratch *s = scratch_of(level);
	if (!s)
		return 1;
	struct record_policy *record = (void *)s->record;
	struct ratelimit_key *key = (void *)s->slack;
	__u64 now = record->header.ktime;

	if (hash_arguments(level))
		return 1;
	key->scope_id = scope == 0 ? record->header.tid : scope == 1 ? record->header.tgid : 0;
	key->object_tag = record->object_tag;
	key->template_index = record->template_index;
	__u64 *last = bpf_map_lookup_elem(&tetra_ratelimit, key);
	if (!last) {
		bpf_map_update_elem(&tetra_ratelimit, key, &now, BPF_ANY); /* if that fails, the next record passes too */
		return 1;
	}
	if (now - *last < interval_ns) {
		count_policy(policy_slot, POLICY_RATE_LIMITED);
		return 0;
	}
	*last = now;
	return 1;
}

LIBRARY int tetra_rate_limit(struct scratch *s, __u32 policy_slot, __u32 scope, __u64 interval_ns)
{
	return rate_limit(s->level, policy_slot, scope, interval_ns);
}
