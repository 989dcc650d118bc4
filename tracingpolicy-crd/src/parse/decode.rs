//! Nodes to types: strict, and going on after every problem.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::node::{Entry, Node, NodeKind};
use super::scalar::Scalar;
use super::sink::Sink;
use super::suggest::{closest, list};
use crate::code::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::schema::Schema;
use crate::source::{Source, Span};

/// A type of the policy language: how it is read and how the resource definition describes it.
pub(crate) trait Language: Sized {
    /// Reads a node; on `None` the reason was reported.
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self>;

    /// What stands in for a value that could not be read, so that the rest can still be looked at.
    fn placeholder() -> Self;

    /// The value of an optional key that is absent and has no default, if the type has one.
    fn absent() -> Option<Self> {
        None
    }

    /// The value a default of the schema stands for.
    fn from_default(_default: &Json) -> Option<Self> {
        None
    }

    /// The structural schema of the type.
    fn schema() -> Schema;
}

/// What a mapping may hold under one key.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: bool,
    pub(crate) default: Option<Json>,
    pub(crate) max_items: Option<usize>,
}

impl Field {
    pub(crate) fn new(key: &'static str, doc: &'static str) -> Self {
        Self {
            key,
            doc,
            required: false,
            default: None,
            max_items: None,
        }
    }

    pub(crate) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) fn default(mut self, value: impl Into<Json>) -> Self {
        self.default = Some(value.into());
        self
    }

    pub(crate) fn max_items(mut self, count: usize) -> Self {
        self.max_items = Some(count);
        self
    }
}

/// The keys of a mapping, found among its fields.
pub(crate) struct Opened<'n> {
    entries: Vec<Option<&'n Entry>>,
    span: Span,
    next: usize,
}

/// State of decoding one document.
pub(crate) struct Decoder<'a> {
    pub(crate) source: &'a Source,
    pub(crate) sink: &'a mut Sink,
}

impl Decoder<'_> {
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.sink.push(diagnostic);
    }

    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str) {
        let diagnostic = Diagnostic::error(
            codes::WRONG_TYPE,
            self.source,
            node.span,
            format!("expected {expected}, found {}", node.describe()),
        )
        .label(format!("expected {expected}"));
        self.report(diagnostic);
    }

    /// Sorts the entries of a mapping by `fields` and reports keys that are none of them.
    pub(crate) fn open<'n>(&mut self, node: &'n Node, fields: &[Field]) -> Option<Opened<'n>> {
        let NodeKind::Mapping(entries) = &node.kind else {
            self.wrong_type(node, "a mapping");
            return None;
        };
        let mut found: Vec<Option<&Entry>> = vec![None; fields.len()];
        for entry in entries {
            if let Some(index) = fields.iter().position(|field| field.key == entry.key) {
                found[index] = Some(entry);
            }
        }
        for entry in entries {
            if fields.iter().any(|field| field.key == entry.key) {
                continue;
            }
            let Some(index) = fields
                .iter()
                .position(|field| field.key.eq_ignore_ascii_case(&entry.key))
            else {
                self.unknown_key(entry, fields.iter().map(|field| field.key));
                continue;
            };
            let key = fields[index].key;
            match found[index] {
                Some(other) => {
                    let diagnostic = Diagnostic::error(
                        codes::DUPLICATE_KEY,
                        self.source,
                        entry.key_span,
                        format!("the keys `{}` and `{}` are the same", other.key, entry.key),
                    )
                    .label("second time")
                    .secondary(other.key_span, "first time")
                    .help("remove one of them");
                    self.report(diagnostic);
                }
                None => {
                    let diagnostic = Diagnostic::warning(
                        codes::KEY_CASE,
                        self.source,
                        entry.key_span,
                        format!("the key `{}` is written `{key}`", entry.key),
                    )
                    .label("wrong case")
                    .help(format!(
                        "write `{key}`: Kubernetes refuses this key, only files may have it"
                    ));
                    self.report(diagnostic);
                    found[index] = Some(entry);
                }
            }
        }
        Some(Opened {
            entries: found,
            span: node.span,
            next: 0,
        })
    }

    pub(crate) fn unknown_key<'k>(&mut self, entry: &Entry, keys: impl Iterator<Item = &'k str> + Clone) {
        if self.sink.is_full() {
            return self.sink.push_unseen(Severity::Error);
        }
        let mut diagnostic = Diagnostic::error(
            codes::UNKNOWN_KEY,
            self.source,
            entry.key_span,
            format!("there is no key `{}` here", entry.key),
        )
        .label("unknown key");
        diagnostic = match closest(&entry.key, keys.clone()) {
            Some(key) => diagnostic.help(format!("did you mean `{key}`?")),
            None => diagnostic.help(format!("possible keys are {}", list(keys))),
        };
        self.report(diagnostic);
    }

    /// Reads the value of the next field of `opened`; a placeholder if that was not possible and was reported.
    pub(crate) fn field<T: Language>(&mut self, opened: &mut Opened<'_>, field: &Field) -> T {
        self.try_field(opened, field).unwrap_or_else(T::placeholder)
    }

    fn try_field<T: Language>(&mut self, opened: &mut Opened<'_>, field: &Field) -> Option<T> {
        let entry = opened.entries[opened.next];
        opened.next += 1;
        let Some(entry) = entry.filter(|entry| !self.is_absent(entry)) else {
            if field.required {
                let span = entry.map_or(opened.span, |entry| entry.key_span);
                self.missing_key(field.key, span, entry.is_some());
                return None;
            }
            return match &field.default {
                Some(default) => T::from_default(default),
                None => T::absent(),
            };
        };
        if let (Some(max), NodeKind::Sequence(items)) = (field.max_items, &entry.value.kind)
            && items.len() > max
        {
            let diagnostic = Diagnostic::error(
                codes::TOO_MANY_ITEMS,
                self.source,
                items[max].span,
                format!(
                    "`{}` has {} elements, at most {max} are possible",
                    field.key,
                    items.len()
                ),
            )
            .label("one too many")
            .secondary(entry.key_span, "in this list");
            self.report(diagnostic);
        }
        T::decode(&entry.value, self)
    }

    /// Whether an entry counts as absent: Kubernetes drops nulls.
    fn is_absent(&mut self, entry: &Entry) -> bool {
        if !entry.value.is_null() {
            return false;
        }
        if self.source.slice(entry.value.span).is_empty() {
            let diagnostic = Diagnostic::warning(
                codes::EMPTY_VALUE,
                self.source,
                entry.key_span,
                format!("the key `{}` has no value", entry.key),
            )
            .label("no value")
            .help("indent what belongs to it, or remove the key");
            self.report(diagnostic);
        }
        true
    }

    fn missing_key(&mut self, key: &str, span: Span, is_null: bool) {
        let first_line = Span::new(
            span.start,
            span.end.min(self.source.line_end(span.start)).max(span.start),
        );
        let trimmed = Span::new(
            first_line.start,
            first_line.start + self.source.slice(first_line).trim_end().len(),
        );
        let message = if is_null {
            format!("the key `{key}` needs a value")
        } else {
            format!("the key `{key}` is missing")
        };
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, self.source, trimmed, message)
            .label(if is_null { "no value" } else { "in this mapping" })
            .help(format!("add `{key}: …`"));
        self.report(diagnostic);
    }

    /// Reads an integer within bounds.
    fn integer(&mut self, node: &Node, low: i128, high: i128) -> Option<i128> {
        let value = match &node.kind {
            NodeKind::Scalar(Scalar::Int { value, legacy }) => {
                if *legacy {
                    let diagnostic = Diagnostic::warning(
                        codes::LEGACY_NUMBER,
                        self.source,
                        node.span,
                        format!("`{}` is read as {value}, as in YAML 1.1", self.source.slice(node.span)),
                    )
                    .label("means another number, or a string, in YAML 1.2")
                    .help(format!("write `{value}`"));
                    self.report(diagnostic);
                }
                *value
            }
            NodeKind::Scalar(Scalar::Float(value)) if value.fract() == 0.0 && value.abs() < 1e18 => *value as i128,
            NodeKind::Scalar(Scalar::String(text)) => {
                let diagnostic = Diagnostic::error(
                    codes::WRONG_TYPE,
                    self.source,
                    node.span,
                    "expected an integer, found a string",
                )
                .label("expected an integer");
                let quoted_number = matches!(Scalar::from_plain(text), Scalar::Int { .. });
                self.report(if quoted_number {
                    diagnostic.help(format!("remove the quotes: `{text}`"))
                } else {
                    diagnostic
                });
                return None;
            }
            _ => {
                self.wrong_type(node, "an integer");
                return None;
            }
        };
        if (low..=high).contains(&value) {
            return Some(value);
        }
        let diagnostic = Diagnostic::error(
            codes::NUMBER_RANGE,
            self.source,
            node.span,
            format!("{value} is out of range: {low} to {high} is possible"),
        )
        .label("out of range");
        self.report(diagnostic);
        None
    }

    /// Reads one of a set of names.
    pub(crate) fn name<T: Copy>(&mut self, node: &Node, what: &str, names: &[(&'static str, T)]) -> Option<T> {
        let Some(text) = node.as_str() else {
            String::decode(node, self);
            return None;
        };
        if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let all = names.iter().map(|(name, _)| *name);
        let mut diagnostic = Diagnostic::error(
            codes::UNKNOWN_NAME,
            self.source,
            node.span,
            format!("there is no {what} `{text}`"),
        )
        .label(format!("unknown {what}"));
        diagnostic = match closest(text, all.clone()) {
            Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
            None => diagnostic.help(format!("possible names are {}", list(all))),
        };
        self.report(diagnostic);
        None
    }
}

impl Language for bool {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &node.kind {
            NodeKind::Scalar(Scalar::Bool { value, legacy }) => {
                if *legacy {
                    let written = decoder.source.slice(node.span);
                    let diagnostic = Diagnostic::warning(
                        codes::LEGACY_BOOLEAN,
                        decoder.source,
                        node.span,
                        format!("`{written}` is read as `{value}`, as in YAML 1.1"),
                    )
                    .label("a string in YAML 1.2")
                    .help(format!("write `{value}`"));
                    decoder.report(diagnostic);
                }
                Some(*value)
            }
            NodeKind::Scalar(Scalar::String(text)) => {
                let diagnostic = Diagnostic::error(
                    codes::WRONG_TYPE,
                    decoder.source,
                    node.span,
                    "expected `true` or `false`, found a string",
                )
                .label("expected `true` or `false`");
                let quoted = matches!(Scalar::from_plain(text), Scalar::Bool { .. });
                decoder.report(if quoted {
                    diagnostic.help("remove the quotes")
                } else {
                    diagnostic
                });
                None
            }
            _ => {
                decoder.wrong_type(node, "`true` or `false`");
                None
            }
        }
    }

    fn placeholder() -> Self {
        false
    }

    fn absent() -> Option<Self> {
        Some(false)
    }

    fn from_default(default: &Json) -> Option<Self> {
        default.as_bool()
    }

    fn schema() -> Schema {
        Schema::boolean()
    }
}

impl Language for String {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &node.kind {
            NodeKind::Scalar(Scalar::String(text)) => Some(text.clone()),
            NodeKind::Scalar(_) => {
                let written = decoder.source.slice(node.span).trim().to_owned();
                let diagnostic = Diagnostic::error(
                    codes::UNQUOTED,
                    decoder.source,
                    node.span,
                    format!("expected a string, found {}", node.describe()),
                )
                .label(match &node.kind {
                    NodeKind::Scalar(Scalar::Bool { legacy: true, .. }) => {
                        "a boolean in YAML 1.1, as Kubernetes reads it"
                    }
                    _ => "expected a string",
                })
                .help(format!("quote it: `\"{written}\"`"));
                decoder.report(diagnostic);
                None
            }
            _ => {
                decoder.wrong_type(node, "a string");
                None
            }
        }
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn from_default(default: &Json) -> Option<Self> {
        default.as_str().map(str::to_owned)
    }

    fn schema() -> Schema {
        Schema::string()
    }
}

macro_rules! integers {
    ($($ty:ident)*) => {
        $(
            impl Language for $ty {
                fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
                    decoder.integer(node, i128::from($ty::MIN), i128::from($ty::MAX)).map(|value| value as $ty)
                }

                fn placeholder() -> Self {
                    0
                }

                fn absent() -> Option<Self> {
                    Some(0)
                }

                fn schema() -> Schema {
                    Schema::integer(i128::from($ty::MIN), i128::from($ty::MAX))
                }
            }
        )*
    };
}

integers! { u32 i32 u64 }

impl<T: Language> Language for Option<T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        T::decode(node, decoder).map(Some)
    }

    fn placeholder() -> Self {
        None
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema() -> Schema {
        T::schema()
    }
}

impl<T: Language> Language for Vec<T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let NodeKind::Sequence(items) = &node.kind else {
            let diagnostic = Diagnostic::error(
                codes::WRONG_TYPE,
                decoder.source,
                node.span,
                format!("expected a list, found {}", node.describe()),
            )
            .label("expected a list");
            let is_mapping = matches!(node.kind, NodeKind::Mapping(_));
            decoder.report(if is_mapping {
                diagnostic.help("put `- ` before its first key")
            } else {
                diagnostic.help("put it into brackets, or on a line of its own after `- `")
            });
            return None;
        };
        Some(
            items
                .iter()
                .map(|item| T::decode(item, decoder).unwrap_or_else(T::placeholder))
                .collect(),
        )
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema() -> Schema {
        Schema::list(T::schema())
    }
}

impl<T: Language> Language for BTreeMap<String, T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let NodeKind::Mapping(entries) = &node.kind else {
            decoder.wrong_type(node, "a mapping");
            return None;
        };
        let values = entries.iter().filter(|entry| !entry.value.is_null());
        Some(
            values
                .map(|entry| {
                    (
                        entry.key.clone(),
                        T::decode(&entry.value, decoder).unwrap_or_else(T::placeholder),
                    )
                })
                .collect(),
        )
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema() -> Schema {
        Schema::map(T::schema())
    }
}
