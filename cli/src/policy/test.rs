//! `tetra policy test`: what policies do with calls that are made up, against what their authors expect.
//!
//! Calls run through the executable definition of the language, so no agent is needed, nothing is loaded, and nothing is killed.

mod call;
mod expectations;
mod outcome;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use policy_compiler::{PolicySet, hooks};
use serde_json::json;

use self::expectations::{Expectations, Outcome};
use super::facts::{Kernel, collect_for};
use super::source::{load, walk};
use super::{report, say_if_guessed};
use crate::arguments::ListFormat;

/// Extension of files of expectations. They are YAML, but whoever loads a directory of policies, kubectl and the agent among them,
/// takes all files there that say so.
const EXTENSION: &str = "test";

/// How a case went.
struct Verdict {
    name: String,
    expected: Outcome,
    found: Outcome,
}

/// Runs the cases of all files.
pub(super) fn run(files: &[PathBuf], btf: Option<&Path>, output: ListFormat) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    let mut count = 0;
    for file in test_files(files)? {
        let verdicts = run_file(&file, btf).with_context(|| format!("`{}`", file.display()))?;
        count += verdicts.len();
        failed += verdicts
            .iter()
            .filter(|verdict| verdict.found != verdict.expected)
            .count();
        let text = match output {
            ListFormat::Text => text(&file, &verdicts),
            ListFormat::Json => json_lines(&file, &verdicts),
        };
        io::stdout().lock().write_all(text.as_bytes())?;
    }
    if output == ListFormat::Text {
        let cases = if count == 1 { "case" } else { "cases" };
        writeln!(
            io::stdout().lock(),
            "{count} {cases}: {} passed, {failed} failed",
            count - failed
        )?;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The files with expectations that the user means: those named, those beside a policy that is named, those in a directory.
fn test_files(files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in files {
        if file.is_dir() {
            let before = found.len();
            walk(file, &is_test, &mut found)?;
            if found.len() == before {
                bail!(
                    "no expectations in `{}`\nhelp: those of `policy.yaml` are in `policy.{EXTENSION}`",
                    file.display()
                );
            }
        } else if is_test(file) {
            found.push(file.clone());
        } else {
            let beside = file.with_extension(EXTENSION);
            if !beside.exists() {
                bail!(
                    "`{}` has no expectations: there is no `{}`\nhelp: `tetra policy test --help` shows what it may hold",
                    file.display(),
                    beside.display()
                );
            }
            found.push(beside);
        }
    }
    Ok(found)
}

fn is_test(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == EXTENSION)
}

fn run_file(file: &Path, btf: Option<&Path>) -> anyhow::Result<Vec<Verdict>> {
    let text = std::fs::read_to_string(file).context("cannot be read")?;
    let expectations: Expectations = serde_yaml::from_str(&text)?;
    let policy = match &expectations.policy {
        Some(name) => file.with_file_name(name),
        None => file.with_extension("yaml"),
    };
    let loaded = load(std::slice::from_ref(&policy))?;
    report(&loaded.diagnostics)?;
    if loaded.has_errors() {
        bail!("`{}` has errors", policy.display());
    }
    let facts = collect_for(&loaded.policies, &Kernel::from_option(btf))?.with_any_namespaces();
    say_if_guessed(&facts)?;
    let set = PolicySet::from_policies(loaded.policies);
    let (hooks, diagnostics) = hooks(&set, &facts.kernel);
    if diagnostics.iter().any(tracingpolicy_crd::Diagnostic::is_error) {
        report(&diagnostics)?;
        bail!("`{}` has errors on {}", policy.display(), facts.kernel.release);
    }
    let cases = expectations.cases.into_iter();
    cases
        .map(|case| {
            let found = outcome::of(&set, &hooks, &case, &expectations.process, &facts.kernel)
                .with_context(|| format!("case `{}`", case.name))?;
            Ok(Verdict {
                name: case.name,
                expected: case.expect,
                found,
            })
        })
        .collect()
}

fn text(file: &Path, verdicts: &[Verdict]) -> String {
    let mut out = format!("{}\n", file.display());
    for verdict in verdicts {
        let written = if verdict.found == verdict.expected {
            writeln!(out, "  ok    {}", verdict.name)
        } else {
            writeln!(
                out,
                "  FAIL  {}\n          expected {}\n          found    {}",
                verdict.name, verdict.expected, verdict.found
            )
        };
        written.expect("writing to a string cannot fail");
    }
    out
}

fn json_lines(file: &Path, verdicts: &[Verdict]) -> String {
    let line = |verdict: &Verdict| {
        json!({
            "file": file.display().to_string(),
            "case": verdict.name,
            "passed": verdict.found == verdict.expected,
            "expected": verdict.expected.to_string(),
            "found": verdict.found.to_string(),
        })
        .to_string()
            + "\n"
    };
    verdicts.iter().map(line).collect()
}
