//! The namespaces of the host: those of pid 1.

use std::collections::BTreeMap;
use std::fs;

/// The language's names, and the kernel's in `/proc/1/ns`.
const NAMES: [(&str, &str); 10] = [
    ("Uts", "uts"),
    ("Ipc", "ipc"),
    ("Mnt", "mnt"),
    ("Pid", "pid"),
    ("PidForChildren", "pid_for_children"),
    ("Net", "net"),
    ("Time", "time"),
    ("TimeForChildren", "time_for_children"),
    ("Cgroup", "cgroup"),
    ("User", "user"),
];

/// Numbers below this (`PROC_DYNAMIC_FIRST`) belong to the initial namespaces, which the kernel numbers itself.
const FIRST_DYNAMIC: u32 = 0xf000_0000;

/// Inode numbers by the language's names. Those that cannot be found out are missing: a kernel without this kind of namespace,
/// or pid 1 out of reach (no `CAP_SYS_PTRACE`) and our own namespace not provably the host's.
pub(super) fn of_host() -> BTreeMap<String, u32> {
    let inode = |process: &str, name: &str| {
        parse(
            &fs::read_link(format!("/proc/{process}/ns/{name}"))
                .ok()?
                .to_string_lossy(),
        )
    };
    let of_host = |name| inode("1", name).or_else(|| inode("self", name).filter(|number| *number < FIRST_DYNAMIC));
    NAMES
        .into_iter()
        .filter_map(|(name, file)| Some((name.to_owned(), of_host(file)?)))
        .collect()
}

/// The number in `mnt:[4026531841]`.
fn parse(link: &str) -> Option<u32> {
    link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_namespaces() {
        assert_eq!(parse("mnt:[4026531841]"), Some(4_026_531_841));
        assert_eq!(parse("mnt"), None);
    }
}
