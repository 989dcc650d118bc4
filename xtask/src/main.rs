//! Developer tasks, run as `cargo xtask TASK`. Nothing here is part of what users install.
//!
//! * [`lab`]: real kernels under QEMU, no KVM needed
//! * [`test`]: everything that must pass, with one summary line
//! * [`bench`]: instruction counts in the lab
//! * [`demo`]: the main job on this machine's kernel, as a user sees it
//! * [`crds`]: generated CRD files
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the tasks talk to the person who runs them"
)]

mod agent;
mod bench;
mod build;
mod crds;
mod demo;
mod lab;
mod packages;
mod process;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of tetra.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a command on one of the lab's kernels, or set the lab up
    Lab(lab::Arguments),
    /// Run all checks: host tests, lints, and the kernel tests on every kernel of the lab
    Test(test::Arguments),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Task),
    /// Show the main job on this machine's kernel
    Demo(demo::Arguments),
    /// Write the CRD files from the policy types
    Crds(crds::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Lab(arguments) => lab::run(arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(task) => bench::run(task),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Crds(arguments) => crds::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(125)
    })
}
