//! The agent: kernel records become events, events reach sinks.
//!
//! ```text
//! rings → record → process ─┬→ event → filter → export (JSON lines)
//!                  policy ──┘                 → server (gRPC streams)
//! ```
//!
//! Modules stand in the order of the data flow. `record`, `process`, `policy`, `event` and `filter` are sans-I/O: they take
//! bytes and times and return values. `export`, `server`, `manager` and `agent` are the shell around them, and the only
//! place in the project that owns an async runtime.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that unwraps is a test that can fail")
)]

pub mod agent;
pub mod assemble;
pub mod config;
pub mod event;
pub mod export;
pub mod logging;
pub mod manager;
pub mod metrics;
pub mod persistence;
pub mod pipeline;
pub mod policy;
pub mod policy_files;
pub mod process;
pub mod record;
pub mod run_files;
pub mod server;
pub mod service_manager;
pub mod symbols;
pub mod text;
pub mod time;

pub use tetra_api::filter;
