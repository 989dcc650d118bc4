//! Actions and their parameters.

use super::{Checker, Hook, Section, action_hook, argument, list, rules};
use crate::code::codes;
use crate::path::FieldPath;
use crate::types::{Action, ActionSelector, ArgType, RateLimitScope};
use crate::value;

/// Largest signal (`_NSIG`).
const MAX_SIGNAL: u32 = 64;
/// Largest error number that can be returned (`MAX_ERRNO`).
const MAX_ERRNO: i32 = 4095;

pub(super) fn check(
    checker: &mut Checker<'_>,
    hook: &Hook<'_>,
    actions: &[ActionSelector],
    path: &FieldPath,
    on_return: bool,
) {
    for (index, action) in actions.iter().enumerate() {
        let path = path.index(index);
        rules::action(checker, &path);
        action_hook::check(checker, hook, action.action, &path, on_return);
        list::notify(checker, action.action, hook.section, &path.key("action"));
        unused(checker, hook, action, &path);
        post(checker, hook, action, &path);
        match action.action {
            Action::Signal => signal(checker, action, &path),
            Action::Override => override_return(checker, hook, action, &path),
            Action::NotifyEnforcer => notify_enforcer(checker, action, &path),
            Action::GetUrl => needs_text(checker, &action.arg_url, &path, "argUrl", "the URL to fetch"),
            Action::DnsLookup => needs_text(
                checker,
                &action.arg_fqdn,
                &path,
                "argFqdn",
                "the domain name to look up",
            ),
            Action::TrackSock | Action::UntrackSock => socket(checker, hook, action, &path),
            Action::Set => set(checker, hook, action, &path),
            Action::Post | Action::Sigkill | Action::NoPost | Action::CleanupEnforcerNotification => {}
        }
    }
    conflicts(checker, actions, path);
}

/// Keys that belong to another action.
fn unused(checker: &mut Checker<'_>, hook: &Hook<'_>, action: &ActionSelector, path: &FieldPath) {
    use Action as A;
    let kind = action.action;
    let user_override = kind == A::Override && hook.section == Section::Uprobe;
    for (key, used, owner) in [
        ("argUrl", kind == A::GetUrl, "`GetUrl`"),
        ("argFqdn", kind == A::DnsLookup, "`DnsLookup`"),
        (
            "argError",
            matches!(kind, A::Override | A::NotifyEnforcer),
            "`Override` and `NotifyEnforcer`",
        ),
        (
            "argSig",
            matches!(kind, A::Signal | A::NotifyEnforcer),
            "`Signal` and `NotifyEnforcer`",
        ),
        (
            "argSock",
            matches!(kind, A::TrackSock | A::UntrackSock),
            "`TrackSock` and `UntrackSock`",
        ),
        ("argIndex", kind == A::Set, "`Set`"),
        ("argValue", kind == A::Set, "`Set`"),
        ("argRegs", user_override, "`Override` in uprobes"),
        ("argNewSymbol", user_override, "`Override` in uprobes"),
        ("argNewAddr", user_override, "`Override` in uprobes"),
        ("argNewOffset", user_override, "`Override` in uprobes"),
    ] {
        let place = path.key(key);
        if used || !checker.has_value(&place) {
            continue;
        }
        let mut diagnostic = checker
            .warning(
                codes::ACTION_ARGUMENT_UNUSED,
                &place,
                format!("`{key}` has no effect on `{kind}`"),
            )
            .label(format!("only used by {owner}"));
        diagnostic.primary.span = checker.key_span(&place);
        checker.report(diagnostic);
    }
}

/// Parameters of `Post`, which are an error elsewhere: the author wanted an event.
fn post(checker: &mut Checker<'_>, hook: &Hook<'_>, action: &ActionSelector, path: &FieldPath) {
    for (key, given) in [
        ("rateLimit", !action.rate_limit.is_empty()),
        ("rateLimitScope", !action.rate_limit_scope.is_empty()),
        ("kernelStackTrace", action.kernel_stack_trace),
        ("userStackTrace", action.user_stack_trace),
        ("imaHash", action.ima_hash),
    ] {
        if given && action.action != Action::Post {
            let mut diagnostic = checker
                .error(
                    codes::ACTION_ARGUMENT_UNUSED,
                    &path.key(key),
                    format!("`{key}` is possible with `Post` only"),
                )
                .label("not possible here")
                .secondary(checker.span(&path.key("action")), "with this action")
                .help(format!(
                    "move it to an action of its own: `- action: Post` with `{key}`"
                ));
            diagnostic.primary.span = checker.key_span(&path.key(key));
            checker.report(diagnostic);
        }
    }
    if !action.rate_limit.is_empty() && value::rate_limit(&action.rate_limit).is_none() {
        let diagnostic = checker
            .error(
                codes::RATE_LIMIT,
                &path.key("rateLimit"),
                format!("`{}` is not a time", action.rate_limit),
            )
            .label("expected a number of seconds, or a number with `s`, `m` or `h`")
            .help("for example `rateLimit: \"5m\"`");
        checker.report(diagnostic);
    }
    if !action.rate_limit_scope.is_empty() {
        let place = path.key("rateLimitScope");
        if !RateLimitScope::NAMES
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(&action.rate_limit_scope))
        {
            let diagnostic = checker
                .error(
                    codes::RATE_LIMIT,
                    &place,
                    format!("there is no scope `{}`", action.rate_limit_scope),
                )
                .label("expected `thread`, `process` or `global`");
            checker.report(diagnostic);
        } else if action.rate_limit.is_empty() {
            let diagnostic = checker
                .warning(
                    codes::RATE_LIMIT,
                    &place,
                    "`rateLimitScope` has no effect without `rateLimit`",
                )
                .label("not used");
            checker.report(diagnostic);
        }
    }
    if action.action == Action::Post {
        action_hook::post_parameters(checker, hook, action, path);
    }
}

fn missing(checker: &mut Checker<'_>, path: &FieldPath, action: Action, key: &str, what: &str, example: &str) {
    let diagnostic = checker
        .error(
            codes::ACTION_ARGUMENT_MISSING,
            &path.key("action"),
            format!("`{action}` needs {what}"),
        )
        .label(format!("no `{key}`"))
        .help(format!("add `{key}: {example}`"));
    checker.report(diagnostic);
}

fn needs_text(checker: &mut Checker<'_>, text: &str, path: &FieldPath, key: &str, what: &str) {
    if text.is_empty() {
        let action = if key == "argUrl" {
            Action::GetUrl
        } else {
            Action::DnsLookup
        };
        missing(checker, path, action, key, what, "…");
    }
}

fn signal(checker: &mut Checker<'_>, action: &ActionSelector, path: &FieldPath) {
    if checker.has_value(&path.key("argSig")) {
        signal_number(checker, action.arg_sig, path);
    } else {
        missing(checker, path, Action::Signal, "argSig", "the signal to send", "15");
    }
}

fn signal_number(checker: &mut Checker<'_>, number: u32, path: &FieldPath) {
    if !(1..=MAX_SIGNAL).contains(&number) {
        let diagnostic = checker
            .error(
                codes::ACTION_NUMBER,
                &path.key("argSig"),
                format!("there is no signal {number}"),
            )
            .label(format!("expected 1 to {MAX_SIGNAL}"));
        checker.report(diagnostic);
    }
}

fn notify_enforcer(checker: &mut Checker<'_>, action: &ActionSelector, path: &FieldPath) {
    let (error, sig) = (
        checker.has_value(&path.key("argError")),
        checker.has_value(&path.key("argSig")),
    );
    if !error && !sig {
        missing(
            checker,
            path,
            Action::NotifyEnforcer,
            "argError",
            "an error to return or a signal to send",
            "-1",
        );
    }
    // 0 says "no signal" here
    if sig && action.arg_sig != 0 {
        signal_number(checker, action.arg_sig, path);
    }
}

fn override_return(checker: &mut Checker<'_>, hook: &Hook<'_>, action: &ActionSelector, path: &FieldPath) {
    let place = path.key("argError");
    let user = hook.section == Section::Uprobe;
    let errno = (-MAX_ERRNO..=0).contains(&action.arg_error);
    if !user && !errno {
        let message = format!("{} is not an error number a kernel function returns", action.arg_error);
        let mut diagnostic = if hook.section == Section::Lsm {
            checker.error(codes::ACTION_NUMBER, &place, message)
        } else {
            checker.warning(codes::ACTION_NUMBER, &place, message)
        };
        diagnostic = diagnostic.label(format!("expected {} to 0", -MAX_ERRNO));
        if (1..=MAX_ERRNO).contains(&action.arg_error) {
            diagnostic = diagnostic.help(format!("errors are negative: `argError: -{}`", action.arg_error));
        }
        checker.report(diagnostic);
    }
    if !user && !checker.has_value(&place) {
        let diagnostic = checker
            .warning(
                codes::ACTION_ARGUMENT_MISSING,
                &path.key("action"),
                "`Override` without `argError` returns 0, as if all went well",
            )
            .label("no `argError`")
            .help("add `argError: -1` to make the function fail");
        checker.report(diagnostic);
    }
    if !user {
        return;
    }
    for (index, assignment) in action.arg_regs.iter().enumerate() {
        if !is_register_assignment(assignment) {
            let diagnostic = checker
                .error(
                    codes::ARG_REGS,
                    &path.key("argRegs").index(index),
                    format!("`{assignment}` does not say what to put into a register"),
                )
                .label("expected `rax=1`, `rax=%rbx`, `rax=8%rsp`, `rax=(%rsp)` or `rax=8(%rsp)`");
            checker.report(diagnostic);
        }
    }
}

/// `register=source`, the source being a constant, a register with or without an offset, or what is stored there.
fn is_register_assignment(text: &str) -> bool {
    let Some((register, source)) = text.split_once('=') else {
        return false;
    };
    if !argument::is_register(register.trim()) {
        return false;
    }
    let source = source.trim();
    if value::integer(source).is_some() {
        return true;
    }
    let Some((offset, rest)) = source.split_once(['%', '(']) else {
        return false;
    };
    let offset_fits = offset.is_empty() || value::integer(offset).is_some();
    let name = if source[offset.len()..].starts_with('(') {
        rest.strip_prefix('%').and_then(|rest| rest.strip_suffix(')'))
    } else {
        Some(rest)
    };
    offset_fits && name.is_some_and(argument::is_register)
}

fn socket(checker: &mut Checker<'_>, hook: &Hook<'_>, action: &ActionSelector, path: &FieldPath) {
    let place = if checker.has(&path.key("argSock")) {
        path.key("argSock")
    } else {
        path.key("action")
    };
    let Some(arg) = hook.args.get(action.arg_sock as usize) else {
        return no_argument(checker, action.action, action.arg_sock, hook, &place);
    };
    if !matches!(arg.arg_type, ArgType::Sock | ArgType::Socket | ArgType::Auto) {
        let ty = hook.path.key("args").index(action.arg_sock as usize).key("type");
        let diagnostic = checker
            .error(
                codes::ACTION_INDEX,
                &place,
                format!(
                    "`{}` needs a socket, the argument is of type `{}`",
                    action.action, arg.arg_type
                ),
            )
            .label("not a socket")
            .secondary(checker.span(&ty), "the argument has this type");
        checker.report(diagnostic);
    }
}

fn set(checker: &mut Checker<'_>, hook: &Hook<'_>, action: &ActionSelector, path: &FieldPath) {
    if !checker.has_value(&path.key("argValue")) {
        missing(checker, path, Action::Set, "argValue", "the value to write", "0");
    }
    if action.arg_index as usize >= hook.args.len() {
        let place = if checker.has(&path.key("argIndex")) {
            path.key("argIndex")
        } else {
            path.key("action")
        };
        no_argument(checker, action.action, action.arg_index, hook, &place);
    }
}

fn no_argument(checker: &mut Checker<'_>, action: Action, position: u32, hook: &Hook<'_>, place: &FieldPath) {
    let diagnostic = checker
        .error(
            codes::ACTION_INDEX,
            place,
            format!(
                "`{action}` refers to entry {position} of `args`, which has {}",
                hook.args.len()
            ),
        )
        .label("no such entry, counted from 0");
    checker.report(diagnostic);
}

fn conflicts(checker: &mut Checker<'_>, actions: &[ActionSelector], path: &FieldPath) {
    let position = |wanted: Action| actions.iter().position(|action| action.action == wanted);
    if let (Some(post), Some(no_post)) = (position(Action::Post), position(Action::NoPost)) {
        let diagnostic = checker
            .warning(
                codes::ACTION_CONFLICT,
                &path.index(post).key("action"),
                "`Post` has no effect beside `NoPost`",
            )
            .label("no event is sent")
            .secondary(checker.span(&path.index(no_post).key("action")), "because of this")
            .help("keep one of them");
        checker.report(diagnostic);
    }
    let mut overrides = actions
        .iter()
        .enumerate()
        .filter(|(_, action)| action.action == Action::Override);
    if let (Some((first, _)), Some((second, _))) = (overrides.next(), overrides.next()) {
        let diagnostic = checker
            .error(
                codes::ACTION_CONFLICT,
                &path.index(second).key("action"),
                "a selector can have one `Override` only",
            )
            .label("second time")
            .secondary(checker.span(&path.index(first).key("action")), "first time");
        checker.report(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_assignments() {
        for good in [
            "rax=1",
            "rax=-1",
            "rax=%rbx",
            "rip=(%rsp)",
            "rsp=8%rsp",
            "rdi=8(%rsp)",
            "eax=0x10",
            "rdi=-8(%rsp)",
        ] {
            assert!(is_register_assignment(good), "{good}");
        }
        for bad in [
            "",
            "rax",
            "rax=",
            "foo=1",
            "rax=%foo",
            "rax=(rsp)",
            "rax=(%rsp",
            "rax=x(%rsp)",
            "=1",
        ] {
            assert!(!is_register_assignment(bad), "{bad}");
        }
    }
}
