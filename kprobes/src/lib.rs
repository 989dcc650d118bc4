//! Loads compiled objects into the kernel, attaches them, swaps them atomically, and reads what they send.
//!
//! ```text
//!   probe ── what this kernel can do ──────────────▶ policy-compiler
//!                                                          │ HookObject
//!   sensor ── SharedMaps ──▶ set ── object ── program ── hook ── link      (one stub per attach point)
//!      └──────── rings ◀───── kernel
//!                                     sys: bpf(2), perf_event_open(2), mmap(2), …
//! ```
//!
//! | module | |
//! |---|---|
//! | [`probe`] | finds out what the kernel can do, by doing it; facts for the compiler; self-test of enforcement |
//! | [`sensor`], [`maps`] | the base process sensor and the maps that it shares with all hook programs |
//! | [`WorkloadTable`], [`CgroupHierarchy`] | which policies apply to which cgroups |
//! | [`object`] | relocatable object → instructions: maps, calls, CO-RE, BTF |
//! | [`HookSet`] | the programs in force at all hooks, replaced as a whole at one instant |
//! | [`TestRun`] | a hook's program, attached to nothing and run on calls that are made up |
//! | [`pins`] | what outlives the process, and its adoption by the next one |
//! | [`ring`] | records of all ring buffers in the order of time |
//! | [`rejection`] | what the kernel refuses, as diagnostics at policy lines |
//! | [`sys`] | the system calls: the only `unsafe` of the project |
//!
//! Everything here is synchronous and blocks for as long as the kernel does; [`Rings`] can be polled by descriptor. Nothing outlives
//! the values that hold it, unless [`Sensor::pin`] and [`HookSet::set_pins`] ask for it: dropping a [`Sensor`] or a [`HookSet`] detaches.
//!
//! ```no_run
//! use kprobes::probe::{Needs, collect};
//! use kprobes::{HookSet, Sensor, SensorOptions};
//!
//! # fn main() -> Result<(), kprobes::LoadError> {
//! let facts = collect(&Needs::default())?;
//! let sensor = Sensor::load(&SensorOptions::default())?;
//! let mut rings = sensor.rings()?;
//! let mut hooks = HookSet::new(sensor.maps())?;
//! # let policies = policy_compiler::PolicySet::default();
//! let compilation = policy_compiler::compile(&policies, &facts, &policy_compiler::Options::default());
//! hooks.apply(compilation.objects)?;
//! rings.drain(|record| println!("{} bytes", record.len()))?;
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

mod assembler;
mod barrier;
mod binary;
mod cgroup;
pub mod error;
mod hook;
pub mod kernel;
mod link;
pub mod maps;
pub mod object;
pub mod pins;
pub mod probe;
mod program;
pub mod rejection;
pub mod ring;
pub mod sensor;
mod set;
pub mod sys;
mod test_run;

pub use cgroup::{CgroupController, CgroupHierarchy};
pub use error::{EnvironmentError, LoadError};
pub use link::describe;
pub use maps::{
    CgroupId, PolicyCounters, PolicyMode, ProcessTable, SensorCounters, SensorOptions, SharedMaps, WorkloadTable,
};
pub use pins::{PinDirectory, PinError, PinSurvey, RemovedPins, remove_pins};
pub use program::LoadedProgram;
pub use ring::{Drained, Rings};
pub use sensor::Sensor;
pub use set::{AppliedSet, HookInfo, HookSet, Verified};
pub use test_run::TestRun;
