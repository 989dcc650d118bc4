//! A process that makes system calls as it is told: what happens at hooks is what it does, and its values are known.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use policy_compiler::interpret::Process;

use super::process;

const SOURCE: &str = include_str!("../programs/driver.c");

/// An argument of a system call.
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Number(u64),
    /// Its address, in memory of the process.
    Memory(Vec<u8>),
    /// Its address, in a page that is not resident until the kernel or the process touches it.
    Absent(Vec<u8>),
}

/// The process.
pub(crate) struct Driver {
    child: Child,
    requests: Option<ChildStdin>,
    results: ChildStdout,
    /// As filters see it.
    pub(crate) process: Process,
    /// Its pid in its own pid namespace, or the only one it has.
    pub(crate) own_pid: u64,
    /// A UDP socket.
    pub(crate) datagrams: i64,
    /// Whether it is in the network namespace of the test.
    pub(crate) has_network: bool,
}

/// Compiles the program into a directory.
pub(crate) fn build(directory: &Path) -> PathBuf {
    let (source, program) = (directory.join("driver.c"), directory.join("driver"));
    fs::write(&source, SOURCE).expect("the source is written");
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
        .args([&program, &source])
        .output()
        .expect("a C compiler (Debian: gcc, libc6-dev)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

impl Driver {
    /// Starts the program, by a command and its arguments that execute the rest of their arguments, if there are any.
    pub(crate) fn start(program: &Path, by: &[&str]) -> Self {
        let mut words = by.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]);
        let mut child = Command::new(words.next().expect("at least the program"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the driver starts");
        let requests = child.stdin.take();
        let mut results = child.stdout.take().expect("piped");
        let mut pid = [0; 8];
        results
            .read_exact(&mut pid)
            .unwrap_or_else(|error| panic!("`{}` says no pid: {error}", by.join(" ")));
        let pid = u64::from_le_bytes(pid).to_string();
        let process = process::process(&pid);
        let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).expect("its network namespace");
        let mut driver = Self {
            child,
            requests,
            results,
            process,
            own_pid: 0,
            datagrams: -1,
            has_network: network(&pid) == network("self"),
        };
        driver.own_pid = driver.call(libc::SYS_getpid, &[]) as u64;
        driver
    }

    /// Makes a system call. What it returns: a value, or a negative errno.
    pub(crate) fn call(&mut self, number: i64, arguments: &[Argument]) -> i64 {
        let mut request = number.to_le_bytes().to_vec();
        let mut data: Vec<u8> = Vec::new();
        for position in 0..6 {
            let (value, place) = match arguments.get(position) {
                None => (0, 0),
                Some(Argument::Number(value)) => (*value, 0u64),
                Some(Argument::Memory(bytes)) => (bytes.len() as u64, 1),
                Some(Argument::Absent(bytes)) => (bytes.len() as u64, 2),
            };
            if let Some(Argument::Memory(bytes) | Argument::Absent(bytes)) = arguments.get(position) {
                data.extend(bytes);
            }
            request.extend(value.to_le_bytes());
            request.extend(place.to_le_bytes());
        }
        request.extend(data);
        let requests = self.requests.as_mut().expect("open until it is dropped");
        requests.write_all(&request).expect("the driver listens");
        let mut result = [0; 8];
        self.results.read_exact(&mut result).expect("the driver answers");
        i64::from_le_bytes(result)
    }

    pub(crate) fn name(&self) -> String {
        self.process.pid.to_string()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // it ends with its input
        self.requests = None;
        // nothing is left to be done about a process that cannot be waited for
        let _gone = self.child.wait();
    }
}
