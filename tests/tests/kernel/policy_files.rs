//! The directory of policies while the agent runs.

use std::time::{Duration, Instant};

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

/// `getuid`, and `getgid`.
const CALLS: [&str; 2] = ["102", "104"];

fn policy(name: &str, call: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: {name}
spec:
  tracepoints:
  - subsystem: raw_syscalls
    event: sys_enter
    args: [{{index: 4, type: syscall64}}]
    selectors:
    - matchArgs: [{{index: 4, operator: Equal, values: ['{call}']}}]
"
    )
}

#[test]
fn files_that_change_are_in_force_and_what_is_refused_changes_nothing() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("policy-files");
    let activity = Activity::new(&scratch);
    let directory = scratch.path("policies");
    std::fs::create_dir(&directory).expect("a directory");
    let file = directory.join("calls.yaml");
    std::fs::write(&file, policy("first", CALLS[0])).expect("a file");
    let option = directory.to_str().expect("UTF-8").to_owned();
    let mut agent = Agent::start_with("policy-files", &["--tracing-policy-dir", &option]);
    let await_log = |agent: &Agent, text: &str| {
        let deadline = Instant::now() + Duration::from_mins(2);
        while !agent.log().contains(text) {
            assert!(Instant::now() < deadline, "`{text}` is not in\n{}", agent.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let seen = |agent: &mut Agent| -> Vec<String> {
        let before = agent.hook_events(&activity).len();
        activity.run(&[&["call", CALLS[0]], &["call", CALLS[1]]]);
        let events = agent.hook_events(&activity);
        let names = events[before..].iter().map(|event| {
            let (policy, call) = (event.text("/policy_name"), event.at("/args/0/syscall_id/id"));
            format!("{policy} {call}")
        });
        names.collect()
    };
    assert_eq!(seen(&mut agent), ["first 102"]);

    std::fs::write(&file, policy("first", CALLS[1])).expect("a file");
    await_log(&agent, "policy file has changed: it is in force");
    assert!(agent.log().contains("+    - matchArgs"), "{}", agent.log());
    assert_eq!(seen(&mut agent), ["first 104"]);

    std::fs::write(&file, policy("first", "many")).expect("a file");
    await_log(&agent, "what it said before stays in force");
    assert_eq!(seen(&mut agent), ["first 104"]);

    std::fs::remove_file(&file).expect("it is there");
    await_log(&agent, "its policies are no longer in force");
    assert!(seen(&mut agent).is_empty());
    agent.stop();
}
