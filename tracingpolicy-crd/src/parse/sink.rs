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
    /// How many of those are errors.
    kept_errors: usize,
    errors: usize,
    dropped: usize,
    /// What was reported where: an alias makes us look at one place many times.
    seen: HashSet<(Code, Span)>,
}

impl Sink {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            return self.push_unseen(diagnostic.severity);
        }
        self.errors += usize::from(diagnostic.is_error());
        // what stands in for an unreadable value is not worth a second message
        let unreadable = self.seen.contains(&(codes::SYNTAX, diagnostic.primary.span));
        if unreadable || !self.seen.insert((diagnostic.code, diagnostic.primary.span)) {
            return;
        }
        if self.kept.len() >= MAX_DIAGNOSTICS {
            // an error is never lost behind warnings
            self.dropped += 1;
            let warning = self
                .kept
                .iter()
                .rposition(|kept| !kept.is_error())
                .filter(|_| diagnostic.is_error());
            let Some(warning) = warning else { return };
            self.kept.remove(warning);
        }
        self.kept_errors += usize::from(diagnostic.is_error());
        self.kept.push(diagnostic);
    }

    /// Counts a diagnostic that would not be kept anyway, so that nobody needs to make it.
    pub(crate) fn push_unseen(&mut self, severity: Severity) {
        self.errors += usize::from(severity == Severity::Error);
        self.dropped += 1;
    }

    /// Whether as many errors are kept as ever will be.
    pub(crate) fn is_full(&self) -> bool {
        self.kept_errors >= MAX_DIAGNOSTICS
    }

    /// Number of errors reported so far, including those not kept.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// What the errors are and where.
    pub(crate) fn error_places(&self) -> Vec<(Code, Span)> {
        self.kept
            .iter()
            .filter(|kept| kept.is_error())
            .map(|kept| (kept.code, kept.primary.span))
            .collect()
    }

    /// Leaves out diagnostics.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Diagnostic) -> bool) {
        self.kept.retain(keep);
        self.kept_errors = self.kept.iter().filter(|kept| kept.is_error()).count();
        self.errors = self.kept_errors;
    }

    /// Adds all that another one holds.
    pub(crate) fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.errors += other.errors - other.kept_errors;
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
