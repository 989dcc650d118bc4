//! The long form: as rustc shows its errors, with the lines meant.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::printable;
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// Of lines longer than this only the part around the primary label is quoted: JSON often stands on one line.
const MAX_LINE: usize = 400;
/// Bytes quoted of such a line before and after the start of the label.
const EXCERPT: usize = 40;

/// Renders diagnostics one after the other, with an empty line between them.
pub fn full(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for (position, diagnostic) in diagnostics.iter().enumerate() {
        if position > 0 {
            out.push('\n');
        }
        out.push_str(&one(&renderer, diagnostic));
        out.push('\n');
    }
    out
}

fn one(renderer: &Renderer, diagnostic: &Diagnostic) -> String {
    let source = &diagnostic.source;
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let message = printable(&diagnostic.message);
    let title = level.primary_title(message).id(diagnostic.code.to_string());

    let labels = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
    let quotable = labels.clone().all(|label| {
        let position = source.position(label.span.start);
        source.line(position.line).len() <= MAX_LINE
    });
    let mut group = if quotable {
        // only the lines between the first and the last label are handed over, so cost does not depend on the text's size
        let start = labels
            .clone()
            .map(|label| source.line_start(label.span.start))
            .min()
            .unwrap_or(0);
        let end = labels
            .clone()
            .map(|label| source.line_end(label.span.start))
            .max()
            .unwrap_or(start);
        let window = source.slice(Span::new(start, end));
        let mut snippet = Snippet::source(window)
            .path(source.name())
            .line_start(source.position(start).line as usize)
            .annotation(
                AnnotationKind::Primary
                    .span(inside(source, diagnostic.primary.span, start, end))
                    .label(printable(&diagnostic.primary.text)),
            );
        for label in &diagnostic.secondary {
            snippet = snippet.annotation(
                AnnotationKind::Context
                    .span(inside(source, label.span, start, end))
                    .label(printable(&label.text)),
            );
        }
        title.element(snippet)
    } else {
        let position = source.position(diagnostic.primary.span.start);
        let origin = annotate_snippets::Origin::path(source.name())
            .line(position.line as usize)
            .char_column(position.column as usize);
        let text = excerpt(source, diagnostic.primary.span);
        let note = match diagnostic.primary.text.as_str() {
            "" => format!("at `{text}`"),
            label => format!("at `{text}`: {label}"),
        };
        title
            .element(origin)
            .element(Level::NOTE.message(printable(&note).into_owned()))
    };
    if let Some(help) = &diagnostic.help {
        // the loader's help ends with lines of the verifier's log
        let lines: Vec<_> = help.lines().map(printable).collect();
        group = group.element(Level::HELP.message(lines.join("\n")));
    }
    renderer.render(&[group])
}

/// A span relative to a window of the text, cut to its first line.
fn inside(source: &Source, span: Span, start: usize, end: usize) -> std::ops::Range<usize> {
    let from = source.char_boundary(span.start).clamp(start, end);
    let line_end = source.line_end(from).min(end);
    let to = source.char_boundary(span.end).clamp(from, line_end);
    let text = source.slice(Span::new(from, to)).trim_end_matches(['\n', '\r']);
    from - start..from - start + text.len()
}

/// The part of a long line around a span.
fn excerpt(source: &Source, span: Span) -> String {
    let from = source.char_boundary(span.start);
    let (line_start, line_end) = (source.line_start(from), source.line_end(from));
    let start = source.char_boundary(from.saturating_sub(EXCERPT).max(line_start));
    let end = source.char_boundary((from + EXCERPT).min(line_end)).max(from);
    let text = source.slice(Span::new(start, end)).trim_end_matches(['\n', '\r']);
    let before = if start > line_start { "…" } else { "" };
    let after = if end < line_end { "…" } else { "" };
    format!("{before}{text}{after}")
}
