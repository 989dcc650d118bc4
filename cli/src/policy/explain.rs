//! `tetra policy explain`: what a code means, and what becomes of policies on kernels.

mod kernels;
mod report;
mod text;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use policy_compiler::review::review;
use policy_compiler::{Options, PolicySet, compile};
use tracingpolicy_crd::{Code, explain};

use super::facts::{Kernel, collect_for};
use super::source::load;
use super::{report as report_diagnostics, say_if_guessed};
use crate::arguments::{Explain, ListFormat};
use report::Report;

/// Explains codes in turn, then all files together, as the agent would load them.
pub(super) fn run(arguments: &Explain) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for subject in &arguments.subjects {
        match code(subject) {
            Some(code) => explain_code(code)?,
            None => files.push(PathBuf::from(subject)),
        }
    }
    if files.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        explain_files(&files, arguments)
    }
}

/// Reads `TP0012`. A file of such a name can be given as `./TP0012`.
fn code(subject: &str) -> Option<Code> {
    let prefixed = subject.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("tp"));
    prefixed.then(|| subject.parse().ok()).flatten()
}

fn explain_code(code: Code) -> anyhow::Result<()> {
    let Some(page) = explain(code) else {
        bail!("there is no diagnostic {code}\nhelp: codes stand in brackets after `error`, `warning` or `note`");
    };
    Ok(writeln!(io::stdout().lock(), "{}", page.trim_end())?)
}

fn explain_files(files: &[PathBuf], arguments: &Explain) -> anyhow::Result<ExitCode> {
    let mut loaded = load(files)?;
    let kernels: Vec<Kernel> = if arguments.btf.is_empty() {
        vec![Kernel::Running]
    } else {
        arguments.btf.iter().map(|name| Kernel::from_argument(name)).collect()
    };
    let facts = collect_for(&loaded.policies, &kernels[0])?.with_any_namespaces();
    say_if_guessed(&facts)?;
    let others = kernels::collect(&loaded.policies, &kernels[1..]);
    let set = PolicySet::from_policies(std::mem::take(&mut loaded.policies));
    let compilation = compile(
        &set,
        &facts.kernel,
        &Options {
            emit_passes: true,
            ..Options::default()
        },
    );
    let mut report = Report::new(&set, &facts, &compilation)?;
    verify::verify(&facts, &compilation.objects, &mut report.hooks);
    if !others.is_empty() {
        report.kernels = kernels::compare(&set, &facts, &others);
    }
    let findings = review(&set, &facts.kernel);
    loaded.diagnostics.extend(compilation.diagnostics);
    match arguments.output {
        ListFormat::Text => {
            let colours = arguments.color.enabled();
            let text = text::render(&report, &findings, colours);
            io::stdout().lock().write_all(text.as_bytes())?;
            report_diagnostics(&loaded.diagnostics)?;
        }
        ListFormat::Json => {
            let json = report.to_json(&loaded.diagnostics, &findings)?;
            let mut out = io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &json)?;
            writeln!(out)?;
        }
    }
    Ok(if loaded.has_errors() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
