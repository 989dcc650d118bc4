//! Numbers that an interpreter of policies cannot reach: selectors, values and policies by the hundred.

use std::collections::BTreeMap;

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

const SELECTORS: usize = 300;
/// Values of each selector: 2,100 in all.
const VALUES: usize = 7;
const POLICIES: usize = 200;

#[test]
fn a_hook_takes_300_selectors_with_2000_values() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("selectors");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("selectors");
    // of odd lengths, so that neighbours differ in length as well as in bytes
    let path = |selector: usize, value: usize| {
        scratch.text(&format!("{}{selector}-{value}", "d".repeat(selector * value % 40)))
    };
    let operators = ["Equal", "Prefix", "Postfix"];
    let values: Vec<Vec<String>> = (0..SELECTORS)
        .map(|s| (0..VALUES).map(|v| path(s, v)).collect())
        .collect();
    let selectors: Vec<(&str, &[String])> = values
        .iter()
        .enumerate()
        .map(|(index, values)| (operators[index % 3], values.as_slice()))
        .collect();
    agent.add_policy(&policy::openat("large", &selectors));

    let probed: Vec<String> = [
        (0, 0),
        (0, 6),
        (1, 3),
        (2, 5),
        (150, 1),
        (151, 0),
        (152, 6),
        (298, 6),
        (299, 0),
        (299, 6),
    ]
    .iter()
    .map(|&(selector, value)| path(selector, value))
    .collect();
    let neighbours: Vec<String> = probed
        .iter()
        .map(|path| format!("{}/x{}", scratch.text("none"), &path[path.len() - 3..]))
        .collect();
    let mut operations: Vec<Vec<&str>> = Vec::new();
    for (matching, neighbour) in probed.iter().zip(&neighbours) {
        operations.push(vec!["open", matching]);
        operations.push(vec!["open", neighbour]);
    }
    let operations: Vec<&[&str]> = operations.iter().map(Vec::as_slice).collect();
    activity.run(&operations);

    let events = agent.hook_events(&activity);
    let seen: Vec<&str> = events.iter().map(|event| event.text("/args/0/string_arg")).collect();
    assert_eq!(seen, probed);
    agent.stop();
}

/// How many links, attached events and programs the agent holds: by kind of its open files, which the kernel names.
fn attached(agent: &Agent) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("the agent's files can be listed") {
        // a file may have been closed since it was listed
        let Ok(target) = std::fs::read_link(entry.expect("the agent's files can be listed").path()) else {
            continue;
        };
        let target = target.display().to_string();
        if ["anon_inode:bpf", "anon_inode:[perf_event]"]
            .iter()
            .any(|kind| target.starts_with(kind))
            && !target.contains("map")
        {
            *counts.entry(target).or_default() += 1;
        }
    }
    assert!(!counts.is_empty(), "the agent has nothing attached");
    counts
}

#[test]
fn policies_on_one_hook_share_one_attached_program() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("policies");
    let activity = Activity::new(&scratch);
    let path = |index: usize| scratch.text(&format!("file-{index}"));
    // one file with many documents: compiled at once
    let write = |count: usize| {
        let documents: Vec<String> = (0..count)
            .map(|index| policy::openat(&format!("policy-{index}"), &[("Equal", &[path(index)])]))
            .collect();
        scratch.write(&format!("policies-{count}.yaml"), documents.join("---\n"))
    };

    let one = write(1);
    let mut agent = Agent::start_with("policies-1", &["--tracing-policy", &one]);
    agent.await_policies(1);
    let with_one = attached(&agent);
    agent.stop();
    drop(agent);

    let all = write(POLICIES);
    let mut agent = Agent::start_with("policies-200", &["--tracing-policy", &all]);
    agent.await_policies(POLICIES);
    assert_eq!(attached(&agent), with_one, "with {POLICIES} policies, and with one");

    let names: Vec<String> = (0..POLICIES).map(path).collect();
    let operations: Vec<[&str; 2]> = names.iter().map(|name| ["open", name.as_str()]).collect();
    let operations: Vec<&[&str]> = operations.iter().map(<[&str; 2]>::as_slice).collect();
    activity.run(&operations);
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in agent.hook_events(&activity) {
        seen.entry(event.text("/policy_name").to_owned())
            .or_default()
            .push(event.text("/args/0/string_arg").to_owned());
    }
    let expected: BTreeMap<String, Vec<String>> = (0..POLICIES)
        .map(|index| (format!("policy-{index}"), vec![path(index)]))
        .collect();
    assert_eq!(seen, expected);
    agent.stop();
}
