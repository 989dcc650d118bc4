//! Questions about the agent itself: `tetra version`, `info` and `loglevel`.

use std::io::{self, Write as _};

use serde_json::{Map, Value, json};
use tetra_api::tetragon::{
    ConfigFlag, GetDebugRequest, GetInfoRequest, GetVersionRequest, SetDebugRequest, get_debug_response,
    set_debug_request,
};

use crate::arguments::{Connection, Level, LogLevel, Version};
use crate::client::Client;

/// `tetra version`.
pub(crate) async fn version(connection: &Connection, options: &Version) -> anyhow::Result<()> {
    say(&format!("CLI version: v{}", env!("CARGO_PKG_VERSION")))?;
    if options.build {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        say(&format!(
            "Build: {} {}, {profile}",
            std::env::consts::ARCH,
            std::env::consts::OS
        ))?;
    }
    if options.server {
        let client = Client::connect(connection).await?;
        let answer = client
            .call(|mut stub| async move { stub.get_version(GetVersionRequest {}).await })
            .await?;
        say(&format!("Server version: {}", answer.version))?;
    }
    Ok(())
}

/// `tetra info`.
pub(crate) async fn info(connection: &Connection) -> anyhow::Result<()> {
    let client = Client::connect(connection).await?;
    let answer = client
        .call(|mut stub| async move { stub.get_info(GetInfoRequest {}).await })
        .await?;
    let probes = answer
        .probes
        .iter()
        .map(|probe| (probe.name.clone(), json!(probe.enabled)))
        .collect::<Map<String, Value>>();
    let settings = answer.conf.iter().map(|setting| {
        let value = setting.value.as_ref().and_then(tetra_api::Any::to_value);
        (setting.key.clone(), value.unwrap_or_default())
    });
    let info = json!({
        "Name": answer.name,
        "Version": answer.version,
        "Probes": probes,
        "Conf": settings.collect::<Map<String, Value>>(),
        "Build": answer.build,
    });
    say(&serde_json::to_string_pretty(&info)?)
}

/// `tetra loglevel`.
pub(crate) async fn log_level(connection: &Connection, command: &LogLevel) -> anyhow::Result<()> {
    use tetra_api::tetragon::LogLevel as Wire;

    let client = Client::connect(connection).await?;
    let flag = ConfigFlag::LogLevel.into();
    let level = match command {
        LogLevel::Get => {
            let request = GetDebugRequest { flag, arg: None };
            let answer = client
                .call(|mut stub| async move { stub.get_debug(request).await })
                .await?;
            match answer.arg {
                Some(get_debug_response::Arg::Level(level)) => Wire::try_from(level).ok(),
                _ => None,
            }
        }
        LogLevel::Set { level } => {
            let level = match level {
                Level::Panic => Wire::Panic,
                Level::Fatal => Wire::Fatal,
                Level::Error => Wire::Error,
                Level::Warning => Wire::Warn,
                Level::Info => Wire::Info,
                Level::Debug => Wire::Debug,
                Level::Trace => Wire::Trace,
            };
            let request = SetDebugRequest {
                flag,
                arg: Some(set_debug_request::Arg::Level(level.into())),
            };
            client
                .call(|mut stub| async move { stub.set_debug(request).await })
                .await?;
            Some(level)
        }
    };
    let name = match level {
        Some(Wire::Panic) => "panic",
        Some(Wire::Fatal) => "fatal",
        Some(Wire::Error) => "error",
        Some(Wire::Warn) => "warning",
        Some(Wire::Info) => "info",
        Some(Wire::Debug) => "debug",
        Some(Wire::Trace) => "trace",
        None => "unknown",
    };
    say(&format!("log level: {name}"))
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}
