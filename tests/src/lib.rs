//! Drives the agent as users do: starts the program, gives it policies through the command line, makes system calls happen,
//! and reads the exported JSON. The tests themselves are in `tests/tests/`.
//!
//! Nothing here links against the agent: what is tested is what is installed. Programs under test are found in
//! `$TETRA_PROGRAMS` (a directory with `tetra-agent` and `tetra`), else in the target directory this was built in.
//!
//! Helpers panic: they are for tests, where a panic is the message.
#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "tests talk through stderr")]

pub mod activity;
pub mod agent;
pub mod event;
pub mod guard;
pub mod policy;
pub mod scratch;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything may take; generous, since guests are emulated on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Calls `condition` until it gives something.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub fn await_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not after {} s", PATIENCE.as_secs());
        // the one sleep of the tests: between two looks at a condition that has no descriptor to wait on
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The program `name` of the workspace.
///
/// # Panics
/// If it is not built.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("TETRA_PROGRAMS").map_or_else(
        || {
            // target/PROFILE/deps/TEST or target/PROFILE/TEST
            let own = std::env::current_exe().expect("path of this test");
            let directory = own.parent().expect("a file is in a directory");
            let in_deps = directory.file_name().is_some_and(|name| name == "deps");
            (if in_deps {
                directory.parent().expect("deps is in a directory")
            } else {
                directory
            })
            .to_owned()
        },
        PathBuf::from,
    );
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "`{}` is not built: `cargo build --workspace --bins`, or set TETRA_PROGRAMS",
        path.display()
    );
    path
}

/// What `command` prints.
///
/// # Panics
/// If it fails.
pub fn output_of(command: &mut Command) -> String {
    let (ok, text) = try_output_of(command);
    assert!(ok, "{command:?} failed:\n{text}");
    text
}

/// Whether `command` succeeds, and what it prints: standard output, or both streams if it fails.
///
/// # Panics
/// If it cannot be started.
pub fn try_output_of(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (output.status.success(), text)
}
