//! An agent that answers from memory, on a unix socket of its own.

use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tempfile::TempDir;
use tetra_api::tetragon::fine_guidance_sensors_server::{FineGuidanceSensors, FineGuidanceSensorsServer};
use tetra_api::tetragon::*;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// What the agent was asked, and what it answers.
#[derive(Default)]
pub(crate) struct State {
    /// Requests, in the order they came.
    pub(crate) requests: Vec<String>,
    pub(crate) events_request: Option<GetEventsRequest>,
    pub(crate) events: Vec<GetEventsResponse>,
    pub(crate) policies: Vec<TracingPolicyStatus>,
    pub(crate) added: Vec<AddTracingPolicyRequest>,
    pub(crate) configured: Vec<ConfigureTracingPolicyRequest>,
    pub(crate) level: i32,
    /// If set, adding fails with it.
    pub(crate) refusal: Option<String>,
}

pub(crate) struct Agent {
    pub(crate) state: Arc<Mutex<State>>,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let service = Service(Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::bind(path).unwrap();
                ready.send(()).unwrap();
                tonic::transport::Server::builder()
                    .add_service(FineGuidanceSensorsServer::new(service))
                    .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
                        stopped.await.ok();
                    })
                    .await
                    .unwrap();
            });
        });
        is_ready.recv().unwrap();
        Self {
            state,
            folder,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("agent.sock").display())
    }

    /// Runs `tetra` against this agent.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        tetra(&[&["--server-address", &self.address()], arguments].concat())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// What a run of `tetra` left.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code(),
        }
    }
}

/// Runs `tetra` with standard input from `/dev/null`, as a service would.
pub(crate) fn tetra(arguments: &[&str]) -> Ran {
    command(arguments).stdin(Stdio::null()).output().unwrap().into()
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tetra"));
    command.args(arguments).env_remove("NO_COLOR");
    command
}

struct Service(Arc<Mutex<State>>);

type Answer<T> = Result<Response<T>, Status>;
type Events = Pin<Box<dyn tokio_stream::Stream<Item = Result<GetEventsResponse, Status>> + Send>>;

impl Service {
    fn note(&self, request: &impl std::fmt::Debug) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        state.requests.push(format!("{request:?}"));
        state
    }
}

#[tonic::async_trait]
impl FineGuidanceSensors for Service {
    type GetEventsStream = Events;

    async fn get_events(&self, request: Request<GetEventsRequest>) -> Answer<Events> {
        let mut state = self.0.lock().unwrap();
        state.events_request = Some(request.into_inner());
        let events = state.events.clone().into_iter().map(Ok);
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    async fn get_health(&self, _: Request<GetHealthStatusRequest>) -> Answer<GetHealthStatusResponse> {
        let status = HealthStatus {
            event: HealthStatusType::Status.into(),
            status: HealthStatusResult::HealthStatusRunning.into(),
            details: "running".into(),
        };
        Ok(Response::new(GetHealthStatusResponse {
            health_status: vec![status],
        }))
    }

    async fn add_tracing_policy(&self, request: Request<AddTracingPolicyRequest>) -> Answer<AddTracingPolicyResponse> {
        let mut state = self.0.lock().unwrap();
        state.added.push(request.into_inner());
        match &state.refusal {
            Some(message) => Err(Status::unknown(message.clone())),
            None => Ok(Response::new(AddTracingPolicyResponse {})),
        }
    }

    async fn delete_tracing_policy(
        &self,
        request: Request<DeleteTracingPolicyRequest>,
    ) -> Answer<DeleteTracingPolicyResponse> {
        drop(self.note(request.get_ref()));
        Ok(Response::new(DeleteTracingPolicyResponse {}))
    }

    async fn list_tracing_policies(
        &self,
        request: Request<ListTracingPoliciesRequest>,
    ) -> Answer<ListTracingPoliciesResponse> {
        let policies = self.note(request.get_ref()).policies.clone();
        Ok(Response::new(ListTracingPoliciesResponse { policies }))
    }

    async fn configure_tracing_policy(
        &self,
        request: Request<ConfigureTracingPolicyRequest>,
    ) -> Answer<ConfigureTracingPolicyResponse> {
        self.0.lock().unwrap().configured.push(request.into_inner());
        Ok(Response::new(ConfigureTracingPolicyResponse {}))
    }

    async fn enable_tracing_policy(
        &self,
        _: Request<EnableTracingPolicyRequest>,
    ) -> Answer<EnableTracingPolicyResponse> {
        Err(Status::unimplemented("deprecated"))
    }

    async fn disable_tracing_policy(
        &self,
        _: Request<DisableTracingPolicyRequest>,
    ) -> Answer<DisableTracingPolicyResponse> {
        Err(Status::unimplemented("deprecated"))
    }

    async fn list_sensors(&self, _: Request<ListSensorsRequest>) -> Answer<ListSensorsResponse> {
        Err(Status::unimplemented("deprecated"))
    }

    async fn enable_sensor(&self, _: Request<EnableSensorRequest>) -> Answer<EnableSensorResponse> {
        Err(Status::unimplemented("deprecated"))
    }

    async fn disable_sensor(&self, _: Request<DisableSensorRequest>) -> Answer<DisableSensorResponse> {
        Err(Status::unimplemented("deprecated"))
    }

    async fn remove_sensor(&self, _: Request<RemoveSensorRequest>) -> Answer<RemoveSensorResponse> {
        Err(Status::unimplemented("deprecated"))
    }

    async fn list_domains(&self, _: Request<ListDomainsRequest>) -> Answer<ListDomainsResponse> {
        Ok(Response::new(ListDomainsResponse {
            domains: vec!["grpc".into(), "static".into()],
        }))
    }

    async fn get_version(&self, _: Request<GetVersionRequest>) -> Answer<GetVersionResponse> {
        Ok(Response::new(GetVersionResponse {
            version: "v9.9.9".into(),
        }))
    }

    async fn get_info(&self, _: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        Ok(Response::new(GetInfoResponse {
            version: "v9.9.9".into(),
            name: "tetragon".into(),
            probes: vec![get_info_response::Probe {
                name: "lsm".into(),
                enabled: Some(false),
            }],
            conf: vec![get_info_response::ConfVal {
                key: "log-level".into(),
                value: Some(tetra_api::Any::from("info")),
            }],
            build: None,
        }))
    }

    async fn runtime_hook(&self, _: Request<RuntimeHookRequest>) -> Answer<RuntimeHookResponse> {
        Err(Status::unimplemented("no runtime here"))
    }

    async fn get_debug(&self, request: Request<GetDebugRequest>) -> Answer<GetDebugResponse> {
        let level = self.0.lock().unwrap().level;
        let arg = Some(get_debug_response::Arg::Level(level));
        Ok(Response::new(GetDebugResponse {
            flag: request.get_ref().flag,
            arg,
        }))
    }

    async fn set_debug(&self, request: Request<SetDebugRequest>) -> Answer<SetDebugResponse> {
        if let Some(set_debug_request::Arg::Level(level)) = request.get_ref().arg {
            self.0.lock().unwrap().level = level;
        }
        Ok(Response::new(SetDebugResponse::default()))
    }
}
