//! Arguments that are objects of the kernel: events show what is in them.

use std::process::Command;

use serde_json::json;
use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

fn policy(name: &str, hooks: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n  kprobes:\n{hooks}"
    )
}

#[test]
fn credentials_namespaces_and_capabilities_are_shown() {
    requires!(Need::KernelFunctions);
    let scratch = Scratch::new("object-cred");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("object-cred");
    agent.add_policy(&policy(
        "capable",
        "  - call: security_capable
    syscall: false
    args: [{index: 0, type: cred}, {index: 1, type: user_namespace}, {index: 2, type: capability}]
    selectors:
    - matchArgs: [{index: 2, operator: Equal, values: [CAP_SETUID]}]
",
    ));
    activity.run(&[&["setuid", "0"]]);

    let events = agent.hook_events(&activity);
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    let host = json!({"level": 0, "uid": 0, "gid": 0, "ns": event.at("/args/1/user_ns_arg/ns")});
    assert_eq!(event.at("/args/1/user_ns_arg"), &host);
    assert_eq!(event.at("/args/1/user_ns_arg/ns/is_host"), true);
    assert_eq!(
        event.at("/args/2/capability_arg"),
        &json!({"value": 7, "name": "CAP_SETUID"})
    );
    let cred = event.at("/args/0/process_credentials_arg");
    assert_eq!(cred["uid"], 0);
    assert_eq!(cred["fsgid"], 0);
    assert_eq!(cred["user_ns"], host);
    assert!(
        cred["caps"]["effective"]
            .as_array()
            .is_some_and(|caps| caps.contains(&json!("CAP_SETUID"))),
        "{cred}"
    );
    agent.stop();
}

#[test]
fn maps_and_programs_are_shown() {
    requires!(Need::KernelFunctions);
    let mut agent = Agent::start("object-bpf");
    agent.add_policy(&policy(
        "bpf",
        "  - call: security_bpf_map_alloc
    syscall: false
    args: [{index: 0, type: bpf_map}]
    ignore: {callNotFound: true}
  - call: security_bpf_map_create
    syscall: false
    args: [{index: 0, type: bpf_map}]
    ignore: {callNotFound: true}
  - call: security_bpf_prog
    syscall: false
    args: [{index: 0, type: bpf_prog}]
  - call: security_bpf
    syscall: false
    args: [{index: 0, type: int}, {index: 1, type: bpf_attr}]
    selectors:
    - matchArgs: [{index: 0, operator: Equal, values: ['5']}]
  - call: security_perf_event_alloc
    syscall: false
    args: [{index: 0, type: perf_event}]
  - call: do_init_module
    syscall: false
    args: [{index: 0, type: module}]
    ignore: {callNotFound: true}
  - call: load_module
    syscall: false
    args: [{index: 0, type: load_info}]
    ignore: {callNotFound: true}
",
    ));
    let pin = format!("/sys/fs/bpf/tetra-test-{}", std::process::id());
    let made = Command::new("bpftool")
        .args([
            "map", "create", &pin, "type", "hash", "key", "4", "value", "16", "entries", "3", "name", "shown",
        ])
        .output()
        .expect("bpftool");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let _removed = std::fs::remove_file(&pin);
    // the first load of a program by it says what it is
    let loaded = Command::new("bpftool")
        .args(["feature", "probe", "kernel"])
        .output()
        .expect("bpftool");
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    agent.await_export();

    let events = agent.events();
    let of_bpf = || events.iter().filter(|event| event.is_of_policy("bpf"));
    let map =
        json!({"MapType": "BPF_MAP_TYPE_HASH", "KeySize": 4, "ValueSize": 16, "MaxEntries": 3, "MapName": "shown"});
    assert!(
        of_bpf().any(|event| event.at("/args/0/bpf_map_arg") == &map),
        "{events:?}"
    );
    let is_filter = |event: &&tests::event::Event| {
        event.at("/args/1/bpf_attr_arg/ProgType") == "BPF_PROG_TYPE_SOCKET_FILTER"
            && event.at("/args/1/bpf_attr_arg/InsnCnt").as_u64() > Some(1)
    };
    assert!(of_bpf().any(|event| is_filter(&event)), "{events:?}");
    agent.stop();
}
