//! The JSON form, checked against real event logs and against an implementation that knows only
//! the descriptors.
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs;
use std::path::PathBuf;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};
use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::{
    GetEventsResponse, KprobeArgument, KprobeError, Process, ProcessKprobe, StackTraceEntry, kprobe_argument::Arg,
};

/// Event logs of the corpus: `TETRA_CORPUS`, else beside the project. `None`, with the reason
/// printed, if there is none.
fn corpus_lines() -> Option<Vec<(String, String)>> {
    let root = std::env::var_os("TETRA_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join("events");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: no event corpus at {} (set TETRA_CORPUS)", folder.display());
        return None;
    };
    let mut lines = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(&path).expect("an event log");
            for (number, line) in text.lines().enumerate() {
                lines.push((format!("{}:{}", path.display(), number + 1), line.to_owned()));
            }
        }
    }
    assert!(!lines.is_empty(), "{} holds event logs", folder.display());
    Some(lines)
}

fn parse_independently(line: &str) -> DynamicMessage {
    let pool = DescriptorPool::decode(tetra_api::FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let envelope = pool
        .get_message_by_name("tetragon.GetEventsResponse")
        .expect("the envelope");
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let message =
        DynamicMessage::deserialize(envelope, &mut deserializer).unwrap_or_else(|error| panic!("{error}: {line}"));
    deserializer.end().expect("one object a line");
    message
}

/// Like `assert_eq!`, but says where the two differ rather than print both whole.
fn check_equal(path: &str, left: &Value, right: &Value) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left.keys().chain(right.keys()) {
                let (left, right) = (left.get(key), right.get(key));
                check_equal(
                    &format!("{path}.{key}"),
                    left.unwrap_or(&Value::Null),
                    right.unwrap_or(&Value::Null),
                );
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                check_equal(&format!("{path}[{index}]"), left, right);
            }
        }
        _ => assert_eq!(left, right, "{path}"),
    }
}

/// Both implementations read `line` as the same message, and both write it back as it was.
fn check_line(place: &str, line: &str) -> GetEventsResponse {
    let original: Value = serde_json::from_str(line).expect("JSON");
    let event: GetEventsResponse = serde_json::from_str(line).unwrap_or_else(|error| panic!("{place}: {error}"));
    check_equal(place, &serde_json::to_value(&event).expect("serialises"), &original);

    let independent = parse_independently(line);
    let decoded = GetEventsResponse::decode(independent.encode_to_vec().as_slice()).expect("decodes");
    assert!(decoded == event, "{place}: read differently");

    let mut options = SerializeOptions::new().use_proto_field_name(true);
    options = options.skip_default_fields(true);
    let written = independent
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("serialises");
    check_equal(place, &written, &original);
    event
}

#[test]
fn real_event_logs_survive_a_round_trip() {
    let Some(lines) = corpus_lines() else { return };
    for (place, line) in &lines {
        check_line(place, line);
    }
}

#[test]
fn values_take_their_canonical_form() {
    let event = GetEventsResponse {
        event: Some(Event::ProcessKprobe(ProcessKprobe {
            process: Some(Process {
                pid: Some(0),
                in_init_tree: Some(false),
                start_time: Some(tetra_api::Timestamp {
                    seconds: 1,
                    nanos: 500_000_000,
                }),
                ..Default::default()
            }),
            args: vec![
                KprobeArgument {
                    arg: Some(Arg::SizeArg(0)),
                    label: String::new(),
                },
                KprobeArgument {
                    arg: Some(Arg::LongArg(-5)),
                    label: "n".into(),
                },
                KprobeArgument {
                    arg: Some(Arg::BytesArg(vec![0, 255])),
                    label: String::new(),
                },
                KprobeArgument {
                    arg: Some(Arg::ErrorArg(KprobeError {
                        message: "fault".into(),
                    })),
                    label: String::new(),
                },
            ],
            kernel_stack_trace: vec![StackTraceEntry {
                offset: 7,
                ..Default::default()
            }],
            action: 3,
            ..Default::default()
        })),
        node_name: "n".into(),
        node_labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    let line = serde_json::to_string(&event).expect("serialises");
    let expected = json!({
        "process_kprobe": {
            "process": {"pid": 0, "in_init_tree": false, "start_time": "1970-01-01T00:00:01.500Z"},
            "args": [
                {"size_arg": "0"},
                {"long_arg": "-5", "label": "n"},
                {"bytes_arg": "AP8="},
                {"error_arg": {"Message": "fault"}},
            ],
            "action": "KPROBE_ACTION_SIGKILL",
            "kernel_stack_trace": [{"offset": "7"}],
        },
        "node_name": "n",
        "node_labels": {"a": "1", "b": "2"},
    });
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value, expected);
    assert!(line.starts_with(r#"{"process_kprobe":{"process""#), "{line}");
    assert_eq!(check_line("made here", &line), event);
}

#[test]
fn newer_logs_and_camel_case_names_are_read() {
    let line = r#"{"new_field":{"x":[1]},"processExit":{"process":{"pid":7,"newer":1},"status":3},"nodeName":"n"}"#;
    let event: GetEventsResponse = serde_json::from_str(line).expect("parses");
    assert_eq!(
        serde_json::to_string(&event).expect("serialises"),
        r#"{"process_exit":{"process":{"pid":7},"status":3},"node_name":"n"}"#
    );
}

#[test]
fn two_events_in_one_object_are_refused() {
    let error =
        serde_json::from_str::<GetEventsResponse>(r#"{"process_exit":{},"process_exec":{}}"#).expect_err("two events");
    assert!(error.to_string().contains("second event `process_exec`"), "{error}");
}
