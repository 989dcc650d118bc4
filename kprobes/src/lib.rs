//! Loads compiled objects into the kernel, attaches them, swaps them atomically, and reads what they send.

#![deny(unsafe_code)]

mod assembler;
pub mod error;
mod hook;
pub mod kernel;
mod link;
pub mod maps;
pub mod object;
pub mod probe;
mod program;
pub mod rejection;
pub mod ring;
pub mod sensor;
mod set;
pub mod sys;

pub use error::{EnvironmentError, LoadError};
pub use link::describe;
pub use maps::{PolicyCounters, PolicyMode, ProcessTable, SensorCounters, SensorOptions, SharedMaps};
pub use program::LoadedProgram;
pub use ring::{Drained, Rings};
pub use sensor::Sensor;
pub use set::{AppliedSet, HookInfo, HookSet, remove_pins};
