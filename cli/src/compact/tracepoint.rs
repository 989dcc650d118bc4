//! `⁉️ tracepoint my-node /usr/bin/curl sched sched_process_exec`, and system calls by name:
//! `☎  syscall my-node /usr/bin/curl openat(int dfd=4, const char *filename=0x7ffe)`

use std::fmt::Write as _;

use tetra_api::tetragon::kprobe_argument::Arg;
use tetra_api::tetragon::{KprobeArgument, ProcessTracepoint};
use tracingpolicy_crd::value::SyscallAbi;

use super::line::Line;
use super::{EncodeError, required};
use crate::syscall::prototype;

pub(super) fn describe(tracepoint: &ProcessTracepoint, line: &mut Line<'_>) -> Result<(), EncodeError> {
    let process = required(tracepoint.process.as_ref())?;
    if tracepoint.subsys == "raw_syscalls" && tracepoint.event == "sys_enter" {
        line.event("☎ ", "syscall");
        line.process(process);
        line.plain(&format!(" {}", describe_syscall(&tracepoint.args)));
    } else {
        line.event("⁉️", "tracepoint");
        line.process(process);
        line.plain(&format!(" {} {}", tracepoint.subsys, tracepoint.event));
    }
    Ok(())
}

/// The first argument tells which system call it is, the others are its arguments.
fn describe_syscall(arguments: &[KprobeArgument]) -> String {
    let values = arguments
        .iter()
        .map(|argument| argument.arg.as_ref())
        .collect::<Vec<_>>();
    let (abi, number) = match values.first() {
        Some(Some(Arg::LongArg(number))) => (Some(SyscallAbi::NATIVE), u32::try_from(*number).ok()),
        Some(Some(Arg::SyscallId(id))) => (SyscallAbi::by_name(&id.abi), Some(id.id)),
        _ => (None, None),
    };
    let Some((abi, name)) = abi.and_then(|abi| Some((abi, abi.syscall_name(number?)?))) else {
        return "unknown".to_owned();
    };
    if abi != SyscallAbi::NATIVE {
        // prototypes are those of the native ABI
        return format!("{}/{name}", abi.name());
    }
    let Some(parameters) = prototype(name) else {
        return name.to_owned();
    };
    let mut text = format!("{name}(");
    for (index, parameter) in parameters.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        let written = match values.get(index + 1) {
            Some(Some(Arg::SizeArg(value))) if parameter.kind.ends_with('*') => {
                write!(text, "{}{}=0x{value:x}", parameter.kind, parameter.name)
            }
            Some(Some(Arg::SizeArg(value))) => write!(text, "{} {}={value}", parameter.kind, parameter.name),
            _ => write!(text, "{} {}=?", parameter.kind, parameter.name),
        };
        written.expect("writing to a string cannot fail");
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tetra_api::tetragon::SyscallId;

    fn check(arguments: Vec<Arg>, expected: &str) {
        let arguments = arguments.into_iter().map(|arg| KprobeArgument {
            arg: Some(arg),
            ..Default::default()
        });
        assert_eq!(describe_syscall(&arguments.collect::<Vec<_>>()), expected);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn shows_the_prototype_with_values() {
        check(
            vec![
                Arg::LongArg(257),
                Arg::SizeArg(4),
                Arg::SizeArg(0x7ffe),
                Arg::SizeArg(0),
            ],
            "openat(int dfd=4, const char *filename=0x7ffe, int flags=0, umode_t mode=?)",
        );
        check(vec![Arg::LongArg(39)], "getpid()");
    }

    #[test]
    fn names_calls_of_other_abis() {
        let id = |id, abi: &str| Arg::SyscallId(SyscallId { id, abi: abi.into() });
        check(vec![id(5, "i386")], "i386/open");
        check(vec![id(5, "pdp11")], "unknown");
        check(vec![id(99_999, "i386")], "unknown");
        check(vec![Arg::LongArg(-1)], "unknown");
        check(vec![Arg::SizeArg(35)], "unknown");
        check(vec![], "unknown");
    }
}
