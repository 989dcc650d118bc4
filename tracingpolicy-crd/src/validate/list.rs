//! Lists of functions, and enforcers, which act on some.

use std::collections::HashMap;

use super::hook::{is_symbol, syscall_name};
use super::{Checker, Section};
use crate::code::codes;
use crate::parse::suggest::closest;
use crate::path::FieldPath;
use crate::types::{Action, ListSpec, ListType};

/// Architectures a system call may be named with.
const ABIS: [&str; 4] = ["x64", "i386", "arm64", "arm32"];

pub(super) fn check(checker: &mut Checker<'_>) {
    let lists = &checker.policy.spec.lists;
    let mut names: HashMap<&str, FieldPath> = HashMap::new();
    for (index, list) in lists.iter().enumerate() {
        let path = FieldPath::root().key("spec").key("lists").index(index);
        if let Some(first) = names.get(list.name.as_str()) {
            let diagnostic = checker
                .error(
                    codes::LIST_DUPLICATE,
                    &path.key("name"),
                    format!("there are two lists `{}`", list.name),
                )
                .label("second time")
                .secondary(checker.span(first), "first time");
            checker.report(diagnostic);
        } else {
            names.insert(&list.name, path.key("name"));
        }
        check_list(checker, list, &path);
    }
    enforcers(checker);
}

fn check_list(checker: &mut Checker<'_>, list: &ListSpec, path: &FieldPath) {
    let ty = list.list_type;
    if list.validated {
        let diagnostic = checker
            .warning(codes::NO_EFFECT, &path.key("validated"), "`validated` has no effect")
            .help("remove it: it is not meant to be set");
        checker.report(diagnostic);
    }
    if ty.is_generated() && !list.values.is_empty() {
        let diagnostic = checker
            .error(
                codes::GENERATED_LIST_VALUES,
                &path.key("values"),
                format!("the list `{}` is generated and cannot have values", list.name),
            )
            .secondary(checker.span(&path.key("type")), "the values come from the kernel")
            .help("remove the values, or the type");
        checker.report(diagnostic);
    }
    if !ty.is_generated() && list.values.is_empty() {
        let diagnostic = checker
            .warning(
                codes::LIST_EMPTY,
                &path.key("name"),
                format!("the list `{}` has no values", list.name),
            )
            .help("add `values`, or a `type` that generates them");
        checker.report(diagnostic);
    }
    match (ty, &list.pattern) {
        (ListType::GeneratedFtrace, None) => {
            let diagnostic = checker
                .error(
                    codes::LIST_PATTERN,
                    &path.key("type"),
                    format!("the list `{}` needs a `pattern`", list.name),
                )
                .label("functions of such a list are chosen by a pattern")
                .help("add `pattern:` with a regular expression");
            checker.report(diagnostic);
        }
        (ListType::GeneratedFtrace, Some(pattern)) if pattern.is_empty() => {
            let diagnostic = checker.error(
                codes::LIST_PATTERN,
                &path.key("pattern"),
                format!("the pattern of the list `{}` is empty", list.name),
            );
            checker.report(diagnostic);
        }
        (ListType::GeneratedFtrace, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let diagnostic = checker
                .warning(codes::LIST_PATTERN, &path.key("pattern"), "the pattern has no effect")
                .label("only lists of type `generated_ftrace` have one");
            checker.report(diagnostic);
        }
    }
    for (index, value) in list.values.iter().enumerate() {
        let valid = if ty.is_syscalls() {
            is_syscall_value(value)
        } else {
            is_symbol(value)
        };
        if valid {
            continue;
        }
        let path = path.key("values").index(index);
        let expected = if ty.is_syscalls() {
            "expected a system call such as `sys_dup`"
        } else {
            "expected a kernel function"
        };
        let diagnostic = checker
            .error(
                codes::LIST_VALUE,
                &path,
                format!("`{value}` cannot be a value of this list"),
            )
            .label(expected);
        checker.report(diagnostic);
    }
}

/// `sys_dup`, `__x64_sys_dup`, or `i386/sys_dup`.
fn is_syscall_value(value: &str) -> bool {
    match value.split_once('/') {
        Some((abi, name)) => ABIS.contains(&abi) && is_symbol(name),
        None => is_symbol(value) && (syscall_name(value).is_some() || !value.starts_with("__")),
    }
}

/// Checks a reference to a list; `fits` says which types are possible, `purpose` what for.
pub(super) fn reference(
    checker: &mut Checker<'_>,
    name: &str,
    path: &FieldPath,
    fits: impl Fn(ListType) -> bool,
    purpose: &str,
) {
    let lists = &checker.policy.spec.lists;
    match lists.iter().position(|list| list.name == name) {
        None => {
            let mut diagnostic = checker
                .error(codes::LIST_UNKNOWN, path, format!("there is no list `{name}`"))
                .label("unknown list");
            diagnostic = match closest(name, lists.iter().map(|list| list.name.as_str())) {
                Some(name) => diagnostic.help(format!("did you mean `list:{name}`?")),
                None => diagnostic.help(format!("add a list with `name: {name}` to `spec.lists`")),
            };
            checker.report(diagnostic);
        }
        Some(index) if !fits(lists[index].list_type) => {
            let list = FieldPath::root().key("spec").key("lists").index(index);
            let diagnostic = checker
                .error(
                    codes::LIST_TYPE,
                    path,
                    format!("the list `{name}` is not of system calls, which {purpose}"),
                )
                .label("wrong type of list")
                .secondary(checker.span(&list.key("name")), "this list")
                .help("add `type: syscalls` to the list");
            checker.report(diagnostic);
        }
        Some(_) => {}
    }
}

fn enforcers(checker: &mut Checker<'_>) {
    let enforcers = &checker.policy.spec.enforcers;
    let root = FieldPath::root().key("spec").key("enforcers");
    if enforcers.len() > 1 {
        let diagnostic = checker
            .warning(
                codes::ENFORCER_COUNT,
                &root.index(1),
                "Tetragon takes policies with one enforcer only",
            )
            .label("second enforcer")
            .secondary(checker.first_line(checker.span(&root.index(0))), "first enforcer")
            .help("put all calls into one");
        checker.report(diagnostic);
    }
    for (position, enforcer) in enforcers.iter().enumerate() {
        for (index, call) in enforcer.calls.iter().enumerate() {
            let path = root.index(position).key("calls").index(index);
            if let Some(list) = call.strip_prefix("list:") {
                reference(checker, list, &path, |_| true, "");
            } else if !is_symbol(call) || (syscall_name(call).is_none() && !call.starts_with("security_")) {
                let diagnostic = checker
                    .error(
                        codes::ENFORCER_CALL,
                        &path,
                        format!("an enforcer cannot act on `{call}`"),
                    )
                    .label("expected a system call, a `security_` function or a list");
                checker.report(diagnostic);
            }
        }
    }
}

/// `NotifyEnforcer` needs somebody to notify.
pub(super) fn notify(checker: &mut Checker<'_>, action: Action, section: Section, path: &FieldPath) {
    let needs = matches!(action, Action::NotifyEnforcer | Action::CleanupEnforcerNotification);
    if needs && checker.spec().enforcers.is_empty() && section != Section::Lsm {
        let diagnostic = checker
            .error(codes::ENFORCER_MISSING, path, format!("`{action}` without an enforcer"))
            .label("nobody would act on it")
            .help("add `spec.enforcers` with the calls to act on");
        checker.report(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_syscall_lists() {
        for good in ["sys_dup", "__x64_sys_dup", "i386/dup", "x64/sys_dup", "dup"] {
            assert!(is_syscall_value(good), "{good}");
        }
        for bad in ["", "mips/sys_dup", "x64/", "__foo", "a b"] {
            assert!(!is_syscall_value(bad), "{bad}");
        }
    }
}
