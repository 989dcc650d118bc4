//! Tables that are written anew with what tests in guests print: they cannot write to this machine.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// A table of the tests, with lines that begin with the name of a kernel.
pub(super) struct Kind {
    /// Set by whoever wants it written.
    pub(super) variable: &'static str,
    /// What a line begins with that a test prints.
    mark: &'static str,
    path: &'static str,
}

/// All of them.
pub(super) const KINDS: [Kind; 2] = [
    Kind {
        variable: "UPDATE_BUDGETS",
        mark: "budget\t",
        path: "kprobes/tests/budgets.tsv",
    },
    Kind {
        variable: "UPDATE_CONFORMANCE",
        mark: "conformance\t",
        path: "kprobes/tests/conformance.tsv",
    },
];

/// Held while a table is read and written: guests end at any time.
static WRITING: Mutex<()> = Mutex::new(());

/// Lines of one kernel's test run, for each table.
#[derive(Default)]
pub(super) struct Lines([Vec<String>; KINDS.len()]);

impl Lines {
    /// Takes a line if it is one of a table.
    pub(super) fn line(&mut self, line: &str) -> bool {
        for (kind, lines) in KINDS.iter().zip(&mut self.0) {
            if let Some(rest) = line.strip_prefix(kind.mark) {
                lines.push(rest.to_owned());
                return true;
            }
        }
        false
    }

    /// Writes them to the tables in place of the kernel's.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn write(&self, kernel: &str) -> Result<()> {
        for (kind, lines) in KINDS.iter().zip(&self.0).filter(|(_, lines)| !lines.is_empty()) {
            // the text is always whole, even if a thread panics while it has this
            let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            let path: &Path = &crate::process::workspace().join(kind.path);
            let table = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            std::fs::write(path, replaced(&table, kernel, lines))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// The table with a kernel's lines replaced, sorted by kernel and what follows.
fn replaced(table: &str, kernel: &str, lines: &[String]) -> String {
    let (head, body): (Vec<&str>, Vec<&str>) = table.lines().partition(|line| line.starts_with('#'));
    let of_others = body
        .into_iter()
        .filter(|line| line.split('\t').next() != Some(kernel) && !line.is_empty());
    let mut body: Vec<&str> = of_others.chain(lines.iter().map(String::as_str)).collect();
    // 5.10 comes before 6.1, and 6.1 before 6.12
    let version = |line: &str| -> Vec<u32> {
        let kernel = line.split('\t').next().unwrap_or_default();
        kernel.split('.').filter_map(|number| number.parse().ok()).collect()
    };
    body.sort_by(|a, b| version(a).cmp(&version(b)).then_with(|| a.cmp(b)));
    let mut text: String = head.into_iter().chain(body).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{Lines, replaced};

    #[test]
    fn a_kernels_lines_take_the_place_of_its_own() {
        let mut lines = Lines::default();
        assert!(!lines.line("test a ... ok"));
        assert!(lines.line("budget\t6.1\tb.yaml\tlsm/file_open\t7"));
        assert!(lines.line("budget\t6.1\ta.yaml\tlsm/file_open\t8"));
        let table = "# head\n5.10\ta.yaml\tx\t1\n6.1\tgone.yaml\tx\t2\n6.12\ta.yaml\tx\t3\n";
        assert_eq!(
            replaced(table, "6.1", &lines.0[0]),
            "# head\n5.10\ta.yaml\tx\t1\n6.1\ta.yaml\tlsm/file_open\t8\n6.1\tb.yaml\tlsm/file_open\t7\n6.12\ta.yaml\tx\t3\n"
        );
    }
}
