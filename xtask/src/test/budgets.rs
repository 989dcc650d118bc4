//! The table of verifier budgets, written anew with what tests in guests print: they cannot write to this machine.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// Set by whoever wants the table written.
pub(super) const VARIABLE: &str = "UPDATE_BUDGETS";

/// Held while the table is read and written: guests end at any time.
static WRITING: Mutex<()> = Mutex::new(());

/// What a line with a budget begins with.
const MARK: &str = "budget\t";

fn path() -> PathBuf {
    crate::process::workspace().join("kprobes/tests/budgets.tsv")
}

/// Lines of one kernel's test run.
#[derive(Default)]
pub(super) struct Budgets(Vec<String>);

impl Budgets {
    /// Takes a line if it has a budget.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix(MARK) else {
            return false;
        };
        self.0.push(rest.to_owned());
        true
    }

    /// Writes them to the table in place of the kernel's.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn write(&self, kernel: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        // the text is always whole, even if a thread panics while it has this
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path: &Path = &path();
        let table = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        std::fs::write(path, replaced(&table, kernel, &self.0)).with_context(|| format!("writing {}", path.display()))
    }
}

/// The table with a kernel's lines replaced, sorted by kernel, policy and hook.
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
    use super::{Budgets, replaced};

    #[test]
    fn a_kernels_lines_take_the_place_of_its_own() {
        let mut budgets = Budgets::default();
        assert!(!budgets.line("test a ... ok"));
        assert!(budgets.line("budget\t6.1\tb.yaml\tlsm/file_open\t7"));
        assert!(budgets.line("budget\t6.1\ta.yaml\tlsm/file_open\t8"));
        let table = "# head\n5.10\ta.yaml\tx\t1\n6.1\tgone.yaml\tx\t2\n6.12\ta.yaml\tx\t3\n";
        assert_eq!(
            replaced(table, "6.1", &budgets.0),
            "# head\n5.10\ta.yaml\tx\t1\n6.1\ta.yaml\tlsm/file_open\t8\n6.1\tb.yaml\tlsm/file_open\t7\n6.12\ta.yaml\tx\t3\n"
        );
    }
}
