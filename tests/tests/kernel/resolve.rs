//! Values behind pointers (`resolve`), of the current task and of registers (`data`).

use serde_json::json;
use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

fn policy(name: &str, hooks: &str) -> String {
    format!("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n{hooks}")
}

#[test]
fn members_of_arguments_are_read_through_pointers() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("resolve-arguments");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("resolve-arguments");
    // the arguments are the task, its old pid, and the program that it executes; nobody traces it
    agent.add_policy(&policy(
        "execs",
        "  tracepoints:
  - subsystem: sched
    event: sched_process_exec
    raw: true
    args:
    - {index: 2, type: auto, resolve: filename, label: name}
    - {index: 2, type: auto, resolve: file.f_path}
    - {index: 2, type: auto, resolve: file.f_inode.i_mode}
    - {index: 0, type: auto, resolve: real_parent.tgid}
    - {index: 0, type: auto, resolve: last_siginfo.si_signo}
    selectors:
    - matchArgs: [{args: [0], operator: Postfix, values: [/activity]}, {args: [3], operator: NotEqual, values: ['1']}]
",
    ));
    let done = activity.run(&[&["spawn", "1", activity.binary()]]);
    let pid = done.pid;

    let events = agent.hook_events(&activity);
    let child = events.iter().find(|event| event.at("/args/3/int_arg") == pid);
    let child = child.unwrap_or_else(|| panic!("no exec by a child of {pid} among {events:?}"));
    assert_eq!(child.text("/args/0/string_arg"), activity.binary());
    assert_eq!(child.text("/args/0/label"), "name");
    assert_eq!(child.text("/args/1/path_arg/path"), activity.binary());
    assert_eq!(child.at("/args/2/uint_arg"), 0o100_755);
    assert_eq!(
        child.text("/args/4/error_arg/Message"),
        "Bad address encountered during resolve dereference at depth 1"
    );
    agent.stop();
}

#[test]
fn registers_of_user_functions_are_data() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("resolve-registers");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("resolve-registers");
    agent.add_policy(&policy(
        "registers",
        &format!(
            "  uprobes:
  - path: {}
    symbols: [watched_number]
    args: [{{index: 0, type: int}}]
    data:
    - {{index: 0, type: auto, source: pt_regs, resolve: rsi}}
    - {{index: 0, type: uint8, source: pt_regs, resolve: sil, label: low}}
    - {{index: 0, type: auto, source: current_task, resolve: group_leader.comm}}
    selectors:
    - matchData: [{{index: 1, operator: Equal, values: ['0x34']}}]
",
            activity.binary()
        ),
    ));
    activity.run(&[&["number", "3", "4660"], &["number", "3", "4661"]]);

    let events = agent.hook_events(&activity);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].at("/args"), &json!([{"int_arg": 3}]));
    assert_eq!(
        events[0].at("/data"),
        &json!([{"size_arg": "4660"}, {"uint_arg": 52, "label": "low"}, {"string_arg": "activity"}])
    );
    agent.stop();
}

#[test]
fn hooks_of_kernel_functions_ask_for_the_task() {
    requires!(Need::KernelFunctions);
    let scratch = Scratch::new("resolve-task");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("resolve-task");
    agent.add_policy(&policy(
        "task",
        "  kprobes:
  - call: security_file_open
    syscall: false
    args: [{index: 0, type: auto, resolve: f_path.dentry.d_name.name}]
    data:
    - {index: 0, type: auto, source: current_task, resolve: real_parent.comm}
    - {index: 0, type: auto, source: current_task, resolve: mm.exe_file}
    - {index: 0, type: auto, source: current_task, resolve: cred.uid.val}
    selectors:
    - matchArgs: [{index: 0, operator: Equal, values: [wanted]}]
      matchData: [{index: 1, operator: Postfix, values: [/activity]}, {index: 2, operator: Equal, values: ['0']}]
",
    ));
    let (wanted, other) = (scratch.path("wanted"), scratch.path("other"));
    for path in [&wanted, &other] {
        std::fs::write(path, "x").expect("a file");
    }
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    activity.run(&[&["open", &text(&other)], &["open", &text(&wanted)]]);

    let events = agent.hook_events(&activity);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].text("/args/0/string_arg"), "wanted");
    assert_eq!(events[0].text("/data/1/file_arg/path"), activity.binary());
    assert_eq!(events[0].at("/data/2/uint_arg"), 0);
    agent.stop();
}
