//! Text of a given width.

/// Width of what is written for people.
pub(crate) const WIDTH: usize = 80;

/// Breaks text at spaces so that lines fit into [`WIDTH`]; the first line comes after `first`, the others after as many spaces.
/// A word that is longer than a line stays whole.
pub(crate) fn paragraph(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let mut written = first.to_owned();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            written.push('\n');
            written.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            written.push(' ');
            column += 1;
        }
        written.push_str(word);
        column += length;
    }
    written.push('\n');
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_hang() {
        let words = "word ".repeat(20);
        let text = paragraph("  why  ", &words);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  why  word"));
        assert!(lines[1].starts_with("       word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn long_words_stay_whole() {
        let long = "x".repeat(100);
        assert_eq!(paragraph("- ", &format!("a {long} b")), format!("- a\n  {long}\n  b\n"));
    }
}
