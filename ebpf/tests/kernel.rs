//! Tests of the C side on the running kernel. They need root, BTF and BPF, and say so when they skip; the lab runs this same
//! binary on other kernels. `REQUIRE_KERNEL=1` turns a skip into a failure.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "kernel/cost.rs"]
mod cost;
#[path = "kernel/harness.rs"]
mod harness;
#[path = "kernel/hooks.rs"]
mod hooks;
#[path = "kernel/library.rs"]
mod library;
#[path = "kernel/sensor.rs"]
mod sensor;
