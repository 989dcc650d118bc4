//! Records: bytes from a ring buffer become typed values.
//!
//! Accepts any bytes: what is not a whole, known record is a [`RecordError`], never a panic. Layouts are those of
//! `crate::wire`; nothing here knows an offset.

use ebpf::record::{self as wire, RecordHeader};
pub use ebpf::record::{Argument, Arguments};
use zerocopy::FromBytes as _;

use crate::process::Credentials;
use crate::time::KernelTime;

/// Bits of records, as `record.h` names them.
pub mod flag {
    pub use ebpf::record::{
        EXEC_CWD_UNRESOLVED, EXEC_DATA_ARGS, EXEC_DELETED, EXEC_ERROR_ARGS, EXEC_ERROR_CGROUP, EXEC_ERROR_CWD,
        EXEC_ERROR_FILENAME, EXEC_FILE_CAPS, EXEC_FILELESS, EXEC_MISSED_PARENT, EXEC_NO_CWD, EXEC_ROOT_CWD,
        EXEC_SETGID, EXEC_SETUID, EXEC_TRUNCATED_ARGS, EXEC_TRUNCATED_FILENAME, PROCESS_CLONED, PROCESS_EXECED,
        PROCESS_FROM_PROCFS, PROCESS_IN_INIT_TREE, RECORD_FLAG_AWAIT_RETURN, RECORD_FLAG_CANCEL,
        RECORD_FLAG_KERNEL_STACK, RECORD_FLAG_RETURN, RECORD_FLAG_UNDECIDED, RECORD_FLAG_UNKNOWN_PROCESS,
        RECORD_FLAG_USER_STACK,
    };
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Shorter than its fixed part, or than the lengths in it say.
    #[error("record of kind {kind} has {len} bytes, too few")]
    Short {
        /// `record_header.kind`, 0 if even that is missing.
        kind: u16,
        /// Bytes there are.
        len: usize,
    },
    /// A kind this agent does not know.
    #[error("unknown record kind {0}")]
    Kind(u16),
}

/// A decoded record. Borrows its variable parts from the bytes.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// A process executed an image.
    Exec(ExecRecord<'a>),
    /// A process forked.
    Clone(CloneRecord),
    /// A process ended.
    Exit(ExitRecord),
    /// A chunk of the arguments of an exec to come.
    Data(DataRecord<'a>),
    /// A hook of a policy fired.
    Policy(PolicyRecord<'a>),
    /// A piece of a buffer of a policy's record to come.
    Buffer(BufferRecord<'a>),
}

/// `struct record_exec`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "fields are documented in record.h")]
pub struct ExecRecord<'a> {
    pub tgid: u32,
    /// Time of the exec, and start of the image.
    pub start: KernelTime,
    pub old_start: u64,
    pub parent_tgid: u32,
    pub parent_start: u64,
    pub nspid: u32,
    pub process_flags: u32,
    pub exec_flags: u32,
    pub cgroup_id: u64,
    pub inode: u64,
    pub nlink: u32,
    pub namespaces: [u32; 10],
    pub credentials: Credentials,
    pub auid: u32,
    pub args_total: u32,
    pub filename: &'a [u8],
    pub args: &'a [u8],
    pub cwd: &'a [u8],
    pub cgroup_name: &'a [u8],
}

impl ExecRecord<'_> {
    /// Whether the process had executed an image before this one since it was seen.
    pub fn was_executed(&self) -> bool {
        self.process_flags & flag::PROCESS_EXECED != 0 && self.process_flags & flag::PROCESS_CLONED == 0
    }
}

/// `struct record_clone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "fields are documented in record.h")]
pub struct CloneRecord {
    pub tgid: u32,
    pub start: KernelTime,
    pub parent_tgid: u32,
    pub parent_start: u64,
    pub nspid: u32,
    pub process_flags: u32,
}

/// `struct record_exit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExitRecord {
    /// Which process.
    pub tgid: u32,
    /// Start of its image; 0 if the kernel side did not know it.
    pub start: KernelTime,
    /// When it ended.
    pub time: KernelTime,
    /// `task_struct.exit_code`.
    pub exit_code: u32,
}

/// `struct record_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DataRecord<'a> {
    /// Which process.
    pub tgid: u32,
    /// Time of the exec it belongs to.
    pub exec_start: KernelTime,
    /// Position of the bytes in the argument block.
    pub offset: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// `struct record_policy`.
#[derive(Clone, Debug)]
pub struct PolicyRecord<'a> {
    /// When the hook fired.
    pub time: KernelTime,
    /// Thread group that was running.
    pub tgid: u32,
    /// Thread that was running.
    pub tid: u32,
    /// Start of the image it ran; 0 if unknown.
    pub start: KernelTime,
    /// Thread that a socket belongs to, if the event is about its process.
    pub owner_tid: Option<u32>,
    /// `RECORD_FLAG_*`
    pub flags: u16,
    /// Ties the halves of an entry/return pair; 0 if this is the whole event.
    pub call_id: u64,
    /// Which compiled object wrote it.
    pub object_tag: u32,
    /// Which of the object's templates describes it.
    pub template_index: u16,
    /// Last action executed, as a `KprobeAction` number.
    pub action: u16,
    /// How many arguments follow.
    pub argument_count: u32,
    /// The arguments; fewer if the record is cut off.
    pub arguments: Arguments<'a>,
    /// Stack traces, if the policy asked for them.
    pub stacks: wire::Stacks<'a>,
}

/// `struct record_buffer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BufferRecord<'a> {
    /// When the hook fired.
    pub time: KernelTime,
    /// Thread that was running.
    pub tid: u32,
    /// Ties it to the argument.
    pub place: u32,
    /// Of the bytes in the buffer.
    pub offset: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Decodes one record.
///
/// # Errors
/// [`RecordError::Short`] if lengths don't fit the bytes, [`RecordError::Kind`] if the kind is unknown.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    match wire::Record::parse(bytes) {
        Some(wire::Record::Exec(r)) => Ok(Record::Exec(exec(&r))),
        Some(wire::Record::Clone(r)) => Ok(Record::Clone(CloneRecord {
            tgid: r.header.tgid,
            start: KernelTime(r.header.start_ktime),
            parent_tgid: r.parent_tgid,
            parent_start: r.parent_start_ktime,
            nspid: r.nspid,
            process_flags: r.process_flags,
        })),
        Some(wire::Record::Exit(r)) => Ok(Record::Exit(ExitRecord {
            tgid: r.header.tgid,
            start: KernelTime(r.header.start_ktime),
            time: KernelTime(r.header.ktime),
            exit_code: r.exit_code,
        })),
        Some(wire::Record::Data(r)) => Ok(Record::Data(DataRecord {
            tgid: r.fixed.header.tgid,
            exec_start: KernelTime(r.fixed.header.ktime),
            offset: r.fixed.offset,
            bytes: r.bytes,
        })),
        Some(wire::Record::Policy(r)) => {
            let header = r.fixed.header;
            Ok(Record::Policy(PolicyRecord {
                time: KernelTime(header.ktime),
                tgid: header.tgid,
                tid: header.tid,
                start: KernelTime(header.start_ktime),
                owner_tid: (r.fixed.owner_tid != 0).then_some(r.fixed.owner_tid),
                flags: header.flags,
                call_id: r.fixed.call_id,
                object_tag: r.fixed.object_tag,
                template_index: r.fixed.template_index,
                action: r.fixed.action,
                argument_count: r.fixed.argument_count,
                arguments: r.arguments(),
                stacks: r.stacks(),
            }))
        }
        Some(wire::Record::Buffer(r)) => Ok(Record::Buffer(BufferRecord {
            time: KernelTime(r.fixed.header.ktime),
            tid: r.fixed.header.tid,
            place: r.fixed.place,
            offset: r.fixed.offset,
            bytes: r.bytes,
        })),
        None => Err(error_of(bytes)),
    }
}

/// Why bytes are no record.
fn error_of(bytes: &[u8]) -> RecordError {
    let kind = RecordHeader::read_from_prefix(bytes).map_or(0, |(header, _)| header.kind);
    match kind {
        0 | wire::RECORD_EXEC..=wire::RECORD_BUFFER => RecordError::Short { kind, len: bytes.len() },
        _ => RecordError::Kind(kind),
    }
}

fn exec<'a>(record: &wire::ExecRecord<'a>) -> ExecRecord<'a> {
    let r = &record.fixed;
    let c = &r.creds;
    ExecRecord {
        tgid: r.header.tgid,
        start: KernelTime(r.header.ktime),
        old_start: r.old_start_ktime,
        parent_tgid: r.parent_tgid,
        parent_start: r.parent_start_ktime,
        nspid: r.nspid,
        process_flags: r.process_flags,
        exec_flags: r.exec_flags,
        cgroup_id: r.cgroup_id,
        inode: r.inode,
        nlink: r.nlink,
        namespaces: r.ns,
        credentials: Credentials {
            uid: c.uid,
            gid: c.gid,
            euid: c.euid,
            egid: c.egid,
            suid: c.suid,
            sgid: c.sgid,
            fsuid: c.fsuid,
            fsgid: c.fsgid,
            securebits: c.securebits,
            cap_permitted: c.cap_permitted,
            cap_effective: c.cap_effective,
            cap_inheritable: c.cap_inheritable,
        },
        auid: c.auid,
        args_total: r.args_total,
        filename: record.filename,
        args: record.args,
        cwd: record.cwd,
        cgroup_name: record.cgroup_name,
    }
}

#[cfg(test)]
mod tests;
