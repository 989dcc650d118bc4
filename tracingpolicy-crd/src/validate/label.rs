//! Selectors of pods, containers, hosts and nodes.

use super::{Checker, names, rules};
use crate::code::codes;
use crate::path::FieldPath;
use crate::types::{LabelOperator, LabelSelector, WorkloadSelector};

/// What containers have instead of labels.
const CONTAINER_FIELDS: [&str; 2] = ["name", "repo"];

pub(super) fn check(checker: &mut Checker<'_>) {
    let spec = checker.spec();
    let root = FieldPath::root().key("spec");
    for (key, selector) in [
        ("podSelector", &spec.pod_selector),
        ("nodeSelector", &spec.node_selector),
    ] {
        if let Some(selector) = selector {
            check_labels(checker, selector, &root.key(key), false);
        }
    }
    if let Some(selector) = &spec.container_selector {
        check_labels(checker, selector, &root.key("containerSelector"), true);
    }
}

/// Checks an entry of `matchWorkloads`.
pub(super) fn workload(checker: &mut Checker<'_>, selector: &WorkloadSelector, path: &FieldPath) {
    if let Some(pods) = &selector.pod_selector {
        check_labels(checker, pods, &path.key("podSelector"), false);
    }
    if let Some(containers) = &selector.container_selector {
        check_labels(checker, containers, &path.key("containerSelector"), true);
    }
    rules::host_selector(checker, &path.key("hostSelector"));
}

fn check_labels(checker: &mut Checker<'_>, selector: &LabelSelector, path: &FieldPath, container: bool) {
    for (key, value) in &selector.match_labels {
        let path = path.key("matchLabels").key(key);
        check_key(checker, key, &path, container, true);
        if !container && !names::is_label_value(value) {
            let diagnostic = checker
                .error(
                    codes::LABEL_SELECTOR,
                    &path,
                    format!("`{value}` cannot be the value of a label"),
                )
                .label("up to 63 letters, digits, `-`, `_` and `.`");
            checker.report(diagnostic);
        }
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = path.key("matchExpressions").index(index);
        check_key(checker, &requirement.key, &path.key("key"), container, false);
        let needs_values = matches!(requirement.operator, LabelOperator::In | LabelOperator::NotIn);
        if needs_values == requirement.values.is_empty() {
            let operator = requirement.operator;
            let (place, message) = if needs_values {
                (path.key("operator"), format!("`{operator}` needs values"))
            } else {
                (path.key("values"), format!("`{operator}` takes no values"))
            };
            let diagnostic = checker.error(codes::LABEL_SELECTOR, &place, message);
            checker.report(diagnostic);
        }
        for (index, value) in requirement.values.iter().enumerate() {
            if !container && !names::is_label_value(value) {
                let diagnostic = checker
                    .error(
                        codes::LABEL_SELECTOR,
                        &path.key("values").index(index),
                        format!("`{value}` cannot be the value of a label"),
                    )
                    .label("up to 63 letters, digits, `-`, `_` and `.`");
                checker.report(diagnostic);
            }
        }
    }
}

fn check_key(checker: &mut Checker<'_>, key: &str, path: &FieldPath, container: bool, at_key: bool) {
    let mut diagnostic = if container && !CONTAINER_FIELDS.contains(&key) {
        checker
            .warning(codes::LABEL_SELECTOR, path, format!("containers have no `{key}`"))
            .label("expected `name` or `repo`")
    } else if !container && !names::is_label_key(key.strip_prefix("k8s:").unwrap_or(key)) {
        checker
            .error(
                codes::LABEL_SELECTOR,
                path,
                format!("`{key}` cannot be the key of a label"),
            )
            .label("expected a name, perhaps after a domain and a slash")
    } else {
        return;
    };
    if at_key {
        diagnostic.primary.span = checker.key_span(path);
    }
    checker.report(diagnostic);
}
