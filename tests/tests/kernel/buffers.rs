//! Arguments that are buffers: what processes write.

use std::fs::File;
use std::io::{IoSlice, Write as _};

use serde_json::{Value, json};
use tests::agent::Agent;
use tests::guard::Need;
use tests::requires;
use tests::scratch::Scratch;

/// Base64 of bytes, as JSON has them.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Bytes that tell where they stand.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Arguments of the events of this process, by tag.
fn arguments(agent: &mut Agent, tag: &str) -> Vec<Value> {
    agent
        .events()
        .into_iter()
        .filter(|event| event.is_of_policy("buffers") && event.pid() == std::process::id())
        .filter(|event| event.at("/tags/0") == tag)
        .map(|event| event.at("/args").clone())
        .collect()
}

#[test]
fn what_is_written_is_shown_and_judged() {
    requires!(Need::KernelFunctions);
    let scratch = Scratch::new("buffers");
    let mut file = File::create(scratch.path("written")).expect("a file can be made");
    let (_reader, mut pipe) = std::io::pipe().expect("a pipe can be made");
    let mut agent = Agent::start("buffers");
    let me = std::process::id();
    // the function has had two names
    let pipe_hooks: String = ["pipe_write", "anon_pipe_write"]
        .map(|call| {
            format!(
                "  - call: {call}
    syscall: false
    ignore: {{callNotFound: true}}
    tags: [pipe]
    args: [{{index: 1, type: iov_iter, maxData: true}}, {{index: 0, type: kiocb}}]
    selectors:
    - matchPIDs: [{{operator: In, values: [{me}]}}]
      matchArgs: [{{index: 1, operator: Prefix, values: ['through']}}]
"
            )
        })
        .concat();
    agent.add_policy(&format!(
        "apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: buffers
spec:
  kprobes:
  - call: sys_write
    syscall: true
    tags: [write]
    args: [{{index: 1, type: char_buf, sizeArgIndex: 3, maxData: true, label: all}}, {{index: 1, type: char_buf, sizeArgIndex: 3}}, {{index: 2, type: size_t}}]
    selectors:
    - matchPIDs: [{{operator: In, values: [{me}]}}]
      matchArgs: [{{index: 1, operator: Prefix, values: [secret]}}]
  - call: sys_writev
    syscall: true
    tags: [writev]
    args: [{{index: 1, type: char_iovec, sizeArgIndex: 3}}]
    selectors:
    - matchPIDs: [{{operator: In, values: [{me}]}}]
      matchArgs: [{{index: 1, operator: Equal, values: ['one, two, three']}}]
    - matchPIDs: [{{operator: In, values: [{me}]}}]
      matchArgs: [{{index: 1, operator: Prefix, values: ['long']}}]
{pipe_hooks}"
    ));
    let long = [b"secret".to_vec(), pattern(100_000)].concat();
    let longest = [b"secret".to_vec(), pattern(400_000)].concat();
    for bytes in [b"secret".as_slice(), b"public", &long, &longest] {
        file.write_all(bytes).expect("it can be written");
    }
    let mut segments = |parts: &[&[u8]]| {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let written = file.write_vectored(&slices).expect("it can be written");
        assert_eq!(written, parts.iter().map(|part| part.len()).sum::<usize>());
    };
    segments(&[b"one, ", b"", b"two, ", b"three"]);
    segments(&[b"one, ", b"two"]);
    let part = pattern(3000);
    segments(&[b"long", &part, &part]);
    let through = [b"through".to_vec(), pattern(9000)].concat();
    pipe.write_all(b"through the pipe").expect("it can be written");
    pipe.write_all(&through).expect("it can be written");
    let slices = [IoSlice::new(b"thr"), IoSlice::new(b"ough"), IoSlice::new(b" parts")];
    assert_eq!(pipe.write_vectored(&slices).ok(), Some(13));

    let truncated = |bytes: &[u8], all: usize| json!({"truncated_bytes_arg": {"bytes_arg": base64(bytes), "orig_size": all.to_string()}});
    let writes = arguments(&mut agent, "write");
    let sizes: Vec<_> = writes.iter().map(|args| args[2]["size_arg"].clone()).collect();
    assert_eq!(sizes, ["6", "100006", "400006"]);
    for args in &writes[..1] {
        assert_eq!(args[0]["bytes_arg"], base64(b"secret"));
        assert_eq!(args[1]["bytes_arg"], base64(b"secret"));
    }
    assert_eq!(
        writes[1][0]["bytes_arg"].as_str(),
        Some(base64(&long).as_str()),
        "all of it"
    );
    assert_eq!(writes[1][1], truncated(&long[..4096], long.len()));
    // more than the largest that is sent
    let sent = 80 * 4096;
    let mut most = truncated(&longest[..sent], longest.len());
    most["label"] = json!("all");
    assert_eq!(writes[2][0], most);

    let vectors = arguments(&mut agent, "writev");
    assert_eq!(vectors.len(), 2, "{vectors:?}");
    assert_eq!(vectors[0][0]["bytes_arg"], base64(b"one, two, three"));
    let whole = [b"long".as_slice(), &part, &part].concat();
    assert_eq!(vectors[1][0], truncated(&whole[..4096], whole.len()));

    let pipes = arguments(&mut agent, "pipe");
    let shown: Vec<_> = pipes
        .iter()
        .map(|args| args[0]["bytes_arg"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(
        shown,
        [base64(b"through the pipe"), base64(&through), base64(b"through parts")]
    );
    agent.stop();
}
