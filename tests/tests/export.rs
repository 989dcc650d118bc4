//! The exported JSON, read by an independent implementation of protobuf's JSON form (prost-reflect) that knows nothing of our
//! code but the `.proto` files.

use std::path::PathBuf;

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use tests::activity::Activity;
use tests::agent::Agent;
use tests::guard::{self, Need};
use tests::scratch::Scratch;
use tests::{policy, requires, test_name};

/// The message that a line of the export is.
fn response() -> MessageDescriptor {
    let include = policy::workspace().join("tetra-agent/api/proto");
    let mut files: Vec<PathBuf> = std::fs::read_dir(include.join("tetragon"))
        .expect("the .proto files can be listed")
        .map(|entry| entry.expect("the .proto files can be listed").path())
        .collect();
    files.sort();
    let files = protox::compile(files, [include]).expect("the .proto files compile");
    let pool = DescriptorPool::decode(files.encode_to_vec().as_slice()).expect("descriptors can be read");
    pool.get_message_by_name("tetragon.GetEventsResponse")
        .expect("it is defined")
}

/// Reads `line`, refusing fields that the message does not have, and gives what it says in canonical form.
fn canonical(descriptor: &MessageDescriptor, line: &str) -> Value {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let message = DynamicMessage::deserialize(descriptor.clone(), &mut deserializer)
        .unwrap_or_else(|error| panic!("not protobuf JSON: {error}\n{line}"));
    deserializer
        .end()
        .unwrap_or_else(|error| panic!("more than one value: {error}\n{line}"));
    let options = prost_reflect::SerializeOptions::new().use_proto_field_name(true);
    let value = message.serialize_with_options(serde_json::value::Serializer, &options);
    value.unwrap_or_else(|error| panic!("cannot be written: {error}\n{line}"))
}

#[test]
fn the_reference_events_are_of_the_same_form() {
    let Some(corpus) = policy::corpus() else {
        return guard::skip(test_name!(), "the corpus is not here (TETRA_CORPUS)");
    };
    let descriptor = response();
    let mut lines = 0;
    for entry in std::fs::read_dir(corpus.join("events")).expect("the corpus has events") {
        let path = entry.expect("the corpus can be listed").path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in std::fs::read_to_string(&path).expect("the corpus is text").lines() {
                canonical(&descriptor, line);
                lines += 1;
            }
        }
    }
    assert!(lines > 0, "the corpus has no events");
}

#[test]
fn exported_events_are_protobuf_json() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("export");
    let activity = Activity::new(&scratch);
    let mut agent = Agent::start_with("export", &["--enable-process-cred", "--enable-process-ns"]);
    agent.add_policy(&policy::example("syscalls/setuid.yaml", &[]));
    agent.add_policy(&policy::openat("opens", &[("Prefix", &[scratch.text("")])]));
    assert_eq!(
        activity
            .run(&[&["setuid", "0"], &["open", &scratch.text("nothing")]])
            .results,
        [0, 2]
    );
    assert_eq!(agent.hook_events(&activity).len(), 2);

    let descriptor = response();
    let text = std::fs::read_to_string(agent.scratch().path("events.json")).expect("the export can be read");
    let mut kinds = std::collections::BTreeSet::new();
    for line in text[..text.rfind('\n').map_or(0, |end| end + 1)].lines() {
        let ours: Value = serde_json::from_str(line).expect("the export is JSON");
        // what is left out, how numbers, bytes and times are written: all of it must be canonical already
        assert_eq!(canonical(&descriptor, line), ours, "{line}");
        kinds.extend(ours.as_object().expect("an object").keys().cloned());
    }
    for kind in ["process_exec", "process_exit", "process_kprobe"] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    agent.stop();
}
