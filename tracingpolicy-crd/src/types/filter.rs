//! Filters of a selector, one kind each.

use super::declare::{names, object};
use super::operator::{ArgOperator, BinaryOperator, SetOperator};

object! {
    /// A filter on the process id.
    pub struct PidSelector {
        /// Whether the values are those meant, or all others.
        operator: SetOperator = "operator" [required],
        /// Process ids.
        values: Vec<u32> = "values" [required],
        /// Compare the id that the process has in its own PID namespace.
        is_namespace_pid: bool = "isNamespacePID" [default(false)],
        /// Match descendants of the processes too.
        follow_forks: bool = "followForks" [default(false)],
    }
}

object! {
    /// A filter on an argument, on an entry of `data` or on the return value.
    pub struct ArgSelector {
        /// Position of the argument in the function's prototype.
        index: u32 = "index",
        /// Positions in the list `args` of the policy; they win over `index`.
        args: Vec<u32> = "args",
        /// How to compare.
        operator: ArgOperator = "operator" [required],
        /// What to compare with.
        values: Vec<String> = "values",
    }
}

object! {
    /// A filter on the path of the running program.
    pub struct BinarySelector {
        /// How to compare.
        operator: BinaryOperator = "operator" [required],
        /// Absolute paths, or parts of them.
        values: Vec<String> = "values" [required],
        /// Match processes that such a program started too.
        follow_children: bool = "followChildren" [default(false)],
    }
}

names! {
    /// A kind of Linux namespace.
    pub enum Namespace: "namespace" {
        /// Host name.
        Uts = "Uts",
        /// System V IPC.
        Ipc = "Ipc",
        /// Mounts.
        Mnt = "Mnt",
        /// Process ids.
        Pid = "Pid",
        /// Process ids, of children to come.
        PidForChildren = "PidForChildren",
        /// Network.
        Net = "Net",
        /// Clocks.
        Time = "Time",
        /// Clocks, of children to come.
        TimeForChildren = "TimeForChildren",
        /// Control groups.
        Cgroup = "Cgroup",
        /// User and group ids.
        User = "User",
    }
}

object! {
    /// A filter on a namespace of the process.
    pub struct NamespaceSelector {
        /// Which one.
        namespace: Namespace = "namespace" [required],
        /// Whether the values are those meant, or all others.
        operator: SetOperator = "operator" [required],
        /// Inode numbers of namespaces, or `host_ns`.
        values: Vec<String> = "values" [required],
    }
}

object! {
    /// A filter on namespaces that changed since the process was executed.
    pub struct NamespaceChangesSelector {
        /// Whether the values are those meant, or all others.
        operator: SetOperator = "operator" [required],
        /// Kinds of namespaces.
        values: Vec<String> = "values" [required],
    }
}

names! {
    /// Which of a process's sets of capabilities.
    pub enum CapabilityType: "set of capabilities" {
        /// What it can do now.
        Effective = "Effective",
        /// What programs it executes can have.
        Inheritable = "Inheritable",
        /// What it could do.
        Permitted = "Permitted",
    }
}

object! {
    /// A filter on capabilities of the process.
    pub struct CapabilitySelector {
        /// Which set.
        capability_type: CapabilityType = "type" [default("Effective")],
        /// Whether any or none of the values is meant.
        operator: SetOperator = "operator" [required],
        /// Only processes outside of the host's user namespace.
        is_namespace_capability: bool = "isNamespaceCapability" [default(false)],
        /// Names of capabilities.
        values: Vec<String> = "values" [required],
    }
}
