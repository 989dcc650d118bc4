//! A policy that was read without errors, and where in the text its parts stand.

use std::fmt;
use std::sync::Arc;

use crate::parse::node::{Node, NodeKind};
use crate::path::{FieldPath, Step};
use crate::source::{Position, Source, Span};
use crate::types::Spec;

/// The two kinds of policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PolicyKind {
    /// `TracingPolicy`: for the whole cluster or machine.
    Cluster,
    /// `TracingPolicyNamespaced`: for the pods of one Kubernetes namespace.
    Namespaced,
}

impl PolicyKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Namespaced];

    /// The name as in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "TracingPolicy",
            Self::Namespaced => "TracingPolicyNamespaced",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A policy without errors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Cluster-wide or namespaced.
    pub kind: PolicyKind,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; present exactly if the kind is namespaced.
    pub namespace: Option<String>,
    /// What it says, with the defaults filled in.
    pub spec: Spec,
    /// The text it stands in.
    pub source: Source,
    /// Which document of the source it is, from 0.
    pub document: usize,
    /// Where its parts stand.
    pub spans: SpanTree,
}

impl Policy {
    /// Where the value at `path` stands, or the nearest thing around it that exists (for a default, say).
    pub fn span(&self, path: &FieldPath) -> Span {
        self.spans.span(path)
    }

    /// The line where `span` starts, without its line break.
    pub fn line_text(&self, span: Span) -> &str {
        self.source.line_text(span)
    }

    /// Line and column where `span` starts.
    pub fn position(&self, span: Span) -> Position {
        self.source.position(span.start)
    }
}

/// Where each key and value of a document stands. Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct SpanTree(pub(crate) Arc<Node>);

impl SpanTree {
    /// The span of the value at `path`, or of its nearest ancestor that exists.
    ///
    /// Keys are found as [`crate::parse()`] found them: exactly or else in any case.
    pub fn span(&self, path: &FieldPath) -> Span {
        self.walk(path).0.span
    }

    /// The span of the key under which the value at `path` stands; of the value itself for elements of sequences.
    pub fn key_span(&self, path: &FieldPath) -> Span {
        self.walk(path).1
    }

    /// Whether something stands at `path`.
    pub fn contains(&self, path: &FieldPath) -> bool {
        self.walk(path).2
    }

    /// Whether something other than null stands at `path`.
    pub fn has_value(&self, path: &FieldPath) -> bool {
        let (node, _, found) = self.walk(path);
        found && !node.is_null()
    }

    fn walk(&self, path: &FieldPath) -> (&Node, Span, bool) {
        let mut node = &self.0;
        let mut key_span = node.span;
        for step in path.steps() {
            let (child, key) = match (step, &node.kind) {
                (Step::Key(name), NodeKind::Mapping(_)) => match node.entry(name) {
                    Some(entry) => (&entry.value, entry.key_span),
                    None => return (node, key_span, false),
                },
                (Step::Index(index), NodeKind::Sequence(items)) => match items.get(*index) {
                    Some(item) => (item, item.span),
                    None => return (node, key_span, false),
                },
                _ => return (node, key_span, false),
            };
            node = child;
            key_span = key;
        }
        (node, key_span, true)
    }
}

impl fmt::Debug for SpanTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanTree({:?})", self.0.span)
    }
}
