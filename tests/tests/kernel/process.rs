//! The base process sensor: every process comes, goes, and is accounted for.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::event::Event;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{await_some, requires};

fn of_binary<'a>(events: &'a [Event], kind: &str, binary: &str) -> Vec<&'a Event> {
    events
        .iter()
        .filter(|event| event.kind() == kind && event.binary() == binary)
        .collect()
}

#[test]
fn exec_and_exit_tell_arguments_parent_and_status() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("exec");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("exec");
    let done = activity.run(&[&["open", "/nowhere/with space"], &["open", "/"]]);
    assert_eq!(done.results, [2, 0]);

    let events = agent.events();
    let execs = of_binary(&events, "process_exec", activity.binary());
    let exits = of_binary(&events, "process_exit", activity.binary());
    assert_eq!((execs.len(), exits.len()), (1, 1));
    let exec = execs[0];
    assert_eq!(exec.text("/process/arguments"), "open \"/nowhere/with space\" , open /");
    assert_eq!(exec.at("/process/pid"), done.pid);
    assert_eq!(exec.at("/process/uid"), 0);
    assert_eq!(exec.at("/parent/pid"), std::process::id());
    let cwd = std::env::current_dir().expect("there is a working directory");
    assert_eq!(exec.text("/process/cwd"), cwd.display().to_string());
    assert_eq!(exits[0].text("/process/exec_id"), exec.text("/process/exec_id"));
    assert_eq!(exits[0].text("/signal"), "");
    assert!(exits[0].at("/status").is_null(), "status 0 is left out");
    agent.stop();
}

#[test]
fn exit_tells_the_signal() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("signal");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("signal");
    activity.run(&[&["raise", "15"]]);
    let events = agent.events();
    let exits = of_binary(&events, "process_exit", activity.binary());
    assert_eq!(exits.len(), 1);
    assert_eq!(exits[0].text("/signal"), "SIGTERM");
    agent.stop();
}

#[test]
fn arguments_are_not_cut_off() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("long-arguments");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("long-arguments");
    let long = format!("/nowhere/{}", "x".repeat(50_000));
    let done = activity.run(&[&["open", &long]]);
    assert_eq!(done.results, [36], "ENAMETOOLONG");
    let events = agent.events();
    let execs = of_binary(&events, "process_exec", activity.binary());
    assert_eq!(execs.len(), 1);
    assert_eq!(execs[0].text("/process/arguments").len(), "open ".len() + long.len());
    assert_eq!(execs[0].text("/process/arguments"), format!("open {long}"));
    agent.stop();
}

/// Exec and exit events of `binary` in the export, read as it grows: the whole of it would not fit into memory.
fn count_in_export(agent: &Agent, binary: &str) -> (u64, u64) {
    use std::io::BufRead as _;
    let file = std::fs::File::open(agent.scratch().path("events.json")).expect("the export is there");
    let needle = format!("\"binary\":\"{binary}\"");
    let (mut execs, mut exits) = (0, 0);
    for line in std::io::BufReader::new(file).lines() {
        let line = line.expect("the export is text");
        // the process comes first, its parent later: only the first binary of a line counts
        let Some(at) = line.find("\"binary\":") else { continue };
        if line[at..].starts_with(&needle) {
            execs += u64::from(line.starts_with("{\"process_exec\""));
            exits += u64::from(line.starts_with("{\"process_exit\""));
        }
    }
    (execs, exits)
}

#[test]
fn a_storm_of_processes_is_accounted_for() {
    requires!(Need::Bpf);
    // an emulated machine is some thirty times slower
    let count: u64 = if Need::Guest.missing().is_none() {
        2_000
    } else {
        100_000
    };
    let scratch = Scratch::new("storm");
    let starter = Activity::named(&scratch, "starter");
    let activity = Activity::named(&scratch, "stormy");
    let mut agent = Agent::start("storm");
    let before = agent.process_table_size();

    let done = starter.run(&[&["spawn", &count.to_string(), activity.binary()]]);
    assert_eq!(done.results, [count as i64]);
    let resident = agent.resident_kb();
    agent.await_export();
    let (execs, exits) = count_in_export(&agent, activity.binary());
    let lost = agent.lost();
    assert!(
        execs <= count && exits <= count,
        "reported twice: {execs} execs and {exits} exits of {count}"
    );
    assert!(
        execs + lost.exec >= count && exits + lost.exit >= count,
        "{count} processes, {execs} execs and {exits} exits reported, {lost:?} counted as lost"
    );
    assert!(resident < 60_000, "the agent holds {resident} kB");
    // exited processes stay known for a while, so that late events find them
    await_some("the process table is back to its size", || {
        (agent.process_table_size() <= before + 100).then_some(())
    });
    agent.stop();
}
