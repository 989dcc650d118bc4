//! Everything that must pass, in one command with one summary line.
//!
//! On this machine: formatting, lints, unit, golden and integration tests, documentation tests. In the lab: the tests that
//! need a kernel, on every kernel, one boot each. A test that cannot run says why and is counted as skipped; a step that
//! fails does not keep the others from running.

mod coverage;
mod guest;
mod host;
mod table;
mod tally;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use crate::lab::{self, Kernel, Lab};
use crate::{build, packages};
use tally::Tally;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave the lab's kernels out
    #[arg(long)]
    quick: bool,
    /// Refuse to install anything
    #[arg(long)]
    no_install: bool,
    /// Kernels of the lab to test on; all by default
    #[arg(short, long)]
    kernel: Vec<Kernel>,
    /// Only the kernel tests: no host tests, no lints
    #[arg(long, conflicts_with = "quick")]
    kernels_only: bool,
    /// Only tests whose name contains this (with --kernels-only)
    #[arg(long, requires = "kernels_only", value_name = "TEXT")]
    filter: Option<String>,
}

/// One part of the run, as the summary shows it.
struct Part {
    name: String,
    tally: Tally,
    seconds: u64,
}

impl Part {
    /// Runs it; an error is a failure.
    fn run(name: String, run: &mut dyn FnMut() -> Result<Tally>) -> Self {
        eprintln!("\n=== {name}");
        let begin = Instant::now();
        let tally = run().unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Tally::failure()
        });
        Self {
            name,
            tally,
            seconds: begin.elapsed().as_secs(),
        }
    }
}

/// How many guests run at a time. A guest's tests run one after the other, so that one guest leaves half of a small machine idle.
const GUESTS: usize = 2;

/// Runs tests on kernels, [`GUESTS`] at a time, the newest first because they take longest; the parts come in the order of
/// `kernels`.
fn on_kernels(kernels: &[Kernel], run: &(dyn Fn(Kernel) -> Result<Tally> + Sync)) -> Vec<Part> {
    let waiting = Mutex::new(kernels.iter().copied().enumerate().collect::<Vec<_>>());
    let done = Mutex::new(Vec::new());
    // a thread that panics ends the task: a scope passes panics on
    let lock = "no thread panics while it has this";
    std::thread::scope(|scope| {
        for _ in 0..GUESTS {
            scope.spawn(|| {
                loop {
                    let Some((place, kernel)) = waiting.lock().expect(lock).pop() else {
                        return;
                    };
                    let part = Part::run(format!("tests on kernel {}", kernel.name()), &mut || run(kernel));
                    done.lock().expect(lock).push((place, part));
                }
            });
        }
    });
    let mut done = done.into_inner().expect(lock);
    done.sort_by_key(|&(place, _)| place);
    done.into_iter().map(|(_, part)| part).collect()
}

/// Runs the task.
///
/// # Errors
/// If the machine cannot be prepared or the workspace does not build.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let may_install = !arguments.no_install;
    packages::ensure(packages::BUILD, may_install)?;
    packages::ensure(packages::TEST, may_install)?;
    let lab = Lab::locate()?;
    let kernels: &[Kernel] = match arguments.kernel.as_slice() {
        _ if arguments.quick => &[],
        [] => &Kernel::ALL,
        some => some,
    };
    if !kernels.is_empty() {
        lab::setup(&lab, kernels, may_install)?;
    }
    let mut parts = Vec::new();
    let mut part = |name: String, run: &mut dyn FnMut() -> Result<Tally>| parts.push(Part::run(name, run));

    eprintln!("\n=== build");
    let programs = build::programs()?;
    if !arguments.kernels_only {
        for check in host::CHECKS {
            part(check.name.to_owned(), &mut || check.run());
        }
        part("tests on this machine".to_owned(), &mut || host::tests(&programs));
        part("documentation tests".to_owned(), &mut host::doc_tests);
    }
    if !kernels.is_empty() {
        let tests = guest::build()?;
        parts.extend(on_kernels(kernels, &|kernel| {
            guest::run(&lab, kernel, &programs, &tests, arguments.filter.as_deref())
        }));
    }

    let mut total = Tally::default();
    eprintln!();
    for Part { name, tally, seconds } in &parts {
        eprintln!("{name:<28} {tally:<36} {seconds:>4} s");
        for reason in &tally.skip_reasons {
            eprintln!("    skipped {reason}");
        }
        total.add(tally);
    }
    // on standard output and last: what scripts read
    println!("{total}");
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
