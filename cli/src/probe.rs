//! `tetra probe`: what this kernel can do, found out by trying.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde_json::{Map, json};

use crate::arguments::{ListFormat, Probe};

/// Tries everything and prints what works.
pub(crate) fn run(options: &Probe) -> anyhow::Result<()> {
    let report = kprobes::probe::report().context("cannot find out what this kernel can do")?;
    let mut out = io::stdout().lock();
    if options.output == ListFormat::Json {
        let findings = report.findings.iter().map(|finding| {
            let outcome = json!({ "works": finding.outcome.is_ok(), "reason": finding.outcome.as_ref().err() });
            (finding.feature.name().to_owned(), outcome)
        });
        return Ok(writeln!(out, "{:#}", json!(findings.collect::<Map<_, _>>()))?);
    }
    for finding in &report.findings {
        let feature = finding.feature;
        writeln!(out, "{}: {}", feature.name(), finding.outcome.is_ok())?;
        writeln!(out, "    {}", feature.purpose())?;
        if let Err(reason) = &finding.outcome {
            writeln!(out, "    {reason}")?;
        }
    }
    let enforcement = report.enforcement();
    let deny = enforcement
        .deny
        .iter()
        .map(|way| way.name())
        .collect::<Vec<_>>()
        .join(", ");
    writeln!(
        out,
        "deny operations: {}",
        if deny.is_empty() { "not possible" } else { &deny }
    )?;
    writeln!(
        out,
        "kill processes: {}",
        if enforcement.kill { "possible" } else { "not possible" }
    )?;
    Ok(())
}
