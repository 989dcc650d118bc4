//! Command line of tetra.

pub mod compact;
mod syscall;
