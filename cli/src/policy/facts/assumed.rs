//! What the types of a kernel show of its abilities.
//!
//! Most abilities hang on functions that exist only if they were configured. What was chosen at
//! boot (whether BPF LSM is active) can't be seen; it is taken to be as distributions have it.

use std::collections::BTreeMap;

use policy_compiler::btf::{Btf, Kind};
use policy_compiler::facts::{Arch, Features, TracepointField, TracepointFormat};

use crate::syscall::prototype;

pub(super) fn arch(btf: &Btf) -> Arch {
    if btf.function("__arm64_sys_getpid").is_some() {
        Arch::Aarch64
    } else {
        Arch::X86_64
    }
}

pub(super) fn features(btf: &Btf) -> Features {
    let function = |name| btf.function(name).is_some();
    let record = |name| btf.struct_by_name(name).is_some();
    let value = |of, name| btf.enum_value(of, name).is_some();
    // not its functions: ftrace cannot trace itself, and only functions that can be traced are described
    let fentry = record("dyn_ftrace") && value("bpf_attach_type", "BPF_TRACE_FENTRY");
    Features {
        kprobe: function("register_kprobe"),
        kprobe_multi: record("bpf_kprobe_multi_link"),
        uprobe: function("uprobe_register") || record("uprobe"),
        uprobe_multi: record("bpf_uprobe_multi_link"),
        fentry,
        fmod_ret: fentry && value("bpf_attach_type", "BPF_MODIFY_RETURN"),
        lsm: fentry && function("bpf_lsm_file_open"),
        // kernels differ in these without differing in their types; distributions leave them out
        fmod_ret_syscall: false,
        override_return: false,
        sleepable_syscall: false,
        tracepoint: true,
        raw_tracepoint: true,
        tp_btf: value("bpf_attach_type", "BPF_TRACE_RAW_TP"),
        bpf_loop: value("bpf_func_id", "BPF_FUNC_loop"),
        current_task_btf: value("bpf_func_id", "BPF_FUNC_get_current_task_btf"),
        syscall_program: value("bpf_prog_type", "BPF_PROG_TYPE_SYSCALL"),
        // chosen at boot, and left off by distributions up to 6.x
        preemptible_programs: false,
    }
}

/// The initial namespaces whose inode numbers are fixed; those of others are given at boot.
pub(super) fn host_namespaces() -> BTreeMap<String, u32> {
    let fixed = [
        ("Ipc", 0xefff_ffff),
        ("Uts", 0xefff_fffe),
        ("User", 0xefff_fffd),
        ("Pid", 0xefff_fffc),
        ("PidForChildren", 0xefff_fffc),
        ("Cgroup", 0xefff_fffb),
        ("Time", 0xefff_fffa),
        ("TimeForChildren", 0xefff_fffa),
    ];
    fixed.map(|(name, inode)| (name.to_owned(), inode)).into()
}

/// The format of a tracepoint, if types tell it: of system calls from their prototypes, of others
/// from the struct that the kernel declares for them unless they share one.
pub(super) fn tracepoint_format(btf: &Btf, subsystem: &str, event: &str) -> Option<TracepointFormat> {
    let mut fields = Vec::new();
    let mut field = |declaration: &str, name: &str, offset, size, signed| {
        fields.push(TracepointField {
            declaration: declaration.into(),
            name: name.into(),
            offset,
            size,
            signed,
        });
    };
    field("unsigned short", "common_type", 0, 2, false);
    field("unsigned char", "common_flags", 2, 1, false);
    field("unsigned char", "common_preempt_count", 3, 1, false);
    field("int", "common_pid", 4, 4, true);
    if subsystem == "syscalls" {
        field("int", "__syscall_nr", 8, 4, true);
        if let Some(call) = event.strip_prefix("sys_enter_") {
            for (index, parameter) in prototype(call)?.iter().enumerate() {
                field(parameter.kind, parameter.name, 16 + 8 * index as u32, 8, false);
            }
        } else {
            prototype(event.strip_prefix("sys_exit_")?)?;
            field("long", "ret", 16, 8, true);
        }
        return Some(TracepointFormat { fields });
    }
    let record = btf.struct_by_name(&format!("trace_event_raw_{event}"))?;
    for member in btf
        .members(record)
        .filter(|member| !matches!(member.name, "ent" | "__data"))
    {
        let size = btf.size(member.type_id)?;
        let offset = member.byte_offset();
        if let Some(name) = member.name.strip_prefix("__data_loc_") {
            field("__data_loc char[]", name, offset, size, false);
        } else {
            let signed = matches!(btf.kind(btf.resolve(member.type_id)), Kind::Int { signed: true, .. });
            field(&btf.c_declaration(member.type_id), member.name, offset, size, signed);
        }
    }
    Some(TracepointFormat { fields })
}
