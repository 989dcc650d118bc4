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
        (
            stats.exported.get(),
            stats.bytes.get(),
            stats.lost.get(),
            account.lost.get()
        ),
        (0, 0, 10, 10)
    );
}

/// Runs `test` in a directory on a file system of so few bytes and files, which nobody else sees.
fn on_small_disk(bytes: usize, files: usize, test: impl FnOnce(&Path) + Send) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    std::thread::scope(|scope| {
        // the mount namespace is this thread's, and that of the threads it starts
        let thread = scope.spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
                println!("skipped: no mount namespace of its own: {error}");
                return;
            }
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let directory = tempfile::tempdir().unwrap();
            // the root directory is one of the files
            let options = format!("size={bytes},nr_inodes={}", files + 1);
            mount(
                Some("none"),
                directory.path(),
                Some("tmpfs"),
                MsFlags::empty(),
                Some(options.as_str()),
            )
            .unwrap();
            test(directory.path());
            nix::mount::umount(directory.path()).unwrap();
        });
        thread.join().unwrap();
    });
}

/// Lines in all files of a directory.
fn all_lines(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| lines(&file.unwrap().path()) as u64).sum()
}

#[test]
fn a_disk_that_fills_up_costs_counted_events_until_there_is_room() {
    on_small_disk(64 << 10, 100, |directory| {
        let path = directory.join("events.json");
        let mut exporter = Exporter::start(ExportConfig {
            max_size_bytes: 16 << 10,
            max_backups: 90,
            ..config(&path)
        })
        .unwrap();
        let stats = Arc::clone(exporter.stats());
        let account = Arc::new(Account::default());
        let mut sent = 0;
        let mut send_until = |done: &dyn Fn() -> bool| {
            while !done() {
                exporter.event(&event("/bin/a"), Some(&account));
                sent += 1;
                exporter.flush();
            }
        };
        send_until(&|| stats.lost.get() > 0);
        let before = stats.exported.get();
        assert!(before > 100, "{before}");
        // an administrator makes room
        let mut removed = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let file = file.unwrap().path();
            if file != path {
                removed += lines(&file) as u64;
                std::fs::remove_file(file).unwrap();
            }
        }
        assert!(removed > 0);
        send_until(&|| stats.exported.get() > before + 100);
        exporter.finish();
        assert_eq!(stats.exported.get() + stats.lost.get(), sent);
        assert_eq!(
            (account.exported.get(), account.lost.get()),
            (stats.exported.get(), stats.lost.get())
        );
        assert_eq!(stats.exported.get(), all_lines(directory) + removed, "whole lines");
    });
}

#[test]
fn a_file_that_cannot_be_rotated_grows_on() {
    // room for the file and one backup
    on_small_disk(1 << 20, 2, |directory| {
        let path = directory.join("events.json");
        let mut batch = Batch::default();
        batch.push(&event("/bin/a"), None).unwrap();
        let rotation = Rotation {
            max_size_bytes: 1,
            max_backups: 2,
            interval: Duration::ZERO,
            compress: false,
        };
        let mut file = FileOutput::open(&path, 0o600, rotation).unwrap();
        for _ in 0..5 {
            assert!(matches!(file.write(&batch), (1, None)));
        }
        assert_eq!((lines(&path), all_lines(directory)), (4, 5));
        // fewer backups fit
        let rotation = Rotation {
            max_backups: 1,
            ..rotation
        };
        let mut file = FileOutput::open(&path, 0o600, rotation).unwrap();
        assert!(matches!(file.write(&batch), (1, None)));
        assert_eq!((lines(&path), all_lines(directory)), (1, 5));
    });
}

#[test]
fn a_file_that_somebody_has_moved_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    let mut batch = Batch::default();
    batch.push(&event("/bin/a"), None).unwrap();
    let rotation = Rotation {
        max_size_bytes: 1,
        max_backups: 2,
        interval: Duration::ZERO,
        compress: false,
    };
    let mut file = FileOutput::open(&path, 0o600, rotation).unwrap();
    assert!(matches!(file.write(&batch), (1, None)));
    std::fs::rename(&path, directory.path().join("moved")).unwrap();
    assert!(matches!(file.write(&batch), (1, None)));
    assert_eq!((lines(&path), lines(&directory.path().join("moved"))), (1, 1));
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
