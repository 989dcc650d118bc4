//! The long form: as rustc shows its errors, with the lines meant.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::printable;
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// Lines longer than this are not quoted: a megabyte of JSON on one line helps nobody.
const MAX_LINE: usize = 400;

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
        title.element(
            annotate_snippets::Origin::path(source.name())
                .line(position.line as usize)
                .char_column(position.column as usize),
        )
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
