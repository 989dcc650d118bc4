//! The result of the benchmark: as a table, as JSON, and in the documentation.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::ROWS;
use crate::lab::Kernel;
use crate::process;

/// Lines of docs/PERFORMANCE.md between which a kernel's table stands.
fn markers(kernel: Kernel) -> (String, String) {
    let name = kernel.name();
    (
        format!("<!-- begin: cargo xtask bench kernel -k {name} --write-docs -->"),
        format!("<!-- end {name} -->"),
    )
}

/// One measured row.
struct Measured {
    row: &'static super::Row,
    base: u64,
    /// With agent and policy, or why it could not be measured.
    ours: Result<u64, String>,
    /// Each measurement, `{"base": [...], "ours": [...]}`: the figures above are the least of these.
    rounds: Value,
}

impl Measured {
    fn added(&self) -> Option<i64> {
        self.ours.as_ref().ok().map(|&ours| ours as i64 - self.base as i64)
    }

    /// How many times less than the reference; none where the reference adds nothing.
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    fn ratio(&self) -> String {
        match self.added() {
            Some(added) if added > 0 && self.row.reference > 0 => {
                format!("{:.1}", self.row.reference as f64 / added as f64)
            }
            _ => "–".to_owned(),
        }
    }
}

/// All rows of one run.
pub(super) struct Report {
    kernel: Kernel,
    rows: Vec<Measured>,
}

impl Report {
    /// Reads what the guest printed: one JSON object per line.
    pub(super) fn from_guest(kernel: Kernel, output: &[u8]) -> Result<Self> {
        let mut rows = Vec::new();
        for line in output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line)
                .with_context(|| format!("the guest printed `{}`", String::from_utf8_lossy(line)))?;
            let row = ROWS
                .iter()
                .find(|row| value["row"] == row.name)
                .context("the guest reports an unknown row")?;
            let base = value["base"].as_u64().context("the guest reports no base")?;
            let ours = value["ours"]
                .as_u64()
                .ok_or_else(|| value["error"].as_str().unwrap_or("no figure").to_owned());
            rows.push(Measured {
                row,
                base,
                ours,
                rounds: value["rounds"].clone(),
            });
        }
        Ok(Self { kernel, rows })
    }

    /// Whether every row has a figure.
    pub(super) fn is_complete(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.ours.is_ok())
    }

    /// `{"rows":[{"row","base","ours","added","rounds","reference","target"}]}`; a row without figure has `error`.
    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|measured| {
                let mut value = json!({
                    "row": measured.row.name,
                    "base": measured.base,
                    "reference": measured.row.reference,
                    "target": measured.row.target,
                });
                match &measured.ours {
                    Ok(ours) => {
                        value["ours"] = json!(ours);
                        value["added"] = json!(measured.added());
                        value["rounds"] = measured.rounds.clone();
                    }
                    Err(error) => value["error"] = json!(error),
                }
                value
            })
            .collect();
        json!({"kernel": self.kernel.name(), "unit": "guest instructions", "rows": rows})
    }

    /// The table for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "instructions per operation, kernel {} (reference: Tetragon, on 6.12)\n\n",
            self.kernel.name()
        );
        let head = ["row", "no agent", "ours", "added", "reference", "ratio", "target"];
        // writing to a string cannot fail
        let _infallible = writeln!(
            text,
            "{:<16} {:>9} {:>9} {:>8} {:>10} {:>6} {:>7}",
            head[0], head[1], head[2], head[3], head[4], head[5], head[6]
        );
        for measured in &self.rows {
            let (ours, added) = match (&measured.ours, measured.added()) {
                (Ok(ours), Some(added)) => (ours.to_string(), format!("{added:+}")),
                _ => ("failed".to_owned(), String::new()),
            };
            let reference = format!("{:+}", measured.row.reference);
            let _infallible = writeln!(
                text,
                "{:<16} {:>9} {ours:>9} {added:>8} {reference:>10} {:>6} {:>7}",
                measured.row.name,
                measured.base,
                measured.ratio(),
                measured.row.target
            );
        }
        for measured in &self.rows {
            if let Err(error) = &measured.ours {
                let _infallible = writeln!(text, "\n{}: {error}", measured.row.name);
            }
        }
        text
    }

    /// The table in Markdown.
    fn markdown(&self) -> String {
        let mut text = "| operation | row | no agent | with agent | added | reference adds | ratio | target |\n\
                        |---|---|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for measured in &self.rows {
            let (ours, added) = match (&measured.ours, measured.added()) {
                (Ok(ours), Some(added)) => (ours.to_string(), added.to_string()),
                _ => ("failed".to_owned(), "–".to_owned()),
            };
            // writing to a string cannot fail
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {ours} | {added} | {} | {} | {} |",
                measured.row.operation,
                measured.row.name,
                measured.base,
                measured.row.reference,
                measured.ratio(),
                measured.row.target
            );
        }
        text
    }

    /// Puts the table into docs/PERFORMANCE.md, in place of the one of the same kernel.
    pub(super) fn write_docs(&self) -> Result<()> {
        let (begin, end) = markers(self.kernel);
        replace_table(&begin, &end, &self.markdown())
    }
}

/// Puts a table into docs/PERFORMANCE.md, between the lines `begin` and `end`.
pub(super) fn replace_table(begin: &str, end: &str, table: &str) -> Result<()> {
    let path = process::workspace().join("docs/PERFORMANCE.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let missing = || format!("`{}` has no line `{begin}` followed by `{end}`", path.display());
    let start = text.find(begin).with_context(missing)? + begin.len();
    let length = text[start..].find(end).with_context(missing)?;
    let new = format!("{}\n\n{table}\n{}", &text[..start], &text[start + length..]);
    std::fs::write(&path, new).with_context(|| format!("writing `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let output = b"{\"row\":\"pread-miss\",\"base\":1000,\"ours\":1500}\n{\"row\":\"tcp\",\"base\":9,\"error\":\"no hook\"}\n";
        Report::from_guest(Kernel::V6_12, output).expect("a report")
    }

    #[test]
    fn added_is_the_difference() {
        let json = report().json();
        assert_eq!(json["rows"][0]["added"], 500);
        assert_eq!(json["rows"][1]["error"], "no hook");
    }

    #[test]
    fn a_row_without_figure_is_shown_and_makes_the_report_incomplete() {
        let report = report();
        assert!(!report.is_complete());
        assert!(report.text().contains("tcp: no hook"));
        assert!(report.text().contains("28.1"), "{}", report.text());
    }
}
