//! Named lists of functions.

use super::declare::{names, object};

names! {
    /// What the values of a list are.
    pub enum ListType: "type of list" {
        /// Kernel functions.
        Functions = "",
        /// System calls.
        Syscalls = "syscalls",
        /// All system calls of the kernel.
        GeneratedSyscalls = "generated_syscalls",
        /// All traceable functions of the kernel that fit the pattern.
        GeneratedFtrace = "generated_ftrace",
    }
}

impl ListType {
    /// Whether the values come from the kernel.
    pub const fn is_generated(self) -> bool {
        matches!(self, Self::GeneratedSyscalls | Self::GeneratedFtrace)
    }

    /// Whether the values are system calls.
    pub const fn is_syscalls(self) -> bool {
        matches!(self, Self::Syscalls | Self::GeneratedSyscalls)
    }
}

object! {
    /// A named list, used as `list:NAME`.
    pub struct ListSpec {
        /// Its name.
        name: String = "name" [required],
        /// Its values, unless they are generated.
        values: Vec<String> = "values",
        /// What its values are.
        list_type: ListType = "type" [default("")],
        /// Regular expression for functions of a generated list.
        pattern: Option<String> = "pattern",
        /// Not to be set.
        validated: bool = "validated",
    }
}
