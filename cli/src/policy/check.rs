//! `tetra policy check`: what is wrong with policies.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use policy_compiler::review::review;
use policy_compiler::{Options, PolicySet, compile};
use tracingpolicy_crd::{Diagnostic, Severity, render};

use super::facts::{Kernel, collect_for};
use super::say_if_guessed;
use super::source::load;
use crate::arguments::DiagnosticFormat;
use crate::compact::ColourMode;

/// Prints all diagnostics, those of the language and those for the kernel, then counts them.
pub(super) fn run(
    files: &[PathBuf],
    format: DiagnosticFormat,
    btf: Option<&Path>,
    color: ColourMode,
    is_reviewed: bool,
) -> anyhow::Result<ExitCode> {
    let mut loaded = load(files)?;
    let mut usable = loaded.policies.len();
    if usable > 0 {
        match collect_for(&loaded.policies, &Kernel::from_option(btf)) {
            Ok(facts) => {
                say_if_guessed(&facts)?;
                let set = PolicySet::from_policies(std::mem::take(&mut loaded.policies));
                let compilation = compile(&set, &facts.kernel, &Options::default());
                usable -= compilation.failed.len();
                loaded.diagnostics.extend(compilation.diagnostics);
                if is_reviewed {
                    loaded.diagnostics.extend(review(&set, &facts.kernel));
                }
            }
            Err(error) if btf.is_none() => {
                writeln!(
                    io::stderr().lock(),
                    "note: only the language is checked, not what this kernel can do: {error:#}\nhelp: name a kernel's types \
                     with --btf"
                )?;
            }
            Err(error) => return Err(error),
        }
    }
    print(&loaded.diagnostics, format, color)?;
    let count = |severity| {
        loaded
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if format != DiagnosticFormat::Json {
        writeln!(
            io::stdout().lock(),
            "{} without errors, {}, {}",
            plural(usable, "policy", "policies"),
            plural(errors, "error", "errors"),
            plural(warnings, "warning", "warnings")
        )?;
    }
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(diagnostics: &[Diagnostic], format: DiagnosticFormat, color: ColourMode) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        DiagnosticFormat::Full if diagnostics.is_empty() => Ok(()),
        DiagnosticFormat::Full => writeln!(out, "{}\n", render::full(diagnostics, color.enabled()).trim_end()),
        DiagnosticFormat::Line => diagnostics
            .iter()
            .try_for_each(|diagnostic| writeln!(out, "{}", render::line(diagnostic))),
        DiagnosticFormat::Json => diagnostics
            .iter()
            .try_for_each(|diagnostic| writeln!(out, "{}", render::json(diagnostic))),
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
