use tetra_api::tetragon as api;
use tetra_api::tetragon::GetEventsResponse;
use tetra_api::tetragon::get_events_response::Event;

use super::*;
use crate::filter::{FieldFilters, FilterLists, FilterOptions, parse_filters};

fn exec(binary: &str) -> GetEventsResponse {
    let process = api::Process { binary: binary.into(), ..Default::default() };
    GetEventsResponse {
        event: Some(Event::ProcessExec(api::ProcessExec { process: Some(process), ..Default::default() })),
        ..Default::default()
    }
}

#[test]
fn a_slow_client_loses_events_for_itself_only() {
    let broadcast = Broadcast::new(2);
    let mut slow = broadcast.subscribe(FilterLists::default(), FieldFilters::default()).unwrap();
    let mut quick = broadcast.subscribe(FilterLists::default(), FieldFilters::default()).unwrap();
    for index in 0..5 {
        broadcast.send(exec(&index.to_string()));
        assert!(quick.queue.try_recv().is_ok());
    }
    assert_eq!(broadcast.lost(), 3);
    assert!(slow.queue.try_recv().is_ok() && slow.queue.try_recv().is_ok() && slow.queue.try_recv().is_err());
    broadcast.send(exec("again"));
    assert!(slow.queue.try_recv().is_ok());
}

#[test]
fn clients_get_what_their_filters_let_pass() {
    let broadcast = Broadcast::new(10);
    let filters = FilterLists::new(&parse_filters(r#"{"binary_regex":["^b"]}"#).unwrap(), &[], FilterOptions::default());
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
    let mut client = broadcast.subscribe(FilterLists::default(), FieldFilters::default()).unwrap();
    broadcast.close();
    assert!(client.queue.blocking_recv().is_none());
    assert!(broadcast.subscribe(FilterLists::default(), FieldFilters::default()).is_none());
}

#[test]
fn the_socket_has_its_permissions_and_goes_with_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/agent.sock");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file");
        drop(listener);
        // what a crashed agent left behind is replaced
        let (_listener, second) = SocketFile::listen(&path).unwrap();
        drop(second);
        assert!(!path.exists());
        drop(file);
    });
}
