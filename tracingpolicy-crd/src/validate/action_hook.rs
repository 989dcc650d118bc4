//! Which actions are possible at which kind of hook.

use super::{Checker, Hook, Section};
use crate::code::codes;
use crate::path::FieldPath;
use crate::types::{Action, ActionSelector};

/// LSM hooks at which the integrity subsystem has hashed the file.
const IMA_HOOKS: [&str; 11] = [
    "bprm_check_security",
    "bprm_committed_creds",
    "bprm_committing_creds",
    "bprm_creds_for_exec",
    "bprm_creds_from_file",
    "file_ioctl",
    "file_lock",
    "file_open",
    "file_post_open",
    "file_receive",
    "mmap_file",
];

/// Reports an action that the hook cannot do.
pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>, action: Action, path: &FieldPath, on_return: bool) {
    let place = path.key("action");
    let (section, name) = (hook.section, hook.section.describe());
    let reason = match (action, section) {
        (Action::Post | Action::NoPost | Action::Sigkill | Action::Signal, _) => None,
        (Action::Override, _) if on_return => Some("the function has run already"),
        (Action::Override, Section::Kprobe | Section::Fentry | Section::Lsm | Section::Uprobe) => None,
        (Action::Override, _) => Some("there is no function to override"),
        (
            Action::GetUrl | Action::DnsLookup | Action::TrackSock | Action::UntrackSock,
            Section::Kprobe | Section::Fentry | Section::Tracepoint { .. },
        ) => None,
        (Action::TrackSock | Action::UntrackSock, _) => Some("only kprobes and tracepoints see sockets"),
        (Action::GetUrl | Action::DnsLookup, _) => Some("only kprobes and tracepoints can do this"),
        (
            Action::NotifyEnforcer | Action::CleanupEnforcerNotification,
            Section::Kprobe | Section::Fentry | Section::Tracepoint { .. },
        ) => None,
        (Action::NotifyEnforcer | Action::CleanupEnforcerNotification, _) => {
            Some("only kprobes and tracepoints notify enforcers")
        }
        (Action::Set, Section::Usdt) => None,
        (Action::Set, _) => Some("only arguments of USDT probes can be written"),
    };
    if let Some(reason) = reason {
        let message = if on_return && action == Action::Override {
            format!("`{action}` is not possible when the function returns")
        } else {
            format!("`{action}` is not possible at {name}")
        };
        let diagnostic = checker.error(codes::ACTION_HOOK, &place, message).label(reason);
        checker.report(diagnostic);
    }
}

/// Parameters of `Post` that not every hook can have.
pub(super) fn post_parameters(checker: &mut Checker<'_>, hook: &Hook<'_>, action: &ActionSelector, path: &FieldPath) {
    for (key, given) in [
        ("kernelStackTrace", action.kernel_stack_trace),
        ("userStackTrace", action.user_stack_trace),
    ] {
        if given && hook.section == Section::Lsm {
            let diagnostic = checker
                .error(
                    codes::ACTION_HOOK,
                    &path.key(key),
                    "stack traces are not possible at an LSM hook",
                )
                .label("not possible here")
                .help("hook the function `security_…` with a kprobe instead");
            checker.report(diagnostic);
        }
    }
    if !action.ima_hash {
        return;
    }
    let name = hook.names.first().map_or("", |(_, name)| name);
    if hook.section != Section::Lsm || !IMA_HOOKS.contains(&name) {
        let diagnostic = checker
            .error(
                codes::IMA_HASH,
                &path.key("imaHash"),
                "there is no hash of a file at this hook",
            )
            .label("not possible here")
            .help(format!(
                "hashes are known at the LSM hooks {}",
                crate::parse::suggest::list(IMA_HOOKS.into_iter())
            ));
        checker.report(diagnostic);
    }
}
