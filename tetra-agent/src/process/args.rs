//! How `argv[1..]` becomes the one string of `process.arguments`.
//!
//! The form is that of the reference, quirks included, because consumers match on it: elements are joined with a space;
//! one that contains a space is put in double quotes and its own quotes are left as they are; quotes at the very beginning
//! follow a space; empty elements before the first other one leave nothing, later ones a space.

use crate::text::to_text;

/// Builds the string from NUL-terminated elements; the last NUL may be missing (truncated block).
pub fn join_arguments(block: &[u8]) -> String {
    let block = block.strip_suffix(b"\0").unwrap_or(block);
    let mut line: Vec<u8> = Vec::with_capacity(block.len() + 8);
    for element in block.split(|&byte| byte == 0) {
        push_element(&mut line, element);
    }
    to_text(&line)
}

/// Appends one element.
fn push_element(line: &mut Vec<u8>, element: &[u8]) {
    if element.contains(&b' ') {
        line.extend_from_slice(b" \"");
        line.extend_from_slice(element);
        line.push(b'"');
    } else {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(element);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_arguments(arguments: &[&str], expected: &str) {
        let block: Vec<u8> = arguments.iter().flat_map(|a| [a.as_bytes(), b"\0"].concat()).collect();
        assert_eq!(join_arguments(&block), expected, "{arguments:?}");
    }

    #[test]
    fn quirks_are_kept() {
        check_arguments(&[], "");
        check_arguments(&["a", "b"], "a b");
        check_arguments(&["-c", "kill -9 $$"], "-c \"kill -9 $$\"");
        check_arguments(&["x y", "z"], " \"x y\" z");
        check_arguments(&["say \"a b\""], " \"say \"a b\"\"");
        check_arguments(&["", "a"], "a");
        check_arguments(&["a", "", "b"], "a  b");
        check_arguments(&["a", ""], "a ");
        check_arguments(&[""], "");
    }

    #[test]
    fn a_block_without_its_last_nul_keeps_the_last_element() {
        assert_eq!(join_arguments(b"a\0bc"), "a bc");
    }

    proptest! {
        #[test]
        fn any_bytes_give_text_no_longer_than_the_quirks_add(block in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = join_arguments(&block);
            // at most two quotes and a space per element, three bytes per invalid run
            prop_assert!(text.len() <= block.len() * 4 + 4);
        }

        #[test]
        fn words_survive(words in proptest::collection::vec("[a-z]{1,8}", 0..10)) {
            let block: Vec<u8> = words.iter().flat_map(|w| [w.as_bytes(), b"\0"].concat()).collect();
            prop_assert_eq!(join_arguments(&block), words.join(" "));
        }
    }
}
