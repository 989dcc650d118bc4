//! The tree of a document: every value and key with the bytes it stands in.

use std::sync::Arc;

use super::scalar::Scalar;
use crate::source::Span;

/// A value. Aliases share the node of their anchor, so the tree is really a directed acyclic graph.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: NodeKind,
    /// Number of nodes in the tree below, this one included, with aliases expanded; long strings count as several.
    pub(crate) weight: u64,
}

// a policy read twice is equal to itself: no scalar holds NaN that is compared
impl Eq for Node {}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum NodeKind {
    Scalar(Scalar),
    Sequence(Vec<Arc<Node>>),
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Arc<Node>,
}

impl Node {
    /// The entry of a mapping under `key`, exactly or else in any case.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        let NodeKind::Mapping(entries) = &self.kind else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.key == key)
            .or_else(|| entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key)))
    }

    /// The string of a string scalar.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(Scalar::String(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Scalar(Scalar::Null))
    }

    /// What it is, for messages: `a list`.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            NodeKind::Scalar(scalar) => scalar.describe(),
            NodeKind::Sequence(_) => "a list",
            NodeKind::Mapping(_) => "a mapping",
        }
    }
}
