//! The agent under a service manager: what it says on the socket that it is given.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::agent::turn;
use tests::guard::Need;
use tests::scratch::Scratch;
use tests::{program, requires};

#[test]
fn the_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    requires!(Need::Bpf);
    let _turn = turn();
    let scratch = Scratch::new("service");
    let path = scratch.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_mins(2)))
        .expect("a timeout");
    let policies = scratch.path("policies");
    std::fs::create_dir(&policies).expect("a directory");
    let log_path = scratch.path("log");
    let log = std::fs::File::create(&log_path).expect("a log");
    let hear = || {
        let mut text = [0; 256];
        let said = std::fs::read_to_string(&log_path).unwrap_or_default();
        let length = socket
            .recv(&mut text)
            .unwrap_or_else(|error| panic!("the agent says nothing: {error}\n{said}"));
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let mut agent = Command::new(program("tetra-agent"))
        .arg("--server-address")
        .arg(format!("unix://{}", scratch.path("sock").display()))
        .arg("--run-dir")
        .arg(scratch.path("run"))
        .arg("--bpf-dir")
        .arg(format!("tetra-service-{}", std::process::id()))
        .arg("--tracing-policy-dir")
        .arg(&policies)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("the agent starts");
    let mut heard = vec![hear()];
    while !heard.iter().any(|text| text.contains("READY=1")) || heard.len() < 4 {
        heard.push(hear());
    }
    assert!(
        heard.iter().filter(|text| text.contains("WATCHDOG=1")).count() >= 2,
        "{heard:?}"
    );
    let killed = Command::new("kill").arg(agent.id().to_string()).status().expect("kill");
    assert!(killed.success());
    while !hear().contains("STOPPING=1") {}
    assert!(agent.wait().expect("its end").success());
}
