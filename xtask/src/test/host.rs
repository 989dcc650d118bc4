//! What is checked on this machine.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::coverage;
use super::tally::{Libtest, Tally};
use crate::build::Programs;
use crate::process;

/// A check that passes or fails as a whole.
pub(super) struct Check {
    pub(super) name: &'static str,
    /// A cargo subcommand that may be missing; the check is then skipped.
    optional: Option<&'static str>,
    arguments: &'static [&'static str],
}

/// All checks.
pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "formatting",
        optional: None,
        arguments: &["fmt", "--all", "--check"],
    },
    Check {
        name: "lints",
        optional: None,
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    },
    Check {
        name: "licences and sources",
        optional: Some("cargo-deny"),
        arguments: &["deny", "--offline", "check", "bans", "licenses", "sources"],
    },
];

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn run(&self) -> Result<Tally> {
        if let Some(program) = self.optional
            && process::find(program).is_none()
        {
            let mut tally = Tally::success();
            tally.take_skips(&format!("{}: {program} is not installed", self.name));
            return Ok(tally);
        }
        let status = process::cargo().args(self.arguments).stdin(Stdio::null()).status()?;
        Ok(if status.success() {
            Tally::success()
        } else {
            Tally::failure()
        })
    }
}

/// A file that tests write the reasons of skips to.
struct SkipList(PathBuf);

impl SkipList {
    fn new() -> Self {
        let list = Self(std::env::temp_dir().join(format!("tetra-skips-{}", std::process::id())));
        list.remove();
        list
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    fn remove(&self) {
        // there is none if nothing was skipped
        let _none = std::fs::remove_file(&self.0);
    }
}

impl Drop for SkipList {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Runs `command`, passing its standard error on as it comes, and gives its standard error and output.
fn run_and_read(command: &mut Command, pass_on_output: bool) -> Result<String> {
    let line = process::display(command);
    let (error_side, output_side) = if pass_on_output {
        (Stdio::inherit(), Stdio::piped())
    } else {
        (Stdio::piped(), Stdio::inherit())
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output_side)
        .stderr(error_side)
        .spawn()
        .with_context(|| format!("running `{line}`"))?;
    let stream: Box<dyn std::io::Read> = if pass_on_output {
        Box::new(child.stdout.take().expect("piped"))
    } else {
        Box::new(child.stderr.take().expect("piped"))
    };
    let mut text = String::new();
    for line in BufReader::new(stream).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    child.wait()?;
    Ok(text)
}

/// How many pairs of a policy set and a call each of the sixteen hooks of the differential tests gets: more than 20,000 together.
const DIFFERENTIAL_PAIRS: &str = "1600";

/// All tests of the workspace, with nextest if it is installed.
///
/// # Errors
/// If the runner does not come to a summary.
pub(super) fn tests(programs: &Programs) -> Result<Tally> {
    let skips = SkipList::new();
    let directory = programs.agent.parent().context("the agent is in a directory")?;
    let mut command = process::cargo();
    let coverage = coverage::File::new();
    command
        .env("TETRA_SKIPS", &skips.0)
        .env("TETRA_COVERAGE", coverage.path())
        .env("TETRA_PROGRAMS", directory)
        .env("TETRA_DIFFERENTIAL_PAIRS", DIFFERENTIAL_PAIRS);
    let mut tally = if process::find("cargo-nextest").is_some() {
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--color",
            "never",
            "--show-progress",
            "none",
        ]);
        let text = run_and_read(&mut command, false)?;
        Tally::from_nextest(&text).context("nextest came to no summary")?
    } else {
        command.args(["test", "--workspace", "--all-targets", "--no-fail-fast"]);
        Libtest::read(&run_and_read(&mut command, true)?)
    };
    tally.take_skips(&skips.read());
    eprintln!("{}", coverage.table());
    Ok(tally)
}

/// Examples in the documentation.
///
/// # Errors
/// If cargo cannot be run.
pub(super) fn doc_tests() -> Result<Tally> {
    let text = run_and_read(
        process::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast", "--quiet"]),
        true,
    )?;
    let tally = Libtest::read(&text);
    // no summary at all: it did not compile
    Ok(if text.contains("test result:") {
        tally
    } else {
        Tally::failure()
    })
}
