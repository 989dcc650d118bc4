//! The form for programs.

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Label};
use crate::source::Source;

/// An object with `code`, `severity`, `message`, `file`, `primary`, `secondary` and `help`.
///
/// Labels have `text`, byte offsets `start` and `end`, and `line` and `column` from 1 of where they start and end.
pub fn json(diagnostic: &Diagnostic) -> Value {
    let source = &diagnostic.source;
    json!({
        "code": diagnostic.code.to_string(),
        "severity": diagnostic.severity.as_str(),
        "message": diagnostic.message,
        "file": source.name(),
        "primary": label(source, &diagnostic.primary),
        "secondary": diagnostic.secondary.iter().map(|secondary| label(source, secondary)).collect::<Vec<_>>(),
        "help": diagnostic.help,
    })
}

fn label(source: &Source, label: &Label) -> Value {
    let start = source.position(label.span.start);
    let end = source.position(label.span.end);
    json!({
        "text": label.text,
        "start": label.span.start,
        "end": label.span.end,
        "line": start.line,
        "column": start.column,
        "endLine": end.line,
        "endColumn": end.column,
    })
}
