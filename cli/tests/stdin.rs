//! Events from a log on standard input.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test that unwraps is a test that can fail"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

const LOG: &str = r#"{"process_exec":{"process":{"pid":1,"binary":"/usr/bin/curl","arguments":"cilium.io"}},"node_name":"n","time":"2026-01-02T03:04:05.5Z"}
{"process_exit":{"process":{"pid":1,"binary":"/usr/bin/curl","cap":{"effective":[]}},"signal":"SIGKILL"},"node_name":"n"}

not json
{"process_exec":{"process":{"pid":2,"binary":"/bin/sh","pod":{"namespace":"default","name":"web-1"}}},"node_name":"n","new_field":1}
{"node_name":"n"}
{"process_throttle":{"type":"THROTTLE_STOP","cgroup":"a.scope"},"node_name":"n"}
{"rate_limit_info":{"number_of_dropped_process_events":"2"},"node_name":"n"}
"#;

fn check(arguments: &[&str], stdout: &str, stderr: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tetra"))
        .arg("getevents")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(LOG.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout, "{arguments:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), stderr, "{arguments:?}");
    assert_eq!(
        output.status.code(),
        Some(i32::from(stderr.starts_with("error"))),
        "{arguments:?}"
    );
}

const WARNING: &str =
    "warning: left out 2 lines that are no events; the first, line 4: expected ident at line 1 column 2\n";

#[test]
fn lines_become_compact() {
    check(
        &["-o", "compact"],
        "\
🚀 process n /usr/bin/curl cilium.io
💥 exit    n /usr/bin/curl  SIGKILL
🚀 process default/web-1 /bin/sh 
🧬 throttle STOP  a.scope
🚦 limited n 2 events left out by the rate limit of the export
",
        WARNING,
    );
}

#[test]
fn conditions_hold_here_too() {
    check(
        &["-o", "compact", "--process", "curl$", "-e", "exec"],
        "🚀 process n /usr/bin/curl cilium.io\n",
        WARNING,
    );
    check(
        &["-o", "compact", "-n", "default"],
        "🚀 process default/web-1 /bin/sh \n",
        WARNING,
    );
    check(
        &["-o", "compact", "--host", "--event-types", "PROCESS_EXIT"],
        "💥 exit    n /usr/bin/curl  SIGKILL\n",
        WARNING,
    );
    check(
        &["-o", "compact", "--pod", "^web"],
        "🚀 process default/web-1 /bin/sh \n",
        WARNING,
    );
    check(&["--policy-names", "p"], "", WARNING);
}

#[test]
fn times_and_colours() {
    check(
        &[
            "-o",
            "compact",
            "--timestamps",
            "--color",
            "always",
            "--process",
            "curl",
            "-e",
            "PROCESS_EXEC",
        ],
        "2026-01-02T03:04:05.500000000Z \x1b[34m🚀 process\x1b[0m \x1b[32mn\x1b[0m \x1b[35m/usr/bin/curl\x1b[0m \x1b[36mcilium.io\x1b[0m\n",
        WARNING,
    );
}

#[test]
fn fields_are_kept_or_left_out() {
    check(
        &["-e", "PROCESS_EXIT", "-f", "process.pid,signal"],
        "{\"process_exit\":{\"process\":{\"pid\":1},\"signal\":\"SIGKILL\"},\"node_name\":\"n\"}\n",
        WARNING,
    );
    check(
        &["-e", "PROCESS_EXIT", "-F", "process.cap,process.binary"],
        "{\"process_exit\":{\"process\":{\"pid\":1},\"signal\":\"SIGKILL\"},\"node_name\":\"n\"}\n",
        WARNING,
    );
}

#[test]
fn expressions_select_lines() {
    check(
        &[
            "--cel-expression",
            "process_exit.signal == 'SIGKILL'",
            "-f",
            "process.pid,signal",
        ],
        "{\"process_exit\":{\"process\":{\"pid\":1},\"signal\":\"SIGKILL\"},\"node_name\":\"n\"}\n",
        WARNING,
    );
}

#[test]
fn wrong_conditions_are_refused() {
    let regex = "error: `binary_regex`: regex parse error:\n    (\n    ^\nerror: unclosed group\n";
    check(&["--process", "("], "", regex);
    check(
        &["-f", "process.pidd"],
        "",
        "error: field filter: no event has the field `process.pidd`\n",
    );
    check(
        &["-e", "exce"],
        "",
        "error: `exce` is not a type of event\nhelp: use PROCESS_EXEC, PROCESS_EXIT, PROCESS_KPROBE, PROCESS_TRACEPOINT, \
         PROCESS_LOADER, PROCESS_UPROBE, PROCESS_USDT, PROCESS_LSM or PROCESS_THROTTLE\n",
    );
    check(
        &["--cel-expression", "f(process_exec)"],
        "",
        "error: `cel_expression` `f(process_exec)`: there is no function `f`; functions are size, contains, startsWith, endsWith, \
         matches, string, int, uint, double, bytes, dyn, type, has, all, exists, exists_one, map, filter, max, min\n",
    );
}
