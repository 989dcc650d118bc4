//! The compiler against the definition of the language: random sets of policies, random calls.
//!
//! Each set is compiled as for a kernel on which its hook is attached as wanted, its programs are loaded for test runs and run
//! on calls that are made up; what they leave behind (events, counters, verdict) must be what the interpreter says. Values stand
//! where the hook's attach type has them: registers, slots, fields, user memory, kernel memory that the test fills.
//!
//! `TETRA_DIFFERENTIAL_PAIRS` says how many pairs of a set and a call each hook gets, `TETRA_DIFFERENTIAL_SEED` which ones. A
//! failure is shrunk and printed as policies and a call. Coverage is printed, and appended to the file `TETRA_COVERAGE`.

#![allow(clippy::print_stderr, reason = "seeds and coverage are worth reading")]

#[path = "differential/arena.rs"]
mod arena;
#[path = "differential/coverage.rs"]
mod coverage;
#[path = "differential/expect.rs"]
mod expect;
#[path = "differential/memory.rs"]
mod memory;
#[path = "differential/recipe.rs"]
mod recipe;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use ebpf::record::Record;
use kprobes::probe::{Needs, collect};
use kprobes::{CgroupId, LoadError, PolicyMode, Rings, SensorOptions, SharedMaps, TestRun};
use policy_compiler::facts::KernelFacts;
use policy_compiler::hir::{CapabilitySet, Hook, Namespace, Operand, OperandSource};
use policy_compiler::interpret::{self, Call, Process, Value};
use policy_compiler::output::{ArgumentType, AttachPoint, HookObject};
use policy_compiler::{Options, compile, hooks};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tracingpolicy_crd::{Policy, Source, parse, render};

use arena::{Arena, Class};
use coverage::Coverage;
use expect::{Event, Expected, Limiter, comparable, expect};
use memory::{Memory, path_of, sockaddr_bytes, terminated};
use recipe::{CallRecipe, Recipe, Surroundings};
use support::{cgroup, guard};

/// Calls of each set.
const CALLS: usize = 40;
/// Pairs of a set and a call for each hook, unless said otherwise.
const PAIRS: usize = 200;

/// The programs act on this process, and its table entry is shared: one hook at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What all sets run on.
struct World {
    maps: SharedMaps,
    rings: Rings,
    memory: Memory,
    facts: KernelFacts,
    process: Process,
    around: Surroundings,
    /// The cgroup of the process.
    cgroup: Option<CgroupId>,
    /// Sets that were run.
    runs: u64,
}

fn read_link(path: &str) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}

/// `uts:[4026531838]`
fn inode(link: &str) -> Option<u32> {
    let text = read_link(&format!("/proc/self/ns/{link}"))?;
    text.rsplit_once('[')?.1.trim_end_matches(']').parse().ok()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

fn own_process() -> Process {
    let pid = std::process::id();
    let lineage = std::iter::successors(Some(pid), |pid| parent(*pid).filter(|parent| *parent != 0));
    let namespaces = [
        (Namespace::Uts, "uts"),
        (Namespace::Ipc, "ipc"),
        (Namespace::Mnt, "mnt"),
        (Namespace::Pid, "pid"),
        (Namespace::PidForChildren, "pid_for_children"),
        (Namespace::Net, "net"),
        (Namespace::Time, "time"),
        (Namespace::TimeForChildren, "time_for_children"),
        (Namespace::Cgroup, "cgroup"),
        (Namespace::User, "user"),
    ];
    let status = fs::read_to_string("/proc/self/status").expect("own status");
    let capabilities = [
        (CapabilitySet::Effective, "CapEff:"),
        (CapabilitySet::Inheritable, "CapInh:"),
        (CapabilitySet::Permitted, "CapPrm:"),
    ];
    let capability = |key| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("a set of capabilities");
        u64::from_str_radix(line.trim(), 16).expect("a hexadecimal mask")
    };
    Process {
        pid,
        namespace_pid: None,
        // this is the initial pid namespace
        lineage: lineage.map(|pid| (pid, 0)).collect(),
        executable: Some(read_link("/proc/self/exe").expect("own executable").into_bytes()),
        namespaces: namespaces
            .iter()
            .filter_map(|(namespace, link)| Some((*namespace, inode(link)?)))
            .collect(),
        workload: BTreeSet::new(),
        capabilities: capabilities.iter().map(|(set, key)| (*set, capability(key))).collect(),
    }
}

impl World {
    fn new() -> Self {
        let maps = SharedMaps::create(&SensorOptions {
            ring_shards: Some(1),
            ring_bytes: 8 << 20,
            enforcement_ring_bytes: 8 << 20,
            ..SensorOptions::default()
        })
        .expect("maps");
        let syscall = |name: &str| ["enter", "exit"].map(|side| ("syscalls".to_owned(), format!("sys_{side}_{name}")));
        let tracepoints = ["openat", "linkat", "connect"].iter().flat_map(|name| syscall(name));
        let facts = collect(&Needs {
            tracepoints: tracepoints
                .chain([("signal".to_owned(), "signal_generate".to_owned())])
                .collect(),
            functions: false,
        })
        .expect("facts");
        let memory = Memory::new(&maps, &facts.btf);
        let process = own_process();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a path of ASCII");
        let is_plain = |path: &String| path.bytes().all(|byte| byte.is_ascii_graphic());
        let around = Surroundings {
            executable: text(process.executable.as_deref().unwrap_or_default()),
            pids: process
                .lineage
                .iter()
                .map(|(pid, _)| *pid)
                .chain([0, 1, 77_777])
                .collect(),
            namespaces: NAMESPACE_NAMES
                .iter()
                .map(|(name, namespace)| (*name, process.namespaces.get(namespace).copied().unwrap_or(7)))
                .collect(),
            paths: memory
                .files
                .iter()
                .map(|file| text(&file.text))
                .filter(is_plain)
                .collect(),
        };
        Self {
            rings: Rings::of_maps(maps.rings()).expect("the rings can be read"),
            maps,
            memory,
            facts,
            process,
            around,
            cgroup: cgroup::own().map(|directory| cgroup::id(&directory)),
            runs: 0,
        }
    }

    /// The 8 bytes of each parameter for a call, and what they mean for an operand.
    fn call(&self, arena: &Arena, recipe: &CallRecipe, hooks: &[Hook], known: bool) -> MadeUp {
        let mut made = MadeUp {
            raw: Vec::new(),
            returned: number(recipe.returned),
            call: Call {
                values: BTreeMap::new(),
                process: self.process.clone(),
            },
            kept: Vec::new(),
        };
        // its ancestors are found through the kernel's own tree
        made.call.process.namespace_pid = known.then_some(0);
        for (piece, parameter) in arena.parameters.iter().enumerate() {
            let choice = recipe.values[piece];
            let operands = |value: &dyn Fn(&Operand) -> Value| -> BTreeMap<Operand, Value> {
                let of_parameter = hooks
                    .iter()
                    .flat_map(Hook::operands)
                    .filter(|operand| index_of(operand, arena, &self.facts) == Some(parameter.index));
                of_parameter.map(|operand| (operand.clone(), value(operand))).collect()
            };
            let (raw, values) = match parameter.class {
                Class::Number => {
                    let raw = self.number_or_descriptor(choice);
                    (raw, operands(&|operand| Self::number_value(operand, raw)))
                }
                Class::String => {
                    let (raw, value) = self.string(arena, piece, choice, &mut made.kept);
                    (raw, operands(&|_| value.clone()))
                }
                Class::File | Class::Path | Class::Dentry => {
                    let (raw, value) = self.file(parameter.class, choice);
                    (raw, operands(&|_| value.clone()))
                }
                Class::Sock => {
                    let sock = recipe::sock(choice);
                    let (raw, value) = match choice % 32 {
                        0 => (0, Value::Absent),
                        1 => (NO_KERNEL_MEMORY, Value::Absent),
                        _ => (self.memory.put_sock(piece, &sock), Value::Sock(sock)),
                    };
                    (raw, operands(&|_| value.clone()))
                }
                Class::Sockaddr => {
                    let (raw, value) = self.sockaddr(arena, piece, choice, &mut made.kept);
                    (raw, operands(&|_| value.clone()))
                }
            };
            made.raw.push((parameter.index, raw));
            made.call.values.extend(values);
        }
        for returned in hooks.iter().filter_map(|hook| hook.returned.as_ref()) {
            made.call
                .values
                .insert(returned.operand.clone(), Value::Integer(made.returned));
        }
        made
    }

    /// A number, or that of an open file.
    fn number_or_descriptor(&self, choice: u16) -> u64 {
        if choice.is_multiple_of(3) {
            let files = &self.memory.files;
            return u64::from(files[choice as usize / 3 % files.len()].fd);
        }
        number(choice)
    }

    fn number_value(operand: &Operand, raw: u64) -> Value {
        let raw = match operand.source {
            OperandSource::Field { size, signed, .. } => field(raw, size, signed),
            _ => raw,
        };
        if operand.argument_type != ArgumentType::Fd {
            return Value::Integer(raw);
        }
        // a number may be that of a file that the test harness has open
        path_of(raw as u32).map_or(Value::Absent, Value::Path)
    }

    fn string(&self, arena: &Arena, piece: usize, choice: u16, kept: &mut Vec<Vec<u8>>) -> (u64, Value) {
        let pool = recipe::strings();
        let text = pool[choice as usize / 64 % pool.len()].as_bytes();
        let in_kernel = !arena.has_user_pointers() && choice.is_multiple_of(2);
        match choice % 64 {
            0 => (0, Value::Absent),
            1 => (NO_USER_MEMORY, Value::Unreadable),
            // an address in the kernel is not followed for the user: it cannot be read like any other
            2 if arena.has_user_pointers() => (NO_KERNEL_MEMORY, Value::Unreadable),
            2 => (NO_KERNEL_MEMORY, Value::Absent),
            _ if in_kernel => {
                let address = self.memory.put(piece, &terminated(text));
                (address, Value::String(text.to_vec()))
            }
            _ => {
                kept.push(terminated(text));
                let address = kept.last().expect("just put there").as_ptr() as u64;
                (address, Value::String(text.to_vec()))
            }
        }
    }

    fn file(&self, class: Class, choice: u16) -> (u64, Value) {
        if choice.is_multiple_of(32) {
            return (0, Value::Absent);
        }
        let on_root: Vec<_> = self
            .memory
            .files
            .iter()
            .filter(|file| class != Class::Dentry || file.on_root)
            .collect();
        let Some(file) = on_root.get(choice as usize % on_root.len().max(1)) else {
            return (0, Value::Absent);
        };
        let address = match class {
            Class::File => file.file,
            Class::Path => file.path,
            _ => file.dentry,
        };
        (address, Value::Path(file.text.clone()))
    }

    fn sockaddr(&self, arena: &Arena, piece: usize, choice: u16, kept: &mut Vec<Vec<u8>>) -> (u64, Value) {
        let address = recipe::sockaddr(choice);
        let bytes = sockaddr_bytes(&address);
        match choice % 32 {
            0 => (0, Value::Absent),
            1 if arena.is_syscall() => (NO_USER_MEMORY, Value::Unreadable),
            1 => (NO_KERNEL_MEMORY, Value::Absent),
            _ if arena.is_syscall() => {
                kept.push(bytes);
                let address_of = kept.last().expect("just put there").as_ptr() as u64;
                (address_of, Value::Sockaddr(address))
            }
            _ => (self.memory.put(piece, &bytes), Value::Sockaddr(address)),
        }
    }
}

/// Addresses where nothing is.
const NO_USER_MEMORY: u64 = 0x10;
const NO_KERNEL_MEMORY: u64 = 0xffff_ffff_ffff_e000;

const NAMESPACE_NAMES: [(&str, Namespace); 10] = [
    ("Uts", Namespace::Uts),
    ("Ipc", Namespace::Ipc),
    ("Mnt", Namespace::Mnt),
    ("Pid", Namespace::Pid),
    ("PidForChildren", Namespace::PidForChildren),
    ("Net", Namespace::Net),
    ("Time", Namespace::Time),
    ("TimeForChildren", Namespace::TimeForChildren),
    ("Cgroup", Namespace::Cgroup),
    ("User", Namespace::User),
];

fn number(choice: u16) -> u64 {
    recipe::NUMBERS[choice as usize % recipe::NUMBERS.len()] as u64
}

/// What is left of a value in a field of a tracepoint's record.
fn field(raw: u64, size: u32, signed: bool) -> u64 {
    let shift = 64 - 8 * size;
    if signed {
        ((raw << shift) as i64 >> shift) as u64
    } else {
        raw << shift >> shift
    }
}

/// Which parameter an operand reads.
fn index_of(operand: &Operand, arena: &Arena, facts: &KernelFacts) -> Option<u32> {
    match (&operand.source, arena.section) {
        (OperandSource::Parameter(index), _) => Some(*index),
        (OperandSource::Field { offset, .. }, arena::Section::Tracepoint { subsystem, event, .. }) => {
            let format = &facts.tracepoints[&(subsystem.to_owned(), event.to_owned())];
            format
                .fields
                .iter()
                .position(|field| field.offset == *offset)
                .map(|index| index as u32)
        }
        _ => None,
    }
}

/// A call as the programs and as the interpreter see it.
struct MadeUp {
    raw: Vec<(u32, u64)>,
    returned: u64,
    call: Call,
    /// User memory that the call points to.
    kept: Vec<Vec<u8>>,
}

fn policies(texts: &[String]) -> Result<Vec<Policy>, TestCaseError> {
    let mut policies = Vec::new();
    for text in texts {
        let parsed = parse(&Source::new("random.yaml", text.as_str()));
        let errors: Vec<_> = parsed.diagnostics.iter().filter(|d| d.is_error()).cloned().collect();
        if !errors.is_empty() {
            return Err(TestCaseError::fail(render::full(&errors, false)));
        }
        policies.extend(parsed.policies);
    }
    Ok(policies)
}

/// The programs of a set, entries before exits.
fn load(objects: &[HookObject], maps: &SharedMaps) -> Result<Vec<(HookObject, TestRun)>, TestCaseError> {
    let is_exit = |object: &&HookObject| match &object.attach {
        AttachPoint::Fexit { .. } | AttachPoint::Kretprobe { .. } => true,
        AttachPoint::Tracepoint { subsystem, event } => subsystem == "syscalls" && event.starts_with("sys_exit_"),
        _ => false,
    };
    // what the exit of a syscall reads are the registers of the calling task, which a test run cannot choose
    let (exits, mut ordered): (Vec<_>, Vec<_>) = objects.iter().partition(is_exit);
    ordered.extend(
        exits
            .into_iter()
            .filter(|object| !matches!(object.attach, AttachPoint::Tracepoint { .. })),
    );
    ordered
        .into_iter()
        .map(|object| match TestRun::load(object, maps) {
            Ok(run) => Ok((object.clone(), run)),
            Err(LoadError::Policy(diagnostics)) => Err(TestCaseError::fail(format!(
                "the verifier refuses what was compiled:\n{}",
                render::full(&diagnostics, false)
            ))),
            Err(error) => Err(TestCaseError::fail(error.to_string())),
        })
        .collect()
}

/// Runs one set on all its calls.
fn check(world: &mut World, arena: &Arena, recipe: &Recipe, coverage: &mut Coverage) -> Result<(), TestCaseError> {
    let facts = arena.facts(&world.facts);
    world.runs += 1;
    let texts = recipe.yaml(world.runs, arena, &world.around);
    let set = recipe.set(policies(&texts)?);
    let (hooks, _) = hooks(&set, &facts);
    let compilation = compile(&set, &facts, &Options::default());
    let errors: Vec<_> = compilation
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .cloned()
        .collect();
    if !errors.is_empty() {
        return Err(TestCaseError::fail(render::full(&errors, false)));
    }
    let programs = load(&compilation.objects, &world.maps)?;
    let tgid = std::process::id();
    if recipe.known_process {
        world
            .maps
            .processes()
            .replace(tgid, &ebpf::record::Process::default())
            .expect("the table takes it");
    } else {
        world.maps.processes().delete(tgid).expect("the table can be changed");
    }
    for (slot, policy) in recipe.policies.iter().enumerate() {
        let mode = if policy.monitors {
            PolicyMode::Monitor
        } else {
            PolicyMode::Enforce
        };
        world.maps.set_policy_mode(slot as u32, mode).expect("a slot");
        world.maps.clear_policy_counters(slot as u32).expect("a slot");
    }
    world.rings.drain_all(|_| ()).expect("the rings are read");
    let mut before: Vec<_> = recipe.policies.iter().map(|_| [0; 16]).collect();
    let mut limiter = Limiter::default();
    for call in &recipe.calls {
        let mut made = world.call(arena, call, &hooks, recipe.known_process);
        let slots: BTreeSet<u32> = (0..16).filter(|slot| call.workload >> slot & 1 != 0).collect();
        if let Some(cgroup) = world.cgroup {
            world
                .maps
                .workloads()
                .assign(cgroup, slots.iter().copied())
                .expect("the table takes it");
            made.call.process.workload = slots;
        }
        let expected: Vec<Expected> = hooks
            .iter()
            .map(|hook| {
                let monitors = recipe.policies[hook.policy_slot as usize].monitors;
                coverage.note(arena, hook, &made.call);
                expect(arena, hook, monitors, &made.call, &mut limiter)
            })
            .collect();
        let verdict = expected.iter().find_map(|expected| expected.verdict);
        let mut denied = None;
        for (object, run) in &programs {
            let mut context = arena.context(&object.attach, &facts, &made.raw, made.returned);
            let returned = run
                .run(&mut context)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            if matches!(object.attach, AttachPoint::Lsm { .. } | AttachPoint::FmodRet { .. }) && returned != 0 {
                denied = Some((returned as i32).unsigned_abs());
            }
        }
        let mut sent = sent(&mut world.rings, &compilation.objects)?;
        let mut wanted: Vec<Event> = expected.iter().flat_map(|expected| expected.events.clone()).collect();
        sent.sort();
        wanted.sort();
        let about = || about(&texts, recipe, &made, &hooks);
        if sent != wanted {
            let missing: Vec<_> = wanted.iter().filter(|event| !sent.contains(event)).collect();
            let surplus: Vec<_> = sent.iter().filter(|event| !wanted.contains(event)).collect();
            return Err(TestCaseError::fail(format!(
                "{} events sent, {} due\n  missing {missing:?}\n  surplus {surplus:?}\n{}",
                sent.len(),
                wanted.len(),
                about()
            )));
        }
        if denied != verdict {
            return Err(TestCaseError::fail(format!(
                "verdict {denied:?}, due is {verdict:?}\n{}",
                about()
            )));
        }
        for (slot, before) in before.iter_mut().enumerate() {
            let now = world.maps.policy_counters(slot as u32).expect("a slot");
            let mut due = [0; 16];
            for (hook, expected) in hooks.iter().zip(&expected) {
                if hook.policy_slot as usize == slot {
                    for (sum, counter) in due.iter_mut().zip(expected.counters) {
                        *sum += counter;
                    }
                    due[0] += expected.events.len() as u64;
                }
            }
            let counted: Vec<u64> = now
                .iter()
                .zip(before.iter())
                .map(|(now, before)| now - before)
                .collect();
            if counted != due {
                return Err(TestCaseError::fail(format!(
                    "counters of policy {slot}: {counted:?}, due are {due:?}\n{}",
                    about()
                )));
            }
            *before = now;
        }
    }
    Ok(())
}

/// What a failure is about, for people.
fn about(texts: &[String], recipe: &Recipe, made: &MadeUp, hooks: &[Hook]) -> String {
    let selections: Vec<_> = hooks.iter().map(|hook| interpret::select(hook, &made.call)).collect();
    let modes: Vec<bool> = recipe.policies.iter().map(|policy| policy.monitors).collect();
    let scoped: Vec<bool> = recipe.policies.iter().map(|policy| policy.is_scoped).collect();
    format!(
        "process known: {}, monitoring: {modes:?}, scoped: {scoped:?}, workload {:?}, returned {:#x}, selections {selections:?}\nvalues {:?}\n{}",
        recipe.known_process,
        made.call.process.workload,
        made.returned,
        made.call.values,
        texts.join("---\n")
    )
}

/// All events that were sent since the last time.
fn sent(rings: &mut Rings, objects: &[HookObject]) -> Result<Vec<Event>, TestCaseError> {
    let mut events = Vec::new();
    let mut wrong = None;
    let drained = rings.drain_all(|bytes| match Record::parse(bytes) {
        Some(Record::Policy(record)) => {
            let fixed = record.fixed;
            let Some(template) = objects
                .iter()
                .find(|object| object.tag == fixed.object_tag)
                .and_then(|object| object.templates.get(fixed.template_index as usize))
            else {
                wrong = Some(format!("no template for {fixed:?}"));
                return;
            };
            let types = template.arguments.iter().map(|argument| argument.argument_type);
            let is_half = fixed.header.flags & ebpf::record::RECORD_FLAG_RETURN != 0;
            events.push(Event {
                slot: template.policy_slot,
                selector: template.selector_index.unwrap_or(0) as usize,
                flags: fixed.header.flags & !ebpf::record::RECORD_FLAG_UNKNOWN_PROCESS,
                action: (!is_half).then_some(fixed.action),
                arguments: types
                    .zip(record.arguments())
                    .map(|(of_type, argument)| comparable(of_type, &argument))
                    .collect(),
            });
        }
        other => wrong = Some(format!("not an event of a policy: {other:?}")),
    });
    drained.map_err(|error| TestCaseError::fail(error.to_string()))?;
    wrong.map_or(Ok(events), |wrong| Err(TestCaseError::fail(wrong)))
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The whole of a hook: as many sets as make the pairs.
fn differential(arena: &Arena) {
    if !guard::can_load() {
        return;
    }
    let report = kprobes::probe::report().expect("eBPF can be used");
    if let Some(reason) = report.reason(kprobes::probe::Feature::SyscallProgram) {
        guard::skip(&format!("test runs need programs of type syscall: {reason}"));
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new();
    let pairs = number_of("TETRA_DIFFERENTIAL_PAIRS").map_or(PAIRS, |pairs| pairs as usize);
    let seed = number_of("TETRA_DIFFERENTIAL_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 32 | 0x7e_74a);
    eprintln!("{}: {pairs} pairs, TETRA_DIFFERENTIAL_SEED={seed}", arena.kind());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: pairs.div_ceil(CALLS) as u32,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let mut coverage = Coverage::default();
    let (world, coverage) = (Mutex::new(&mut world), Mutex::new(&mut coverage));
    let outcome = runner.run(&recipe::recipe(CALLS), |recipe| {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        let mut coverage = coverage.lock().unwrap_or_else(PoisonError::into_inner);
        check(&mut world, arena, &recipe, &mut coverage)
    });
    if let Err(error) = outcome {
        let text = match error {
            proptest::test_runner::TestError::Fail(reason, _) => reason.message().to_owned(),
            aborted @ proptest::test_runner::TestError::Abort(_) => aborted.to_string(),
        };
        panic!("TETRA_DIFFERENTIAL_SEED={seed}\n{text}");
    }
    let coverage = coverage.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!("{coverage}");
    if let Some(path) = std::env::var_os("TETRA_COVERAGE") {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the coverage file");
        // in one piece: other tests write to it, too
        file.write_all(coverage.lines(arena.kind()).as_bytes())
            .expect("the coverage is written");
    }
}

macro_rules! hooks {
    ($($name:ident: $arena:expr;)*) => {
        $(
            #[test]
            fn $name() {
                differential(&$arena);
            }
        )*
    };
}

hooks! {
    a_syscall_with_a_string: arena::SYSCALL_STRING;
    a_syscall_with_two_strings: arena::SYSCALL_TWO_STRINGS;
    a_syscall_with_a_socket_address: arena::SYSCALL_ADDRESS;
    a_function_with_a_file_and_its_return: arena::FUNCTION_FILE;
    a_function_with_a_path_and_a_dentry: arena::FUNCTION_PATH;
    a_function_with_a_sock: arena::FUNCTION_SOCK;
    a_function_with_a_socket_address: arena::FUNCTION_ADDRESS;
    a_function_with_strings_in_the_kernel: arena::FUNCTION_STRING;
    a_function_seen_at_its_return: arena::FUNCTION_RETURN;
    a_function_whose_result_is_replaced: arena::FUNCTION_OVERRIDE;
    an_lsm_hook: arena::LSM;
    a_tracepoint: arena::TRACEPOINT;
    a_tracepoint_with_a_string: arena::TRACEPOINT_STRING;
    a_raw_tracepoint: arena::RAW_TRACEPOINT;
}
