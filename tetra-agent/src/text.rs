//! Bytes from the kernel become text: valid UTF-8, whatever they were.

/// Forces bytes to valid UTF-8: each *run* of invalid bytes becomes one U+FFFD, as the reference's events have it.
pub fn to_text(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len() + 2);
    let mut in_run = false;
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            text.push_str(chunk.valid());
            in_run = false;
        }
        if !chunk.invalid().is_empty() && !in_run {
            text.push('\u{fffd}');
            in_run = true;
        }
    }
    text
}

/// Joins a relative path to a directory and cleans it lexically: no `.`, `..` or empty components.
pub fn join_path(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        clean_path(name)
    } else {
        clean_path(&format!("{directory}/{name}"))
    }
}

/// Cleans a path lexically.
fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_invalid_bytes_become_one_replacement() {
        assert_eq!(to_text(b"a\xff\xfe\xfdb\xc3"), "a\u{fffd}b\u{fffd}");
        assert_eq!(to_text("żółw".as_bytes()), "żółw");
    }

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (directory, name, expected) in [
            ("/srv", "./x", "/srv/x"),
            ("/srv/a", "../b/./c", "/srv/b/c"),
            ("/", "x", "/x"),
            ("", "x", "x"),
            ("", "../x", "../x"),
            ("/a", "../../../x", "/x"),
            ("", "./", "."),
        ] {
            assert_eq!(join_path(directory, name), expected, "{directory} + {name}");
        }
    }
}
