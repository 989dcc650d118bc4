//! Stack traces of events.

use std::fs::File;

use serde_json::Value;
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

/// Entries of a trace: symbol, module, offset, address.
fn trace(event: &tests::event::Event, key: &str) -> Vec<(String, String, u64, bool)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    event
        .at(&format!("/{key}"))
        .as_array()
        .unwrap_or_else(|| panic!("no {key}: {event:?}"))
        .iter()
        .map(|entry| {
            let offset = text(entry, "offset").parse().unwrap_or_default();
            (
                text(entry, "symbol"),
                text(entry, "module"),
                offset,
                entry.get("address").is_some(),
            )
        })
        .collect()
}

#[test]
fn events_show_who_called_in_the_kernel_and_in_the_process() {
    requires!(Need::KernelFunctions);
    let scratch = Scratch::new("stacks");
    let path = scratch.write("watched", "");
    let mut agent = Agent::start_with("stacks", &[]);
    agent.add_policy(&format!(
        "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: stacks
spec:
  kprobes:
  - call: security_file_open
    syscall: false
    args: [{{index: 0, type: file}}]
    tags: [function]
    selectors:
    - matchArgs: [{{index: 0, operator: Equal, values: ['{path}']}}]
      matchActions: [{{action: Post, kernelStackTrace: true, userStackTrace: true}}]
  - call: sys_openat
    syscall: true
    return: true
    args: [{{index: 1, type: string}}]
    returnArg: {{index: 0, type: int}}
    tags: [syscall]
    selectors:
    - matchArgs: [{{index: 1, operator: Equal, values: ['{path}']}}]
      matchActions: [{{action: Post, userStackTrace: true}}]
"
    ));
    drop(File::open(&path).expect("the file can be opened"));

    let events: Vec<_> = agent
        .events()
        .into_iter()
        .filter(|event| event.is_of_policy("stacks") && event.pid() == std::process::id())
        .collect();
    assert_eq!(events.len(), 2, "{events:?}");
    let of = |tag: &str| {
        let event = events.iter().find(|event| event.at("/tags/0") == tag);
        event.unwrap_or_else(|| panic!("no event of the {tag}: {events:?}"))
    };

    let kernel = trace(of("function"), "kernel_stack_trace");
    assert_eq!(kernel[0].0, "security_file_open", "{kernel:?}");
    assert!(
        kernel.iter().any(|(symbol, ..)| symbol.contains("sys_openat")),
        "{kernel:?}"
    );
    assert!(
        kernel
            .iter()
            .all(|(_, module, _, address)| module.is_empty() && !address),
        "{kernel:?}"
    );
    for tag in ["function", "syscall"] {
        let user = trace(of(tag), "user_stack_trace");
        let (symbol, module, offset, address) = &user[0];
        assert!(module.contains("libc") && *offset > 0 && !address, "{user:?}");
        assert!(symbol.contains("open"), "{user:?}");
    }
    assert_eq!(of("syscall").at("/kernel_stack_trace"), &Value::Null);
    agent.stop();
}
