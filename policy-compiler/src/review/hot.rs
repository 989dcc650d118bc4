//! Events of hooks that every process calls all the time.

use crate::codes;
use crate::hir::{Predicate, Selector, Target};

use super::{Finding, Subject};

/// How much a selector must ask for to tame a hook.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heat {
    /// Any filter does.
    AnyFilter,
    /// A filter on a number does not: reads and writes differ in it, but both are many.
    ProcessOrObject,
}

fn heat(target: &Target) -> Option<Heat> {
    match target {
        Target::Syscall(name) => is_hot_syscall(name).then_some(Heat::AnyFilter),
        Target::Tracepoint(subsystem, event) | Target::RawTracepoint(subsystem, event) => {
            match (subsystem.as_str(), event.as_str()) {
                ("raw_syscalls", "sys_enter" | "sys_exit")
                | ("sched", "sched_switch" | "sched_wakeup" | "sched_waking") => Some(Heat::AnyFilter),
                ("syscalls", event) => event
                    .strip_prefix("sys_enter_")
                    .or_else(|| event.strip_prefix("sys_exit_"))
                    .is_some_and(is_hot_syscall)
                    .then_some(Heat::AnyFilter),
                _ => None,
            }
        }
        Target::Function(name) => matches!(name.as_str(), "security_file_permission" | "vfs_read" | "vfs_write")
            .then_some(Heat::ProcessOrObject),
        Target::Lsm(name) => (name == "file_permission").then_some(Heat::ProcessOrObject),
        Target::User(_) => None,
    }
}

fn is_hot_syscall(name: &str) -> bool {
    matches!(
        name,
        "read"
            | "readv"
            | "pread64"
            | "write"
            | "writev"
            | "pwrite64"
            | "recvfrom"
            | "futex"
            | "poll"
            | "epoll_wait"
            | "epoll_pwait"
            | "clock_gettime"
    )
}

/// Whether a selector leaves the bulk of the calls out.
fn narrows(selector: &Selector, heat: Heat) -> bool {
    !selector.return_filters.is_empty()
        || selector
            .filters
            .iter()
            .any(|filter| heat == Heat::AnyFilter || !matches!(filter.predicate, Predicate::Integer { .. }))
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let hook = subject.hook;
    let Some(heat) = heat(&hook.target) else { return };
    let floods = |selector: &&Selector| {
        let posts = selector.actions.post.is_some_and(|post| post.rate_limit.is_none());
        posts && !narrows(selector, heat)
    };
    let line = match hook.selectors.iter().find(floods) {
        Some(selector) => &selector.line,
        None if hook.selectors.is_empty() => &hook.line,
        None => return,
    };
    let help = match heat {
        Heat::AnyFilter => "select processes or arguments, or add `action: Post` with a `rateLimit`",
        Heat::ProcessOrObject => "select processes or paths, or add `action: Post` with a `rateLimit`",
    };
    findings.push(Finding::warning(
        codes::HOT_HOOK,
        subject.span(line),
        format!(
            "{} is called up to a million times a second, and every call becomes an event",
            crate::resolve::target_name(&hook.target)
        ),
        help,
    ));
}
