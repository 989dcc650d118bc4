//! The standard health service (`grpc.health.v1`), which kubelets ask: the service `liveness` serves as long as the agent does.

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Name that probes ask for.
const LIVENESS: &str = "liveness";

/// The health service at work; it ends with this value.
#[derive(Debug)]
pub struct Health {
    reporter: HealthReporter,
    task: tokio::task::JoinHandle<()>,
}

impl Health {
    /// Serves on `address` (`host:port`).
    ///
    /// # Errors
    /// If the port cannot be listened on; the message names it.
    pub async fn serve(address: &str) -> anyhow::Result<Self> {
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on `{address}` for health checks"))?;
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::warn!(%error, "health checks are not answered any more");
            }
        });
        Ok(Self { reporter, task })
    }

    /// Tells whoever watches that the agent is about to end.
    pub async fn stop(self) {
        self.reporter
            .set_service_status(LIVENESS, ServingStatus::NotServing)
            .await;
        self.task.abort();
    }
}
