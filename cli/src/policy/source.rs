//! Files with policies.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
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

/// Reads and parses files, and all files of policies in directories; `-` is standard input.
pub(super) fn load(files: &[PathBuf]) -> anyhow::Result<Loaded> {
    let mut loaded = Loaded::default();
    for file in expand(files)? {
        match read(&file)? {
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

/// Puts in the place of each directory the files in it and below that can hold policies, in order of their names.
fn expand(files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut expanded = Vec::new();
    for file in files {
        if file.is_dir() {
            let before = expanded.len();
            walk(file, &is_policy, &mut expanded)?;
            if expanded.len() == before {
                bail!(
                    "no policies in `{}`\nhelp: files of policies end in .yaml, .yml or .json",
                    file.display()
                );
            }
        } else {
            expanded.push(file.clone());
        }
    }
    Ok(expanded)
}

/// Whether a file's name says that it holds policies.
fn is_policy(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

/// The files that are wanted in a directory and below, in order of their names.
pub(super) fn walk(
    directory: &Path,
    is_wanted: &dyn Fn(&Path) -> bool,
    files: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read `{}`", directory.display());
    let mut entries = std::fs::read_dir(directory)
        .with_context(cannot)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(cannot)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // links to directories are not followed: they may lead back here
        if entry.file_type().with_context(cannot)?.is_dir() {
            walk(&path, is_wanted, files)?;
        } else if is_wanted(&path) {
            files.push(path);
        }
    }
    Ok(())
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
