//! `selectorsMacros` and their use.

use super::{Checker, Hook};
use crate::code::codes;
use crate::parse::suggest::closest;
use crate::path::FieldPath;
use crate::types::{Selector, Spec};

/// The filters and actions a selector defines, by key.
fn defined(selector: &Selector) -> Vec<&'static str> {
    [
        ("matchPIDs", selector.match_pids.is_empty()),
        ("matchArgs", selector.match_args.is_empty()),
        ("matchData", selector.match_data.is_empty()),
        ("matchActions", selector.match_actions.is_empty()),
        ("matchReturnArgs", selector.match_return_args.is_empty()),
        ("matchReturnActions", selector.match_return_actions.is_empty()),
        ("matchBinaries", selector.match_binaries.is_empty()),
        ("matchParentBinaries", selector.match_parent_binaries.is_empty()),
        ("matchNamespaces", selector.match_namespaces.is_empty()),
        ("matchNamespaceChanges", selector.match_namespace_changes.is_empty()),
        ("matchCapabilities", selector.match_capabilities.is_empty()),
        ("matchCapabilityChanges", selector.match_capability_changes.is_empty()),
        ("matchWorkloads", selector.match_workloads.is_empty()),
    ]
    .into_iter()
    .filter(|(_, empty)| !empty)
    .map(|(key, _)| key)
    .collect()
}

/// Macros by themselves.
pub(super) fn check(checker: &mut Checker<'_>) {
    let macros = &checker.policy.spec.selectors_macros;
    for (name, selector) in macros {
        if !selector.macros.is_empty() {
            let diagnostic = checker
                .error(
                    codes::MACRO_NESTED,
                    &Spec::macro_path(name).key("macros"),
                    format!("the macro `{name}` uses macros, which is not possible"),
                )
                .help("write out what they hold");
            checker.report(diagnostic);
        }
    }
}

/// The use of macros in a selector.
pub(super) fn check_use(checker: &mut Checker<'_>, hook: &Hook<'_>, index: usize) {
    let selector = &hook.selectors[index];
    let selector_path = hook.path.key("selectors").index(index);
    let macros = &checker.policy.spec.selectors_macros;
    // where each key was first defined
    let mut owners: Vec<(&'static str, FieldPath)> = defined(selector)
        .into_iter()
        .map(|key| (key, selector_path.key(key)))
        .collect();
    for (position, name) in selector.macros.iter().enumerate() {
        let path = selector_path.key("macros").index(position);
        let Some(definition) = macros.get(name) else {
            let mut diagnostic = checker
                .error(codes::MACRO_UNKNOWN, &path, format!("there is no macro `{name}`"))
                .label("unknown macro");
            diagnostic = match closest(name, macros.keys().map(String::as_str)) {
                Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
                None => diagnostic.help("define it under `spec.selectorsMacros`"),
            };
            checker.report(diagnostic);
            continue;
        };
        for key in defined(definition) {
            let here = Spec::macro_path(name).key(key);
            match owners.iter().find(|(owned, _)| *owned == key) {
                Some((_, first)) => {
                    let diagnostic = checker
                        .error(
                            codes::MACRO_CONFLICT,
                            &path,
                            format!("the macro `{name}` defines `{key}` a second time"),
                        )
                        .label("used here")
                        .secondary(checker.key_span(first), "first definition")
                        .secondary(checker.key_span(&here), "second definition")
                        .help(format!("keep one `{key}`"));
                    checker.report(diagnostic);
                }
                None => owners.push((key, here)),
            }
        }
    }
}
