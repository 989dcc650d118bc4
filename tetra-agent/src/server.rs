//! The gRPC API, on a unix socket or a TCP port.

mod aggregation;
mod broadcast;
mod event_log;
mod health;
mod info;
mod listener;
mod service;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
pub use broadcast::{Broadcast, ClientEvents};
pub use health::Health;
pub use listener::SocketFile;
pub use service::{Service, ServiceConfig};
use tetra_api::FILE_DESCRIPTOR_SET;
use tetra_api::tetragon::event_log_service_server::EventLogServiceServer;
use tetra_api::tetragon::fine_guidance_sensors_server::FineGuidanceSensorsServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::server::Connected;

use crate::config::ServerAddress;

/// Largest message that a client may send: policies are text, and may be long.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// How long calls under way may take to end when the agent stops: a client that reads nothing must not keep it alive.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until `stop` resolves and all calls have ended, or have not ended in time. `ready` is told the address.
///
/// # Errors
/// If the address can't be listened on, or serving fails.
pub async fn serve(
    address: &ServerAddress,
    service: Service,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(&str),
) -> anyhow::Result<()> {
    match address {
        ServerAddress::None => {
            ready("");
            stop.await;
            Ok(())
        }
        ServerAddress::Unix(path) => {
            let (listener, _file) = SocketFile::listen(path)?;
            ready(&format!("unix://{}", path.display()));
            serve_on(UnixListenerStream::new(listener), service, stop).await
        }
        ServerAddress::Tcp(address) => {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("listening on `{address}`"))?;
            let local = listener.local_addr()?;
            if !local.ip().is_loopback() {
                tracing::warn!(
                    address = %local,
                    "everybody who reaches this port may change policies: nobody is asked who they are"
                );
            }
            ready(&local.to_string());
            serve_on(TcpListenerStream::new(listener), service, stop).await
        }
    }
}

async fn serve_on<S, IO>(incoming: S, service: Service, stop: impl Future<Output = ()>) -> anyhow::Result<()>
where
    S: Stream<Item = std::io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let broadcast = Arc::clone(service.broadcast());
    let event_log = EventLogServiceServer::new(service.event_log());
    let server = FineGuidanceSensorsServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
    // clients such as grpcurl need no copy of the API; older ones ask by the service's former name
    let describe =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tonic::transport::Server::builder()
        .add_service(server)
        .add_service(event_log)
        .add_service(describe().build_v1()?)
        .add_service(describe().build_v1alpha()?)
        .serve_with_incoming_shutdown(incoming, async move {
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
