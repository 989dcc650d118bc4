//! Metrics for Prometheus, with the names and labels that users of the reference know (`docs/reference/metrics` there).
//!
//! Nothing is counted for them on the hot path but events by type and program: everything else is read where it is counted anyway, when
//! somebody asks.

mod events;
mod series;
mod snapshot;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use events::{EventCounts, Labels};
pub use snapshot::Sources;

/// What the text is: `prometheus-client` writes OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics endpoint at work.
#[derive(Debug)]
pub struct Endpoint(JoinHandle<()>);

impl Endpoint {
    /// Serves `/metrics` on `address` (`host:port`).
    ///
    /// # Errors
    /// If the port cannot be listened on; the message names it.
    pub async fn serve(address: &str, sources: Sources) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on `{address}` for metrics"))?;
        let sources = Arc::new(sources);
        let scrape = move || {
            let sources = Arc::clone(&sources);
            async move {
                // reading waits for the policies' lock and the pipeline, neither of which may hold up the API
                let text = tokio::task::spawn_blocking(move || sources.text()).await;
                match text {
                    Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, OPEN_METRICS)], text),
                    Err(error) => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        [(CONTENT_TYPE, "text/plain")],
                        error.to_string(),
                    ),
                }
            }
        };
        let router = Router::new().route("/metrics", get(scrape));
        Ok(Self(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "metrics are not served any more");
            }
        })))
    }

    /// Ends it.
    pub fn stop(self) {
        self.0.abort();
    }
}
