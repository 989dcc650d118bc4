//! Where diagnostics are collected, up to a limit.

use std::collections::HashSet;

use crate::code::{Code, codes};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::{Source, Span};

/// Most diagnostics kept for one text. Nobody reads more, and a hostile text could ask for millions.
const MAX_DIAGNOSTICS: usize = 200;

#[derive(Default)]
pub(crate) struct Sink {
    kept: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
    /// What was reported where: an alias makes us look at one place many times.
    seen: HashSet<(Code, Span)>,
}

impl Sink {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.is_error());
        if self.seen.contains(&(diagnostic.code, diagnostic.primary.span)) {
            return;
        }
        if self.kept.len() >= MAX_DIAGNOSTICS {
            // an error must never be lost behind warnings
            let evicted = if diagnostic.is_error() {
                self.kept.iter().rposition(|kept| kept.severity != Severity::Error)
            } else {
                None
            };
            self.dropped += 1;
            match evicted {
                Some(at) => {
                    self.kept.remove(at);
                }
                None => return,
            }
        }
        self.seen.insert((diagnostic.code, diagnostic.primary.span));
        self.kept.push(diagnostic);
    }

    /// Number of errors reported so far, including those not kept.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Where the errors are.
    pub(crate) fn error_spans(&self) -> Vec<Span> {
        self.kept
            .iter()
            .filter(|kept| kept.is_error())
            .map(|kept| kept.primary.span)
            .collect()
    }

    /// Leaves out diagnostics.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Diagnostic) -> bool) {
        self.kept.retain(keep);
        self.errors = self.kept.iter().filter(|kept| kept.is_error()).count();
    }

    /// Adds all that another one holds.
    pub(crate) fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        for diagnostic in other.kept {
            self.push(diagnostic);
        }
    }

    /// All diagnostics, in the order of the text.
    pub(crate) fn finish(mut self, source: &Source) -> Vec<Diagnostic> {
        self.kept
            .sort_by_key(|diagnostic| (diagnostic.primary.span, diagnostic.code));
        if self.dropped > 0 {
            let end = Span::new(source.text().len(), source.text().len());
            self.kept.push(Diagnostic::note(
                codes::TOO_MANY_PROBLEMS,
                source,
                end,
                format!("{} more problems are not shown", self.dropped),
            ));
        }
        self.kept
    }
}
