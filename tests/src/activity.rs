//! The program that does what the tests watch (`tests/programs/activity.c`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::scratch::Scratch;

/// A copy of the program, so that a test's processes have a binary of their own and events of others can be told apart.
#[derive(Debug)]
pub struct Activity {
    path: PathBuf,
}

/// What the program did.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Process id it had.
    pub pid: u32,
    /// For each operation that came back: 0, errno, or a count.
    pub results: Vec<i64>,
}

impl Activity {
    /// Puts a copy named `activity` into `scratch`.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn new(scratch: &Scratch) -> Self {
        Self::named(scratch, "activity")
    }

    /// Puts a copy with another name into `scratch`.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn named(scratch: &Scratch, name: &str) -> Self {
        let path = scratch.path(name);
        std::fs::copy(env!("TETRA_ACTIVITY"), &path).expect("the activity program can be copied");
        Self { path }
    }

    /// Path of the copy, as events report it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// [`Self::path`] as text.
    pub fn binary(&self) -> &str {
        self.path.to_str().expect("scratch paths are text")
    }

    /// Starts it with `operations`, each a list of words.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, operations: &[&[&str]]) -> Running {
        let mut command = Command::new(&self.path);
        for (index, operation) in operations.iter().enumerate() {
            if index > 0 {
                command.arg(",");
            }
            command.args(*operation);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the activity program starts");
        Running(child)
    }

    /// Runs `operations` to the end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, operations: &[&[&str]]) -> Done {
        self.start(operations).wait()
    }
}

/// A copy at work.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// If it prints something unexpected.
    pub fn wait(self) -> Done {
        let pid = self.0.id();
        let output = self
            .0
            .wait_with_output()
            .expect("the activity program can be waited for");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let results = text
            .lines()
            .map(|line| line.rsplit(' ').next().and_then(|number| number.parse().ok()))
            .map(|number| number.unwrap_or_else(|| panic!("the activity program printed:\n{text}")))
            .collect();
        Done {
            status: output.status,
            pid,
            results,
        }
    }
}
