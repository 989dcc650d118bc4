//! Entries of `data` about the current task, whose values procfs knows.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;

use policy_compiler::interpret::{Process, Value};

/// How the value of an entry is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Bits and sign.
    Number(u32, bool),
    String,
    File,
    Path,
}

/// An entry of `data`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) resolve: &'static str,
    pub(crate) kind: Kind,
    pub(crate) value: Value,
}

fn entry(resolve: &'static str, kind: Kind, value: Value) -> Entry {
    Entry { resolve, kind, value }
}

/// Entries for a process of which nothing is known: for sets that are not run.
#[allow(dead_code, reason = "for sets that are only loaded")]
pub(crate) fn unknown() -> Vec<Entry> {
    [
        ("tgid", Kind::Number(32, true)),
        ("real_parent.real_parent.tgid", Kind::Number(32, true)),
        ("last_siginfo.si_signo", Kind::Number(32, true)),
        ("signal.rlim[7].rlim_cur", Kind::Number(64, false)),
        ("group_leader.comm", Kind::String),
        ("mm.exe_file", Kind::File),
        ("fs.pwd", Kind::Path),
    ]
    .map(|(resolve, kind)| entry(resolve, kind, Value::Absent))
    .into()
}

/// Entries for this process.
#[allow(dead_code, reason = "for test runs")]
pub(crate) fn of_this_process(process: &Process) -> Vec<Entry> {
    let text = |path: &str| fs::read_to_string(path).expect("procfs").trim_end().as_bytes().to_vec();
    let file = |link: &str| {
        let path = fs::read_link(link).map(OsString::from).expect("a link").into_vec();
        let mode = fs::metadata(link).expect("a file").mode() as u16;
        Value::Path { path, mode }
    };
    let parent = process.lineage.get(1).map_or(0, |(pid, _)| *pid);
    let limits = fs::read_to_string("/proc/self/limits").expect("procfs");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files"));
    let open_files = open_files
        .and_then(|line| line.split_whitespace().nth(3))
        .expect("a limit");
    let comm = text("/proc/self/comm");
    let inode = fs::metadata("/proc/self/exe").expect("a file").ino();
    vec![
        entry("tgid", Kind::Number(32, true), Value::Integer(u64::from(process.pid))),
        entry(
            "real_parent.tgid",
            Kind::Number(32, true),
            Value::Integer(u64::from(parent)),
        ),
        entry("cred.uid.val", Kind::Number(32, false), Value::Integer(0)),
        entry(
            "group_leader.comm[1]",
            Kind::Number(8, false),
            Value::Integer(u64::from(comm[1])),
        ),
        entry("group_leader.comm", Kind::String, Value::String(comm)),
        entry(
            "nsproxy.uts_ns.name.nodename",
            Kind::String,
            Value::String(text("/proc/sys/kernel/hostname")),
        ),
        entry("mm.exe_file", Kind::File, file("/proc/self/exe")),
        entry(
            "mm.exe_file.f_inode.i_ino",
            Kind::Number(64, false),
            Value::Integer(inode),
        ),
        entry("fs.pwd", Kind::Path, file("/proc/self/cwd")),
        entry(
            "signal.rlim[7].rlim_cur",
            Kind::Number(64, false),
            Value::Integer(open_files.parse().expect("a number")),
        ),
        // nobody traces it: the pointer is null
        entry("last_siginfo.si_signo", Kind::Number(32, true), Value::Absent),
    ]
}
