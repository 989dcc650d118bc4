//! The connection to the agent, and what to say when there is none.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tetra_api::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::address::{Address, INFO_FILE, Origin, find};
use crate::arguments::Connection;

/// Wait before the first retry; doubles with each.
const FIRST_RETRY_WAIT: Duration = Duration::from_secs(1);

/// A connected client with the limits the user set.
pub(crate) struct Client {
    pub(crate) stub: FineGuidanceSensorsClient<Channel>,
    address: Address,
    timeout: Duration,
    retries: u32,
}

impl Client {
    /// Connects to the agent.
    pub(crate) async fn connect(options: &Connection) -> anyhow::Result<Self> {
        let (address, origin) =
            find(options.server_address.as_deref(), Path::new(INFO_FILE)).map_err(anyhow::Error::msg)?;
        let mut wait = FIRST_RETRY_WAIT;
        let mut left = options.retries.saturating_sub(1);
        let channel = loop {
            match open(&address, origin, options.timeout).await {
                Ok(channel) => break channel,
                Err(error) if left == 0 => return Err(error),
                Err(_) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                    left -= 1;
                }
            }
        };
        let stub = FineGuidanceSensorsClient::new(channel).max_decoding_message_size(options.max_recv_size);
        Ok(Self {
            stub,
            address,
            timeout: options.timeout,
            retries: options.retries,
        })
    }

    /// Calls the agent, within the timeout, again if it is unavailable.
    pub(crate) async fn call<T, F>(&self, call: impl Fn(FineGuidanceSensorsClient<Channel>) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut wait = FIRST_RETRY_WAIT;
        let mut left = self.retries.saturating_sub(1);
        loop {
            let answer = match tokio::time::timeout(self.timeout, call(self.stub.clone())).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("no answer")),
            };
            match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if status.code() == Code::Unavailable && left > 0 => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                    left -= 1;
                }
                Err(status) => return Err(self.explain(&status)),
            }
        }
    }

    /// Turns a failed call into an error that says what to do.
    pub(crate) fn explain(&self, status: &Status) -> anyhow::Error {
        let address = &self.address;
        match status.code() {
            Code::Unavailable => anyhow!(
                "the agent at `{address}` went away: {}\nhelp: see whether it still runs, and its log",
                status.message()
            ),
            Code::DeadlineExceeded => anyhow!(
                "the agent at `{address}` did not answer within {:?}\nhelp: try again with a longer --timeout",
                self.timeout
            ),
            Code::Unimplemented => anyhow!(
                "the agent at `{address}` does not know this request\nhelp: compare versions with `tetra version --server`"
            ),
            // the server's own words, which already say what is wrong
            _ => anyhow!("{}", status.message()),
        }
    }
}

async fn open(address: &Address, origin: Origin, timeout: Duration) -> anyhow::Result<Channel> {
    let uri = match address {
        Address::Unix(path) => {
            // tonic hides why a socket can't be opened, so ask first
            UnixStream::connect(path).map_err(|error| explain_socket(path, origin, &error))?;
            format!("unix://{}", path.display())
        }
        Address::Tcp(host) => format!("http://{host}"),
    };
    let endpoint = Endpoint::from_shared(uri).with_context(|| format!("`{address}` is not an address"))?;
    endpoint.connect_timeout(timeout).connect().await.map_err(|error| {
        anyhow!(
            "cannot connect to `{address}`: {}\nhelp: start the agent with --server-address {address}, or say where it \
             listens with --server-address",
            root_cause(&error)
        )
    })
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn explain_socket(path: &Path, origin: Origin, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    let elsewhere = match origin {
        Origin::Flag => "check --server-address",
        Origin::InfoFile | Origin::Default => "say where it listens with --server-address",
    };
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "no agent is running: there is no socket `{path}`\nhelp: start it with `sudo tetra-agent`, or {elsewhere}"
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "permission denied on the agent's socket `{path}`\nhelp: run this as root (`sudo tetra …`) or as a member of \
             the socket's group"
        ),
        io::ErrorKind::ConnectionRefused => anyhow!(
            "no agent is running: nothing listens on the socket `{path}`, which an earlier one left behind\nhelp: start it \
             with `sudo tetra-agent`, or {elsewhere}"
        ),
        _ => anyhow!("cannot connect to the agent's socket `{path}`: {error}\nhelp: {elsewhere}"),
    }
}
