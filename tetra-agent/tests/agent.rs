//! The agent's binary on the running kernel: what it exports, how it starts, how it ends.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time any condition may take to come true.
const PATIENCE: Duration = Duration::from_mins(2);

/// Whether eBPF can be used here; says why not.
fn can_run() -> bool {
    let reason = if !nix::unistd::geteuid().is_root() {
        "not root"
    } else if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        "no /sys/kernel/btf/vmlinux"
    } else {
        return true;
    };
    assert!(std::env::var_os("REQUIRE_KERNEL").is_none(), "{reason}");
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    {
        eprintln!("skipped: {reason}");
    }
    false
}

/// Waits until `condition` gives something.
fn await_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// An agent with files of its own.
struct Agent {
    child: Child,
    directory: tempfile::TempDir,
}

impl Agent {
    fn command(directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tetra-agent"));
        command
            .arg("--run-dir")
            .arg(directory.join("run"))
            .arg(format!("--server-address=unix://{}", directory.join("sock").display()))
            .arg("--tracing-policy-dir=")
            .stdin(Stdio::null());
        command
    }

    fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let log = File::create(directory.path().join("log")).expect("the log can be written");
        let child = Self::command(directory.path())
            .arg("--export-filename")
            .arg(directory.path().join("events.json"))
            .args(["--export-file-max-size-mb", "4000"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        let mut agent = Self { child, directory };
        await_some("the agent is ready", || {
            let ended = agent.child.try_wait().expect("the agent can be waited for");
            assert!(ended.is_none(), "the agent ended: {}", agent.log());
            agent.path("run/tetragon-info.json").exists().then_some(())
        });
        agent
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("events.json")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .collect()
    }

    /// Waits for the exit event of a process; the events up to then.
    fn events_until_exit(&self, pid: u32) -> Vec<Value> {
        await_some("the exit event", || {
            let events = self.events();
            events
                .iter()
                .any(|event| event["process_exit"]["process"]["pid"] == pid)
                .then_some(events)
        })
    }

    fn stop(mut self) -> (ExitStatus, tempfile::TempDir) {
        signal(&self.child, nix::sys::signal::Signal::SIGTERM);
        let status = await_some("the agent ends", || {
            self.child.try_wait().expect("the agent can be waited for")
        });
        (
            status,
            std::mem::replace(
                &mut self.directory,
                tempfile::tempdir().expect("a directory can be made"),
            ),
        )
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // it may have ended already
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal)
        .expect("the process can be signalled");
}

fn of<'e>(events: &'e [Value], kind: &str, pid: u32) -> Vec<&'e Value> {
    events
        .iter()
        .map(|event| &event[kind])
        .filter(|event| event["process"]["pid"] == pid)
        .collect()
}

#[test]
fn processes_are_reported_with_parents_and_arguments() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&["--enable-ancestors=base"]);
    let mut child = Command::new("sh")
        .args(["-c", "exec sleep '0 s' 2>/dev/null; exit 7"])
        .spawn()
        .expect("sh starts");
    child.wait().expect("sh can be waited for");
    let events = agent.events_until_exit(child.id());

    // this test's process ran before the agent: it was found in /proc
    let me = of(&events, "process_exec", std::process::id());
    assert_eq!(me.len(), 1);
    assert!(
        me[0]["process"]["flags"]
            .as_str()
            .is_some_and(|flags| flags.starts_with("procFS")),
        "{}",
        me[0]
    );

    let execs = of(&events, "process_exec", child.id());
    assert_eq!(execs.len(), 2, "sh, then sleep: {execs:?}");
    let (sh, sleep) = (execs[0], execs[1]);
    assert_eq!(
        sh["process"]["arguments"],
        "-c \"exec sleep '0 s' 2>/dev/null; exit 7\""
    );
    assert_eq!(sh["process"]["flags"], "execve clone");
    assert_eq!(sh["parent"]["pid"], std::process::id());
    assert_eq!(sh["parent"]["exec_id"], me[0]["process"]["exec_id"]);
    assert_eq!(sh["process"]["parent_exec_id"], me[0]["process"]["exec_id"]);
    assert_eq!(sleep["process"]["arguments"], " \"0 s\"");
    assert_eq!(sleep["process"]["flags"], "execve");
    assert_eq!(
        sleep["parent"]["exec_id"], sh["process"]["exec_id"],
        "the parent of a second image is the first"
    );
    assert_eq!(sleep["ancestors"][0]["pid"], std::process::id());

    let exits = of(&events, "process_exit", child.id());
    assert_eq!(exits.len(), 1);
    assert_eq!(exits[0]["process"]["exec_id"], sleep["process"]["exec_id"]);
    assert_eq!(exits[0]["status"], 1, "sleep refuses its argument");
}

#[test]
fn arguments_of_any_length_arrive_whole() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&[]);
    let argument = "x".repeat(100_000);
    let mut child = Command::new("true")
        .args([&argument, "y", &argument])
        .spawn()
        .expect("true starts");
    child.wait().expect("true can be waited for");
    let events = agent.events_until_exit(child.id());
    let execs = of(&events, "process_exec", child.id());
    assert_eq!(execs[0]["process"]["flags"], "execve clone dataArgs");
    assert_eq!(execs[0]["process"]["arguments"], format!("{argument} y {argument}"));
}

#[test]
fn a_killed_process_shows_the_signal() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&[]);
    let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep starts");
    signal(&child, nix::sys::signal::Signal::SIGKILL);
    child.wait().expect("sleep can be waited for");
    let events = agent.events_until_exit(child.id());
    assert_eq!(of(&events, "process_exit", child.id())[0]["signal"], "SIGKILL");
}

#[test]
fn the_end_leaves_nothing_and_accounts_for_everything() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&[]);
    let pid = agent.child.id();
    let (status, directory) = agent.stop();
    assert!(status.success(), "{status}");
    let log = std::fs::read_to_string(directory.path().join("log")).expect("there is a log");
    assert!(log.contains("exec_lost=0"), "{log}");
    assert!(!directory.path().join("sock").exists(), "the socket stays behind");
    assert_eq!(
        std::fs::read_dir(directory.path().join("run"))
            .expect("there is a run directory")
            .count(),
        0
    );
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_moved_export_file_is_made_again_at_a_hangup() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&[]);
    let run = || assert!(Command::new("/bin/true").status().expect("it can be run").success());
    run();
    await_some("an event", || (!agent.events().is_empty()).then_some(()));
    std::fs::rename(agent.path("events.json"), agent.path("moved")).expect("it can be moved");
    signal(&agent.child, nix::sys::signal::Signal::SIGHUP);
    await_some("events in a new file", || {
        run();
        (!agent.events().is_empty()).then_some(())
    });
    let (status, directory) = agent.stop();
    assert!(status.success());
    assert!(directory.path().join("moved").exists());
}

#[test]
fn a_second_agent_is_refused() {
    if !can_run() {
        return;
    }
    let agent = Agent::start(&[]);
    let output = Agent::command(agent.directory.path())
        .output()
        .expect("a second agent starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(&format!("another agent runs already (pid {}", agent.child.id())),
        "{text}"
    );
    assert!(
        agent.path("sock").exists() && agent.path("run/tetragon.pid").exists(),
        "the first one is not harmed"
    );
}

#[test]
fn an_agent_without_privileges_says_what_to_do() {
    if !can_run() {
        return;
    }
    // where nobody can read the binary there is nothing to see
    let binary = tempfile::tempdir().expect("a directory can be made");
    std::fs::set_permissions(binary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("its mode can be set");
    let copy = binary.path().join("tetra-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_tetra-agent"), &copy).expect("the binary can be copied");
    let output = Command::new(&copy)
        .arg("--run-dir")
        .arg(binary.path().join("run"))
        .arg(format!(
            "--server-address=unix://{}",
            binary.path().join("sock").display()
        ))
        .uid(65534)
        .gid(65534)
        .output()
        .expect("the agent starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("help: run as root"), "{text}");
    assert!(!binary.path().join("run/tetragon.pid").exists());
}

#[test]
fn settings_that_are_not_implemented_are_refused_by_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_tetra-agent"))
        .arg("--enable-k8s-api=true")
        .output()
        .expect("the agent starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("`enable-k8s-api` = `true` (command line) is not implemented"),
        "{text}"
    );
}

/// A Python with the packages of the independent clients; says why there is none.
fn python() -> Option<PathBuf> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let python = environment.join("bin/python");
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/requirements.txt");
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let is_whole = |python: &Path| succeeds(Command::new(python).args(["-c", "import grpc, grpc_reflection"]));
    if !is_whole(&python) {
        let made = succeeds(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        ) && succeeds(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(requirements),
        );
        if !(made && is_whole(&python)) {
            #[expect(clippy::print_stderr, reason = "a skipped test says why")]
            {
                eprintln!("skipped: there is no Python with venv, or its packages cannot be had");
            }
            return None;
        }
    }
    Some(python)
}

#[test]
fn an_independent_client_needs_nothing_but_reflection() {
    if !can_run() {
        return;
    }
    let Some(python) = python() else { return };
    let agent = Agent::start(&[]);
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/reflection.py"))
        .arg(format!("unix://{}", agent.path("sock").display()))
        .output()
        .expect("the client can be run");
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{said}{complained}\n{}", agent.log());
    let (status, _) = agent.stop();
    assert!(status.success());
}

/// What a server on this machine answers to `GET path`.
fn http_get(port: u16, path: &str) -> String {
    use std::io::{Read as _, Write as _};

    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the port is listened on");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .expect("a request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is text");
    answer
}

#[test]
fn metrics_tell_what_was_done() {
    if !can_run() {
        return;
    }
    // free, as far as anybody can know
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("there is a free port")
        .port();
    let agent = Agent::start(&[&format!("--metrics-server=127.0.0.1:{port}")]);
    let mut child = Command::new("true").spawn().expect("a child");
    child.wait().expect("it ends");
    drop(agent.events_until_exit(child.id()));
    let answer = http_get(port, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let value = |series: &str| -> u64 {
        let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with(series)).collect();
        assert!(!lines.is_empty(), "no {series} in\n{answer}");
        lines
            .iter()
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()))
            .sum::<Option<u64>>()
            .expect("values are numbers")
    };
    assert!(value("tetragon_events_total{type=\"PROCESS_EXIT\"") > 0);
    assert!(value("tetragon_events_exported_total") > 0);
    assert!(value("tetragon_observer_ringbuf_events_received_total") > 0);
    assert!(value("tetragon_process_cache_size") > 0);
    assert_eq!(value("tetragon_tracingpolicy_loaded{state=\"enabled\"}"), 0);
    assert_eq!(value("tetragon_observer_ringbuf_errors_total"), 0);
    assert!(answer.ends_with("# EOF\n"));
    assert!(http_get(port, "/").starts_with("HTTP/1.1 404"));
    let (status, _) = agent.stop();
    assert!(status.success());
}
