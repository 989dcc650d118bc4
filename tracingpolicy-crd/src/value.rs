//! The little languages inside of values: numbers, ranges, networks, ports, names of kernel constants.
//!
//! The checks here and the compiler read values with the same functions, so what one accepts the other understands.

mod constants;
mod network;
mod number;
mod rate_limit;
mod resolve;
mod syscall;

pub use constants::{
    ADDRESS_FAMILIES, CAPABILITIES, FILE_TYPES, PROTOCOLS, TCP_STATES, capability, capability_set, lookup,
};
pub use network::{Network, PortRange, network, ports};
pub use number::{bounds, integer, integer_of, range};
pub use rate_limit::rate_limit;
pub use resolve::{ResolveStep, resolve_path};
pub use syscall::{COMPAT_SYSCALL, SyscallAbi};
