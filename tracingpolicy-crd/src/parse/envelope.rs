//! The envelope of a policy: `apiVersion`, `kind`, `metadata`.

use std::sync::Arc;

use super::decode::{Decoder, Language};
use super::node::{Entry, Node, NodeKind};
use super::reader::Document;
use super::sink::Sink;
use super::suggest::closest;
use crate::code::codes;
use crate::diagnostic::Diagnostic;
use crate::policy::{Policy, PolicyKind, SpanTree};
use crate::schema::{GROUP, VERSION};
use crate::source::{Source, Span};
use crate::types::Spec;
use crate::validate::names;

const TOP_KEYS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// Keys of Kubernetes' object metadata. What is not read here is left to the API server that wrote it.
const METADATA_KEYS: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
];

/// Reads a document as a policy, as far as it is one. What is wrong was reported; the policy is of use only if nothing was.
pub(super) fn decode(source: &Source, document: &Document, sink: &mut Sink) -> Option<Policy> {
    let root = &document.root;
    let mut decoder = Decoder { source, sink };
    let NodeKind::Mapping(entries) = &root.kind else {
        not_a_policy(&mut decoder, root, root.describe());
        return None;
    };
    let get = |key: &str| root.entry(key).filter(|entry| !entry.value.is_null());
    if get("apiVersion").is_none() && get("kind").is_none() {
        let what = if get("services").is_some() {
            "a Docker Compose file"
        } else if get("kprobes").is_some() || get("tracepoints").is_some() || get("lsmhooks").is_some() {
            "the inside of a policy's `spec`"
        } else {
            "a mapping without `apiVersion` and `kind`"
        };
        not_a_policy(&mut decoder, root, what);
        return None;
    }

    let kind = kind(&mut decoder, root, get("kind"), get("apiVersion"))?;
    api_version(&mut decoder, root, get("apiVersion"));
    for entry in entries {
        if TOP_KEYS.contains(&entry.key.as_str()) {
            continue;
        }
        match TOP_KEYS.iter().find(|key| key.eq_ignore_ascii_case(&entry.key)) {
            Some(key) => wrong_case(&mut decoder, entry, key),
            None if METADATA_KEYS.contains(&entry.key.as_str()) => misplaced(&mut decoder, entry),
            None => decoder.unknown_key(entry, TOP_KEYS.into_iter()),
        }
    }
    let metadata = metadata(&mut decoder, root, get("metadata"), kind);
    let spec = match get("spec") {
        Some(entry) => Spec::decode(&entry.value, &mut decoder),
        None => {
            let diagnostic = Diagnostic::error(
                codes::SPEC_MISSING,
                source,
                head(source, root),
                "the policy has no `spec`",
            )
            .label("in this document")
            .help("add `spec:` with the hooks of the policy");
            decoder.report(diagnostic);
            None
        }
    };
    let (name, namespace) = metadata;
    Some(Policy {
        kind,
        name,
        namespace,
        spec: spec?,
        source: source.clone(),
        document: document.index,
        spans: SpanTree(Arc::clone(root)),
    })
}

/// The first line of a node.
fn head(source: &Source, node: &Node) -> Span {
    let end = node.span.end.min(source.line_end(node.span.start)).max(node.span.start);
    let text = source.slice(Span::new(node.span.start, end));
    Span::new(node.span.start, node.span.start + text.trim_end().len())
}

fn not_a_policy(decoder: &mut Decoder<'_>, root: &Node, what: &str) {
    let diagnostic = Diagnostic::error(
        codes::NOT_A_POLICY,
        decoder.source,
        head(decoder.source, root),
        format!("this is not a policy but {what}"),
    )
    .label("expected `apiVersion`, `kind`, `metadata` and `spec`")
    .help(format!(
        "a policy starts with `apiVersion: {GROUP}/{VERSION}` and `kind: TracingPolicy`"
    ));
    decoder.report(diagnostic);
}

/// Reports a key of `metadata` that stands beside it.
fn misplaced(decoder: &mut Decoder<'_>, entry: &Entry) {
    let diagnostic = Diagnostic::error(
        codes::UNKNOWN_KEY,
        decoder.source,
        entry.key_span,
        format!("there is no key `{}` here", entry.key),
    )
    .label("belongs to `metadata`")
    .help("indent it under `metadata:`");
    decoder.report(diagnostic);
}

fn wrong_case(decoder: &mut Decoder<'_>, entry: &Entry, key: &str) {
    let diagnostic = Diagnostic::warning(
        codes::KEY_CASE,
        decoder.source,
        entry.key_span,
        format!("the key `{}` is written `{key}`", entry.key),
    )
    .label("wrong case")
    .help(format!(
        "write `{key}`: Kubernetes refuses this key, only files may have it"
    ));
    decoder.report(diagnostic);
}

fn api_version(decoder: &mut Decoder<'_>, root: &Node, entry: Option<&Entry>) {
    let expected = format!("{GROUP}/{VERSION}");
    let Some(entry) = entry else {
        let diagnostic = Diagnostic::error(
            codes::API_VERSION,
            decoder.source,
            head(decoder.source, root),
            "the key `apiVersion` is missing",
        )
        .help(format!("add `apiVersion: {expected}`"));
        decoder.report(diagnostic);
        return;
    };
    let Some(version) = String::decode(&entry.value, decoder) else {
        return;
    };
    if version != expected {
        let diagnostic = Diagnostic::error(
            codes::API_VERSION,
            decoder.source,
            entry.value.span,
            format!("policies of the version `{version}` are not known"),
        )
        .label(format!("expected `{expected}`"))
        .help(format!("write `apiVersion: {expected}`"));
        decoder.report(diagnostic);
    }
}

fn kind(decoder: &mut Decoder<'_>, root: &Node, entry: Option<&Entry>, version: Option<&Entry>) -> Option<PolicyKind> {
    let names = PolicyKind::ALL.map(PolicyKind::as_str);
    let Some(entry) = entry else {
        let diagnostic = Diagnostic::error(
            codes::KIND,
            decoder.source,
            head(decoder.source, root),
            "the key `kind` is missing",
        )
        .help("add `kind: TracingPolicy`");
        decoder.report(diagnostic);
        return None;
    };
    let name = String::decode(&entry.value, decoder)?;
    if let Some(kind) = PolicyKind::from_name(&name) {
        return Some(kind);
    }
    let foreign = version
        .and_then(|entry| entry.value.as_str())
        .is_some_and(|version| !version.starts_with(GROUP));
    let suggestion = closest(&name, names.into_iter()).filter(|_| !foreign);
    let diagnostic = match suggestion {
        Some(suggestion) => Diagnostic::error(
            codes::KIND,
            decoder.source,
            entry.value.span,
            format!("there is no kind of policy `{name}`"),
        )
        .label("unknown kind")
        .help(format!("did you mean `{suggestion}`?")),
        None => Diagnostic::error(
            codes::NOT_A_POLICY,
            decoder.source,
            entry.value.span,
            format!("this is not a policy but an object of kind `{name}`"),
        )
        .label("not a kind of policy")
        .help("the kinds of policy are `TracingPolicy` and `TracingPolicyNamespaced`"),
    };
    decoder.report(diagnostic);
    None
}

fn metadata(
    decoder: &mut Decoder<'_>,
    root: &Node,
    entry: Option<&Entry>,
    kind: PolicyKind,
) -> (String, Option<String>) {
    let nameless = (String::new(), None);
    let Some(entry) = entry else {
        let diagnostic = Diagnostic::error(
            codes::NAME_MISSING,
            decoder.source,
            head(decoder.source, root),
            "the policy has no name: `metadata.name` is missing",
        )
        .label("in this document")
        .help("add `metadata: {name: my-policy}`");
        decoder.report(diagnostic);
        return nameless;
    };
    let NodeKind::Mapping(entries) = &entry.value.kind else {
        decoder.wrong_type(&entry.value, "a mapping");
        return nameless;
    };
    for inner in entries {
        if METADATA_KEYS.contains(&inner.key.as_str()) {
            continue;
        }
        match METADATA_KEYS.iter().find(|key| key.eq_ignore_ascii_case(&inner.key)) {
            Some(key) => wrong_case(decoder, inner, key),
            None => decoder.unknown_key(inner, METADATA_KEYS.into_iter()),
        }
    }
    for key in ["labels", "annotations"] {
        if let Some(map) = entry.value.entry(key).filter(|map| !map.value.is_null()) {
            names::check_metadata_map(decoder, map, key);
        }
    }

    let get = |key: &str| entry.value.entry(key).filter(|inner| !inner.value.is_null());
    let name = match get("name") {
        Some(name) => {
            let text = String::decode(&name.value, decoder);
            if let Some(text) = &text {
                names::check_object_name(decoder, text, name.value.span);
            }
            text
        }
        None => {
            let diagnostic = Diagnostic::error(
                codes::NAME_MISSING,
                decoder.source,
                entry.key_span,
                "the policy has no name: `metadata.name` is missing",
            )
            .label("no `name` in here")
            .help("add `name: my-policy` under `metadata`");
            decoder.report(diagnostic);
            None
        }
    };
    let namespace = match (get("namespace"), kind) {
        (Some(inner), PolicyKind::Namespaced) => {
            let text = String::decode(&inner.value, decoder);
            if let Some(text) = &text {
                names::check_namespace_name(decoder, text, inner.value.span);
            }
            text
        }
        (None, PolicyKind::Cluster) => None,
        (None, PolicyKind::Namespaced) => {
            let kind_span = root.entry("kind").map_or(entry.key_span, |kind| kind.value.span);
            let diagnostic = Diagnostic::error(
                codes::NAMESPACE_MISSING,
                decoder.source,
                entry.key_span,
                "a namespaced policy needs a namespace: `metadata.namespace` is missing",
            )
            .label("no `namespace` in here")
            .secondary(kind_span, "this kind is for one namespace")
            .help("add `namespace: default` under `metadata`, or make it `kind: TracingPolicy`");
            decoder.report(diagnostic);
            None
        }
        (Some(inner), PolicyKind::Cluster) => {
            let kind_span = root.entry("kind").map_or(entry.key_span, |kind| kind.value.span);
            let diagnostic = Diagnostic::error(
                codes::NAMESPACE_FORBIDDEN,
                decoder.source,
                inner.value.span,
                "a `TracingPolicy` is for the whole cluster and has no namespace",
            )
            .label("not possible here")
            .secondary(kind_span, "this kind is for the whole cluster")
            .help("remove `namespace`, or make it `kind: TracingPolicyNamespaced`");
            decoder.report(diagnostic);
            None
        }
    };
    (name.unwrap_or_default(), namespace)
}
