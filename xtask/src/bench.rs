//! Benchmarks: what the agent adds to kernel operations, in instructions.
//!
//! A guest of the lab with `--icount` runs one instruction per nanosecond of its own time, so the figures are exact, repeat
//! to within a percent, and do not depend on what else this machine does. They are counts, not times: caches are not in
//! them. What an operation costs without an agent is measured in the same boot, in turns with what it costs with one.

mod guest;
mod report;
mod scale;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::lab::{self, Kernel, Lab, Machine, Outcome, Sink};
use crate::{build, packages};

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Task {
    /// Instructions that the agent adds to operations of the kernel
    Kernel(Arguments),
    /// The guest's half of `kernel`
    #[command(hide = true)]
    Guest(guest::Arguments),
}

/// Arguments of `cargo xtask bench kernel`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernel to measure on
    #[arg(short, long, default_value = "6.12")]
    kernel: Kernel,
    /// Form of the result on standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Measure only these rows
    #[arg(long, value_name = "ROW")]
    row: Vec<String>,
    /// How often each row is measured, without and with the agent in turn; the least counts on both sides
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Measure what 1 to 1,000 policies on one hook cost a call that matches none of them, instead of the rows
    #[arg(long, conflicts_with = "row")]
    scale: bool,
    /// Write the table into docs/PERFORMANCE.md
    #[arg(long)]
    write_docs: bool,
    /// Refuse to install anything
    #[arg(long)]
    no_install: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What stands in a row of the table.
struct Row {
    name: &'static str,
    /// What one turn does.
    operation: &'static str,
    /// Arguments of the benchmark program; `{}` stands for its directory.
    program: &'static [&'static str],
    /// Policy in force, relative to the workspace; none: the base sensor alone.
    policy: Option<&'static str>,
    /// What the reference agent adds on 6.12.
    reference: u64,
    /// What we want to add at most.
    target: u64,
}

/// All rows. Reference figures: Tetragon 4fbfe2d7 on Debian's 6.12.95 cloud kernel, measured the same way.
const ROWS: &[Row] = &[
    Row {
        name: "pread-miss",
        operation: "pread of one byte, path does not match",
        program: &["pread", "{}/miss"],
        policy: Some("examples/file-monitoring/monitor.yaml"),
        reference: 14_074,
        target: 600,
    },
    Row {
        name: "pread-match",
        operation: "pread of one byte, path matches, event posted",
        program: &["pread", "{}/.bashrc"],
        policy: Some("examples/file-monitoring/monitor.yaml"),
        reference: 13_644,
        target: 4_000,
    },
    Row {
        name: "fork",
        operation: "fork, exit and wait",
        program: &["fork"],
        policy: None,
        reference: 9_726,
        target: 3_000,
    },
    Row {
        name: "exec",
        operation: "vfork, exec of a static program, wait",
        program: &["exec", "{}/true"],
        policy: None,
        reference: 24_807,
        target: 8_000,
    },
    Row {
        name: "tcp",
        operation: "TCP connect, accept and close on loopback, 3 events",
        program: &["tcp"],
        policy: Some("examples/network/tcp-connect.yaml"),
        reference: 16_420,
        target: 4_500,
    },
    Row {
        name: "setuid",
        operation: "setuid(0), one int argument, no selector",
        program: &["setuid"],
        policy: Some("examples/syscalls/setuid.yaml"),
        reference: 4_448,
        target: 1_000,
    },
    Row {
        name: "getpid",
        operation: "getpid(), no policy on it",
        program: &["getpid"],
        policy: None,
        reference: 0,
        target: 0,
    },
    Row {
        name: "lsm-binary-miss",
        operation: "open and close, LSM policy whose matchBinaries excludes the process",
        program: &["open", "{}/miss"],
        policy: Some("xtask/bench/lsm-file-open.yaml"),
        reference: 4_406,
        target: 400,
    },
    Row {
        name: "syscall-event",
        operation: "getpid(), every system call posted",
        program: &["getpid"],
        policy: Some("examples/syscalls/all.yaml"),
        reference: 4_210,
        target: 1_000,
    },
];

/// Runs a benchmark.
///
/// # Errors
/// If something cannot be built or the guest fails.
pub(crate) fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Kernel(arguments) => kernel(&arguments),
        Task::Guest(arguments) => guest::run(&arguments),
    }
}

/// Takes the guest's report and passes its messages on.
#[derive(Default)]
struct Collected(Vec<u8>);

impl Sink for Collected {
    fn output(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn error_output(&mut self, bytes: &[u8]) {
        lab::Streams.error_output(bytes);
    }
}

fn kernel(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(unknown) = arguments
        .row
        .iter()
        .find(|name| ROWS.iter().all(|row| row.name != name.as_str()))
    {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("`{unknown}` is no row of the benchmark; rows are {}", known.join(", "));
    }
    packages::ensure(packages::BUILD, !arguments.no_install)?;
    let programs = build::programs()?;
    let bench = build::c_program("bench", include_str!("../bench/bench.c"), &[])?;
    let nothing = build::c_program("true", include_str!("../bench/true.c"), &["-nostdlib"])?;
    let lab = Lab::locate()?;
    lab::setup(&lab, &[arguments.kernel], !arguments.no_install)?;

    eprintln!("measuring on {}", arguments.kernel.name());
    let machine = Machine {
        kernel: arguments.kernel,
        options: lab::Options {
            icount: true,
            timeout: Duration::from_mins(20),
            ..lab::Options::default()
        },
        environment: Vec::new(),
    };
    let mut command: Vec<String> = vec![std::env::current_exe()?.display().to_string()];
    command.extend(["bench", "guest", "--agent"].map(str::to_owned));
    command.push(programs.agent.display().to_string());
    for (option, path) in [("--cli", &programs.cli), ("--bench", &bench), ("--nothing", &nothing)] {
        command.extend([option.to_owned(), path.display().to_string()]);
    }
    command.extend(["--rounds".to_owned(), arguments.rounds.to_string()]);
    if arguments.scale {
        command.push("--scale".to_owned());
    }
    for name in &arguments.row {
        command.extend(["--row".to_owned(), name.clone()]);
    }
    let mut collected = Collected::default();
    match machine.run(&lab, &command, &mut collected)? {
        Outcome::Exited(0) => {}
        other => bail!("the guest's half of the benchmark failed: {other:?}"),
    }
    if arguments.scale {
        return scaled(arguments, &collected.0);
    }
    let report = report::Report::from_guest(arguments.kernel, &collected.0)?;
    match arguments.format {
        Format::Text => print!("{}", report.text()),
        Format::Json => println!("{}", report.json()),
    }
    if arguments.write_docs {
        report.write_docs()?;
    }
    // a row that could not be measured is in the table, with its reason; it is a failure all the same
    Ok(if report.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn scaled(arguments: &Arguments, output: &[u8]) -> Result<ExitCode> {
    let report = scale::Report::from_guest(arguments.kernel, output)?;
    match arguments.format {
        Format::Text => print!("{}", report.text()),
        Format::Json => println!("{}", report.json()),
    }
    if arguments.write_docs {
        report.write_docs()?;
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
