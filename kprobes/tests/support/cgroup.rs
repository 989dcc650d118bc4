//! Cgroups of the unified hierarchy, made for tests.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kprobes::CgroupId;

/// Where the unified hierarchy is mounted.
pub(crate) fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let of_line = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let at = PathBuf::from(fields.next()?);
        (fields.next()? == "cgroup2").then_some(at)
    };
    mounts.lines().find_map(of_line)
}

/// Where the hierarchy of a version 1 controller is mounted. Mounts it in `directory` if it is nowhere; `None` if that cannot be
/// done, as when the unified hierarchy has the controller or the kernel knows no version 1.
pub(crate) fn controller(name: &str, directory: &Path) -> Option<PathBuf> {
    let mounted = || {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let of_line = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, at, "cgroup", options, ..] = fields[..] else {
                return None;
            };
            options
                .split(',')
                .any(|option| option == name)
                .then(|| PathBuf::from(at))
        };
        mounts.lines().find_map(of_line)
    };
    mounted().or_else(|| {
        let arguments = ["-t", "cgroup", "-o", name, "cgroup"];
        let mount = Command::new("mount").args(arguments).arg(directory).output();
        mount.is_ok_and(|output| output.status.success()).then(mounted)?
    })
}

/// The cgroup of this process.
pub(crate) fn own() -> Option<PathBuf> {
    let lines = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root()?.join(path))
}

/// The number of a cgroup.
pub(crate) fn id(directory: &Path) -> CgroupId {
    CgroupId(fs::metadata(directory).expect("a cgroup").ino())
}

/// A cgroup, removed when it is dropped: by then no process may be in it.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a cgroup below another one.
    pub(crate) fn new(above: &Path, name: &str) -> Self {
        let directory = above.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&directory).expect("cgroups can be made");
        Self(directory)
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Its number.
    pub(crate) fn id(&self) -> CgroupId {
        id(&self.0)
    }

    /// Moves a process, with all its threads, here.
    pub(crate) fn take(&self, pid: u32) {
        enter(&self.0, pid);
    }
}

/// Moves a process, with all its threads, to a cgroup.
pub(crate) fn enter(directory: &Path, pid: u32) {
    fs::write(directory.join("cgroup.procs"), pid.to_string()).expect("a process can be moved");
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // a test that failed leaves what its processes are in
        drop(fs::remove_dir(&self.0));
    }
}
