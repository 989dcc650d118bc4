//! How much kernel memory the base maps take, and what happens when there is no more.

use std::fs;
use std::process::{Child, Command, Stdio};

use ebpf::record::{Process, SensorCounter};
use kprobes::probe::{self, Feature};
use kprobes::{Sensor, SensorOptions, SharedMaps};

mod support;

use support::cgroup::{self, Cgroup};
use support::guard;

/// What the base maps may take after the start, on a kernel that allocates elements at run time.
const MOST_BYTES: u64 = 8_000_000;

/// Tgids that no process has: above the most that `kernel.pid_max` can be.
const BEYOND_PIDS: u32 = 1 << 22;

/// Whether elements are allocated as they come.
fn allocates_at_run_time() -> bool {
    let report = probe::report().expect("the guard allowed it");
    report.has(Feature::RunTimeAllocation)
}

/// Processes that run now.
fn live_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("procfs");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Fills the table up to `count` processes.
fn fill(maps: &SharedMaps, count: u32) {
    let there = maps.processes().all().expect("the table can be read").len() as u32;
    for tgid in there..count {
        let inserted = maps.processes().insert(BEYOND_PIDS + tgid, &Process::default());
        assert!(inserted.expect("there is room"), "process {tgid}");
    }
}

/// A cgroup whose memory the kernel counts.
fn accounted() -> Option<Cgroup> {
    let root = cgroup::root()?;
    fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
    Some(Cgroup::new(&root, "tetra-memory"))
}

/// Memory of the kernel itself that is charged to a cgroup; `None` where it is not told (before 5.18).
fn charged(cgroup: &Cgroup) -> Option<u64> {
    let text = fs::read_to_string(cgroup.path().join("memory.stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("kernel "))?;
    line.parse().ok()
}

/// Makes maps whose memory is charged to `cgroup`.
fn charged_to<T>(cgroup: Option<&Cgroup>, make: impl FnOnce() -> T) -> T {
    let Some(cgroup) = cgroup else { return make() };
    cgroup.take(std::process::id());
    let made = make();
    cgroup::enter(&cgroup::root().expect("it was there"), std::process::id());
    made
}

#[test]
fn base_maps_stay_below_eight_megabytes() {
    if !guard::can_load() {
        return;
    }
    let cgroup = accounted();
    let mut before = None;
    let maps = charged_to(cgroup.as_ref(), || {
        before = cgroup.as_ref().and_then(charged);
        SharedMaps::create(&SensorOptions::default()).expect("maps")
    });
    let charge = || Some(charged(cgroup.as_ref()?)?.saturating_sub(before?));
    let told = |charge: Option<u64>| charge.map_or_else(|| "not told".to_owned(), |bytes| bytes.to_string());
    for tgid in live_processes() {
        let inserted = maps.processes().insert(tgid, &Process::default());
        assert!(inserted.expect("there is room"));
    }

    let at_start = maps.memlock_bytes();
    assert!(
        maps.memlock().all(|(name, _)| name != ebpf::maps::SOCK_OWNERS.name),
        "nobody follows sockets"
    );
    let of_each: Vec<String> = maps.memlock().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    guard::note(&of_each.join(", "));
    let charge_at_start = charge();
    guard::note(&format!(
        "at start: {at_start} bytes, charged {}",
        told(charge_at_start)
    ));
    fill(&maps, 10_000);
    let partly_full = maps.memlock_bytes();
    guard::note(&format!(
        "10,000 processes: {partly_full} bytes, charged {}",
        told(charge())
    ));
    let capacity = maps.processes().capacity();
    fill(&maps, capacity);
    let full = maps.memlock_bytes();
    guard::note(&format!(
        "{capacity} processes: {full} bytes, charged {}",
        told(charge())
    ));
    let error = maps
        .processes()
        .insert(BEYOND_PIDS + capacity, &Process::default())
        .expect_err("it is full");
    assert_eq!(error.errno, libc::E2BIG, "{error}");

    assert!(at_start > 0, "the kernel tells what maps take");
    if allocates_at_run_time() {
        assert!(at_start <= MOST_BYTES, "{at_start} bytes");
        if let Some(charge) = charge_at_start {
            assert!(charge <= MOST_BYTES, "{charge} bytes are charged");
        }
    } else {
        assert_eq!(full, at_start, "all of it is there from the start");
    }
}

/// Processes that wait to be ended.
struct Waiting(Vec<Child>);

impl Waiting {
    fn add(&mut self) -> u32 {
        // it waits for the end of its standard input
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        let pid = child.id();
        self.0.push(child);
        pid
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for mut child in self.0.drain(..) {
            drop(child.stdin.take());
            drop(child.wait());
        }
    }
}

/// Processes that found no place when they were made or executed.
fn refused(sensor: &Sensor) -> u64 {
    sensor.maps().counters().expect("counters")[SensorCounter::ProcessTableFull as usize]
}

#[test]
fn a_process_that_finds_no_room_is_counted() {
    if !guard::can_load() {
        return;
    }
    let sensor = Sensor::load(&SensorOptions {
        processes: 64,
        ..SensorOptions::default()
    })
    .expect("the sensor");
    let processes = sensor.maps().processes();
    // others may come and go meanwhile
    let mut next = BEYOND_PIDS;
    let mut fill_up = || {
        while processes.insert(next, &Process::default()).is_ok() {
            next += 1;
        }
    };
    let mut waiting = Waiting(Vec::new());
    let unknown = (0..100).find_map(|_| {
        fill_up();
        let before = refused(&sensor);
        let pid = waiting.add();
        let unknown = processes.lookup(pid).expect("lookup").is_none();
        unknown.then(|| (before, refused(&sensor)))
    });
    let (before, after) = unknown.expect("a full table takes no process");
    assert!(after > before, "{before} before, {after} after");

    for tgid in BEYOND_PIDS..next {
        processes.delete(tgid).expect("the table can be changed");
    }
    let before = refused(&sensor);
    let pid = waiting.add();
    assert!(processes.lookup(pid).expect("lookup").is_some(), "there is room again");
    assert_eq!(refused(&sensor), before);
}

#[test]
fn a_process_for_which_there_is_no_memory_is_counted() {
    if !guard::can_load() {
        return;
    }
    if !allocates_at_run_time() {
        guard::skip("the table has all its memory from the start");
        return;
    }
    let Some(cgroup) = accounted() else {
        guard::skip("there is no memory controller in a unified hierarchy");
        return;
    };
    let sensor = charged_to(Some(&cgroup), || {
        Sensor::load(&SensorOptions::default()).expect("the sensor")
    });
    let processes = sensor.maps().processes();
    fs::write(cgroup.path().join("memory.max"), "0").expect("memory can be limited");
    // What the kernel keeps ready for this CPU is used up; the others have theirs.
    let error = (BEYOND_PIDS..)
        .find_map(|tgid| processes.insert(tgid, &Process::default()).err())
        .expect("there are fewer places");
    assert_eq!(error.errno, libc::ENOMEM, "{error}");
    let mut waiting = Waiting(Vec::new());
    let known = (0..1000).take_while(|_| {
        waiting.add();
        refused(&sensor) == 0
    });
    let known = known.count();
    assert_ne!(refused(&sensor), 0, "{known} processes found a place");

    fs::write(cgroup.path().join("memory.max"), "max").expect("memory can be given");
    let known = (0..1000).any(|_| {
        let before = refused(&sensor);
        let pid = waiting.add();
        refused(&sensor) == before && processes.lookup(pid).expect("lookup").is_some()
    });
    assert!(known, "with memory there is a place");
}
