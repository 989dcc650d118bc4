/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel's types, as far as the programs here use them. Every access is relocated against the BTF of the running
 * kernel (CO-RE), so only names and nesting matter, not offsets; no vmlinux.h of the build machine is needed. A type
 * whose form changed between kernels stands once more with a ___flavour suffix.
 */
#ifndef TETRA_KERNEL_H
#define TETRA_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;

#define CORE __attribute__((preserve_access_index))

struct hlist_bl_node { struct hlist_bl_node **pprev; } CORE;

struct qstr { union { struct { __u32 hash; __u32 len; }; __u64 hash_len; }; const unsigned char *name; } CORE;

struct inode {
	__u16 i_mode;
	struct { __u32 val; } i_uid;
	struct { __u32 val; } i_gid;
	__u64 i_ino;
	__u32 i_nlink;
} CORE;

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	unsigned char d_iname[32];
} CORE;
/* The name's place from 6.14 on. */
union shortname_store { unsigned char string[40]; } CORE;
struct dentry___shortname { union shortname_store d_shortname; } CORE;

struct vfsmount { struct dentry *mnt_root; } CORE;
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; } CORE;
struct path { struct vfsmount *mnt; struct dentry *dentry; } CORE;
struct fs_struct { struct path root; struct path pwd; } CORE;

struct file { struct path f_path; struct inode *f_inode; void *private_data; } CORE;
struct fdtable { __u32 max_fds; struct file **fd; } CORE;
struct files_struct { struct fdtable *fdt; } CORE;

struct mm_struct { unsigned long arg_start; unsigned long arg_end; struct file *exe_file; } CORE;

struct linux_binprm {
	struct file *file;
	__u32 per_clear;
	const char *filename;
} CORE;

struct ns_common { __u32 inum; } CORE;
struct uts_namespace { struct ns_common ns; } CORE;
struct ipc_namespace { struct ns_common ns; } CORE;
struct mnt_namespace { struct ns_common ns; } CORE;
struct pid_namespace { __u32 level; struct ns_common ns; } CORE;
struct net { struct ns_common ns; } CORE;
struct time_namespace { struct ns_common ns; } CORE;
struct cgroup_namespace { struct ns_common ns; } CORE;
struct user_namespace { struct ns_common ns; int level; struct { __u32 val; } owner, group; } CORE;

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct time_namespace *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
} CORE;

struct upid { int nr; struct pid_namespace *ns; } CORE;
struct pid { __u32 level; struct upid numbers[1]; } CORE;

struct kernel_cap { __u64 val; };
struct cred {
	struct { __u32 val; } uid;
	struct { __u32 val; } gid;
	struct { __u32 val; } suid;
	struct { __u32 val; } sgid;
	struct { __u32 val; } euid;
	struct { __u32 val; } egid;
	struct { __u32 val; } fsuid;
	struct { __u32 val; } fsgid;
	__u32 securebits;
	struct kernel_cap cap_inheritable;
	struct user_namespace *user_ns;
} CORE;

struct kernfs_node { const char *name; __u64 id; } CORE;
struct cgroup_subsys_state { struct cgroup *cgroup; struct cgroup_subsys_state *parent; } CORE;
struct cgroup { struct cgroup_subsys_state self; struct kernfs_node *kn; } CORE;
struct css_set { struct cgroup_subsys_state *subsys[1]; struct cgroup *dfl_cgrp; } CORE;

typedef struct { int counter; } atomic_t;
struct signal_struct { atomic_t live; int group_exit_code; __u32 flags; } CORE;
#define SIGNAL_GROUP_EXIT 4

struct task_struct {
	struct mm_struct *mm;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *cred;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct { __u32 val; } loginuid;
	struct css_set *cgroups;
} CORE;

struct in6_addr { __u8 in6_u[16]; };
struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	__u16 skc_family;
	volatile __u8 skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} CORE;
struct sock {
	struct sock_common __sk_common;
	__u32 sk_priority;
	__u32 sk_mark;
	__u16 sk_type;
	__u16 sk_protocol;
} CORE;
/* How a call describes the memory it reads from or writes to, in the forms that it has had. */
enum iter_type { ITER_UBUF, ITER_IOVEC, ITER_KVEC };
struct iov_iter {
	__u8 iter_type;             /* from 5.14 */
	unsigned long iov_offset;   /* into the first segment */
	unsigned long count;        /* bytes left */
	unsigned long nr_segs;
	void *ubuf;                 /* from 6.0 */
	const struct iovec *__iov;  /* from 6.4 */
} CORE;
struct iov_iter___named_iov { const struct iovec *iov; } CORE;
struct iov_iter___with_direction { unsigned int type; } CORE;
struct bpf_prog_aux { char name[16]; } CORE;
enum bpf_prog_type { BPF_PROG_TYPE_OF_KERNEL };
struct bpf_prog { enum bpf_prog_type type; __u32 len; struct bpf_prog_aux *aux; } CORE;
enum bpf_map_type { BPF_MAP_TYPE_OF_KERNEL };
struct bpf_map { enum bpf_map_type map_type; __u32 key_size, value_size, max_entries; char name[16]; } CORE;
struct perf_event_attr { __u32 type; } CORE;
struct perf_event { struct perf_event_attr attr; } CORE;
struct module { char name[56]; unsigned long taints; } CORE;
struct load_info { const char *name; struct module *mod; _Bool sig_ok; } CORE;
struct sk_buff {
	unsigned int len;
	__u32 priority;
	__u32 hash;
	__u32 mark;
	__u16 network_header;
	unsigned int tail; /* from head: on 64 bits positions are offsets */
	unsigned char *head;
} CORE;

#endif
