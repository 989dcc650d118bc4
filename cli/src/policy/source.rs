//! Files with policies.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tracingpolicy_crd::{Diagnostic, Policy, Source, parse};

/// Policies read from files, and what is wrong with those that are not among them.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) policies: Vec<Policy>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads and parses files; `-` is standard input.
pub(super) fn load(files: &[PathBuf]) -> anyhow::Result<Loaded> {
    let mut loaded = Loaded::default();
    for file in files {
        match read(file)? {
            Ok(source) => {
                let parsed = parse(&source);
                loaded.policies.extend(parsed.policies);
                loaded.diagnostics.extend(parsed.diagnostics);
            }
            Err(diagnostic) => loaded.diagnostics.push(diagnostic),
        }
    }
    Ok(loaded)
}

fn read(file: &Path) -> anyhow::Result<Result<Source, Diagnostic>> {
    let (name, bytes) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        ("<stdin>".to_owned(), bytes)
    } else {
        let name = file.display().to_string();
        (
            name.clone(),
            std::fs::read(file).with_context(|| format!("cannot read `{name}`"))?,
        )
    };
    Ok(Source::from_bytes(name, &bytes))
}
