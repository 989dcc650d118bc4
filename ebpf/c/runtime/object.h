/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Objects of the kernel that events show and no filter asks about: read when an event is built, straight into the record. */

/*
 * Global functions take no pointers that the verifier knows: the address goes through memory, where nothing else is while an
 * argument is put.
 */
#define OBJECT_ADDRESS(s) ((__u64 *)((s)->slack + RECORD_SLACK - sizeof(__u64)))

/* Appends an object at `address`, if something is there: `to` is where it goes. */
#define PUT_OBJECT(name, type)                                                                     \
	INLINE void fill_##name(struct type *to, const void *address);                             \
	GLOBAL int put_##name(__u32 level)                                                         \
	{                                                                                          \
		struct scratch *s = scratch_of(level);                                             \
		__u64 probe;                                                                       \
                                                                                                   \
		if (!s)                                                                            \
			return -1;                                                                 \
		__u64 address = *OBJECT_ADDRESS(s);                                                \
		__u32 status = bpf_probe_read_kernel(&probe, sizeof probe, (void *)address) ? ARG_FAULT : ARG_OK; \
		__u32 at = put_argument(s, status, status == ARG_OK ? sizeof(struct type) : 0);    \
		OPAQUE(at);                                                                        \
		if (!at || at > RECORD_MAX)                                                        \
			return -1;                                                                 \
		if (status == ARG_OK)                                                              \
			fill_##name((void *)s->record + at, (void *)address);                      \
		return 0;                                                                          \
	}                                                                                          \
	LIBRARY int tetra_put_##name(struct scratch *s, const void *object)                        \
	{                                                                                          \
		*OBJECT_ADDRESS(s) = (__u64)object;                                                \
		return put_##name(s->level);                                                       \
	}                                                                                          \
	INLINE void fill_##name(struct type *to, const void *address)

INLINE void fill_owner(struct argument_user_namespace *to, const struct user_namespace *ns)
{
	to->level = READ(ns, level);
	to->uid = READ(ns, owner.val);
	to->gid = READ(ns, group.val);
	to->inum = READ(ns, ns.inum);
}

PUT_OBJECT(user_namespace, argument_user_namespace)
{
	fill_owner(to, address);
}

PUT_OBJECT(cred, argument_cred)
{
	const struct cred *cred = address;
	struct { __u64 inheritable, permitted, effective; } caps = {};

	to->uid = READ(cred, uid.val);
	to->gid = READ(cred, gid.val);
	to->euid = READ(cred, euid.val);
	to->egid = READ(cred, egid.val);
	to->suid = READ(cred, suid.val);
	to->sgid = READ(cred, sgid.val);
	to->fsuid = READ(cred, fsuid.val);
	to->fsgid = READ(cred, fsgid.val);
	to->securebits = READ(cred, securebits);
	to->pad = 0;
	/* they stand side by side; their type differs between kernels, their eight bytes do not */
	bpf_probe_read_kernel(&caps, sizeof caps, &cred->cap_inheritable);
	to->cap_permitted = caps.permitted;
	to->cap_effective = caps.effective;
	to->cap_inheritable = caps.inheritable;
	fill_owner(&to->user_ns, READ(cred, user_ns));
}

/* The part of `union bpf_attr` that loads programs (include/uapi/linux/bpf.h). */
struct load_attr {
	__u32 type, insn_cnt;
	__u64 insns, license;
	__u32 log_level, log_size;
	__u64 log_buf;
	__u32 kern_version, prog_flags;
	char name[16];
};

PUT_OBJECT(bpf_attr, argument_bpf_prog)
{
	const struct load_attr *attr = address;

	to->type = READ(attr, type);
	to->insn_cnt = READ(attr, insn_cnt);
	bpf_probe_read_kernel(to->name, sizeof to->name, attr->name);
}

PUT_OBJECT(bpf_prog, argument_bpf_prog)
{
	const struct bpf_prog *prog = address;
	const struct bpf_prog_aux *aux = READ(prog, aux);

	to->type = READ(prog, type);
	to->insn_cnt = READ(prog, len);
	bpf_probe_read_kernel(to->name, sizeof to->name, &aux->name);
}

PUT_OBJECT(bpf_map, argument_bpf_map)
{
	const struct bpf_map *map = address;

	to->type = READ(map, map_type);
	to->key_size = READ(map, key_size);
	to->value_size = READ(map, value_size);
	to->max_entries = READ(map, max_entries);
	bpf_probe_read_kernel(to->name, sizeof to->name, &map->name);
}

/* Of include/uapi/linux/perf_event.h. */
struct perf_attr {
	__u32 type, size;
	__u64 config, period, sample_type, read_format, flags;
	__u32 wakeup, bp_type;
	__u64 kprobe_func, probe_offset;
};

PUT_OBJECT(perf_event, argument_perf_event)
{
	const struct perf_event *event = address;
	const struct perf_attr *attr = (const void *)&event->attr;

	to->config = READ(attr, config);
	to->probe_offset = READ(attr, probe_offset);
	to->type = READ(attr, type);
	to->pad = 0;
	__builtin_memset(to->func, 0, sizeof to->func);
	/* what the caller of perf_event_open(2) passed, in its memory; only probes have a name there */
	bpf_probe_read_user_str(to->func, sizeof to->func, (void *)READ(attr, kprobe_func));
}

PUT_OBJECT(module, argument_module)
{
	const struct module *module = address;

	to->taints = READ(module, taints);
	to->signature = MODULE_SIGNATURE_UNKNOWN;
	to->pad = 0;
	__builtin_memset(to->name, 0, sizeof to->name);
	bpf_probe_read_kernel_str(to->name, sizeof to->name, &module->name);
}

PUT_OBJECT(load_info, argument_module)
{
	const struct load_info *info = address;
	const struct module *module = READ(info, mod);

	to->taints = READ(module, taints);
	to->signature = MODULE_SIGNATURE_UNKNOWN;
	if (KERNEL_FIELD_EXISTS(struct load_info, sig_ok))
		to->signature = READ(info, sig_ok) ? MODULE_SIGNATURE_GOOD : MODULE_SIGNATURE_BAD;
	to->pad = 0;
	__builtin_memset(to->name, 0, sizeof to->name);
	bpf_probe_read_kernel_str(to->name, sizeof to->name, READ(info, name));
}
