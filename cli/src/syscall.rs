//! Names and prototypes of system calls, from tables that `generate-syscalls.sh` makes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// ABI, number and name of a system call, a line each.
static NUMBERS: &str = include_str!("syscall/numbers.tsv");

/// Name and parameters (type, space, name) of a system call, a line each.
static PROTOTYPES: &str = include_str!("syscall/prototypes.tsv");

/// A set of system call numbers, as the kernel's entry points tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Abi {
    X64,
    I386,
    Arm64,
}

impl Abi {
    /// The ABI of 64-bit programs on this architecture.
    pub(crate) const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        Self::X64
    };

    /// Finds an ABI by the name events carry.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        [Self::X64, Self::I386, Self::Arm64]
            .into_iter()
            .find(|abi| abi.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::I386 => "i386",
            Self::Arm64 => "arm64",
        }
    }

    /// Name of a system call.
    pub(crate) fn syscall_name(self, number: u32) -> Option<&'static str> {
        static NAMES: LazyLock<HashMap<(&str, u32), &str>> = LazyLock::new(|| {
            NUMBERS
                .lines()
                .map(|line| {
                    let mut fields = line.split('\t');
                    let mut next = || fields.next().expect("three fields a line");
                    ((next(), next().parse().expect("a number")), next())
                })
                .collect()
        });
        NAMES.get(&(self.name(), number)).copied()
    }
}

/// A parameter of a system call: `const char *` and `filename`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
}

/// Parameters of a system call of the native ABI.
pub(crate) fn prototype(syscall: &str) -> Option<&'static [Parameter]> {
    static PARAMETERS: LazyLock<HashMap<&str, Vec<Parameter>>> = LazyLock::new(|| {
        PROTOTYPES
            .lines()
            .map(|line| {
                let mut fields = line.split('\t');
                let syscall = fields.next().expect("a name");
                let parameters = fields.map(|field| {
                    let (kind, name) = field.rsplit_once(' ').expect("a type and a name");
                    Parameter { kind, name }
                });
                (syscall, parameters.collect())
            })
            .collect()
    });
    PARAMETERS.get(syscall).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole() {
        assert_eq!(Abi::X64.syscall_name(0), Some("read"));
        assert_eq!(Abi::X64.syscall_name(469), Some("file_setattr"));
        assert_eq!(Abi::I386.syscall_name(1), Some("exit"));
        assert_eq!(Abi::Arm64.syscall_name(56), Some("openat"));
        assert_eq!(Abi::X64.syscall_name(100_000), None);
        assert_eq!(
            prototype("read"),
            Some(
                [("unsigned int", "fd"), ("char *", "buf"), ("size_t", "count")]
                    .map(|(kind, name)| Parameter { kind, name })
                    .as_slice()
            )
        );
        assert_eq!(prototype("getpid"), Some([].as_slice()));
        assert_eq!(prototype("no_such_call"), None);
    }

    #[test]
    fn every_call_of_the_native_abi_has_six_parameters_at_most() {
        for number in 0..500 {
            if let Some(parameters) = Abi::X64.syscall_name(number).and_then(prototype) {
                assert!(parameters.len() <= 6, "{number}");
            }
        }
    }
}
