//! Policies for workloads: which processes they see, and when a change is in force.
//!
//! A process of its own makes the calls, so that it can be moved between cgroups. It is this binary again, see [`watched`].
//!
//! `TETRA_WORKLOADS_POLICIES` and `TETRA_WORKLOADS_CGROUPS` raise the numbers of `scale`, which prints what so many cost.

#![allow(clippy::print_stderr, reason = "the figures are worth reading")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ebpf::record::{CGROUP_LEVELS, PolicyCounter, Record};
use kprobes::probe::{Feature, Needs, collect};
use kprobes::sys::{getpgid_of_self, monotonic_ns};
use kprobes::{
    CgroupController, CgroupHierarchy, CgroupId, HookSet, PinDirectory, Rings, Sensor, SensorOptions, SharedMaps,
};
use policy_compiler::facts::KernelFacts;
use policy_compiler::{Options, PolicyEntry, PolicySet, Scope, compile, tracepoints_needed};
use tracingpolicy_crd::{Policy, Source, parse, render};

#[path = "workloads/scale.rs"]
mod scale;
mod support;

use support::cgroup::{self, Cgroup};
use support::guard;

/// What the process is told by its environment.
const ROLE: &str = "TETRA_WORKLOADS_ROLE";
/// Makes calls when it is told how many.
const CALLS: &str = "calls";
/// Makes calls until one is refused.
const LOOP: &str = "loop";
/// Exit status of that one: a test has failed.
const REFUSED: i32 = 101;
/// How long anything may take on a machine that does many things at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hooks are those of the whole machine, and figures are of one thing at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Not a test: the process that makes calls, if the environment says so.
#[test]
fn watched() {
    match std::env::var(ROLE).as_deref() {
        Ok(CALLS) => {
            for line in std::io::stdin().lines() {
                let count: u64 = line.expect("a line").parse().expect("a number");
                for _ in 0..count {
                    getpgid_of_self().expect("nobody refuses it");
                }
                let mut output = std::io::stdout();
                writeln!(output, "made {count}").expect("the answer is written");
                output.flush().expect("the answer is written");
            }
        }
        Ok(LOOP) => loop {
            getpgid_of_self().expect("refused");
        },
        _ => {}
    }
}

/// The process that makes calls.
struct Watched {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Watched {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("own binary"))
            .args(["--exact", "watched", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the process starts");
        Self {
            input: child.stdin.take().expect("its input"),
            output: BufReader::new(child.stdout.take().expect("its output")),
            child,
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes it call, and waits until it has.
    fn call(&mut self, count: u64) {
        self.begin(count);
        self.end(count);
    }

    fn begin(&mut self, count: u64) {
        writeln!(self.input, "{count}").expect("it listens");
    }

    fn end(&mut self, count: u64) {
        let mut line = String::new();
        while line.trim_end() != format!("made {count}") {
            line.clear();
            // what the test harness says comes before
            assert_ne!(self.output.read_line(&mut line).expect("it answers"), 0, "it has ended");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A policy with this `spec`, indented by two spaces.
fn policy(name: &str, spec: &str) -> Policy {
    let text =
        format!("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n{spec}");
    let parsed = parse(&Source::new("policy.yaml", text));
    assert!(
        !parsed.diagnostics.iter().any(tracingpolicy_crd::Diagnostic::is_error),
        "{}",
        render::full(&parsed.diagnostics, false)
    );
    parsed.policies.into_iter().next().expect("one policy")
}

/// Sees every getpgid(2).
fn seeing(name: &str) -> Policy {
    policy(
        name,
        "  tracepoints:\n  - {subsystem: syscalls, event: sys_enter_getpgid}\n",
    )
}

fn entry(slot: u32, scope: Scope, policy: Policy) -> PolicyEntry {
    PolicyEntry { slot, scope, policy }
}

/// Policies that see every call, for workloads.
fn scoped(slots: &[u32]) -> Vec<PolicyEntry> {
    let of_slot = |slot: &u32| entry(*slot, Scope::Workloads, seeing(&format!("policy-{slot}")));
    slots.iter().map(of_slot).collect()
}

fn facts(entries: &[PolicyEntry]) -> KernelFacts {
    collect(&Needs {
        tracepoints: tracepoints_needed(entries.iter().map(|entry| &entry.policy)),
        ..Needs::default()
    })
    .expect("facts")
}

fn apply(set: &mut HookSet, entries: Vec<PolicyEntry>) -> kprobes::AppliedSet {
    let facts = facts(&entries);
    let compilation = compile(&PolicySet { entries }, &facts, &Options::default());
    assert!(
        compilation.failed.is_empty(),
        "{}",
        render::full(&compilation.diagnostics, false)
    );
    set.apply(compilation.objects)
        .unwrap_or_else(|error| panic!("{error}\n{error:?}"))
}

struct Setup {
    // Before the cgroup that it may be in.
    watched: Watched,
    maps: SharedMaps,
    set: HookSet,
    /// All cgroups of the test are below it.
    top: Cgroup,
    _alone: MutexGuard<'static, ()>,
}

fn options() -> SensorOptions {
    SensorOptions {
        ring_bytes: 1 << 20,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    }
}

/// Where cgroups can be made; `None`, with the reason printed, if they cannot.
fn cgroups() -> Option<PathBuf> {
    if !guard::can_load() {
        return None;
    }
    let root = cgroup::root();
    if root.is_none() {
        guard::skip("the unified cgroup hierarchy is not mounted");
    }
    root
}

fn setup(role: &str) -> Option<Setup> {
    Some(setup_in(&cgroups()?, CgroupHierarchy::Unified, role))
}

/// As [`setup`], in a hierarchy that is mounted somewhere.
fn setup_in(root: &Path, cgroup_hierarchy: CgroupHierarchy, role: &str) -> Setup {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let maps = SharedMaps::create(&SensorOptions {
        cgroup_hierarchy,
        ..options()
    })
    .expect("maps");
    Setup {
        watched: Watched::start(role),
        set: HookSet::new(&maps).expect("an empty set"),
        maps,
        top: Cgroup::new(root, "tetra-workloads"),
        _alone: alone,
    }
}

impl Setup {
    fn sent(&self, slot: u32) -> u64 {
        sent(&self.maps, slot)
    }

    /// Calls of the process that the policies have seen, after 10 more.
    fn seen_of_ten(&mut self, slots: [u32; 2]) -> [u64; 2] {
        let before = slots.map(|slot| self.sent(slot));
        self.watched.call(10);
        let after = slots.map(|slot| self.sent(slot));
        [after[0] - before[0], after[1] - before[1]]
    }

    fn assign(&self, cgroup: CgroupId, slots: &[u32]) {
        self.maps
            .workloads()
            .assign(cgroup, slots.iter().copied())
            .expect("the table takes it");
    }

    fn remove(&self, cgroup: CgroupId) {
        self.maps
            .workloads()
            .remove([cgroup])
            .expect("the table can be changed");
    }
}

fn sent(maps: &SharedMaps, slot: u32) -> u64 {
    let counters = maps.policy_counters(slot).expect("a slot");
    counters[PolicyCounter::PostSent as usize] + counters[PolicyCounter::PostLost as usize]
}

/// Waits for a condition.
fn await_that(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        // it may need this CPU
        thread::yield_now();
    }
}

#[test]
fn a_policy_sees_the_workloads_that_it_is_assigned_to() {
    let Some(mut setup) = setup(CALLS) else { return };
    let mut rings = Rings::of_maps(setup.maps.rings()).expect("the rings can be read");
    let pid = setup.watched.pid();
    let mut entries = scoped(&[0, 700]);
    // wherever it is, but of this process: other tests make the same calls, and fill the ring
    let everywhere = policy(
        "everywhere",
        &format!(
            "  tracepoints:\n  - subsystem: syscalls\n    event: sys_enter_getpgid\n    selectors:\n    - matchPIDs:\n      \
             - {{operator: In, values: [{pid}]}}\n"
        ),
    );
    entries.insert(1, entry(5, Scope::All, everywhere));
    apply(&mut setup.set, entries);
    let a = Cgroup::new(setup.top.path(), "a");
    let b = Cgroup::new(setup.top.path(), "b");
    // there before anything is assigned, and asked about before
    let below_a = Cgroup::new(a.path(), "below");
    below_a.take(pid);
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 0]);

    setup.assign(a.id(), &[0]);
    setup.assign(b.id(), &[700]);
    let top = setup.top.path().to_owned();
    for (taken_by, seen) in [
        (a.path(), [10, 0]),
        (b.path(), [0, 10]),
        (&top, [0, 0]),
        (a.path(), [10, 0]),
    ] {
        cgroup::enter(taken_by, pid);
        let everywhere = setup.sent(5);
        assert_eq!(setup.seen_of_ten([0, 700]), seen, "{taken_by:?}");
        assert!(setup.sent(5) >= everywhere + 10, "a policy for all sees all");
    }

    // those below belong to it: the one that was there, and one that is made now, however deep
    below_a.take(pid);
    assert_eq!(setup.seen_of_ten([0, 700]), [10, 0]);
    let mut nested = vec![Cgroup::new(below_a.path(), "deeper")];
    for _ in 0..20 {
        let above = nested.last().expect("there is one").path().to_owned();
        nested.push(Cgroup::new(&above, "deeper"));
    }
    nested.last().expect("there is one").take(pid);
    assert_eq!(setup.seen_of_ten([0, 700]), [10, 0]);
    // unless they have something of their own
    setup.assign(below_a.id(), &[700]);
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 10]);
    setup.assign(below_a.id(), &[0, 700]);
    assert_eq!(setup.seen_of_ten([0, 700]), [10, 10]);
    setup.assign(below_a.id(), &[]);
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 0]);
    setup.remove(below_a.id());
    assert_eq!(setup.seen_of_ten([0, 700]), [10, 0]);
    setup.remove(a.id());
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 0]);

    // what was sent is about the cgroups that it should be about
    let mut cgroups: BTreeMap<u64, u64> = BTreeMap::new();
    let mut of_others = 0;
    rings
        .drain_all(|bytes| match Record::parse(bytes) {
            Some(Record::Policy(record)) if record.fixed.header.tgid == pid => {
                *cgroups.entry(record.fixed.cgroup_id).or_default() += 1;
            }
            _ => of_others += 1,
        })
        .expect("the rings are read");
    let deepest = nested.last().expect("there is one").id().0;
    assert_eq!(cgroups[&a.id().0], 2 * (10 + 10));
    assert_eq!(cgroups[&b.id().0], 10 + 10);
    assert_eq!(cgroups[&setup.top.id().0], 10, "the policy for all");
    assert_eq!(cgroups[&deepest], 5 * 10 + 6 * 10, "{cgroups:?}, {of_others} of others");
    setup.top.take(pid);
    while nested.pop().is_some() {}
}

#[test]
fn depth_does_not_hide_a_process() {
    let Some(mut setup) = setup(CALLS) else { return };
    apply(&mut setup.set, scoped(&[0, 700]));
    let a = Cgroup::new(setup.top.path(), "a");
    setup.assign(a.id(), &[0]);
    let mut nested = vec![a];
    let mut seen_at_depths = BTreeSet::new();
    for depth in 0..CGROUP_LEVELS + 4 {
        let above = nested.last().expect("there is one").path().to_owned();
        nested.push(Cgroup::new(&above, "d"));
        if depth % 16 == 0 || depth + 8 > CGROUP_LEVELS {
            nested.last().expect("there is one").take(setup.watched.pid());
            seen_at_depths.insert(setup.seen_of_ten([0, 700]));
        }
    }
    // the policy that it is in reach of, and then every policy
    assert_eq!(seen_at_depths, BTreeSet::from([[10, 0], [10, 10]]));
    setup.top.take(setup.watched.pid());
    while nested.pop().is_some() {}
}

#[test]
fn a_version_1_hierarchy_counts_if_it_is_the_one() {
    if !guard::can_load() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // one of them may be where the unified hierarchy has it; cpuset would have to be set up
    let controllers = [CgroupController::Pids, CgroupController::Memory];
    let mounted = |controller: &CgroupController| {
        let root = cgroup::controller(controller.name(), directory.path())?;
        Some((*controller, root))
    };
    let Some((controller, root)) = controllers.iter().find_map(mounted) else {
        // what is lacking is no skip: kernels give version 1 up
        eprintln!("no version 1 hierarchy can be mounted");
        return;
    };
    let mut setup = setup_in(&root, CgroupHierarchy::Controller(controller), CALLS);
    apply(&mut setup.set, scoped(&[0, 700]));
    let pid = setup.watched.pid();
    let a = Cgroup::new(setup.top.path(), "a");
    let below_a = Cgroup::new(a.path(), "below");
    below_a.take(pid);
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 0]);
    setup.assign(a.id(), &[0]);
    assert_eq!(setup.seen_of_ten([0, 700]), [10, 0]);
    setup.assign(below_a.id(), &[700]);
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 10]);
    a.take(pid);
    assert_eq!(setup.seen_of_ten([0, 700]), [10, 0]);
    setup.top.take(pid);
    assert_eq!(setup.seen_of_ten([0, 700]), [0, 0]);
    eprintln!("in the hierarchy of {}", controller.name());
    cgroup::enter(&root, pid);
}

#[test]
fn a_call_sees_a_change_whole_or_not_at_all() {
    const COUNT: u64 = 20_000;
    let Some(mut setup) = setup(CALLS) else { return };
    // in different words of a set, and neighbours
    let (these, those) = ([0, 65, 400, 1023], [1, 64, 500, 1022]);
    let mut slots = [these, those].concat();
    slots.sort_unstable();
    apply(&mut setup.set, scoped(&slots));
    let cgroup = Cgroup::new(setup.top.path(), "a");
    cgroup.take(setup.watched.pid());
    setup.assign(cgroup.id(), &these);
    setup.watched.begin(COUNT);
    let mut changes = 0u64;
    let total = |maps: &SharedMaps| sent(maps, these[0]) + sent(maps, those[0]);
    let start = Instant::now();
    while total(&setup.maps) < COUNT {
        assert!(start.elapsed() < PATIENCE, "every call sees one of the two");
        setup.assign(cgroup.id(), if changes.is_multiple_of(2) { &those } else { &these });
        changes += 1;
    }
    setup.watched.end(COUNT);
    for of in [these, those] {
        let seen = of.map(|slot| setup.sent(slot));
        assert!(seen.iter().all(|count| *count == seen[0]), "{of:?}: {seen:?}");
    }
    assert_eq!(total(&setup.maps), COUNT);
    eprintln!("{changes} changes during {COUNT} calls");
    setup.top.take(setup.watched.pid());
}

#[test]
fn a_change_is_in_force_at_once() {
    const ROUNDS: usize = 40;
    let Some(mut setup) = setup(LOOP) else { return };
    apply(&mut setup.set, scoped(&[0, 1]));
    let (a, b) = (Cgroup::new(setup.top.path(), "a"), Cgroup::new(setup.top.path(), "b"));
    let pid = setup.watched.pid();
    let (mut assigned, mut moved) = (Vec::new(), Vec::new());
    let mut rings = Rings::of_maps(setup.maps.rings()).expect("the rings can be read");
    // from the call of the API to the first record of the policy, by the kernel's clock; the other one sees nothing more then
    let mut sees = |setup: &Setup, slot: u32, change: &dyn Fn()| {
        let before = setup.sent(slot);
        rings.drain(|_| ()).expect("the rings are read");
        let start = monotonic_ns();
        change();
        await_that("the policy sees the process", || setup.sent(slot) > before);
        let other = setup.sent(1 - slot);
        let mut first = None;
        let deadline = Instant::now() + PATIENCE;
        while first.is_none() && Instant::now() < deadline {
            rings
                .drain(|bytes| match Record::parse(bytes) {
                    // the templates are in the order of slots
                    Some(Record::Policy(record)) if u32::from(record.fixed.template_index) == slot => {
                        first = first.or(Some(record.fixed.header.ktime));
                    }
                    _ => {}
                })
                .expect("the rings are read");
        }
        let taken = Duration::from_nanos(first.expect("a record of the policy").saturating_sub(start));
        let more = setup.sent(slot) + 10;
        await_that("it goes on", || setup.sent(slot) > more);
        assert_eq!(setup.sent(1 - slot), other, "only one applies");
        taken
    };
    a.take(pid);
    for round in 0..ROUNDS {
        let slot = round as u32 % 2;
        assigned.push(sees(&setup, slot, &|| setup.assign(a.id(), &[slot])));
    }
    setup.assign(b.id(), &[0]);
    setup.assign(a.id(), &[1]);
    for round in 0..ROUNDS {
        let (to, slot) = if round % 2 == 0 { (&b, 0) } else { (&a, 1) };
        moved.push(sees(&setup, slot, &|| to.take(pid)));
    }
    // one that was not in the table, and one that is taken out
    setup.top.take(pid);
    let fresh = sees(&setup, 0, &|| setup.assign(setup.top.id(), &[0]));
    let start = Instant::now();
    setup.remove(setup.top.id());
    let removed = start.elapsed();
    let last = setup.sent(0);
    thread::yield_now();
    assert_eq!(setup.sent(0), last, "a process that is in no workload any more");
    for (what, mut taken) in [("assigned", assigned), ("moved", moved)] {
        taken.sort_unstable();
        let (median, most) = (taken[taken.len() / 2], taken[taken.len() - 1]);
        eprintln!("{what}: seen after {median:?} (median), {most:?} (most) of {ROUNDS}");
        assert!(most < Duration::from_secs(5), "{taken:?}");
    }
    eprintln!("assigned anew: seen after {fresh:?}; removed within {removed:?}");
}

#[test]
fn a_process_is_killed_in_the_workload_of_the_policy() {
    let Some(mut setup) = setup(LOOP) else { return };
    let spec = "  tracepoints:\n  - subsystem: syscalls\n    event: sys_enter_getpgid\n    selectors:\n    - matchActions: [{action: Sigkill}]\n";
    apply(
        &mut setup.set,
        vec![entry(3, Scope::Workloads, policy("killing", spec))],
    );
    let (a, b) = (Cgroup::new(setup.top.path(), "a"), Cgroup::new(setup.top.path(), "b"));
    setup.assign(a.id(), &[3]);
    let mut other = Watched::start(LOOP);
    b.take(setup.watched.pid());
    b.take(other.pid());
    let start = Instant::now();
    setup.assign(b.id(), &[3]);
    let mut killed = || {
        let ended = |watched: &mut Watched| watched.child.try_wait().expect("it can be asked").is_some();
        ended(&mut setup.watched) && ended(&mut other)
    };
    while !killed() {
        assert!(start.elapsed() < PATIENCE, "they are killed");
        thread::yield_now();
    }
    eprintln!("two processes killed within {:?}", start.elapsed());
    let counters = setup.maps.policy_counters(3).expect("a slot");
    assert_eq!(counters[PolicyCounter::Signal as usize], 2);
}

#[test]
fn a_call_is_refused_in_the_workload_of_the_policy() {
    let Some(mut setup) = setup(LOOP) else { return };
    let report = kprobes::probe::report().expect("eBPF can be used");
    if !report.has(Feature::Lsm) {
        // what is lacking is no skip: the probe's own test knows where it must not be
        return;
    }
    let spec =
        "  lsmhooks:\n  - hook: task_getpgid\n    selectors:\n    - matchActions: [{action: Override, argError: -1}]\n";
    apply(
        &mut setup.set,
        vec![entry(3, Scope::Workloads, policy("refusing", spec))],
    );
    let a = Cgroup::new(setup.top.path(), "a");
    let mut outside = Watched::start(CALLS);
    outside.call(100);
    a.take(setup.watched.pid());
    let start = Instant::now();
    setup.assign(a.id(), &[3]);
    let status = setup.watched.child.wait().expect("it ends");
    eprintln!("refused within {:?}, the end of the process included", start.elapsed());
    assert_eq!(status.code(), Some(REFUSED));
    outside.call(100);
}

#[test]
fn a_slot_that_is_used_again_begins_in_no_workload() {
    let Some(mut setup) = setup(CALLS) else { return };
    let a = Cgroup::new(setup.top.path(), "a");
    a.take(setup.watched.pid());
    apply(&mut setup.set, scoped(&[0, 1]));
    setup.assign(a.id(), &[0, 1]);
    assert_eq!(setup.seen_of_ten([0, 1]), [10, 10]);
    // the policy in slot 1 stays, the one in slot 0 goes and another one comes
    apply(&mut setup.set, scoped(&[1]));
    assert_eq!(setup.seen_of_ten([0, 1]), [0, 10]);
    setup.maps.workloads().clear_slot(0);
    apply(&mut setup.set, scoped(&[0, 1]));
    assert_eq!(setup.seen_of_ten([0, 1]), [0, 10]);
    assert_eq!(setup.maps.workloads().all(), BTreeMap::from([(a.id(), [1].into())]));
    setup.assign(a.id(), &[0]);
    assert_eq!(setup.seen_of_ten([0, 1]), [10, 0]);
    // what is assigned stays when hooks come and go
    let elsewhere = "  tracepoints:\n  - {subsystem: syscalls, event: sys_enter_getsid}\n";
    for _ in 0..3 {
        apply(
            &mut setup.set,
            vec![entry(0, Scope::Workloads, policy("elsewhere", elsewhere))],
        );
        assert_eq!(setup.seen_of_ten([0, 1]), [0, 0]);
        apply(&mut setup.set, scoped(&[0, 1]));
        assert_eq!(setup.seen_of_ten([0, 1]), [10, 0]);
    }
    setup.assign(a.id(), &[1]);
    assert_eq!(setup.seen_of_ten([0, 1]), [0, 10]);
    setup.assign(a.id(), &[0]);
    // a policy that was for workloads and is for all now
    let mut entries = scoped(&[0, 1]);
    entries[1].scope = Scope::All;
    apply(&mut setup.set, entries);
    let [of_workload, of_all] = setup.seen_of_ten([0, 1]);
    assert_eq!(of_workload, 10);
    assert!(of_all >= 10);
    setup.top.take(setup.watched.pid());
}

#[test]
fn what_the_table_cannot_take_changes_nothing() {
    if !guard::can_load() {
        return;
    }
    let maps = SharedMaps::create(&SensorOptions {
        workloads: 3,
        policies: 100,
        ..options()
    })
    .expect("maps");
    let table = maps.workloads();
    assert_eq!(table.capacity(), 3);
    for id in 1..=3 {
        table.assign(CgroupId(id), [id as u32, 99]).expect("there is room");
    }
    let full = table.assign(CgroupId(4), [1]).expect_err("there is none");
    assert!(full.to_string().contains("cgroup 4"), "{full}");
    let beyond = table.assign(CgroupId(1), [1, 128]).expect_err("no such slot");
    assert!(beyond.to_string().contains("slot 128"), "{beyond}");
    let expected: BTreeMap<CgroupId, BTreeSet<u32>> =
        (1..=3).map(|id| (CgroupId(id), [id as u32, 99].into())).collect();
    assert_eq!(table.all(), expected);
    // more changes than there are sets, and cgroups that come and go
    for round in 0..200 {
        table.assign(CgroupId(1), [round % 100]).expect("sets are used again");
    }
    for id in 10..20 {
        table
            .remove([CgroupId(id - 1), CgroupId(2)])
            .expect("it can be removed");
        table.assign(CgroupId(id), [7]).expect("there is room again");
    }
    let expected = [
        (CgroupId(1), [99].into()),
        (CgroupId(3), [3, 99].into()),
        (CgroupId(19), [7].into()),
    ];
    assert_eq!(table.all(), BTreeMap::from(expected));
}

#[test]
fn workloads_outlive_the_agent() {
    let Some(root) = cgroups() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bpffs = kprobes::sys::ensure_mounted(kprobes::sys::Filesystem::Bpffs).expect("a bpf file system");
    let pinned = bpffs.join(format!("tetra-workloads-{}", std::process::id()));
    let directory = PinDirectory::new(&pinned, &options());
    let top = Cgroup::new(&root, "tetra-workloads");
    let (a, b) = (Cgroup::new(top.path(), "a"), Cgroup::new(top.path(), "b"));
    let mut watched = Watched::start(CALLS);
    a.take(watched.pid());
    let pins = {
        let sensor = Sensor::load(&options()).expect("the sensor");
        let mut set = HookSet::new(sensor.maps()).expect("a set");
        sensor.pin(&directory).expect("the sensor is pinned");
        let table = sensor.maps().workloads();
        table.assign(a.id(), [0, 9]).expect("the table takes it");
        table.assign(b.id(), [9]).expect("the table takes it");
        table.assign(CgroupId(u64::MAX), [1]).expect("the table takes it");
        table.remove([CgroupId(u64::MAX)]).expect("it can be removed");
        // before 5.15 tracepoints cannot be pinned: nothing is in force in between, but the table is the same
        let pins = set.set_pins(Some(directory.path())).is_ok();
        apply(&mut set, scoped(&[0, 9]));
        watched.call(10);
        assert_eq!([0, 9].map(|slot| sent(sensor.maps(), slot)), [10, 10]);
        pins
    };
    watched.call(10);
    {
        let sensor = Sensor::adopt(&options(), &directory).expect("the sensor is there");
        let mut set = HookSet::adopt(sensor.maps(), &directory).expect("the hooks are there");
        let maps = sensor.maps();
        let between = if set.attached() > 0 { 10 } else { 0 };
        assert_eq!([0, 9].map(|slot| sent(maps, slot)), [10 + between, 10 + between]);
        let expected = [(a.id(), [0, 9].into()), (b.id(), [9].into())];
        assert_eq!(maps.workloads().all(), BTreeMap::from(expected));
        apply(&mut set, scoped(&[0, 9]));
        maps.workloads().assign(a.id(), [9]).expect("the table takes it");
        watched.call(10);
        assert_eq!([0, 9].map(|slot| sent(maps, slot)), [10 + between, 20 + between]);
        eprintln!("hooks in force in between: {}, pins: {pins}", between > 0);
    }
    kprobes::remove_pins(&pinned).expect("the pins are removed");
    top.take(watched.pid());
    drop(watched);
}
