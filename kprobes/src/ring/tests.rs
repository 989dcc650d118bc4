//! Rings that test programs fill: raw tracepoint programs, run on demand, that send a record with the time they are given.

use std::os::fd::AsFd;

use super::*;
use crate::assembler::{RINGBUF_OUTPUT, add_immediate, call, exit, load_map, load64, mov, mov_immediate, store64};
use crate::program::LoadedProgram;
use crate::sys::{self, MapShape, MapType, ProgramLoad, ProgramType};

const RECORD: usize = 16;

struct Source {
    map: Map,
    program: LoadedProgram,
}

/// `None`, with the reason printed, where programs cannot be loaded.
fn sources(count: usize, bytes: u32) -> Option<Vec<Source>> {
    if let Err(error) = crate::kernel::check_environment() {
        assert!(
            std::env::var_os("REQUIRE_KERNEL").is_none(),
            "REQUIRE_KERNEL is set, but: {error}"
        );
        #[allow(
            clippy::print_stderr,
            reason = "the reason of a skip belongs to the output of the test"
        )]
        {
            eprintln!("skipped: {error}");
        }
        return None;
    }
    let source = |index| {
        let shape = MapShape {
            map_type: MapType::RingBuf,
            key_size: 0,
            value_size: 0,
            max_entries: bytes,
            flags: 0,
        };
        let map = Map::create("tetra_test", shape, None).expect("ring");
        // { ring index, time from the context }
        let mut code = vec![
            load64(7, 1, 0),
            mov_immediate(6, index),
            store64(10, 6, -16),
            store64(10, 7, -8),
        ];
        code.extend(load_map(1, map.as_fd()));
        code.extend([
            mov(2, 10),
            add_immediate(2, -16),
            mov_immediate(3, RECORD as i32),
            mov_immediate(4, 0),
            call(RINGBUF_OUTPUT),
            exit(),
        ]);
        let program =
            LoadedProgram::load(&ProgramLoad::new("tetra_test", ProgramType::RawTracepoint, &code)).expect("program");
        Source { map, program }
    };
    Some((0..count as i32).map(source).collect())
}

impl Source {
    /// Sends a record; `false` if the ring is full.
    fn send(&self, ktime: u64) -> bool {
        // Twelve arguments is what a test run of a raw tracepoint may pass.
        let mut context = [0; 96];
        context[..8].copy_from_slice(&ktime.to_ne_bytes());
        sys::test_run_context(self.program.as_fd(), &mut context)
            .expect("test run")
            .return_value
            == 0
    }
}

fn reader(sources: &[Source]) -> Rings {
    Rings::new(
        sources
            .iter()
            .map(|source| source.map.as_fd().try_clone_to_owned().expect("dup"))
            .collect(),
    )
    .expect("rings")
}

fn word(record: &[u8], index: usize) -> u64 {
    u64::from_ne_bytes(record[index * 8..index * 8 + 8].try_into().expect("8 bytes"))
}

/// A small generator: the order of records over the rings should be uneven.
fn scatter(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*state >> 33) as usize
}

fn check_order(ring_count: usize, records: usize) {
    let Some(sources) = sources(ring_count, 1 << 20) else {
        return;
    };
    let mut rings = reader(&sources);
    let mut sent = vec![0u64; ring_count];
    let mut state = 7;
    for ktime in 1..=records as u64 {
        // Long runs in one ring, so that batches end at different times.
        let ring = if scatter(&mut state).is_multiple_of(4) {
            scatter(&mut state) % ring_count
        } else {
            0
        };
        assert!(sources[ring].send(ktime), "the ring has room");
        sent[ring] += 1;
    }
    let mut got = vec![0u64; ring_count];
    let mut next = 1;
    let drained = rings
        .drain(|record| {
            assert_eq!(record.len(), RECORD);
            got[word(record, 0) as usize] += 1;
            assert_eq!(word(record, 1), next, "every record once, in the order of time");
            next += 1;
        })
        .expect("drain");
    assert_eq!((drained.records, drained.held), (records, false));
    assert_eq!(got, sent);
    assert!(
        rings.unread_bytes().iter().all(|bytes| *bytes == 0),
        "all space is given back"
    );
}

#[test]
fn one_ring_is_read_in_its_order() {
    check_order(1, 3000);
}

#[test]
fn several_rings_are_merged_by_time_across_batches() {
    check_order(3, 9000);
}

#[test]
fn what_is_newer_than_the_pass_waits_for_the_next() {
    let Some(sources) = sources(2, 1 << 16) else { return };
    let mut rings = reader(&sources);
    let future = monotonic_ns() + 3_600_000_000_000;
    assert!(sources[0].send(10) && sources[0].send(future) && sources[1].send(20));
    let mut times = Vec::new();
    let drained = rings.drain(|record| times.push(word(record, 1))).expect("drain");
    assert_eq!(
        (times.as_slice(), drained),
        ([10, 20].as_slice(), Drained { records: 2, held: true })
    );
    let drained = rings.drain_all(|record| times.push(word(record, 1))).expect("drain");
    assert_eq!(
        (times.as_slice(), drained),
        (
            [10, 20, future].as_slice(),
            Drained {
                records: 1,
                held: false
            }
        )
    );
}

#[test]
fn a_full_ring_is_usable_again_after_a_pass() {
    let Some(sources) = sources(2, 4096) else { return };
    let mut rings = reader(&sources);
    let mut total = 0;
    for _ in 0..20 {
        let mut sent = 0;
        while sources[1].send(1) {
            sent += 1;
        }
        let drained = rings.drain(|_| ()).expect("drain");
        assert_eq!(drained.records, sent);
        total += sent;
    }
    assert!(
        total > 20 * 100,
        "{total} records of 24 bytes in a ring of a page, twenty times"
    );
}

#[test]
fn a_reader_is_woken() {
    let Some(sources) = sources(2, 1 << 16) else { return };
    let mut rings = reader(&sources);
    assert!(!rings.wait(Duration::ZERO).expect("wait"), "nothing was sent");
    assert!(sources[1].send(1));
    assert!(rings.wait(Duration::from_secs(10)).expect("wait"));
    assert_eq!(rings.drain(|_| ()).expect("drain").records, 1);
    assert!(!rings.wait(Duration::ZERO).expect("wait"), "the wake-up was seen");
}
