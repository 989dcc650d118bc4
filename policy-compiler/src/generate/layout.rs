//! Offsets of the shared layouts as generated code uses them. They come from the mirrored structs of `ebpf`, nowhere else.

use std::mem::{offset_of, size_of};

use crate::hir::{CapabilitySet, Namespace};
use ebpf::record::{ArgumentSock, ArgumentSockaddr, PolicySet, Process, RecordArgument, RecordPolicy, Scratch, Text};

pub(super) use ebpf::record::{ARG_FAULT, ARG_RESOLVE_FAULT, ARG_USER_FAULT, TEXT_MAX};

pub(super) const TEXT_LEN: i32 = offset_of!(Text, len) as i32;
pub(super) const TEXT_FLAGS: i32 = offset_of!(Text, flags) as i32;
pub(super) const TEXT_MODE: i32 = offset_of!(Text, mode) as i32;
pub(super) const TEXT_STATUS: i32 = offset_of!(Text, status) as i32;
pub(super) const TEXT_BYTES: i32 = offset_of!(Text, bytes) as i32;
pub(super) const TEXT_SIZE: u32 = size_of::<Text>() as u32;

pub(super) const SCRATCH_SIZE: u32 = size_of::<Scratch>() as u32;
pub(super) const FRAME_BYTES: u32 = ebpf::record::FRAME_WORDS as u32 * 8;
pub(super) const FRAME: i32 = offset_of!(Scratch, frame) as i32;

pub(super) const CURSOR: i32 = offset_of!(Scratch, cursor) as i32;
pub(super) const RECORD: i32 = offset_of!(Scratch, record) as i32;
pub(super) const RECORD_ARGUMENT_COUNT: i32 = RECORD + offset_of!(RecordPolicy, argument_count) as i32;
/// Where the arguments of a record begin.
pub(super) const RECORD_ARGUMENTS: u32 = size_of::<RecordPolicy>() as u32;
pub(super) const ARGUMENT_HEADER: u32 = size_of::<RecordArgument>() as u32;

pub(super) const PROCESS_SIZE: u32 = size_of::<Process>() as u32;
pub(super) const PROCESS_NSPID: i32 = offset_of!(Process, nspid) as i32;
/// Offset in the process record of what it says of a namespace.
pub(super) fn process_namespace(namespace: Namespace) -> i32 {
    (offset_of!(Process, ns) + namespace as usize * 4) as i32
}

/// Likewise of a set of capabilities.
pub(super) fn process_capabilities(set: CapabilitySet) -> i32 {
    (offset_of!(Process, capabilities) + set as usize * 8) as i32
}

pub(super) const PROCESS_POLICY_WORDS: i32 = offset_of!(Process, policy_words) as i32;

pub(super) const POLICY_SET_HOOKS: i32 = offset_of!(PolicySet, hooks) as i32;
pub(super) const POLICY_SET_SLOTS: i32 = offset_of!(PolicySet, slots) as i32;

/// Offset in the scratch element of the `index`-th socket.
pub(super) fn sock(index: usize) -> i32 {
    (offset_of!(Scratch, sock) + index * size_of::<ArgumentSock>()) as i32
}

/// Offset in the scratch element of the `index`-th socket address.
pub(super) fn sockaddr(index: usize) -> i32 {
    (offset_of!(Scratch, sockaddr) + index * size_of::<ArgumentSockaddr>()) as i32
}
