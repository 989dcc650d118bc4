//! Enforcement that outlives the agent: whatever ends it, no attempt succeeds from the moment the policy is in force until it is
//! uninstalled, and every attempt is accounted for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::activity::{Activity, Running};
use tests::agent::Agent;
use tests::guard::{self, Need};
use tests::scratch::Scratch;
use tests::{await_some, output_of, policy, requires};

/// Agents that are killed, or that are replaced by another version, one after the other, if time allows;
/// `$TETRA_PERSISTENCE_ROUNDS` sets another number, without limit of time.
const ROUNDS: usize = 50;
/// Rounds whatever they take: under emulation a start takes seconds.
const LEAST_ROUNDS: usize = 8;
/// Time in which agents are killed.
const KILLING_TIME: Duration = Duration::from_mins(1);
/// Time in which they are replaced.
const REPLACING_TIME: Duration = Duration::from_secs(20);
/// What makes the layout of the pins another one.
const OTHER_LAYOUT: &str = "--execve-map-entries=4096";
/// Records that an agent may have read and not written: a batch of each ring, and what waits for the export.
const IN_HANDS: usize = 4096;

/// Counters of a policy, by `enum policy_counter` of `ebpf/c/record.h`.
const POST_SENT: usize = 0;
const POST_LOST: usize = 1;
const OVERRIDE: usize = 7;

/// A policy in a file, a process that violates it all the time, and an agent that keeps its sensors.
struct Siege {
    scratch: Scratch,
    activity: Activity,
    agent: Agent,
    pins: PathBuf,
    protected: String,
}

impl Siege {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let activity = Activity::new(&scratch);
        let protected = scratch.write("protected/file", "x");
        let policies = scratch.path("policies");
        scratch.write("policies/protect.yaml", refusal(&scratch, "refuse-open"));
        let bpf_dir = format!("tetra-test-{name}");
        let agent = Agent::start_with(
            name,
            &[
                "--keep-sensors-on-exit",
                "--bpf-dir",
                &bpf_dir,
                "--tracing-policy-dir",
                policies.to_str().expect("scratch paths are text"),
            ],
        );
        Self {
            scratch,
            activity,
            agent,
            pins: Path::new("/sys/fs/bpf").join(bpf_dir),
            protected,
        }
    }

    fn start(&self) -> Running {
        self.activity
            .start(&[&["attempt-until", &self.protected, &self.scratch.text("stop")]])
    }

    /// Ends the attempts: how many there were. None of them may have succeeded.
    fn end(&self, running: Running) -> u64 {
        std::fs::write(self.scratch.path("stop"), "").expect("the attempts can be told to stop");
        let results = running.wait().results;
        assert_eq!(
            results[1],
            0,
            "of {} attempts, these succeeded\n{}",
            results[0],
            self.agent.log()
        );
        results[0] as u64
    }

    /// Uninstalls and checks that nothing is left: no file, and nothing enforced.
    fn uninstall(&self) {
        let said = self.agent.uninstall();
        assert!(said.contains("detached"), "{said}");
        assert!(!self.pins.exists(), "{} is left", self.pins.display());
        assert_eq!(
            self.activity.run(&[&["open", &self.protected]]).results,
            [0],
            "the policy is out of force"
        );
        assert!(self.agent.uninstall().contains("nothing is pinned"));
    }

    /// For each exported refusal the id of the process; empty for one that ended before an agent came, of which only pid and time
    /// of its start are known.
    fn refusals(&self) -> Vec<String> {
        let events = self.agent.exported();
        events
            .iter()
            .filter(|event| event.is_of_policy("refuse-open"))
            .inspect(|event| {
                assert!([self.activity.binary(), ""].contains(&event.binary()), "{event:#?}");
                assert_eq!(event.text("/action"), "KPROBE_ACTION_OVERRIDE");
            })
            .map(|event| event.text("/process/exec_id").to_owned())
            .collect()
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        // what a failed test leaves in force would be in the way of the others
        if std::thread::panicking() {
            let _gone = std::fs::write(self.scratch.path("stop"), "");
            self.agent.kill();
            let _said = self.agent.uninstall();
        }
    }
}

fn refusal(scratch: &Scratch, name: &str) -> String {
    policy::example(
        "override/file-open.yaml",
        &[
            ("/opt/tetra-protected/", &scratch.text("protected/")),
            ("refuse-open", name),
        ],
    )
}

/// Rounds that are left to do: a number of them, and some of them whatever time they take.
struct Rounds {
    most: usize,
    time: Duration,
    start: Instant,
}

impl Rounds {
    fn begin(time: Duration) -> Self {
        let (most, time) = match std::env::var("TETRA_PERSISTENCE_ROUNDS").map(|text| text.parse()) {
            Ok(Ok(rounds)) => (rounds, Duration::MAX),
            Ok(Err(error)) => panic!("TETRA_PERSISTENCE_ROUNDS: {error}"),
            Err(_) => (ROUNDS, time),
        };
        let start = Instant::now();
        Self { most, time, start }
    }

    /// Whether there is one more after `done`.
    fn go_on(&self, done: usize) -> bool {
        done < self.most && (done < LEAST_ROUNDS || self.start.elapsed() < self.time)
    }
}

#[test]
fn no_attempt_succeeds_while_agents_are_killed() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let mut siege = Siege::new("persistence-kill");
    let attempts = siege.start();
    let rounds = Rounds::begin(KILLING_TIME);
    let mut killed = 0;
    let mut takes = Duration::from_millis(200);
    while rounds.go_on(killed) {
        siege.agent.kill();
        // the next one does not get far: it is killed at another moment of its start each time
        siege.agent.start_and_kill(takes * (killed % 11) as u32 / 10);
        let before = Instant::now();
        siege.agent.start_again();
        takes = before.elapsed();
        killed += 2;
        if killed % 8 == 0 {
            // the agent goes on working: the set is changed under the load
            let other = format!("other-{killed}");
            siege
                .agent
                .add_policy(&refusal(&siege.scratch, &other).replace("protected/", "other/"));
            if killed % 16 == 0 {
                siege.agent.delete_policy(&other);
            }
        }
    }
    // the last one ends in order, and stays in force
    siege.agent.stop();
    let made = siege.end(attempts);

    // one more to read the rings to the end
    siege.agent.start_again();
    siege.agent.await_export();
    let counters = siege.agent.policy_counters(0);
    assert_eq!(counters[OVERRIDE], made, "refusals, over the lives of all agents");
    assert_eq!(
        counters[POST_SENT] + counters[POST_LOST],
        made,
        "records, sent or counted as lost"
    );
    let processes = siege.refusals();
    let known: BTreeSet<&String> = processes.iter().filter(|process| !process.is_empty()).collect();
    assert_eq!(known.len(), 1, "all agents give the process the same id: {known:?}");
    let (sent, exported) = (counters[POST_SENT], processes.len() as u64);
    // what an agent had in its hands when it was killed is lost, or exported again by the next one
    let in_hands = (killed * IN_HANDS) as u64;
    assert!(
        exported <= sent + in_hands && sent <= exported + in_hands,
        "{exported} of {sent} refusals exported, {killed} agents killed"
    );
    assert!(exported > 0);
    siege.agent.stop();
    siege.uninstall();
    guard::note(&format!(
        "{killed} agents killed under {made} attempts, {} records lost in full rings, {sent} sent, {exported} exported",
        counters[POST_LOST]
    ));
}

#[test]
fn what_happens_while_no_agent_runs_is_reported_once() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let mut siege = Siege::new("persistence-absence");
    siege.agent.stop();
    assert!(siege.pins.exists());
    let absent = siege.activity.run(&[&["repeat-open", &siege.protected, "20"]]);
    assert_eq!(absent.results, [0], "no open succeeds");
    let waiting = siege
        .activity
        .start(&[&["attempt-until", &siege.protected, &siege.scratch.text("stop")]]);

    siege.agent.start_again();
    let made = siege.end(waiting);
    siege.agent.await_export();
    let refusals = siege.refusals();
    assert_eq!(refusals.len() as u64, made + 20, "each refusal is exported once");
    // the process table went on: exec and exit are there, once
    let exported = siege.agent.exported();
    let of_absent = |kind| {
        let events = exported.iter();
        events
            .filter(|event| event.kind() == kind && event.pid() == absent.pid)
            .count()
    };
    assert_eq!((of_absent("process_exec"), of_absent("process_exit")), (1, 1));
    siege.agent.stop();
    siege.uninstall();
}

#[test]
fn without_the_setting_an_agent_takes_over_and_leaves_nothing() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let mut siege = Siege::new("persistence-end");
    let attempts = siege.start();
    siege.agent.kill();
    siege.agent.remove_option("--keep-sensors-on-exit");
    siege.agent.start_again();
    assert!(!siege.pins.exists(), "the agent holds everything itself");
    siege.end(attempts);
    siege.agent.stop();
    assert_eq!(
        siege.activity.run(&[&["open", &siege.protected]]).results,
        [0],
        "nothing outlives the agent"
    );
    await_some("no program is left", || {
        let loaded = output_of(std::process::Command::new("bpftool").args(["prog", "show"]));
        (!loaded.contains("tetra_stub")).then_some(())
    });
}

#[test]
fn an_agent_of_another_layout_replaces_what_is_pinned() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let mut siege = Siege::new("persistence-layout");
    let attempts = siege.start();
    let rounds = Rounds::begin(REPLACING_TIME);
    let mut replaced = 0;
    // Maps of other sizes are what makes it another layout. The tables begin anew with it.
    let layouts = [OTHER_LAYOUT, "--execve-map-entries=32768"];
    while rounds.go_on(replaced) {
        // some end in order, and some do not
        if replaced % 4 == 1 {
            siege.agent.stop();
        } else {
            siege.agent.kill();
        }
        siege.agent.remove_option(layouts[(replaced + 1) % 2]);
        siege.agent.push_option(layouts[replaced % 2]);
        siege.agent.start_again();
        replaced += 1;
        let log = siege.agent.log();
        assert_eq!(log.matches("an agent of another version").count(), replaced, "{log}");
    }
    siege.agent.kill();
    siege.agent.start_again();
    assert!(siege.agent.log().contains("took over"), "{}", siege.agent.log());
    let made = siege.end(attempts);
    siege.agent.stop();
    siege.uninstall();
    guard::note(&format!(
        "{replaced} agents replaced by another version under {made} attempts"
    ));
}

#[test]
fn foreign_files_are_refused() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("persistence-foreign");
    let directory = PathBuf::from("/sys/fs/bpf/tetra-test-foreign");
    // makes sure that there is a bpf file system
    Agent::start_with(
        "persistence-foreign",
        &["--keep-sensors-on-exit", "--bpf-dir", "tetra-test-other"],
    )
    .stop();
    std::fs::create_dir_all(directory.join("__base__")).expect("the BPF file system can be written");
    let output = std::process::Command::new(tests::program("tetra-agent"))
        .args(["--keep-sensors-on-exit", "--bpf-dir", "tetra-test-foreign", "--run-dir"])
        .arg(scratch.directory())
        .output()
        .expect("the agent can be run");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    std::fs::remove_dir_all(&directory).expect("it can be removed");
    output_of(
        std::process::Command::new(tests::program("tetra-agent"))
            .args(["--bpf-dir", "tetra-test-other", "--run-dir"])
            .arg(scratch.directory())
            .arg("uninstall"),
    );
    assert!(!output.status.success());
    assert!(text.contains("__base__") && text.contains("help:"), "{text}");
}
