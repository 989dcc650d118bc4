//! What all hooks have: names, message, tags.

use super::{Checker, Hook, Section};
use crate::code::codes;
use crate::path::FieldPath;

/// Bytes of a message and of a tag that are kept.
const MAX_MESSAGE: usize = 256;
const MAX_TAG: usize = 128;

/// A policy should do something.
pub(super) fn check_any(checker: &mut Checker<'_>, hooks: &[Hook<'_>]) {
    if !hooks.is_empty() || checker.spec().loader {
        return;
    }
    let path = FieldPath::root().key("spec");
    let mut diagnostic = checker
        .warning(codes::NO_HOOKS, &path, "the policy hooks nothing: it has no effect")
        .label("no hooks in here")
        .help("add `kprobes`, `tracepoints`, `lsmhooks` or another list of hooks");
    diagnostic.primary.span = checker.key_span(&path);
    checker.report(diagnostic);
}

pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    message(checker, hook);
    tags(checker, hook);
    match hook.section {
        Section::Kprobe | Section::Fentry => call(checker, hook),
        Section::Tracepoint { .. } => tracepoint(checker, hook),
        Section::Lsm => lsm(checker, hook),
        // their names are those of files and user symbols
        Section::Uprobe | Section::Usdt => {}
    }
}

fn message(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    let path = hook.path.key("message");
    if hook.message.len() == 1 {
        let diagnostic = checker
            .error(codes::MESSAGE_SHORT, &path, "the message is too short")
            .label("at least 2 bytes")
            .help("write a message, or remove the key");
        checker.report(diagnostic);
    }
    if hook.message.len() > MAX_MESSAGE {
        let diagnostic = checker
            .warning(
                codes::MESSAGE_LONG,
                &path,
                format!(
                    "the message has {} bytes, only the first {MAX_MESSAGE} are sent",
                    hook.message.len()
                ),
            )
            .label("too long");
        checker.report(diagnostic);
    }
}

fn tags(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    for (index, tag) in hook.tags.iter().enumerate() {
        if tag.len() < 2 {
            let path = hook.path.key("tags").index(index);
            let diagnostic = checker
                .error(codes::TAG_SHORT, &path, format!("the tag `{tag}` is too short"))
                .label("at least 2 bytes");
            checker.report(diagnostic);
        } else if tag.len() > MAX_TAG {
            let path = hook.path.key("tags").index(index);
            let diagnostic = checker
                .warning(
                    codes::TAG_LONG,
                    &path,
                    format!("the tag has {} bytes, only the first {MAX_TAG} are sent", tag.len()),
                )
                .label("too long");
            checker.report(diagnostic);
        }
    }
}

/// Whether a text can be the name of a kernel function; compilers add suffixes with dots.
pub(super) fn is_symbol(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$'))
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit() && byte != b'.')
}

/// The name of a system call without the prefix its function has in the kernel: `__x64_sys_dup` and `sys_dup` are `dup`.
pub(super) fn syscall_name(call: &str) -> Option<&str> {
    [
        "__x64_sys_",
        "__arm64_sys_",
        "__ia32_sys_",
        "__ia32_compat_sys_",
        "__arm64_compat_sys_",
        "sys_",
        "compat_sys_",
    ]
    .into_iter()
    .find_map(|prefix| call.strip_prefix(prefix))
    .filter(|name| !name.is_empty())
}

fn call(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    let path = hook.path.key("call");
    let Some(&(_, call)) = hook.names.first() else { return };
    if let Some(list) = call.strip_prefix("list:") {
        super::list::reference(checker, list, &path, |_| true, "");
        return;
    }
    if !is_symbol(call) {
        let diagnostic = checker
            .error(
                codes::HOOK_NAME,
                &path,
                format!("`{call}` cannot be the name of a kernel function"),
            )
            .label("expected a function, or `list:` and the name of a list");
        checker.report(diagnostic);
        return;
    }
    if hook.syscall && syscall_name(call).is_none() {
        let diagnostic = checker
            .warning(
                codes::HOOK_NAME,
                &path,
                format!("`{call}` does not look like a system call"),
            )
            .label("taken for a system call, since `syscall` is true by default")
            .help("add `syscall: false` if it is another function of the kernel");
        checker.report(diagnostic);
    }
}

fn tracepoint(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    for &(key, name) in &hook.names {
        let valid = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if valid {
            continue;
        }
        let path = hook.path.key(key);
        let mut diagnostic = checker
            .error(
                codes::HOOK_NAME,
                &path,
                format!("`{name}` cannot be the {key} of a tracepoint"),
            )
            .label("expected letters, digits and `_`");
        if let Some((subsystem, event)) = name.split_once(['/', ':']) {
            diagnostic = diagnostic.help(format!("write `subsystem: {subsystem}` and `event: {event}`"));
        }
        checker.report(diagnostic);
    }
}

fn lsm(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    let path = hook.path.key("hook");
    let Some(&(_, name)) = hook.names.first() else { return };
    if !is_symbol(name) {
        let diagnostic = checker
            .error(
                codes::HOOK_NAME,
                &path,
                format!("`{name}` cannot be the name of an LSM hook"),
            )
            .label("expected a name such as `file_open`");
        checker.report(diagnostic);
        return;
    }
    for prefix in ["bpf_lsm_", "security_"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            let diagnostic = checker
                .error(
                    codes::HOOK_NAME,
                    &path,
                    format!("LSM hooks are named without `{prefix}`"),
                )
                .label("prefix not possible here")
                .help(format!("write `hook: {rest}`"));
            checker.report(diagnostic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_are_told_by_their_prefix() {
        assert_eq!(syscall_name("sys_dup"), Some("dup"));
        assert_eq!(syscall_name("__x64_sys_dup"), Some("dup"));
        assert_eq!(syscall_name("sys_"), None);
        assert_eq!(syscall_name("vfs_read"), None);
        assert!(is_symbol("tcp_rcv_established.isra.0"));
        assert!(!is_symbol("a b"));
        assert!(!is_symbol(""));
    }
}
