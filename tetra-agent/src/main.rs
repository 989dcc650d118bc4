//! The agent's command: reads the configuration, runs the agent until it is told to stop.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context as _;
use tetra_agent::config::{Config, Layers, UNINSTALL, command};
use tetra_agent::run_files::PidFile;
use tetra_agent::{agent, logging, persistence};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let matches = command().get_matches();
    match start(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(matches: &clap::ArgMatches) -> anyhow::Result<()> {
    let config = Config::new(&Layers::read(matches)?)?;
    if matches.subcommand_name() == Some(UNINSTALL) {
        let _only = PidFile::acquire(&config.run_dir)?;
        say(&persistence::uninstall(&config.bpf_dir)?);
        return Ok(());
    }
    let log_level = logging::start(&config.log_level, config.log_format)?;
    // the server is all there is to wait for: events have a thread of their own
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("the agent stops");
        };
        agent::run(config, log_level, stop).await
    })
}

#[expect(clippy::print_stdout, reason = "the answer to a command")]
fn say(text: &str) {
    println!("{text}");
}

/// The only line that doesn't go through the log: there may be none yet.
#[expect(
    clippy::print_stderr,
    reason = "an error that ends the program is for whoever started it"
)]
fn complain(text: &str) {
    eprintln!("{text}");
}
