//! Layouts shared with the kernel side, field by field those of `c/record.h`, and views over the records in a ring.
//!
//! All integers are little-endian and naturally aligned. Views check every length they use: any bytes may come in, nothing
//! panics.
#![allow(
    missing_docs,
    reason = "fields are documented where the layout stands, in `c/record.h`"
)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod view;
pub use view::{Addresses, Argument, Arguments, BufferRecord, DataRecord, ExecRecord, PolicyRecord, Record, Stacks};

/// Has executed an image since it was seen.
pub const PROCESS_EXECED: u32 = 1 << 0;
/// Its life began with a fork that the sensor saw.
pub const PROCESS_CLONED: u32 = 1 << 1;
/// Written by the agent's `/proc` scan.
pub const PROCESS_FROM_PROCFS: u32 = 1 << 2;
/// Descends from pid 1 of its own, non-initial pid namespace.
pub const PROCESS_IN_INIT_TREE: u32 = 1 << 3;

/// Stage-1 words of a process: stamp in the upper half, 32 policy bits in the lower.
pub const POLICY_WORDS: usize = 8;

/// One thread group, in map `tetra_processes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Process {
    pub start_ktime: u64,
    pub parent_start_ktime: u64,
    pub parent_tgid: u32,
    pub nspid: u32,
    pub flags: u32,
    pub pad: u32,
    pub policy_words: [u64; POLICY_WORDS],
    pub cgroup_id: u64,
    pub ns: [u32; 10],
    pub capabilities: [u64; 3],
}

/// Kind of a record: an image was executed.
pub const RECORD_EXEC: u16 = 1;
/// Kind of a record: a process was created.
pub const RECORD_CLONE: u16 = 2;
/// Kind of a record: the last thread of a process died.
pub const RECORD_EXIT: u16 = 3;
/// Kind of a record: a chunk of long arguments, before the exec it belongs to.
pub const RECORD_DATA: u16 = 4;
/// Kind of a record: an event of a policy.
pub const RECORD_POLICY: u16 = 5;
/// A piece of a buffer that is too long for its record; comes before it.
pub const RECORD_BUFFER: u16 = 6;
/// Most pieces of a buffer, [`TEXT_MAX`] bytes each but the last.
pub const BUFFER_PIECES: u32 = 80;

pub const RECORD_FLAG_RETURN: u16 = 1 << 0;
pub const RECORD_FLAG_AWAIT_RETURN: u16 = 1 << 1;
pub const RECORD_FLAG_CANCEL: u16 = 1 << 2;
pub const RECORD_FLAG_UNDECIDED: u16 = 1 << 3;
pub const RECORD_FLAG_UNKNOWN_PROCESS: u16 = 1 << 4;
pub const RECORD_FLAG_KERNEL_STACK: u16 = 1 << 5;
pub const RECORD_FLAG_USER_STACK: u16 = 1 << 6;

/// What every record starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordHeader {
    pub size: u32,
    pub kind: u16,
    pub flags: u16,
    pub ktime: u64,
    pub tgid: u32,
    pub tid: u32,
    pub start_ktime: u64,
}

pub const EXEC_SETUID: u32 = 1 << 0;
pub const EXEC_SETGID: u32 = 1 << 1;
pub const EXEC_FILE_CAPS: u32 = 1 << 2;
pub const EXEC_FILELESS: u32 = 1 << 3;
pub const EXEC_DELETED: u32 = 1 << 4;
pub const EXEC_ROOT_CWD: u32 = 1 << 5;
pub const EXEC_NO_CWD: u32 = 1 << 6;
pub const EXEC_ERROR_CWD: u32 = 1 << 7;
pub const EXEC_ERROR_FILENAME: u32 = 1 << 8;
pub const EXEC_ERROR_ARGS: u32 = 1 << 9;
pub const EXEC_TRUNCATED_ARGS: u32 = 1 << 10;
pub const EXEC_DATA_ARGS: u32 = 1 << 11;
pub const EXEC_MISSED_PARENT: u32 = 1 << 12;
pub const EXEC_CWD_UNRESOLVED: u32 = 1 << 13;
pub const EXEC_ERROR_CGROUP: u32 = 1 << 14;
pub const EXEC_TRUNCATED_FILENAME: u32 = 1 << 15;

/// Credentials of a new image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordCreds {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub suid: u32,
    pub sgid: u32,
    pub fsuid: u32,
    pub fsgid: u32,
    pub securebits: u32,
    pub auid: u32,
    pub cap_permitted: u64,
    pub cap_effective: u64,
    pub cap_inheritable: u64,
}

/// Fixed part of a [`RECORD_EXEC`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordExec {
    pub header: RecordHeader,
    pub old_start_ktime: u64,
    pub parent_start_ktime: u64,
    pub parent_tgid: u32,
    pub nspid: u32,
    pub process_flags: u32,
    pub exec_flags: u32,
    pub cgroup_id: u64,
    pub inode: u64,
    pub nlink: u32,
    pub ns: [u32; 10],
    pub filename_len: u32,
    pub args_len: u32,
    pub args_total: u32,
    pub cwd_len: u32,
    pub cgroup_name_len: u32,
    pub creds: RecordCreds,
}

/// Before the bytes of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentBuffer {
    pub size: u32,
    pub place: u32,
}

/// Fixed part of a [`RECORD_BUFFER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordBuffer {
    pub header: RecordHeader,
    pub place: u32,
    pub offset: u32,
    pub len: u32,
    pub pad: u32,
}

/// A [`RECORD_CLONE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordClone {
    pub header: RecordHeader,
    pub parent_start_ktime: u64,
    pub parent_tgid: u32,
    pub nspid: u32,
    pub process_flags: u32,
    pub pad: u32,
}

/// A [`RECORD_EXIT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordExit {
    pub header: RecordHeader,
    pub exit_code: u32,
    pub pad: u32,
}

/// Fixed part of a [`RECORD_DATA`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordData {
    pub header: RecordHeader,
    pub offset: u32,
    pub len: u32,
}

/// Fixed part of a [`RECORD_POLICY`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordPolicy {
    pub header: RecordHeader,
    pub call_id: u64,
    pub cgroup_id: u64,
    pub object_tag: u32,
    pub template_index: u16,
    pub action: u16,
    pub argument_count: u32,
    pub owner_tid: u32,
}

pub const ARG_OK: u32 = 0;
pub const ARG_FAULT: u32 = 1;
pub const ARG_TRUNCATED: u32 = 2;
/// Of functions only: the memory is a process's. Records say [`ARG_FAULT`].
pub const ARG_USER_FAULT: u32 = 3;
pub const ARG_RESOLVE_FAULT: u32 = 16;

/// What each argument of a policy record starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordArgument {
    pub status: u32,
    pub len: u32,
}

pub const PATH_UNRESOLVED: u32 = 1 << 0;
pub const PATH_DELETED: u32 = 1 << 1;

/// What a path argument's payload starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentPath {
    pub flags: u32,
    pub mode: u16,
    pub pad: u16,
}

/// Payload of a `sock` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentSock {
    pub cookie: u64,
    pub mark: u32,
    pub priority: u32,
    pub family: u16,
    pub r#type: u16,
    pub protocol: u16,
    pub state: u16,
    pub sport: u16,
    pub dport: u16,
    pub pad: u32,
    pub saddr: [u8; 16],
    pub daddr: [u8; 16],
}

/// Payload of a `sockaddr` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentSockaddr {
    pub family: u16,
    pub port: u16,
    pub pad: u32,
    pub addr: [u8; 16],
}

/// Payload of a `user_namespace` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentUserNamespace {
    pub level: i32,
    pub uid: u32,
    pub gid: u32,
    pub inum: u32,
}

/// Payload of a `cred` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentCred {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub suid: u32,
    pub sgid: u32,
    pub fsuid: u32,
    pub fsgid: u32,
    pub securebits: u32,
    pub pad: u32,
    pub cap_permitted: u64,
    pub cap_effective: u64,
    pub cap_inheritable: u64,
    pub user_ns: ArgumentUserNamespace,
}

/// Payload of a `bpf_attr` or `bpf_prog` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentBpfProg {
    pub r#type: u32,
    pub insn_cnt: u32,
    pub name: [u8; 16],
}

/// Payload of a `bpf_map` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentBpfMap {
    pub r#type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub name: [u8; 16],
}

/// Payload of a `perf_event` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentPerfEvent {
    pub config: u64,
    pub probe_offset: u64,
    pub r#type: u32,
    pub pad: u32,
    pub func: [u8; 128],
}

pub const MODULE_SIGNATURE_UNKNOWN: u32 = 0;
pub const MODULE_SIGNATURE_BAD: u32 = 1;
pub const MODULE_SIGNATURE_GOOD: u32 = 2;

/// Payload of a `module` or `load_info` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArgumentModule {
    pub taints: u64,
    pub signature: u32,
    pub pad: u32,
    pub name: [u8; 64],
}

/// Longest string or path, in bytes.
pub const TEXT_MAX: usize = 4096;
/// Bytes behind a text that a program may scribble on.
pub const TEXT_SLACK: usize = 272;

/// A string value, in map `tetra_texts`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Text {
    pub len: u32,
    pub flags: u32,
    pub mode: u16,
    pub status: u16,
    pub slot: u32,
    pub bytes: [u8; TEXT_MAX + TEXT_SLACK],
}

/// How deep programs may interrupt each other on one CPU.
pub const SCRATCH_LEVELS: u32 = 3;
/// Texts a program may hold at once.
pub const SCRATCH_TEXTS: u32 = 8;
/// 8-byte words a generated program keeps its values in.
pub const FRAME_WORDS: usize = 512;
/// Largest record, in bytes.
pub const RECORD_MAX: usize = 24576;
/// Bytes behind a record that a program may scribble on.
pub const RECORD_SLACK: usize = 2224;

/// Scratch memory of a running program, in map `tetra_scratch`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Scratch {
    pub frame: [u64; FRAME_WORDS],
    pub level: u32,
    pub cursor: u32,
    pub sock: [ArgumentSock; 2],
    pub sockaddr: [ArgumentSockaddr; 2],
    pub record: [u8; RECORD_MAX],
    pub slack: [u8; RECORD_SLACK],
    pub busy: u64,
}

/// Key of map `tetra_pending`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PendingKey {
    pub pid_tgid: u64,
    pub hook_key: u32,
    pub pad: u32,
}

/// Key of map `tetra_sock_owners`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockOwnerKey {
    pub sock: u64,
    pub policy_slot: u32,
    pub pad: u32,
}

/// Value of map `tetra_sock_owners`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockOwner {
    pub tgid: u32,
    pub tid: u32,
    pub start_ktime: u64,
}

/// Key of map `tetra_ratelimit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RateLimitKey {
    pub hash: [u64; 2],
    pub scope_id: u64,
    pub object_tag: u32,
    pub template_index: u32,
}

/// Workload of cgroups to which nothing is assigned; its set is empty.
pub const WORKLOAD_NONE: u32 = 0;
/// Workload of cgroups nested deeper than [`CGROUP_LEVELS`]; its set is full.
pub const WORKLOAD_ALL: u32 = 1;
/// Workloads, and sets, that are not given out.
pub const WORKLOADS_RESERVED: u32 = 2;
/// Elements of map `tetra_cgroup_cache`.
pub const CGROUP_CACHE: u32 = 8192;
/// Ancestors of a cgroup that are looked at.
pub const CGROUP_LEVELS: u32 = 64;

/// Bits that tell hooks apart in a [`PolicySet`].
pub const HOOK_FILTER_BITS: u32 = 256;

/// Policies that apply to a workload, in map `tetra_policy_sets`: its beginning, with the first slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PolicySet {
    pub hooks: [u32; HOOK_FILTER_BITS as usize / 32],
    pub slots: [u32; 32],
}

/// How programs see cgroups, in map `tetra_cgroup_view`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CgroupView {
    pub epoch: u32,
    pub controller: u32,
}

/// What the agent tells the programs, in map `tetra_config`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    pub ring_shards: u32,
    pub cpus_per_shard: u32,
    pub wakeup_bytes: u32,
    pub agent_tgid: u32,
    pub host_pid_ns: u32,
    pub pad: u32,
}

/// Elements of map `tetra_sensor_counters`.
pub const SENSOR_COUNTERS: u32 = 16;

/// What the sensor counts; the discriminant is the key in map `tetra_sensor_counters`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum SensorCounter {
    ExecSent,
    ExecLost,
    CloneSent,
    CloneLost,
    ExitSent,
    ExitLost,
    DataSent,
    DataLost,
    ProcessTableFull,
    ScratchExhausted,
}

/// Words of an element of map `tetra_policy_counters`.
pub const POLICY_COUNTERS: u32 = 16;

/// What is counted per policy; the discriminant is the word in the element of map `tetra_policy_counters`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum PolicyCounter {
    PostSent,
    PostLost,
    NoPost,
    RateLimited,
    Undecided,
    Signal,
    MonitorSignal,
    Override,
    MonitorOverride,
    ScratchExhausted,
    ReturnRejected,
    PendingFull,
    NotifyEnforcer,
    MonitorNotifyEnforcer,
}

/// Mode of a policy, in map `tetra_policy_modes`: it enforces.
pub const POLICY_MODE_ENFORCE: u32 = 0;
/// Mode of a policy: it reports what it would have done.
pub const POLICY_MODE_MONITOR: u32 = 1;
