//! "Did you mean": the nearest of a set of names.

/// The name nearest to `word`, if one is near enough to be meant.
pub fn closest<'n>(word: &str, names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
    let word = word.to_lowercase();
    // a misspelling longer than any name is none
    if word.len() > 64 {
        return None;
    }
    let misspelt = names
        .clone()
        .map(|name| (distance(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len().min(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name);
    // `integer` for `int`
    misspelt.or_else(|| {
        names
            .filter(|name| name.len() > 2 && word.starts_with(&name.to_lowercase()))
            .max_by_key(|name| name.len())
    })
}

/// `` `a`, `b` and `c` ``, or the first dozen of many.
pub fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if quoted.len() > 40 {
        let more = quoted.len() - 40;
        quoted.truncate(40);
        return format!("{} and {more} more", quoted.join(", "));
    }
    match quoted.pop() {
        None => String::new(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} and {last}", quoted.join(", ")),
    }
}

/// Edits between two words; swapping neighbours is one edit.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best = (last[j] + 1)
                .min(row[j - 1] + 1)
                .min(last[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let names = ["kprobes", "tracepoints", "lsmhooks", "lists"];
        for (word, expected) in [
            ("kprobe", Some("kprobes")),
            ("krpobes", Some("kprobes")),
            ("tracepoint", Some("tracepoints")),
            ("list", Some("lists")),
            ("spec", None),
            ("listsoffunctions", Some("lists")),
            ("", None),
        ] {
            assert_eq!(closest(word, names.into_iter()), expected, "{word}");
        }
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(list(["a"].into_iter()), "`a`");
        assert_eq!(list(["a", "b", "c"].into_iter()), "`a`, `b` and `c`");
    }
}
