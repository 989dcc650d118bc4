//! Events: what happened, joined with who did it; and their conversion to API messages.

pub mod capabilities;
mod encode;
pub mod names;
pub mod permission;

use std::sync::Arc;

pub use encode::{EncodeConfig, Encoder};
use tetra_api::tetragon::KprobeArgument;

use crate::policy::{StackTraces, Template};
use crate::process::Process;
use crate::time::KernelTime;

/// Something that happened. Processes are shared with the process table.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: KernelTime,
    /// Thread that did it.
    pub tid: u32,
    /// Process that did it.
    pub process: Arc<Process>,
    /// Its parent, if known.
    pub parent: Option<Arc<Process>>,
    /// Ancestors beyond the parent, nearest first, if configured.
    pub ancestors: Vec<Arc<Process>>,
    /// References to the process in the process table, if the event shows them.
    pub references: Option<u32>,
    /// What.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventBody {
    /// The process executed an image.
    Exec(BinaryProperties),
    /// The process ended.
    Exit {
        /// `task_struct.exit_code`: status in bits 8 and up, core flag in bit 7, signal below.
        code: u32,
    },
    /// A hook of a policy fired.
    Policy(Box<PolicyEvent>),
}

/// What an exec did to privileges, and the inode of an image that has no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BinaryProperties {
    /// New effective uid, if the set-user-id bit changed it.
    pub setuid: Option<u32>,
    /// New effective gid, if the set-group-id bit changed it.
    pub setgid: Option<u32>,
    /// Whether file capabilities raised privileges.
    pub file_capabilities: bool,
    /// Inode number and link count of an image without a name (memfd, deleted file).
    pub inode: Option<(u64, u32)>,
}

/// A hook of a policy fired.
#[derive(Clone, Debug)]
pub struct PolicyEvent {
    /// The policy's side of the event.
    pub template: Arc<Template>,
    /// Arguments in the policy's order.
    pub arguments: Vec<KprobeArgument>,
    /// What else the hook reads, in the policy's order.
    pub data: Vec<KprobeArgument>,
    /// Stacks of the call.
    pub stacks: StackTraces,
    /// Return value, if the policy asked for it and the call returned.
    pub return_value: Option<KprobeArgument>,
    /// Last action executed at entry, as a `KprobeAction` number.
    pub action: u16,
    /// Last action executed at return.
    pub return_action: u16,
}
