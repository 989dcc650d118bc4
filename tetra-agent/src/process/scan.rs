//! Processes that ran before the sensor did, read from `/proc`.
//!
//! The sensor is attached first; what it has seen by the time of the scan is newer and wins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::args::join_arguments;
use super::container::container_id_of_procfs;
use super::{Credentials, Image, ImageFlags, Process, ProcessKey, namespaces};
use crate::text::to_text;

/// A process found in `/proc`.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// The process.
    pub process: Process,
    /// Whether it is a thread of the kernel: known, but no event says so.
    pub kernel_thread: bool,
}

/// A reader of `/proc`.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
    /// How much later the boot clock, which dates `/proc`, is than the monotonic clock.
    suspended: Duration,
}

/// What is needed of all processes before any can be described.
struct Head {
    pid: u32,
    parent: u32,
    start: u64,
    comm: String,
}

impl ProcFs {
    /// Reads below `root`, usually `/proc`.
    pub fn new(root: impl Into<PathBuf>, suspended: Duration) -> Self {
        Self {
            root: root.into(),
            suspended,
        }
    }

    /// Namespaces of the first process, which are those of the host.
    pub fn host_namespaces(&self) -> [u32; 10] {
        namespaces::read(&self.root, 1)
    }

    /// Whether a thread group exists and has not ended.
    pub fn is_alive(&self, tgid: u32) -> bool {
        self.head(tgid).is_some()
    }

    /// Whether it is this process that has the pid now.
    pub fn is_same(&self, key: ProcessKey) -> bool {
        self.head(key.tgid).is_some_and(|head| head.start == key.start.0)
    }

    /// All processes, parents before children. Those that end meanwhile are left out.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn scan(&self) -> std::io::Result<Vec<Scanned>> {
        let mut heads: Vec<Head> = std::fs::read_dir(&self.root)?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| self.head(pid))
            .collect();
        heads.sort_by_key(|head| (head.start, head.pid));
        let starts: FxHashMap<u32, u64> = heads.iter().map(|head| (head.pid, head.start)).collect();
        let mut in_tree: FxHashMap<u32, bool> = FxHashMap::default();
        let mut found = Vec::with_capacity(heads.len());
        for head in &heads {
            let parent_in_tree = in_tree.get(&head.parent).copied().unwrap_or_default();
            let parent = ProcessKey::new(head.parent, starts.get(&head.parent).copied().unwrap_or_default());
            if let Some(scanned) = self.describe(head, parent, parent_in_tree) {
                in_tree.insert(head.pid, scanned.process.in_init_tree);
                found.push(scanned);
            }
        }
        Ok(found)
    }

    fn directory(&self, pid: u32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    /// `None` if the process is gone or only waits to be reaped.
    fn head(&self, pid: u32) -> Option<Head> {
        let process = procfs::process::Process::new_with_root(self.directory(pid)).ok()?;
        let stat = process.stat().ok()?;
        // a first thread that has ended leaves the others running
        if matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1 {
            return None;
        }
        let ticks = procfs::ticks_per_second().max(1);
        let start = (stat.starttime * 1_000_000_000 / ticks).saturating_sub(self.suspended.as_nanos() as u64);
        Some(Head {
            pid,
            parent: stat.ppid as u32,
            start,
            comm: stat.comm,
        })
    }

    fn describe(&self, head: &Head, parent: ProcessKey, parent_in_tree: bool) -> Option<Scanned> {
        let directory = self.directory(head.pid);
        let process = procfs::process::Process::new_with_root(directory.clone()).ok()?;
        let status = process.status().ok()?;
        let command = std::fs::read(directory.join("cmdline")).ok()?;
        let kernel_thread = command.is_empty();
        let binary = if kernel_thread {
            format!("[{}]", head.comm)
        } else {
            link(&directory.join("exe"))
        };
        let cwd = if kernel_thread {
            String::new()
        } else {
            link(&directory.join("cwd"))
        };
        let nspid = match status.nspid.as_deref() {
            Some([_, .., inner]) => *inner as u32,
            _ => 0,
        };
        let in_init_tree = nspid == 1 || parent_in_tree;

        let mut flags = ImageFlags::PROC_FS;
        flags.set_if(!kernel_thread && cwd.is_empty(), ImageFlags::NO_CWD);
        flags.set_if(cwd == "/", ImageFlags::ROOT_CWD);
        flags.set_if(in_init_tree, ImageFlags::IN_INIT_TREE);
        let after_first = command
            .iter()
            .position(|&byte| byte == 0)
            .map_or(&[][..], |end| &command[end + 1..]);
        let cgroup = std::fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
        let image = Image {
            binary: binary.into(),
            arguments: join_arguments(after_first).into(),
            cwd: cwd.into(),
            container_id: container_id_of_procfs(&cgroup).unwrap_or_default().into(),
            auid: process.loginuid().unwrap_or(u32::MAX),
            credentials: Credentials {
                uid: status.ruid,
                gid: status.rgid,
                euid: status.euid,
                egid: status.egid,
                suid: status.suid,
                sgid: status.sgid,
                fsuid: status.fuid,
                fsgid: status.fgid,
                securebits: 0,
                cap_permitted: status.capprm,
                cap_effective: status.capeff,
                cap_inheritable: status.capinh,
            },
            namespaces: namespaces::read(&self.root, head.pid),
            cgroup_id: cgroup_id(&cgroup),
        };
        let key = ProcessKey::new(head.pid, head.start);
        Some(Scanned {
            process: Process {
                key,
                parent,
                nspid,
                flags,
                in_init_tree,
                image: Arc::new(image),
            },
            kernel_thread,
        })
    }
}

/// Target of a link; empty if it can't be read.
fn link(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    std::fs::read_link(path).map_or_else(|_| String::new(), |target| to_text(target.as_os_str().as_bytes()))
}

/// Id of the unified cgroup: the inode number of its directory. 0 if it is not mounted where it usually is.
fn cgroup_id(cgroup_file: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Some(path) = cgroup_file.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return 0;
    };
    std::fs::metadata(Path::new("/sys/fs/cgroup").join(path)).map_or(0, |metadata| metadata.ino())
}

/// The process as the kernel's table holds it.
pub fn kernel_record(process: &Process) -> ebpf::record::Process {
    use ebpf::record as wire;
    ebpf::record::Process {
        start_ktime: process.key.start.0,
        parent_start_ktime: process.parent.start.0,
        parent_tgid: process.parent.tgid,
        nspid: process.nspid,
        flags: wire::PROCESS_EXECED
            | wire::PROCESS_FROM_PROCFS
            | if process.in_init_tree {
                wire::PROCESS_IN_INIT_TREE
            } else {
                0
            },
        cgroup_id: process.image.cgroup_id,
        ns: process.image.namespaces,
        capabilities: [
            process.image.credentials.cap_effective,
            process.image.credentials.cap_inheritable,
            process.image.credentials.cap_permitted,
        ],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself_below_its_parent() {
        let scan = ProcFs::new("/proc", Duration::ZERO);
        let all = scan.scan().unwrap();
        let position = |pid: u32| all.iter().position(|s| s.process.key.tgid == pid);
        let me = &all[position(std::process::id()).unwrap()];
        assert!(!me.kernel_thread);
        assert!(me.process.image.binary.starts_with('/'));
        assert!(me.process.flags.contains(ImageFlags::PROC_FS));
        assert!(scan.is_same(me.process.key) && scan.is_alive(me.process.key.tgid));
        if me.process.parent != ProcessKey::KERNEL {
            assert!(position(me.process.parent.tgid) < position(me.process.key.tgid));
        }
        assert!(!scan.is_alive(u32::MAX / 4));
    }

    #[test]
    fn arguments_of_a_child_are_read() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        // the child runs our image until it has executed its own
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let found = loop {
            let all = ProcFs::new("/proc", Duration::ZERO).scan().unwrap();
            let found = all.into_iter().find(|s| s.process.key.tgid == child.id()).unwrap();
            if &*found.process.image.arguments == "1000" || std::time::Instant::now() > deadline {
                break found;
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(&*found.process.image.arguments, "1000");
        assert_eq!(found.process.parent.tgid, std::process::id());
        assert_eq!(kernel_record(&found.process).parent_tgid, std::process::id());
    }
}
