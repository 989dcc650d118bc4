//! Hooks on user programs: functions and static probes.

use std::os::unix::process::ExitStatusExt as _;

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

/// A policy with one hook on a program; `hook` is indented as in a section.
fn policy(name: &str, section: &str, path: &str, hook: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n  {section}:\n  - path: {path}\n{hook}"
    )
}

#[test]
fn calls_of_user_functions_are_reported_with_their_arguments() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("uprobe-calls");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("uprobe-calls");
    agent.add_policy(&policy(
        "calls",
        "uprobes",
        activity.binary(),
        "    symbols: [watched_number, watched_text]
    args: [{index: 0, type: int}, {index: 1, type: int64}]
    selectors:
    - matchArgs: [{index: 1, operator: LT, values: [\"0\"]}]
",
    ));
    let done = activity.run(&[&["number", "3", "-4"], &["number", "3", "1"], &["number", "-9", "-90"]]);
    assert_eq!(done.results, [7, 2, 81]);

    let events = agent.hook_events(&activity);
    let seen: Vec<(i64, &str)> = events
        .iter()
        .map(|event| {
            (
                event.at("/args/0/int_arg").as_i64().expect("a number"),
                event.text("/args/1/long_arg"),
            )
        })
        .collect();
    assert_eq!(seen, [(3, "-4"), (-9, "-90")]);
    for event in &events {
        assert_eq!(event.kind(), "process_uprobe");
        assert!(event.is_of_policy("calls"));
        assert_eq!(event.text("/path"), activity.binary());
        assert_eq!(event.text("/symbol"), "watched_number");
        assert_eq!(event.text("/action"), "KPROBE_ACTION_POST");
        assert_eq!(event.at("/process/pid"), done.pid);
    }
    agent.stop();
}

#[test]
fn texts_of_user_functions_are_compared_and_kill() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("uprobe-text");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("uprobe-text");
    agent.add_policy(&policy(
        "texts",
        "uprobes",
        activity.binary(),
        "    symbols: [watched_text]
    args: [{index: 0, type: string}]
    selectors:
    - matchArgs: [{index: 0, operator: Prefix, values: [secret]}]
      matchActions: [{action: Sigkill}]
    - matchArgs: [{index: 0, operator: Equal, values: [shown]}]
",
    ));
    let done = activity.run(&[
        &["text", "other"],
        &["text", "shown"],
        &["text", "secrets"],
        &["text", "shown"],
    ]);
    assert_eq!(done.results, [5, 5], "the third call does not return");
    assert_eq!(done.status.signal(), Some(9));

    let events = agent.hook_events(&activity);
    let seen: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.text("/args/0/string_arg"), event.text("/action")))
        .collect();
    assert_eq!(
        seen,
        [("shown", "KPROBE_ACTION_POST"), ("secrets", "KPROBE_ACTION_SIGKILL")]
    );
    agent.stop();
}

#[test]
fn what_user_functions_return_belongs_to_its_call() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("uprobe-return");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("uprobe-return");
    // the function calls itself: the last call returns first
    agent.add_policy(&policy(
        "returns",
        "uprobes",
        activity.binary(),
        "    symbols: [watched_depth]
    args: [{index: 0, type: int64}]
    return: true
    returnArg: {index: 0, type: int64}
    selectors:
    - matchReturnArgs: [{index: 0, operator: GT, values: [\"0\"]}]
",
    ));
    let done = activity.run(&[&["depth", "3"]]);
    assert_eq!(done.results, [3]);

    let events = agent.hook_events(&activity);
    let seen: Vec<&str> = events.iter().map(|event| event.text("/args/0/long_arg")).collect();
    assert_eq!(seen, ["1", "2", "3"]);
    agent.stop();
}

#[test]
fn static_probes_are_watched_at_their_place_and_counted_by_the_program() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("usdt");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("usdt");
    let unwatched = activity.run(&[&["probe", "5", "x"]]);
    assert_eq!(unwatched.results, [0], "nobody watches yet");
    agent.add_policy(&policy(
        "probes",
        "usdts",
        activity.binary(),
        "    provider: tetra
    name: watched
    args: [{index: 0, type: int}, {index: 1, type: string}, {index: 2, type: int}, {index: 3, type: int64}, {index: 4, type: int64}]
    selectors:
    - matchArgs:
      - {index: 0, operator: LT, values: [\"0\"]}
      - {index: 4, operator: Equal, values: [\"12\"]}
",
    ));
    let done = activity.run(&[&["probe", "5", "other"], &["probe", "-6", "text"]]);
    assert_eq!(done.results, [1, 1], "the program knows that it is watched");

    let events = agent.hook_events(&activity);
    let [event] = &events[..] else { panic!("{events:#?}") };
    assert_eq!(event.kind(), "process_usdt");
    assert_eq!(event.text("/path"), activity.binary());
    assert_eq!(event.text("/provider"), "tetra");
    assert_eq!(event.text("/name"), "watched");
    assert_eq!(event.at("/args/0/int_arg"), -6);
    assert_eq!(event.text("/args/1/string_arg"), "text");
    assert_eq!(event.at("/args/2/int_arg"), -3);
    assert_eq!(event.text("/args/3/long_arg"), "-11");
    assert_eq!(event.text("/args/4/long_arg"), "12");
    agent.stop();
}

#[test]
fn a_kept_hook_kills_without_an_agent_and_the_next_agent_takes_it_over() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("uprobe-kept");
    let activity = Activity::new(&scratch);
    scratch.write(
        "policies/kill.yaml",
        policy(
            "kept",
            "uprobes",
            activity.binary(),
            "    symbols: [watched_text]
    args: [{index: 0, type: string}]
    selectors:
    - matchArgs: [{index: 0, operator: Equal, values: [secret]}]
      matchActions: [{action: Sigkill}]
",
        ),
    );
    let mut agent = Agent::start_with(
        "uprobe-kept",
        &[
            "--keep-sensors-on-exit",
            "--bpf-dir",
            "tetra-test-uprobe-kept",
            "--tracing-policy-dir",
            &scratch.text("policies"),
        ],
    );
    let killed = || activity.run(&[&["text", "secret"]]).status.signal();
    if killed().is_none() {
        // before 5.15 what a perf event holds ends with its process: the policy is refused rather than kept for a while
        assert!(
            agent.log().contains("would stop enforcing when the agent ends"),
            "{}",
            agent.log()
        );
        agent.stop();
        agent.uninstall();
        return;
    }
    agent.kill();
    assert_eq!(killed(), Some(9), "the hook stays");
    agent.start_again();
    assert_eq!(killed(), Some(9), "it is taken over");
    agent.stop();
    agent.uninstall();
    assert_eq!(activity.run(&[&["text", "secret"]]).results, [6], "the hook is gone");
}

#[test]
fn a_program_that_is_loaded_anywhere_is_hooked_if_it_is_the_one_meant() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("uprobe-pie");
    // position-independent and dynamically linked
    let shell = scratch.path("bash");
    std::fs::copy("/bin/bash", &shell).expect("bash can be copied");
    let shell = shell.to_str().expect("scratch paths are text");
    let mut agent = Agent::start("uprobe-pie");

    let hook = |digest: &str| {
        let hook = format!(
            "    symbols: [main]\n    args: [{{index: 0, type: int}}]\n    binaryDigests: [\"sha256:{digest}\"]\n"
        );
        policy("meant", "uprobes", shell, &hook)
    };
    let other = scratch.write("other.yaml", hook(&"0".repeat(64)));
    let (added, said) = agent.try_tetra(&["tracingpolicy", "add", &other]);
    assert!(!added && said.contains("TP0533"), "{said}");

    let sum = std::process::Command::new("sha256sum")
        .arg(shell)
        .output()
        .expect("sha256sum runs");
    let sum = String::from_utf8(sum.stdout).expect("it prints text");
    agent.add_policy(&hook(&sum[..64]));
    let ended = std::process::Command::new(shell)
        .args(["-c", "exit 3", "a", "b"])
        .status()
        .expect("bash runs");
    assert_eq!(ended.code(), Some(3));

    let events: Vec<_> = agent
        .events()
        .into_iter()
        .filter(|event| event.kind() == "process_uprobe")
        .collect();
    let [event] = &events[..] else { panic!("{events:#?}") };
    assert_eq!(event.binary(), shell);
    assert_eq!(event.text("/symbol"), "main");
    assert_eq!(event.at("/args/0/int_arg"), 5);
    agent.stop();
}
