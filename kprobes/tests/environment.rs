//! What the agent says where it cannot work.

use std::os::unix::process::CommandExt;
use std::process::Command;

use kprobes::{EnvironmentError, LoadError, Sensor, SensorOptions};

mod support;

use support::guard;

/// `nobody`
const UNPRIVILEGED: u32 = 65534;

#[test]
fn without_privileges_the_error_says_what_to_do() {
    if !guard::can_load() {
        return;
    }
    let program = std::env::current_exe().expect("the test itself");
    let output = Command::new(&program)
        .args(["--ignored", "--exact", "as_nobody"])
        .uid(UNPRIVILEGED)
        .gid(UNPRIVILEGED)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        // The build directory may lie where nobody can look.
        Err(error) => {
            guard::skip(&format!("{} cannot be run as another user: {error}", program.display()));
        }
    }
}

#[test]
#[ignore = "run by the test above, as another user"]
fn as_nobody() {
    let error = Sensor::load(&SensorOptions::default()).expect_err("nobody may not do this");
    assert!(
        matches!(error, LoadError::Environment(EnvironmentError::NotPrivileged)),
        "{error:?}"
    );
    assert!(error.to_string().contains("run as root"), "{error}");
}
