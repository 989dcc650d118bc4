//! Which container a cgroup name belongs to.

/// Characters of a container id that events show.
pub const SHOWN: usize = 31;
/// Length of a full container id.
const FULL: usize = 64;

/// Finds the container id in the name of a cgroup, as container runtimes compose them: `cri-containerd-ID.scope`,
/// `docker-ID.scope`, `slice:cri-containerd:ID`, `libpod-ID`, `crio-ID` or the bare id. `None` if it is none.
///
/// `truncated`: the name may have been cut short, so a shorter id is accepted.
pub fn container_id(cgroup_name: &str, truncated: bool) -> Option<&str> {
    let name = cgroup_name.rsplit(':').next()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let minimum = if truncated { SHOWN } else { FULL };
    if id.len() < minimum || name.ends_with("service") || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    Some(&id[..SHOWN])
}

/// Finds the container id in `/proc/PID/cgroup`.
pub fn container_id_of_procfs(cgroup_file: &str) -> Option<&str> {
    cgroup_file
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .find_map(|path| path_container_id(path.trim_end()))
}

/// Finds the container id in a cgroup path: in the last component, or in one above it if that is a sub-cgroup.
fn path_container_id(path: &str) -> Option<&str> {
    path.rsplit('/')
        .take(3)
        .find_map(|component| container_id(component, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn runtimes_names_are_understood() {
        for name in [
            format!("cri-containerd-{ID}.scope"),
            format!("docker-{ID}.scope"),
            format!("libpod-{ID}"),
            format!("crio-{ID}.scope"),
            format!("kubepods-besteffort-pod12.slice:cri-containerd:{ID}"),
            ID.to_owned(),
        ] {
            assert_eq!(container_id(&name, false), Some(&ID[..31]), "{name}");
        }
    }

    #[test]
    fn host_names_are_not() {
        for name in [
            "",
            "user@1000.service",
            "session-4.scope",
            "system.slice",
            "docker-0123.scope",
        ] {
            assert_eq!(container_id(name, false), None, "{name}");
        }
        assert_eq!(container_id(&format!("docker-{}", &ID[..40]), true), Some(&ID[..31]));
    }

    #[test]
    fn procfs_lines_are_understood() {
        let file = format!("12:cpu:/\n0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope/init\n");
        assert_eq!(container_id_of_procfs(&file), Some(&ID[..31]));
        assert_eq!(container_id_of_procfs("0::/user.slice/session-1.scope\n"), None);
    }
}
