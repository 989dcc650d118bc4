//! `tetra policy explain`: what a code means, and what becomes of policies on a kernel.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use policy_compiler::output::HookObject;
use policy_compiler::{Compilation, Options, PolicySet, attach, compile};
use tracingpolicy_crd::{Code, explain};

use super::cost::measure;
use super::facts::{Basis, Facts, collect_for};
use super::source::load;
use super::{report, say_if_guessed};

/// Explains codes in turn, then all files together, as the agent would load them.
pub(super) fn run(subjects: &[String], btf: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for subject in subjects {
        match code(subject) {
            Some(code) => explain_code(code)?,
            None => files.push(PathBuf::from(subject)),
        }
    }
    if files.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        explain_files(&files, btf)
    }
}

/// Reads `TP0012`. A file of such a name can be given as `./TP0012`.
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

fn explain_files(files: &[PathBuf], btf: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut loaded = load(files)?;
    let facts = collect_for(&loaded.policies, btf)?;
    say_if_guessed(&facts)?;
    let set = PolicySet::from_policies(std::mem::take(&mut loaded.policies));
    let compilation = compile(&set, &facts.kernel, &Options::default());
    describe(&set, &facts, &compilation, &mut io::stdout().lock())?;
    loaded.diagnostics.extend(compilation.diagnostics);
    report(&loaded.diagnostics)?;
    Ok(if loaded.has_errors() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn describe(set: &PolicySet, facts: &Facts, compilation: &Compilation, out: &mut impl Write) -> anyhow::Result<()> {
    let basis = match facts.basis {
        Basis::Tried => "its features were tried",
        Basis::Types | Basis::TypesInstead { .. } => "its features are guessed from its types",
    };
    writeln!(out, "on kernel {} ({basis})", facts.kernel.release)?;
    for object in &compilation.objects {
        writeln!(out)?;
        describe_hook(object, out)?;
    }
    let policies = set.entries.len() - compilation.failed.len();
    let (hooks, programs) = (
        compilation.objects.len(),
        if compilation.objects.len() == 1 {
            "program"
        } else {
            "programs"
        },
    );
    let policies = if policies == 1 {
        "1 policy".to_owned()
    } else {
        format!("{policies} policies")
    };
    writeln!(out, "\n{policies}: {hooks} {programs}, one for each hook")?;
    Ok(())
}

fn describe_hook(object: &HookObject, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{}", attach::describe(&object.attach))?;
    for reason in &object.reasons {
        writeln!(out, "    {reason}")?;
    }
    if object.enforces {
        writeln!(out, "    may stop what it sees, or kill")?;
    }
    let cost = measure(&object.elf, &object.symbol)?;
    writeln!(
        out,
        "    a call that matches nothing: from {} instructions on, work in helpers not counted",
        cost.least
    )?;
    writeln!(
        out,
        "    program: {} instructions, and {} in {} functions of the runtime library",
        cost.own, cost.library, cost.functions
    )?;
    Ok(())
}
