use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::policy::{Account, ArgumentTemplate, ArgumentType, EventTemplate, StackTraces, Template};
use crate::process::{Image, ImageFlags};
use crate::time::WallTime;

const HOST: [u32; 10] = [1, 2, 3, 4, 4, 5, 6, 6, 7, 8];

fn encoder(with: bool) -> Encoder {
    let config = EncodeConfig {
        node_name: "vm".into(),
        with_namespaces: with,
        with_credentials: with,
        host_namespaces: HOST,
        ..EncodeConfig::default()
    };
    Encoder::new(config, ClockOffset::new(WallTime(1_000_000_000_000), KernelTime(0)))
}

fn process(tgid: u32, parent: ProcessKey) -> Arc<Process> {
    let credentials = Credentials {
        cap_permitted: 0b11,
        cap_effective: 0b11,
        ..Credentials::default()
    };
    let image = Image {
        binary: "/usr/bin/sleep".into(),
        arguments: "0.2".into(),
        cwd: "/srv".into(),
        auid: u32::MAX,
        credentials,
        namespaces: HOST,
        ..Image::default()
    };
    Arc::new(Process {
        key: ProcessKey::new(tgid, u64::from(tgid) * 1_000_001),
        parent,
        nspid: 0,
        flags: ImageFlags::EXECVE | ImageFlags::CLONE,
        in_init_tree: false,
        image: Arc::new(image),
    })
}

fn event(body: EventBody) -> Event {
    let grandparent = process(1, ProcessKey::KERNEL);
    let parent = process(20, grandparent.key);
    let process = process(347, parent.key);
    let references = matches!(body, EventBody::Policy(_)).then_some(1);
    Event {
        time: process.key.start,
        tid: 347,
        process,
        parent: Some(parent),
        ancestors: vec![grandparent],
        references,
        body,
    }
}

fn policy(kind: HookKind, arguments: Vec<api::KprobeArgument>, return_value: Option<api::KprobeArgument>) -> EventBody {
    let description = EventTemplate {
        kind,
        policy_slot: 0,
        policy_name: "p".into(),
        policy_namespace: None,
        function_name: "f".into(),
        subsystem: "syscalls".into(),
        event: "sys_enter_lseek".into(),
        user: None,
        arguments: vec![ArgumentTemplate {
            argument_type: ArgumentType::Int32,
            is_data: false,
            label: "".into(),
        }],
        has_return: return_value.is_some(),
        message: "".into(),
        tags: vec![],
        hook_index: 0,
        selector_index: None,
    };
    let template = Arc::new(Template {
        description,
        account: Arc::new(Account::default()),
    });
    EventBody::Policy(Box::new(PolicyEvent {
        stacks: StackTraces::default(),
        template,
        arguments,
        data: Vec::new(),
        return_value,
        action: 1,
        return_action: 0,
    }))
}

fn argument(arg: api::kprobe_argument::Arg) -> api::KprobeArgument {
    api::KprobeArgument {
        label: String::new(),
        arg: Some(arg),
    }
}

fn file() -> api::KprobeArgument {
    argument(api::kprobe_argument::Arg::FileArg(api::KprobeFile {
        path: "/etc/x".into(),
        permission: "-rw-r--r--".into(),
        ..Default::default()
    }))
}

/// Paths of all keys of a value; elements of arrays are one path.
fn paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{prefix}.{key}");
                paths(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| paths(value, prefix, into)),
        _ => {}
    }
}

fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("TETRA_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let events = root.join("events");
    if !events.is_dir() {
        eprintln!("skipped: no corpus at {} (set TETRA_CORPUS)", events.display());
        return None;
    }
    Some(events)
}

/// Our event has the keys that the reference's event of the same kind has, and no others.
fn check_shape(file: &str, line: usize, body: EventBody) {
    let Some(corpus) = corpus() else { return };
    let text = std::fs::read_to_string(corpus.join(file)).unwrap();
    let theirs: Value = serde_json::from_str(text.lines().nth(line).unwrap()).unwrap();
    let ours = serde_json::to_value(encoder(true).encode(&event(body))).unwrap();
    let (mut expected, mut actual) = (BTreeSet::new(), BTreeSet::new());
    paths(&theirs, "", &mut expected);
    paths(&ours, "", &mut actual);
    // the reference shows the count of a forked parent by accident
    expected.retain(|path| !path.ends_with(".parent.refcnt") && !path.ends_with(".ancestors.refcnt"));
    // whether an ancestor was started with arguments is not the event's shape: those of the references differ in it
    for keys in [&mut expected, &mut actual] {
        keys.retain(|path| !path.ends_with(".ancestors.arguments"));
    }
    let missing: Vec<_> = expected.difference(&actual).collect();
    let extra: Vec<_> = actual.difference(&expected).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{file}:{line}: missing {missing:?}, extra {extra:?}"
    );
}

#[test]
fn events_have_the_shape_of_the_references() {
    check_shape(
        "process_exec-base.jsonl",
        2,
        EventBody::Exec(BinaryProperties::default()),
    );
    check_shape("process_exit-base.jsonl", 0, EventBody::Exit { code: 0 });
    let number = argument(api::kprobe_argument::Arg::IntArg(4));
    let arguments = vec![file(), number.clone()];
    check_shape(
        "process_kprobe-file-monitoring.jsonl",
        0,
        policy(HookKind::Kprobe, arguments, Some(number)),
    );
    check_shape(
        "process_lsm-lsm-file-open.jsonl",
        0,
        policy(HookKind::Lsm, vec![file()], None),
    );
    let number = argument(api::kprobe_argument::Arg::SyscallId(api::SyscallId {
        id: 35,
        abi: "x64".into(),
    }));
    check_shape(
        "process_tracepoint-raw-syscalls.jsonl",
        0,
        policy(HookKind::Tracepoint, vec![number], None),
    );
}

#[test]
fn exec_ids_are_node_time_and_pid() {
    let encoder = encoder(false);
    // the reference's id of the kernel on node `vm`
    assert_eq!(encoder.exec_id(ProcessKey::KERNEL), "dm06MTow");
    let message = encoder.process(&process(347, ProcessKey::new(0, 0)));
    assert_eq!(message.parent_exec_id, "dm06MTow");
    assert!(message.ns.is_none() && message.cap.is_none() && message.process_credentials.is_none());
}

#[test]
fn an_unknown_process_has_only_its_pid_and_start() {
    let unknown = |start| {
        let process = Arc::new(Process::unknown(ProcessKey::new(1041, start)));
        let event = Event {
            process,
            parent: None,
            ..event(EventBody::Exit { code: 1 << 8 })
        };
        serde_json::to_value(encoder(true).encode(&event)).unwrap()["process_exit"]["process"].clone()
    };
    assert_eq!(
        unknown(5_000_000_000),
        serde_json::json!({"pid": 1041, "start_time": "1970-01-01T00:16:45Z"})
    );
    assert_eq!(unknown(0), serde_json::json!({"pid": 1041, "flags": "unknown"}));
}

#[test]
fn exits_show_status_or_signal() {
    let exit = |code| {
        let Some(Payload::ProcessExit(exit)) = encoder(false).encode(&event(EventBody::Exit { code })).event else {
            unreachable!()
        };
        (exit.status, exit.signal)
    };
    assert_eq!(exit(3 << 8), (3, String::new()));
    assert_eq!(exit(9), (0, "SIGKILL".to_owned()));
    assert_eq!(exit(0x80 | 0x0b), (0, "SIGSEGV".to_owned()));
}

#[test]
fn binary_properties_are_shown_if_there_are_any() {
    let properties = |properties, with| {
        let Some(Payload::ProcessExec(exec)) = encoder(with).encode(&event(EventBody::Exec(properties))).event else {
            unreachable!()
        };
        serde_json::to_value(exec.process.unwrap()).unwrap()["binary_properties"].clone()
    };
    assert_eq!(properties(BinaryProperties::default(), true), Value::Null);
    let memfd = BinaryProperties {
        inode: Some((2, 0)),
        ..Default::default()
    };
    assert_eq!(properties(memfd, false), Value::Null);
    assert_eq!(
        properties(memfd, true),
        serde_json::json!({"file": {"inode": {"number": "2", "links": 0}}})
    );
    let setuid = BinaryProperties {
        setuid: Some(0),
        ..Default::default()
    };
    assert_eq!(
        properties(setuid, true),
        serde_json::json!({"setuid": 0, "privileges_changed": ["PRIVILEGES_RAISED_EXEC_FILE_SETUID"]})
    );
}
