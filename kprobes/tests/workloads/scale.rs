//! What many policies for many workloads cost: memory, and time to compile, load and assign them.

use std::sync::PoisonError;
use std::time::Instant;

use kprobes::{HookSet, SensorOptions, SharedMaps};
use policy_compiler::{Options, PolicyEntry, PolicySet, Scope, compile};
use tracingpolicy_crd::render;

use super::support::cgroup::Cgroup;
use super::{ALONE, CALLS, Watched, entry, facts, policy, sent};

/// System calls whose first argument is a number, on every kernel; the first one is the one that the process makes.
const SYSCALLS: [&str; 48] = [
    "getpgid",
    "getsid",
    "setpgid",
    "fsync",
    "fdatasync",
    "fchdir",
    "fchmod",
    "fchown",
    "flock",
    "ftruncate",
    "dup",
    "dup2",
    "dup3",
    "umask",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "kill",
    "tkill",
    "tgkill",
    "getpriority",
    "setpriority",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_getparam",
    "sched_setparam",
    "ioprio_get",
    "ioprio_set",
    "epoll_create1",
    "eventfd2",
    "timerfd_create",
    "inotify_init1",
    "inotify_rm_watch",
    "socket",
    "listen",
    "shutdown",
    "getsockname",
    "getpeername",
    "personality",
    "alarm",
    "unshare",
];

fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

/// Lines of `/proc/meminfo` together, in bytes.
fn meminfo(keys: &[&str]) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("procfs");
    let of = |key: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    keys.iter().filter_map(of).sum::<u64>() * 1024
}

#[test]
fn many_policies_for_many_workloads() {
    // what the kernel has taken, as far as it says: programs, their code, maps, types
    const TAKEN: [&str; 3] = ["Slab", "VmallocUsed", "Percpu"];
    let (policies, cgroups) = (
        number_of("TETRA_WORKLOADS_POLICIES", 200),
        number_of("TETRA_WORKLOADS_CGROUPS", 20),
    );
    let Some(root) = super::cgroups() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hooks = policies.div_ceil(50).min(SYSCALLS.len());
    let entries: Vec<PolicyEntry> = (0..policies)
        .map(|number| {
            let call = SYSCALLS[number % hooks];
            // all that are on the call that is made see it
            let (operator, value) = if number % hooks == 0 { ("GT", 0) } else { ("Equal", number) };
            let spec = format!(
                "  tracepoints:\n  - subsystem: syscalls\n    event: sys_enter_{call}\n    args: [{{index: 5}}]\n    selectors:\n    \
                 - matchArgs: [{{index: 5, operator: {operator}, values: [\"{value}\"]}}]\n"
            );
            entry(number as u32, Scope::Workloads, policy(&format!("policy-{number}"), &spec))
        })
        .collect();
    let facts = facts(&entries);

    let start = Instant::now();
    let compilation = compile(&PolicySet { entries }, &facts, &Options::default());
    let compiled = start.elapsed();
    assert!(
        compilation.failed.is_empty(),
        "{} refused, the first: {}",
        compilation.failed.len(),
        render::full(&compilation.diagnostics[..1], false)
    );
    let bytes: usize = compilation.objects.iter().map(|object| object.elf.len()).sum();

    let top = Cgroup::new(&root, "tetra-workloads");
    let made: Vec<Cgroup> = (0..cgroups)
        .map(|number| Cgroup::new(top.path(), &format!("c{number}")))
        .collect();
    let mut watched = Watched::start(CALLS);
    let mut call_time = |count: u64| {
        let start = Instant::now();
        watched.call(count);
        start.elapsed() / count as u32
    };
    call_time(1000);
    let unwatched = call_time(100_000);
    let before = meminfo(&TAKEN);
    let maps = SharedMaps::create(&SensorOptions {
        policies: policies as u32,
        workloads: 1024.max(cgroups as u32),
        ..SensorOptions::default()
    })
    .expect("maps");
    let mut set = HookSet::new(&maps).expect("a set");
    let start = Instant::now();
    let applied = set
        .apply(compilation.objects)
        .unwrap_or_else(|error| panic!("{error}\n{error:?}"));
    let loaded = start.elapsed();

    let start = Instant::now();
    for (number, cgroup) in made.iter().enumerate() {
        let slots = (number..policies).step_by(cgroups).map(|slot| slot as u32);
        maps.workloads().assign(cgroup.id(), slots).expect("the table takes it");
    }
    let assigned = start.elapsed();
    let taken = meminfo(&TAKEN).saturating_sub(before);
    let outside = call_time(100_000);

    for (number, cgroup) in made.iter().enumerate().step_by((cgroups / 10).max(1)) {
        let seen = || (0..policies as u32).map(|slot| sent(&maps, slot)).collect::<Vec<u64>>();
        let before = seen();
        cgroup.take(watched.pid());
        watched.call(3);
        for (slot, (after, before)) in seen().iter().zip(before).enumerate() {
            let expected = if slot % cgroups == number && slot % hooks == 0 {
                3
            } else {
                0
            };
            assert_eq!(after - before, expected, "policy {slot} in cgroup {number}");
        }
    }
    top.take(watched.pid());
    let programs: u64 = applied.hooks.iter().map(|hook| hook.memlock_bytes).sum();
    let verified: u64 = applied
        .hooks
        .iter()
        .map(|hook| u64::from(hook.verified_instructions))
        .sum();
    let shared = maps.memlock_bytes();
    eprintln!(
        "{policies} policies in {cgroups} cgroups, {hooks} hooks: compiled in {compiled:.2?} to {}, loaded in {loaded:.2?} \
         ({verified} instructions verified), assigned in {assigned:.2?}",
        mebibytes(bytes as u64)
    );
    eprintln!("a call outside of all workloads takes {outside:?}, {unwatched:?} without hooks");
    let all = programs + shared;
    eprintln!(
        "memlock: {} of hooks + {} of shared maps = {}; the kernel has {} more in use",
        mebibytes(programs),
        mebibytes(shared),
        mebibytes(all),
        mebibytes(taken)
    );
    assert!(all < 64 << 20, "{all} bytes");
}
