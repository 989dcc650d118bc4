//! The compiler against the definition of the language on hooks of the running kernel.
//!
//! As the differential tests, but programs are attached where their policies say and the kernel runs them, with its own contexts,
//! pointers that the verifier knows, and both programs of a call that returns. A process makes operations with known values
//! (`hooks/perform.rs`); events, counters and verdicts must be what the interpreter says. There are three such processes: one like
//! the test, one with fewer capabilities and in a network namespace of its own, one in a user and a pid namespace.
//!
//! Everything is hooked by every means that the kernel has for it: as found, without trampolines and LSM, and without regard to
//! preemption. `TETRA_HOOKS_SECONDS` says how long it goes on after each hook had its turn, `TETRA_HOOKS_SEED` with which sets. A
//! failure is shrunk and printed. The hooks are those of the whole machine: where others use them, it is no place for this test,
//! which is why it runs in the lab only.

#![allow(clippy::print_stderr, reason = "seeds and coverage are worth reading")]

#[path = "differential/arena.rs"]
#[allow(dead_code, reason = "the hooks are others, and the kernel makes the contexts")]
mod arena;
#[path = "differential/case.rs"]
#[allow(dead_code, reason = "every process runs every case")]
mod case;
#[path = "differential/coverage.rs"]
#[allow(dead_code, reason = "nothing is summed up over processes")]
mod coverage;
#[path = "differential/data.rs"]
mod data;
#[path = "hooks/driver.rs"]
mod driver;
#[path = "differential/events.rs"]
mod events;
#[path = "differential/expect.rs"]
mod expect;
#[path = "hooks/perform.rs"]
mod perform;
#[path = "hooks/places.rs"]
mod places;
#[path = "differential/process.rs"]
mod process;
#[path = "differential/recipe.rs"]
#[allow(dead_code, reason = "the kernel returns what it returns")]
mod recipe;
mod support;
#[path = "differential/values.rs"]
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kprobes::probe::{Feature, Needs, collect};
use kprobes::{HookSet, LoadError, PolicyMode, Rings, SensorOptions, SharedMaps};
use policy_compiler::attach::{Part, Role, choose, describe};
use policy_compiler::facts::{Features, KernelFacts};
use policy_compiler::hir::Hook;
use policy_compiler::interpret::{self, Call, Value};
use policy_compiler::output::{AttachPoint, HookObject};
use policy_compiler::{PolicySet, codes, compile, hooks};
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tracingpolicy_crd::{Diagnostic, render};

use arena::{Arena, Returns};
use case::{Case, Kept};
use coverage::Coverage;
use driver::Driver;
use events::{policies, sent};
use expect::{Attached, Event, Expected, Limiter, expect_both};
use perform::{Hit, Passed, Stage};
use places::{Operation, PLACES, Place};
use recipe::{Recipe, Surroundings};
use support::guard;
use values::number_value;

/// Operations for each set.
const CALLS: usize = 30;
/// How long random sets go on once each hook had its turn, unless said otherwise.
const SECONDS: u64 = 40;
/// Steps in which a failure is made smaller, each of which loads programs.
const SHRINKS: usize = 30;

/// Means of attaching: their name, and what they leave of a kernel's features.
type Means = (&'static str, fn(&mut Features));

const MEANS: [Means; 3] = [
    ("as found", |_| ()),
    ("kprobes and raw tracepoints", |features| {
        *features = Features {
            kprobe_multi: false,
            fentry: false,
            fmod_ret: false,
            fmod_ret_syscall: false,
            lsm: false,
            tp_btf: false,
            preemptible_programs: false,
            ..*features
        };
    }),
    ("trampolines", |features| {
        *features = Features {
            lsm: false,
            preemptible_programs: false,
            ..*features
        };
    }),
];

struct World {
    maps: SharedMaps,
    rings: Rings,
    set: HookSet,
    facts: KernelFacts,
    stage: Stage,
    drivers: Vec<(Driver, Surroundings)>,
    coverage: Coverage,
    /// Sets that were run.
    runs: u64,
    /// Calls of hooks.
    calls: u64,
    /// Operations during which another process came to the hook.
    disturbed: u64,
    /// Programs by kind.
    kinds: BTreeMap<String, u64>,
    /// With the program that the drivers run.
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let maps = SharedMaps::create(&SensorOptions::default()).expect("maps");
        let tracepoints = [
            ("syscalls", "sys_enter_faccessat2"),
            ("syscalls", "sys_exit_faccessat2"),
            ("signal", "signal_generate"),
        ];
        let facts = collect(&Needs {
            tracepoints: tracepoints.map(|(of, event)| (of.to_owned(), event.to_owned())).into(),
            functions: true,
            ..Needs::default()
        })
        .expect("facts");
        // a tmpfs: in a guest everything else has layers, whose files are opened twice
        let stage = Stage::new(Path::new("/dev/shm"));
        let directory = tempfile::tempdir().expect("a directory");
        let program = driver::build(directory.path());
        let starts: [&[&str]; 3] = [
            &[],
            &[
                "unshare",
                "--net",
                "--ipc",
                "setpriv",
                "--bounding-set=-chown,-sys_resource,-net_raw",
                "--inh-caps=+sys_admin",
            ],
            &[
                "unshare",
                "--user",
                "--map-root-user",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--uts",
                "--cgroup",
            ],
        ];
        let drivers = starts.map(|by| {
            let mut driver = Driver::start(&program, by);
            driver.open(&stage);
            let around = Surroundings {
                paths: stage.paths(),
                dentries: stage.dentries(),
                ..Surroundings::of_process(&driver.process)
            };
            (driver, around)
        });
        Self {
            rings: Rings::of_maps(maps.rings()).expect("the rings can be read"),
            set: HookSet::new(&maps).expect("an empty set"),
            maps,
            facts,
            stage,
            drivers: drivers.into(),
            coverage: Coverage::default(),
            runs: 0,
            calls: 0,
            disturbed: 0,
            kinds: BTreeMap::new(),
            _directory: directory,
        }
    }

    /// Whether an operation can be made by a driver.
    fn can(&self, operation: Operation, driver: usize) -> bool {
        self.drivers[driver].0.has_network || !operation.needs_network()
    }

    /// What the hooks of a set see of a call, at its entry and at its return.
    fn calls_of(&self, hit: &Hit, set: &Set<'_>, driver: usize, known: bool) -> [Call; 2] {
        let process = &self.drivers[driver].0.process;
        let mut call = Call {
            values: BTreeMap::new(),
            process: process.clone(),
            notified: None,
        };
        call.process.namespace_pid = known.then_some(process.lineage[0].1);
        let name = self.drivers[driver].0.name();
        let mut calls = [call.clone(), call];
        for operand in set.hooks.iter().flat_map(Hook::operands) {
            let index = set.arena.index_of(operand, &self.facts);
            let Some((_, passed)) = hit.passed.iter().find(|(at, _)| Some(*at) == index) else {
                continue;
            };
            let values: [Value; 2] = match passed {
                Passed::Number(raw) => [0, 1].map(|_| number_value(operand, *raw, &name)),
                Passed::Value(value) => [value.clone(), value.clone()],
                Passed::Later(value) => [Value::Unreadable, value.clone()],
            };
            for (call, value) in calls.iter_mut().zip(values) {
                call.values.insert(operand.clone(), value);
            }
        }
        calls
    }
}

/// A set that is ready to be run.
struct Set<'s> {
    arena: &'s Arena,
    hooks: Vec<Hook>,
    /// Of the programs of each hook.
    roles: Vec<Vec<Role>>,
    /// Whether a program at the return of a system call finds the arguments again, for each hook.
    reads_again: Vec<bool>,
    monitors: Vec<bool>,
}

/// Why a set was not run to its end.
enum Stop {
    /// The compiler refuses it here, for this reason.
    Refused(String),
    /// It does not do what it must.
    Failed(String),
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// Runs one set on all its operations, and takes it away again. `case` makes it for a hook and a process.
fn check(
    world: &mut World,
    place: &Place,
    means: usize,
    driver: usize,
    case: impl Fn(&Arena, &Surroundings) -> Case,
) -> Result<(), Stop> {
    let (name, mut arena, operation) = *place;
    let mut facts = world.facts.clone();
    MEANS[means].1(&mut facts.features);
    arena.overrides = can_override(&arena, &facts);
    world.runs += 1;
    let run = world.runs.to_string();
    let case = case(&arena, &world.drivers[driver].1);
    let texts: Vec<String> = case.policies.iter().map(|text| text.replace("${run}", &run)).collect();
    let policies = PolicySet::from_policies(policies(&texts)?);
    let compilation = compile(&policies, &facts, &case.options());
    let errors: Vec<_> = compilation
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .cloned()
        .collect();
    if let Some(error) = errors.first() {
        let text = render::full(&errors, false);
        let is_defect = errors.iter().any(|error| error.code == codes::COMPILER_DEFECT);
        return Err(if is_defect {
            Stop::Failed(text)
        } else {
            Stop::Refused(error.message.clone())
        });
    }
    let hooks = hooks(&policies, &facts).0;
    let choices = hooks.iter().map(|hook| choose(hook, &facts));
    let parts: Vec<Vec<Part>> = choices
        .map(|choice| choice.map(|choice| choice.parts))
        .collect::<Result<_, _>>()
        .map_err(|refusal| Stop::Refused(refusal.reason))?;
    let is_trampoline = |part: &Part| matches!(part.attach, AttachPoint::Fentry { .. } | AttachPoint::FmodRet { .. });
    let set = Set {
        arena: &arena,
        roles: parts
            .iter()
            .map(|parts| parts.iter().map(|part| part.role).collect())
            .collect(),
        reads_again: parts
            .iter()
            .map(|parts| facts.features.current_task_btf || is_trampoline(&parts[0]))
            .collect(),
        hooks,
        monitors: case.monitors.clone(),
    };
    let tgid = world.drivers[driver].0.process.pid;
    if case.known_process {
        let record = ebpf::record::Process {
            nspid: world.drivers[driver].0.process.lineage[0].1,
            ..ebpf::record::Process::default()
        };
        world
            .maps
            .processes()
            .replace(tgid, &record)
            .expect("the table takes it");
    } else {
        world.maps.processes().delete(tgid).expect("the table can be changed");
    }
    for (slot, monitors) in set.monitors.iter().enumerate() {
        let mode = if *monitors {
            PolicyMode::Monitor
        } else {
            PolicyMode::Enforce
        };
        world.maps.set_policy_mode(slot as u32, mode).expect("a slot");
        world.maps.clear_policy_counters(slot as u32).expect("a slot");
    }
    match world.set.apply(compilation.objects.clone()) {
        Ok(applied) => {
            for hook in &applied.hooks {
                let kind = hook.name.split('/').next().unwrap_or_default().to_owned();
                *world.kinds.entry(kind).or_default() += 1;
            }
        }
        Err(LoadError::Policy(diagnostics)) => return Err(refusal_of_the_kernel(&diagnostics, &texts)),
        Err(error) => return Err(Stop::Failed(error.to_string())),
    }
    let outcome = operations(world, &set, operation, driver, &case, &compilation.objects);
    // what denies operations must not stay while somebody thinks about it
    world.set.apply(Vec::new()).expect("hooks are detached");
    world.rings.drain_all(|_| ()).expect("the rings are read");
    outcome.map_err(|reason| {
        let attached: Vec<String> = compilation.objects.iter().map(|object| describe(&object.attach)).collect();
        Stop::Failed(format!(
            "{name} ({}), attached as {attached:?}, roles {:?}, by process {driver}\n{reason}\na case in kprobes/tests/hooks/cases is \
             replayed at each run:\n{}",
            MEANS[means].0,
            set.roles,
            case.render(name, 0, false, &world.drivers[driver].1)
        ))
    })
}

/// What cannot be attached to is refused by its name; whatever else the kernel refuses is a defect.
fn refusal_of_the_kernel(diagnostics: &[Diagnostic], texts: &[String]) -> Stop {
    Stop::Failed(format!(
        "the kernel refuses what was compiled\n{}\n{}",
        render::full(diagnostics, false),
        texts.join("---\n")
    ))
}

/// Whether results can be replaced at a hook, by programs that can be swapped.
fn can_override(arena: &Arena, facts: &KernelFacts) -> bool {
    let is_seen = arena.returns == Returns::No || facts.features.fentry;
    let is_security = match arena.section {
        arena::Section::Kprobe { syscall: true, .. } => return facts.features.fmod_ret_syscall && is_seen,
        arena::Section::Lsm { .. } => true,
        arena::Section::Kprobe { call, .. } | arena::Section::Fentry { call } => call.starts_with("security_"),
        arena::Section::Tracepoint { .. } | arena::Section::Uprobe | arena::Section::Usdt => false,
    };
    // the return of a function whose result is replaced is seen by a trampoline only
    is_security && is_seen && (facts.features.lsm || facts.features.fmod_ret)
}

fn operations(
    world: &mut World,
    set: &Set<'_>,
    operation: Operation,
    driver: usize,
    case: &Case,
    objects: &[HookObject],
) -> Result<(), String> {
    let mut limiter = Limiter::default();
    let mut before = vec![[0; 16]; set.monitors.len()];
    world.rings.drain_all(|_| ()).expect("the rings are read");
    for (slot, before) in before.iter_mut().enumerate() {
        *before = world.maps.policy_counters(slot as u32).expect("a slot");
    }
    let is_field = matches!(set.arena.section, arena::Section::Tracepoint { .. });
    for call in &case.calls {
        let World { stage, drivers, .. } = world;
        let Some(performed) = stage.perform(operation, call, is_field, &mut drivers[driver].0) else {
            continue;
        };
        let tgid = world.drivers[driver].0.process.pid;
        let sent = sent(&mut world.rings, objects, Some(tgid))?;
        let mut wanted: Vec<Event> = Vec::new();
        let mut due = vec![[0u64; 16]; set.monitors.len()];
        let mut verdict = None;
        let mut about = Vec::new();
        for hit in &performed.hits {
            let mut calls = world.calls_of(hit, set, driver, case.known_process);
            verdict = denied(set, &calls[0]);
            if verdict.is_some() {
                // the kernel has not looked at what a call passes that was not made
                calls[1].values = calls[0].values.clone();
            }
            let returned = verdict.map_or(hit.returned, |errno| -i64::from(errno));
            for hook in &set.hooks {
                if let Some(argument) = &hook.returned {
                    for call in &mut calls {
                        call.values
                            .insert(argument.operand.clone(), Value::Integer(returned as u64));
                    }
                }
            }
            world.calls += 1;
            for ((hook, roles), reads_again) in set.hooks.iter().zip(&set.roles).zip(&set.reads_again) {
                let slot = hook.policy_slot as usize;
                world.coverage.note(set.arena, hook, &calls[0]);
                let [entry, exit] = &calls;
                let attached = Attached {
                    hook,
                    roles,
                    reads_again: *reads_again,
                    monitors: set.monitors[slot],
                };
                let Expected { counters, events, .. } = expect_both(set.arena, &attached, entry, exit, &mut limiter);
                for (sum, counter) in due[slot].iter_mut().zip(counters) {
                    *sum += counter;
                }
                due[slot][0] += events.len() as u64;
                wanted.extend(events);
            }
            about.push(format!(
                "{hit:?}, selections {:?}",
                set.hooks
                    .iter()
                    .map(|hook| interpret::select(hook, &calls[0]))
                    .collect::<Vec<_>>()
            ));
        }
        let differs = |how: String| {
            Err(format!(
                "{call:?} of {operation:?} returned {}: {how}\n{about:#?}",
                performed.result
            ))
        };
        let mut got = sent.of_process;
        got.sort();
        wanted.sort();
        if got != wanted {
            let missing: Vec<_> = wanted.iter().filter(|event| !got.contains(event)).collect();
            let surplus: Vec<_> = got.iter().filter(|event| !wanted.contains(event)).collect();
            return differs(format!(
                "{} events sent, {} due\n  missing {missing:?}\n  surplus {surplus:?}",
                got.len(),
                wanted.len()
            ));
        }
        if let Some(errno) = verdict
            && performed.result != -i64::from(errno)
        {
            return differs(format!("should have been denied with errno {errno}"));
        }
        world.disturbed += u64::from(sent.foreign > 0);
        for (slot, (before, due)) in before.iter_mut().zip(&due).enumerate() {
            let now = world.maps.policy_counters(slot as u32).expect("a slot");
            let counted: Vec<u64> = now
                .iter()
                .zip(before.iter())
                .map(|(now, before)| now - before)
                .collect();
            *before = now;
            // what another process has done at the hook is counted, too
            if sent.foreign == 0 && counted != due {
                return differs(format!("counters of policy {slot}: {counted:?}, due are {due:?}"));
            }
        }
    }
    Ok(())
}

/// The errno that the first hook that asks for one gives a call.
fn denied(set: &Set<'_>, call: &Call) -> Option<u32> {
    let errno = |hook: &Hook| match interpret::select(hook, call) {
        interpret::Selection::Selector(selector) => {
            interpret::act(hook, selector, set.monitors[hook.policy_slot as usize]).override_errno
        }
        _ => None,
    };
    set.hooks.iter().find_map(errno)
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Why there is no place for this test here.
fn missing() -> Option<String> {
    let report = kprobes::probe::report().expect("eBPF can be used");
    let found = |feature| report.reason(feature).is_none();
    if !found(Feature::Kprobe) && !found(Feature::Fentry) {
        return Some("needs hooks on kernel functions; this kernel has neither kprobes nor trampolines".into());
    }
    std::env::var_os("TETRA_LAB_KERNEL")
        .is_none()
        .then(|| "hooks are those of the whole machine: runs in the lab only".into())
}

/// Runs the sets that showed defects once, by all means.
fn replay(world: &mut World) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hooks/cases");
    let entries = fs::read_dir(&directory).expect("the directory of cases");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a case");
        let kept = |around: &Surroundings| {
            Kept::parse(&text, around).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let hook = kept(&world.drivers[0].1).hook;
        let place = PLACES.iter().find(|place| place.0 == hook);
        let place = place.unwrap_or_else(|| panic!("{}: no hook `{hook}`", path.display()));
        let mut refused = None;
        for means in 0..MEANS.len() {
            match check(world, place, means, 0, |_, around| kept(around).case) {
                Ok(()) => {}
                Err(Stop::Refused(reason)) => refused = Some(reason),
                Err(Stop::Failed(reason)) => panic!("{}:\n{reason}", path.display()),
            }
        }
        if let Some(reason) = refused {
            eprintln!("{}: not by all means: {reason}", path.display());
        }
    }
}

/// The reason of the smallest set that still fails.
fn smaller(
    world: &mut World,
    tree: &mut impl ValueTree<Value = Recipe>,
    mut reason: String,
    check: impl Fn(&mut World, Recipe) -> Result<(), Stop>,
) -> String {
    for _ in 0..SHRINKS {
        if !tree.simplify() {
            break;
        }
        if let Err(Stop::Failed(smaller)) = check(world, tree.current()) {
            reason = smaller;
        } else if !tree.complicate() {
            break;
        }
    }
    reason
}

#[test]
fn attached_programs_do_what_their_policies_mean() {
    if !guard::can_load() {
        return;
    }
    if let Some(reason) = missing() {
        guard::skip(&reason);
        return;
    }
    let seconds = number_of("TETRA_HOOKS_SECONDS").unwrap_or(SECONDS);
    let seed = number_of("TETRA_HOOKS_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 32 | 0x7e_74a);
    eprintln!("{seconds} s, TETRA_HOOKS_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy = recipe::recipe_to_attach(CALLS);
    let mut world = World::new();
    replay(&mut world);
    let mut refused: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let begin = Instant::now();
    let mut turn = 0;
    while turn < PLACES.len() || begin.elapsed() < Duration::from_secs(seconds) {
        let place = &PLACES[turn % PLACES.len()];
        // in each round of all hooks other means and other processes; the next means where these are not for the hook
        let first = turn + turn / PLACES.len();
        let driver = (0..world.drivers.len())
            .map(|number| (number + turn / 2) % world.drivers.len())
            .find(|driver| world.can(place.2, *driver))
            .expect("one has everything");
        turn += 1;
        let mut tree = strategy.new_tree(&mut runner).expect("a recipe");
        for means in (0..MEANS.len()).map(|next| (first + next) % MEANS.len()) {
            let of = |recipe: Recipe| move |arena: &Arena, around: &Surroundings| Case::new(&recipe, arena, around);
            match check(&mut world, place, means, driver, of(tree.current())) {
                Ok(()) => {
                    reached.insert(place.0);
                    break;
                }
                Err(Stop::Refused(reason)) => {
                    refused.insert((place.0, MEANS[means].0), reason);
                }
                Err(Stop::Failed(reason)) => {
                    let reason = smaller(&mut world, &mut tree, reason, |world, recipe| {
                        check(world, place, means, driver, of(recipe))
                    });
                    panic!("TETRA_HOOKS_SEED={seed}, turn {turn}\n{reason}");
                }
            }
        }
    }
    let missing: Vec<&str> = PLACES
        .iter()
        .map(|place| place.0)
        .filter(|place| !reached.contains(place))
        .collect();
    assert!(missing.is_empty(), "never attached: {missing:?}, {refused:#?}");
    for ((place, means), reason) in &refused {
        eprintln!("not here: {place} by {means}: {reason}");
    }
    eprintln!(
        "{} sets, {} calls of {} of {} hooks by {:?} in {} s; {} operations disturbed\n{}",
        world.runs,
        world.calls,
        reached.len(),
        PLACES.len(),
        world.kinds,
        begin.elapsed().as_secs(),
        world.disturbed,
        world.coverage
    );
}
