//! Stack traces of events.

use ebpf::record::{Addresses, Stacks};
use tetra_api::tetragon::StackTraceEntry;

/// Stack traces of an event, innermost entry first; empty where the policy does not ask for them. They come as addresses, and get their
/// names from [`crate::symbols`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StackTraces {
    /// Of the kernel.
    pub kernel: Vec<StackTraceEntry>,
    /// Of the process.
    pub user: Vec<StackTraceEntry>,
}

impl From<&Stacks<'_>> for StackTraces {
    fn from(stacks: &Stacks<'_>) -> Self {
        Self {
            kernel: entries(stacks.kernel),
            user: entries(stacks.user),
        }
    }
}

fn entries(addresses: Addresses<'_>) -> Vec<StackTraceEntry> {
    let entry = |address| StackTraceEntry {
        address,
        ..StackTraceEntry::default()
    };
    addresses.iter().map(entry).collect()
}
