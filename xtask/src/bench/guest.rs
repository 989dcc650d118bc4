//! The half of the benchmark that runs in the guest: measures without agent, starts the agent, puts one policy after the
//! other in force and measures again. One line of JSON per row goes to standard output.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{ROWS, Row, scale};
use crate::agent::Agent;
use crate::process;

/// Files of the benchmark: on a tmpfs, so that the path of a read is the same on every machine.
const DIRECTORY: &str = "/run/tetra-bench";

/// Arguments of the guest's half.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    agent: PathBuf,
    #[arg(long)]
    cli: PathBuf,
    /// The benchmark program
    #[arg(long)]
    bench: PathBuf,
    /// The program that does nothing
    #[arg(long)]
    nothing: PathBuf,
    #[arg(long)]
    row: Vec<String>,
    #[arg(long)]
    rounds: u32,
    #[arg(long)]
    scale: bool,
}

/// Measures all rows.
///
/// # Errors
/// If the guest is not as it should be, or the agent does not start. What goes wrong with one row is reported in it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    prepare(arguments)?;
    if arguments.scale {
        scale::Guest {
            agent: &arguments.agent,
            cli: &arguments.cli,
            directory: &scale::directory(),
            measure: &|program| turn(program),
        }
        .run()?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted: Vec<&Row> = ROWS
        .iter()
        .filter(|row| arguments.row.is_empty() || arguments.row.iter().any(|name| name == row.name))
        .collect();
    let mut lines: Vec<Line<'_>> = wanted.iter().map(|row| Line::new(row)).collect();
    for round in 1..=arguments.rounds {
        eprintln!("  round {round} of {}: without agent", arguments.rounds);
        for line in &mut lines {
            line.without_agent()?;
        }
        let state = Path::new(DIRECTORY).join(format!("agent{round}"));
        std::fs::create_dir_all(&state)?;
        let options = [
            "--export-filename".to_owned(),
            state.join("events.json").display().to_string(),
        ];
        let agent = Agent::start(
            &arguments.agent,
            &arguments.cli,
            &state,
            &options,
            Duration::from_mins(2),
        )?;
        for line in &mut lines {
            eprintln!("  {}", line.row.name);
            line.with_agent(&agent);
        }
        agent.stop()?;
    }
    for line in lines {
        println!("{}", line.report());
    }
    Ok(ExitCode::SUCCESS)
}

/// What is measured of one row.
///
/// The least of several rounds counts on both sides: what an allocation costs depends on how full the kernel's caches
/// are, which differs by what ran before. Such noise only adds, and for a fork it adds up to 2,000 instructions, with
/// and without the agent.
struct Line<'a> {
    row: &'a Row,
    base: Vec<u64>,
    ours: Result<Vec<u64>>,
}

impl<'a> Line<'a> {
    fn new(row: &'a Row) -> Self {
        Self {
            row,
            base: Vec::new(),
            ours: Ok(Vec::new()),
        }
    }

    fn without_agent(&mut self) -> Result<()> {
        let count = measure(self.row).with_context(|| format!("row {} without agent", self.row.name))?;
        self.base.push(count);
        Ok(())
    }

    fn with_agent(&mut self, agent: &Agent) {
        if let Ok(counts) = &mut self.ours {
            match with_agent(self.row, agent) {
                Ok(count) => counts.push(count),
                Err(error) => self.ours = Err(error),
            }
        }
    }

    fn report(&self) -> serde_json::Value {
        let least = |counts: &[u64]| counts.iter().min().copied();
        match &self.ours {
            Ok(ours) => json!({
                "row": self.row.name,
                "base": least(&self.base),
                "ours": least(ours),
                "rounds": {"base": self.base, "ours": ours},
            }),
            Err(error) => json!({"row": self.row.name, "base": least(&self.base), "error": format!("{error:#}")}),
        }
    }
}

fn prepare(arguments: &Arguments) -> Result<()> {
    // address space layout changes how many pages a fork copies, and a throttled real-time task would be interrupted
    std::fs::write("/proc/sys/kernel/randomize_va_space", "0").context("not in a guest, or not root")?;
    std::fs::write("/proc/sys/kernel/sched_rt_runtime_us", "-1")?;
    let directory = Path::new(DIRECTORY);
    std::fs::create_dir_all(directory)?;
    for name in ["miss", ".bashrc"] {
        std::fs::write(directory.join(name), "x")?;
    }
    std::fs::copy(&arguments.bench, directory.join("bench"))?;
    std::fs::copy(&arguments.nothing, directory.join("true"))?;
    Ok(())
}

/// Instructions of one turn of `row`'s operation, as things are now.
fn measure(row: &Row) -> Result<u64> {
    turn(row.program)
}

/// Instructions of one turn of the benchmark program.
fn turn(program: &[&str]) -> Result<u64> {
    let arguments = program.iter().map(|argument| argument.replace("{}", DIRECTORY));
    let text = process::text(Command::new(Path::new(DIRECTORY).join("bench")).args(arguments))?;
    text.parse()
        .with_context(|| format!("the benchmark program printed `{text}`"))
}

fn with_agent(row: &Row, agent: &Agent) -> Result<u64> {
    let Some(policy) = row.policy else { return measure(row) };
    let path = process::workspace().join(policy);
    agent.tetra(&["tracingpolicy", "add", &path.display().to_string()])?;
    let measured = measure(row);
    let text = std::fs::read_to_string(&path)?;
    let name = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("name: "))
        .context("the policy has no name")?;
    agent.tetra(&["tracingpolicy", "delete", name])?;
    measured
}
