//! A running agent under test.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::activity::Activity;
use crate::event::Event;
use crate::scratch::Scratch;
use crate::{await_some, output_of, program, try_output_of};

/// The agent, with its own socket, export file and log. Only one may run on a machine: tests wait for each other.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    scratch: Scratch,
    options: Vec<String>,
    sentinels: u32,
    /// Held as long as this agent lives; the kernel releases it, whatever happens to us.
    _turn: File,
}

impl Agent {
    /// Starts the agent for the test `name`, with no policy, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// [`Self::start`], with further options.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start_with(name: &str, options: &[&str]) -> Self {
        let turn = turn();
        let scratch = Scratch::new(&format!("{name}-agent"));
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let child = spawn(&scratch, &options);
        let mut agent = Self {
            child,
            scratch,
            options,
            sentinels: 0,
            _turn: turn,
        };
        agent.await_answer();
        agent
    }

    fn await_answer(&mut self) {
        await_some("the agent answers", || {
            if let Some(status) = self.child.try_wait().expect("the agent can be asked for its status") {
                panic!("the agent ended: {status}\n{}", self.log());
            }
            self.try_tetra(&["status"]).0.then_some(())
        });
    }

    /// Ends it with SIGKILL: it can do nothing about it.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("the agent can be killed");
        self.child.wait().expect("the agent can be waited for");
    }

    /// Starts the next agent with the same options and files, after [`Self::kill`] or [`Self::stop`].
    ///
    /// # Panics
    /// If it does not answer.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.scratch, &self.options);
        self.await_answer();
    }

    /// Starts the next agent and ends it with SIGKILL after some time, whatever it has come to by then.
    ///
    /// # Panics
    /// If it cannot be started or killed.
    pub fn start_and_kill(&mut self, after: Duration) {
        let start = Instant::now();
        self.child = spawn(&self.scratch, &self.options);
        await_some("some time has passed", || (start.elapsed() >= after).then_some(()));
        self.kill();
    }

    /// Adds an option for the next agent.
    pub fn push_option(&mut self, option: &str) {
        self.options.push(option.to_owned());
    }

    /// Takes an option from the next agent.
    pub fn remove_option(&mut self, option: &str) {
        self.options.retain(|known| known != option);
    }

    /// Runs `tetra-agent uninstall` with its options; what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn uninstall(&self) -> String {
        output_of(command(&self.scratch, &self.options).arg("uninstall"))
    }

    /// All events exported up to now, without waiting for any.
    ///
    /// # Panics
    /// If the export cannot be read.
    pub fn exported(&self) -> Vec<Event> {
        let text = std::fs::read_to_string(self.scratch.path("events.json")).expect("the export can be read");
        let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        complete.lines().map(Event::parse).collect()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of its files.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    /// Runs the command line against it: success, and what it printed.
    pub fn try_tetra(&self, arguments: &[&str]) -> (bool, String) {
        try_output_of(&mut self.tetra_command(arguments))
    }

    /// Runs the command line against it.
    ///
    /// # Panics
    /// If the command fails.
    pub fn tetra(&self, arguments: &[&str]) -> String {
        let (ok, text) = self.try_tetra(arguments);
        assert!(
            ok,
            "tetra {arguments:?} failed:\n{text}\n--- log of the agent\n{}",
            self.log()
        );
        text
    }

    fn tetra_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("tetra"));
        command
            .arg("--server-address")
            .arg(format!("unix://{}", self.scratch.text("sock")))
            // an emulated machine that shares its processors needs its time to verify a large program
            .args(["--timeout", "110s"])
            .args(arguments);
        command
    }

    /// Puts a policy in force; it is in force when this returns.
    ///
    /// # Panics
    /// If it is refused.
    pub fn add_policy(&self, yaml: &str) {
        let path = self.scratch.write("policy.yaml", yaml);
        self.tetra(&["tracingpolicy", "add", &path]);
    }

    /// Takes a policy out of force.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn delete_policy(&self, name: &str) {
        self.tetra(&["tracingpolicy", "delete", name]);
    }

    /// Waits until everything that the kernel has sent before this call is exported: a process started here is waited for
    /// in the export, which is in the order of time.
    ///
    /// # Panics
    /// If the process does not appear.
    pub fn await_export(&mut self) {
        self.sentinels += 1;
        let path = self.scratch.path("events.json");
        let mut from = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let mark = Activity::named(&self.scratch, &format!("sentinel-{}", self.sentinels));
        assert!(mark.run(&[&["exit"]]).status.success());
        let mut rest = String::new();
        await_some("the sentinel's exit event", || {
            let mut file = File::open(&path).ok()?;
            file.seek(SeekFrom::Start(from)).expect("the export can be read");
            from += file.read_to_string(&mut rest).expect("the export is text") as u64;
            while let Some(end) = rest.find('\n') {
                let line: String = rest.drain(..=end).collect();
                if line.contains(mark.binary()) {
                    let event = Event::parse(&line);
                    if event.kind() == "process_exit" && event.binary() == mark.binary() {
                        return Some(());
                    }
                }
            }
            None
        });
    }

    /// All events up to now, see [`Self::await_export`].
    ///
    /// # Panics
    /// If the export cannot be read.
    pub fn events(&mut self) -> Vec<Event> {
        self.await_export();
        self.exported()
    }

    /// Waits until `count` policies are in force.
    ///
    /// # Panics
    /// If they do not come to be.
    pub fn await_policies(&self, count: usize) {
        await_some("the policies are in force", || {
            let list = self.tetra(&["tracingpolicy", "list", "-o", "json"]);
            (list.matches("TP_STATE_ENABLED").count() >= count).then_some(())
        });
    }

    /// How many processes the kernel's side knows.
    ///
    /// # Panics
    /// If the map cannot be read.
    pub fn process_table_size(&self) -> usize {
        dump_map("tetra_processes").len()
    }

    /// What the base sensor could not send, by its own counters.
    ///
    /// # Panics
    /// If the map cannot be read.
    pub fn lost(&self) -> Lost {
        // enum sensor_counter of ebpf/c/record.h
        let counters = dump_map("tetra_sensor_counters");
        let sum = |index: usize| {
            let values = counters[index]["values"].as_array().expect("a per-CPU map");
            values.iter().map(|value| integer(&value["value"])).sum()
        };
        Lost {
            exec: sum(1),
            exit: sum(5),
        }
    }

    /// Counters of the policy in a slot, by `enum policy_counter`, all CPUs together.
    ///
    /// # Panics
    /// If the map cannot be read.
    pub fn policy_counters(&self, slot: usize) -> Vec<u64> {
        const WORD: usize = 8;
        let counters = dump_map("tetra_policy_counters");
        let values = counters[slot]["values"].as_array().expect("a per-CPU map");
        let mut sums = Vec::new();
        for value in values {
            let bytes = value["value"].as_array().expect("bpftool prints bytes");
            sums.resize(bytes.len() / WORD, 0);
            for (sum, word) in sums.iter_mut().zip(bytes.chunks(WORD)) {
                *sum += integer(&Value::Array(word.to_vec()));
            }
        }
        sums
    }

    /// Calls, of any process, for which the kernel ran no program of a hook, by its own count. Where it preempts tasks inside of
    /// programs or of bpf(2), it leaves calls out on that CPU meanwhile.
    ///
    /// # Panics
    /// If programs cannot be listed.
    pub fn left_out_by_kernel(&self) -> u64 {
        let text = output_of(Command::new("bpftool").args(["-j", "prog", "show", "name", "tetra_stub"]));
        let programs: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("bpftool: {error}\n{text}"));
        let programs = programs.as_array().cloned().unwrap_or_else(|| vec![programs]);
        // left out where it is 0
        programs
            .iter()
            .filter_map(|program| program["recursion_misses"].as_u64())
            .sum()
    }

    /// Events of hooks (not exec and exit) of processes of `activity`.
    pub fn hook_events(&mut self, activity: &Activity) -> Vec<Event> {
        let mut events = self.events();
        events.retain(|event| {
            event.binary() == activity.binary() && !matches!(event.kind(), "process_exec" | "process_exit")
        });
        events
    }

    /// Resident memory in kB.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the agent runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a process has VmRSS");
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .expect("VmRSS is a number of kB")
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// If it does not end, or not well.
    pub fn stop(&mut self) {
        output_of(Command::new("kill").arg("-TERM").arg(self.pid().to_string()));
        let status = await_some("the agent ends on SIGTERM", || {
            self.child.try_wait().expect("it can be asked")
        });
        assert!(status.success(), "the agent ended with {status}\n{}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // both fail only if it is already gone
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "--- end of the agent's log\n{}",
                lines[lines.len().saturating_sub(20)..].join("\n")
            );
        }
    }
}

/// The agent's command line: files in `scratch`, then `options`.
fn command(scratch: &Scratch, options: &[String]) -> Command {
    let mut command = Command::new(program("tetra-agent"));
    command
        .arg("--export-filename")
        .arg(scratch.path("events.json"))
        .args(["--export-file-max-size-mb", "4000"])
        .arg("--run-dir")
        .arg(scratch.directory())
        .arg("--server-address")
        .arg(format!("unix://{}", scratch.text("sock")))
        .args(options)
        .stdin(Stdio::null());
    command
}

fn spawn(scratch: &Scratch, options: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(scratch.path("log"))
        .expect("the log can be written");
    command(scratch, options)
        .stdout(log.try_clone().expect("the log can be shared"))
        .stderr(log)
        .spawn()
        .expect("the agent starts")
}

/// Records the base sensor could not send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Of execs.
    pub exec: u64,
    /// Of exits.
    pub exit: u64,
}

/// A little-endian number as bpftool prints it: an array of bytes such as `"0x1f"`.
fn integer(bytes: &Value) -> u64 {
    let bytes = bytes.as_array().expect("bpftool prints bytes");
    bytes.iter().rev().fold(0, |number, byte| {
        let text = byte.as_str().expect("a byte is text").trim_start_matches("0x");
        number << 8 | u64::from_str_radix(text, 16).expect("a byte is hexadecimal")
    })
}

/// Entries of one of the agent's maps, as bpftool shows them: read behind the agent's back.
fn dump_map(name: &str) -> Vec<Value> {
    // the kernel cuts names at 15 bytes
    let name = &name[..name.len().min(15)];
    let text = output_of(Command::new("bpftool").args(["-j", "map", "dump", "name", name]));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("bpftool: {error}\n{text}"))
}

/// Waits until no other test runs an agent; holds until it is dropped.
///
/// # Panics
/// If the lock cannot be had.
pub fn turn() -> File {
    std::fs::create_dir_all("/run/tetra-tests").expect("/run can be written");
    let file = File::create("/run/tetra-tests/lock").expect("the lock can be made");
    file.lock().expect("the lock can be taken");
    file
}
