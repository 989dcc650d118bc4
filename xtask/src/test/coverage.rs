//! Which parts of the policy language the differential tests have reached, summed over their hooks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A file that tests append their coverage to, a line for each operator on a type and each action.
pub(super) struct File(PathBuf);

impl File {
    pub(super) fn new() -> Self {
        let file = Self(std::env::temp_dir().join(format!("tetra-coverage-{}", std::process::id())));
        file.remove();
        file
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The table, for people.
    pub(super) fn table(&self) -> String {
        table(&std::fs::read_to_string(&self.0).unwrap_or_default())
    }

    fn remove(&self) {
        // there is none if no test wrote to it
        let _none = std::fs::remove_file(&self.0);
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.remove();
    }
}

/// How often, and at which kinds of hook.
type Row<'t> = ([u64; 3], BTreeSet<&'t str>);

/// Sums up lines of `hook kind, type, operator, yes, no, undecided`, separated by tabs.
fn table(text: &str) -> String {
    let mut operators: BTreeMap<(&str, &str), Row<'_>> = BTreeMap::new();
    let mut actions: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for line in text.lines() {
        let [kind, of, operator, counts @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else {
            continue;
        };
        let mut numbers = [0; 3];
        for (number, count) in numbers.iter_mut().zip(counts) {
            *number = count.parse().unwrap_or(0);
        }
        if *of == "action" {
            *actions.entry(kind).or_default().entry(operator).or_default() += numbers[0];
            continue;
        }
        let (sums, kinds) = operators.entry((of, operator)).or_default();
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
        kinds.insert(kind);
    }
    let mut table =
        String::from("coverage of the differential tests: how often a filter held, did not, could not be told\n");
    // writing to a string cannot fail
    let _infallible = writeln!(
        table,
        "{:<34} {:<20} {:>8} {:>8} {:>9}  hooks",
        "type", "operator", "yes", "no", "undecided"
    );
    for ((of, operator), ([yes, no, undecided], kinds)) in &operators {
        let kinds: Vec<&str> = kinds.iter().copied().collect();
        let hole = if *yes == 0 || *no == 0 { " (one-sided)" } else { "" };
        let _infallible = writeln!(
            table,
            "{of:<34} {operator:<20} {yes:>8} {no:>8} {undecided:>9}  {}{hole}",
            kinds.join(", ")
        );
    }
    for (kind, counts) in &actions {
        let counts: Vec<String> = counts
            .iter()
            .map(|(action, count)| format!("{action} {count}"))
            .collect();
        let _infallible = writeln!(table, "actions at {kind:<12} {}", counts.join(", "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn hooks_are_summed_up() {
        let text = "lsm\tInt32\tEqual\t1\t2\t0\nkprobe\tInt32\tEqual\t3\t4\t5\nlsm\taction\tpost\t7\t0\t0\n";
        let table = table(text);
        let row = table.lines().find(|line| line.starts_with("Int32")).expect("a row");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["Int32", "Equal", "4", "6", "5", "kprobe,", "lsm"]
        );
        assert!(table.contains("actions at lsm          post 7"), "{table}");
    }
}
