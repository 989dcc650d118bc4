//! Views over the bytes of one record.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::{
    RECORD_BUFFER, RECORD_CLONE, RECORD_DATA, RECORD_EXEC, RECORD_EXIT, RECORD_FLAG_KERNEL_STACK,
    RECORD_FLAG_USER_STACK, RECORD_POLICY, RecordArgument, RecordBuffer, RecordClone, RecordData, RecordExec,
    RecordExit, RecordHeader, RecordPolicy,
};

/// One record, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// [`RECORD_EXEC`]
    Exec(ExecRecord<'a>),
    /// [`RECORD_CLONE`]
    Clone(RecordClone),
    /// [`RECORD_EXIT`]
    Exit(RecordExit),
    /// [`RECORD_DATA`]
    Data(DataRecord<'a>),
    /// [`RECORD_POLICY`]
    Policy(PolicyRecord<'a>),
    /// [`RECORD_BUFFER`]
    Buffer(BufferRecord<'a>),
}

impl<'a> Record<'a> {
    /// Reads the record in `bytes`, which may have any alignment. `None`: not a record, or cut off.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = read::<RecordHeader>(bytes)?;
        let bytes = bytes.get(..header.size as usize)?;
        Some(match header.kind {
            RECORD_EXEC => Self::Exec(ExecRecord::parse(bytes)?),
            RECORD_CLONE => Self::Clone(read(bytes)?.0),
            RECORD_EXIT => Self::Exit(read(bytes)?.0),
            RECORD_DATA => {
                let (fixed, rest) = read::<RecordData>(bytes)?;
                Self::Data(DataRecord {
                    fixed,
                    bytes: rest.get(..fixed.len as usize)?,
                })
            }
            RECORD_POLICY => {
                let (fixed, arguments) = read::<RecordPolicy>(bytes)?;
                Self::Policy(PolicyRecord { fixed, arguments })
            }
            RECORD_BUFFER => {
                let (fixed, rest) = read::<RecordBuffer>(bytes)?;
                Self::Buffer(BufferRecord {
                    fixed,
                    bytes: rest.get(..fixed.len as usize)?,
                })
            }
            _ => return None,
        })
    }

    /// The header.
    pub fn header(&self) -> &RecordHeader {
        match self {
            Self::Exec(record) => &record.fixed.header,
            Self::Clone(record) => &record.header,
            Self::Exit(record) => &record.header,
            Self::Data(record) => &record.fixed.header,
            Self::Policy(record) => &record.fixed.header,
            Self::Buffer(record) => &record.fixed.header,
        }
    }
}

fn read<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

/// An image was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecRecord<'a> {
    /// Everything of fixed size.
    pub fixed: RecordExec,
    /// As passed to execve.
    pub filename: &'a [u8],
    /// `argv[1..]`, each with its NUL; empty if they came in [`DataRecord`]s.
    pub args: &'a [u8],
    /// Working directory relative to the process's root; empty if it is the root.
    pub cwd: &'a [u8],
    /// Last component of the cgroup's path.
    pub cgroup_name: &'a [u8],
}

impl<'a> ExecRecord<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = read::<RecordExec>(bytes)?;
        let (filename, rest) = rest.split_at_checked(fixed.filename_len as usize)?;
        let (args, rest) = rest.split_at_checked(fixed.args_len as usize)?;
        let (cwd, rest) = rest.split_at_checked(fixed.cwd_len as usize)?;
        let cgroup_name = rest.get(..fixed.cgroup_name_len as usize)?;
        Some(Self {
            fixed,
            filename,
            args,
            cwd,
            cgroup_name,
        })
    }
}

/// A chunk of the arguments of an exec that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataRecord<'a> {
    /// Everything of fixed size.
    pub fixed: RecordData,
    /// The chunk.
    pub bytes: &'a [u8],
}

/// A piece of a buffer that an event of a policy shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferRecord<'a> {
    /// Everything of fixed size.
    pub fixed: RecordBuffer,
    /// The piece.
    pub bytes: &'a [u8],
}

/// An event of a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyRecord<'a> {
    /// Everything of fixed size.
    pub fixed: RecordPolicy,
    arguments: &'a [u8],
}

impl<'a> PolicyRecord<'a> {
    /// The arguments, in the order of the template.
    pub fn arguments(&self) -> Arguments<'a> {
        Arguments {
            rest: self.arguments,
            left: self.fixed.argument_count,
        }
    }

    /// The stack traces behind the arguments.
    pub fn stacks(&self) -> Stacks<'a> {
        let flags = self.fixed.header.flags;
        let mut arguments = self.arguments();
        arguments.by_ref().for_each(drop);
        // they have the form of arguments
        arguments.left = 2;
        let mut take = |flag: u16| {
            let stack = (flags & flag != 0).then(|| arguments.next()).flatten();
            Addresses(stack.map_or(&[], |stack| stack.payload))
        };
        Stacks {
            kernel: take(RECORD_FLAG_KERNEL_STACK),
            user: take(RECORD_FLAG_USER_STACK),
        }
    }
}

/// Stack traces of a policy record; empty where the policy did not ask, or the kernel could not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stacks<'a> {
    /// Of the kernel.
    pub kernel: Addresses<'a>,
    /// Of the process.
    pub user: Addresses<'a>,
}

/// Addresses of a stack trace, innermost first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Addresses<'a>(&'a [u8]);

impl Addresses<'_> {
    /// The addresses.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let (words, _) = self.0.as_chunks();
        words.iter().map(|word| u64::from_ne_bytes(*word))
    }
}

/// One argument of a policy record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argument<'a> {
    /// `ARG_*`
    pub status: u32,
    /// Its form depends on the type that the template gives.
    pub payload: &'a [u8],
}

/// Iterates over the arguments of a policy record; stops early if the record is cut off.
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Arguments<'a> {
    type Item = Argument<'a>;

    fn next(&mut self) -> Option<Argument<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (fixed, rest) = read::<RecordArgument>(self.rest)?;
        let len = fixed.len as usize;
        let payload = rest.get(..len)?;
        self.rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
        Some(Argument {
            status: fixed.status,
            payload,
        })
    }
}
