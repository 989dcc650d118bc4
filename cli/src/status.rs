//! `tetra status`: whether the agent runs, and what it can enforce on its kernel.
//!
//! The agent has found out by trying, at its start: a program that denied a call of the agent's own, one that sent a signal. What
//! is not proved is said not to work.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Value, json};
use tetra_api::tetragon::get_info_response::Probe;
use tetra_api::tetragon::{GetHealthStatusRequest, GetInfoRequest, HealthStatus, HealthStatusResult};

use crate::arguments::{Connection, ListFormat, Status};
use crate::client::Client;

/// Probes that deny an operation, with what policies can do by them.
const DENY: [(&str, &str); 4] = [
    ("lsm", "lsmhooks, and kprobes on security_* functions"),
    ("fmodret", "kprobes on security_* functions"),
    ("fmodret_syscall", "system calls"),
    ("override_return", "functions that allow error injection"),
];
/// Probe that kills.
const KILL: &str = "signal";

/// Asks and prints.
pub(crate) async fn run(connection: &Connection, options: &Status) -> anyhow::Result<()> {
    let client = Client::connect(connection).await?;
    let health = client
        .call(|mut stub| async move { stub.get_health(GetHealthStatusRequest::default()).await })
        .await?
        .health_status;
    let probes = client
        .call(|mut stub| async move { stub.get_info(GetInfoRequest {}).await })
        .await?
        .probes;
    let text = match options.output {
        ListFormat::Text => text(&health, &probes),
        ListFormat::Json => format!("{:#}\n", json(&health, &probes)),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    anyhow::ensure!(
        is_healthy(&health),
        "the agent is not running as it should\nhelp: see its log"
    );
    Ok(())
}

fn is_healthy(health: &[HealthStatus]) -> bool {
    !health.is_empty()
        && health
            .iter()
            .all(|status| status.status() == HealthStatusResult::HealthStatusRunning)
}

/// Whether a probe succeeded; `None` if the agent does not say.
fn outcome(probes: &[Probe], name: &str) -> Option<bool> {
    probes.iter().find(|probe| probe.name == name)?.enabled
}

fn text(health: &[HealthStatus], probes: &[Probe]) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        // a String takes everything
        let _always = writeln!(text, "{line}");
    };
    for status in health {
        line(&format!("Health Status: {}", status.details));
    }
    line("Enforcement, tried by the agent on its own calls:");
    for (name, what) in DENY {
        let verdict = match outcome(probes, name) {
            Some(true) => "denies",
            Some(false) => "does not work",
            None => "not tried",
        };
        line(&format!("  {name:<16} {verdict:<14} {what}"));
    }
    let verdict = match outcome(probes, KILL) {
        Some(true) => "kills",
        Some(false) => "does not work",
        None => "not tried",
    };
    line(&format!("  {KILL:<16} {verdict:<14} every hook"));
    if DENY.iter().all(|(name, _)| outcome(probes, name) != Some(true)) {
        line("  No operation can be denied on this kernel: policies can only observe and kill.");
    }
    text
}

fn json(health: &[HealthStatus], probes: &[Probe]) -> Value {
    let deny: serde_json::Map<String, Value> = DENY
        .iter()
        .map(|(name, _)| ((*name).to_owned(), json!(outcome(probes, name))))
        .collect();
    json!({
        "healthy": is_healthy(health),
        "health": health.iter().map(|status| &status.details).collect::<Vec<_>>(),
        "enforcement": { "deny": deny, "kill": { KILL: outcome(probes, KILL) } },
    })
}
