//! Configuration: flags, environment, files; each setting with the place it came from.
//!
//! Precedence, from the strongest: command line, `TETRAGON_*` environment, then files, later ones over earlier ones (see
//! `sources`). A setting that this agent doesn't implement is refused, unless it has its default value.

mod flags;
mod sources;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use flags::{FLAGS, Flag, Kind, Support, UNINSTALL, command};
pub use sources::{Layers, Setting};
pub use value::parse_duration;

use crate::filter::{FieldFilters, FilterError, FilterLists, FilterOptions, parse_field_filters, parse_filters};
use crate::metrics;
use crate::process::TableConfig;

/// Why the agent does not start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting has a value it can't have.
    #[error("`{flag}` = `{value}` ({origin}): {reason}")]
    Value {
        /// Name of the flag.
        flag: String,
        /// Its value.
        value: String,
        /// Where it was set.
        origin: String,
        /// What would be right.
        reason: String,
    },
    /// A setting that this agent does not implement.
    #[error("`{flag}` = `{value}` ({origin}) is not implemented by this agent: {reason}")]
    Unsupported {
        /// Name of the flag.
        flag: String,
        /// Its value.
        value: String,
        /// Where it was set.
        origin: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// A setting that no version knows.
    #[error("unknown setting `{flag}` ({origin})")]
    Unknown {
        /// Name of the flag.
        flag: String,
        /// Where it was set.
        origin: String,
    },
    /// A file that has to be read can't be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A filter can't be honoured.
    #[error("`{flag}`: {source}")]
    Filter {
        /// Name of the flag.
        flag: &'static str,
        /// What is wrong.
        source: FilterError,
    },
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Where the API is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// Not at all.
    None,
    /// On a unix socket.
    Unix(PathBuf),
    /// On a TCP port, for everybody who reaches it.
    Tcp(String),
}

/// The JSON export.
#[derive(Debug)]
pub struct ExportConfig {
    /// File to write to; `-` is standard output.
    pub filename: PathBuf,
    /// Which events.
    pub filters: FilterLists,
    /// Which of their fields.
    pub field_filters: FieldFilters,
    /// Size at which the file is rotated, in bytes.
    pub max_size_bytes: u64,
    /// Rotated files that are kept.
    pub max_backups: usize,
    /// Permission bits of the files.
    pub permission: u32,
    /// Age at which the file is rotated; zero: never.
    pub rotation_interval: Duration,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// Events that are exported in a minute; `None`: all.
    pub per_minute: Option<u32>,
}

/// Everything the agent is told.
#[derive(Debug)]
#[allow(
    missing_docs,
    reason = "each field is the flag of its name, documented in the flag table"
)]
pub struct Config {
    pub log_level: String,
    pub log_format: LogFormat,
    pub node_name: String,
    pub cluster_name: String,
    pub server_address: ServerAddress,
    /// `host:port` where metrics are served; `None`: nowhere.
    pub metrics_address: Option<String>,
    /// Whether events are counted for them, and under which labels.
    pub event_metrics: Option<metrics::Labels>,
    /// `host:port` where the health service is served; `None`: nowhere.
    pub health_address: Option<String>,
    /// Directory of pid file and info file.
    pub run_dir: PathBuf,
    /// Directory of pinned objects, below the bpf file system.
    pub bpf_dir: PathBuf,
    pub keep_sensors_on_exit: bool,
    pub procfs: PathBuf,
    /// Addresses stay in stack traces.
    pub expose_stack_addresses: bool,
    pub export: Option<ExportConfig>,
    pub filter_options: FilterOptions,
    pub table: TableConfig,
    pub event_queue_size: usize,
    pub enable_process_ns: bool,
    pub enable_process_cred: bool,
    pub enable_deprecated_policy_calls: bool,
    pub execve_map_entries: u32,
    /// Bytes of one ring; 0: the loader's choice.
    pub ring_bytes: u32,
    pub tracing_policy: Option<PathBuf>,
    pub tracing_policy_dir: PathBuf,
    /// Whether `tracing_policy_dir` was set by the user: then it must exist.
    pub tracing_policy_dir_given: bool,
    /// All settings in force, by name, for `tetra info`.
    pub effective: BTreeMap<&'static str, Setting>,
}

impl Config {
    /// Makes the configuration from its layers.
    ///
    /// # Errors
    /// The first setting that can't be honoured.
    pub fn new(layers: &Layers) -> Result<Self, ConfigError> {
        let effective = layers.effective()?;
        let get = value::Values::new(&effective);
        let ancestors = ancestors(&get)?;
        let enable_process_cred = get.boolean("enable-process-cred")?;
        let filter_options = FilterOptions {
            ancestors,
            credentials: enable_process_cred,
            pid_sets: get.boolean("enable-pid-set-filter")?,
        };
        let log_format = match get.text("log-format") {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => return Err(get.wrong("log-format", "must be `text` or `json`")),
        };
        let table = TableConfig {
            capacity: get.number("process-cache-size")?,
            gc_interval: get.duration("process-cache-gc-interval")?,
            data_cache_size: get.number("data-cache-size")?,
            ancestors,
            ..TableConfig::default()
        };
        Ok(Self {
            log_level: log_level(&get)?,
            log_format,
            node_name: node_name(),
            cluster_name: get.text("cluster-name").to_owned(),
            server_address: server_address(&get)?,
            metrics_address: match get.text("metrics-server") {
                "" => None,
                _ => Some(tcp_address(&get, "metrics-server")?),
            },
            event_metrics: event_metrics(&get)?,
            health_address: match get.text("health-server-address") {
                "" => None,
                _ => Some(tcp_address(&get, "health-server-address")?),
            },
            run_dir: get.text("run-dir").into(),
            bpf_dir: bpf_dir(&get)?,
            keep_sensors_on_exit: get.boolean("keep-sensors-on-exit")?,
            procfs: get.text("procfs").into(),
            expose_stack_addresses: get.boolean("expose-stack-addresses")?,
            export: export(&get, filter_options)?,
            filter_options,
            table,
            event_queue_size: get.number::<usize>("event-queue-size")?.max(1),
            enable_process_ns: get.boolean("enable-process-ns")?,
            enable_process_cred,
            enable_deprecated_policy_calls: get.boolean("enable-deprecated-tracingpolicy-grpc")?,
            execve_map_entries: get.number("execve-map-entries")?,
            ring_bytes: ring_bytes(&get)?,
            tracing_policy: Some(PathBuf::from(get.text("tracing-policy"))).filter(|path| !path.as_os_str().is_empty()),
            tracing_policy_dir: policy_dir(&get)?,
            tracing_policy_dir_given: get.is_given("tracing-policy-dir"),
            effective,
        })
    }
}

fn log_level(get: &value::Values<'_>) -> Result<String, ConfigError> {
    if get.boolean("debug")? {
        return Ok("debug".to_owned());
    }
    match get.text("log-level") {
        level @ ("trace" | "debug" | "info" | "error") => Ok(level.to_owned()),
        "warn" | "warning" => Ok("warn".to_owned()),
        "fatal" | "panic" => Ok("error".to_owned()),
        _ => Err(get.wrong(
            "log-level",
            "must be one of trace, debug, info, warning, error, fatal, panic",
        )),
    }
}

/// As consumers expect it: the name in the cluster, else that of the machine.
fn node_name() -> String {
    ["HUBBLE_NODE_NAME", "NODE_NAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .or_else(|| {
            nix::unistd::gethostname()
                .ok()
                .map(|name| name.to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| "localhost".to_owned())
}

fn server_address(get: &value::Values<'_>) -> Result<ServerAddress, ConfigError> {
    match get.text("server-address") {
        "" => Ok(ServerAddress::None),
        address => match address.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(ServerAddress::Unix(path.into())),
            Some(_) => Err(get.wrong("server-address", "the path after `unix://` must be absolute")),
            None => tcp_address(get, "server-address").map(ServerAddress::Tcp),
        },
    }
}

/// Labels that are not in the list stay empty. `namespace`, `workload` and `pod` are so in any case: nothing is known of pods yet.
fn event_metrics(get: &value::Values<'_>) -> Result<Option<metrics::Labels>, ConfigError> {
    let names = get.list("metrics-label-filter");
    let known = ["namespace", "workload", "pod", "binary", "node_name"];
    if names.iter().any(|name| !known.contains(name)) {
        return Err(get.wrong(
            "metrics-label-filter",
            "the labels are namespace, workload, pod, binary and node_name",
        ));
    }
    Ok(get.boolean("enable-event-metrics")?.then_some(metrics::Labels {
        binary: names.contains(&"binary"),
        node_name: names.contains(&"node_name"),
    }))
}

/// `host:port` or `:port`, which is all addresses of the machine.
fn tcp_address(get: &value::Values<'_>, name: &'static str) -> Result<String, ConfigError> {
    let address = get.text(name);
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return Err(get.wrong(name, "must be `unix:///PATH`, `HOST:PORT` or `:PORT`"));
    }
    Ok(match address.strip_prefix(':') {
        Some(_) => format!("[::]{address}"),
        None => address.to_owned(),
    })
}

fn ancestors(get: &value::Values<'_>) -> Result<bool, ConfigError> {
    let names = get.list("enable-ancestors");
    let known = ["base", "kprobe", "tracepoint", "loader", "uprobe", "lsm", "usdt"];
    if names.iter().any(|name| !known.contains(name)) {
        return Err(get.wrong(
            "enable-ancestors",
            "takes base, kprobe, tracepoint, loader, uprobe, lsm, usdt",
        ));
    }
    if !names.is_empty() && !names.contains(&"base") {
        return Err(get.wrong("enable-ancestors", "`base` must be among them"));
    }
    Ok(!names.is_empty())
}

fn ring_bytes(get: &value::Values<'_>) -> Result<u32, ConfigError> {
    let per_cpu = get.size("rb-size")?;
    let total = get.size("rb-size-total")?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let bytes = if total > 0 {
        total
    } else {
        per_cpu.saturating_mul(cpus.min(4))
    };
    u32::try_from(bytes).map_err(|_| get.wrong("rb-size-total", "must be below 4G"))
}

/// The bpf file system takes no dots, and nothing outside of it can be pinned to.
fn bpf_dir(get: &value::Values<'_>) -> Result<PathBuf, ConfigError> {
    let name = get.text("bpf-dir");
    let is_plain = |part: &str| !part.is_empty() && !part.contains('.');
    if !name.split('/').all(is_plain) {
        return Err(get.wrong(
            "bpf-dir",
            "must be a name below /sys/fs/bpf, without dots, as in `tetragon`",
        ));
    }
    Ok(name.into())
}

fn policy_dir(get: &value::Values<'_>) -> Result<PathBuf, ConfigError> {
    let path = PathBuf::from(get.text("tracing-policy-dir"));
    if !path.as_os_str().is_empty() && !path.is_absolute() {
        return Err(get.wrong("tracing-policy-dir", "must be an absolute path"));
    }
    Ok(path)
}

fn export(get: &value::Values<'_>, options: FilterOptions) -> Result<Option<ExportConfig>, ConfigError> {
    let filename = get.text("export-filename");
    let filters =
        |flag: &'static str| parse_filters(get.text(flag)).map_err(|source| ConfigError::Filter { flag, source });
    let (allow, deny) = (filters("export-allowlist")?, filters("export-denylist")?);
    let filters = FilterLists::new(&allow, &deny, options).map_err(|source| ConfigError::Filter {
        flag: "export-allowlist",
        source,
    })?;
    let field_filters = parse_field_filters(get.text("field-filters"))
        .and_then(|list| FieldFilters::new(&list))
        .map_err(|source| ConfigError::Filter {
            flag: "field-filters",
            source,
        })?;
    let permission = u32::from_str_radix(get.text("export-file-perm"), 8)
        .ok()
        .filter(|bits| *bits <= 0o777)
        .ok_or_else(|| get.wrong("export-file-perm", "must be permission bits in octal, as in 600"))?;
    let max_size_mb: u64 = get.number("export-file-max-size-mb")?;
    // -1: no limit; 0: nothing is exported
    let per_minute = match get.text("export-rate-limit") {
        "-1" => None,
        _ => Some(get.number::<u32>("export-rate-limit")?),
    };
    if filename.is_empty() || per_minute == Some(0) {
        return Ok(None);
    }
    Ok(Some(ExportConfig {
        filename: filename.into(),
        filters,
        field_filters,
        max_size_bytes: max_size_mb.max(1) << 20,
        max_backups: get.number("export-file-max-backups")?,
        permission,
        rotation_interval: get.duration("export-file-rotation-interval")?,
        compress: get.boolean("export-file-compress")?,
        per_minute,
    }))
}

#[cfg(test)]
mod tests;
