/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Layouts shared by the base process sensor, the runtime library, generated programs and user space.
 *
 * This is the one place where they stand (invariant 10): `ebpf/src/record.rs` mirrors them with zerocopy and a test
 * compares the two through the BTF of the built objects. All integers are little-endian and naturally aligned; every
 * struct has a size that is a multiple of 8 and no implicit padding.
 */
#ifndef TETRA_RECORD_H
#define TETRA_RECORD_H

/* ---- process record: one per thread group, in map `tetra_processes` (key: tgid, as u64) ---- */

#define PROCESS_EXECED       (1u << 0) /* has executed an image since it was seen (else it is a fork of its parent) */
#define PROCESS_CLONED       (1u << 1) /* its life began with a fork that the sensor saw */
#define PROCESS_FROM_PROCFS  (1u << 2) /* written by the agent's /proc scan */
#define PROCESS_IN_INIT_TREE (1u << 3) /* descends from pid 1 of its own, non-initial pid namespace */

#define POLICY_WORDS 8 /* stage-1 words; each is stamp << 32 | 32 policy bits, so one aligned store is atomic */

struct process {
	__u64 start_ktime;        /* CLOCK_MONOTONIC ns of the exec (or fork, if none): with tgid the exec id */
	__u64 parent_start_ktime;
	__u32 parent_tgid;
	__u32 nspid;              /* pid in its own pid namespace; 0 in the initial one */
	__u32 flags;              /* PROCESS_* */
	__u32 pad;
	__u64 policy_words[POLICY_WORDS];
	__u64 cgroup_id;
	__u32 ns[10];             /* inode numbers at exec: uts ipc mnt pid pid_for_children net time time_for_children cgroup user */
	__u64 capabilities[3];    /* at exec: effective inheritable permitted; like ns what filters on changes compare with */
}; /* 168 bytes */

/* ---- records: what leaves through the ring buffers ---- */

enum record_kind {
	RECORD_EXEC = 1,
	RECORD_CLONE = 2,
	RECORD_EXIT = 3,
	RECORD_DATA = 4,   /* a chunk of the arguments of an exec that is too long for one record; comes before its exec */
	RECORD_POLICY = 5,
	RECORD_BUFFER = 6, /* a piece of a buffer that is too long for its record; comes before it */
};

#define RECORD_FLAG_RETURN    (1u << 0) /* policy: second half of an entry/return pair */
#define RECORD_FLAG_AWAIT_RETURN (1u << 1) /* policy: first half, the return half with the same call_id follows */
#define RECORD_FLAG_CANCEL    (1u << 2) /* policy: return half that the return selectors rejected: drop the first half */
#define RECORD_FLAG_UNDECIDED (1u << 3) /* policy: a user-memory argument could not be read, the selector is undecided */
#define RECORD_FLAG_UNKNOWN_PROCESS (1u << 4) /* no process record at the time; start_ktime is 0 */
#define RECORD_FLAG_KERNEL_STACK (1u << 5) /* policy: the kernel's stack follows the arguments */
#define RECORD_FLAG_USER_STACK (1u << 6) /* policy: the process's stack follows them */

struct record_header {
	__u32 size;        /* whole record, header included, multiple of 8 */
	__u16 kind;        /* enum record_kind */
	__u16 flags;       /* RECORD_FLAG_* */
	__u64 ktime;       /* CLOCK_MONOTONIC ns */
	__u32 tgid;
	__u32 tid;
	__u64 start_ktime; /* struct process.start_ktime of tgid */
}; /* 32 bytes */

#define EXEC_SETUID          (1u << 0)  /* secureexec: the set-user-id bit raised credentials */
#define EXEC_SETGID          (1u << 1)
#define EXEC_FILE_CAPS       (1u << 2)
#define EXEC_FILELESS        (1u << 3)  /* the image has no link (memfd, deleted binary): nlink == 0 */
#define EXEC_DELETED         (1u << 4)  /* the dentry of the image is unhashed */
#define EXEC_ROOT_CWD        (1u << 5)
#define EXEC_NO_CWD          (1u << 6)
#define EXEC_ERROR_CWD       (1u << 7)
#define EXEC_ERROR_FILENAME  (1u << 8)
#define EXEC_ERROR_ARGS      (1u << 9)
#define EXEC_TRUNCATED_ARGS  (1u << 10) /* more than the sensor can send; what is there is a prefix */
#define EXEC_DATA_ARGS       (1u << 11) /* the arguments came before, in RECORD_DATA chunks with the same tgid and ktime */
#define EXEC_MISSED_PARENT   (1u << 12) /* no process record of the parent */
#define EXEC_CWD_UNRESOLVED  (1u << 13) /* cwd is a suffix: the path has more components than the walk allows */
#define EXEC_ERROR_CGROUP    (1u << 14)
#define EXEC_TRUNCATED_FILENAME (1u << 15)

struct record_creds {
	__u32 uid, gid, euid, egid, suid, sgid, fsuid, fsgid;
	__u32 securebits;
	__u32 auid;               /* loginuid; 0xffffffff unset */
	__u64 cap_permitted, cap_effective, cap_inheritable;
}; /* 64 bytes */

struct record_exec {
	struct record_header header;
	__u64 old_start_ktime;    /* the image this one replaced in the same process; 0 if none was known */
	__u64 parent_start_ktime;
	__u32 parent_tgid;
	__u32 nspid;
	__u32 process_flags;      /* PROCESS_* */
	__u32 exec_flags;         /* EXEC_* */
	__u64 cgroup_id;
	__u64 inode;
	__u32 nlink;
	__u32 ns[10];
	__u32 filename_len;       /* as passed to execve, no NUL */
	__u32 args_len;           /* argv[1..], NUL-terminated strings, in this record; 0 with EXEC_DATA_ARGS */
	__u32 args_total;         /* of the whole, chunks included */
	__u32 cwd_len;
	__u32 cgroup_name_len;
	struct record_creds creds;
	/* then filename, args, cwd, cgroup name: bytes, one after the other without padding between */
}; /* 216 bytes */

struct record_clone {
	struct record_header header;
	__u64 parent_start_ktime;
	__u32 parent_tgid;
	__u32 nspid;
	__u32 process_flags;
	__u32 pad;
}; /* 56 bytes */

struct record_exit {
	struct record_header header;
	__u32 exit_code;          /* task_struct.exit_code: status << 8 | core << 7 | signal */
	__u32 pad;
}; /* 40 bytes */

struct record_data {
	struct record_header header; /* ktime: that of the exec record it belongs to */
	__u32 offset;             /* of these bytes in the whole argument block */
	__u32 len;
	/* then len bytes */
}; /* 40 bytes */

#define BUFFER_PIECES 80       /* most pieces of a buffer, TEXT_MAX bytes each but the last: 320 KiB */

struct record_buffer {
	struct record_header header; /* ktime: that of the policy record it belongs to, of the same thread */
	__u32 place;              /* as in its struct argument_buffer */
	__u32 offset;             /* of these bytes in the buffer */
	__u32 len;
	__u32 pad;
	/* then len bytes */
}; /* 48 bytes */

struct record_policy {
	struct record_header header;
	__u64 call_id;            /* ties the halves of an entry/return pair of one thread; 0 if this is the whole event */
	__u64 cgroup_id;
	__u32 object_tag;         /* which compiled object wrote it: HookObject.tag */
	__u16 template_index;     /* which of its event templates */
	__u16 action;             /* last action executed, tetragon.KprobeAction number */
	__u32 argument_count;     /* how many arguments follow */
	__u32 owner_tid;          /* thread that a socket belongs to, whose process the header names; 0: header.tid is whom it is about */
	/* then the arguments of the template, in order */
}; /* 64 bytes */

/* status of an argument */
#define ARG_OK            0
#define ARG_FAULT         1  /* bad address: the memory could not be read */
#define ARG_TRUNCATED     2  /* the payload is a prefix of the value */
#define ARG_USER_FAULT    3  /* of functions only: the memory is a process's; records say ARG_FAULT */
#define ARG_RESOLVE_FAULT 16 /* + depth at which a resolve path met a bad address (later) */

struct record_argument {
	__u32 status;             /* ARG_* */
	__u32 len;                /* payload bytes that follow; the next argument starts at the next multiple of 8 */
}; /* 8 bytes */

/*
 * payloads by type:
 *   integers                              8 bytes, sign- or zero-extended
 *   string                                the bytes
 *   char_buf, char_iovec, iov_iter        struct argument_buffer, then the bytes
 *   file, path, dentry, fd, linux_binprm  struct argument_path, then the path's bytes
 *   sock                                  struct argument_sock
 *   sockaddr                              struct argument_sockaddr
 *   syscall64                             8 bytes; bit 31 set: 32-bit ABI
 */
#define PATH_UNRESOLVED (1u << 0) /* more components than the walk allows: the path is a suffix */
#define PATH_DELETED    (1u << 1) /* the dentry is unhashed; " (deleted)" is part of the text */

struct argument_path {
	__u32 flags;              /* PATH_* */
	__u16 mode;               /* inode mode; 0 if there is no inode */
	__u16 pad;
}; /* 8 bytes */

struct argument_buffer {
	__u32 size;               /* bytes that the call names, of which at most TEXT_MAX follow */
	__u32 place;              /* ties records of kind RECORD_BUFFER to the argument, together with thread and time */
}; /* 8 bytes */

struct argument_sock {
	__u64 cookie;             /* kernel address of the sock */
	__u32 mark, priority;
	__u16 family, type, protocol, state;
	__u16 sport, dport;       /* host byte order */
	__u32 pad;
	__u8 saddr[16], daddr[16]; /* network byte order; IPv4 in the first four bytes */
}; /* 64 bytes */

struct argument_sockaddr {
	__u16 family, port;       /* port in host byte order */
	__u32 pad;
	__u8 addr[16];
}; /* 24 bytes */

struct argument_user_namespace {
	__s32 level;              /* 0: the initial one */
	__u32 uid, gid;           /* of its owner */
	__u32 inum;
}; /* 16 bytes */

struct argument_cred {
	__u32 uid, gid, euid, egid, suid, sgid, fsuid, fsgid;
	__u32 securebits, pad;
	__u64 cap_permitted, cap_effective, cap_inheritable;
	struct argument_user_namespace user_ns;
}; /* 80 bytes */

struct argument_bpf_prog {
	__u32 type, insn_cnt;
	char name[16];
}; /* 24 bytes */

struct argument_bpf_map {
	__u32 type, key_size, value_size, max_entries;
	char name[16];
}; /* 32 bytes */

struct argument_perf_event {
	__u64 config, probe_offset;
	__u32 type, pad;
	char func[128];
}; /* 152 bytes */

#define MODULE_SIGNATURE_UNKNOWN 0
#define MODULE_SIGNATURE_BAD 1
#define MODULE_SIGNATURE_GOOD 2
struct argument_module {
	__u64 taints;
	__u32 signature, pad;     /* MODULE_SIGNATURE_* */
	char name[64];
}; /* 80 bytes */

/* ---- scratch memory of a running program ---- */

#define TEXT_MAX 4096          /* longest string or path, in bytes */
#define TEXT_SLACK 272         /* so that a name of 255 bytes may be written at any offset below TEXT_MAX */
struct text {                  /* a string value, left-aligned, in map `tetra_texts` */
	__u32 len;                 /* 0..TEXT_MAX */
	__u32 flags;               /* PATH_* of a path; of a buffer the bytes that the call names */
	__u16 mode;                /* inode mode of a path */
	__u16 status;              /* ARG_* */
	__u32 slot;                /* its key in `tetra_texts` */
	__u8 bytes[TEXT_MAX + TEXT_SLACK]; /* what lies past len is undefined */
}; /* 4384 bytes */

#define SCRATCH_LEVELS 3       /* how deep programs may interrupt each other on one CPU */
#define SCRATCH_TEXTS 8        /* texts a program may hold at once */
#define FRAME_WORDS 512        /* 8-byte words of a generated program */
#define RECORD_MAX 24576       /* largest record */
#define STACK_MAX 1016         /* bytes of a stack trace: sysctl kernel.perf_event_max_stack, 127, addresses of 8 bytes, innermost first */
#define RECORD_SLACK 2224      /* so that half a text may be written at any offset below RECORD_MAX */

struct scratch {               /* map `tetra_scratch`, per CPU, one element per level */
	__u64 frame[FRAME_WORDS];
	__u32 level;
	__u32 cursor;              /* bytes of `record` written so far */
	struct argument_sock sock[2];
	struct argument_sockaddr sockaddr[2];
	__u8 record[RECORD_MAX];
	__u8 slack[RECORD_SLACK];
	__u64 busy;                /* 1 while a program holds the element */
}; /* 31088 bytes: a per-CPU element may not exceed 32768 */

/* ---- keys of the maps behind calls under way and rate limits ---- */

struct pending_key {           /* map `tetra_pending` */
	__u64 pid_tgid;
	__u32 hook_key;
	__u32 pad;
}; /* 16 bytes */

struct sock_owner_key {        /* map `tetra_sock_owners` */
	__u64 sock;
	__u32 policy_slot;
	__u32 pad;
}; /* 16 bytes */

struct sock_owner {
	__u32 tgid, tid;
	__u64 start_ktime;         /* 0: the process had no record */
}; /* 16 bytes */

struct ratelimit_key {         /* map `tetra_ratelimit` */
	__u64 hash[2];             /* of the arguments, keyed with `tetra_seed` */
	__u64 scope_id;            /* thread id, process id or 0 */
	__u32 object_tag;
	__u32 template_index;
}; /* 32 bytes */

/* ---- stage 2: which policies apply to the workload of a process ---- */

/*
 * tetra_workloads        cgroup id → number of its workload: what the agent has assigned, written by user space only
 * tetra_cgroup_cache     the same for every cgroup that was looked up, with its ancestors taken into account, see below
 * tetra_workload_sets    workload → number of its set
 * tetra_policy_sets      set → struct policy_set, as long as there are policy slots
 *
 * Of a set that is in use only two things are written: a slot is taken out that no program tests any more, and hooks are
 * added before their programs are in force, or taken out when they are not. What applies to a workload changes by one store
 * to tetra_workload_sets, so a program sees all of a change or nothing of it.
 *
 * An element of the cache is one word: low half of the cgroup id << 32 | epoch << 16 | workload. It counts if its epoch is that
 * of tetra_cgroup_view; whoever changes tetra_workloads moves on to the next epoch afterwards. Epoch 0: nothing is cached.
 */
#define WORKLOAD_NONE 0        /* the workload of cgroups to which nothing is assigned; its set is empty */
#define WORKLOAD_ALL 1         /* that of cgroups nested deeper than CGROUP_LEVELS; its set is full: depth must not hide a process */
#define WORKLOADS_RESERVED 2
#define CGROUP_CACHE 8192      /* elements of tetra_cgroup_cache, a power of two */
#define CGROUP_LEVELS 64       /* ancestors that are looked at */
#define HOOK_FILTER_BITS 256   /* hooks share these by a hash */

struct policy_set {            /* an element of map `tetra_policy_sets`, up to its first slots */
	__u32 hooks[HOOK_FILTER_BITS / 32]; /* hooks that may have a policy of the set, by their hash: the others need not look */
	__u32 slots[32];           /* one bit for each policy slot */
}; /* 160 bytes */

struct cgroup_view {           /* map `tetra_cgroup_view`, one element */
	__u32 epoch;               /* 16 bits */
	__u32 controller;          /* 0: the unified hierarchy; else 1 + index of the version 1 controller whose hierarchy counts */
}; /* 8 bytes */

/* ---- configuration and counters ---- */

struct config {                /* map `tetra_config`, one element, written by the agent before attach */
	__u32 ring_shards;         /* shards of `tetra_rings`; element ring_shards is the enforcement lane */
	__u32 cpus_per_shard;
	__u32 wakeup_bytes;        /* unread bytes in a ring above which the reader is woken at once */
	__u32 agent_tgid;
	__u32 host_pid_ns;         /* inode number of the initial pid namespace */
	__u32 pad;
}; /* 24 bytes */

enum sensor_counter {          /* map `tetra_sensor_counters`, per CPU u64 each */
	SENSOR_EXEC_SENT, SENSOR_EXEC_LOST,
	SENSOR_CLONE_SENT, SENSOR_CLONE_LOST,
	SENSOR_EXIT_SENT, SENSOR_EXIT_LOST,
	SENSOR_DATA_SENT, SENSOR_DATA_LOST,
	SENSOR_PROCESS_TABLE_FULL, /* no room for a process, or no memory: it stays unknown until it executes */
	SENSOR_SCRATCH_EXHAUSTED,
	SENSOR_COUNTERS = 16,
};

enum policy_counter {          /* map `tetra_policy_counters`, per CPU, key: u32 policy slot, value: u64[POLICY_COUNTERS] */
	POLICY_POST_SENT,          /* records handed to a ring */
	POLICY_POST_LOST,          /* ring full, or larger than RECORD_MAX */
	POLICY_NOPOST,
	POLICY_RATE_LIMITED,
	POLICY_UNDECIDED,
	POLICY_SIGNAL, POLICY_MONITOR_SIGNAL,
	POLICY_OVERRIDE, POLICY_MONITOR_OVERRIDE,
	POLICY_SCRATCH_EXHAUSTED,  /* nested deeper than SCRATCH_LEVELS: evaluated nothing */
	POLICY_RETURN_REJECTED,    /* return selectors rejected an entry half */
	POLICY_PENDING_FULL,       /* the map of calls under way was full */
	POLICY_NOTIFY_ENFORCER,    /* notifications left for an enforcer */
	POLICY_MONITOR_NOTIFY_ENFORCER,
	POLICY_COUNTERS = 16,
};

#define POLICY_MODE_ENFORCE 0
#define POLICY_MODE_MONITOR 1  /* map `tetra_policy_modes`: array of u32 by policy slot */

#endif
