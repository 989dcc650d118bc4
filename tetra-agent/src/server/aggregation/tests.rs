//! Real clients of a real server: what they get of what is broadcast.

use std::sync::Arc;
use std::time::Duration;

use tetra_api::tetragon as api;
use tetra_api::tetragon::GetEventsResponse;
use tetra_api::tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient;
use tetra_api::tetragon::get_events_response::Event;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Status, Streaming};

use crate::server::tests::{check_service, unix_channel};
use crate::server::{Broadcast, serve_on};

/// Longer than any test runs.
const LONG: Duration = Duration::from_hours(1);

fn options(window: Duration, different: u64) -> api::AggregationOptions {
    api::AggregationOptions {
        window_size: Some(window.into()),
        channel_buffer_size: different,
    }
}

/// A call of a function by a process at a time in seconds.
fn call(function: &str, pid: u32, seconds: i64) -> GetEventsResponse {
    GetEventsResponse {
        event: Some(Event::ProcessKprobe(api::ProcessKprobe {
            process: Some(api::Process {
                pid: Some(pid),
                ..Default::default()
            }),
            function_name: function.into(),
            ..Default::default()
        })),
        time: Some(tetra_api::Timestamp { seconds, nanos: 0 }),
        ..Default::default()
    }
}

fn counted(mut event: GetEventsResponse, count: u64) -> GetEventsResponse {
    event.aggregation_info = Some(api::AggregationInfo { count });
    event
}

fn notice(number: u64) -> GetEventsResponse {
    GetEventsResponse {
        event: Some(Event::RateLimitInfo(api::RateLimitInfo {
            number_of_dropped_process_events: number,
        })),
        ..Default::default()
    }
}

/// Serves on a socket, makes the request there, and gives the answer to `then`.
fn check<F: Future<Output = ()>>(
    request: api::GetEventsRequest,
    then: impl FnOnce(Arc<Broadcast>, Result<Streaming<GetEventsResponse>, Status>) -> F,
) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    check_service(false, |service| async {
        let broadcast = Arc::clone(service.broadcast());
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = serve_on(UnixListenerStream::new(listener), service, async {
            drop(stopped.await);
        });
        let asking = async {
            let mut client = FineGuidanceSensorsClient::new(unix_channel(path.clone()).await);
            let answer = client.get_events(request).await.map(tonic::Response::into_inner);
            then(broadcast, answer).await;
            drop(stop);
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
    });
}

fn check_stream<F: Future<Output = ()>>(
    options: api::AggregationOptions,
    then: impl FnOnce(Arc<Broadcast>, Streaming<GetEventsResponse>) -> F,
) {
    let request = api::GetEventsRequest {
        aggregation_options: Some(options),
        ..Default::default()
    };
    check(request, |broadcast, answer| then(broadcast, answer.unwrap()));
}

async fn rest(mut events: Streaming<GetEventsResponse>) -> Vec<GetEventsResponse> {
    let mut rest = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        rest.push(event);
    }
    rest
}

#[test]
fn equal_events_come_once_with_their_number_and_the_first_time() {
    check_stream(options(LONG, 0), |broadcast, events| async move {
        for event in [
            call("a", 1, 1),
            call("b", 1, 2),
            call("a", 1, 3),
            call("a", 2, 4),
            call("a", 1, 5),
        ] {
            broadcast.send(event);
        }
        broadcast.close();
        assert_eq!(
            rest(events).await,
            [
                counted(call("a", 1, 1), 3),
                counted(call("b", 1, 2), 1),
                counted(call("a", 2, 4), 1)
            ]
        );
    });
}

#[test]
fn a_window_ends_by_itself_and_the_next_one_counts_anew() {
    check_stream(
        options(Duration::from_millis(1), 0),
        |broadcast, mut events| async move {
            for time in [1, 2] {
                broadcast.send(call("a", 1, time));
                let event = events.message().await.unwrap();
                assert_eq!(
                    event,
                    Some(counted(call("a", 1, time), 1)),
                    "nothing else comes to end it"
                );
            }
        },
    );
}

#[test]
fn a_full_window_ends_early_and_loses_nothing() {
    check_stream(options(LONG, 2), |broadcast, events| async move {
        for function in ["a", "b", "b", "c", "a", "c"] {
            broadcast.send(call(function, 1, 0));
        }
        broadcast.close();
        let expected = [("a", 1), ("b", 2), ("c", 2), ("a", 1)];
        let expected = expected.map(|(function, count)| counted(call(function, 1, 0), count));
        assert_eq!(rest(events).await, expected);
    });
}

#[test]
fn the_notice_of_a_loss_stands_between_windows() {
    check_stream(options(LONG, 0), |broadcast, events| async move {
        for event in [call("a", 1, 0), notice(7), call("a", 1, 0)] {
            broadcast.send(event);
        }
        broadcast.close();
        let one = counted(call("a", 1, 0), 1);
        assert_eq!(rest(events).await, [one.clone(), notice(7), one]);
    });
}

#[test]
fn fields_that_are_filtered_out_keep_no_events_apart() {
    let request = api::GetEventsRequest {
        field_filters: vec![api::FieldFilter {
            fields: Some(tetra_api::FieldMask {
                paths: vec!["process".into()],
            }),
            action: api::FieldFilterAction::Exclude as i32,
            ..Default::default()
        }],
        aggregation_options: Some(api::AggregationOptions::default()),
        ..Default::default()
    };
    check(request, |broadcast, answer| async move {
        broadcast.send(call("a", 1, 1));
        broadcast.send(call("a", 2, 2));
        broadcast.close();
        let events = rest(answer.unwrap()).await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].aggregation_info, Some(api::AggregationInfo { count: 2 }));
    });
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let nothing = options(Duration::ZERO, 0);
    let negative = api::AggregationOptions {
        window_size: Some(tetra_api::Duration { seconds: -1, nanos: 0 }),
        channel_buffer_size: 0,
    };
    for (options, expected) in [
        (nothing, "`window_size` is 0s: expected"),
        (negative, "`window_size` is -1s: expected"),
        (
            options(LONG, 65_537),
            "`channel_buffer_size` is 65537: expected at most 65536",
        ),
        (options(LONG, u64::MAX), "expected at most 65536"),
    ] {
        let request = api::GetEventsRequest {
            aggregation_options: Some(options),
            ..Default::default()
        };
        check(request, |_, answer| async move {
            let error = answer.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.message().contains(expected), "{error}");
        });
    }
}
