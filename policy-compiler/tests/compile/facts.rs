//! A kernel of a few types, and what it can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_compiler::btf::write::{BtfWriter, Linkage};
use policy_compiler::btf::{Btf, TypeId};
use policy_compiler::facts::{Arch, Features, KernelFacts, TracepointField, TracepointFormat};

/// Everything works.
pub(crate) fn modern() -> KernelFacts {
    let features = Features {
        kprobe: true,
        kprobe_multi: true,
        fentry: true,
        fmod_ret: true,
        fmod_ret_syscall: false,
        lsm: true,
        override_return: false,
        tracepoint: true,
        raw_tracepoint: true,
        tp_btf: true,
        bpf_loop: true,
        current_task_btf: true,
        sleepable_syscall: false,
        syscall_program: true,
        uprobe: true,
        uprobe_multi: true,
        preemptible_programs: false,
    };
    facts(features)
}

/// Tracepoints only.
pub(crate) fn without_probes() -> KernelFacts {
    facts(Features {
        kprobe: false,
        kprobe_multi: false,
        fentry: false,
        fmod_ret: false,
        lsm: false,
        ..modern().features
    })
}

pub(crate) fn with(change: impl FnOnce(&mut Features)) -> KernelFacts {
    let mut facts = modern();
    change(&mut facts.features);
    facts
}

fn facts(features: Features) -> KernelFacts {
    let field = |declaration: &str, name: &str, offset, size, signed| TracepointField {
        declaration: declaration.into(),
        name: name.into(),
        offset,
        size,
        signed,
    };
    let common = [
        field("unsigned short", "common_type", 0, 2, false),
        field("unsigned char", "common_flags", 2, 1, false),
        field("unsigned char", "common_preempt_count", 3, 1, false),
        field("int", "common_pid", 4, 4, true),
    ];
    let format = |rest: Vec<TracepointField>| TracepointFormat {
        fields: common.iter().cloned().chain(rest).collect(),
    };
    let mut tracepoints = BTreeMap::new();
    for name in ["openat", "linkat", "setuid", "exit_group"] {
        let enter = vec![
            field("int", "__syscall_nr", 8, 4, true),
            field("const char *", "filename", 16, 8, false),
        ];
        tracepoints.insert(("syscalls".into(), format!("sys_enter_{name}")), format(enter));
        let exit = vec![
            field("int", "__syscall_nr", 8, 4, true),
            field("long", "ret", 16, 8, true),
        ];
        tracepoints.insert(("syscalls".into(), format!("sys_exit_{name}")), format(exit));
    }
    let raw = vec![
        field("long", "id", 8, 8, true),
        field("unsigned long", "args[6]", 16, 48, false),
    ];
    tracepoints.insert(("raw_syscalls".into(), "sys_enter".into()), format(raw));
    KernelFacts {
        release: "test".into(),
        arch: Arch::X86_64,
        btf: Arc::new(Btf::parse(types()).expect("the writer's BTF is read back")),
        features,
        tracepoints,
        functions: BTreeSet::new(),
        host_namespaces: BTreeMap::from([("Mnt".into(), 11), ("User".into(), 12), ("Pid".into(), 13)]),
        binaries: BTreeMap::new(),
    }
}

/// Functions and structs that the tests' policies mention.
fn types() -> Vec<u8> {
    let mut w = BtfWriter::new();
    let int = w.int("int", 4, true);
    let u32_type = w.int("unsigned int", 4, false);
    let u64_type = w.int("unsigned long", 8, false);
    let char_type = w.int("char", 1, true);
    let void_ptr = w.ptr(TypeId::VOID);
    let string = w.ptr(char_type);
    let path = w.struct_type("path", 16, &[("mnt", void_ptr, 0), ("dentry", void_ptr, 8 * 8)]);
    let file = w.struct_type("file", 232, &[("f_inode", void_ptr, 0), ("f_path", path, 64 * 8)]);
    let file_ptr = w.ptr(file);
    let mnt = w.struct_type("vfsmount", 32, &[("mnt_root", void_ptr, 0)]);
    w.struct_type("mount", 320, &[("mnt_parent", void_ptr, 16 * 8), ("mnt", mnt, 32 * 8)]);
    let hash = w.struct_type(
        "hlist_bl_node",
        16,
        &[("next", void_ptr, 0), ("pprev", void_ptr, 8 * 8)],
    );
    let name = w.struct_type("qstr", 16, &[("hash_len", u64_type, 0), ("name", void_ptr, 8 * 8)]);
    let dentry = w.struct_type(
        "dentry",
        192,
        &[
            ("d_hash", hash, 8 * 8),
            ("d_parent", void_ptr, 24 * 8),
            ("d_name", name, 32 * 8),
            ("d_inode", void_ptr, 48 * 8),
            ("d_iname", u64_type, 56 * 8),
        ],
    );
    let dentry_ptr = w.ptr(dentry);
    let inode = w.struct_type("inode", 600, &[("i_mode", u32_type, 0)]);
    let inode_ptr = w.ptr(inode);
    let sock = w.struct_type("sock", 760, &[("sk_family", u32_type, 0)]);
    let sock_ptr = w.ptr(sock);
    let registers = [
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    ];
    let members: Vec<(&str, TypeId, u32)> = registers
        .iter()
        .enumerate()
        .map(|(i, name)| (*name, u64_type, i as u32 * 64))
        .collect();
    let pt_regs = w.struct_type("pt_regs", 168, &members);
    let pt_regs_ptr = w.ptr(pt_regs);
    let common = w.struct_type("ns_common", 24, &[("inum", u32_type, 16 * 8)]);
    let namespace = w.struct_type("mnt_namespace", 64, &[("ns", common, 0)]);
    let namespace_ptr = w.ptr(namespace);
    let user_namespace = w.struct_type("user_namespace", 64, &[("ns", common, 8 * 8)]);
    let user_namespace_ptr = w.ptr(user_namespace);
    let proxy = w.struct_type("nsproxy", 64, &[("mnt_ns", namespace_ptr, 24 * 8)]);
    let proxy_ptr = w.ptr(proxy);
    let cred = w.struct_type(
        "cred",
        176,
        &[
            ("cap_effective", u64_type, 56 * 8),
            ("user_ns", user_namespace_ptr, 136 * 8),
        ],
    );
    let cred_ptr = w.ptr(cred);
    let thread_info = w.struct_type(
        "thread_info",
        24,
        &[("flags", u64_type, 0), ("status", u32_type, 16 * 8)],
    );
    w.struct_type(
        "task_struct",
        9000,
        &[
            ("thread_info", thread_info, 0),
            ("nsproxy", proxy_ptr, 3000 * 8),
            ("cred", cred_ptr, 2900 * 8),
        ],
    );
    let strings = w.ptr(string);
    let path_ptr = w.ptr(path);
    let functions: &[(&str, &[(&str, TypeId)])] = &[
        ("security_file_open", &[("file", file_ptr)]),
        ("bpf_lsm_file_open", &[("file", file_ptr)]),
        ("security_file_permission", &[("file", file_ptr), ("mask", int)]),
        ("bpf_lsm_file_permission", &[("file", file_ptr), ("mask", int)]),
        (
            "security_inode_mkdir",
            &[("dir", inode_ptr), ("dentry", dentry_ptr), ("mode", u32_type)],
        ),
        ("tcp_connect", &[("sk", sock_ptr)]),
        ("bpf_rdonly_cast", &[("obj__ign", void_ptr), ("btf_id__k", u32_type)]),
        ("request_module", &[("name", string)]),
        ("opaque", &[("a", strings), ("b", int), ("c", string)]),
        (
            "seven",
            &[
                ("a", int),
                ("b", int),
                ("c", int),
                ("d", int),
                ("e", int),
                ("f", int),
                ("g", int),
            ],
        ),
        ("__x64_sys_openat", &[("regs", pt_regs_ptr)]),
        ("__x64_sys_linkat", &[("regs", pt_regs_ptr)]),
        ("__x64_sys_setuid", &[("regs", pt_regs_ptr)]),
        ("__x64_sys_exit_group", &[("regs", pt_regs_ptr)]),
        (
            "security_mmap_file",
            &[("file", file_ptr), ("prot", u64_type), ("flags", u64_type)],
        ),
        ("security_path_truncate", &[("path", path_ptr)]),
        ("tcp_close", &[("sk", sock_ptr), ("timeout", u64_type)]),
        (
            "tcp_sendmsg",
            &[("sk", sock_ptr), ("msg", void_ptr), ("size", u64_type)],
        ),
        (
            "bpf_lsm_inode_mkdir",
            &[("dir", inode_ptr), ("dentry", dentry_ptr), ("mode", u32_type)],
        ),
    ];
    let sys_enter = w.func_proto(
        TypeId::VOID,
        &[("__data", void_ptr), ("regs", pt_regs_ptr), ("id", u64_type)],
    );
    let sys_enter_ptr = w.ptr(sys_enter);
    w.typedef("btf_trace_sys_enter", sys_enter_ptr);
    for (name, params) in functions {
        let proto = w.func_proto(int, params);
        w.func(name, proto, Linkage::Static);
    }
    w.finish()
}
