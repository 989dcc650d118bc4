//! What the compiler hands on: one [`HookObject`] per attach point, with everything needed to load it, to attach it, to map
//! the verifier's complaints to policy lines and to decode what it sends.

use std::sync::Arc;

use crate::binary::FileIdentity;

/// Index into [`HookObject::source_lines`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SourceRef(pub u32);

/// A line of a policy that instructions come from; becomes BTF line info.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SourceLine {
    /// File name as the user gave it.
    pub file: Arc<str>,
    /// 1-based.
    pub line: u32,
    /// 1-based.
    pub column: u32,
    /// The line's text, trimmed.
    pub text: Arc<str>,
}

/// Where a program is attached. Two hooks with equal attach points share one program.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the fields are the kernel's names of what the variant says")]
pub enum AttachPoint {
    /// Entry of a kernel function, by BTF trampoline.
    Fentry { function: String },
    /// Return of a kernel function, by BTF trampoline: sees arguments and result.
    Fexit { function: String },
    /// Entry of a function whose result may be replaced.
    FmodRet { function: String },
    /// BPF LSM hook, named without prefix.
    Lsm { hook: String },
    /// Entry of a kernel function, by breakpoint or ftrace.
    Kprobe { symbol: String },
    /// Return of a kernel function.
    Kretprobe { symbol: String },
    /// Entry of many kernel functions by one link (`BPF_TRACE_KPROBE_MULTI`).
    KprobeMulti { symbols: Vec<String> },
    /// Return of many kernel functions by one link.
    KretprobeMulti { symbols: Vec<String> },
    /// Classic tracepoint.
    Tracepoint { subsystem: String, event: String },
    /// Tracepoint with raw arguments.
    RawTracepoint { event: String },
    /// Tracepoint with raw, trusted arguments.
    TpBtf { event: String },
    /// Instruction of a user binary, mostly the first one of a function.
    Uprobe { place: UserPlace, by: UprobeLink },
    /// Return of the function that begins there.
    Uretprobe { place: UserPlace, by: UprobeLink },
}

/// A place in a user binary.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UserPlace {
    /// Path of the file, in the mount namespace of the agent.
    pub path: String,
    /// The file that the offsets are those of: another one that has taken its path since is not hooked.
    pub identity: FileIdentity,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// Offset in the file of a counter (16 bits) of those who watch, which the kernel keeps in each process; 0: none.
    pub ref_ctr_offset: u64,
}

/// What holds a user probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum UprobeLink {
    /// A perf event, which all kernels have.
    PerfEvent,
    /// A link of its own kind (`BPF_TRACE_UPROBE_MULTI`).
    Multi,
}

/// One compiled program.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct HookObject {
    /// Where it goes.
    pub attach: AttachPoint,
    /// Relocatable ELF object: the program in section [`HookObject::section`], the runtime functions it calls, maps, BTF.
    pub elf: Vec<u8>,
    /// Section and symbol of the program.
    pub section: String,
    /// Symbol of the entry function.
    pub symbol: String,
    /// Identifies this object in records (`record_policy.object_tag`): a hash of what it was compiled from, never 0.
    pub tag: u32,
    /// What it can send, by `record_policy.template_index`.
    pub templates: Vec<EventTemplate>,
    /// Policy lines that instructions refer to.
    pub source_lines: Vec<SourceLine>,
    /// Whether it may refuse the operation or send signals.
    pub enforces: bool,
    /// Why this attach point was chosen, for `tetra policy explain`, one entry per policy hook in it.
    pub reasons: Vec<String>,
    /// Slots of the policies in it, ascending.
    pub policy_slots: Vec<u32>,
    /// Stands for the hook in sets of policies of workloads, below [`ebpf::record::HOOK_FILTER_BITS`]: where it is not set, the
    /// program takes no notice of policies for workloads. Hooks may share one.
    pub hook_bit: u32,
}

/// Which section of the policy a hook stands in; decides the event's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the policy's keys")]
pub enum HookKind {
    Kprobe,
    Fentry,
    Tracepoint,
    Lsm,
    Uprobe,
    Usdt,
    /// Functions where the policy's notifications take effect; there are no events of them.
    Enforcer,
}

/// Where in a user binary an event comes from, as the event says it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct UserTemplate {
    /// As the policy writes it.
    pub path: Arc<str>,
    /// Offset in the file, for hooks that are not given by a symbol; else 0.
    pub offset: u64,
    /// See [`UserPlace::ref_ctr_offset`].
    pub ref_ctr_offset: u64,
}

/// How to decode one kind of policy record, and what the event says besides.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EventTemplate {
    /// Section of the policy.
    pub kind: HookKind,
    /// Slot of the policy in the set.
    pub policy_slot: u32,
    /// `metadata.name`
    pub policy_name: Arc<str>,
    /// `metadata.namespace` of a namespaced policy.
    pub policy_namespace: Option<Arc<str>>,
    /// As the event reports it: kernel symbol (`__x64_sys_openat` for syscalls), LSM hook, symbol of a user binary, or empty for
    /// tracepoints and static probes.
    pub function_name: Arc<str>,
    /// Tracepoint subsystem or provider of a static probe, else empty.
    pub subsystem: Arc<str>,
    /// Tracepoint event or name of a static probe, else empty.
    pub event: Arc<str>,
    /// For hooks of user binaries.
    pub user: Option<UserTemplate>,
    /// Arguments in the order of the record; the last one is the return value if `has_return`.
    pub arguments: Vec<ArgumentTemplate>,
    /// The last argument is the return value.
    pub has_return: bool,
    /// `message` of the hook.
    pub message: Arc<str>,
    /// `tags` of the hook.
    pub tags: Vec<String>,
    /// Position of the hook in its section, and of the selector in the hook (`None`: hook without selectors).
    pub hook_index: u32,
    /// See `hook_index`.
    pub selector_index: Option<u32>,
}

/// One argument of an [`EventTemplate`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ArgumentTemplate {
    /// Which form the payload has and how it is shown.
    pub argument_type: ArgumentType,
    /// Whether it is an entry of `data`.
    pub is_data: bool,
    /// `label` of the argument, may be empty.
    pub label: Arc<str>,
}

/// Argument types of the language (spec/tracingpolicy.md §4.2), as far as they are compiled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the policy's")]
pub enum ArgumentType {
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    SizeT,
    Syscall64,
    String,
    Fd,
    File,
    Path,
    Dentry,
    LinuxBinprm,
    Sock,
    Sockaddr,
    Nop,
    Skb,
    UserNamespace,
    Cred,
    BpfAttr,
    BpfProg,
    BpfMap,
    PerfEvent,
    Module,
    LoadInfo,
    Capability,
    KernelCapT,
    CapInheritable,
    CapPermitted,
    CapEffective,
    CharBuf,
    CharIovec,
    IovIter,
}
