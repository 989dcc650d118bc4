/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every kind of relocation that objects may have; each program returns what it was told. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define PROGRAM(name) SEC("raw_tp/" #name) int name(void *ctx)

/* The kernel's types in another order and with members that it does not have. */
struct task_struct {
	int no_such_member;
	char comm[16];
	int tgid;
	unsigned int in_execve : 1;
} CORE;
struct task_struct___flavour { int pid; } CORE;
struct no_such_struct { int a; } CORE;
struct path { void *mnt; void *dentry; } CORE;
struct file { struct path f_path; } CORE;
enum pid_type { PIDTYPE_PID = 70, PIDTYPE_TGID = 71, PIDTYPE_NO_SUCH = 72 };

enum { BYTE_OFFSET, BYTE_SIZE, EXISTS, SIGNED, LSHIFT, RSHIFT };
#define FIELD(type, field, kind) __builtin_preserve_field_info(((type *)0)->field, kind)

PROGRAM(offset_of_tgid) { return FIELD(struct task_struct, tgid, BYTE_OFFSET); }
PROGRAM(offset_of_flavour) { return FIELD(struct task_struct___flavour, pid, BYTE_OFFSET); }
PROGRAM(offset_of_nested) { return FIELD(struct file, f_path.dentry, BYTE_OFFSET); }
PROGRAM(offset_of_element) { return FIELD(struct task_struct, comm[5], BYTE_OFFSET); }
PROGRAM(size_of_comm) { return FIELD(struct task_struct, comm, BYTE_SIZE); }
PROGRAM(tgid_exists) { return FIELD(struct task_struct, tgid, EXISTS); }
PROGRAM(no_such_exists) { return FIELD(struct task_struct, no_such_member, EXISTS); }
PROGRAM(tgid_is_signed) { return FIELD(struct task_struct, tgid, SIGNED); }
PROGRAM(bit_field_lshift) { return FIELD(struct task_struct, in_execve, LSHIFT); }
PROGRAM(bit_field_rshift) { return FIELD(struct task_struct, in_execve, RSHIFT); }
PROGRAM(type_exists) { return __builtin_preserve_type_info(*(struct task_struct *)0, 0); }
PROGRAM(no_such_type_exists) { return __builtin_preserve_type_info(*(struct no_such_struct *)0, 0); }
PROGRAM(type_size) { return __builtin_preserve_type_info(*(struct path *)0, 1); }
PROGRAM(type_id) { return __builtin_btf_type_id(*(struct task_struct *)0, 1); }
PROGRAM(enum_value) { return __builtin_preserve_enum_value(*(enum pid_type *)PIDTYPE_TGID, 1); }
PROGRAM(enum_value_exists) { return __builtin_preserve_enum_value(*(enum pid_type *)PIDTYPE_TGID, 0); }
PROGRAM(no_such_enum_value_exists) { return __builtin_preserve_enum_value(*(enum pid_type *)PIDTYPE_NO_SUCH, 0); }

/* The branch that uses what does not exist is dead, so the kernel must take the program. */
PROGRAM(dead_branch)
{
	struct task_struct *task = (struct task_struct *)ctx;
	if (FIELD(struct task_struct, no_such_member, EXISTS))
		return FIELD(struct task_struct, no_such_member, BYTE_OFFSET);
	return 7;
}

/* Constants, variables, and functions: direct calls, calls by way of the section, and an address. */
static const volatile u32 constant = 41;
static volatile u32 variable = 1;
u32 zeroed;

__attribute__((noinline, visibility("hidden"))) u32 sum_of_sections(u32 more) { return constant + variable + zeroed + more; }
static __attribute__((noinline)) u32 twice(u32 value) { return 2 * sum_of_sections(value); }

PROGRAM(sections) { return sum_of_sections(0); }
PROGRAM(calls) { return twice(1); }

static long (*bpf_loop)(u32 count, void *callback, void *context, u64 flags) = (void *)181;
static long round(u32 index, u32 *sum) { *sum += index; return 0; }

PROGRAM(callback)
{
	u32 sum = 0;
	bpf_loop(5, round, &sum, 0);
	return sum;
}
