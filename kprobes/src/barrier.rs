//! Waiting for programs: what they may still read is not used for anything else.

use std::os::fd::AsFd as _;

use crate::sys::{Map, MapShape, MapType, SysError};

/// Waits until every program that runs now has ended.
///
/// The kernel does that (`synchronize_rcu`) after each change of an element of an array of maps, before it returns to user
/// space: `maybe_wait_bpf_programs` in kernel/bpf/syscall.c.
#[derive(Debug)]
pub(crate) struct Barrier {
    outer: Map,
    inner: Map,
}

impl Barrier {
    pub(crate) fn new() -> Result<Self, SysError> {
        let shape = |map_type| MapShape {
            map_type,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
        };
        let inner = Map::create("tetra_barrier", shape(MapType::Array), None)?;
        let outer = Map::create("tetra_barrier", shape(MapType::ArrayOfMaps), Some(inner.as_fd()))?;
        Ok(Self { outer, inner })
    }

    /// Returns when all have ended.
    pub(crate) fn wait(&self) -> Result<(), SysError> {
        self.outer.update_fd(0, self.inner.as_fd())
    }
}
