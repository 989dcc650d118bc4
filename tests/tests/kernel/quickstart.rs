//! The policies of the README's first steps, which must work on every kernel.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

#[test]
fn opens_below_the_watched_prefix_are_reported_and_no_others() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("quickstart-access");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("quickstart-access");
    let watched = scratch.write("watched/secret", "x");
    let missing = scratch.text("watched/missing");
    let other = scratch.write("watchedless", "x");
    agent.add_policy(&policy::example(
        "quickstart/file-access.yaml",
        &[("/tmp/tetra-demo", &scratch.text(""))].map(|(old, new)| (old, new.trim_end_matches('/'))),
    ));

    let done = activity.run(&[&["open", &watched], &["open", &other], &["open", &missing]]);
    assert_eq!(done.results, [0, 0, 2]);

    let events = agent.hook_events(&activity);
    let paths: Vec<&str> = events.iter().map(|event| event.text("/args/1/string_arg")).collect();
    assert_eq!(paths, [watched.as_str(), missing.as_str()]);
    for event in &events {
        assert_eq!(event.kind(), "process_kprobe");
        assert!(event.text("/function_name").ends_with("sys_openat"), "{event:?}");
        assert!(event.is_of_policy("file-access"));
        assert_eq!(event.text("/action"), "KPROBE_ACTION_POST");
        assert_eq!(event.at("/process/pid"), done.pid);
        assert!(!event.text("/parent/binary").is_empty());
    }
    agent.stop();
}

#[test]
fn the_kill_happens_before_the_open_returns() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("quickstart-kill");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("quickstart-kill");
    let forbidden = scratch.write("forbidden/file", "x");
    let other = scratch.write("allowed", "x");
    let directory = scratch.text("");
    agent.add_policy(&policy::example(
        "quickstart/kill.yaml",
        &[("/tmp/tetra-demo", directory.trim_end_matches('/'))],
    ));

    let done = activity.run(&[&["open", &other], &["open", &forbidden], &["open", &other]]);
    assert_eq!(done.results, [0], "the second open does not return");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&done.status), Some(9));

    let hooks = agent.hook_events(&activity);
    assert_eq!(hooks.len(), 1, "{hooks:#?}");
    assert_eq!(hooks[0].text("/action"), "KPROBE_ACTION_SIGKILL");
    assert_eq!(hooks[0].text("/args/1/string_arg"), forbidden);
    let exits: Vec<_> = agent
        .events()
        .into_iter()
        .filter(|event| event.kind() == "process_exit" && event.binary() == activity.binary())
        .collect();
    assert_eq!(exits.len(), 1);
    assert_eq!(exits[0].text("/signal"), "SIGKILL");
    agent.stop();
}
