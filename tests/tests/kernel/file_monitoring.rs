//! `examples/file-monitoring`: three hooks, prefixes and postfixes, entry and return joined in one event.

use std::os::unix::process::ExitStatusExt as _;

use serde_json::json;
use tests::activity::Activity;
use tests::agent::Agent;
use tests::event::Event;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{policy, requires};

/// Everything but what differs from run to run.
fn shape(event: &Event) -> serde_json::Value {
    let arguments: Vec<serde_json::Value> = (0..event.at("/args").as_array().map_or(0, Vec::len))
        .map(|index| {
            let argument = event.at(&format!("/args/{index}"));
            let path = argument
                .pointer("/file_arg/path")
                .or_else(|| argument.pointer("/path_arg/path"));
            path.cloned().unwrap_or_else(|| argument.clone())
        })
        .collect();
    json!([event.text("/function_name"), arguments, event.at("/return/int_arg")])
}

/// The example with its watched directory in `scratch`.
fn policy_for(scratch: &Scratch, name: &str) -> String {
    policy::example(
        &format!("file-monitoring/{name}.yaml"),
        &[("/root/.ssh/", &scratch.text("watched/"))],
    )
}

#[test]
fn exactly_the_watched_accesses_are_reported() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("monitoring");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("monitoring");
    let watched = scratch.write("watched/key", "content");
    let shell = scratch.write("home/.bashrc", "content");
    let plain = scratch.write("home/notes", "content");
    agent.add_policy(&policy_for(&scratch, "monitor"));

    let done = activity.run(&[
        &["read", &watched],
        &["read", &shell],
        &["read", &plain],
        &["write", &watched],
        &["write", &shell],
        &["write", &plain],
        &["map-shared", &watched],
        &["map-private", &watched],
        &["map-shared-writable", &watched],
        &["map-shared-writable", &plain],
        &["truncate", &watched],
        &["truncate", &plain],
    ]);
    assert_eq!(done.results, [0; 12]);

    let events = agent.hook_events(&activity);
    let found: Vec<serde_json::Value> = events.iter().map(shape).collect();
    let expected = [
        json!(["security_file_permission", [watched, {"int_arg": 4}], 0]),
        json!(["security_file_permission", [shell, {"int_arg": 4}], 0]),
        json!(["security_file_permission", [watched, {"int_arg": 2}], 0]),
        json!(["security_mmap_file", [watched, {"uint_arg": 1}, {"uint_arg": 1}], 0]),
        json!(["security_mmap_file", [watched, {"uint_arg": 3}, {"uint_arg": 1}], 0]),
        json!(["security_path_truncate", [watched], 0]),
    ];
    assert_eq!(json!(found), json!(expected), "{events:#?}");
    agent.stop();
}

#[test]
fn the_enforcing_variant_kills() {
    requires!(Need::Bpf, Need::KernelFunctions, Need::Guest);
    let scratch = Scratch::new("enforcing");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("enforcing");
    let watched = scratch.write("watched/key", "content");
    let shell = scratch.write("home/.bashrc", "content");
    let plain = scratch.write("home/notes", "content");
    agent.add_policy(&policy_for(&scratch, "enforce"));

    assert_eq!(
        activity
            .run(&[&["read", &plain], &["write", &plain], &["truncate", &plain]])
            .results,
        [0; 3]
    );
    for operation in [
        ["read", &watched],
        ["read", &shell],
        ["write", &watched],
        ["map-shared-writable", &watched],
        ["truncate", &watched],
    ] {
        let done = activity.run(&[&operation]);
        assert_eq!(done.status.signal(), Some(9), "{operation:?}");
    }
    // a signal does not undo the operation, which may go on in the kernel: what is promised is that the process never comes
    // back from it. Preventing it is Override's part.
    let killed = agent
        .events()
        .iter()
        .filter(|event| event.kind() == "process_exit" && event.binary() == activity.binary())
        .filter(|event| event.text("/signal") == "SIGKILL")
        .count();
    assert_eq!(killed, 5);
    agent.stop();
}
