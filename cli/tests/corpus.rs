//! Compact output of real event logs is, byte for byte, what the reference prints.
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::fs;
use std::path::PathBuf;

use tetra::compact::{CompactOptions, encode};
use tetra_api::tetragon::GetEventsResponse;

/// Event logs of the corpus: `TETRA_CORPUS`, else beside the project. `None`, with the reason
/// printed, if there is none.
fn corpus() -> Option<Vec<PathBuf>> {
    let root = std::env::var_os("TETRA_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join("events");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: no event corpus at {} (set TETRA_CORPUS)", folder.display());
        return None;
    };
    let mut logs = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect::<Vec<_>>();
    logs.sort();
    assert!(!logs.is_empty(), "{} holds event logs", folder.display());
    Some(logs)
}

/// The reference prints all 128 bytes of a cgroup name, NULs included; we print the name.
fn without_nuls(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.find('"') {
        let Some(end) = text[start + 1..].find('"').map(|length| start + 1 + length) else {
            break;
        };
        let name = text[start + 1..end].trim_end_matches("\\x00").to_owned();
        text.replace_range(start..=end, &name);
    }
    text
}

#[test]
fn every_pair_agrees() {
    let Some(logs) = corpus() else { return };
    let options = CompactOptions {
        colours: false,
        timestamps: false,
        stack_traces: true,
        ima_hash: true,
    };
    for log in logs {
        let mut printed = String::new();
        for line in fs::read_to_string(&log).expect("an event log").lines() {
            let event: GetEventsResponse = serde_json::from_str(line).expect("an event");
            encode(&event, options, &mut printed).expect("a line");
        }
        let mut expected = fs::read_to_string(log.with_extension("compact")).expect("its compact output");
        if expected.contains("\\x00") {
            expected = without_nuls(&expected);
        }
        assert_eq!(printed, expected, "{}", log.display());
    }
}
