//! Typed form of a policy: what pass 2 (`resolve`) makes of the syntax tree.
//!
//! Here every name has been looked up, every value has been parsed for the type it is compared with, lists are expanded to
//! one [`Hook`] per symbol, and defaults are explicit. Nothing refers to YAML any more except [`SourceLine`]s. The meaning of
//! each predicate is defined here, once; the sections cited are those of the language reference.

use std::sync::Arc;

use crate::binary::{ArgumentPlace, ProbeArgument};
use crate::output::{ArgumentType, HookKind, SourceLine, UserPlace};
use crate::set::Scope;

mod expression;
pub mod print;

pub use expression::{Condition, Number, NumberType, Operation, Order};

/// One hook of one policy.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct Hook {
    /// Slot of the policy in the set.
    pub policy_slot: u32,
    /// Whose calls it is about: a predicate that all its selectors begin with, see [`crate::generate`] for where it is
    /// evaluated. It is about the cgroup of the process at the time of the call; calls that the entry of an operation left to
    /// its exit are not asked again.
    pub scope: Scope,
    /// `metadata.name`
    pub policy_name: Arc<str>,
    /// `metadata.namespace`
    pub policy_namespace: Option<Arc<str>>,
    /// Section of the policy.
    pub kind: HookKind,
    /// Position in the section, as events and counters report it.
    pub hook_index: u32,
    /// Position among all hooks of the policy with lists expanded: tells the calls under way of two hooks apart.
    pub instance: u32,
    /// What it hooks.
    pub target: Target,
    /// What events carry, in policy order.
    pub arguments: Vec<Argument>,
    /// The return value, for `return: true`.
    pub returned: Option<Argument>,
    /// `returnArgAction`: the socket returned belongs to the process from now on (true), or to nobody (false).
    pub tracks_returned: Option<bool>,
    /// The policy follows sockets: events about one are about the process it belongs to.
    pub follows_socks: bool,
    /// First match wins; empty: everything matches and is posted.
    pub selectors: Vec<Selector>,
    /// `message`
    pub message: Arc<str>,
    /// `tags`
    pub tags: Vec<String>,
    /// The line of the hook's name.
    pub line: SourceLine,
}

/// What a hook hooks.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Target {
    /// A kernel function.
    Function(String),
    /// A system call, by its bare name (`openat`).
    Syscall(String),
    /// An LSM hook without prefix.
    Lsm(String),
    /// A classic tracepoint.
    Tracepoint(String, String),
    /// A tracepoint with raw arguments (subsystem kept for the event).
    RawTracepoint(String, String),
    /// A place in a user binary.
    User(UserTarget),
}

/// A place in a user binary, and what the policy calls it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UserTarget {
    /// Where.
    pub place: UserPlace,
    /// Its name.
    pub name: UserName,
}

/// What a policy calls a place in a user binary.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum UserName {
    /// A symbol, or a symbol with an offset.
    Symbol(String),
    /// An offset or an address.
    Offset,
    /// A static probe: provider and name.
    Probe(String, String),
}

/// Where a value comes from and how it is read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Operand {
    /// Where.
    pub source: OperandSource,
    /// As what.
    pub argument_type: ArgumentType,
    /// For pointers: the kernel's own type agrees, so that a trusted pointer may be dereferenced directly.
    pub exact_type: bool,
}

/// Where an operand comes from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum OperandSource {
    /// Parameter of the function, the syscall, the LSM hook or the raw tracepoint, from 0.
    Parameter(u32),
    /// Field of a classic tracepoint's record.
    Field {
        /// Byte offset in the record.
        offset: u32,
        /// Bytes.
        size: u32,
        /// Sign-extends.
        signed: bool,
    },
    /// Argument of a static probe.
    Probe(ProbeArgument),
    /// What a chain of pointers of the kernel leads to.
    Chain(Box<Chain>),
    /// A register of the call, or a part of one.
    Register {
        /// Member of `struct pt_regs`.
        register: &'static str,
        /// First bit.
        shift: u8,
        /// Bytes, from 1 to 8.
        size: u32,
    },
    /// A buffer, of which the call says how long it is.
    Buffer(Box<Buffer>),
    /// Return value.
    Return,
    /// The executable of the current process (`mm->exe_file`), which `matchBinaries` looks at.
    Executable,
}

/// A buffer (`char_buf`, `char_iovec`, `iov_iter`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Buffer {
    /// Where it is.
    pub address: Operand,
    /// How many bytes or segments it has; `None`: it says so itself.
    pub length: Option<Operand>,
}

/// A chain of pointers (`resolve`, §4.1). Each is read as its turn comes; one that cannot be read is an error of the argument, which
/// tells how far it got, and matches neither a test nor its negation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Chain {
    /// The first address.
    pub from: ChainStart,
    /// Offsets of the pointers, each from where the one before points to, the first from the first address.
    pub pointers: Vec<u32>,
    /// Offset of the value from where the last pointer points to.
    pub offset: u32,
    /// Bytes of a number there; `None`: the object there is meant.
    pub size: Option<u32>,
}

/// Where a chain begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ChainStart {
    /// Where a parameter points to.
    Parameter(u32),
    /// The current task.
    CurrentTask,
}

/// A value that events carry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Argument {
    /// What to read.
    pub operand: Operand,
    /// Whether it is an entry of `data`.
    pub is_data: bool,
    /// `maxData`: all of a buffer, beside the part that filters see.
    pub is_whole: bool,
    /// `label`
    pub label: Arc<str>,
    /// Its line.
    pub line: SourceLine,
}

/// A conjunction of predicates with the actions of a match.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct Selector {
    /// Position in the hook.
    pub index: u32,
    /// All must hold at entry.
    pub filters: Vec<Filter>,
    /// All must hold for the return value, or the event is dropped.
    pub return_filters: Vec<Filter>,
    /// Run when the filters hold.
    pub actions: Actions,
    /// Run when the return filters hold too.
    pub return_actions: Actions,
    /// First line of the selector.
    pub line: SourceLine,
}

/// A predicate and the policy line it stands on.
#[derive(Clone, PartialEq, Hash, Debug)]
pub struct Filter {
    /// The predicate.
    pub predicate: Predicate,
    /// Its line.
    pub line: SourceLine,
}

/// A test with two outcomes, or three where user memory may be unreadable (§5.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Predicate {
    /// §7, numeric operators.
    Integer {
        /// Value tested.
        operand: Operand,
        /// How.
        test: IntegerTest,
        /// Inverts the test.
        negated: bool,
    },
    /// §7, string operators. A path that could not be resolved or is empty matches neither the test nor its negation.
    Text {
        /// Value tested.
        operand: Operand,
        /// How.
        test: TextTest,
        /// Inverts the test.
        negated: bool,
    },
    /// §7, `FileType`: the type in the mode of the inode behind a file or path, an empty path included. What could not be read
    /// matches neither the test nor its negation.
    FileType {
        /// Value tested.
        operand: Operand,
        /// Any of these: bits of `S_IFMT`; ascending, without duplicates.
        types: Vec<u16>,
        /// `NotFileType`
        negated: bool,
    },
    /// §7, socket operators on a `sock`.
    Sock {
        /// Value tested.
        operand: Operand,
        /// How.
        test: SockTest,
        /// Inverts the test; a family other than IPv4 and IPv6 matches neither an address test nor its negation.
        negated: bool,
    },
    /// §6.4: the path of the process's executable. Unknown matches neither.
    Binary {
        /// How.
        test: TextTest,
        /// `NotIn`, `NotPrefix`, `NotPostfix`
        negated: bool,
    },
    /// §6.1
    Pid {
        /// Any of these.
        values: Vec<u32>,
        /// Compares the pid in the process's own pid namespace.
        is_namespace_pid: bool,
        /// The process or any ancestor.
        follow_forks: bool,
        /// `NotIn`
        negated: bool,
    },
    /// §6.6: inode number of a namespace of the current task.
    Namespace {
        /// Which.
        namespace: Namespace,
        /// Any of these.
        values: Vec<u32>,
        /// `NotIn`
        negated: bool,
    },
    /// §3.9: a hook of the same policy has left this notification for the thread, and no enforcer has taken it.
    Notified(Notification),
    /// §6.7: subjective credentials of the current task.
    Capability {
        /// Which set.
        set: CapabilitySet,
        /// Any of these bits.
        mask: u64,
        /// `NotIn`: none of them.
        negated: bool,
        /// Additionally the user namespace is not the host's; holds its inode number.
        outside_user_namespace: Option<u32>,
    },
    /// §11: an expression over the arguments.
    Expression(Box<Condition>),
    /// §6.8: any of these namespaces of the current task is another one than the process's record says. A process without a record
    /// does not match.
    NamespaceChange {
        /// Which; ascending, without duplicates.
        namespaces: Vec<Namespace>,
    },
    /// §6.9: a set of capabilities is another one than the process's record says.
    CapabilityChange {
        /// Which set.
        set: CapabilitySet,
        /// In any of these bits.
        mask: u64,
        /// `NotIn`: in none of these, but in others.
        negated: bool,
        /// Additionally the user namespace is not the host's; holds its inode number.
        outside_user_namespace: Option<u32>,
    },
}

impl Predicate {
    /// Whether it compares with what the process had when it was executed, or at the last event about a change.
    pub fn is_about_changes(&self) -> bool {
        matches!(
            self,
            Predicate::NamespaceChange { .. } | Predicate::CapabilityChange { .. }
        )
    }
}

/// Numeric tests. Values are sign- or zero-extended to 64 bits, as the operand is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum IntegerTest {
    /// Equals any; ascending, without duplicates.
    Equal(Vec<u64>),
    /// Greater than any, that is than the least.
    Above(u64),
    /// Less than any, that is than the greatest.
    Below(u64),
    /// Has any of these bits.
    Mask(u64),
    /// Within any of these, bounds included.
    Within(Vec<(u64, u64)>),
}

/// Tests of byte strings.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TextTest {
    /// Which comparison.
    pub comparison: TextComparison,
    /// Any of these, as [`crate::pattern`] describes them; ascending, without duplicates.
    pub values: Vec<Vec<u8>>,
}

/// How strings are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the operators'")]
pub enum TextComparison {
    Equal,
    Prefix,
    Postfix,
    SubString,
    /// The 26 letters of ASCII are the same in both cases; other bytes are compared as they are.
    SubStringIgnCase,
    Glob,
    Regex,
}

impl TextComparison {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// Whether a value says no more than where its bytes begin: an automaton finds the others.
    pub fn is_anchored(self) -> bool {
        matches!(self, Self::Equal | Self::Prefix | Self::Postfix)
    }
}

/// Which side of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SockSide {
    Source,
    Destination,
}

/// Tests of sockets and socket addresses.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SockTest {
    /// Address within any of these networks.
    Address(SockSide, Vec<Network>),
    /// Port within any of these ranges, bounds included.
    Port(SockSide, Vec<(u16, u16)>),
    /// IP protocol is any of these.
    Protocol(Vec<u16>),
    /// Address family is any of these.
    Family(Vec<u16>),
    /// TCP state is any of these.
    State(Vec<u16>),
}

/// An IP network; host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Network {
    /// Address in host byte order, prefix length 0..=32.
    V4(u32, u8),
    /// Address in host byte order, prefix length 0..=128.
    V6(u128, u8),
}

/// Namespaces of a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the policy's")]
pub enum Namespace {
    Uts,
    Ipc,
    Mnt,
    Pid,
    PidForChildren,
    Net,
    Time,
    TimeForChildren,
    Cgroup,
    User,
}

impl Namespace {
    /// All, in the order of the process record.
    pub const ALL: [Self; 10] = [
        Self::Uts,
        Self::Ipc,
        Self::Mnt,
        Self::Pid,
        Self::PidForChildren,
        Self::Net,
        Self::Time,
        Self::TimeForChildren,
        Self::Cgroup,
        Self::User,
    ];
}

/// Capability sets of a task, in the order of the process record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the policy's")]
pub enum CapabilitySet {
    Effective,
    Inheritable,
    Permitted,
}

/// What a match does. Order in the policy matters only for which action the event names (§5.4): the last one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Actions {
    /// Sends an event. `None`: `NoPost`.
    pub post: Option<Post>,
    /// Signals to send to the process, in order.
    pub signals: Vec<u32>,
    /// Errno to return instead of running the hooked function, positive.
    pub override_errno: Option<u32>,
    /// Leaves a notification to the policy's enforcers, in place of one that is there.
    pub notify: Option<Notification>,
    /// Takes the thread's notification, of this key, away.
    pub forget: Option<u32>,
    /// Sockets among the arguments that belong to the process from now on (`TrackSock`).
    pub tracks: Vec<Operand>,
    /// Likewise to nobody any more.
    pub untracks: Vec<Operand>,
    /// `tetragon.KprobeAction` number of the last action.
    pub reported: u16,
    /// `tetragon.KprobeAction` number reported where enforcement is elided (monitor mode).
    pub reported_in_monitor: u16,
}

/// What `NotifyEnforcer` leaves for the enforcers of its policy (§3.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Notification {
    /// Where it is left: the same for all hooks of a policy, and for no other policy.
    pub key: u32,
    /// Which of the policy's notifications, from 1.
    pub number: u32,
}

/// Parameters of a post.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Post {
    /// At most one like it in this time.
    pub rate_limit: Option<RateLimit>,
    /// `kernelStackTrace`
    pub kernel_stack: bool,
    /// `userStackTrace`
    pub user_stack: bool,
}

/// `rateLimit` and `rateLimitScope`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RateLimit {
    /// Nanoseconds.
    pub interval_ns: u64,
    /// 0 thread, 1 process, 2 global.
    pub scope: u32,
}

impl Actions {
    /// Whether anything but posting is done.
    pub fn enforces(&self) -> bool {
        !self.signals.is_empty() || self.override_errno.is_some() || self.notify.is_some()
    }
}

impl Hook {
    /// Whether any selector wants to replace the result.
    pub fn overrides(&self) -> bool {
        self.selectors.iter().any(|s| s.actions.override_errno.is_some())
    }

    /// Whether any selector sends signals or replaces the result.
    pub fn enforces(&self) -> bool {
        self.selectors
            .iter()
            .any(|s| s.actions.enforces() || s.return_actions.enforces())
    }

    /// Every operand that its filters and events read at entry.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        let filters = self
            .selectors
            .iter()
            .flat_map(|s| &s.filters)
            .flat_map(|f| f.predicate.operands());
        self.arguments.iter().map(|a| &a.operand).chain(filters)
    }
}

impl Predicate {
    /// The arguments it is about.
    pub fn operands(&self) -> Vec<&Operand> {
        match self {
            Predicate::Expression(condition) => condition.operands(),
            other => other.operand().into_iter().collect(),
        }
    }

    /// The argument it tests, if it tests one.
    pub fn operand(&self) -> Option<&Operand> {
        match self {
            Predicate::Integer { operand, .. }
            | Predicate::Text { operand, .. }
            | Predicate::FileType { operand, .. }
            | Predicate::Sock { operand, .. } => Some(operand),
            _ => None,
        }
    }
}

impl Operand {
    /// Whether the value is a string or a path, held in a text.
    pub fn is_text(&self) -> bool {
        self.argument_type == ArgumentType::String || self.is_path() || self.is_buffer()
    }

    /// Whether the value is bytes, of which the call says how many.
    pub fn is_buffer(&self) -> bool {
        matches!(self.source, OperandSource::Buffer(_))
    }

    /// Whether the value is a path (§5.1: an empty one matches nothing).
    pub fn is_path(&self) -> bool {
        use ArgumentType::{Dentry, Fd, File, LinuxBinprm, Path};
        matches!(self.argument_type, Fd | File | Path | Dentry | LinuxBinprm)
    }

    /// Whether the value is an object of the kernel that events show and no filter asks about.
    pub fn is_object(&self) -> bool {
        use ArgumentType::{BpfAttr, BpfMap, BpfProg, Cred, LoadInfo, Module, PerfEvent, UserNamespace};
        matches!(
            self.argument_type,
            UserNamespace | Cred | BpfAttr | BpfProg | BpfMap | PerfEvent | Module | LoadInfo
        )
    }

    /// Whether it stands in memory that is read for it: the address of a text, or a number.
    pub fn is_loaded(&self) -> bool {
        matches!(
            self.source,
            OperandSource::Chain(_)
                | OperandSource::Probe(ProbeArgument {
                    place: ArgumentPlace::Memory { .. },
                    ..
                })
        )
    }

    /// The parameter that is looked at.
    pub fn parameter(&self) -> Option<u32> {
        match &self.source {
            OperandSource::Parameter(index) => Some(*index),
            OperandSource::Chain(chain) => match chain.from {
                ChainStart::Parameter(index) => Some(index),
                ChainStart::CurrentTask => None,
            },
            OperandSource::Buffer(buffer) => buffer.address.parameter(),
            _ => None,
        }
    }

    /// Whether the value is a number that stands in memory.
    pub fn is_loaded_number(&self) -> bool {
        self.is_loaded()
            && !self.is_text()
            && !self.is_socket()
            && !self.is_object()
            && self.argument_type != ArgumentType::Nop
    }

    /// Whether what is read for one operand is what is read for the other: numbers are read whole, and cut to their types when they are
    /// used.
    pub fn shares_place(&self, other: &Self) -> bool {
        self == other || self.is_loaded_number() && other.is_loaded_number() && self.source == other.source
    }

    /// Whether the value is a `sock`, an `skb` or a `sockaddr`.
    pub fn is_socket(&self) -> bool {
        self.is_sock() || self.argument_type == ArgumentType::Sockaddr
    }

    /// Whether the value has the two ends of a connection: a `sock` or an `skb`.
    pub fn is_sock(&self) -> bool {
        matches!(self.argument_type, ArgumentType::Sock | ArgumentType::Skb)
    }
}
