//! Which hierarchy of cgroups tells the workloads of this machine apart.
//!
//! The unified one (version 2), wherever it is what `/sys/fs/cgroup` is. Elsewhere container runtimes make their cgroups in the
//! hierarchies of version 1 controllers, also if the unified one is mounted beside them, and every process is in its root, or
//! where systemd has put it. Each controller's hierarchy has cgroups and numbers of its own; the one that counts is that of the
//! first controller in use that runtimes always set up.

use std::fs;

use policy_compiler::btf::Btf;

/// Where the unified hierarchy is, on a machine that uses no other.
const UNIFIED: &str = "/sys/fs/cgroup";

/// A hierarchy of cgroups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CgroupHierarchy {
    /// That of version 2.
    #[default]
    Unified,
    /// That of a version 1 controller.
    Controller(CgroupController),
}

/// Controllers whose hierarchies are taken for that of the workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum CgroupController {
    Memory,
    Pids,
    Cpuset,
}

impl CgroupHierarchy {
    /// The hierarchy that counts here, as it is mounted.
    pub fn of_this_machine() -> Self {
        Self::of_mounts(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// What `/proc/self/mounts` says: source, place, kind, options.
    fn of_mounts(mounts: &str) -> Self {
        let mut controllers = Vec::new();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            let (Some(place), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            match kind {
                "cgroup2" if place == UNIFIED => return Self::Unified,
                "cgroup" => controllers.extend(options.split(',')),
                _ => {}
            }
        }
        let all = [
            CgroupController::Memory,
            CgroupController::Pids,
            CgroupController::Cpuset,
        ];
        all.into_iter()
            .find(|controller| controllers.contains(&controller.name()))
            .map_or(Self::Unified, Self::Controller)
    }

    /// As programs are told: 0, or the index of the controller in the kernel plus 1. `None` if this kernel lacks it.
    pub(crate) fn number(self, kernel: &Btf) -> Option<u32> {
        match self {
            Self::Unified => Some(0),
            Self::Controller(controller) => {
                let index = kernel.enum_value("cgroup_subsys_id", &format!("{}_cgrp_id", controller.name()))?;
                u32::try_from(index + 1).ok()
            }
        }
    }
}

impl CgroupController {
    /// As mount options have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpuset => "cpuset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_counts_where_it_is_the_only_one() {
        let check = |mounts: &str, expected| assert_eq!(CgroupHierarchy::of_mounts(mounts), expected, "{mounts}");
        let controller = CgroupHierarchy::Controller;
        check(
            "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n",
            CgroupHierarchy::Unified,
        );
        let legacy = "tmpfs /sys/fs/cgroup tmpfs ro,mode=755 0 0\ncgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n";
        check(legacy, controller(CgroupController::Pids));
        let hybrid = format!(
            "{legacy}cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
        );
        check(&hybrid, controller(CgroupController::Memory));
        check("proc /proc proc rw 0 0\n", CgroupHierarchy::Unified);
    }
}
