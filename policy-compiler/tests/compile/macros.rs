//! `selectorsMacros`: a selector with macros is the selector with what they hold written out.

use policy_compiler::hir::{Actions, Predicate};
use policy_compiler::{PolicySet, hooks};
use tracingpolicy_crd::render;

use crate::facts::modern;
use crate::{compiled, policies, policy};

const HOOK: &str = "  kprobes:\n  - call: security_file_permission\n    syscall: false\n    args: [{index: 0, type: file}, {index: 1, type: int}]\n    \
                    return: true\n    returnArg: {index: 0, type: int}\n    selectors:\n";
const MACROS: &str = "  selectorsMacros:\n    writes:\n      matchArgs: [{index: 1, operator: Equal, values: [\"2\"]}]\n    \
                      stop:\n      matchActions: [{action: Sigkill}]\n    \
                      allowed:\n      matchReturnArgs: [{index: 0, operator: Equal, values: [\"0\"]}]\n    \
                      shells:\n      matchBinaries: [{operator: In, values: [/bin/sh]}]\n";

type Meaning = Vec<(Vec<Predicate>, Vec<Predicate>, Actions, Actions)>;

fn meaning(spec: &str) -> Meaning {
    let (hooks, diagnostics) = hooks(&PolicySet::from_policies(policies(&policy(spec))), &modern());
    assert!(diagnostics.is_empty(), "{}", render::full(&diagnostics, false));
    let selectors = hooks.into_iter().flat_map(|hook| hook.selectors);
    let predicates = |filters: Vec<policy_compiler::hir::Filter>| filters.into_iter().map(|f| f.predicate).collect();
    selectors
        .map(|s| {
            (
                predicates(s.filters),
                predicates(s.return_filters),
                s.actions,
                s.return_actions,
            )
        })
        .collect()
}

#[test]
fn macros_are_what_they_hold() {
    let short = format!(
        "{HOOK}    - macros: [writes, stop]\n    - matchBinaries: [{{operator: In, values: [/bin/cat]}}]\n      macros: [allowed]\n    \
         - macros: [shells]\n{MACROS}"
    );
    let long = format!(
        "{HOOK}    - matchArgs: [{{index: 1, operator: Equal, values: [\"2\"]}}]\n      matchActions: [{{action: Sigkill}}]\n    \
         - matchBinaries: [{{operator: In, values: [/bin/cat]}}]\n      \
         matchReturnArgs: [{{index: 0, operator: Equal, values: [\"0\"]}}]\n    \
         - matchBinaries: [{{operator: In, values: [/bin/sh]}}]\n"
    );
    assert_eq!(meaning(&short), meaning(&long));
    assert_eq!(meaning(&short)[0].2.signals, [9]);
}

#[test]
fn a_mistake_in_a_macro_is_shown_there_and_once() {
    let spec = format!(
        "{HOOK}    - macros: [wrong]\n    - macros: [wrong]\n  selectorsMacros:\n    wrong:\n      \
         matchActions: [{{action: GetUrl, argUrl: \"http://x\"}}]\n"
    );
    let compilation = compiled(&spec, &modern());
    let errors: Vec<String> = compilation
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .map(render::line)
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("policy.yaml:17:"), "{errors:?}");
}

#[test]
fn macros_that_no_selector_uses_do_nothing() {
    let with = format!("{HOOK}    - matchBinaries: [{{operator: In, values: [/bin/cat]}}]\n{MACROS}");
    let without = format!("{HOOK}    - matchBinaries: [{{operator: In, values: [/bin/cat]}}]\n");
    assert_eq!(
        compiled(&with, &modern()).objects[0].elf,
        compiled(&without, &modern()).objects[0].elf
    );
}
