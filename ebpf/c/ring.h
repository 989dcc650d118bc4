/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where records leave: one ring buffer per group of CPUs, and one more for what enforcement has to say. */
#ifndef TETRA_RING_H
#define TETRA_RING_H
#include "maps.h"

INLINE struct config *config(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&tetra_config, &zero);
}

/* The ring of this CPU, or NULL before the agent has configured the sensor. */
INLINE void *ring_of_cpu(struct config *config)
{
	__u32 cpus = config->cpus_per_shard;
	if (!cpus)
		return 0;
	__u32 shard = bpf_get_smp_processor_id() / cpus;
	return bpf_map_lookup_elem(&tetra_rings, &shard);
}

/*
 * A wake-up costs more than a record: the reader polls by timer, and is woken only when a ring fills up faster than
 * that.
 */
INLINE __u64 wakeup_flags(void *ring, struct config *config)
{
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > config->wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

#endif
