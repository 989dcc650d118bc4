//! The main job on this machine's kernel, as a user sees it: a policy goes in, is enforced in the kernel, and comes back as
//! events. Works without kprobes, fentry and BPF LSM. What it shows it also checks: it fails if an event is missing.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::process::{self, KillOnDrop};
use crate::{build, packages};

/// Where the policies in `examples/quickstart/` look.
const DIRECTORY: &str = "/tmp/tetra-demo";

/// How long an event may take to be shown.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Refuse to install anything
    #[arg(long)]
    no_install: bool,
}

/// Runs the task.
///
/// # Errors
/// If the agent does not start, or does not do what it should.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    packages::ensure(packages::BUILD, !arguments.no_install)?;
    ensure!(
        process::text(Command::new("id").arg("-u"))? == "0",
        "loading eBPF programs needs root: run this as root"
    );
    let programs = build::programs()?;
    let stage = Stage::new()?;
    let policies = process::workspace().join("examples/quickstart");

    println!(
        "# the agent, with the policies in examples/quickstart, on kernel {}",
        process::text(Command::new("uname").arg("-r"))?
    );
    println!(
        "$ tetra-agent --tracing-policy-dir examples/quickstart --export-filename {}/events.json &",
        stage.state.display()
    );
    let options = [
        "--tracing-policy-dir".to_owned(),
        policies.display().to_string(),
        "--export-filename".to_owned(),
        stage.state.join("events.json").display().to_string(),
    ];
    let agent = Agent::start(
        &programs.agent,
        &programs.cli,
        &stage.state,
        &options,
        Duration::from_secs(30),
    )?;
    println!("$ tetra tracingpolicy list\n{}", await_policies(&agent, 2)?);

    println!("\n# live events of cat and sh");
    println!("$ tetra getevents -o compact --process '/(cat|sh|dash|bash)$'");
    let mut events = Events::follow(&agent)?;
    let watched = format!("{DIRECTORY}/watched/secret");
    let forbidden = format!("{DIRECTORY}/forbidden/file");

    println!("\n# a process starts another, which reads a file that no policy watches");
    let status = events.show(
        &["sh", "-c", "cat /etc/hostname > /dev/null; exit 3"],
        &["💥 exit", "exit 3"],
    )?;
    ensure!(status.code() == Some(3), "sh ended with {status}");
    println!("\n# a read of a watched file is reported (policy file-access)");
    events.show(&["cat", &watched], &["💥 exit", "watched/secret"])?;
    println!("\n# a read of a forbidden file ends the process before the open returns (policy kill)");
    let status = events.show(&["cat", &forbidden], &["💥 exit", "SIGKILL"])?;
    ensure!(status.signal() == Some(9), "cat was not killed: {status}");

    check_export(&stage.state.join("events.json"), &watched, &forbidden)?;
    drop(events);
    println!("\n# SIGTERM to the agent: programs, maps and links are gone with it");
    agent.stop()?;
    println!("\ndone: arguments, parents, the watched path and the kill are in the events");
    Ok(ExitCode::SUCCESS)
}

/// The files of the demo; removed at the end.
struct Stage {
    state: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        let stage = Self {
            state: Path::new(DIRECTORY).join("agent"),
        };
        remove_files();
        for directory in ["watched", "forbidden", "agent"] {
            std::fs::create_dir_all(Path::new(DIRECTORY).join(directory))?;
        }
        std::fs::write(Path::new(DIRECTORY).join("watched/secret"), "the secret\n")?;
        std::fs::write(Path::new(DIRECTORY).join("forbidden/file"), "never read\n")?;
        Ok(stage)
    }
}

fn remove_files() {
    // there is nothing to remove the first time
    let _none = std::fs::remove_dir_all(DIRECTORY);
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove_files();
    }
}

/// Waits until `count` policies are in force and gives the list.
fn await_policies(agent: &Agent, count: usize) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = agent.tetra(&["tracingpolicy", "list"])?;
        if list.lines().filter(|line| line.contains("enabled")).count() >= count {
            return Ok(list);
        }
        if Instant::now() > deadline {
            bail!("the policies are not in force:\n{list}\n{}", agent.log());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `tetra getevents`, its lines printed as they come.
struct Events {
    _process: KillOnDrop,
    lines: Receiver<String>,
}

impl Events {
    fn follow(agent: &Agent) -> Result<Self> {
        let colour = if std::io::stdout().is_terminal() {
            "always"
        } else {
            "never"
        };
        let mut command = agent.tetra_command();
        command.args([
            "getevents",
            "-o",
            "compact",
            "--color",
            colour,
            "--process",
            "/(cat|sh|dash|bash)$",
        ]);
        // an input that is no terminal would be read as a log
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting tetra getevents")?;
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        // ends with the stream, which ends with the process
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut events = Self {
            _process: KillOnDrop(child),
            lines,
        };
        events.await_connection()?;
        Ok(events)
    }

    /// Starts short processes until one of them is shown: events from before a client connected are not sent to it.
    fn await_connection(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            process::run(Command::new("sh").args(["-c", ": connected"]))?;
            if self.lines.recv_timeout(Duration::from_millis(200)).is_ok() {
                // the rest of the greeting, so that it does not stand among what is shown
                while self.lines.recv_timeout(Duration::from_millis(200)).is_ok() {}
                return Ok(());
            }
        }
        bail!("tetra getevents shows no events")
    }

    /// Runs a command and prints events until one holds all of `wanted`.
    fn show(&mut self, command: &[&str], wanted: &[&str]) -> Result<ExitStatus> {
        println!("$ {}", command.join(" "));
        let status = Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("running `{}`", command[0]))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    println!("{line}");
                    if wanted.iter().all(|text| line.contains(text)) {
                        return Ok(status);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("no event with {wanted:?} after {} s", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("tetra getevents ended"),
            }
        }
    }
}

/// Checks the export: what was shown is there, complete.
fn check_export(path: &Path, watched: &str, forbidden: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    let events: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("the export")?;
    let find = |what: &str, condition: &dyn Fn(&Value) -> bool| {
        events
            .iter()
            .find(|event| condition(event))
            .with_context(|| format!("the export has no {what}"))
    };
    let exec = find("exec event with arguments", &|event| {
        event["process_exec"]["process"]["arguments"] == *watched
    })?;
    ensure!(
        exec["process_exec"]["parent"]["pid"].is_u64(),
        "the exec event has no parent: {exec}"
    );
    let opens: Vec<&Value> = events
        .iter()
        .filter(|event| event["process_kprobe"]["policy_name"] == "file-access")
        .collect();
    let paths: Vec<&Value> = opens
        .iter()
        .map(|event| &event["process_kprobe"]["args"][1]["string_arg"])
        .collect();
    ensure!(paths == [watched], "the file-access policy reported {paths:?}");
    let kill = find("kill event", &|event| {
        event["process_kprobe"]["action"] == "KPROBE_ACTION_SIGKILL"
    })?;
    ensure!(
        kill["process_kprobe"]["args"][1]["string_arg"] == *forbidden,
        "the wrong open was answered: {kill}"
    );
    find("exit event of the killed process", &|event| {
        event["process_exit"]["signal"] == "SIGKILL" && event["process_exit"]["process"]["arguments"] == *forbidden
    })?;
    Ok(())
}
