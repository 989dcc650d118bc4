//! Paths into kernel structures: `resolve`.

/// A step of a `resolve` path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResolveStep {
    /// A member, of the structure or of an anonymous one in it.
    Member(String),
    /// An element of an array, or of what a pointer points to.
    Index(u32),
}

/// Reads `a.b[3].c`.
///
/// # Errors
/// The byte offset of the first character that does not fit, and what was expected there.
pub fn resolve_path(text: &str) -> Result<Vec<ResolveStep>, (usize, &'static str)> {
    let bytes = text.as_bytes();
    let mut steps = Vec::new();
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(b'[') => {
                let close = text[at..].find(']').ok_or((at, "a closing `]`"))? + at;
                let digits = &text[at + 1..close];
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err((at + 1, "a number between brackets"));
                }
                steps.push(ResolveStep::Index(
                    digits.parse().map_err(|_| (at + 1, "a smaller number"))?,
                ));
                at = close + 1;
            }
            Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => {
                let end = text[at..]
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .map_or(text.len(), |length| at + length);
                steps.push(ResolveStep::Member(text[at..end].to_owned()));
                at = end;
            }
            _ => return Err((at, "the name of a member")),
        }
        match bytes.get(at) {
            None => return Ok(steps),
            Some(b'.') => at += 1,
            Some(b'[') => {}
            Some(_) => return Err((at, "`.`, `[` or the end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let member = |name: &str| ResolveStep::Member(name.to_owned());
        assert_eq!(resolve_path("a"), Ok(vec![member("a")]));
        assert_eq!(
            resolve_path("mm.owner[3].comm"),
            Ok(vec![
                member("mm"),
                member("owner"),
                ResolveStep::Index(3),
                member("comm")
            ])
        );
        for (bad, at) in [
            ("", 0),
            (".", 0),
            ("a.", 2),
            ("a..b", 2),
            ("a[", 1),
            ("a[x]", 2),
            ("a b", 1),
            ("3a", 0),
            ("a[99999999999]", 2),
        ] {
            assert_eq!(resolve_path(bad).expect_err(bad).0, at, "{bad}");
        }
    }
}
