//! Kills that come too late, or do not stop what they answer.

use tracingpolicy_crd::Severity;

use crate::attach::{self, guard_of_syscall};
use crate::codes;
use crate::hir::{Hook, Selector, Target};

use super::{Finding, Subject, kills};

/// Syscalls whose effect outlives the process that made them. A pending SIGKILL is noticed on the way back to user mode, or where
/// a call waits; these need not wait.
fn leaves_effect(syscall: &str) -> bool {
    matches!(
        syscall,
        "unlink"
            | "unlinkat"
            | "rmdir"
            | "rename"
            | "renameat"
            | "renameat2"
            | "link"
            | "linkat"
            | "symlink"
            | "symlinkat"
            | "mkdir"
            | "mkdirat"
            | "mknod"
            | "mknodat"
            | "truncate"
            | "ftruncate"
            | "chmod"
            | "fchmod"
            | "fchmodat"
            | "fchmodat2"
            | "chown"
            | "lchown"
            | "fchown"
            | "fchownat"
            | "setxattr"
            | "lsetxattr"
            | "fsetxattr"
            | "removexattr"
            | "lremovexattr"
            | "fremovexattr"
            | "mount"
            | "umount2"
            | "move_mount"
            | "pivot_root"
            | "delete_module"
            | "kexec_load"
            | "kexec_file_load"
            | "settimeofday"
            | "clock_settime"
            | "sethostname"
            | "setdomainname"
            | "swapon"
            | "swapoff"
            | "kill"
            | "tkill"
            | "tgkill"
            | "sendto"
            | "sendmsg"
    )
}

/// The same by LSM hook.
fn guards_effect(hook: &str) -> bool {
    matches!(
        hook,
        "inode_unlink"
            | "inode_rmdir"
            | "inode_rename"
            | "inode_link"
            | "inode_symlink"
            | "inode_mkdir"
            | "inode_mknod"
            | "inode_create"
            | "inode_setattr"
            | "inode_setxattr"
            | "inode_removexattr"
            | "path_unlink"
            | "path_rmdir"
            | "path_rename"
            | "path_link"
            | "path_symlink"
            | "path_mkdir"
            | "path_mknod"
            | "path_chmod"
            | "path_chown"
            | "path_truncate"
            | "file_truncate"
            | "sb_mount"
            | "sb_umount"
            | "sb_pivotroot"
            | "move_mount"
            | "settime"
            | "task_kill"
            | "socket_sendmsg"
    )
}

/// What has happened already where a tracepoint or function is reached.
fn already_done(target: &Target) -> Option<&'static str> {
    match target {
        Target::Tracepoint(subsystem, event) | Target::RawTracepoint(subsystem, event) => {
            match (subsystem.as_str(), event.as_str()) {
                ("raw_syscalls", "sys_exit") => Some("the syscall has been made"),
                ("syscalls", event) if event.starts_with("sys_exit_") => Some("the syscall has been made"),
                ("sched", "sched_process_exit") => Some("the process is ending anyway"),
                ("sched", "sched_process_fork") | ("task", "task_newtask") => {
                    Some("the child exists, and only its parent is killed")
                }
                ("module", "module_load") => Some("the module is in the kernel"),
                _ => None,
            }
        }
        target => {
            let hook = super::lsm_hook_of(target)?;
            (hook.starts_with("inode_post_") || hook.starts_with("path_post_")).then_some("the operation has been done")
        }
    }
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for selector in &subject.hook.selectors {
        if let Some(finding) = at_entry(subject, selector).or_else(|| at_return(subject, selector)) {
            findings.push(finding);
            // what holds for one selector holds for all: once is enough
            return;
        }
    }
}

fn at_entry(subject: &Subject<'_>, selector: &Selector) -> Option<Finding> {
    if !kills(&selector.actions) || selector.actions.override_errno.is_some() {
        return None;
    }
    let span = subject.kill_span(selector, false);
    if let Some(done) = already_done(&subject.hook.target) {
        return Some(Finding::warning(
            codes::KILL_TOO_LATE,
            span,
            format!(
                "the kill prevents nothing: at {} {done}",
                crate::resolve::target_name(&subject.hook.target)
            ),
            "hook where the operation begins: its LSM hook, or the entry of the syscall",
        ));
    }
    let leaves = subject.syscall().is_some_and(leaves_effect) || subject.lsm_hook().is_some_and(guards_effect);
    if leaves {
        return Some(Finding::warning(
            codes::KILL_LEAVES_EFFECT,
            span,
            format!(
                "the process dies when the call returns: what {} does may be done by then, and stays",
                crate::resolve::target_name(&subject.hook.target)
            ),
            denial(subject)?,
        ));
    }
    // an exec that is denied leaves the caller running, one that is killed does not: that may be what is wanted
    if subject.lsm_hook().is_some_and(|hook| !hook.starts_with("bprm_")) && can_override(subject) {
        return Some(Finding {
            severity: Severity::Note,
            code: codes::KILL_INSTEAD_OF_DENIAL,
            span,
            message: "the operation could be denied here, which stops it before it begins and leaves the program to report it".into(),
            because: None,
            help: "use `action: Override` with `argError: -1`, alone or before `Sigkill`".into(),
        });
    }
    None
}

fn at_return(subject: &Subject<'_>, selector: &Selector) -> Option<Finding> {
    // what a function of the kernel has done when it returns is not known, a syscall's work is done
    let Target::Syscall(name) = &subject.hook.target else {
        return None;
    };
    kills(&selector.return_actions).then(|| {
        let help = match guard_of_syscall(name) {
            Some(guard) => format!("stop it before: `lsmhooks` with `hook: {guard}`"),
            None => "put the action into `matchActions`, which run where the call begins".into(),
        };
        Finding::warning(
            codes::KILL_TOO_LATE,
            subject.kill_span(selector, true),
            format!("the kill prevents nothing: the syscall `{name}` has been made when it returns"),
            help,
        )
    })
}

/// How the operation could be denied; `None` if nothing is known that would.
fn denial(subject: &Subject<'_>) -> Option<String> {
    if can_override(subject) {
        return Some("add `action: Override` with `argError: -1` before it: then the call is not made".into());
    }
    let guard = subject.syscall().and_then(guard_of_syscall)?;
    Some(format!(
        "deny it: `lsmhooks` with `hook: {guard}` and `action: Override`, on a kernel with BPF LSM"
    ))
}

/// Whether the result of the hook could be replaced on this kernel.
fn can_override(subject: &Subject<'_>) -> bool {
    let mut hook: Hook = subject.hook.clone();
    let Some(first) = hook.selectors.first_mut() else {
        return false;
    };
    first.actions.override_errno = Some(1);
    // it cannot be had at a tracepoint, which `choose` takes for granted
    !matches!(hook.target, Target::Tracepoint(..) | Target::RawTracepoint(..))
        && attach::choose(&hook, subject.facts).is_ok()
}
