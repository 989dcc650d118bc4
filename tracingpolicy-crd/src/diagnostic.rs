//! What is wrong with a policy, where, and what to do about it.
//!
//! A [`Diagnostic`] carries facts only; [`crate::render`] turns it into text. The compiler and the loader make them too, each
//! with codes of its own range.

use crate::code::Code;
use crate::source::{Source, Span};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used, but probably does not mean what it says.
    Warning,
    /// Nothing to do, good to know.
    Note,
}

impl Severity {
    /// `error`, `warning` or `note`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A range of the source with a few words about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The bytes meant.
    pub span: Span,
    /// Shown beside them; may be empty.
    pub text: String,
}

/// One problem of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Stable number with a page of its own.
    pub code: Code,
    /// Whether the policy can still be used.
    pub severity: Severity,
    /// The problem in one line: lower case, no full stop, names in backticks. If only one thing is shown, it is this.
    pub message: String,
    /// The value at fault.
    pub primary: Label,
    /// Other places that are the reason.
    pub secondary: Vec<Label>,
    /// The edit to make.
    pub help: Option<String>,
    /// The text the spans refer to.
    pub source: Source,
}

/// Longest text of a diagnostic, in bytes: what is wrong may be a value of a megabyte.
const MAX_TEXT: usize = 2000;

fn shortened(text: impl Into<String>) -> String {
    let mut text = text.into();
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

impl Diagnostic {
    /// A diagnostic of the given severity.
    pub fn new(severity: Severity, code: Code, source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            message: shortened(message),
            primary: Label {
                span,
                text: String::new(),
            },
            secondary: Vec::new(),
            help: None,
            source: source.clone(),
        }
    }

    /// A problem that makes the policy unusable.
    pub fn error(code: Code, source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, source, span, message)
    }

    /// A problem the policy can be used with.
    pub fn warning(code: Code, source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, source, span, message)
    }

    /// A remark.
    pub fn note(code: Code, source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, source, span, message)
    }

    /// Says what the primary span is.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = shortened(text);
        self
    }

    /// Points at another place that is part of the reason.
    #[must_use]
    pub fn secondary(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label {
            span,
            text: shortened(text),
        });
        self
    }

    /// Says which edit to make.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(shortened(text));
        self
    }

    /// Whether the policy cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
