//! Namespace numbers in the order of `struct process.ns`.

use std::path::Path;

/// Files under `/proc/PID/ns`, in that order.
pub const FILES: [&str; 10] = [
    "uts",
    "ipc",
    "mnt",
    "pid",
    "pid_for_children",
    "net",
    "time",
    "time_for_children",
    "cgroup",
    "user",
];

/// Inode number of a namespace link's target (`uts:[4026531838]`); 0 if there is none.
pub fn inode_of_link(target: &Path) -> u32 {
    target
        .to_str()
        .and_then(|text| text.split_once(":["))
        .and_then(|(_, number)| number.strip_suffix(']'))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Namespaces of a process; those that can't be read are 0.
pub fn read(procfs: &Path, pid: u32) -> [u32; 10] {
    let directory = procfs.join(pid.to_string()).join("ns");
    FILES.map(|file| std::fs::read_link(directory.join(file)).map_or(0, |target| inode_of_link(&target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_parsed() {
        assert_eq!(inode_of_link(Path::new("uts:[4026531838]")), 4_026_531_838);
        assert_eq!(inode_of_link(Path::new("x")), 0);
    }
}
