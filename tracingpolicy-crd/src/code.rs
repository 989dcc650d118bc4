//! Stable codes of diagnostics and the pages that explain them.

use std::fmt;
use std::str::FromStr;

pub mod codes;

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The number of a kind of diagnostic, written `TP0012`.
///
/// Numbers are never reused: 1–499 are this crate's, 500–899 the compiler's, 900–999 the loader's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TP{:04}", self.0)
    }
}

/// The text is not a code such as `TP0012`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseCodeError;

impl fmt::Display for ParseCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a code such as `TP0012`")
    }
}

impl std::error::Error for ParseCodeError {}

impl FromStr for Code {
    type Err = ParseCodeError;

    /// Reads `TP0012`, `tp12` or `12`.
    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let digits = match text.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("tp") => &text[2..],
            _ => text,
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseCodeError);
        }
        digits.parse().map(Self).map_err(|_| ParseCodeError)
    }
}

/// The page of `docs/errors/` that explains a code, in Markdown; `None` if there is no such code.
pub fn explain(code: Code) -> Option<&'static str> {
    PAGES
        .binary_search_by_key(&code.0, |(number, _)| *number)
        .ok()
        .map(|index| PAGES[index].1)
}

/// All codes that have a page, in ascending order.
pub fn explained() -> impl Iterator<Item = Code> {
    PAGES.iter().map(|(number, _)| Code(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_and_read() {
        assert_eq!(Code(502).to_string(), "TP0502");
        for text in ["TP0012", "tp0012", "12"] {
            assert_eq!(text.parse(), Ok(Code(12)));
        }
        for text in ["", "TP", "TPx", "TP-1", "+3", "99999"] {
            assert_eq!(text.parse::<Code>(), Err(ParseCodeError), "{text}");
        }
    }
}
