use std::sync::Mutex;

use tetra_api::tetragon as api;
use tetra_api::tetragon::GetEventsResponse;
use tetra_api::tetragon::fine_guidance_sensors_server::FineGuidanceSensors as _;
use tetra_api::tetragon::get_events_response::Event;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use super::*;
use crate::config::{Config, Layers};
use crate::export::SharedRotation;
use crate::filter::{FieldFilters, FilterLists, FilterOptions, parse_filters};
use crate::logging::LogLevel;
use crate::manager::Manager;
use crate::manager::tests::{FakeKernel, yaml, yaml_with};

fn exec(binary: &str) -> GetEventsResponse {
    let process = api::Process {
        binary: binary.into(),
        ..Default::default()
    };
    GetEventsResponse {
        event: Some(Event::ProcessExec(api::ProcessExec {
            process: Some(process),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn lost(number: u64) -> GetEventsResponse {
    GetEventsResponse {
        event: Some(Event::RateLimitInfo(api::RateLimitInfo {
            number_of_dropped_process_events: number,
        })),
        ..Default::default()
    }
}

#[test]
fn a_slow_client_loses_events_for_itself_only() {
    let broadcast = Broadcast::new(2);
    let mut slow = broadcast
        .subscribe(FilterLists::default(), FieldFilters::default())
        .unwrap();
    let mut quick = broadcast
        .subscribe(FilterLists::default(), FieldFilters::default())
        .unwrap();
    for index in 0..5 {
        broadcast.send(exec(&index.to_string()));
        assert!(quick.queue.try_recv().is_ok());
    }
    assert_eq!(broadcast.lost(), 3);
    assert!(slow.queue.try_recv().is_ok() && slow.queue.try_recv().is_ok() && slow.queue.try_recv().is_err());
    broadcast.send(exec("again"));
    assert_eq!(*slow.queue.try_recv().unwrap(), lost(3));
    assert_eq!(*slow.queue.try_recv().unwrap(), exec("again"));
    assert_eq!(*quick.queue.try_recv().unwrap(), exec("again"));
    assert!(slow.queue.try_recv().is_err() && quick.queue.try_recv().is_err());
}

#[test]
fn what_a_client_gets_and_what_it_is_told_it_missed_is_all_there_was() {
    for queue_size in [1, 2, 3, 7] {
        for reads_every in 1..6_u64 {
            let broadcast = Broadcast::new(queue_size);
            let mut client = broadcast
                .subscribe(FilterLists::default(), FieldFilters::default())
                .unwrap();
            // the number that the next event must have if nothing is missing without notice
            let mut next = 0;
            let mut check = |event: &GetEventsResponse| {
                if let Some(Event::RateLimitInfo(info)) = &event.event {
                    next += info.number_of_dropped_process_events;
                } else {
                    assert_eq!(*event, exec(&next.to_string()));
                    next += 1;
                }
            };
            for number in 0..100 {
                broadcast.send(exec(&number.to_string()));
                if number % reads_every == 0
                    && let Ok(event) = client.queue.try_recv()
                {
                    check(&event);
                }
            }
            while let Ok(event) = client.queue.try_recv() {
                check(&event);
            }
            broadcast.send(exec("100"));
            while let Ok(event) = client.queue.try_recv() {
                check(&event);
            }
            assert_eq!(
                next, 101,
                "a queue of {queue_size}, read after every {reads_every} events"
            );
        }
    }
}

#[test]
fn a_client_is_told_of_a_loss_whatever_it_filters() {
    check_service(false, |service| async move {
        let request = api::GetEventsRequest {
            allow_list: vec![api::Filter {
                binary_regex: vec!["^b".into()],
                ..Default::default()
            }],
            field_filters: vec![api::FieldFilter {
                fields: Some(tetra_api::FieldMask {
                    paths: vec!["process.binary".into()],
                }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut stream = service.get_events(Request::new(request)).await.unwrap().into_inner();
        // the service of this test has queues of ten
        for _ in 0..12 {
            service.broadcast().send(exec("b"));
        }
        for _ in 0..10 {
            assert_eq!(stream.next().await.unwrap().unwrap(), exec("b"));
        }
        service.broadcast().send(exec("a"));
        service.broadcast().close();
        assert_eq!(stream.next().await.unwrap().unwrap(), lost(2));
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn clients_get_what_their_filters_let_pass() {
    let broadcast = Broadcast::new(10);
    let filters = FilterLists::new(
        &parse_filters(r#"{"binary_regex":["^b"]}"#).unwrap(),
        &[],
        FilterOptions::default(),
    );
    let mut client = broadcast.subscribe(filters.unwrap(), FieldFilters::default()).unwrap();
    broadcast.send(exec("a"));
    broadcast.send(exec("b"));
    assert_eq!(*client.queue.try_recv().unwrap(), exec("b"));
    assert!(client.queue.try_recv().is_err());
}

#[test]
fn gone_clients_are_forgotten_and_a_closed_broadcast_ends_streams() {
    let broadcast = Broadcast::new(10);
    drop(broadcast.subscribe(FilterLists::default(), FieldFilters::default()));
    assert!(broadcast.has_clients());
    broadcast.send(exec("a"));
    assert!(!broadcast.has_clients());
    let mut client = broadcast
        .subscribe(FilterLists::default(), FieldFilters::default())
        .unwrap();
    broadcast.close();
    assert!(client.queue.blocking_recv().is_none());
    assert!(
        broadcast
            .subscribe(FilterLists::default(), FieldFilters::default())
            .is_none()
    );
}

#[test]
fn the_socket_has_its_permissions_and_goes_with_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/agent.sock");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file"
        );
        drop(listener);
        // what a crashed agent left behind is replaced
        let (_listener, second) = SocketFile::listen(&path).unwrap();
        drop(second);
        assert!(!path.exists());
        drop(file);
    });
}

/// Runs calls against a service whose kernel takes every policy that is not named `uncompilable`.
pub(super) fn check_service<F: Future<Output = ()>>(deprecated_calls: bool, calls: impl FnOnce(Service) -> F) {
    check_service_with(None, deprecated_calls, calls);
}

/// The same, of an agent whose export is rotated so.
pub(super) fn check_service_with<F: Future<Output = ()>>(
    rotation: Option<SharedRotation>,
    deprecated_calls: bool,
    calls: impl FnOnce(Service) -> F,
) {
    let parts = ServiceConfig {
        manager: Arc::new(Mutex::new(Manager::new(FakeKernel::default(), Arc::default()))),
        broadcast: Arc::new(Broadcast::new(10)),
        pipeline: None,
        log_level: LogLevel::detached(),
        filter_options: FilterOptions::default(),
        rotation,
        deprecated_calls,
    };
    let config = Config::new(&Layers::default()).unwrap();
    let service = Service::new(parts, &config, None);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(calls(service));
}

fn add(yaml: String) -> Request<api::AddTracingPolicyRequest> {
    Request::new(api::AddTracingPolicyRequest {
        yaml,
        domain: String::new(),
    })
}

fn configure(name: &str, enable: Option<bool>, mode: Option<i32>) -> Request<api::ConfigureTracingPolicyRequest> {
    Request::new(api::ConfigureTracingPolicyRequest {
        name: name.into(),
        enable,
        mode,
        ..Default::default()
    })
}

async fn policies(service: &Service) -> Vec<(String, i32, i32)> {
    let list = service
        .list_tracing_policies(Request::new(api::ListTracingPoliciesRequest::default()))
        .await
        .unwrap();
    list.into_inner()
        .policies
        .into_iter()
        .map(|p| (p.name, p.state, p.mode))
        .collect()
}

#[test]
fn policies_are_added_configured_and_deleted() {
    use api::TracingPolicyMode::{
        TpModeEnforce as Enforce, TpModeMonitor as Monitor, TpModeMonitorOnly as MonitorOnly,
    };
    use api::TracingPolicyState::{TpStateDisabled as Disabled, TpStateEnabled as Enabled};
    check_service(false, |service| async move {
        service
            .add_tracing_policy(add(yaml_with("kill", "Sigkill")))
            .await
            .unwrap();
        service.add_tracing_policy(add(yaml("watch"))).await.unwrap();
        let expected = |state, mode| {
            [
                ("kill".to_owned(), state as i32, mode as i32),
                ("watch".to_owned(), Enabled as i32, MonitorOnly as i32),
            ]
        };
        assert_eq!(policies(&service).await, expected(Enabled, Enforce));
        service
            .configure_tracing_policy(configure("kill", Some(false), Some(Monitor as i32)))
            .await
            .unwrap();
        assert_eq!(policies(&service).await, expected(Disabled, Monitor));
        let refused = service
            .configure_tracing_policy(configure("watch", None, Some(Enforce as i32)))
            .await
            .unwrap_err();
        assert!(refused.message().contains("monitor_only"), "{refused}");
        let domains = service
            .list_domains(Request::new(api::ListDomainsRequest {}))
            .await
            .unwrap();
        assert_eq!(domains.into_inner().domains, ["grpc"]);
        let delete = |name: &str| {
            Request::new(api::DeleteTracingPolicyRequest {
                name: name.into(),
                ..Default::default()
            })
        };
        service.delete_tracing_policy(delete("kill")).await.unwrap();
        assert_eq!(
            service.delete_tracing_policy(delete("kill")).await.unwrap_err().code(),
            Code::Unknown
        );
        let refused = service.add_tracing_policy(add(yaml("uncompilable"))).await.unwrap_err();
        assert!(refused.message().contains("cannot be compiled"), "{refused}");
    });
}

#[test]
fn deprecated_and_missing_calls_say_so() {
    check_service(false, |service| async move {
        let error = service
            .list_sensors(Request::new(api::ListSensorsRequest {}))
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::Unknown, "ListSensors is deprecated")
        );
        let error = service
            .enable_tracing_policy(Request::new(api::EnableTracingPolicyRequest::default()))
            .await
            .unwrap_err();
        assert!(
            error.message().contains("--enable-deprecated-tracingpolicy-grpc"),
            "{error}"
        );
        let error = service
            .runtime_hook(Request::new(api::RuntimeHookRequest::default()))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
    });
    check_service(true, |service| async move {
        service.add_tracing_policy(add(yaml("a"))).await.unwrap();
        let request = api::DisableTracingPolicyRequest {
            name: "a".into(),
            ..Default::default()
        };
        service.disable_tracing_policy(Request::new(request)).await.unwrap();
        assert_eq!(
            policies(&service).await[0].1,
            api::TracingPolicyState::TpStateDisabled as i32
        );
    });
}

#[test]
fn streams_carry_events_until_the_agent_ends() {
    check_service(false, |service| async move {
        let wrong = api::Filter {
            binary_regex: vec!["(".into()],
            ..Default::default()
        };
        let request = api::GetEventsRequest {
            allow_list: vec![wrong],
            ..Default::default()
        };
        assert_eq!(
            service.get_events(Request::new(request)).await.err().unwrap().code(),
            Code::InvalidArgument
        );
        // what clients send when the user asks for nothing special
        let request = api::GetEventsRequest {
            allow_list: vec![api::Filter::default()],
            ..Default::default()
        };
        let mut stream = service.get_events(Request::new(request)).await.unwrap().into_inner();
        service.broadcast().send(exec("a"));
        assert_eq!(stream.next().await.unwrap().unwrap(), exec("a"));
        service.broadcast().close();
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn the_agent_says_how_it_is_and_how_it_was_configured() {
    check_service(false, |service| async move {
        let health = service
            .get_health(Request::new(api::GetHealthStatusRequest::default()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            health.health_status[0].status,
            api::HealthStatusResult::HealthStatusRunning as i32
        );
        let version = service
            .get_version(Request::new(api::GetVersionRequest {}))
            .await
            .unwrap()
            .into_inner()
            .version;
        assert!(version.starts_with('v'));
        let info = service
            .get_info(Request::new(api::GetInfoRequest {}))
            .await
            .unwrap()
            .into_inner();
        let setting = info
            .conf
            .iter()
            .find(|setting| setting.key == "disable-process-cache")
            .unwrap();
        assert_eq!(setting.value.as_ref().unwrap().to_value(), Some(false.into()));
        let level = |level: api::LogLevel| api::SetDebugRequest {
            flag: api::ConfigFlag::LogLevel as i32,
            arg: Some(api::set_debug_request::Arg::Level(level as i32)),
        };
        service
            .set_debug(Request::new(level(api::LogLevel::Debug)))
            .await
            .unwrap();
        let request = api::GetDebugRequest {
            flag: api::ConfigFlag::LogLevel as i32,
            arg: None,
        };
        let answer = service.get_debug(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(
            answer.arg,
            Some(api::get_debug_response::Arg::Level(api::LogLevel::Debug as i32))
        );
    });
}

#[test]
fn an_error_fits_a_header_and_says_how_much_is_missing() {
    use super::service::fitting;

    assert_eq!(fitting("short\nlines"), "short\nlines");
    let long = (0..1000)
        .map(|i| format!("error {i:04}"))
        .collect::<Vec<_>>()
        .join("\n");
    let fits = fitting(&long);
    assert!(fits.len() < 4200, "{}", fits.len());
    let whole = fits.lines().filter(|line| line.starts_with("error ")).count();
    assert!(
        fits.contains(&format!("error {:04}\n… {} lines more", whole - 1, 1000 - whole)),
        "{fits}"
    );
    let one = fitting(&"é".repeat(5000));
    assert!(one.len() < 4200 && one.contains("… 1 line more"));
}

/// Names of the services that a server describes by reflection.
async fn described(channel: tonic::transport::Channel) -> Vec<String> {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::iter([request]);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    match answers.message().await.unwrap().unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|s| s.name).collect(),
        other => panic!("{other:?}"),
    }
}

async fn channel(address: &str) -> tonic::transport::Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// A connection to a unix socket.
pub(super) async fn unix_channel(path: std::path::PathBuf) -> tonic::transport::Channel {
    tonic::transport::Endpoint::from_shared(format!("unix://{}", path.display()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[test]
fn a_port_serves_the_api_and_describes_it() {
    check_service(false, |service| async move {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = tokio::sync::oneshot::channel();
        let address = ServerAddress::Tcp("127.0.0.1:0".into());
        let serving = serve(&address, service, async { drop(stopped.await) }, |address| {
            let _heard = tell.send(address.to_owned());
        });
        let asking = async move {
            let services = described(channel(&told.await.unwrap()).await).await;
            assert!(
                services.contains(&"tetragon.FineGuidanceSensors".to_owned()),
                "{services:?}"
            );
            drop(stop);
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
    });
}

#[test]
fn liveness_is_told() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    check_service(false, |_| async {
        // a free port, as far as anybody can know
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let health = Health::serve(&port.to_string()).await.unwrap();
        assert!(Health::serve(&port.to_string()).await.is_err(), "the port is taken");
        let mut client = HealthClient::new(channel(&port.to_string()).await);
        let request = |service: &str| HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = client.check(request("liveness")).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        assert!(client.check(request("other")).await.is_err());
        health.stop().await;
    });
}

#[test]
fn a_socket_that_another_agent_has_replaced_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    check_service(false, |_| async {
        let (_first, ours) = SocketFile::listen(&path).unwrap();
        let (_second, theirs) = SocketFile::listen(&path).unwrap();
        drop(ours);
        assert!(path.exists(), "it is theirs");
        drop(theirs);
        assert!(!path.exists());
    });
}
