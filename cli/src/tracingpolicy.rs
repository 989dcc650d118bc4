//! `tetra tracingpolicy`: the policies of the running agent.

mod list;

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use tetra_api::tetragon::{
    AddTracingPolicyRequest, ConfigureTracingPolicyRequest, DeleteTracingPolicyRequest, ListDomainsRequest,
    ListTracingPoliciesRequest, TracingPolicyMode,
};

use crate::arguments::{Connection, ListFormat, Mode, PolicyName, TracingPolicy};
use crate::client::Client;

/// Runs the command.
pub(crate) async fn run(connection: &Connection, command: &TracingPolicy) -> anyhow::Result<()> {
    match command {
        TracingPolicy::Add { files, mode, domain } => {
            for file in files {
                let yaml = read(file)?;
                let yaml = match mode {
                    Some(mode) => {
                        crate::policy::with_mode(&yaml, *mode).with_context(|| format!("{}", file.display()))?
                    }
                    None => yaml,
                };
                let client = Client::connect(connection).await?;
                let request = AddTracingPolicyRequest {
                    yaml,
                    domain: domain.clone(),
                };
                client
                    .call(|mut stub| {
                        let request = request.clone();
                        async move { stub.add_tracing_policy(request).await }
                    })
                    .await
                    .map_err(|error| not_added(file, &error))?;
                say(&format!("tracing policy \"{}\" added", file.display()))?;
            }
            Ok(())
        }
        TracingPolicy::Delete(policy) => {
            let client = Client::connect(connection).await?;
            let PolicyName {
                name,
                namespace,
                domain,
            } = policy;
            let request = DeleteTracingPolicyRequest {
                name: name.clone(),
                namespace: namespace.clone(),
                domain: domain.clone(),
            };
            client
                .call(|mut stub| {
                    let request = request.clone();
                    async move { stub.delete_tracing_policy(request).await }
                })
                .await?;
            say(&format!("tracing policy \"{name}\" deleted"))
        }
        TracingPolicy::Enable(policy) => configure(connection, policy, Some(true), None, "enabled").await,
        TracingPolicy::Disable(policy) => configure(connection, policy, Some(false), None, "disabled").await,
        TracingPolicy::SetMode { policy, mode } => {
            let (mode, done) = match mode {
                Mode::Enforce => (TracingPolicyMode::TpModeEnforce, "set to enforce"),
                Mode::Monitor => (TracingPolicyMode::TpModeMonitor, "set to monitor"),
            };
            configure(connection, policy, None, Some(mode), done).await
        }
        TracingPolicy::List { output, domain } => {
            let client = Client::connect(connection).await?;
            let request = ListTracingPoliciesRequest { domain: domain.clone() };
            let answer = client
                .call(|mut stub| {
                    let request = request.clone();
                    async move { stub.list_tracing_policies(request).await }
                })
                .await?;
            match output {
                ListFormat::Json => say(&serde_json::to_string_pretty(&answer)?),
                ListFormat::Text if answer.policies.is_empty() => {
                    say("no policies are loaded; load one with `tetra tracingpolicy add FILE`")
                }
                ListFormat::Text => say(list::table(&answer.policies).trim_end()),
            }
        }
        TracingPolicy::Domains { output } => {
            let client = Client::connect(connection).await?;
            let answer = client
                .call(|mut stub| async move { stub.list_domains(ListDomainsRequest {}).await })
                .await?;
            match output {
                ListFormat::Json => say(&serde_json::to_string_pretty(&answer)?),
                ListFormat::Text => answer.domains.iter().try_for_each(|domain| say(domain)),
            }
        }
    }
}

/// The agent's words, on lines of their own if they are diagnostics that show lines of the policy.
fn not_added(file: &Path, error: &anyhow::Error) -> anyhow::Error {
    let words = error.to_string();
    let separator = if words.contains('\n') { "\n" } else { ": " };
    anyhow!("tracing policy \"{}\" not added{separator}{words}", file.display())
}

async fn configure(
    connection: &Connection,
    policy: &PolicyName,
    enable: Option<bool>,
    mode: Option<TracingPolicyMode>,
    done: &str,
) -> anyhow::Result<()> {
    let client = Client::connect(connection).await?;
    let request = ConfigureTracingPolicyRequest {
        name: policy.name.clone(),
        namespace: policy.namespace.clone(),
        enable,
        mode: mode.map(Into::into),
        domain: policy.domain.clone(),
    };
    client
        .call(|mut stub| {
            let request = request.clone();
            async move { stub.configure_tracing_policy(request).await }
        })
        .await?;
    say(&format!("tracing policy \"{}\" {done}", policy.name))
}

/// Reads a file, or standard input for `-`.
fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    }
    if text.trim().is_empty() {
        bail!("`{}` is empty", file.display());
    }
    Ok(text)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}
