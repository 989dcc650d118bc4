//! Prototypes of system calls, from a table that `generate-syscalls.sh` makes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Name and parameters (type, space, name) of a system call, a line each.
static PROTOTYPES: &str = include_str!("syscall/prototypes.tsv");

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
    use tracingpolicy_crd::value::SyscallAbi;

    use super::*;

    #[test]
    fn the_table_is_whole() {
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
            if let Some(parameters) = SyscallAbi::X64.syscall_name(number).and_then(prototype) {
                assert!(parameters.len() <= 6, "{number}");
            }
        }
    }
}
