//! Numbers of system calls, which two ABIs share: what is one call by one of them is another by the other.

use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{guard, requires};

/// `getuid` by each ABI. By the other one it is `socketcall` and `sched_yield`.
const GETUID: &str = "102";
const GETUID_32: &str = "24";
/// `getgid`, likewise; by the other one `setitimer` and `recvmsg`.
const GETGID: &str = "104";
const GETGID_32: &str = "47";

fn policy() -> &'static str {
    "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: numbers
spec:
  lists:
  - {name: calls, type: syscalls, values: [sys_getuid, __ia32_sys_getgid, i386/sys_getuid]}
  tracepoints:
  - subsystem: raw_syscalls
    event: sys_enter
    args: [{index: 4, type: syscall64}]
    selectors:
    - matchArgs:
      - {index: 4, operator: InMap, values: ['list:calls']}
"
}

#[test]
fn a_list_tells_the_abis_apart() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("syscall-numbers");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start("syscall-numbers");
    agent.add_policy(policy());
    let done = activity.run(&[
        &["call", GETUID],
        &["call", GETUID_32],
        &["call", GETGID],
        &["call", GETGID_32],
        &["call32", GETUID_32],
        &["call32", GETUID],
        &["call32", GETGID_32],
        &["call32", GETGID],
    ]);
    let events = agent.hook_events(&activity);
    let seen: Vec<(u64, &str)> = events
        .iter()
        .map(|event| {
            let id = event.at("/args/0/syscall_id/id").as_u64();
            (id.unwrap_or_default(), event.text("/args/0/syscall_id/abi"))
        })
        .collect();
    let has_32_bit_calls = done.results[4] == 0;
    let mut expected = vec![(102, "x64")];
    if has_32_bit_calls {
        expected.extend([(24, "i386"), (47, "i386")]);
    }
    guard::note(if has_32_bit_calls {
        "calls of both ABIs"
    } else {
        "this kernel has no calls of 32 bits"
    });
    assert_eq!(seen, expected);
    agent.stop();
}
