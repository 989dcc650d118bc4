/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Helpers by number, map definitions and the few compiler idioms used, so that no libbpf headers are needed to build. */
#ifndef TETRA_BPF_H
#define TETRA_BPF_H
#include "kernel.h"

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* A function of its own; the linker makes it static. Test programs, which are not linked, have it static at once. */
#ifdef TETRA_STATIC_LIBRARY
#define LIBRARY static __attribute__((noinline))
#else
#define LIBRARY __attribute__((noinline, visibility("hidden")))
#endif
/*
 * A function that stays global: the verifier checks it once, on its own, and then steps over every call. Its arguments
 * can only be integers (5.10 knows no others), so state goes through maps.
 */
#define GLOBAL __attribute__((noinline))

#define MAP_UINT(name, value) int (*name)[value]
#define MAP_TYPE(name, type) type *name

enum {
	BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12, BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2, BPF_RB_AVAIL_DATA = 0 };

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static __u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static __u64 (*bpf_get_current_task)(void) = (void *)35;
/* Bytes written, or a negative errno. */
static long (*bpf_get_stack)(void *ctx, void *to, __u32 size, __u64 flags) = (void *)67;
static __u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_user)(void *to, __u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
/* Returns the length with its NUL, but up to 6.12 at least 0 for an empty string: use read_user_string. */
static long (*bpf_probe_read_user_str)(void *to, __u32 size, const void *from) = (void *)114;
static long (*bpf_probe_read_kernel_str)(void *to, __u32 size, const void *from) = (void *)115;
static long (*bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130;
static void *(*bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static __u64 (*bpf_ringbuf_query)(void *ring, __u64 flags) = (void *)134;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158; /* from 5.11 */

/* Offset of a field in the running kernel: an immediate after relocation, so tests on it cost nothing. */
#define KERNEL_OFFSET(type, field) ((__u32)__builtin_preserve_field_info(((type *)0)->field, 0))
/* An enumerator of the running kernel, and whether it has one. */
#define KERNEL_ENUMERATOR(type, name) __builtin_preserve_enum_value(*(enum type *)name, 1)
#define KERNEL_ENUMERATOR_EXISTS(type, name) __builtin_preserve_enum_value(*(enum type *)name, 0)
#define KERNEL_FIELD_EXISTS(type, field) __builtin_preserve_field_info(((type *)0)->field, 2)

/* Hides a value's origin from the compiler, so that a bound checked before is still attached to this register. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

/*
 * Whether a pointer that the verifier knows may be NULL in fact. From 6.2 to 6.12 at least, the verifier takes arguments of
 * trampolines and some fields behind them for valid pointers when they are not (the file of lsm/mmap_file, the inode of a
 * negative dentry): it removes a test against NULL as dead code and loads without a fault handler, so following the pointer
 * kills the kernel. A copy of the lower half is a plain number to it. Only NULL is meant; a pointer to an address that is
 * a multiple of 4 GiB is taken for it too, so the caller must go on by address, not give up.
 */
INLINE int may_be_null(const void *pointer)
{
	__u32 low;

	asm volatile("%0 = %1" : "=w"(low) : "w"((__u32)(__u64)pointer));
	return !low;
}

/* Reads one field through an address; 0 if it cannot be read (the helper clears its target). */
#define READ(pointer, field)                                                                       \
	({                                                                                         \
		__typeof__((pointer)->field) value_;                                               \
		bpf_probe_read_kernel((void *)&value_, sizeof value_, (const void *)&(pointer)->field); \
		value_;                                                                            \
	})

/* Like bpf_probe_read_user_str; an empty string has length 1 on every kernel. */
INLINE long read_user_string(void *to, __u32 size, const void *from)
{
	long len = bpf_probe_read_user_str(to, size, from);

	return len ? len : 1;
}

#endif
