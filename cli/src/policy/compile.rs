//! `tetra policy compile`: policies to eBPF objects.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use policy_compiler::output::HookObject;
use policy_compiler::{Options, Passes, PolicySet, compile};

use super::facts::{Kernel, collect_for};
use super::source::load;
use super::{report, say_if_guessed};
use crate::arguments::Stage;

/// Compiles all files as one set and writes an object for each hook.
pub(super) fn run(
    files: &[PathBuf],
    output: Option<&Path>,
    btf: Option<&Path>,
    emit: &[Stage],
) -> anyhow::Result<ExitCode> {
    let mut loaded = load(files)?;
    if loaded.has_errors() {
        report(&loaded.diagnostics)?;
        return Ok(ExitCode::FAILURE);
    }
    let facts = collect_for(&loaded.policies, &Kernel::from_option(btf))?;
    say_if_guessed(&facts)?;
    let set = PolicySet::from_policies(std::mem::take(&mut loaded.policies));
    let compilation = compile(
        &set,
        &facts.kernel,
        &Options {
            emit_passes: !emit.is_empty(),
            ..Options::default()
        },
    );
    loaded.diagnostics.extend(compilation.diagnostics);
    report(&loaded.diagnostics)?;
    if loaded.has_errors() {
        return Ok(ExitCode::FAILURE);
    }
    for passes in &compilation.passes {
        print(passes, emit)?;
    }
    if let Some(folder) = output {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        for object in &compilation.objects {
            write(object, folder)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(passes: &Passes, emit: &[Stage]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for stage in emit {
        let (name, text) = match stage {
            Stage::Hir => ("hir", &passes.hir),
            Stage::Plan => ("plan", &passes.plan),
            Stage::Ir => ("ir", &passes.ir),
            Stage::Asm => ("asm", &passes.asm),
        };
        writeln!(out, "; {name} of {}\n{}\n", passes.name, text.trim_end())?;
    }
    Ok(())
}

fn write(object: &HookObject, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(file_name(object));
    fs::write(&path, &object.elf).with_context(|| format!("cannot write `{}`", path.display()))?;
    let policies = object.policy_slots.len();
    let policies = if policies == 1 {
        "1 policy".to_owned()
    } else {
        format!("{policies} policies")
    };
    Ok(writeln!(
        io::stdout().lock(),
        "{}: {} bytes, {policies}",
        path.display(),
        object.elf.len()
    )?)
}

/// `fentry-tcp_connect.o`, from the section's name, which is unique in a set.
fn file_name(object: &HookObject) -> String {
    let safe = |character: char| {
        if character.is_ascii_alphanumeric() || character == '_' {
            character
        } else {
            '-'
        }
    };
    format!("{}.o", object.section.chars().map(safe).collect::<String>())
}
