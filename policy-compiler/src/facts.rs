//! What the compiler knows of the kernel it compiles for. Plain data: the compiler never looks at the machine it runs on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::binary::Binary;
use crate::btf::Btf;

/// Everything about one kernel that a compilation may depend on.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    /// `uname -r`, for messages only: no decision depends on it.
    pub release: String,
    /// Instruction set, as `uname -m` says it.
    pub arch: Arch,
    /// Types of `vmlinux`.
    pub btf: Arc<Btf>,
    /// What was found to work, by doing it.
    pub features: Features,
    /// Formats of the tracepoints that policies mention, by (subsystem, event). An entry that is missing means it does not exist.
    pub tracepoints: BTreeMap<(String, String), TracepointFormat>,
    /// Functions that can be probed (`available_filter_functions` or kallsyms); empty: unknown, assume all.
    pub functions: BTreeSet<String>,
    /// Inode numbers of the namespaces of pid 1, by the policy's names (`Uts`, `Mnt`, `PidForChildren`, …).
    pub host_namespaces: BTreeMap<String, u32>,
    /// User binaries that policies hook, by path; the reason for those that cannot be read.
    pub binaries: BTreeMap<String, Result<Arc<Binary>, String>>,
}

/// Instruction set of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// Abilities of a kernel, each found by a probe that does the thing (spec/kernels.md), never by its version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// kprobes can be attached.
    pub kprobe: bool,
    /// `BPF_TRACE_KPROBE_MULTI` links can be created.
    pub kprobe_multi: bool,
    /// fentry and fexit programs load and attach.
    pub fentry: bool,
    /// `fmod_ret` on `security_*` functions.
    pub fmod_ret: bool,
    /// `fmod_ret` on `__x64_sys_*` wrappers.
    pub fmod_ret_syscall: bool,
    /// BPF LSM programs attach *and fire* (canary denial).
    pub lsm: bool,
    /// `bpf_override_return` may be used.
    pub override_return: bool,
    /// Classic tracepoints.
    pub tracepoint: bool,
    /// Raw tracepoints.
    pub raw_tracepoint: bool,
    /// Raw tracepoints with BTF-typed arguments.
    pub tp_btf: bool,
    /// `bpf_loop`.
    pub bpf_loop: bool,
    /// `bpf_get_current_task_btf` (selects the build of the runtime library).
    pub current_task_btf: bool,
    /// Programs of kind tracing may be sleepable on syscall wrappers and read user memory with `bpf_copy_from_user`.
    pub sleepable_syscall: bool,
    /// `BPF_PROG_TYPE_SYSCALL` test runs.
    pub syscall_program: bool,
    /// uprobes and uretprobes can be attached, by perf events.
    pub uprobe: bool,
    /// `BPF_TRACE_UPROBE_MULTI` links can be created.
    pub uprobe_multi: bool,
    /// Not an ability but a property: a task may be preempted while it runs a program (`preempt=full` or `lazy`).
    ///
    /// The kernel does not start a program on a CPU where a preempted task is inside the same program
    /// (`bpf_prog_get_recursion_context`), so that trampolines and raw tracepoints leave calls out under load. kprobes and
    /// classic tracepoints run with preemption off, BPF LSM has no such guard: these see every call.
    pub preemptible_programs: bool,
}

/// `/sys/kernel/tracing/events/SUBSYSTEM/EVENT/format`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TracepointFormat {
    /// Fields in file order, the four `common_*` fields included.
    pub fields: Vec<TracepointField>,
}

/// One field of a [`TracepointFormat`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TracepointField {
    /// C declaration without the name, as printed (`const char *`, `__data_loc char[]`, `unsigned long`).
    pub declaration: String,
    /// Field name.
    pub name: String,
    /// Byte offset in the record.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Whether it is a signed integer.
    pub signed: bool,
}
