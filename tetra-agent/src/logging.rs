//! The agent's own log, on standard error, with a level that can be changed while it runs.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use tetra_api::tetragon as api;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Changes the level of the log.
#[derive(Clone)]
pub struct LogLevel(Arc<Inner>);

struct Inner {
    level: Mutex<api::LogLevel>,
    change: Box<dyn Fn(LevelFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.get()).finish()
    }
}

impl LogLevel {
    /// A level that nothing follows.
    pub fn detached() -> Self {
        Self(Arc::new(Inner {
            level: Mutex::new(api::LogLevel::Info),
            change: Box::new(|_| Ok(())),
        }))
    }

    /// The level now.
    pub fn get(&self) -> api::LogLevel {
        *self.0.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the level.
    ///
    /// # Errors
    /// If the log has gone.
    pub fn set(&self, level: api::LogLevel) -> Result<(), reload::Error> {
        (self.0.change)(filter(level))?;
        *self.0.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        Ok(())
    }
}

/// Starts the log. `level`: trace, debug, info, warn or error.
///
/// # Errors
/// If there is a log already.
pub fn start(level: &str, format: LogFormat) -> anyhow::Result<LogLevel> {
    let level = match level {
        "trace" => api::LogLevel::Trace,
        "debug" => api::LogLevel::Debug,
        "warn" => api::LogLevel::Warn,
        "error" => api::LogLevel::Error,
        _ => api::LogLevel::Info,
    };
    let (layer, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(layer);
    let stderr = std::io::stderr;
    match format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false);
            registry.with(lines.with_ansi(stderr().is_terminal())).try_init()?;
        }
        LogFormat::Json => {
            registry
                .with(
                    tracing_subscriber::fmt::layer()
                        .json()
                        .with_writer(stderr)
                        .with_target(false),
                )
                .try_init()?;
        }
    }
    let change = Box::new(move |filter| handle.reload(filter));
    Ok(LogLevel(Arc::new(Inner {
        level: Mutex::new(level),
        change,
    })))
}

fn filter(level: api::LogLevel) -> LevelFilter {
    match level {
        api::LogLevel::Panic | api::LogLevel::Fatal | api::LogLevel::Error => LevelFilter::ERROR,
        api::LogLevel::Warn => LevelFilter::WARN,
        api::LogLevel::Info => LevelFilter::INFO,
        api::LogLevel::Debug => LevelFilter::DEBUG,
        api::LogLevel::Trace => LevelFilter::TRACE,
    }
}
