//! Numbers of system calls, from a table that `cli/generate-syscalls.sh` makes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// ABI, number and name of a system call, a line each.
static NUMBERS: &str = include_str!("syscall/numbers.tsv");

/// A set of system call numbers, as the kernel's entry points tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of events and policies")]
pub enum SyscallAbi {
    X64,
    I386,
    Arm64,
}

impl SyscallAbi {
    /// The ABI of 64-bit programs on this architecture.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        Self::X64
    };

    /// Finds an ABI by the name that events carry and that policies write before a `/`.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::X64, Self::I386, Self::Arm64]
            .into_iter()
            .find(|abi| abi.name() == name)
    }

    /// `x64`, `i386` or `arm64`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::I386 => "i386",
            Self::Arm64 => "arm64",
        }
    }

    /// Whether programs can make such calls on this architecture.
    pub fn is_native(self) -> bool {
        self == Self::NATIVE || Self::NATIVE == Self::X64 && self == Self::I386
    }

    /// Whether programs with other registers than the machine's make such calls: their numbers carry [`COMPAT_SYSCALL`].
    pub const fn is_compat(self) -> bool {
        matches!(self, Self::I386)
    }

    /// Name of a system call.
    pub fn syscall_name(self, number: u32) -> Option<&'static str> {
        static NAMES: LazyLock<HashMap<(&str, u32), &str>> =
            LazyLock::new(|| entries().map(|(abi, number, name)| ((abi, number), name)).collect());
        NAMES.get(&(self.name(), number)).copied()
    }

    /// The numbers of all its system calls.
    pub fn syscall_numbers(self) -> impl Iterator<Item = u32> {
        entries().filter_map(move |(abi, number, _)| (abi == self.name()).then_some(number))
    }

    /// Number of a system call by its bare name (`openat`).
    pub fn syscall_number(self, name: &str) -> Option<u32> {
        static OF_NAMES: LazyLock<HashMap<(&str, &str), u32>> =
            LazyLock::new(|| entries().map(|(abi, number, name)| ((abi, name), number)).collect());
        OF_NAMES.get(&(self.name(), name)).copied()
    }
}

/// Bit of a value of type `syscall64` that says that the number is one of the 32-bit ABI (§4.2 of the language reference).
pub const COMPAT_SYSCALL: u64 = 1 << 31;

fn entries() -> impl Iterator<Item = (&'static str, u32, &'static str)> {
    NUMBERS.lines().map(|line| {
        let mut fields = line.split('\t');
        let mut next = || fields.next().expect("three fields a line");
        (next(), next().parse().expect("a number"), next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        for (abi, number, name) in [
            (SyscallAbi::X64, 0, "read"),
            (SyscallAbi::X64, 469, "file_setattr"),
            (SyscallAbi::I386, 1, "exit"),
            (SyscallAbi::Arm64, 56, "openat"),
        ] {
            assert_eq!(abi.syscall_name(number), Some(name));
            assert_eq!(abi.syscall_number(name), Some(number));
        }
        assert_eq!(SyscallAbi::X64.syscall_name(100_000), None);
        assert_eq!(SyscallAbi::X64.syscall_number("no_such_call"), None);
    }
}
