//! What many policies on one hook cost a call that none of them is interested in.
//!
//! For each series an agent is started with 1, 10, 100 and 1,000 policies that differ in one value. A call that matches none
//! should cost about the same with each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::lab::Kernel;

/// Numbers of policies.
const SIZES: [usize; 4] = [1, 10, 100, 1000];
/// How many times what one policy adds a thousand may add.
const LIMIT: f64 = 2.0;
/// Policies are loaded in a guest without hardware acceleration that counts its instructions.
const PATIENCE: Duration = Duration::from_mins(5);

/// Policies that differ in one value, and an operation that is none of theirs.
struct Series {
    name: &'static str,
    /// What the policies differ in, and on which hook.
    what: &'static str,
    /// Arguments of the benchmark program; `{}` stands for its directory.
    program: &'static [&'static str],
    /// Hook of the policies; `{}` stands for the value.
    hook: &'static str,
    /// The value of a policy by its number.
    value: fn(usize) -> String,
}

const SERIES: [Series; 5] = [
    Series {
        name: "prefixes",
        what: "path prefixes on security_file_permission; pread",
        program: &["pread", "{}/miss"],
        hook: r#"call: "security_file_permission"
    syscall: false
    args: [{index: 0, type: "file"}]
    selectors:
    - matchArgs: [{index: 0, operator: "Prefix", values: ["{}"]}]"#,
        value: |i| format!("/srv/tenant-{i:04}/"),
    },
    Series {
        name: "binaries",
        what: "binaries on security_file_permission; pread",
        program: &["pread", "{}/miss"],
        hook: r#"call: "security_file_permission"
    syscall: false
    args: [{index: 0, type: "file"}]
    selectors:
    - matchBinaries: [{operator: "In", values: ["{}"]}]"#,
        value: |i| format!("/opt/tenant-{i:04}/bin/server"),
    },
    Series {
        name: "ports",
        what: "destination ports on tcp_connect; connect, accept, close",
        program: &["tcp"],
        hook: r#"call: "tcp_connect"
    syscall: false
    args: [{index: 0, type: "sock"}]
    selectors:
    - matchArgs: [{index: 0, operator: "DPort", values: ["{}"]}]"#,
        value: |i| (20_000 + i).to_string(),
    },
    Series {
        name: "users",
        what: "user ids on setuid; setuid(0)",
        program: &["setuid"],
        hook: r#"call: "sys_setuid"
    syscall: true
    args: [{index: 0, type: "int"}]
    selectors:
    - matchArgs: [{index: 0, operator: "Equal", values: ["{}"]}]
      matchActions: [{action: Sigkill}]"#,
        value: |i| (50_000 + i).to_string(),
    },
    Series {
        name: "strings",
        what: "path prefixes on the openat system call; open, close",
        program: &["open", "{}/miss"],
        hook: r#"call: "sys_openat"
    syscall: true
    args: [{index: 1, type: "string"}]
    selectors:
    - matchArgs: [{index: 1, operator: "Prefix", values: ["{}"]}]"#,
        value: |i| format!("/srv/tenant-{i:04}/"),
    },
];

impl Series {
    fn policy(&self, number: usize) -> String {
        let hook = self.hook.replace("{}", &(self.value)(number));
        let name = format!("{}-{number:04}", self.name);
        format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n  kprobes:\n  - {hook}\n"
        )
    }
}

/// What the guest's half needs.
pub(super) struct Guest<'a> {
    pub(super) agent: &'a Path,
    pub(super) cli: &'a Path,
    /// Files of the benchmark.
    pub(super) directory: &'a Path,
    /// Runs the benchmark program: instructions of one turn.
    pub(super) measure: &'a dyn Fn(&[&str]) -> Result<u64>,
}

impl Guest<'_> {
    /// Measures all series; one line of JSON per series goes to standard output.
    pub(super) fn run(&self) -> Result<()> {
        for series in &SERIES {
            let base = (self.measure)(series.program)?;
            let mut sizes = Vec::new();
            for size in SIZES {
                eprintln!("  {} {size}", series.name);
                let measured = self.with_policies(series, size);
                sizes.push(match measured {
                    Ok(value) => value,
                    Err(error) => json!({"policies": size, "error": format!("{error:#}")}),
                });
            }
            println!("{}", json!({"series": series.name, "base": base, "sizes": sizes}));
        }
        Ok(())
    }

    fn with_policies(&self, series: &Series, size: usize) -> Result<Value> {
        let state = self.directory.join(format!("{}-{size}", series.name));
        let policies = state.join("policies");
        std::fs::create_dir_all(&policies)?;
        for number in 0..size {
            std::fs::write(policies.join(format!("{number:04}.yaml")), series.policy(number))?;
        }
        let one_more = state.join("one-more.yaml");
        std::fs::write(&one_more, series.policy(size))?;
        let options = [
            "--export-filename".to_owned(),
            state.join("events.json").display().to_string(),
            "--tracing-policy-dir".to_owned(),
            policies.display().to_string(),
        ];
        let agent = Agent::start(self.agent, self.cli, &state, &options, PATIENCE)?;
        let in_force = self.policies_in_force(&agent)?;
        ensure!(
            in_force == size,
            "{in_force} of {size} policies are in force\n{}",
            agent.log()
        );
        let ours = (self.measure)(series.program)?;
        let start = Instant::now();
        agent.tetra(&["tracingpolicy", "add", &one_more.display().to_string()])?;
        let one_more = start.elapsed();
        agent.stop()?;
        Ok(json!({
            "policies": size,
            "ours": ours,
            "one_more_ms": u64::try_from(one_more.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    #[expect(clippy::unused_self, reason = "it is the guest that is asked")]
    fn policies_in_force(&self, agent: &Agent) -> Result<usize> {
        let list = agent.tetra(&["tracingpolicy", "list", "-o", "json"])?;
        let list: Value = serde_json::from_str(&list).with_context(|| format!("the list is no JSON: {list}"))?;
        let policies = list["policies"].as_array().context("the list has no policies")?;
        let enabled = |policy: &&Value| policy["state"] == "TP_STATE_ENABLED";
        Ok(policies.iter().filter(enabled).count())
    }
}

/// One series of a run.
struct Curve {
    name: String,
    what: &'static str,
    base: u64,
    sizes: Vec<Value>,
}

impl Curve {
    fn added(&self, size: usize) -> Option<i64> {
        let measured = self.sizes.iter().find(|value| value["policies"] == size)?;
        Some(measured["ours"].as_u64()? as i64 - self.base as i64)
    }

    /// How many times what one policy adds the most policies add.
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    fn ratio(&self) -> Option<f64> {
        let (one, most) = (self.added(SIZES[0])?, self.added(SIZES[SIZES.len() - 1])?);
        (one > 0).then(|| most as f64 / one as f64)
    }
}

/// All series of one run.
pub(super) struct Report {
    kernel: Kernel,
    curves: Vec<Curve>,
}

impl Report {
    /// Reads what the guest printed.
    pub(super) fn from_guest(kernel: Kernel, output: &[u8]) -> Result<Self> {
        let mut curves = Vec::new();
        for line in output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line)
                .with_context(|| format!("the guest printed `{}`", String::from_utf8_lossy(line)))?;
            let series = SERIES
                .iter()
                .find(|series| value["series"] == series.name)
                .context("the guest reports an unknown series")?;
            curves.push(Curve {
                name: series.name.to_owned(),
                what: series.what,
                base: value["base"].as_u64().context("the guest reports no base")?,
                sizes: value["sizes"].as_array().cloned().unwrap_or_default(),
            });
        }
        Ok(Self { kernel, curves })
    }

    /// Whether every figure is there and within the limit.
    pub(super) fn is_good(&self) -> bool {
        self.curves.len() == SERIES.len()
            && self
                .curves
                .iter()
                .all(|curve| curve.ratio().is_some_and(|ratio| ratio <= LIMIT))
    }

    pub(super) fn json(&self) -> Value {
        let series: Vec<Value> = self
            .curves
            .iter()
            .map(|curve| {
                json!({"series": curve.name, "base": curve.base, "sizes": curve.sizes, "ratio": curve.ratio(), "limit": LIMIT})
            })
            .collect();
        json!({"kernel": self.kernel.name(), "unit": "guest instructions", "scale": series})
    }

    fn cells(&self) -> impl Iterator<Item = (&Curve, Vec<String>, String, String)> {
        self.curves.iter().map(|curve| {
            let added = SIZES
                .iter()
                .map(|size| {
                    curve
                        .added(*size)
                        .map_or("failed".to_owned(), |added| added.to_string())
                })
                .collect();
            let ratio = curve.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.1}"));
            let one_more = curve.sizes.last().and_then(|value| value["one_more_ms"].as_u64());
            let one_more = one_more.map_or("–".to_owned(), |ms| ms.to_string());
            (curve, added, ratio, one_more)
        })
    }

    /// The table for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "instructions that policies add to a call that matches none, kernel {}\n\n{:<10} {:>9} {:>8} {:>8} {:>8} {:>8} {:>6} {:>12}\n",
            self.kernel.name(),
            "series",
            "no agent",
            1,
            10,
            100,
            1000,
            "ratio",
            "one more, ms"
        );
        for (curve, added, ratio, one_more) in self.cells() {
            // writing to a string cannot fail
            let _infallible = writeln!(
                text,
                "{:<10} {:>9} {:>8} {:>8} {:>8} {:>8} {ratio:>6} {one_more:>12}",
                curve.name, curve.base, added[0], added[1], added[2], added[3]
            );
        }
        for curve in &self.curves {
            for value in &curve.sizes {
                if let Some(error) = value["error"].as_str() {
                    let _infallible = writeln!(text, "\n{} with {} policies: {error}", curve.name, value["policies"]);
                }
            }
        }
        text
    }

    /// The table in Markdown.
    fn markdown(&self) -> String {
        let mut text = "| policies differ in | no agent | 1 | 10 | 100 | 1,000 | ratio | one more, ms |\n\
                        |---|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for (curve, added, ratio, one_more) in self.cells() {
            // writing to a string cannot fail
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {ratio} | {one_more} |",
                curve.what,
                curve.base,
                added.join(" | ")
            );
        }
        text
    }

    /// Puts the table into docs/PERFORMANCE.md.
    pub(super) fn write_docs(&self) -> Result<()> {
        let name = self.kernel.name();
        super::report::replace_table(
            &format!("<!-- begin: cargo xtask bench kernel -k {name} --scale --write-docs -->"),
            &format!("<!-- end {name} --scale -->"),
            &self.markdown(),
        )
    }
}

/// Where the guest's half finds its files.
pub(super) fn directory() -> PathBuf {
    PathBuf::from("/run/tetra-scale")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(thousand: u64) -> Report {
        let sizes = [(1, 400), (10, 410), (100, 420), (1000, thousand)];
        let sizes: Vec<Value> = sizes
            .iter()
            .map(|(policies, ours)| json!({"policies": policies, "ours": ours, "one_more_ms": 7}))
            .collect();
        let lines: Vec<String> = SERIES
            .iter()
            .map(|series| json!({"series": series.name, "base": 300, "sizes": sizes}).to_string())
            .collect();
        Report::from_guest(Kernel::V6_12, lines.join("\n").as_bytes()).expect("a report")
    }

    #[test]
    fn a_thousand_policies_may_cost_twice_as_much_as_one() {
        assert!(report(500).is_good());
        assert!(!report(501).is_good());
        assert!(report(500).text().contains("2.0"));
    }

    #[test]
    fn policies_are_what_the_agent_accepts() {
        for series in &SERIES {
            let text = series.policy(7);
            assert!(text.contains(&(series.value)(7)), "{text}");
        }
    }
}
