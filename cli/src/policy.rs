//! `tetra policy`: policies without an agent.

mod check;
mod compile;
mod cost;
mod explain;
mod facts;
mod mode;
mod source;
mod test;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

pub(crate) use mode::with_mode;
use tracingpolicy_crd::{Diagnostic, render};

use crate::arguments::Policy;

/// Runs the command.
pub(crate) fn run(command: &Policy) -> anyhow::Result<ExitCode> {
    match command {
        Policy::Check {
            files,
            format,
            btf,
            color,
            review,
        } => check::run(files, *format, btf.as_deref(), *color, *review),
        Policy::Compile {
            files,
            output,
            btf,
            emit,
        } => compile::run(files, output.as_deref(), btf.as_deref(), emit),
        Policy::Test { files, btf, output } => test::run(files, btf.as_deref(), *output),
        Policy::Explain(arguments) => explain::run(arguments),
    }
}

/// Writes diagnostics to standard error, for commands whose output is something else.
fn report(diagnostics: &[Diagnostic]) -> io::Result<()> {
    if diagnostics.is_empty() {
        return Ok(());
    }
    let mut messages = io::stderr().lock();
    let colours = messages.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    writeln!(messages, "{}\n", render::full(diagnostics, colours).trim_end())
}

/// Says on standard error that the features of the running kernel were not tried, though they should have been.
fn say_if_guessed(facts: &facts::Facts) -> io::Result<()> {
    match &facts.basis {
        facts::Basis::TypesInstead { reason } => {
            writeln!(
                io::stderr().lock(),
                "note: what this kernel can do is guessed from its types: {reason}"
            )
        }
        facts::Basis::Tried | facts::Basis::Types => Ok(()),
    }
}
