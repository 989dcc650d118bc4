/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Kernel memory for test runs: an area whose contents the test chooses, with the address at which programs find it, and the
 * addresses of kernel objects behind the test's file descriptors.
 */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

#define AREA 32768
#define PIECE 8192

struct area { unsigned char bytes[AREA]; };

struct {
	int (*type)[2]; /* BPF_MAP_TYPE_ARRAY */
	int (*max_entries)[1];
	u32 *key;
	struct area *value;
} area SEC(".maps");

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_probe_read_user)(void *dst, u32 size, const void *src) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct file;
struct fdtable { u32 max_fds; struct file **fd; };
struct files_struct { struct fdtable *fdt; };
struct task_struct { struct files_struct *files; };
#pragma clang attribute pop

#define FIELD(pointer, member) \
	({ typeof((pointer)->member) value = 0; bpf_probe_read_kernel(&value, sizeof value, &(pointer)->member); value; })

enum { ADDRESS_OF_AREA, WRITE_AREA, FILE_OF_DESCRIPTOR, READ_WORD };

struct request {
	u64 operation;
	u64 argument; /* user address, file descriptor, or kernel address */
	u64 offset;   /* in the area */
	u64 len;      /* below PIECE */
	u64 result;
};

SEC("syscall") int memory(struct request *request)
{
	u32 zero = 0;
	u64 word; /* helpers do not write to the context */
	struct area *bytes = bpf_map_lookup_elem(&area, &zero);

	if (!bytes)
		return 1;
	if (request->operation == ADDRESS_OF_AREA) {
		request->result = (u64)bytes;
	} else if (request->operation == WRITE_AREA) {
		u64 offset = request->offset;
		u64 len = request->len;

		if (offset > AREA - PIECE || len >= PIECE)
			return 1;
		return bpf_probe_read_user(bytes->bytes + offset, len, (void *)request->argument) != 0;
	} else if (request->operation == FILE_OF_DESCRIPTOR) {
		struct task_struct *task = (void *)bpf_get_current_task();
		struct files_struct *files = FIELD(task, files);
		struct fdtable *table = FIELD(files, fdt);
		struct file **all = FIELD(table, fd);

		if (request->argument >= FIELD(table, max_fds))
			return 1;
		if (bpf_probe_read_kernel(&word, sizeof word, all + request->argument))
			return 1;
		request->result = word;
	} else {
		if (bpf_probe_read_kernel(&word, sizeof word, (void *)request->argument))
			return 1;
		request->result = word;
	}
	return 0;
}
