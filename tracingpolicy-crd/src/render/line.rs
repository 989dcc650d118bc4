//! The short form: one line, as editors and continuous integration read it.

use super::printable;
use crate::diagnostic::Diagnostic;

/// `file:line:column: error[TP0012]: message`, without a line break.
pub fn line(diagnostic: &Diagnostic) -> String {
    let position = diagnostic.source.position(diagnostic.primary.span.start);
    format!(
        "{}:{position}: {}[{}]: {}",
        printable(diagnostic.source.name()),
        diagnostic.severity.as_str(),
        diagnostic.code,
        printable(&diagnostic.message)
    )
}
