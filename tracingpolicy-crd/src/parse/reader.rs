//! YAML events to [`Node`]s, within limits.
//!
//! Limits keep hostile texts cheap: the size of the text, the depth of nesting (so no recursion over a tree can overflow a
//! stack), the number of nodes, and the number of nodes after aliases are expanded. A document with a syntax error does not
//! hide the documents after it: reading goes on at the next line that starts with `---`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::node::{Entry, Node, NodeKind};
use super::scalar::Scalar;
use super::sink::Sink;
use crate::code::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// Largest text read, in bytes. The Kubernetes API server stores no object above 1.5 MiB.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting of lists and mappings; a policy needs about ten.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most nodes of a text, and most nodes of a document with its aliases expanded.
pub(crate) const MAX_NODES: u64 = 400_000;

/// Bytes of a string that count as a node: an alias can repeat a long string as well as a long list.
const BYTES_PER_NODE: usize = 64;

/// A document that could be read, and its position in the text among those that could not.
pub(crate) struct Document {
    pub(crate) index: usize,
    pub(crate) root: Arc<Node>,
    /// Problems were reported that leave holes in the tree.
    pub(crate) damaged: bool,
}

/// Reads all documents of `source`.
pub(crate) fn read(source: &Source, diagnostics: &mut Sink) -> Vec<Document> {
    let text = source.text();
    if text.len() > MAX_BYTES {
        diagnostics.push(
            Diagnostic::error(
                codes::TOO_LARGE,
                source,
                Span::new(0, 0),
                format!(
                    "the text has {} bytes, more than the {MAX_BYTES} a policy file may have",
                    text.len()
                ),
            )
            .help("split it into several files"),
        );
        return Vec::new();
    }
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        diagnostics.push(
            Diagnostic::error(
                codes::FORBIDDEN_CHARACTER,
                source,
                Span::new(at, at + c.len_utf8()),
                format!("the character U+{:04X} is not allowed in YAML", c as u32),
            )
            .label("this character cannot be seen")
            .help(format!(
                "remove it, or write `\"\\x{:02x}\"` in a double-quoted string",
                c as u32
            )),
        );
        return Vec::new();
    }

    let mut reader = Reader {
        source,
        diagnostics,
        documents: Vec::new(),
        index: 0,
        nodes: 0,
    };
    let mut start = 0;
    while let Some(failed_at) = reader.read_from(start) {
        match next_document(text, failed_at.max(start)) {
            Some(next) if reader.nodes <= MAX_NODES => start = next,
            _ => break,
        }
    }
    reader.documents
}

/// What YAML's `c-printable` leaves out.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\x7f' | '\u{fffe}' | '\u{ffff}')
}

/// Offset of the next line after the one of `offset` that starts a document.
fn next_document(text: &str, offset: usize) -> Option<usize> {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let mut at = offset + text[offset..].find('\n')? + 1;
    loop {
        let rest = &text[at..];
        if rest.starts_with("---") && rest[3..].chars().next().is_none_or(char::is_whitespace) {
            return Some(at);
        }
        at += rest.find('\n')? + 1;
    }
}

struct Reader<'a> {
    source: &'a Source,
    diagnostics: &'a mut Sink,
    documents: Vec<Document>,
    index: usize,
    nodes: u64,
}

/// A list or mapping that is not closed yet.
struct Open {
    start: usize,
    anchor: usize,
    weight: u64,
    content: Content,
}

enum Content {
    Sequence(Vec<Arc<Node>>),
    Mapping {
        entries: Vec<Entry>,
        /// Where each key was first seen.
        seen: HashMap<String, Span>,
        merges: Vec<Arc<Node>>,
        key: PendingKey,
    },
}

enum PendingKey {
    /// The next node is a key.
    None,
    Key(String, Span),
    /// `<<`
    Merge(Span),
    /// The key was reported; its value is dropped.
    Refused,
}

impl Reader<'_> {
    /// Reads documents from `base` on; the offset of the error that ended it, if one did.
    fn read_from(&mut self, base: usize) -> Option<usize> {
        let text = &self.source.text()[base..];
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let mut stack: Vec<Open> = Vec::new();
        let mut anchors: HashMap<usize, Arc<Node>> = HashMap::new();
        let mut root: Option<Arc<Node>> = None;
        let mut errors_before = self.diagnostics.errors();

        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = base + byte_offset(text, &error);
                    self.syntax_error(&error, at);
                    self.index += 1;
                    return Some(at);
                }
            };
            let span = span.byte_range().map_or(Span::new(base, base), |range| {
                Span::new(base + range.start, base + range.end)
            });
            let node = match event {
                Event::DocumentStart(..) => {
                    anchors.clear();
                    root = None;
                    errors_before = self.diagnostics.errors();
                    continue;
                }
                Event::DocumentEnd => {
                    if let Some(root) = root.take() {
                        let damaged = self.diagnostics.errors() > errors_before;
                        self.documents.push(Document {
                            index: self.index,
                            root,
                            damaged,
                        });
                    }
                    self.index += 1;
                    continue;
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.check_tag(tag.as_deref(), span, &["seq"]);
                    stack.push(Open {
                        start: span.start,
                        anchor,
                        weight: 1,
                        content: Content::Sequence(Vec::new()),
                    });
                    if self.too_deep(&stack, span) {
                        return Some(span.start);
                    }
                    continue;
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.check_tag(tag.as_deref(), span, &["map"]);
                    let content = Content::Mapping {
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        merges: Vec::new(),
                        key: PendingKey::None,
                    };
                    stack.push(Open {
                        start: span.start,
                        anchor,
                        weight: 1,
                        content,
                    });
                    if self.too_deep(&stack, span) {
                        return Some(span.start);
                    }
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(open) = stack.pop() else { continue };
                    let anchor = open.anchor;
                    let node = self.close(open, span.end);
                    if anchor != 0 {
                        anchors.insert(anchor, node.clone());
                    }
                    node
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let kind = NodeKind::Scalar(self.scalar(&text, style, tag.as_deref(), span));
                    let weight = 1 + (text.len() / BYTES_PER_NODE) as u64;
                    let node = Arc::new(Node { span, kind, weight });
                    if anchor != 0 {
                        anchors.insert(anchor, node.clone());
                    }
                    node
                }
                Event::UnresolvedAlias(name) => {
                    self.diagnostics.push(
                        Diagnostic::error(
                            codes::SYNTAX,
                            self.source,
                            span,
                            format!("there is no anchor `{name}` before this"),
                        )
                        .label("unknown anchor")
                        .help("quote the value if it is meant to start with `*`"),
                    );
                    Arc::new(Node {
                        span,
                        kind: NodeKind::Scalar(Scalar::Null),
                        weight: 1,
                    })
                }
                Event::Alias(id) => match anchors.get(&id) {
                    Some(node) => node.clone(),
                    None => {
                        self.diagnostics.push(
                            Diagnostic::error(
                                codes::SYNTAX,
                                self.source,
                                span,
                                "the alias refers to the value it is part of",
                            )
                            .label("alias of an enclosing value"),
                        );
                        Arc::new(Node {
                            span,
                            kind: NodeKind::Scalar(Scalar::Null),
                            weight: 1,
                        })
                    }
                },
                _ => continue,
            };

            self.nodes += 1;
            let total = stack
                .iter()
                .map(|open| open.weight)
                .fold(node.weight, u64::saturating_add);
            if self.nodes > MAX_NODES || total > MAX_NODES {
                self.diagnostics.push(
                    Diagnostic::error(
                        codes::TOO_LARGE,
                        self.source,
                        span,
                        format!("the document has more than {MAX_NODES} values, counting those that aliases repeat"),
                    )
                    .label("the limit is reached here"),
                );
                self.index += 1;
                return Some(span.start);
            }
            match stack.last_mut() {
                Some(open) => {
                    open.weight += node.weight;
                    let whole = &mut open.content;
                    self.attach(whole, node, span);
                }
                None => root = Some(node),
            }
        }
        None
    }

    fn attach(&mut self, content: &mut Content, node: Arc<Node>, span: Span) {
        let (entries, seen, merges, key) = match content {
            Content::Sequence(items) => {
                items.push(node);
                return;
            }
            Content::Mapping {
                entries,
                seen,
                merges,
                key,
            } => (entries, seen, merges, key),
        };
        match std::mem::replace(key, PendingKey::None) {
            PendingKey::None => *key = self.key(&node, seen),
            PendingKey::Key(name, key_span) => entries.push(Entry {
                key: name,
                key_span,
                value: node,
            }),
            PendingKey::Refused => {}
            PendingKey::Merge(key_span) => match &node.kind {
                NodeKind::Mapping(_) => merges.push(node),
                NodeKind::Sequence(items) if items.iter().all(|item| matches!(item.kind, NodeKind::Mapping(_))) => {
                    merges.extend(items.iter().cloned());
                }
                _ => self.diagnostics.push(
                    Diagnostic::error(
                        codes::WRONG_TYPE,
                        self.source,
                        span,
                        format!(
                            "`<<` merges mappings into this one, but its value is {}",
                            node.describe()
                        ),
                    )
                    .label("expected a mapping or a list of mappings")
                    .secondary(key_span, "merge key"),
                ),
            },
        }
    }

    /// Reads `node` as a key of a mapping.
    fn key(&mut self, node: &Node, seen: &mut HashMap<String, Span>) -> PendingKey {
        let span = node.span;
        let name = match &node.kind {
            NodeKind::Scalar(Scalar::String(name)) if name == "<<" && self.source.slice(span) == "<<" => {
                return PendingKey::Merge(span);
            }
            NodeKind::Scalar(Scalar::String(name)) => name.clone(),
            // `yes: 1` or `5: x`: as text, so that it is reported as an unknown key where it matters
            NodeKind::Scalar(_) => self.source.slice(span).to_owned(),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => {
                let diagnostic = if self.source.text()[..span.start.min(self.source.text().len())].ends_with('{') {
                    Diagnostic::error(
                        codes::PLACEHOLDER,
                        self.source,
                        span,
                        "this looks like a template that was never filled in",
                    )
                    .label("`{{ … }}` is not a value")
                    .help("render the template first, for example with `helm template`")
                } else {
                    Diagnostic::error(
                        codes::KEY_NOT_STRING,
                        self.source,
                        span,
                        format!("a key must be a string, this is {}", node.describe()),
                    )
                    .label("expected a string")
                };
                self.diagnostics.push(diagnostic);
                return PendingKey::Refused;
            }
        };
        match seen.get(&name) {
            Some(_) if self.diagnostics.is_full() => {
                self.diagnostics.push_unseen(Severity::Error);
                PendingKey::Refused
            }
            Some(&first) => {
                self.diagnostics.push(
                    Diagnostic::error(
                        codes::DUPLICATE_KEY,
                        self.source,
                        span,
                        format!("the key `{name}` is given twice"),
                    )
                    .label("second time")
                    .secondary(first, "first time")
                    .help("remove one of them, or merge their values"),
                );
                PendingKey::Refused
            }
            None => {
                seen.insert(name.clone(), span);
                PendingKey::Key(name, span)
            }
        }
    }

    fn close(&mut self, open: Open, end: usize) -> Arc<Node> {
        let kind = match open.content {
            Content::Sequence(items) => NodeKind::Sequence(items),
            Content::Mapping {
                mut entries, merges, ..
            } => {
                if !merges.is_empty() {
                    let mut present: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
                    for merge in &merges {
                        let NodeKind::Mapping(merged) = &merge.kind else {
                            continue;
                        };
                        for entry in merged {
                            if present.insert(entry.key.clone()) {
                                entries.push(entry.clone());
                            }
                        }
                    }
                }
                NodeKind::Mapping(entries)
            }
        };
        // block collections end where the next thing starts; what is shown should end with their text
        let text = self.source.slice(Span::new(open.start, end));
        let end = open.start + text.trim_end().len();
        Arc::new(Node {
            span: Span::new(open.start, end),
            kind,
            weight: open.weight,
        })
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Scalar {
        let plain = style == ScalarStyle::Plain;
        match tag.map(core_suffix) {
            None if plain => Scalar::from_plain(text),
            None => Scalar::String(text.to_owned()),
            Some(Some("str" | "!")) => Scalar::String(text.to_owned()),
            Some(Some("null" | "bool" | "int" | "float")) => Scalar::from_plain(text),
            Some(_) => {
                self.check_tag(tag, span, &[]);
                Scalar::String(text.to_owned())
            }
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, span: Span, allowed: &[&str]) {
        let Some(tag) = tag else { return };
        if core_suffix(tag).is_some_and(|suffix| allowed.contains(&suffix)) {
            return;
        }
        self.diagnostics.push(
            Diagnostic::error(
                codes::UNSUPPORTED_TAG,
                self.source,
                span,
                format!("the tag `{tag}` has no meaning in a policy"),
            )
            .label("value with a tag")
            .help("remove the tag"),
        );
    }

    fn too_deep(&mut self, stack: &[Open], span: Span) -> bool {
        let deep = stack.len() > MAX_DEPTH;
        if deep {
            self.diagnostics.push(
                Diagnostic::error(
                    codes::TOO_DEEP,
                    self.source,
                    span,
                    format!("values are nested more than {MAX_DEPTH} levels deep"),
                )
                .label("too deep"),
            );
            self.index += 1;
        }
        deep
    }

    fn syntax_error(&mut self, error: &granit_parser::ScanError, at: usize) {
        let text = self.source.text();
        let end = at
            + text[self.source.char_boundary(at)..]
                .chars()
                .next()
                .filter(|c| *c != '\n')
                .map_or(0, char::len_utf8);
        let span = Span::new(at, end);
        let info = error.info();
        if info.contains("nesting") || info.contains("recursion") {
            self.diagnostics.push(
                Diagnostic::error(
                    codes::TOO_DEEP,
                    self.source,
                    span,
                    format!("values are nested more than {MAX_DEPTH} levels deep"),
                )
                .label("too deep"),
            );
            return;
        }
        let mut diagnostic = Diagnostic::error(codes::SYNTAX, self.source, span, format!("this is not YAML: {info}"));
        let line = self.source.line_text(span);
        diagnostic = if line.contains("{{") {
            diagnostic.help("this looks like a template: render it first, for example with `helm template`")
        } else if line.starts_with(|c: char| c.is_whitespace())
            && line[..line.len() - line.trim_start().len()].contains('\t')
        {
            diagnostic.help("indent with spaces: YAML does not allow tabs there")
        } else {
            diagnostic.label("the text stops making sense here")
        };
        self.diagnostics.push(diagnostic);
    }
}

/// The suffix of a tag of YAML's core schema.
fn core_suffix(tag: &Tag) -> Option<&str> {
    match (tag.handle(), tag.suffix()) {
        ("tag:yaml.org,2002:" | "!!", suffix) => Some(suffix),
        ("" | "!", "" | "!") => Some("!"),
        _ => None,
    }
}

fn byte_offset(text: &str, error: &granit_parser::ScanError) -> usize {
    let marker = error.marker();
    marker
        .byte_offset()
        .unwrap_or_else(|| text.char_indices().nth(marker.index()).map_or(text.len(), |(at, _)| at))
        .min(text.len())
}
