//! Filters on the process: ids, binaries, namespaces, capabilities.

use super::Checker;
use crate::code::codes;
use crate::parse::suggest::{closest, list};
use crate::path::FieldPath;
use crate::types::{BinaryOperator, BinarySelector, CapabilitySelector, Namespace, Selector};
use crate::value;

/// Longest path the kernel knows (`PATH_MAX`).
pub(super) const MAX_PATH: usize = 4096;

pub(super) fn check(checker: &mut Checker<'_>, selector: &Selector, path: &FieldPath) {
    for (index, pids) in selector.match_pids.iter().enumerate() {
        let path = path.key("matchPIDs").index(index);
        if pids.values.is_empty() {
            no_values(checker, &path);
        }
    }
    for (key, binaries) in [
        ("matchBinaries", &selector.match_binaries),
        ("matchParentBinaries", &selector.match_parent_binaries),
    ] {
        for (index, binary) in binaries.iter().enumerate() {
            check_binary(checker, binary, &path.key(key).index(index));
        }
    }
    for (index, namespace) in selector.match_namespaces.iter().enumerate() {
        let path = path.key("matchNamespaces").index(index);
        if namespace.values.is_empty() {
            no_values(checker, &path);
        }
        for (index, text) in namespace.values.iter().enumerate() {
            let number = value::integer(text).filter(|number| (0..=i128::from(u32::MAX)).contains(number));
            if text != "host_ns" && number.is_none() {
                let mut diagnostic = checker
                    .error(
                        codes::VALUE_NAMESPACE,
                        &path.key("values").index(index),
                        format!("`{text}` is not a namespace"),
                    )
                    .label("expected the inode number of a namespace, or `host_ns`");
                if let Some(number) = text.split(['[', ']']).nth(1) {
                    diagnostic = diagnostic.help(format!("write the number alone: `\"{number}\"`"));
                }
                checker.report(diagnostic);
            }
        }
    }
    for (index, changes) in selector.match_namespace_changes.iter().enumerate() {
        let path = path.key("matchNamespaceChanges").index(index);
        if changes.values.is_empty() {
            no_values(checker, &path);
        }
        for (index, name) in changes.values.iter().enumerate() {
            let names = Namespace::NAMES.iter().map(|(name, _)| *name);
            if names.clone().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            let mut diagnostic = checker
                .error(
                    codes::VALUE_NAMESPACE,
                    &path.key("values").index(index),
                    format!("there is no kind of namespace `{name}`"),
                )
                .label("unknown namespace");
            diagnostic = match closest(name, names.clone()) {
                Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
                None => diagnostic.help(format!("possible are {}", list(names))),
            };
            checker.report(diagnostic);
        }
    }
    for (key, filters) in [
        ("matchCapabilities", &selector.match_capabilities),
        ("matchCapabilityChanges", &selector.match_capability_changes),
    ] {
        for (index, filter) in filters.iter().enumerate() {
            check_capabilities(checker, filter, &path.key(key).index(index));
        }
    }
}

/// Reports a filter that has no values although it cannot do without.
pub(super) fn no_values(checker: &mut Checker<'_>, path: &FieldPath) {
    let place = if checker.has(&path.key("values")) {
        path.key("values")
    } else {
        path.clone()
    };
    let diagnostic = checker
        .error(codes::FILTER_VALUES, &place, "the filter has no values to compare with")
        .label("no values");
    checker.report(diagnostic);
}

fn check_binary(checker: &mut Checker<'_>, binary: &BinarySelector, path: &FieldPath) {
    if binary.values.is_empty() {
        let diagnostic = checker
            .warning(
                codes::FILTER_VALUES,
                &path.key("values"),
                "a filter on binaries without values is ignored",
            )
            .label("no values")
            .help("add paths, or remove the filter");
        checker.report(diagnostic);
    }
    let exact = matches!(binary.operator, BinaryOperator::In | BinaryOperator::NotIn);
    if binary.follow_children && !exact {
        let diagnostic = checker
            .error(
                codes::FOLLOW_CHILDREN,
                &path.key("followChildren"),
                format!("`followChildren` is not possible with `{}`", binary.operator),
            )
            .label("only with `In` and `NotIn`")
            .secondary(checker.span(&path.key("operator")), "operator");
        checker.report(diagnostic);
    }
    let from_root = exact || matches!(binary.operator, BinaryOperator::Prefix | BinaryOperator::NotPrefix);
    for (index, text) in binary.values.iter().enumerate() {
        let problem = if text.len() > MAX_PATH {
            "longer than any path"
        } else if text.contains('\0') {
            "no path holds NUL"
        } else if text.is_empty() {
            "empty"
        } else if from_root && !text.starts_with('/') {
            let path = path.key("values").index(index);
            let diagnostic = checker
                .warning(
                    codes::VALUE_BINARY,
                    &path,
                    format!("`{text}` is not the path of any binary"),
                )
                .label("paths of binaries start with `/`")
                .help(format!("write the whole path, or use `Postfix` with `/{text}`"));
            checker.report(diagnostic);
            continue;
        } else {
            continue;
        };
        let path = path.key("values").index(index);
        let diagnostic = checker
            .error(codes::VALUE_BINARY, &path, "this cannot be the path of a binary")
            .label(problem);
        checker.report(diagnostic);
    }
}

fn check_capabilities(checker: &mut Checker<'_>, filter: &CapabilitySelector, path: &FieldPath) {
    if filter.values.is_empty() {
        no_values(checker, path);
    }
    for (index, name) in filter.values.iter().enumerate() {
        if value::capability(name).is_some() {
            continue;
        }
        let mut diagnostic = checker
            .error(
                codes::VALUE_CAPABILITY,
                &path.key("values").index(index),
                format!("there is no capability `{name}`"),
            )
            .label("unknown capability");
        let prefixed = format!("CAP_{name}");
        if value::capability(&prefixed).is_some() {
            diagnostic = diagnostic.help(format!("write `{}`", prefixed.to_ascii_uppercase()));
        } else if let Some(name) = closest(name, value::CAPABILITIES.into_iter()) {
            diagnostic = diagnostic.help(format!("did you mean `{name}`?"));
        }
        checker.report(diagnostic);
    }
}
