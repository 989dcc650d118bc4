/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Maps shared by the base sensor and all generated programs. Both objects define them alike; the loader creates each
 * once and goes by its name. Sizes here are defaults, `ebpf::maps` lists them for user space.
 */
#ifndef TETRA_MAPS_H
#define TETRA_MAPS_H
#include "bpf.h"
#include "record.h"

/*
 * The loader makes it without preallocation where the kernel can allocate for programs in any context. Nothing here depends on
 * which it is: an insertion may fail, for want of room or of memory, and an element that is removed may be that of another
 * process at once. Its memory stays readable for as long as a program runs that has found it.
 */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 32768);
	MAP_TYPE(key, __u64); /* a tgid: keys of eight bytes are compared as one word, shorter ones byte by byte */
	MAP_TYPE(value, struct process);
} tetra_processes SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, SCRATCH_LEVELS);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct scratch);
} tetra_scratch SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, SCRATCH_LEVELS * SCRATCH_TEXTS);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct text);
} tetra_texts SEC(".maps");

struct ring {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 4096);
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	MAP_UINT(max_entries, 2);
	MAP_UINT(key_size, sizeof(__u32));
	MAP_UINT(value_size, sizeof(__u32));
	struct ring *values[];
} tetra_rings SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct config);
} tetra_config SEC(".maps");

#endif
