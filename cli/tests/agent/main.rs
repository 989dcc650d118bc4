//! Commands that talk to the agent, against one that answers from memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::pedantic,
    reason = "a test that unwraps is a test that can fail"
)]

mod fake;

use fake::{Agent, Ran, State, command, tetra};
use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::{
    EventType, FieldFilterAction, GetEventsResponse, Process, ProcessExec, ProcessExit, TracingPolicyMode,
    TracingPolicyState, TracingPolicyStatus,
};

const POLICY: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: open
spec:
  kprobes:
  - call: sys_openat
    syscall: true
";

fn ok(stdout: &str) -> Ran {
    Ran {
        stdout: stdout.into(),
        stderr: String::new(),
        code: Some(0),
    }
}

fn failed(stderr: &str) -> Ran {
    Ran {
        stdout: String::new(),
        stderr: stderr.into(),
        code: Some(1),
    }
}

fn events() -> Vec<GetEventsResponse> {
    let process = Process {
        pid: Some(7),
        binary: "/usr/bin/true".into(),
        ..Default::default()
    };
    let exec = Event::ProcessExec(ProcessExec {
        process: Some(process.clone()),
        ..Default::default()
    });
    let exit = Event::ProcessExit(ProcessExit {
        process: Some(process),
        ..Default::default()
    });
    let nothing = GetEventsResponse {
        node_name: "n".into(),
        ..Default::default()
    };
    [exec, exit]
        .map(|event| GetEventsResponse {
            event: Some(event),
            ..nothing.clone()
        })
        .into()
}

#[test]
fn getevents_prints_what_the_agent_sends() {
    let agent = Agent::start(State {
        events: events(),
        ..Default::default()
    });
    let ran = agent.run(&["getevents", "-o", "compact"]);
    assert_eq!(
        ran.stdout,
        "🚀 process n /usr/bin/true \n💥 exit    n /usr/bin/true  0\n"
    );
    assert_eq!(ran.stderr, "error: the agent ended the stream of events\n");
    assert_eq!(ran.code, Some(1));

    let ran = agent.run(&["getevents"]);
    assert_eq!(
        ran.stdout,
        "\
{\"process_exec\":{\"process\":{\"pid\":7,\"binary\":\"/usr/bin/true\"}},\"node_name\":\"n\"}
{\"process_exit\":{\"process\":{\"pid\":7,\"binary\":\"/usr/bin/true\"}},\"node_name\":\"n\"}
"
    );
}

#[test]
fn getevents_skips_events_it_cannot_show() {
    let mut events = events();
    events.insert(1, GetEventsResponse::default());
    let agent = Agent::start(State {
        events,
        ..Default::default()
    });
    let ran = agent.run(&["getevents", "-o", "compact"]);
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(
        ran.stderr.starts_with("warning: no event in the message"),
        "{}",
        ran.stderr
    );
}

#[test]
fn getevents_sends_the_conditions_in_one_filter() {
    let agent = Agent::start(State::default());
    let sent = |arguments: &[&str]| {
        agent.run(&[&["getevents"], arguments].concat());
        agent.state.lock().unwrap().events_request.take().unwrap()
    };
    let request = sent(&[]);
    assert_eq!(request.allow_list, [Default::default()]);
    assert!(request.field_filters.is_empty());

    let request = sent(&[
        "-e",
        "PROCESS_EXEC,exit",
        "-n",
        "a,b",
        "--host",
        "--process",
        "x,y",
        "--pod",
        "^p",
        "--policy-names",
        "q",
        "--namespace-regex",
        "^n",
        "-f",
        "process.pid,time",
        "-F",
        "parent",
    ]);
    let filter = &request.allow_list[0];
    assert_eq!(
        filter.event_set,
        [EventType::ProcessExec as i32, EventType::ProcessExit as i32]
    );
    assert_eq!(filter.namespace, ["a", "b", ""]);
    assert_eq!(filter.binary_regex, ["x,y"]);
    assert_eq!(filter.pod_regex, ["^p"]);
    assert_eq!(filter.policy_names, ["q"]);
    assert_eq!(filter.namespace_regex, ["^n"]);
    let actions = request
        .field_filters
        .iter()
        .map(|filter| filter.action())
        .collect::<Vec<_>>();
    assert_eq!(actions, [FieldFilterAction::Include, FieldFilterAction::Exclude]);
    assert_eq!(
        request.field_filters[0].fields.as_ref().unwrap().paths,
        ["process.pid", "time"]
    );
}

#[test]
fn policies_are_added_with_their_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, POLICY).unwrap();
    let file = file.to_str().unwrap();
    let agent = Agent::start(State::default());
    assert_eq!(
        agent.run(&["tp", "add", file]),
        ok(&format!("tracing policy \"{file}\" added\n"))
    );
    assert_eq!(
        agent
            .run(&["tracingpolicy", "add", "-m", "monitor", "--domain", "d", file])
            .code,
        Some(0)
    );
    let state = agent.state.lock().unwrap();
    assert_eq!(
        (state.added[0].yaml.as_str(), state.added[0].domain.as_str()),
        (POLICY, "")
    );
    assert!(
        state.added[1].yaml.contains(r#""value": "monitor""#),
        "{}",
        state.added[1].yaml
    );
    assert_eq!(state.added[1].domain, "d");
}

#[test]
fn a_refused_policy_shows_the_agents_words() {
    let agent = Agent::start(State {
        refusal: Some("error[TP0042]: no".into()),
        ..Default::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, POLICY).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        agent.run(&["tp", "add", file]),
        failed(&format!(
            "error: tracing policy \"{file}\" not added: error[TP0042]: no\n"
        ))
    );
    assert_eq!(
        agent.run(&["tp", "add", "/nowhere"]).stderr.lines().next(),
        Some("error: cannot read `/nowhere`: No such file or directory (os error 2)")
    );
}

#[test]
fn policies_are_changed_by_name() {
    let agent = Agent::start(State::default());
    assert_eq!(
        agent.run(&["tp", "delete", "p", "-n", "ns"]),
        ok("tracing policy \"p\" deleted\n")
    );
    assert_eq!(agent.run(&["tp", "enable", "p"]), ok("tracing policy \"p\" enabled\n"));
    assert_eq!(
        agent.run(&["tp", "disable", "p", "--domain", "d"]),
        ok("tracing policy \"p\" disabled\n")
    );
    assert_eq!(
        agent.run(&["tp", "set-mode", "p", "monitor"]),
        ok("tracing policy \"p\" set to monitor\n")
    );
    let state = agent.state.lock().unwrap();
    assert!(
        state.requests[0].contains(r#"name: "p", namespace: "ns""#),
        "{:?}",
        state.requests
    );
    let [enable, disable, mode] = state.configured.as_slice() else {
        panic!("{:?}", state.configured)
    };
    assert_eq!((enable.enable, enable.mode), (Some(true), None));
    assert_eq!((disable.enable, disable.domain.as_str()), (Some(false), "d"));
    assert_eq!(
        (mode.enable, mode.mode),
        (None, Some(TracingPolicyMode::TpModeMonitor.into()))
    );
}

#[test]
fn policies_are_listed() {
    let agent = Agent::start(State::default());
    assert_eq!(
        agent.run(&["tp", "list"]),
        ok("no policies are loaded; load one with `tetra tracingpolicy add FILE`\n")
    );
    agent.state.lock().unwrap().policies.push(TracingPolicyStatus {
        id: 1,
        name: "open".into(),
        domain: "grpc".into(),
        state: TracingPolicyState::TpStateEnabled.into(),
        mode: TracingPolicyMode::TpModeEnforce.into(),
        ..Default::default()
    });
    let ran = agent.run(&["tp", "list"]);
    assert_eq!(
        ran.stdout.lines().nth(1),
        Some(
            "1    open   grpc     enabled   0          (global)              0 B            enforce   0       0          0"
        )
    );
    let ran = agent.run(&["tp", "list", "-o", "json"]);
    assert!(ran.stdout.contains(r#""state": "TP_STATE_ENABLED""#), "{}", ran.stdout);
    assert_eq!(agent.run(&["tp", "domains"]), ok("grpc\nstatic\n"));
}

#[test]
fn the_agent_tells_about_itself() {
    let agent = Agent::start(State {
        level: 4,
        ..Default::default()
    });
    let version = env!("CARGO_PKG_VERSION");
    let status = agent.run(&["status"]);
    assert!(
        status.stdout.starts_with("Health Status: running\n"),
        "{}",
        status.stdout
    );
    assert!(
        status.stdout.contains("  lsm              does not work ")
            && status.stdout.contains("  fmodret          not tried "),
        "{}",
        status.stdout
    );
    assert!(status.stdout.contains("can only observe and kill"), "{}", status.stdout);
    let status: serde_json::Value = serde_json::from_str(&agent.run(&["status", "-o", "json"]).stdout).unwrap();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["enforcement"]["deny"]["lsm"], false);
    assert!(status["enforcement"]["kill"]["signal"].is_null());
    assert_eq!(agent.run(&["version"]), ok(&format!("CLI version: v{version}\n")));
    assert_eq!(
        agent.run(&["version", "-s"]),
        ok(&format!("CLI version: v{version}\nServer version: v9.9.9\n"))
    );
    assert_eq!(agent.run(&["loglevel", "get"]), ok("log level: info\n"));
    assert_eq!(agent.run(&["loglevel", "set", "debug"]), ok("log level: debug\n"));
    assert_eq!(agent.run(&["log", "get"]), ok("log level: debug\n"));
    let info: serde_json::Value = serde_json::from_str(&agent.run(&["info"]).stdout).unwrap();
    assert_eq!(info["Name"], "tetragon");
    assert_eq!(info["Probes"]["lsm"], false);
    assert_eq!(info["Conf"]["log-level"], "info");
}

#[test]
fn without_an_agent_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let address = format!("unix://{}", path.display());
    let path = path.display();
    assert_eq!(
        tetra(&["--server-address", &address, "status"]),
        failed(&format!(
            "error: no agent is running: there is no socket `{path}`\nhelp: start it with `sudo tetra-agent`, or check \
             --server-address\n"
        ))
    );
    // a socket that nobody listens on any more
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("agent.sock")).unwrap());
    let ran = tetra(&["status", "--server-address", &address]);
    assert!(
        ran.stderr.contains("which an earlier one left behind"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.code, Some(1));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().to_string();
    drop(listener);
    let ran = tetra(&["status", "--server-address", &closed]);
    assert!(
        ran.stderr
            .starts_with(&format!("error: cannot connect to `{closed}`: Connection refused")),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_agent_that_does_not_answer_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let ran = tetra(&[
        "status",
        "--timeout",
        "100ms",
        "--server-address",
        path.to_str().unwrap(),
    ]);
    assert!(
        ran.stderr
            .contains("did not answer within 100ms\nhelp: try again with a longer --timeout"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let agent = Agent::start(State {
        events: events(),
        ..Default::default()
    });
    let address = agent.address();
    let mut child = command(&["getevents", "--server-address", &address])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
        (Some(0), "")
    );
}
