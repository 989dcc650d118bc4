//! What procfs says of a process, as filters see it.

use std::collections::BTreeSet;
use std::fs;

use policy_compiler::hir::{CapabilitySet, Namespace};
use policy_compiler::interpret::{Process, Recorded};

/// Namespaces: as policies name them, and as procfs does.
pub(crate) const NAMESPACES: [(&str, Namespace, &str); 10] = [
    ("Uts", Namespace::Uts, "uts"),
    ("Ipc", Namespace::Ipc, "ipc"),
    ("Mnt", Namespace::Mnt, "mnt"),
    ("Pid", Namespace::Pid, "pid"),
    ("PidForChildren", Namespace::PidForChildren, "pid_for_children"),
    ("Net", Namespace::Net, "net"),
    ("Time", Namespace::Time, "time"),
    ("TimeForChildren", Namespace::TimeForChildren, "time_for_children"),
    ("Cgroup", Namespace::Cgroup, "cgroup"),
    ("User", Namespace::User, "user"),
];

pub(crate) const CAPABILITY_SETS: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::Effective, "CapEff:"),
    (CapabilitySet::Inheritable, "CapInh:"),
    (CapabilitySet::Permitted, "CapPrm:"),
];

/// Everything that filters ask of a process: its number, or `self`. The procfs that is mounted must be that of the initial pid
/// namespace; the process need not be in it.
pub(crate) fn process(number: &str) -> Process {
    let status = Status::read(number).expect("a living process");
    let next = |of: &Status| Status::read(&of.number("PPid:")?.to_string()).filter(|parent| parent.pid() != 0);
    let lineage: Vec<(u32, u32)> = std::iter::successors(Some(status.clone()), next)
        .map(|status| (status.pid(), status.namespace_pid()))
        .collect();
    let executable = fs::read_link(format!("/proc/{number}/exe")).expect("its executable");
    Process {
        workload: BTreeSet::new(),
        pid: status.pid(),
        namespace_pid: None,
        lineage,
        executable: Some(executable.to_string_lossy().into_owned().into_bytes()),
        namespaces: NAMESPACES
            .iter()
            .filter_map(|(_, namespace, link)| Some((*namespace, inode(number, link)?)))
            .collect(),
        capabilities: CAPABILITY_SETS
            .iter()
            .map(|(set, key)| (*set, status.mask(key)))
            .collect(),
        recorded: None,
    }
}

/// What is said of a process that has not changed.
#[allow(dead_code, reason = "only test runs choose the record of a process")]
pub(crate) const UNCHANGED: usize = 1;

/// What its record says of a process: nothing, what is so, or what was a little different.
#[allow(dead_code, reason = "only test runs choose the record of a process")]
pub(crate) fn recorded(process: &Process, variant: usize) -> Recorded {
    let mut recorded = Recorded {
        namespaces: process.namespaces.clone(),
        capabilities: process.capabilities.clone(),
    };
    match variant % 3 {
        UNCHANGED => {}
        0 => return Recorded::default(),
        _ => {
            recorded.namespaces.insert(Namespace::Uts, 1);
            *recorded.capabilities.entry(CapabilitySet::Effective).or_default() ^= 1 << 21;
        }
    }
    recorded
}

/// `uts:[4026531838]`
fn inode(number: &str, link: &str) -> Option<u32> {
    let text = fs::read_link(format!("/proc/{number}/ns/{link}")).ok()?;
    let text = text.to_string_lossy().into_owned();
    text.rsplit_once('[')?.1.trim_end_matches(']').parse().ok()
}

/// `/proc/*/status`
#[derive(Clone)]
struct Status(String);

impl Status {
    fn read(number: &str) -> Option<Self> {
        fs::read_to_string(format!("/proc/{number}/status")).ok().map(Self)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.value(key)?.parse().ok()
    }

    fn pid(&self) -> u32 {
        self.number("Pid:").expect("a pid")
    }

    /// The last one is the pid in the process's own namespace; 0 if that is the initial one.
    fn namespace_pid(&self) -> u32 {
        let pids: Vec<&str> = self.value("NSpid:").expect("pids").split_whitespace().collect();
        match &pids[..] {
            [_, .., own] => own.parse().expect("a pid"),
            _ => 0,
        }
    }

    fn mask(&self, key: &str) -> u64 {
        u64::from_str_radix(self.value(key).expect("a set of capabilities"), 16).expect("a hexadecimal mask")
    }
}
