//! Loading, attaching and swapping of hook programs, at every attach point that the running kernel has.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kprobes::sys::getpgid_of_self;
use kprobes::{HookSet, LoadError, PinDirectory, Sensor, SensorOptions, SharedMaps, rejection};
use policy_compiler::output::{AttachPoint, HookObject};

mod support;

use support::guard;
use support::objects::{Objects, attach_points, compile, program_of};

/// First slots of the two variants of each program.
const RED: u32 = 0;
const BLUE: u32 = 100;

/// The programs count the calls of this process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Setup {
    maps: SharedMaps,
    set: HookSet,
    red: Objects,
    blue: Objects,
    _alone: MutexGuard<'static, ()>,
}

fn setup() -> Option<Setup> {
    if !guard::can_load() {
        return None;
    }
    let maps = SharedMaps::create(&SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    })
    .expect("maps");
    let set = HookSet::new(&maps).expect("an empty set");
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Setup {
        set,
        red: compile(RED)?,
        blue: compile(BLUE)?,
        maps,
        _alone: alone,
    })
}

impl Setup {
    /// Calls that a program has counted.
    fn count(&self, first_slot: u32, attach: &AttachPoint) -> u64 {
        count(&self.maps, first_slot, attach)
    }

    fn apply(&mut self, objects: Vec<HookObject>) -> kprobes::AppliedSet {
        self.set
            .apply(objects)
            .unwrap_or_else(|error| panic!("{error}\n{error:?}"))
    }
}

fn count(maps: &SharedMaps, first_slot: u32, attach: &AttachPoint) -> u64 {
    maps.policy_counters(first_slot + program_of(attach).slot)
        .expect("a slot")[0]
}

fn is_denying(attach: &AttachPoint) -> bool {
    matches!(attach, AttachPoint::FmodRet { .. } | AttachPoint::Lsm { .. })
}

/// Whether the kernel runs programs there with preemption off, or without a guard against recursion.
fn sees_every_call(attach: &AttachPoint) -> bool {
    matches!(
        attach,
        AttachPoint::Lsm { .. }
            | AttachPoint::Kprobe { .. }
            | AttachPoint::KprobeMulti { .. }
            | AttachPoint::KretprobeMulti { .. }
            | AttachPoint::Tracepoint { .. }
    )
}

/// Makes calls; how many were denied.
fn calls(number: u32) -> u32 {
    (0..number).filter(|_| getpgid_of_self().is_err()).count() as u32
}

/// Attach points that can all be used at once: what fmod_ret denies never gets as far as the LSM hook.
fn together() -> Vec<AttachPoint> {
    let all = attach_points();
    let has_lsm = all.iter().any(|attach| matches!(attach, AttachPoint::Lsm { .. }));
    all.into_iter()
        .filter(|attach| !(has_lsm && matches!(attach, AttachPoint::FmodRet { .. })))
        .collect()
}

fn raw_tp() -> AttachPoint {
    AttachPoint::RawTracepoint {
        event: "sys_enter".into(),
    }
}

#[test]
fn every_attach_point_runs_its_program_and_only_that() {
    let Some(mut setup) = setup() else { return };
    for attach in attach_points() {
        let applied = setup.apply(vec![setup.red.hook(attach.clone())]);
        let name = &applied.hooks[0].name;
        assert_eq!((applied.loaded, applied.hooks.len()), (1, 1), "{name}");
        assert!(applied.hooks[0].verified_instructions > 0, "{name}");
        assert!(applied.hooks[0].memlock_bytes > 0, "{name}");
        let denied = calls(10);
        assert_eq!(setup.count(RED, &attach), 10, "{name} counts every call");
        assert_eq!(denied, if is_denying(&attach) { 10 } else { 0 }, "{name}");

        let applied = setup.apply(vec![setup.blue.hook(attach.clone())]);
        assert_eq!((applied.loaded, applied.kept, applied.removed), (1, 0, 0), "{name}");
        calls(10);
        assert_eq!(
            (setup.count(RED, &attach), setup.count(BLUE, &attach)),
            (10, 10),
            "{name} after the swap"
        );

        let applied = setup.apply(Vec::new());
        assert_eq!((applied.removed, applied.hooks.len()), (1, 0), "{name}");
        assert_eq!(calls(10), 0, "{name} is gone");
        assert_eq!(
            (setup.count(RED, &attach), setup.count(BLUE, &attach)),
            (10, 10),
            "{name} is gone"
        );
    }
}

#[test]
fn swapping_under_load_loses_and_doubles_nothing() {
    let Some(mut setup) = setup() else { return };
    let attach_points = together();
    setup.apply(
        attach_points
            .iter()
            .map(|attach| setup.red.hook(attach.clone()))
            .collect(),
    );
    let stop = AtomicBool::new(false);
    let made = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    calls(64);
                    made.fetch_add(64, Ordering::Relaxed);
                }
            });
        }
        // A hundred times where that is quick; under emulation at least so often that every combination has its turn.
        let start = Instant::now();
        for round in (0..100).take_while(|round| *round < 12 || start.elapsed() < Duration::from_secs(20)) {
            // One half changes, the other half stays, in turns.
            let objects = attach_points.iter().enumerate().map(|(index, attach)| {
                let variant = if (round + index) % 4 < 2 {
                    &setup.red
                } else {
                    &setup.blue
                };
                variant.hook(attach.clone())
            });
            let objects = objects.collect();
            if let Err(error) = setup.set.apply(objects) {
                stop.store(true, Ordering::Relaxed);
                panic!("round {round}: {error}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let made = made.load(Ordering::Relaxed);
    for hook in setup.set.hooks().expect("hooks") {
        let (red, blue, missed) = (
            setup.count(RED, &hook.attach),
            setup.count(BLUE, &hook.attach),
            hook.missed,
        );
        let counted = red + blue;
        // What the kernel leaves out it counts for all processes together, so this is an upper bound. It is 0 on most kernels.
        assert!(
            counted <= made && made <= counted + missed,
            "{}: {made} calls, {red} + {blue} counted, {missed} left out by the kernel",
            hook.name
        );
        if sees_every_call(&hook.attach) {
            assert_eq!(counted, made, "{}: {missed} left out by the kernel", hook.name);
        }
        assert!(red > 0 && blue > 0, "{}: {red} + {blue}", hook.name);
    }
}

#[test]
fn unchanged_objects_keep_their_program() {
    let Some(mut setup) = setup() else { return };
    let tp_btf = AttachPoint::TpBtf {
        event: "sys_enter".into(),
    };
    let first = setup.apply(vec![setup.red.hook(raw_tp())]);
    let second = setup.apply(vec![setup.red.hook(raw_tp()), setup.red.hook(tp_btf.clone())]);
    assert_eq!((second.loaded, second.kept), (1, 1));
    let of = |hooks: &[kprobes::HookInfo]| {
        let hook = hooks
            .iter()
            .find(|hook| hook.attach == raw_tp())
            .expect("the hook")
            .clone();
        (hook.program_id, hook.stub_id, hook.link_id)
    };
    assert_eq!(of(&first.hooks), of(&second.hooks));
    calls(5);
    assert_eq!((setup.count(RED, &raw_tp()), setup.count(RED, &tp_btf)), (5, 5));
}

#[test]
fn a_set_with_a_bad_object_changes_nothing() {
    let Some(mut setup) = setup() else { return };
    setup.apply(vec![setup.red.hook(raw_tp())]);
    let bad = vec![
        setup.blue.hook(raw_tp()),
        setup.blue.bad("sched_switch"),
        setup.blue.hook(AttachPoint::TpBtf {
            event: "no_such_event".into(),
        }),
    ];
    let Err(LoadError::Policy(problems)) = setup.set.apply(bad) else {
        panic!("this must not be loaded")
    };
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [rejection::VERIFIER_REJECTED, rejection::TARGET_MISSING]);
    let [rejected, _] = problems.as_slice() else {
        panic!("two")
    };
    assert_eq!(
        rejected.source.slice(rejected.primary.span),
        "*address = 1; /* no pointer for the verifier */",
        "{rejected:?}"
    );
    assert!(
        rejected.message.contains("invalid mem access"),
        "{}\n{:?}",
        rejected.message,
        rejected.help
    );

    // Loads, but there is nothing to attach to.
    let nowhere = vec![
        setup.blue.hook(raw_tp()),
        setup.blue.hook(AttachPoint::RawTracepoint {
            event: "no_such_event".into(),
        }),
    ];
    let Err(LoadError::Policy(problems)) = setup.set.apply(nowhere) else {
        panic!("this must not be attached")
    };
    assert_eq!(problems[0].code, rejection::NOT_ATTACHED);

    calls(5);
    assert_eq!(
        (setup.count(RED, &raw_tp()), setup.count(BLUE, &raw_tp())),
        (5, 0),
        "the old set is in force"
    );
    setup.apply(vec![setup.blue.hook(raw_tp())]);
    calls(5);
    assert_eq!((setup.count(RED, &raw_tp()), setup.count(BLUE, &raw_tp())), (5, 5));
}

#[test]
fn dropping_the_set_detaches_everything() {
    let Some(mut setup) = setup() else { return };
    let attach_points = together();
    setup.apply(
        attach_points
            .iter()
            .map(|attach| setup.red.hook(attach.clone()))
            .collect(),
    );
    calls(3);
    let Setup { set, maps, _alone, .. } = setup;
    let before: Vec<_> = attach_points.iter().map(|attach| count(&maps, RED, attach)).collect();
    drop(set);
    assert_eq!(calls(3), 0);
    let after: Vec<_> = attach_points.iter().map(|attach| count(&maps, RED, attach)).collect();
    assert!(before.iter().all(|count| *count == 3), "{before:?}");
    assert_eq!(before, after);
}

/// A directory for pins that is removed at the end.
struct Pins {
    directory: PinDirectory,
    root: PathBuf,
}

impl Pins {
    fn new(name: &str, options: &SensorOptions) -> Option<Self> {
        let bpffs = match kprobes::sys::ensure_mounted(kprobes::sys::Filesystem::Bpffs) {
            Ok(bpffs) => bpffs,
            Err(error) => {
                guard::skip(&error.to_string());
                return None;
            }
        };
        let root = bpffs.join(format!("tetra_test_{name}_{}", std::process::id()));
        Some(Self {
            directory: PinDirectory::new(&root, options),
            root,
        })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // The test fails elsewhere if it matters.
        drop(kprobes::remove_pins(&self.root));
    }
}

fn tp_btf() -> AttachPoint {
    AttachPoint::TpBtf {
        event: "sys_enter".into(),
    }
}

#[test]
fn pinned_hooks_outlive_the_set() {
    let Some(mut setup) = setup() else { return };
    let Some(pins) = Pins::new("hooks", &SensorOptions::default()) else {
        return;
    };
    setup.apply(vec![setup.red.hook(raw_tp())]);
    setup.set.set_pins(Some(pins.directory.path())).expect("pin");
    // A hook that comes later is pinned, one that goes is not.
    setup.apply(vec![setup.blue.hook(tp_btf())]);
    let Setup { set, maps, _alone, .. } = setup;
    drop(set);
    calls(4);
    assert_eq!((count(&maps, RED, &raw_tp()), count(&maps, BLUE, &tp_btf())), (0, 4));
    let removed = kprobes::remove_pins(&pins.root).expect("unpin");
    assert_eq!((removed.sets, removed.hooks), (1, 1));
    calls(4);
    assert_eq!(count(&maps, BLUE, &tp_btf()), 4, "it is detached");
    assert!(!pins.root.exists());
}

#[test]
fn pinned_hooks_are_taken_over_without_a_gap() {
    if !guard::can_load() {
        return;
    }
    let options = SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    };
    let Some(pins) = Pins::new("adopted", &options) else {
        return;
    };
    let (Some(red), Some(blue)) = (compile(RED), compile(BLUE)) else {
        return;
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let attach_points = together();
    // Before 5.15 perf events have no links.
    let report = kprobes::probe::report().expect("eBPF can be used");
    let attach_points: Vec<AttachPoint> = attach_points
        .into_iter()
        .filter(|attach| {
            report.has(kprobes::probe::Feature::KprobeMulti)
                || !matches!(
                    attach,
                    AttachPoint::Kprobe { .. } | AttachPoint::Kretprobe { .. } | AttachPoint::Tracepoint { .. }
                )
        })
        .collect();
    let hooks = |objects: &Objects| {
        attach_points
            .iter()
            .map(|attach| objects.hook(attach.clone()))
            .collect()
    };

    let sensor = Sensor::load(&options).expect("the sensor");
    sensor.pin(&pins.directory).expect("pin the sensor");
    let mut set = HookSet::new(sensor.maps()).expect("a set");
    set.set_pins(Some(pins.directory.path())).expect("pin");
    set.apply(hooks(&red)).expect("red");
    calls(3);
    drop((set, sensor));
    // Nobody is there.
    calls(4);

    assert!(pins.directory.survey().expect("survey").is_usable);
    let sensor = Sensor::adopt(&options, &pins.directory).expect("the pinned sensor");
    let maps = sensor.maps().clone();
    let mut set = HookSet::adopt(&maps, &pins.directory).expect("the pinned hooks");
    assert_eq!(set.attached(), attach_points.len());
    calls(5);
    let all = |objects: u32| -> Vec<u64> {
        attach_points
            .iter()
            .map(|attach| count(&maps, objects, attach))
            .collect()
    };
    assert_eq!(all(RED), vec![12; attach_points.len()]);
    // The sensor went on, too: this process forks and it is noticed.
    let sent = maps.counters().expect("counters")[ebpf::record::SensorCounter::CloneSent as usize];
    std::process::Command::new("true").status().expect("a child");
    assert!(maps.counters().expect("counters")[ebpf::record::SensorCounter::CloneSent as usize] > sent);

    let applied = set.apply(hooks(&blue)).expect("blue");
    assert_eq!((applied.loaded, applied.removed), (attach_points.len(), 0));
    calls(6);
    assert_eq!(
        (all(RED), all(BLUE)),
        (vec![12; attach_points.len()], vec![6; attach_points.len()])
    );

    // A set that is empty leaves no hook behind, and without pins nothing outlives the set.
    set.apply(Vec::new()).expect("nothing");
    calls(2);
    assert_eq!(all(BLUE), vec![6; attach_points.len()]);
    drop((set, sensor));
    let removed = kprobes::remove_pins(&pins.root).expect("unpin");
    assert_eq!((removed.sets, removed.hooks), (1, 0));
    assert!(!pins.root.exists());
}

#[test]
fn objects_of_another_layout_stay_in_force_until_they_are_removed() {
    if !guard::can_load() {
        return;
    }
    let former = SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    };
    let Some(pins) = Pins::new("layouts", &former) else {
        return;
    };
    let Some(red) = compile(RED) else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sensor = Sensor::load(&former).expect("the sensor");
    let maps = sensor.maps().clone();
    sensor.pin(&pins.directory).expect("pin the sensor");
    let mut set = HookSet::new(&maps).expect("a set");
    set.set_pins(Some(pins.directory.path())).expect("pin");
    set.apply(vec![red.hook(tp_btf())]).expect("red");
    drop((set, sensor));

    let options = SensorOptions {
        ring_bytes: 1 << 17,
        ..former
    };
    let directory = PinDirectory::new(&pins.root, &options);
    let survey = directory.survey().expect("survey");
    assert!(!survey.is_usable);
    assert_eq!(survey.others, [pins.directory.path()]);
    directory.prepare().expect("sets stand side by side");
    calls(4);
    assert_eq!(count(&maps, RED, &tp_btf()), 4);
    let removed = directory.remove_others().expect("remove");
    assert_eq!((removed.sets, removed.hooks), (1, 1));
    calls(4);
    assert_eq!(count(&maps, RED, &tp_btf()), 4, "it is detached");
}

#[test]
fn policy_modes_and_counters() {
    let Some(setup) = setup() else { return };
    assert_eq!(setup.maps.policy_mode(7).expect("a slot"), kprobes::PolicyMode::Enforce);
    setup
        .maps
        .set_policy_mode(7, kprobes::PolicyMode::Monitor)
        .expect("a slot");
    assert_eq!(setup.maps.policy_mode(7).expect("a slot"), kprobes::PolicyMode::Monitor);
    assert!(
        setup
            .maps
            .set_policy_mode(setup.maps.policy_slots(), kprobes::PolicyMode::Monitor)
            .is_err()
    );
    setup.maps.clear_policy_counters(7).expect("a slot");
    assert_eq!(
        setup.maps.policy_counters(7).expect("a slot"),
        kprobes::PolicyCounters::default()
    );
}
