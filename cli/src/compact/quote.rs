//! Quoting of strings that a process can choose.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal shows the character as itself.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // Debug escapes all that is not printable. It would escape a combining mark at the start of a
    // string too, hence the letter before it.
    let mut text = String::from("a");
    text.push(character);
    text.escape_debug().count() == 2
}

/// Quotes the string if it holds spaces, quotes, backslashes or characters that are not printable.
///
/// The quoted form is that of Go (`strconv.Quote`), as in the output of Tetragon.
///
/// ```
/// use tetra::compact::quote;
///
/// assert_eq!(quote("/etc/passwd"), "/etc/passwd");
/// assert_eq!(quote("a b"), r#""a b""#);
/// assert_eq!(quote("\x1b[2J"), r#""\x1b[2J""#);
/// ```
pub fn quote(text: &str) -> Cow<'_, str> {
    let needs_none = |character: char| is_printable(character) && !matches!(character, ' ' | '"' | '\\');
    if text.chars().all(needs_none) {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 8);
    quoted.push('"');
    for character in text.chars() {
        push_escaped(character, &mut quoted);
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

fn push_escaped(character: char, out: &mut String) {
    let written = match character {
        '"' => write!(out, "\\\""),
        '\\' => write!(out, "\\\\"),
        '\x07' => write!(out, "\\a"),
        '\x08' => write!(out, "\\b"),
        '\x0c' => write!(out, "\\f"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        '\x0b' => write!(out, "\\v"),
        _ if is_printable(character) => write!(out, "{character}"),
        '\0'..='\x7f' => write!(out, "\\x{:02x}", character as u32),
        '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", character as u32),
        _ => write!(out, "\\U{:08x}", character as u32),
    };
    written.expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_what_is_harmless() {
        for text in [
            "",
            "/usr/bin/true",
            "[kworker/0:0-events]",
            "été",
            "日本",
            "e\u{301}",
            "--a='b'",
            "\u{fffd}",
        ] {
            assert_eq!(quote(text), text);
        }
    }

    #[test]
    fn quotes_as_go_does() {
        for (text, quoted) in [
            (" ", r#"" ""#),
            (r#"-c "kill -9 $$""#, r#""-c \"kill -9 $$\"""#),
            (r"a\b", r#""a\\b""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("a\0\x1b\x7f", r#""a\x00\x1b\x7f""#),
            ("\u{85}\u{202e}\u{a0}", r#""\u0085\u202e\u00a0""#),
            ("\u{e0001}é日", r#""\U000e0001é日""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
