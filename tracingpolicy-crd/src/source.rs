//! Policy text and positions in it.

use std::fmt;
use std::sync::Arc;

use crate::code::codes;
use crate::diagnostic::Diagnostic;

/// A half-open range of bytes of a [`Source`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last one.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to `end`, which is not part of it.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// A place in a text as people count: lines and columns from 1, a column being a character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A named text that policies are read from. Cloning shares the text.
#[derive(Clone)]
pub struct Source(Arc<Inner>);

struct Inner {
    name: String,
    text: String,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
}

impl Source {
    /// Wraps `text`; `name` is what diagnostics call it, usually the path as the user gave it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut lines = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at + 1),
        );
        Self(Arc::new(Inner {
            name: name.into(),
            text,
            lines,
        }))
    }

    /// Wraps bytes that should be UTF-8, with or without a byte-order mark.
    ///
    /// # Errors
    /// A diagnostic that shows the first byte that is not UTF-8.
    #[expect(
        clippy::result_large_err,
        reason = "diagnostics are handed around by value everywhere"
    )]
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, Diagnostic> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let at = error.valid_up_to();
                let byte = bytes[at];
                let source = Self::new(name, String::from_utf8_lossy(bytes));
                let mut diagnostic = Diagnostic::error(
                    codes::NOT_UTF8,
                    &source,
                    // everything before `at` is valid, so lossy decoding left its length alone
                    Span::new(at, at + char::REPLACEMENT_CHARACTER.len_utf8()),
                    format!("the file is not UTF-8: byte 0x{byte:02x} at offset {at}"),
                )
                .label("not valid UTF-8");
                diagnostic = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                    diagnostic.help("this looks like UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`")
                } else {
                    diagnostic.help("save the file as UTF-8")
                };
                Err(diagnostic)
            }
        }
    }

    /// The name diagnostics show.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Line and column of a byte offset; offsets past the end count as the end.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.char_boundary(offset);
        let line = self.line_index(offset);
        let column = self.0.text[self.0.lines[line]..offset].chars().count();
        Position {
            line: line as u32 + 1,
            column: column as u32 + 1,
        }
    }

    /// The text of a line counted from 1, without its line break; empty past the end.
    pub fn line(&self, line: u32) -> &str {
        let Some(index) = (line as usize).checked_sub(1) else {
            return "";
        };
        let Some(&start) = self.0.lines.get(index) else {
            return "";
        };
        let end = self.0.lines.get(index + 1).copied().unwrap_or(self.0.text.len());
        self.0.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// The text of the line where `span` starts.
    pub fn line_text(&self, span: Span) -> &str {
        self.line(self.position(span.start).line)
    }

    /// The text `span` covers, cut to what exists.
    pub fn slice(&self, span: Span) -> &str {
        let start = self.char_boundary(span.start);
        let end = self.char_boundary(span.end).max(start);
        &self.0.text[start..end]
    }

    /// Offset of the first byte of the line that holds `offset`.
    pub(crate) fn line_start(&self, offset: usize) -> usize {
        self.0.lines[self.line_index(self.char_boundary(offset))]
    }

    /// Offset after the line break of the line that holds `offset`.
    pub(crate) fn line_end(&self, offset: usize) -> usize {
        let next = self.line_index(self.char_boundary(offset)) + 1;
        self.0.lines.get(next).copied().unwrap_or(self.0.text.len())
    }

    /// The last character boundary at or before `offset`.
    pub(crate) fn char_boundary(&self, offset: usize) -> usize {
        self.0.text.floor_char_boundary(offset)
    }

    fn line_index(&self, offset: usize) -> usize {
        self.0.lines.partition_point(|&start| start <= offset) - 1
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.name == other.0.name && self.0.text == other.0.text)
    }
}

impl Eq for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}, {} bytes)", self.0.name, self.0.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("x", "aä\nö: 1\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(3), Position { line: 1, column: 3 });
        assert_eq!(source.position(4), Position { line: 2, column: 1 });
        assert_eq!(source.position(6), Position { line: 2, column: 2 });
        assert_eq!(
            source.position(5),
            source.position(4),
            "inside a character counts as its start"
        );
        assert_eq!(source.position(999), Position { line: 3, column: 1 });
        assert_eq!(source.line(2), "ö: 1");
        assert_eq!(source.line(9), "");
        assert_eq!(source.slice(Span::new(4, 6)), "ö");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown() {
        let error = Source::from_bytes("x", b"a: \xffb").expect_err("0xff never occurs in UTF-8");
        assert_eq!(error.code, codes::NOT_UTF8);
        assert_eq!(error.primary.span.start, 3);
        assert!(
            Source::from_bytes("x", b"\xff\xfea\0")
                .expect_err("UTF-16")
                .help
                .is_some_and(|help| help.contains("iconv"))
        );
    }
}
