//! Lines that the corpus has no event for.
#![allow(missing_docs, reason = "tests")]

use tetra::compact::{CompactOptions, EncodeError, encode};
use tetra_api::tetragon::GetEventsResponse;

const OPTIONS: CompactOptions = CompactOptions {
    colours: false,
    timestamps: false,
    stack_traces: true,
    ima_hash: true,
};

fn encode_json(json: &str, options: CompactOptions) -> Result<String, EncodeError> {
    let event: GetEventsResponse = serde_json::from_str(json).expect("an event");
    let mut text = String::new();
    encode(&event, options, &mut text).map(|()| text)
}

/// A kprobe event of `/bin/p` on node `n`.
fn check_kprobe(function: &str, arguments: &str, line: &str) {
    let json = format!(
        r#"{{"process_kprobe":{{"process":{{"binary":"/bin/p"}},"function_name":"{function}","args":[{arguments}]}},"node_name":"n"}}"#
    );
    assert_eq!(
        encode_json(&json, OPTIONS).expect("a line"),
        format!("{line}\n"),
        "{function}"
    );
}

#[test]
fn functions_people_hook_have_lines_of_their_own() {
    let file = r#"{"file_arg":{"path":"/etc/passwd"}}"#;
    let size = r#"{"size_arg":"1234"}"#;
    check_kprobe(
        "__x64_sys_write",
        &format!("{file},{{}},{size}"),
        "📝 write   n /bin/p /etc/passwd 1234 bytes",
    );
    check_kprobe(
        "__arm64_sys_read",
        &format!("{file},{{}},{size}"),
        "📚 read    n /bin/p /etc/passwd 1234 bytes",
    );
    check_kprobe("__x64_sys_write", "", "📝 write   n /bin/p  ");
    check_kprobe(
        "fd_install",
        &format!(r#"{{"int_arg":3}},{file}"#),
        "📬 open    n /bin/p /etc/passwd",
    );
    check_kprobe(
        "__x64_sys_openat",
        r#"{"int_arg":-100},{"string_arg":"/a b"}"#,
        "📬️ openat  n /bin/p \"/a b\"",
    );
    check_kprobe("__x64_sys_open", r#"{},{"string_arg":"/a"}"#, "📬️ open    n /bin/p /a");
    check_kprobe("__x64_sys_close", file, "📪 close   n /bin/p /etc/passwd");
    check_kprobe(
        "__x64_sys_pivot_root",
        r#"{"string_arg":"/a"},{"string_arg":"/b"}"#,
        "💾 pivot_root n /bin/p /a /b",
    );
    check_kprobe("__x64_sys_clock_settime", "", "⏰ clock_settime n /bin/p");
    check_kprobe("proc_exec_connector", "", "🔧 proc_exec_connector n /bin/p");
    check_kprobe(
        "__x64_sys_setns",
        r#"{"int_arg":3},{"int_arg":1073741824}"#,
        "🔧 setns   n /bin/p net",
    );
    check_kprobe(
        "security_perf_event_alloc",
        r#"{"perf_event_arg":{"Type":"PERF_TYPE_TRACEPOINT","KprobeFunc":"commit_creds"}}"#,
        "🐝 perf_event_alloc n /bin/p PERF_TYPE_TRACEPOINT commit_creds",
    );
    check_kprobe("vfs_rename", file, "❓ syscall n /bin/p vfs_rename");
}

#[test]
fn security_hooks_say_what_is_asked_for() {
    let file = r#"{"file_arg":{"path":"/a"}}"#;
    check_kprobe(
        "security_file_permission",
        &format!(r#"{file},{{"int_arg":2}}"#),
        "📝 write   n /bin/p /a",
    );
    check_kprobe(
        "security_file_permission",
        &format!(r#"{file},{{"int_arg":1}}"#),
        "❓ security_file_permission n /bin/p /a",
    );
    check_kprobe(
        "security_mmap_file",
        &format!(r#"{file},{{"uint_arg":7}}"#),
        "📝 mmap-rwx n /bin/p /a",
    );
    check_kprobe(
        "security_mmap_file",
        &format!(r#"{file},{{"uint_arg":4}}"#),
        "📝 mmap-x  n /bin/p /a",
    );
    check_kprobe(
        "security_path_truncate",
        r#"{"path_arg":{"path":"/a"}}"#,
        "📝 truncate n /bin/p /a",
    );
    check_kprobe("security_file_truncate", file, "📝 truncate n /bin/p /a");
    check_kprobe("security_path_truncate", "", "❓ security_path_truncate n /bin/p ");
}

#[test]
fn arguments_of_another_type_are_left_empty() {
    check_kprobe("tcp_connect", r#"{"int_arg":1}"#, "🔌 connect n /bin/p ");
    check_kprobe("bpf_check", r#"{"string_arg":"x"}"#, "🐝 bpf_load n /bin/p ");
    check_kprobe("__x64_sys_setuid", "", "🔑 setuid  n /bin/p ");
}

#[test]
fn stacks_of_both_sides_stand_below() {
    let json = r#"{"process_kprobe":{"process":{"binary":"/bin/p"},"function_name":"f",
        "kernel_stack_trace":[{"address":"18446744073709551600","offset":"16","symbol":"f"}],
        "user_stack_trace":[{"offset":"255","module":"/lib/libc.so"},{"address":"1","offset":"2","symbol":"main","module":"/bin/p"}]}}"#;
    let below =
        "Kernel:\n   0xfffffffffffffff0: f+0x10\nUser:\n   0x0: (/lib/libc.so+0xff)\n   0x1: main (/bin/p+0x2)\n";
    let line = "❓ syscall  /bin/p f\n";
    assert_eq!(encode_json(json, OPTIONS).expect("a line"), format!("{line}{below}"));
    let without = CompactOptions {
        stack_traces: false,
        ..OPTIONS
    };
    assert_eq!(encode_json(json, without).expect("a line"), line);
}

#[test]
fn the_hash_of_a_file_stands_below() {
    let json = r#"{"process_lsm":{"process":{"binary":"/bin/p"},"function_name":"file_open","ima_hash":"sha256:00ff",
        "args":[{"file_arg":{"path":"/a"}}]},"node_name":"n"}"#;
    let line = "🔒 LSM     n /bin/p file_open\n";
    assert_eq!(
        encode_json(json, OPTIONS).expect("a line"),
        format!("{line}   /a sha256:00ff\n")
    );
    let without = CompactOptions {
        ima_hash: false,
        ..OPTIONS
    };
    assert_eq!(encode_json(json, without).expect("a line"), line);
}

#[test]
fn the_warning_ends_at_one_column_whatever_the_colours() {
    let capabilities = vec!["\"CAP_CHOWN\""; 22].join(",");
    let json = format!(
        r#"{{"process_exec":{{"process":{{"binary":"/bin/p","cap":{{"effective":[{capabilities}]}}}}}},"node_name":"n"}}"#
    );
    let plain = encode_json(&json, OPTIONS).expect("a line");
    let coloured = encode_json(
        &json,
        CompactOptions {
            colours: true,
            ..OPTIONS
        },
    )
    .expect("a line");
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        stripped.push_str(before);
        rest = after.split_once('m').expect("the end of the sequence").1;
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
    assert!(plain.ends_with(" 🛑 CAP_SYS_ADMIN\n"), "{plain}");
}

#[test]
fn events_that_say_too_little_are_refused() {
    assert_eq!(encode_json(r#"{"node_name":"n"}"#, OPTIONS), Err(EncodeError::NoEvent));
    assert_eq!(
        encode_json(r#"{"process_exec":{}}"#, OPTIONS),
        Err(EncodeError::NoProcess)
    );
}

#[test]
fn names_cannot_act_on_the_terminal() {
    let json = r#"{"process_exec":{"process":{"binary":"/tmp/\u001b[31mx","arguments":"a\nb"}},"node_name":"n\u0007"}"#;
    assert_eq!(
        encode_json(json, OPTIONS).expect("a line"),
        "🚀 process \"n\\a\" \"/tmp/\\x1b[31mx\" \"a\\nb\"\n"
    );
}
