//! The gRPC API on a unix socket.

mod broadcast;
mod info;
mod listener;
mod service;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use broadcast::{Broadcast, ClientEvents};
pub use listener::SocketFile;
pub use service::{Service, ServiceConfig};
use tetra_api::tetragon::fine_guidance_sensors_server::FineGuidanceSensorsServer;
use tokio_stream::wrappers::UnixListenerStream;

/// Largest message that a client may send: policies are text, and may be long.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// How long calls under way may take to end when the agent stops: a client that reads nothing must not keep it alive.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stop` resolves and all calls have ended, or have not ended in time.
///
/// # Errors
/// If the socket can't be made, or serving fails.
pub async fn serve(
    path: PathBuf,
    service: Service,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let (listener, _file) = SocketFile::listen(&path)?;
    ready();
    let broadcast = Arc::clone(service.broadcast());
    let server = FineGuidanceSensorsServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tonic::transport::Server::builder()
        .add_service(server)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
            stop.await;
            // streams have no end of their own
            broadcast.close();
            drop(stopping);
        });
    let overtime = async move {
        // resolves when the sender is dropped
        drop(stopped.await);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = serving => result?,
        () = overtime => tracing::warn!("a client does not end its calls and is cut off"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
