//! The CEL rules of the resource definition, in Rust.
//!
//! `has(self.x)` there means that the key stands in the text, so these look at the text and not at the types.

use super::Checker;
use crate::code::codes;
use crate::path::FieldPath;
use crate::policy::PolicyKind;

pub(super) fn check(checker: &mut Checker<'_>) {
    let spec = FieldPath::root().key("spec");
    let policy = checker.spec();
    for (key, kprobes) in [("kprobes", &policy.kprobes), ("fentries", &policy.fentries)] {
        for (index, hook) in kprobes.iter().enumerate() {
            let path = spec.key(key).index(index);
            return_has_argument(checker, hook.has_return, hook.return_arg.is_some(), &path);
        }
    }
    for (index, hook) in policy.uprobes.iter().enumerate() {
        let path = spec.key("uprobes").index(index);
        return_has_argument(checker, hook.has_return, hook.return_arg.is_some(), &path);
        at_most_one(
            checker,
            &path,
            &["symbols", "offsets", "addrs"],
            codes::UPROBE_TARGETS,
            "a uprobe goes to symbols, offsets or addresses, not to several of them",
        );
    }
    host_selector(checker, &spec.key("hostSelector"));
    if checker.policy.kind == PolicyKind::Namespaced && checker.has_value(&spec.key("hostSelector")) {
        let path = spec.key("hostSelector");
        let key = checker.key_span(&path);
        let mut diagnostic = checker
            .error(
                codes::HOST_SELECTOR_NAMESPACED,
                &path,
                "a namespaced policy cannot have a `hostSelector`",
            )
            .label("not possible here")
            .help("remove it: processes of the host are in no Kubernetes namespace");
        diagnostic.primary.span = key;
        checker.report(diagnostic);
    }
}

/// Rules for actions, wherever they stand.
pub(super) fn action(checker: &mut Checker<'_>, path: &FieldPath) {
    at_most_one(
        checker,
        path,
        &["argNewSymbol", "argNewAddr", "argNewOffset"],
        codes::OVERRIDE_TARGETS,
        "the function to run instead is given more than once",
    );
}

/// `hostSelector` is `{}` or absent.
pub(super) fn host_selector(checker: &mut Checker<'_>, path: &FieldPath) {
    for key in ["matchLabels", "matchExpressions"] {
        let inner = path.key(key);
        if checker.has_value(&inner) {
            let mut diagnostic = checker
                .error(
                    codes::HOST_SELECTOR_LABELS,
                    &inner,
                    "`hostSelector` cannot select by labels: it is `{}` or absent",
                )
                .label("not possible here")
                .help("write `hostSelector: {}`; to select nodes, use `nodeSelector`");
            diagnostic.primary.span = checker.key_span(&inner);
            checker.report(diagnostic);
        }
    }
}

fn return_has_argument(checker: &mut Checker<'_>, has_return: bool, has_argument: bool, path: &FieldPath) {
    if !has_return || has_argument {
        return;
    }
    let diagnostic = checker
        .error(
            codes::RETURN_WITHOUT_ARGUMENT,
            &path.key("return"),
            "`return: true` needs `returnArg` to say how to read the value",
        )
        .label("the return value is asked for here")
        .help("add `returnArg: {index: 0, type: int}` with the type the function returns");
    checker.report(diagnostic);
}

fn at_most_one(checker: &mut Checker<'_>, path: &FieldPath, keys: &[&str], code: crate::code::Code, message: &str) {
    let present: Vec<FieldPath> = keys
        .iter()
        .map(|key| path.key(*key))
        .filter(|path| checker.has_value(path))
        .collect();
    let [first, second, ..] = present.as_slice() else {
        return;
    };
    let mut diagnostic = checker
        .error(code, second, message)
        .label("second time")
        .help("keep one of them");
    diagnostic.primary.span = checker.key_span(second);
    let diagnostic = diagnostic.secondary(checker.key_span(first), "first time");
    checker.report(diagnostic);
}
