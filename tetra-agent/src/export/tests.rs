use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tetra_api::tetragon::get_events_response::Event;
use tetra_api::tetragon::{Process, ProcessExec};

use super::*;
use crate::filter::{FilterOptions, parse_filters};

fn event(binary: &str) -> GetEventsResponse {
    let process = Process {
        binary: binary.into(),
        ..Default::default()
    };
    GetEventsResponse {
        event: Some(Event::ProcessExec(ProcessExec {
            process: Some(process),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn config(filename: &Path) -> ExportConfig {
    ExportConfig {
        filename: filename.to_owned(),
        filters: FilterLists::default(),
        field_filters: FieldFilters::default(),
        max_size_bytes: 1 << 20,
        max_backups: 2,
        permission: 0o640,
        rotation_interval: Duration::ZERO,
        compress: false,
        per_minute: None,
    }
}

fn lines(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap();
    let events: Vec<GetEventsResponse> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.len()
}

#[test]
fn what_the_limit_holds_back_is_counted_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    let mut exporter = Exporter::start(ExportConfig {
        per_minute: Some(3),
        ..config(&path)
    })
    .unwrap();
    let stats = Arc::clone(exporter.stats());
    let account = Arc::new(Account::default());
    for _ in 0..10 {
        exporter.event(&event("/bin/a"), Some(&account));
    }
    exporter.finish();
    assert_eq!(lines(&path), 4, "three and the notice");
    assert_eq!((stats.exported.get(), stats.limited.get()), (4, 7));
    assert_eq!((account.exported.get(), account.filtered.get()), (3, 7));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.ends_with("{\"rate_limit_info\":{\"number_of_dropped_process_events\":\"7\"}}\n"),
        "{text}"
    );
}

#[test]
fn events_are_filtered_written_and_accounted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/events.json");
    let deny = parse_filters(r#"{"binary_regex":["secret"]}"#).unwrap();
    let filters = FilterLists::new(&[], &deny, FilterOptions::default()).unwrap();
    let mut exporter = Exporter::start(ExportConfig {
        filters,
        ..config(&path)
    })
    .unwrap();
    let stats = Arc::clone(exporter.stats());
    let account = Arc::new(Account::default());
    exporter.event(&event("/bin/a"), Some(&account));
    exporter.event(&event("/bin/secret"), Some(&account));
    exporter.event(&event("/bin/b"), None);
    exporter.finish();
    assert_eq!(lines(&path), 2);
    assert_eq!(
        (stats.exported.get(), stats.filtered.get(), stats.lost.get()),
        (2, 1, 0)
    );
    assert_eq!((account.exported.get(), account.filtered.get()), (1, 1));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_full_disk_costs_counted_events_and_nothing_else() {
    // /dev/full takes no byte and says that there is no space left
    let mut exporter = Exporter::start(config(Path::new("/dev/full"))).unwrap();
    let stats = Arc::clone(exporter.stats());
    let account = Arc::new(Account::default());
    for _ in 0..10 {
        exporter.event(&event("/bin/a"), Some(&account));
        exporter.flush();
    }
    exporter.finish();
    assert_eq!(
        (stats.exported.get(), stats.lost.get(), account.lost.get()),
        (0, 10, 10)
    );
}

#[test]
fn files_are_rotated_by_size_and_only_some_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    std::fs::write(directory.path().join("events-other.json"), "not ours").unwrap();
    let mut batch = Batch::default();
    (0..100).for_each(|_| batch.push(&event("/bin/a"), None).unwrap());
    let rotation = Rotation {
        max_size_bytes: batch.bytes().len() as u64,
        max_backups: 2,
        interval: Duration::ZERO,
        compress: false,
    };
    let mut file = FileOutput::open(&path, 0o600, rotation).unwrap();
    for _ in 0..6 {
        // names of backups have milliseconds
        let before = std::time::SystemTime::now();
        assert!(matches!(file.write(&batch), (100, None)));
        while before.elapsed().unwrap() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&"events-other.json".to_owned()) && names.contains(&"events.json".to_owned()));
    assert_eq!(lines(&path), 100);
}

#[test]
fn rotated_files_are_compressed_also_those_that_a_killed_agent_has_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    let left = directory.path().join("events-2026-01-31T23-59-59.000.json");
    let mut batch = Batch::default();
    (0..100).for_each(|_| batch.push(&event("/bin/a"), None).unwrap());
    std::fs::write(&left, batch.bytes()).unwrap();
    std::fs::write(
        directory.path().join("events-2026-01-31T23-59-59.000.json.gz.part"),
        "half",
    )
    .unwrap();
    let rotation = Rotation {
        max_size_bytes: batch.bytes().len() as u64,
        max_backups: 5,
        interval: Duration::ZERO,
        compress: true,
    };
    let mut file = FileOutput::open(&path, 0o640, rotation).unwrap();
    assert!(matches!(file.write(&batch), (100, None)));
    assert!(matches!(file.write(&batch), (100, None)));
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let is_done = |names: &[String]| names.len() == 3 && names[..2].iter().all(|name| name.ends_with(".json.gz"));
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_done(&names()) {
        assert!(Instant::now() < deadline, "{:?}", names());
        std::thread::yield_now();
    }
    for name in &names()[..2] {
        use std::io::Read as _;
        use std::os::unix::fs::PermissionsExt as _;
        let compressed = std::fs::File::open(directory.path().join(name)).unwrap();
        assert_eq!(compressed.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        let mut text = String::new();
        flate2::read::GzDecoder::new(compressed)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text.as_bytes(), batch.bytes());
    }
}

#[test]
fn half_a_line_counts_as_lost() {
    let mut batch = Batch::default();
    batch.push(&event("/bin/a"), None).unwrap();
    let one = batch.bytes().len();
    batch.push(&event("/bin/b"), None).unwrap();
    assert_eq!(batch.complete_within(one - 1), (0, 0));
    assert_eq!(batch.complete_within(one), (one, 1));
    assert_eq!(batch.complete_within(2 * one - 1), (one, 1));
    assert_eq!(batch.complete_within(2 * one), (2 * one, 2));
}

#[test]
fn a_queue_without_room_gives_the_batch_back() {
    let queue = Queue::new(10);
    let batch = || {
        let mut batch = Batch::default();
        batch.push(&event("/bin/a"), None).unwrap();
        batch
    };
    // one is always taken, however large
    assert!(queue.push(batch(), Duration::ZERO).is_ok());
    assert!(queue.push(batch(), Duration::ZERO).is_err());
    assert!(queue.pop().is_some());
    assert!(queue.push(batch(), Duration::ZERO).is_ok());
    queue.close();
    assert!(queue.pop().is_some());
    assert!(queue.pop().is_none());
}

#[test]
fn half_a_line_of_a_killed_agent_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    let rotation = Rotation {
        max_size_bytes: 1 << 30,
        max_backups: 1,
        interval: Duration::ZERO,
        compress: false,
    };
    let long = "x".repeat(200 << 10);
    for (left, kept) in [
        (String::new(), String::new()),
        ("{}\n".to_owned(), "{}\n".to_owned()),
        ("{}\n{\"a".to_owned(), "{}\n".to_owned()),
        (format!("{{}}\n{long}"), "{}\n".to_owned()),
        (long.clone(), String::new()),
    ] {
        std::fs::write(&path, left).unwrap();
        drop(FileOutput::open(&path, 0o600, rotation).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
    }
}
