//! Kernel tests inside a guest of the lab: test programs built here run there, since a guest sees this machine's files.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::table::{self, Lines};
use super::tally::{Libtest, Tally};
use crate::build::{self, Programs};
use crate::lab::{Kernel, Lab, Machine, Options, Outcome, Sink};

/// Packages whose tests depend on the kernel.
const PACKAGES: [&str; 3] = ["ebpf", "kprobes", "tests"];

/// The package whose tests must not skip anything: the lab has all they need.
const STRICT: &str = "tests";

/// How long one kernel may take, beside another.
const TIMEOUT: Duration = Duration::from_mins(45);

/// How many random sets of policies each kernel must load in a run; `TETRA_LOAD_SETS` asks for more.
const LOAD_SETS: &str = "100";

/// Pairs of a policy set and a call for each hook of the differential tests: most are made on this machine's kernel.
const DIFFERENTIAL_PAIRS: &str = "40";

/// Line that separates the list of skips from what test programs print.
const SKIPS: &str = "=== skips";

/// A test program.
pub(super) struct TestProgram {
    path: PathBuf,
    package: String,
}

/// Builds the test programs.
///
/// # Errors
/// If they do not compile.
pub(super) fn build() -> Result<Vec<TestProgram>> {
    let mut arguments = vec!["test", "--no-run", "--quiet"];
    for package in PACKAGES {
        arguments.extend(["--package", package]);
    }
    let programs: Vec<TestProgram> = build::executables(&arguments)?
        .into_iter()
        .filter(|executable| executable.is_test)
        .map(|executable| TestProgram {
            path: executable.path,
            package: executable.package,
        })
        .collect();
    ensure!(!programs.is_empty(), "cargo built no test programs");
    Ok(programs)
}

/// Prints lines as they come, marked with the kernel, and counts.
struct Reader {
    mark: String,
    partial: Vec<u8>,
    libtest: Libtest,
    tables: Lines,
    skips: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(skips) = &mut self.skips {
            skips.push_str(line);
            skips.push('\n');
        } else if line == SKIPS {
            self.skips = Some(String::new());
        } else if !self.tables.line(line) {
            self.libtest.line(line);
            if !line.is_empty() {
                eprintln!("{} {line}", self.mark);
            }
        }
    }
}

impl Sink for Reader {
    fn output(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line[..end]).trim_end());
        }
    }

    fn error_output(&mut self, bytes: &[u8]) {
        self.output(bytes);
    }
}

/// Runs all of `tests` on `kernel`.
///
/// # Errors
/// If the guest does not come up. Tests that a guest did not get to have failed.
pub(super) fn run(
    lab: &Lab,
    kernel: Kernel,
    programs: &Programs,
    tests: &[TestProgram],
    filter: Option<&str>,
) -> Result<Tally> {
    let mut script = "export TETRA_SKIPS=/run/tetra-skips\n".to_owned();
    for test in tests {
        let strict = if test.package == STRICT {
            "REQUIRE_KERNEL=1 "
        } else {
            ""
        };
        // one thread: agents would wait for each other anyway, and a panic of the kernel points at the test
        // writing to a string cannot fail
        let _infallible = writeln!(
            script,
            "cd {} && {strict}{} --test-threads=1 {} 2>&1",
            crate::process::workspace().join(&test.package).display(),
            test.path.display(),
            filter.unwrap_or_default()
        );
    }
    let _infallible = writeln!(script, "echo '{SKIPS}'; cat /run/tetra-skips 2>/dev/null; true");

    let directory = programs.agent.parent().context("the agent is in a directory")?;
    let mut environment = vec![
        ("TETRA_PROGRAMS".to_owned(), directory.display().to_string()),
        ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
        (
            "TETRA_LOAD_SETS".to_owned(),
            std::env::var("TETRA_LOAD_SETS").unwrap_or_else(|_| LOAD_SETS.to_owned()),
        ),
        ("TETRA_DIFFERENTIAL_PAIRS".to_owned(), DIFFERENTIAL_PAIRS.to_owned()),
    ];
    if let Ok(corpus) = std::env::var("TETRA_CORPUS") {
        environment.push(("TETRA_CORPUS".to_owned(), corpus));
    }
    // what the person who runs the task may ask of tests in guests
    let tables = table::KINDS.map(|kind| kind.variable);
    for variable in tables.into_iter().chain([
        "TETRA_HOOKS_SECONDS",
        "TETRA_HOOKS_SEED",
        "TETRA_DIFFERENTIAL_SEED",
        "TETRA_LOAD_SEED",
        "TETRA_PERSISTENCE_ROUNDS",
    ]) {
        environment.extend(std::env::var(variable).map(|value| (variable.to_owned(), value)));
    }
    let machine = Machine {
        kernel,
        options: Options {
            memory: 2048,
            timeout: TIMEOUT,
            ..Options::default()
        },
        environment,
    };
    let mut reader = Reader {
        mark: format!("[{}]", kernel.name()),
        partial: Vec::new(),
        libtest: Libtest::default(),
        tables: Lines::default(),
        skips: None,
    };
    let outcome = machine.run(lab, &["sh".to_owned(), "-c".to_owned(), script], &mut reader);
    let Reader {
        libtest, tables, skips, ..
    } = reader;
    tables.write(kernel.name())?;
    let mut tally = libtest.finish();
    match outcome {
        Ok(Outcome::Exited(0)) if skips.is_some() => {}
        Ok(Outcome::Exited(status)) => {
            eprintln!("kernel {}: the test script ended with status {status}", kernel.name());
            tally.failed += 1;
        }
        Ok(Outcome::TimedOut) => {
            eprintln!(
                "kernel {}: not done after {} min",
                kernel.name(),
                TIMEOUT.as_secs() / 60
            );
            tally.failed += 1;
        }
        Err(error) => {
            eprintln!("{error:#}");
            tally.failed += 1;
        }
    }
    tally.take_skips(&skips.unwrap_or_default());
    Ok(tally)
}
