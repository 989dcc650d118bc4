//! Events from the agent.

use std::io::{self, Write as _};

use anyhow::anyhow;
use tetra_api::tetragon::GetEventsRequest;
use tonic::Code;

use super::output::Output;
use super::request::request;
use crate::arguments::{Connection, GetEvents};
use crate::client::Client;

/// Why a stream ended.
enum End {
    /// The agent went away; trying again may help.
    Gone(anyhow::Error),
    /// Trying again won't help.
    Failed(anyhow::Error),
}

/// Prints events until the agent stops, or for ever with `--reconnect`.
pub(super) async fn print(connection: &Connection, options: &GetEvents) -> anyhow::Result<()> {
    let request = request(options)?;
    loop {
        match follow(connection, options, &request).await {
            End::Gone(error) if options.reconnect => {
                writeln!(
                    io::stderr().lock(),
                    "{error}; connecting again in {:?}",
                    options.reconnect_wait
                )?;
                tokio::time::sleep(options.reconnect_wait).await;
            }
            End::Gone(error) | End::Failed(error) => return Err(error),
        }
    }
}

async fn follow(connection: &Connection, options: &GetEvents, request: &GetEventsRequest) -> End {
    let client = match Client::connect(connection).await {
        Ok(client) => client,
        Err(error) => return End::Gone(error),
    };
    let mut stream = match client
        .call(|mut stub| {
            let request = request.clone();
            async move { stub.get_events(request).await }
        })
        .await
    {
        Ok(stream) => stream,
        Err(error) => return End::Failed(error),
    };
    let mut output = Output::new(options, io::stdout());
    loop {
        let written = match stream.message().await {
            Ok(Some(event)) => output.write(&event).and_then(|shown| output.flush().map(|()| shown)),
            Ok(None) => return End::Gone(anyhow!("the agent ended the stream of events")),
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown) => {
                return End::Gone(anyhow!("the agent went away"));
            }
            Err(status) => return End::Failed(client.explain(&status)),
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if let Err(error) = writeln!(io::stderr().lock(), "warning: {error}") {
                    return End::Failed(error.into());
                }
            }
            Err(error) => return End::Failed(error.into()),
        }
    }
}
