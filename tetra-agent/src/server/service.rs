//! The calls of the API.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use kprobes::PolicyMode;
use kprobes::probe::Report;
use tetra_api::tetragon as api;
use tetra_api::tetragon::fine_guidance_sensors_server::FineGuidanceSensors;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::aggregation::Aggregation;
use super::broadcast::Broadcast;
use super::event_log::EventLog;
use super::info;
use crate::config::Config;
use crate::export::SharedRotation;
use crate::filter::{FieldFilters, FilterLists, FilterOptions};
use crate::logging::LogLevel;
use crate::manager::{DOMAIN_GRPC, Kernel, Manager, ManagerError, PolicyKey};
use crate::pipeline::PipelineHandle;

/// What the calls work on.
#[derive(Debug)]
pub struct ServiceConfig<K> {
    /// The policies.
    pub manager: Arc<Mutex<Manager<K>>>,
    /// The events.
    pub broadcast: Arc<Broadcast>,
    /// The process table.
    pub pipeline: Option<PipelineHandle>,
    /// The level of the log.
    pub log_level: LogLevel,
    /// What filters may use.
    pub filter_options: FilterOptions,
    /// How the export is rotated, if events are exported to a file.
    pub rotation: Option<SharedRotation>,
    /// Whether the deprecated calls to enable and disable policies work.
    pub deprecated_calls: bool,
}

/// Policies as the calls see them, whatever kernel is below.
type Policies = Arc<dyn Fn(PolicyCall) -> Result<PolicyAnswer, ManagerError> + Send + Sync>;

enum PolicyCall {
    Add { yaml: String, domain: String },
    Delete(PolicyKey),
    List { domain: String },
    Enable(PolicyKey, bool),
    SetMode(PolicyKey, PolicyMode),
    Domains,
}

enum PolicyAnswer {
    Done,
    List(Vec<api::TracingPolicyStatus>),
    Domains(Vec<String>),
}

/// See [the module](super).
pub struct Service {
    policies: Policies,
    broadcast: Arc<Broadcast>,
    pipeline: Option<PipelineHandle>,
    log_level: LogLevel,
    filter_options: FilterOptions,
    rotation: Option<SharedRotation>,
    deprecated_calls: bool,
    info: api::GetInfoResponse,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// Makes the service. `report`: what was found of the kernel's features.
    pub fn new<K: Kernel + Send + 'static>(parts: ServiceConfig<K>, config: &Config, report: Option<&Report>) -> Self {
        let manager = parts.manager;
        let policies = move |call| {
            let mut manager = manager.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(match call {
                PolicyCall::Add { yaml, domain } => {
                    for key in manager.add("policy.yaml", &yaml, &domain)? {
                        tracing::info!(policy = %key, domain, "policy added");
                    }
                    PolicyAnswer::Done
                }
                PolicyCall::Delete(key) => {
                    manager.delete(&key)?;
                    tracing::info!(policy = %key, domain = key.domain, "policy deleted");
                    PolicyAnswer::Done
                }
                PolicyCall::Enable(key, enable) => {
                    manager.enable(&key, enable)?;
                    tracing::info!(policy = %key, domain = key.domain, enable, "policy configured");
                    PolicyAnswer::Done
                }
                PolicyCall::SetMode(key, mode) => {
                    manager.set_mode(&key, mode)?;
                    tracing::info!(policy = %key, domain = key.domain, ?mode, "policy configured");
                    PolicyAnswer::Done
                }
                PolicyCall::List { domain } => PolicyAnswer::List(manager.list(&domain)),
                PolicyCall::Domains => PolicyAnswer::Domains(manager.domains()),
            })
        };
        Self {
            policies: Arc::new(policies),
            broadcast: parts.broadcast,
            pipeline: parts.pipeline,
            log_level: parts.log_level,
            filter_options: parts.filter_options,
            rotation: parts.rotation,
            deprecated_calls: parts.deprecated_calls,
            info: info::info(config, report),
        }
    }

    pub(super) fn broadcast(&self) -> &Arc<Broadcast> {
        &self.broadcast
    }

    /// The service beside this one.
    pub(super) fn event_log(&self) -> EventLog {
        EventLog::new(self.rotation.clone())
    }

    /// Calls the manager on a thread that may block: the kernel takes its time to verify programs.
    async fn policies(&self, call: PolicyCall) -> Result<PolicyAnswer, Status> {
        let policies = Arc::clone(&self.policies);
        tokio::task::spawn_blocking(move || policies(call))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::unknown(fitting(&error.to_string())))
    }

    async fn deprecated(&self, name: &str, call: PolicyCall) -> Result<(), Status> {
        if !self.deprecated_calls {
            return Err(Status::unknown(format!(
                "{name} is deprecated: use ConfigureTracingPolicy, or start the agent with --enable-deprecated-tracingpolicy-grpc"
            )));
        }
        self.policies(call).await.map(|_| ())
    }
}

/// Longest text of an error, in bytes. It travels in a header, escaped, which makes up to three bytes of one; clients take 16 KiB
/// of headers if they are not asked for more, and report a longer one as a broken connection.
const MAX_ERROR: usize = 4000;

/// The beginning of an error that fits a header, and how much more there is.
pub(super) fn fitting(text: &str) -> String {
    if text.len() <= MAX_ERROR {
        return text.to_owned();
    }
    // whole lines, if there are any
    let most = &text[..text.floor_char_boundary(MAX_ERROR)];
    let kept = most.rfind('\n').map_or(most, |end| &most[..end]);
    let more = text[kept.len()..].trim_start_matches('\n').lines().count();
    let lines = if more == 1 { "line" } else { "lines" };
    format!("{kept}\n… {more} {lines} more; `tetra tracingpolicy list` shows in full what is wrong with a policy")
}

/// A domain that a client left out is that of the API.
fn domain_or_default(domain: String) -> String {
    if domain.is_empty() {
        DOMAIN_GRPC.to_owned()
    } else {
        domain
    }
}

fn key(name: String, namespace: String, domain: String) -> PolicyKey {
    PolicyKey {
        domain: domain_or_default(domain),
        namespace,
        name,
    }
}

fn is_deprecated<T>(name: &str) -> Result<Response<T>, Status> {
    Err(Status::unknown(format!("{name} is deprecated")))
}

#[tonic::async_trait]
impl FineGuidanceSensors for Service {
    type GetEventsStream = Pin<Box<dyn Stream<Item = Result<api::GetEventsResponse, Status>> + Send>>;

    async fn get_events(
        &self,
        request: Request<api::GetEventsRequest>,
    ) -> Result<Response<Self::GetEventsStream>, Status> {
        let request = request.into_inner();
        let wrong = |error: crate::filter::FilterError| Status::invalid_argument(error.to_string());
        let filters = FilterLists::new(&request.allow_list, &request.deny_list, self.filter_options).map_err(wrong)?;
        let fields = FieldFilters::new(&request.field_filters).map_err(wrong)?;
        let aggregation = match &request.aggregation_options {
            None => None,
            Some(options) => {
                Some(Aggregation::new(options).map_err(|error| Status::invalid_argument(error.to_string()))?)
            }
        };
        let client = self
            .broadcast
            .subscribe(filters, fields)
            .ok_or_else(|| Status::unavailable("the agent is about to end"))?;
        let fields = client.fields;
        let events = ReceiverStream::new(client.queue).map(move |event| {
            // the notice of a loss is about the stream: it is no event to take fields from
            if fields.is_empty() || event.event_type() == api::EventType::RateLimitInfo {
                Arc::unwrap_or_clone(event)
            } else {
                fields.apply(&event)
            }
        });
        Ok(Response::new(match aggregation {
            None => Box::pin(events.map(Ok)),
            Some(aggregation) => Box::pin(aggregation.apply(events).map(Ok)),
        }))
    }

    async fn get_health(
        &self,
        _: Request<api::GetHealthStatusRequest>,
    ) -> Result<Response<api::GetHealthStatusResponse>, Status> {
        let status = api::HealthStatus {
            event: api::HealthStatusType::Status as i32,
            status: api::HealthStatusResult::HealthStatusRunning as i32,
            details: "running".to_owned(),
        };
        Ok(Response::new(api::GetHealthStatusResponse {
            health_status: vec![status],
        }))
    }

    async fn add_tracing_policy(
        &self,
        request: Request<api::AddTracingPolicyRequest>,
    ) -> Result<Response<api::AddTracingPolicyResponse>, Status> {
        let api::AddTracingPolicyRequest { yaml, domain } = request.into_inner();
        self.policies(PolicyCall::Add {
            yaml,
            domain: domain_or_default(domain),
        })
        .await?;
        Ok(Response::new(api::AddTracingPolicyResponse {}))
    }

    async fn delete_tracing_policy(
        &self,
        request: Request<api::DeleteTracingPolicyRequest>,
    ) -> Result<Response<api::DeleteTracingPolicyResponse>, Status> {
        let api::DeleteTracingPolicyRequest {
            name,
            namespace,
            domain,
        } = request.into_inner();
        self.policies(PolicyCall::Delete(key(name, namespace, domain))).await?;
        Ok(Response::new(api::DeleteTracingPolicyResponse {}))
    }

    async fn list_tracing_policies(
        &self,
        request: Request<api::ListTracingPoliciesRequest>,
    ) -> Result<Response<api::ListTracingPoliciesResponse>, Status> {
        let domain = request.into_inner().domain;
        let policies = match self.policies(PolicyCall::List { domain }).await? {
            PolicyAnswer::List(policies) => policies,
            _ => Vec::new(),
        };
        Ok(Response::new(api::ListTracingPoliciesResponse { policies }))
    }

    async fn configure_tracing_policy(
        &self,
        request: Request<api::ConfigureTracingPolicyRequest>,
    ) -> Result<Response<api::ConfigureTracingPolicyResponse>, Status> {
        let api::ConfigureTracingPolicyRequest {
            name,
            namespace,
            enable,
            mode,
            domain,
        } = request.into_inner();
        let key = key(name, namespace, domain);
        let mode = match mode.map(api::TracingPolicyMode::try_from) {
            None => None,
            Some(Ok(api::TracingPolicyMode::TpModeEnforce)) => Some(PolicyMode::Enforce),
            Some(Ok(api::TracingPolicyMode::TpModeMonitor)) => Some(PolicyMode::Monitor),
            Some(_) => return Err(Status::invalid_argument("a mode must be enforce or monitor")),
        };
        if let Some(mode) = mode {
            self.policies(PolicyCall::SetMode(key.clone(), mode)).await?;
        }
        if let Some(enable) = enable {
            self.policies(PolicyCall::Enable(key, enable)).await?;
        }
        Ok(Response::new(api::ConfigureTracingPolicyResponse {}))
    }

    async fn enable_tracing_policy(
        &self,
        request: Request<api::EnableTracingPolicyRequest>,
    ) -> Result<Response<api::EnableTracingPolicyResponse>, Status> {
        let api::EnableTracingPolicyRequest {
            name,
            namespace,
            domain,
        } = request.into_inner();
        self.deprecated(
            "EnableTracingPolicy",
            PolicyCall::Enable(key(name, namespace, domain), true),
        )
        .await?;
        Ok(Response::new(api::EnableTracingPolicyResponse {}))
    }

    async fn disable_tracing_policy(
        &self,
        request: Request<api::DisableTracingPolicyRequest>,
    ) -> Result<Response<api::DisableTracingPolicyResponse>, Status> {
        let api::DisableTracingPolicyRequest {
            name,
            namespace,
            domain,
        } = request.into_inner();
        self.deprecated(
            "DisableTracingPolicy",
            PolicyCall::Enable(key(name, namespace, domain), false),
        )
        .await?;
        Ok(Response::new(api::DisableTracingPolicyResponse {}))
    }

    async fn list_sensors(
        &self,
        _: Request<api::ListSensorsRequest>,
    ) -> Result<Response<api::ListSensorsResponse>, Status> {
        is_deprecated("ListSensors")
    }

    async fn enable_sensor(
        &self,
        _: Request<api::EnableSensorRequest>,
    ) -> Result<Response<api::EnableSensorResponse>, Status> {
        is_deprecated("EnableSensor")
    }

    async fn disable_sensor(
        &self,
        _: Request<api::DisableSensorRequest>,
    ) -> Result<Response<api::DisableSensorResponse>, Status> {
        is_deprecated("DisableSensor")
    }

    async fn remove_sensor(
        &self,
        _: Request<api::RemoveSensorRequest>,
    ) -> Result<Response<api::RemoveSensorResponse>, Status> {
        is_deprecated("RemoveSensor")
    }

    async fn list_domains(
        &self,
        _: Request<api::ListDomainsRequest>,
    ) -> Result<Response<api::ListDomainsResponse>, Status> {
        let domains = match self.policies(PolicyCall::Domains).await? {
            PolicyAnswer::Domains(domains) => domains,
            _ => Vec::new(),
        };
        Ok(Response::new(api::ListDomainsResponse { domains }))
    }

    async fn get_version(
        &self,
        _: Request<api::GetVersionRequest>,
    ) -> Result<Response<api::GetVersionResponse>, Status> {
        Ok(Response::new(api::GetVersionResponse {
            version: info::version(),
        }))
    }

    async fn get_info(&self, _: Request<api::GetInfoRequest>) -> Result<Response<api::GetInfoResponse>, Status> {
        Ok(Response::new(self.info.clone()))
    }

    async fn runtime_hook(
        &self,
        _: Request<api::RuntimeHookRequest>,
    ) -> Result<Response<api::RuntimeHookResponse>, Status> {
        Err(Status::unimplemented(
            "this agent does not take runtime hooks yet: containers are found by their cgroup names",
        ))
    }

    async fn get_debug(
        &self,
        request: Request<api::GetDebugRequest>,
    ) -> Result<Response<api::GetDebugResponse>, Status> {
        let request = request.into_inner();
        let arg = match request.flag() {
            api::ConfigFlag::LogLevel => api::get_debug_response::Arg::Level(self.log_level.get() as i32),
            api::ConfigFlag::DumpProcessCache => {
                let skip_unreferenced = match request.arg {
                    Some(api::get_debug_request::Arg::Dump(dump)) => dump.skip_zero_refcnt,
                    None => false,
                };
                let pipeline = self.pipeline.clone();
                let processes = tokio::task::spawn_blocking(move || pipeline.and_then(|p| p.dump_processes()))
                    .await
                    .map_err(|error| Status::internal(error.to_string()))?
                    .ok_or_else(|| Status::unavailable("the agent is about to end"))?;
                let wanted = |process: &api::ProcessInternal| !skip_unreferenced || process.refcnt != Some(0);
                api::get_debug_response::Arg::Processes(api::DumpProcessCacheResArgs {
                    processes: processes.into_iter().filter(wanted).collect(),
                })
            }
        };
        Ok(Response::new(api::GetDebugResponse {
            flag: request.flag,
            arg: Some(arg),
        }))
    }

    async fn set_debug(
        &self,
        request: Request<api::SetDebugRequest>,
    ) -> Result<Response<api::SetDebugResponse>, Status> {
        let request = request.into_inner();
        let Some(api::set_debug_request::Arg::Level(level)) = request.arg else {
            return Err(Status::invalid_argument("a level is missing"));
        };
        if request.flag() != api::ConfigFlag::LogLevel {
            return Err(Status::invalid_argument("only the log level can be set"));
        }
        let level = api::LogLevel::try_from(level).map_err(|_| Status::invalid_argument("no such level"))?;
        self.log_level
            .set(level)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(api::SetDebugResponse {
            flag: request.flag,
            arg: Some(api::set_debug_response::Arg::Level(level as i32)),
        }))
    }
}
