use std::path::Path;

use tetra_api::tetragon::event_log_service_client::EventLogServiceClient;
use tetra_api::tetragon::get_events_response::Event;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::config::ExportConfig;
use crate::export::Exporter;
use crate::filter::{FieldFilters, FilterLists};
use crate::server::serve_on;
use crate::server::tests::{check_service_with, unix_channel};

/// Serves on a socket, and gives a client of it to `calls`.
fn check<F: Future<Output = ()>>(
    rotation: Option<&SharedRotation>,
    calls: impl FnOnce(EventLogServiceClient<Channel>) -> F,
) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    check_service_with(rotation.cloned(), false, |service| async {
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = serve_on(UnixListenerStream::new(listener), service, async {
            drop(stopped.await);
        });
        let asking = async {
            calls(EventLogServiceClient::new(unix_channel(path.clone()).await)).await;
            drop(stop);
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
    });
}

fn exporter(path: &Path) -> Exporter {
    Exporter::start(ExportConfig {
        filename: path.to_owned(),
        filters: FilterLists::default(),
        field_filters: FieldFilters::default(),
        max_size_bytes: 10 << 20,
        max_backups: 5,
        permission: 0o600,
        rotation_interval: Duration::from_mins(90),
        compress: false,
        per_minute: None,
    })
    .unwrap()
}

/// About half a megabyte in the file.
fn export(exporter: &mut Exporter) {
    for _ in 0..512 {
        exporter.event(
            &api::GetEventsResponse {
                event: Some(Event::Test(api::Test::default())),
                node_name: "n".repeat(1000),
                ..Default::default()
            },
            None,
        );
    }
}

#[test]
fn the_file_is_rotated_as_the_last_call_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    let mut exporter = exporter(&path);
    let rotation = exporter.rotation().unwrap().clone();
    check(Some(&rotation), |mut client| async move {
        let before = client
            .get_event_log_params(api::GetEventLogParamsRequest {})
            .await
            .unwrap()
            .into_inner();
        let expected = api::GetEventLogParamsResponse {
            max_size: 10,
            rotation_interval: "1h30m0s".into(),
            max_backups: 5,
        };
        assert_eq!(before, expected);
        let request = api::SetEventLogParamsRequest {
            max_size: Some(1),
            ..Default::default()
        };
        client.set_event_log_params(request).await.unwrap();
        let after = client
            .get_event_log_params(api::GetEventLogParamsRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            after,
            api::GetEventLogParamsResponse {
                max_size: 1,
                ..expected
            }
        );
    });
    (0..5).for_each(|_| export(&mut exporter));
    exporter.finish();
    let files = std::fs::read_dir(directory.path()).unwrap();
    let sizes: Vec<u64> = files.map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.iter().sum::<u64>() > 2 << 20, "{sizes:?}");
    assert!(sizes.iter().all(|&size| size <= 1 << 20), "{sizes:?}");
}

#[test]
fn a_request_with_a_mistake_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(&directory.path().join("events.json"));
    let rotation = exporter.rotation().unwrap().clone();
    let before = rotation.get();
    let set = |max_size, interval: &str, max_backups| api::SetEventLogParamsRequest {
        max_size: Some(max_size),
        rotation_interval: Some(interval.to_owned()),
        max_backups: Some(max_backups),
    };
    check(Some(&rotation), |mut client| async move {
        for (request, expected) in [
            (set(0, "1m", 1), "`max_size` is 0: expected"),
            (set(-1, "1m", 1), "`max_size` is -1: expected"),
            (set(1, "often", 1), "`rotation_interval` is `often`: expected"),
            (set(1, "-1m", 1), "`rotation_interval` is `-1m`: expected"),
            (set(1, "1m", -1), "`max_backups` is -1: expected"),
        ] {
            let error = client.set_event_log_params(request).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains(expected), "{error}");
        }
    });
    assert_eq!(rotation.get(), before);
    exporter.finish();
}

#[test]
fn without_a_file_the_calls_say_so() {
    check(None, |mut client| async move {
        let error = client
            .get_event_log_params(api::GetEventLogParamsRequest {})
            .await
            .unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::FailedPrecondition, "no events are exported to a file")
        );
        let error = client
            .set_event_log_params(api::SetEventLogParamsRequest::default())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
    });
}

#[test]
fn durations_are_written_as_they_are_read() {
    for (text, nanos) in [
        ("0s", 0),
        ("7ns", 7),
        ("1.5µs", 1_500),
        ("10ms", 10_000_000),
        ("1.5s", 1_500_000_000),
        ("1m0s", 60_000_000_000),
        ("1h0m30.000000001s", 3_630_000_000_001),
    ] {
        let duration = Duration::from_nanos(nanos);
        assert_eq!(write_duration(duration), text);
        assert_eq!(parse_duration(text), Some(duration));
    }
}
