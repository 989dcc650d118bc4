//! The process table: who runs, since when, as what, and whose child.
//!
//! Sans-I/O: records and times go in, events come out. The table holds one [`Process`] per (process, image): an exec makes
//! a new one, a fork makes one that shares its parent's [`Image`].
//!
//! Invariants:
//! * the number of entries never exceeds the configured capacity, whatever the records say;
//! * an exited process stays known for two garbage-collection ticks, and longer while something refers to it;
//! * after all processes of a burst have exited, two ticks bring the table back to its size before the burst.

pub mod args;
pub mod container;
mod data;
pub mod flags;
pub mod namespaces;
pub mod scan;
mod table;

use std::sync::Arc;

pub use data::ArgumentChunks;
pub use flags::ImageFlags;
pub use table::{ProcessTable, TableConfig, TableStats};

use crate::time::KernelTime;

/// A process and the start of its present image: what an exec id names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProcessKey {
    /// Thread group id, in the initial pid namespace.
    pub tgid: u32,
    /// When the image (or the fork, if nothing was executed) began.
    pub start: KernelTime,
}

impl ProcessKey {
    /// The pseudo process that all others descend from.
    pub const KERNEL: Self = Self {
        tgid: 0,
        start: KernelTime(1),
    };

    /// Makes a key; a thread group id of 0 always means the kernel.
    pub fn new(tgid: u32, start: u64) -> Self {
        if tgid == 0 {
            Self::KERNEL
        } else {
            Self {
                tgid,
                start: KernelTime(start),
            }
        }
    }
}

/// Ids and capabilities of a process at the time of its exec.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names are those of struct cred")]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub suid: u32,
    pub sgid: u32,
    pub fsuid: u32,
    pub fsgid: u32,
    pub securebits: u32,
    pub cap_permitted: u64,
    pub cap_effective: u64,
    pub cap_inheritable: u64,
}

/// What an exec sets and a fork inherits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// Path as given to execve, made absolute.
    pub binary: Box<str>,
    /// `argv[1..]` in one string, see [`args`].
    pub arguments: Box<str>,
    /// Working directory at exec; empty if unknown.
    pub cwd: Box<str>,
    /// First 31 characters of the container id; empty on the host.
    pub container_id: Box<str>,
    /// Login uid; `u32::MAX` if unset.
    pub auid: u32,
    /// Credentials at exec.
    pub credentials: Credentials,
    /// Namespace inode numbers: uts ipc mnt pid pid_for_children net time time_for_children cgroup user.
    pub namespaces: [u32; 10],
    /// Cgroup at exec.
    pub cgroup_id: u64,
}

/// One process under one image. Never changes; shared by the table and events under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Identity.
    pub key: ProcessKey,
    /// Identity of the parent; for a second exec in one process, that of the image before.
    pub parent: ProcessKey,
    /// Pid in its own pid namespace; 0 in the initial one.
    pub nspid: u32,
    /// How it came to be and what is missing of it.
    pub flags: ImageFlags,
    /// Whether it descends from the first process of its pid namespace.
    pub in_init_tree: bool,
    /// What it runs. Shared between a process and its forks.
    pub image: Arc<Image>,
}

impl Process {
    /// The kernel as a process: parent of the first processes, and of itself.
    pub fn kernel() -> Self {
        Self {
            key: ProcessKey::KERNEL,
            parent: ProcessKey::KERNEL,
            nspid: 0,
            flags: ImageFlags::PROC_FS,
            in_init_tree: false,
            image: Arc::new(Image {
                binary: "<kernel>".into(),
                auid: u32::MAX,
                ..Image::default()
            }),
        }
    }

    /// Takes the identity that the sensor has given it, so that its records are recognised: `/proc` knows when a process began, the
    /// sensor when its image did.
    pub fn identify(&mut self, known: &ebpf::record::Process) {
        self.key = ProcessKey::new(self.key.tgid, known.start_ktime);
        self.parent = ProcessKey::new(known.parent_tgid, known.parent_start_ktime);
        self.flags
            .set_if(known.flags & ebpf::record::PROCESS_EXECED == 0, ImageFlags::FORKED);
    }

    /// Stands for a process that no record described.
    pub fn unknown(key: ProcessKey) -> Self {
        Self {
            key,
            parent: key,
            nspid: 0,
            flags: if key.start.0 == 0 {
                ImageFlags::UNKNOWN
            } else {
                ImageFlags::default()
            },
            in_init_tree: false,
            image: Arc::default(),
        }
    }

    /// Whether no record described it; then it has no parent either.
    pub fn is_unknown(&self) -> bool {
        self.parent == self.key && self.key != ProcessKey::KERNEL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_the_identity_that_the_sensor_knows() {
        let mut process = Process::unknown(ProcessKey::new(7, 100));
        process.identify(&ebpf::record::Process {
            start_ktime: 150,
            parent_tgid: 3,
            parent_start_ktime: 50,
            ..Default::default()
        });
        assert_eq!(process.key, ProcessKey::new(7, 150));
        assert_eq!(process.parent, ProcessKey::new(3, 50));
        assert!(
            process.flags.contains(ImageFlags::FORKED),
            "it has executed nothing yet"
        );
    }
}
