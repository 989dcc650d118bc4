//! `tetra policy explain`: what a code means, and what becomes of a policy on a kernel.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use tracingpolicy_crd::{Code, explain};

/// Explains each subject in turn.
pub(super) fn run(subjects: &[String], _btf: Option<&Path>) -> anyhow::Result<ExitCode> {
    for subject in subjects {
        match code(subject) {
            Some(code) => explain_code(code)?,
            None => bail!("`{subject}` is no code"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads `TP0012`. A file may have such a name too, but then it has a folder or an extension.
fn code(subject: &str) -> Option<Code> {
    let prefixed = subject.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("tp"));
    prefixed.then(|| subject.parse().ok()).flatten()
}

fn explain_code(code: Code) -> anyhow::Result<()> {
    let Some(page) = explain(code) else {
        bail!("there is no diagnostic {code}\nhelp: codes stand in brackets after `error` or `warning`");
    };
    Ok(writeln!(io::stdout().lock(), "{}", page.trim_end())?)
}
