//! Enforcers: what one hook asks for takes effect at another, later in the same call.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

/// `dup`, `getuid`; by the 32-bit ABI `dup`.
const DUP: &str = "32";
const GETUID: &str = "102";
const DUP_32: &str = "41";

/// A policy that notifies its enforcers of `calls` when `binary` makes a system call of the list `listed`.
fn policy(name: &str, listed: &str, calls: &str, binary: &str, action: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: {name}
spec:
  lists:
  - {{name: listed, type: syscalls, values: [{listed}]}}
  enforcers:
  - calls: [{calls}]
  tracepoints:
  - subsystem: raw_syscalls
    event: sys_enter
    args: [{{index: 4, type: syscall64}}]
    selectors:
    - matchArgs:
      - {{index: 0, operator: InMap, values: ['list:listed']}}
      matchBinaries:
      - {{operator: In, values: [{binary}]}}
      matchActions: [{action}]
"
    )
}

#[test]
fn a_kill_needs_no_override() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("enforcers-kill");
    let activity = Activity::new(&scratch);
    let other = Activity::named(&scratch, "other");
    let mut agent = Agent::start("enforcers-kill");
    agent.add_policy(&policy(
        "kill-dup",
        "sys_dup, sys_dup2, __ia32_sys_dup",
        "'list:listed'",
        activity.binary(),
        "{action: NotifyEnforcer, argError: -1, argSig: 9}",
    ));
    for operations in [[["call", DUP]], [["call32", DUP_32]]] {
        let [[kind, number]] = operations;
        let done = activity.run(&[&["call", GETUID], &[kind, number], &["call", GETUID]]);
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&done.status),
            Some(9),
            "{kind}"
        );
        assert_eq!(done.results, [0], "{kind}: killed by the second call");
        assert_eq!(other.run(&[&[kind, number]]).results, [0], "{kind}: of another program");
    }
    let events = agent.hook_events(&activity);
    assert_eq!(events.len(), 2, "{events:#?}");
    for event in &events {
        assert_eq!(event.text("/action"), "KPROBE_ACTION_NOTIFYENFORCER");
    }
    agent.delete_policy("kill-dup");
    assert_eq!(
        activity.run(&[&["call", DUP]]).results,
        [0],
        "the policy is out of force"
    );
    agent.stop();
}

#[test]
fn an_enforced_function_fails_where_it_was_asked_for() {
    requires!(Need::Bpf, Need::KernelFunctions);
    let scratch = Scratch::new("enforcers-fail");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("enforcers-fail");
    let file = scratch.write("file", "x");
    agent.add_policy(&policy(
        "fail-truncate",
        "sys_truncate",
        "security_path_truncate",
        activity.binary(),
        "{action: NotifyEnforcer, argError: -5}",
    ));
    let done = activity.run(&[
        &["truncate", &file],
        &["read", &file],
        &["truncate", &file],
        &["write", &file],
    ]);
    assert_eq!(done.results, [5, 0, 5, 0], "EIO");
    assert_eq!(agent.hook_events(&activity).len(), 2);
    agent.tetra(&["tracingpolicy", "set-mode", "fail-truncate", "monitor"]);
    assert_eq!(activity.run(&[&["truncate", &file]]).results, [0], "it only monitors");
    agent.stop();
}
