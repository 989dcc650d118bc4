//! What the values of the string operators describe, as regular expressions over bytes.
//!
//! | operator | a value |
//! |---|---|
//! | `SubString` | occurs anywhere |
//! | `SubStringIgnCase` | likewise; `a` to `z` and `A` to `Z` are the same |
//! | `Glob` | describes the whole string: `*` any bytes but `/`, `**` between slashes any directories, `?` one byte but `/`, `[a-z]` and `[!a-z]` one of a set, `{a,b}` alternatives, `\` takes the next byte as it is |
//! | `Regex` | describes a part of the string; `^` and `$` are its ends |
//!
//! Strings of the kernel are bytes, so `.` and classes stand for bytes and letters have no case beyond ASCII.
//! Globs are those of the `globset` crate with literal separators, regular expressions those of the `regex` crate without Unicode:
//! no back-references and no look-around, so that one pass over the string decides.

use regex_automata::dfa::dense;
use regex_automata::util::syntax;
use regex_automata::{MatchKind, nfa::thompson};

use crate::hir::TextComparison;

/// Bytes that the automaton of a single value may take.
pub(crate) const MAX_AUTOMATON: usize = 1 << 20;
/// Bytes that its construction may take.
const MAX_CONSTRUCTION: usize = 8 << 20;

/// A value as a regular expression that is searched for.
///
/// # Errors
/// What is wrong with the value, in words for the author of a policy.
pub(crate) fn expression(comparison: TextComparison, value: &[u8]) -> Result<String, String> {
    let literal = || {
        let escaped: Vec<String> = value.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        escaped.concat()
    };
    let text = || std::str::from_utf8(value).map_err(|_| "the value is not UTF-8".to_owned());
    Ok(match comparison {
        TextComparison::Equal => format!("^(?:{})$", literal()),
        TextComparison::Prefix => format!("^(?:{})", literal()),
        TextComparison::Postfix => format!("(?:{})$", literal()),
        TextComparison::SubString => literal(),
        TextComparison::SubStringIgnCase => format!("(?i:{})", literal()),
        TextComparison::Glob => glob(text()?)?.regex().to_owned(),
        TextComparison::Regex => format!("(?:{})", text()?),
    })
}

/// A value of `Glob`.
pub(crate) fn glob(value: &str) -> Result<globset::Glob, String> {
    globset::GlobBuilder::new(value)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| error.kind().to_string())
}

/// Checks that a value can be looked for.
///
/// # Errors
/// See [`expression`]; or its automaton is too large.
pub(crate) fn check(comparison: TextComparison, value: &[u8]) -> Result<(), String> {
    automaton(&[expression(comparison, value)?]).map(drop)
}

/// The automaton that finds all of these expressions in one pass.
pub(crate) fn automaton(expressions: &[String]) -> Result<dense::DFA<Vec<u32>>, String> {
    dense::Builder::new()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false).shrink(false))
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(regex_automata::dfa::StartKind::Unanchored)
                .accelerate(false)
                .dfa_size_limit(Some(MAX_AUTOMATON))
                .determinize_size_limit(Some(MAX_CONSTRUCTION)),
        )
        .build_many(expressions)
        .map_err(|error| reason(&error))
}

/// The part of an error that is about the pattern.
fn reason(error: &dense::BuildError) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    // the parser draws the pattern above what it has to say
    match text.rsplit_once("error: ") {
        Some((_, last)) => last.trim().to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_patterns_say_why() {
        let reason = |comparison, value: &str| check(comparison, value.as_bytes()).err();
        assert_eq!(reason(TextComparison::Regex, "a(b"), Some("unclosed group".into()));
        assert_eq!(reason(TextComparison::Regex, "^/tmp/[^/]+\\.so$"), None);
        assert!(reason(TextComparison::Regex, "(a)\\1").is_some_and(|r| r.contains("backreferences")));
        assert!(reason(TextComparison::Glob, "[a-").is_some_and(|r| r.contains("unclosed")));
        assert_eq!(reason(TextComparison::Glob, "/usr/lib/python3.*/**/*.py"), None);
        // which of the last forty letters were an a is two to the forty states
        let large = "a[a-z]{0,40}x[a-z]{0,9}b";
        assert!(reason(TextComparison::Regex, large).is_some_and(|r| r.contains("limit")));
    }
}
