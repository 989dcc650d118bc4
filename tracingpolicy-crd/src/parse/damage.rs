//! Judging what is left of a policy with errors in its shape.
//!
//! Values that could not be read have placeholders. Rules are checked all the same, so that one typing error does not hide the
//! others, but what they find counts only in hooks whose shape is right: elsewhere it may be about a placeholder.

use super::node::{Node, NodeKind};
use super::sink::Sink;
use super::suggest::closest;
use crate::code::{Code, codes};
use crate::policy::Policy;
use crate::source::Span;

/// Lists of hooks: errors in one hook say nothing about another.
const SECTIONS: [&str; 6] = ["kprobes", "fentries", "tracepoints", "uprobes", "usdts", "lsmhooks"];

/// Keys of `spec` that hooks refer to.
const SHARED: [&str; 3] = ["lists", "enforcers", "selectorsMacros"];

/// What the rules found, without what the errors of `errors` may have caused.
pub(super) fn judge(policy: &Policy, errors: &[(Code, Span)], mut found: Sink) -> Sink {
    let root = &*policy.spans.0;
    let spec = root.entry("spec").map(|entry| &*entry.value);
    let hooks: Vec<Span> = spec.map(hook_spans).unwrap_or_default();
    let in_hook = |error: Span| hooks.iter().any(|hook| touches(*hook, error));
    let in_spec: Vec<Span> = errors
        .iter()
        .filter(|(_, error)| spec.is_some_and(|spec| touches(spec.span, *error)))
        // a key of `spec` that nobody knows leaves everything else as it was, unless it is one that hooks refer to
        .filter(|(code, error)| {
            let key = policy.source.slice(*error);
            *code != codes::UNKNOWN_KEY || in_hook(*error) || closest(key, SHARED.into_iter()).is_some()
        })
        .map(|(_, error)| *error)
        .collect();
    let all_in_hooks = in_spec.iter().all(|error| in_hook(*error));
    let damaged = |span: Span| {
        hooks
            .iter()
            .any(|hook| touches(*hook, span) && in_spec.iter().any(|error| touches(*hook, *error)))
    };
    found.retain(|diagnostic| {
        all_in_hooks && !damaged(diagnostic.primary.span) && (errors.is_empty() || diagnostic.code != codes::NO_HOOKS)
    });
    found
}

fn touches(outer: Span, inner: Span) -> bool {
    outer.start <= inner.start && inner.start <= outer.end
}

fn hook_spans(spec: &Node) -> Vec<Span> {
    SECTIONS
        .iter()
        .filter_map(|key| spec.entry(key))
        .filter_map(|entry| match &entry.value.kind {
            NodeKind::Sequence(items) => Some(items),
            _ => None,
        })
        .flatten()
        .map(|item| item.span)
        .collect()
}
