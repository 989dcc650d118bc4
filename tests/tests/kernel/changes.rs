//! Filters on changes of a process since it was executed.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

#[test]
fn a_change_is_told_once() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("changes");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("changes");
    agent.add_policy(
        "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: changes
spec:
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_getpgid
    tags: [uts]
    selectors:
    - matchNamespaceChanges: [{operator: In, values: [uts]}]
  - subsystem: syscalls
    event: sys_enter_getsid
    tags: [others]
    selectors:
    - matchNamespaceChanges: [{operator: NotIn, values: [Uts]}]
  - subsystem: syscalls
    event: sys_enter_getppid
    tags: [capabilities]
    selectors:
    - matchCapabilityChanges: [{type: Effective, operator: In, values: [CAP_SYS_ADMIN]}]
",
    );
    let (getpgid, getsid, getppid) = (&["call", "121"], &["call", "124"], &["call", "110"]);
    let done = activity.run(&[
        getpgid,
        getsid,
        getppid,
        &["unshare", "0x04000000"], // CLONE_NEWUTS
        getsid,
        getpgid,
        getpgid,
        &["unshare", "0x08000000"], // CLONE_NEWIPC
        getpgid,
        getsid,
        getsid,
        &["setuid", "1000"],
        getppid,
        getppid,
    ]);
    assert!(done.status.success(), "{done:?}");

    let events = agent.hook_events(&activity);
    let tags: Vec<_> = events.iter().map(|event| event.text("/tags/0")).collect();
    assert_eq!(tags, ["uts", "others", "capabilities"]);
    agent.stop();
}
