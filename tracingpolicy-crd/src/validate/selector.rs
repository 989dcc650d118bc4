//! Selectors of a hook, with the macros they use.

use super::{Checker, Hook, action, filter, label, macros, process};
use crate::code::codes;
use crate::path::FieldPath;
use crate::types::{Selector, Spec};

pub(super) fn check(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    for index in 0..hook.selectors.len() {
        macros::check_use(checker, hook, index);
        let selector = &hook.selectors[index];
        check_selector(checker, hook, selector, &hook.path.key("selectors").index(index));
        for name in &selector.macros {
            if let Some(definition) = checker.policy.spec.selectors_macros.get(name) {
                check_selector(checker, hook, definition, &Spec::macro_path(name));
            }
        }
    }
    unreachable_selectors(checker, hook);
}

fn check_selector(checker: &mut Checker<'_>, hook: &Hook<'_>, selector: &Selector, path: &FieldPath) {
    process::check(checker, selector, path);
    for (index, workload) in selector.match_workloads.iter().enumerate() {
        label::workload(checker, workload, &path.key("matchWorkloads").index(index));
    }
    filter::check(checker, hook, selector, path);
    action::check(checker, hook, &selector.match_actions, &path.key("matchActions"), false);
    action::check(
        checker,
        hook,
        &selector.match_return_actions,
        &path.key("matchReturnActions"),
        true,
    );
}

/// Selectors are tried in order: what follows one without filters is never tried.
fn unreachable_selectors(checker: &mut Checker<'_>, hook: &Hook<'_>) {
    let Some(first) = hook.selectors.iter().position(matches_everything) else {
        return;
    };
    if first + 1 >= hook.selectors.len() {
        return;
    }
    let root = hook.path.key("selectors");
    let diagnostic = checker
        .warning(
            codes::SELECTOR_UNREACHABLE,
            &root.index(first + 1),
            "this selector is never tried",
        )
        .label("never tried")
        .secondary(
            checker.first_line(checker.span(&root.index(first))),
            "this one has no filters and matches every call",
        )
        .help("put the selector without filters last");
    checker.report(diagnostic);
}

fn matches_everything(selector: &Selector) -> bool {
    selector.match_pids.is_empty()
        && selector.match_args.is_empty()
        && selector.match_data.is_empty()
        && selector.match_binaries.is_empty()
        && selector.match_parent_binaries.is_empty()
        && selector.match_namespaces.is_empty()
        && selector.match_namespace_changes.is_empty()
        && selector.match_capabilities.is_empty()
        && selector.match_capability_changes.is_empty()
        && selector.match_workloads.is_empty()
        && selector.macros.is_empty()
}
