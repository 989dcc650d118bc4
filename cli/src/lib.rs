//! Command line of tetra.
//!
//! Two kinds of commands: those that talk to the agent over gRPC (`getevents`, `tracingpolicy`,
//! `status`, …), and those that need no agent because they use the same crates as it does
//! (`policy`, `probe`, and `getevents` reading a log). Nothing here touches the kernel except to
//! ask what it can do.
#![forbid(unsafe_code)]

mod address;
mod agent;
mod arguments;
mod client;
pub mod compact;
mod duration;
mod getevents;
mod paragraph;
mod policy;
mod probe;
mod status;
mod syscall;
mod table;
mod tracingpolicy;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser as _;

/// Runs the command line; errors go to standard error.
///
/// Exits with 0 if all went well, 1 if not, and 2 if the arguments make no sense.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // help and version come this way too
            let printed = error.print();
            return if error.use_stderr() || printed.is_err() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run_command(&arguments) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // nowhere to report a failure to report
            drop(writeln!(io::stderr().lock(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_command(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let connection = &arguments.connection;
    match &arguments.command {
        Command::Policy { command } => return policy::run(command),
        Command::Probe(options) => probe::run(options)?,
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match command {
                    Command::Getevents(options) => getevents::run(connection, options).await,
                    Command::Tracingpolicy { command } => tracingpolicy::run(connection, command).await,
                    Command::Status(options) => status::run(connection, options).await,
                    Command::Version(options) => agent::version(connection, options).await,
                    Command::Info => agent::info(connection).await,
                    Command::Loglevel { command } => agent::log_level(connection, command).await,
                    Command::Policy { .. } | Command::Probe(_) => unreachable!("handled above"),
                }
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether whoever read our output has gone, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.map(io::Error::kind).or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}
