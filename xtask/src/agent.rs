//! A running agent, as the benchmarks and the demo need it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, KillOnDrop};

/// An agent with its files in a directory of its own.
pub(crate) struct Agent {
    process: KillOnDrop,
    cli: PathBuf,
    directory: PathBuf,
}

impl Agent {
    /// Starts `agent` with `options` and waits until it answers; its files go to `directory`, which must exist.
    ///
    /// # Errors
    /// If it does not come up before `patience` is over; the message holds the end of its log.
    pub(crate) fn start(
        agent: &Path,
        cli: &Path,
        directory: &Path,
        options: &[String],
        patience: Duration,
    ) -> Result<Self> {
        let log = std::fs::File::create(directory.join("log"))?;
        let child = process::bound_to_us(agent)
            .arg("--server-address")
            .arg(format!("unix://{}", directory.join("sock").display()))
            .arg("--run-dir")
            .arg(directory)
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the agent")?;
        let mut agent = Self {
            process: KillOnDrop(child),
            cli: cli.to_owned(),
            directory: directory.to_owned(),
        };
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = agent.process.0.try_wait()? {
                bail!("the agent ended: {status}\n{}", agent.log());
            }
            if agent.tetra(&["status"]).is_ok() {
                return Ok(agent);
            }
            if Instant::now() > deadline {
                bail!(
                    "the agent does not answer after {} s\n{}",
                    patience.as_secs(),
                    agent.log()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A call of the command line, with the agent's address.
    pub(crate) fn tetra_command(&self) -> Command {
        let mut command = Command::new(&self.cli);
        command
            .args(["--timeout", "110s"])
            .arg("--server-address")
            .arg(format!("unix://{}", self.directory.join("sock").display()));
        command
    }

    /// Runs the command line and gives what it prints.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn tetra(&self, arguments: &[&str]) -> Result<String> {
        process::text(self.tetra_command().args(arguments))
    }

    /// Process id of the agent.
    pub(crate) fn pid(&self) -> u32 {
        // setpriv has become the agent by exec
        self.process.0.id()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.directory.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Ends it as a service manager would, and waits for it.
    ///
    /// # Errors
    /// If it does not end in time or ends with a failure.
    pub(crate) fn stop(mut self) -> Result<()> {
        process::output(Command::new("kill").arg("-TERM").arg(self.pid().to_string()))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.process.0.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the agent ended with {status} on SIGTERM\n{}", self.log()),
                None if Instant::now() > deadline => bail!("the agent does not end on SIGTERM\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}
