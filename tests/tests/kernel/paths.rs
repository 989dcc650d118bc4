//! Paths by both of their ends: what a program rejects before it builds the text must be what the text would reject.

use serde_json::json;
use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

fn policy(selectors: &[(&str, Vec<String>)]) -> String {
    let selectors: Vec<String> = selectors
        .iter()
        .map(|(operator, values)| {
            let values = json!(values);
            format!(
                "        - matchArgs:\n            - index: 0\n              operator: {operator}\n              \
                 values: {values}\n            - index: 1\n              operator: Equal\n              values: [\"4\"]\n"
            )
        })
        .collect();
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: paths\nspec:\n  kprobes:\n    \
         - call: security_file_permission\n      syscall: false\n      args:\n        - index: 0\n          type: file\n        \
         - index: 1\n          type: int\n      selectors:\n{}",
        selectors.concat()
    )
}

#[test]
fn each_end_of_a_path_decides_as_the_whole_would() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("paths");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("paths");
    let long = "l".repeat(40);
    let matching = [
        scratch.write("equal", "x"),
        scratch.write("e/q", "x"),
        scratch.write(&format!("{long}/equal-{long}"), "x"),
        scratch.write("dir/a.ext", "x"),
        scratch.write(".ext", "x"),
        scratch.write("dir/a-name-of-24-characters1", "x"),
        scratch.write("b/tail", "x"),
        scratch.write("prefixed", "x"),
        scratch.write("prefix/a/b/c/d/e/f/g/h/i/j", "x"),
    ];
    let others = [
        scratch.write("equal2", "x"),
        scratch.write("not-equal", "x"),
        scratch.write("e/q2", "x"),
        scratch.write("dir/a.extr", "x"),
        scratch.write("dir/.ex", "x"),
        scratch.write("dir/a-name-of-24-characters2", "x"),
        scratch.write("bb/tail", "x"),
        scratch.write("prefi", "x"),
        scratch.write("other/prefix", "x"),
    ];
    // a mount in a mount
    let shared = "/dev/shm/tetra-paths";
    std::fs::write(shared, "x").unwrap();
    let mut prefixes = vec![scratch.text("prefix"), "/dev/shm/tetra-pat".to_owned()];
    prefixes.push("/nowhere".to_owned());
    agent.add_policy(&policy(&[
        ("Equal", matching[..3].to_vec()),
        (
            "Postfix",
            [".ext", "-name-of-24-characters1", "/b/tail", "/nowhere"]
                .map(str::to_owned)
                .to_vec(),
        ),
        ("Prefix", prefixes),
    ]));

    let mut operations: Vec<[&str; 2]> = Vec::new();
    for (matches, other) in matching.iter().zip(&others) {
        operations.push(["read", matches]);
        operations.push(["read", other]);
    }
    operations.push(["read", shared]);
    let operations: Vec<&[&str]> = operations.iter().map(|operation| &operation[..]).collect();
    let done = activity.run(&operations);
    assert!(done.results.iter().all(|result| *result == 0), "{:?}", done.results);
    std::fs::remove_file(shared).unwrap();

    let events = agent.hook_events(&activity);
    let paths: Vec<&str> = events.iter().map(|event| event.text("/args/0/file_arg/path")).collect();
    let expected: Vec<&str> = matching.iter().map(String::as_str).chain([shared]).collect();
    assert_eq!(paths, expected);
    agent.stop();
}

#[test]
fn an_unlinked_file_still_matches_by_its_ends() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("paths-unlinked");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("paths-unlinked");
    agent.add_policy(&policy(&[
        ("Postfix", vec!["gone (deleted)".to_owned()]),
        ("Prefix", vec![scratch.text("gone")]),
    ]));
    let gone = scratch.write("gone", "x");
    let done = activity.run(&[&["read-unlinked", &gone]]);
    assert_eq!(done.results, [0]);
    let events = agent.hook_events(&activity);
    let paths: Vec<&str> = events.iter().map(|event| event.text("/args/0/file_arg/path")).collect();
    assert_eq!(paths, [format!("{gone} (deleted)")]);
    agent.stop();
}
