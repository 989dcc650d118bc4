//! Decisions at a syscall's entry that another thread, or io_uring, gets round.

use crate::attach::guard_of_syscall;
use crate::codes;
use crate::hir::{Filter, Predicate};
use crate::output::ArgumentType;

use super::{Finding, Subject, stops};

/// Syscalls whose operation io_uring does, too, without the syscall (`enum io_uring_op`, Linux 6.12).
fn has_io_uring_operation(syscall: &str) -> bool {
    matches!(
        syscall,
        "open"
            | "openat"
            | "openat2"
            | "unlink"
            | "unlinkat"
            | "rmdir"
            | "rename"
            | "renameat"
            | "renameat2"
            | "mkdir"
            | "mkdirat"
            | "symlink"
            | "symlinkat"
            | "link"
            | "linkat"
            | "setxattr"
            | "connect"
            | "bind"
            | "sendto"
            | "sendmsg"
    )
}

/// A string or a socket address of a syscall's entry is in user memory.
fn is_on_user_memory(filter: &Filter) -> bool {
    match &filter.predicate {
        Predicate::Text { operand, .. } => operand.argument_type == ArgumentType::String || operand.is_buffer(),
        Predicate::Sock { operand, .. } => operand.argument_type == ArgumentType::Sockaddr,
        _ => false,
    }
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(syscall) = subject.syscall() else { return };
    let Some(guard) = guard_of_syscall(syscall) else { return };
    let selectors = &subject.hook.selectors;
    let filter = selectors.iter().flat_map(|s| &s.filters).find(|f| is_on_user_memory(f));
    let (line, message) = match (filter, has_io_uring_operation(syscall)) {
        (Some(filter), true) => (
            &filter.line,
            format!(
                "`{syscall}` is judged by user memory, which another thread can change before the kernel reads it; io_uring does \
                 the same without the syscall"
            ),
        ),
        (Some(filter), false) => (
            &filter.line,
            format!("`{syscall}` is judged by user memory, which another thread can change before the kernel reads it"),
        ),
        (None, true) if selectors.iter().any(stops) => (
            &subject.hook.line,
            format!("io_uring does what `{syscall}` does without the syscall, and is not stopped"),
        ),
        _ => return,
    };
    findings.push(Finding::warning(
        codes::DECIDED_ON_USER_MEMORY,
        subject.span(line),
        message,
        format!("hook `{guard}` under `lsmhooks`: it sees the kernel's own copy, whoever asks"),
    ));
}
