//! The compiler against the definition of the language: random sets of policies, random calls.
//!
//! Each set is compiled as for a kernel on which its hook is attached as wanted, its programs are loaded for test runs and run
//! on calls that are made up; what they leave behind (events, counters, verdict) must be what the interpreter says. Values stand
//! where the hook's attach type has them: registers, slots, fields, user memory, kernel memory that the test fills.
//!
//! `TETRA_DIFFERENTIAL_PAIRS` says how many pairs of a set and a call each hook gets, `TETRA_DIFFERENTIAL_SEED` which ones. A
//! failure is shrunk, printed, and written to a file in the form of those in `differential/cases`, which are replayed at each run.
//!
//! Beside random sets there are those that reach every operator on every type whatever the seed (`differential/sweep.rs`), and a
//! process in namespaces of its own and with fewer capabilities that runs a share of all. An operator that never holds, or always,
//! fails the test, unless there are so few pairs that only random sets are run. Coverage is printed, and appended to the file
//! `TETRA_COVERAGE`.

#![allow(clippy::print_stderr, reason = "seeds and coverage are worth reading")]

#[path = "differential/arena.rs"]
mod arena;
#[path = "differential/case.rs"]
mod case;
#[path = "differential/coverage.rs"]
mod coverage;
#[path = "differential/data.rs"]
mod data;
#[path = "differential/events.rs"]
mod events;
#[path = "differential/expect.rs"]
mod expect;
#[path = "differential/memory.rs"]
mod memory;
#[path = "differential/packet.rs"]
mod packet;
#[path = "differential/process.rs"]
mod process;
#[path = "differential/recipe.rs"]
mod recipe;
mod support;
#[path = "differential/sweep.rs"]
mod sweep;
#[path = "differential/values.rs"]
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use kprobes::probe::{Needs, collect};
use kprobes::{CgroupId, LoadError, PolicyMode, Rings, SensorOptions, SharedMaps, TestRun};
use policy_compiler::facts::KernelFacts;
use policy_compiler::hir::{Hook, Operand};
use policy_compiler::interpret::{self, Call, Process, Value};
use policy_compiler::output::{AttachPoint, HookObject};
use policy_compiler::{compile, hooks};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tracingpolicy_crd::{Diagnostic, render};

use arena::{Arena, Class, Section};
use case::{Case, Kept};
use coverage::Coverage;
use events::{policies, sent};
use expect::{Event, Expected, Limiter, expect};
use memory::{Memory, OpenFile};
use recipe::{CallRecipe, Surroundings};
use support::{cgroup, guard};
use values::{number, number_value, sockaddr_bytes, terminated};

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
    /// What entries of `data` lead to.
    data: BTreeMap<Operand, Value>,
    /// The cgroup of the process.
    cgroup: Option<CgroupId>,
    /// Sets that were run.
    runs: u64,
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
        let tracepoints = ["openat", "linkat", "connect", "write"]
            .iter()
            .flat_map(|name| syscall(name));
        let mut facts = collect(&Needs {
            tracepoints: tracepoints
                .chain([("signal".to_owned(), "signal_generate".to_owned())])
                .collect(),
            ..Needs::default()
        })
        .expect("facts");
        if let Some(told) = host_namespaces() {
            facts.host_namespaces = told;
        }
        let memory = Memory::new(&maps, &facts.btf);
        let process = process::process("self");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a path of ASCII");
        let is_plain = |path: &String| path.bytes().all(|byte| byte.is_ascii_graphic());
        let plain = |files: &mut dyn Iterator<Item = &OpenFile>| -> Vec<String> {
            files.map(|file| text(&file.text)).filter(is_plain).collect()
        };
        let around = Surroundings {
            paths: plain(&mut memory.files.iter()),
            dentries: plain(&mut memory.files.iter().filter(|file| file.on_root)),
            data: data::of_this_process(&process),
            changes: true,
            ..Surroundings::of_process(&process)
        };
        let data = data_of_task(&around, &facts);
        Self {
            data,
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
                notified: None,
            },
            kept: Vec::new(),
        };
        // its ancestors are found through the kernel's own tree
        made.call.process.namespace_pid = known.then_some(self.namespace_pid());
        // the length of the buffer before
        let mut named = 0;
        for (piece, parameter) in arena.parameters.iter().enumerate() {
            let choice = recipe.values[piece];
            let operands = |value: &dyn Fn(&Operand) -> Value| -> BTreeMap<Operand, Value> {
                let of_parameter = hooks
                    .iter()
                    .flat_map(Hook::operands)
                    .filter(|operand| arena.index_of(operand, &self.facts) == Some(parameter.index));
                of_parameter.map(|operand| (operand.clone(), value(operand))).collect()
            };
            let (raw, values) = match parameter.class {
                Class::Number if matches!(arena.section, Section::Usdt) => {
                    let (raw, value) = self.probe_number(parameter.index, choice, &mut made.kept);
                    (raw, operands(&|_| value.clone()))
                }
                Class::String if matches!(arena.section, Section::Usdt) => {
                    let (address, value) = self.string(arena, piece, choice, &mut made.kept);
                    // the address stands in memory itself, beyond what the factor leads to
                    let pointed = [vec![0; arena::DISPLACEMENT as usize], address.to_ne_bytes().to_vec()].concat();
                    made.kept.push(pointed);
                    let raw = made.kept.last().expect("just put there").as_ptr() as u64;
                    (raw, operands(&|_| value.clone()))
                }
                Class::Number => {
                    let raw = self.number_or_descriptor(choice);
                    (raw, operands(&|operand| number_value(operand, raw, "self")))
                }
                Class::String => {
                    let (raw, value) = self.string(arena, piece, choice, &mut made.kept);
                    (raw, operands(&|_| value.clone()))
                }
                Class::File | Class::Path | Class::Dentry => {
                    let (raw, value) = self.file(parameter.class, choice);
                    (raw, operands(&|_| value.clone()))
                }
                Class::Binprm => {
                    let (raw, value) = self.binprm(piece, choice);
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
                Class::Skb => {
                    let (raw, value) = match choice % 32 {
                        0 => (0, Value::Absent),
                        1 => (NO_KERNEL_MEMORY, Value::Absent),
                        _ => {
                            let (bytes, sock) = packet::packet(choice);
                            (self.memory.put_skb(piece, &bytes), Value::Sock(sock))
                        }
                    };
                    (raw, operands(&|_| value.clone()))
                }
                Class::Buffer | Class::Segments => {
                    let (raw, length, value) = self.buffer(arena, parameter.class, piece, choice, &mut made.kept);
                    named = length;
                    (raw, operands(&|_| value.clone()))
                }
                Class::Length => (named, operands(&|operand| number_value(operand, named, "self"))),
                Class::Sockaddr => {
                    let (raw, value) = self.sockaddr(arena, piece, choice, &mut made.kept);
                    (raw, operands(&|_| value.clone()))
                }
            };
            made.raw.push((parameter.index, raw));
            made.call.values.extend(values);
        }
        for operand in hooks.iter().flat_map(Hook::operands) {
            if let Some(value) = self.data.get(operand) {
                made.call.values.insert(operand.clone(), value.clone());
            }
        }
        for returned in hooks.iter().filter_map(|hook| hook.returned.as_ref()) {
            made.call
                .values
                .insert(returned.operand.clone(), Value::Integer(made.returned));
        }
        made
    }

    /// Pid of the process in its own pid namespace.
    fn namespace_pid(&self) -> u32 {
        self.process.lineage[0].1
    }

    /// What the register of an argument of a static probe holds, and what that means.
    fn probe_number(&self, index: u32, choice: u16, kept: &mut Vec<Vec<u8>>) -> (u64, Value) {
        let raw = self.number_or_descriptor(choice);
        match index {
            0 if choice.is_multiple_of(16) => (NO_USER_MEMORY, Value::Unreadable),
            0 => {
                kept.push([vec![0xaa; arena::DISPLACEMENT as usize], raw.to_ne_bytes().to_vec()].concat());
                let address = kept.last().expect("just put there").as_ptr() as u64;
                (address, Value::Integer(raw as i32 as u64))
            }
            1 => (raw << 8 | 0x5a, Value::Integer(raw as i8 as u64)),
            // the factor of the address of the text, and the constant
            _ => (1, Value::Integer(-3i64 as u64)),
        }
    }

    /// A number, or that of an open file.
    fn number_or_descriptor(&self, choice: u16) -> u64 {
        if choice.is_multiple_of(3) {
            let files = &self.memory.files;
            return u64::from(files[choice as usize / 3 % files.len()].fd);
        }
        number(choice)
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

    /// Address and length of a buffer, in bytes or segments, and its bytes.
    fn buffer(
        &self,
        arena: &Arena,
        class: Class,
        piece: usize,
        choice: u16,
        kept: &mut Vec<Vec<u8>>,
    ) -> (u64, u64, Value) {
        let pool = recipe::strings();
        let mut bytes = pool[choice as usize / 64 % pool.len()].clone().into_bytes();
        if bytes.len() == 4095 {
            // longer than a program looks at
            bytes.resize(4100 + usize::from(choice % 200), b'/');
        }
        let in_kernel = !arena.has_user_pointers() && choice.is_multiple_of(2);
        let absent = if in_kernel { Value::Absent } else { Value::Unreadable };
        let nowhere = if in_kernel { NO_KERNEL_MEMORY } else { NO_USER_MEMORY };
        let mut put = |bytes: Vec<u8>, in_kernel: bool| {
            if in_kernel {
                return self.memory.put(piece, &bytes);
            }
            kept.push(bytes);
            kept.last().expect("just put there").as_ptr() as u64
        };
        match (choice % 64, class) {
            // no bytes may be anywhere
            (0, _) => (nowhere, 0, Value::String(Vec::new())),
            (1 | 2, _) => (nowhere, 3, absent),
            (_, Class::Buffer) => {
                let length = bytes.len() as u64;
                (put(bytes.clone(), in_kernel), length, Value::String(bytes))
            }
            (variant, _) => {
                // some segments are empty, and the last one may be nowhere
                let size = 1 + usize::from(variant) * 13;
                let mut segments: Vec<[u64; 2]> = Vec::new();
                for chunk in bytes.chunks(size) {
                    segments.push([put(chunk.to_vec(), false), chunk.len() as u64]);
                    if segments.len().is_multiple_of(7) {
                        segments.push([NO_USER_MEMORY, 0]);
                    }
                }
                let unreadable = variant == 3 && bytes.len() < 4096;
                if unreadable {
                    segments.push([NO_USER_MEMORY, 1]);
                }
                segments.truncate(1024);
                let count = segments.len() as u64;
                let array: Vec<u8> = segments
                    .as_flattened()
                    .iter()
                    .flat_map(|word| word.to_ne_bytes())
                    .collect();
                let named: u64 = segments.iter().map(|[_, size]| size).sum();
                bytes.truncate(named as usize);
                let value = if unreadable {
                    Value::Unreadable
                } else {
                    Value::String(bytes)
                };
                (put(array, in_kernel), count, value)
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
        let path = file.text.clone();
        (address, Value::Path { path, mode: file.mode })
    }

    fn binprm(&self, piece: usize, choice: u16) -> (u64, Value) {
        match choice % 32 {
            0 => (0, Value::Absent),
            1 => (NO_KERNEL_MEMORY, Value::Absent),

            2 => (self.memory.put_binprm(piece, 0), Value::Absent),
            _ => {
                let (file, value) = self.file(Class::File, choice);
                (self.memory.put_binprm(piece, file), value)
            }
        }
    }

    fn sockaddr(&self, arena: &Arena, piece: usize, choice: u16, kept: &mut Vec<Vec<u8>>) -> (u64, Value) {
        let address = recipe::sockaddr(choice);
        let bytes = sockaddr_bytes(&address);
        match choice % 32 {
            0 => (0, Value::Absent),
            1 if arena.has_user_pointers() => (NO_USER_MEMORY, Value::Unreadable),
            1 => (NO_KERNEL_MEMORY, Value::Absent),
            _ if arena.has_user_pointers() => {
                kept.push(bytes);
                let address_of = kept.last().expect("just put there").as_ptr() as u64;
                (address_of, Value::Sockaddr(address))
            }
            _ => (self.memory.put(piece, &bytes), Value::Sockaddr(address)),
        }
    }
}

/// The operands of all entries of `data`, with what they lead to.
fn data_of_task(around: &Surroundings, facts: &KernelFacts) -> BTreeMap<Operand, Value> {
    let entries: Vec<String> = around
        .data
        .iter()
        .map(|entry| {
            format!(
                "    - {{index: 0, source: current_task, resolve: \"{}\"}}\n",
                entry.resolve
            )
        })
        .collect();
    let head = arena::FUNCTION_FILE.head(0).replace("${run}", "data");
    let text = format!("{head}    data:\n{}", entries.concat());
    let mut facts = arena::FUNCTION_FILE.facts(facts);
    facts.functions.clear();
    let set = recipe::set_of(policies(&[text]).expect("a policy"), [false]);
    let (hooks, diagnostics) = hooks(&set, &facts);
    let data = hooks
        .iter()
        .flat_map(|hook| &hook.arguments)
        .map(|argument| argument.operand.clone());
    let data: BTreeMap<Operand, Value> = data.zip(around.data.iter().map(|entry| entry.value.clone())).collect();
    assert_eq!(data.len(), around.data.len(), "{diagnostics:?}");
    data
}

/// Addresses where nothing is.
const NO_USER_MEMORY: u64 = 0x10;
const NO_KERNEL_MEMORY: u64 = 0xffff_ffff_ffff_e000;

/// A call as the programs and as the interpreter see it.
struct MadeUp {
    raw: Vec<(u32, u64)>,
    returned: u64,
    call: Call,
    /// User memory that the call points to.
    kept: Vec<Vec<u8>>,
}

/// The programs of a set, entries before exits.
fn load(objects: &[HookObject], maps: &SharedMaps) -> Result<Vec<(HookObject, TestRun)>, String> {
    let is_exit = |object: &&HookObject| match &object.attach {
        AttachPoint::Fexit { .. } | AttachPoint::Kretprobe { .. } | AttachPoint::Uretprobe { .. } => true,
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
            Err(LoadError::Policy(diagnostics)) => Err(format!(
                "the verifier refuses what was compiled:\n{}",
                render::full(&diagnostics, false)
            )),
            Err(error) => Err(error.to_string()),
        })
        .collect()
}

/// Where a set does not do what it must.
struct Failure {
    reason: String,
    /// The call at which that shows; `None` if it does without any.
    call: Option<usize>,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { reason, call: None }
    }
}

/// Runs one set on all its calls.
fn check(world: &mut World, arena: &Arena, case: &Case, coverage: &mut Coverage) -> Result<(), Failure> {
    let facts = arena.facts(&world.facts);
    world.runs += 1;
    let run = world.runs.to_string();
    let texts: Vec<String> = case.policies.iter().map(|text| text.replace("${run}", &run)).collect();
    let set = case.set(policies(&texts)?);
    let (hooks, _) = hooks(&set, &facts);
    let compilation = compile(&set, &facts, &case.options());
    let is_error = |diagnostic: &&Diagnostic| diagnostic.is_error();
    let errors: Vec<_> = compilation.diagnostics.iter().filter(is_error).cloned().collect();
    if !errors.is_empty() {
        return Err(render::full(&errors, false).into());
    }
    let programs = load(&compilation.objects, &world.maps)?;
    let tgid = world.process.pid;
    let mut recorded = case
        .known_process
        .then(|| process::recorded(&world.process, case.recorded));
    if let Some(recorded) = &recorded {
        let record = ebpf::record::Process {
            nspid: world.namespace_pid(),
            ns: policy_compiler::hir::Namespace::ALL
                .map(|namespace| recorded.namespaces.get(&namespace).copied().unwrap_or(0)),
            capabilities: process::CAPABILITY_SETS
                .map(|(set, _)| recorded.capabilities.get(&set).copied().unwrap_or(0)),
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
    for (slot, monitors) in case.monitors.iter().enumerate() {
        let mode = if *monitors {
            PolicyMode::Monitor
        } else {
            PolicyMode::Enforce
        };
        world.maps.set_policy_mode(slot as u32, mode).expect("a slot");
        world.maps.clear_policy_counters(slot as u32).expect("a slot");
    }
    world.rings.drain_all(|_| ()).expect("the rings are read");
    let mut before = vec![[0; 16]; case.policies.len()];
    let mut limiter = Limiter::default();
    for (number, call) in case.calls.iter().enumerate() {
        let mut made = world.call(arena, call, &hooks, case.known_process);
        made.call.process.recorded.clone_from(&recorded);
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
                let monitors = case.monitors[hook.policy_slot as usize];
                coverage.note(arena, hook, &made.call);
                expect(arena, hook, monitors, &made.call, &mut limiter)
            })
            .collect();
        // a change that was told is none any more
        let is_told = |(hook, expected): (&Hook, &Expected)| {
            let mut events = expected
                .events
                .iter()
                .filter(|event| event.flags & ebpf::record::RECORD_FLAG_RETURN == 0);
            events.any(|event| {
                let selector = hook.selectors.get(event.selector);
                selector.is_some_and(|s| s.filters.iter().any(|filter| filter.predicate.is_about_changes()))
            })
        };
        if hooks.iter().zip(&expected).any(is_told) {
            recorded = recorded.map(|_| process::recorded(&world.process, process::UNCHANGED));
        }
        let verdict = expected.iter().find_map(|expected| expected.verdict);
        let mut denied = None;
        for (object, run) in &programs {
            let mut context = arena.context(&object.attach, &facts, &made.raw, made.returned);
            let returned = run.run(&mut context).map_err(|error| error.to_string())?;
            if matches!(object.attach, AttachPoint::Lsm { .. } | AttachPoint::FmodRet { .. }) && returned != 0 {
                denied = Some((returned as i32).unsigned_abs());
            }
        }
        let mut sent = sent(&mut world.rings, &compilation.objects, None)?.of_process;
        let mut wanted: Vec<Event> = expected.iter().flat_map(|expected| expected.events.clone()).collect();
        sent.sort();
        wanted.sort();
        let differs = |how: String| {
            Err(Failure {
                reason: format!("{how}\n{}", about(&texts, case, &made, &hooks)),
                call: Some(number),
            })
        };
        if sent != wanted {
            let missing: Vec<_> = wanted.iter().filter(|event| !sent.contains(event)).collect();
            let surplus: Vec<_> = sent.iter().filter(|event| !wanted.contains(event)).collect();
            return differs(format!(
                "{} events sent, {} due\n  missing {missing:?}\n  surplus {surplus:?}",
                sent.len(),
                wanted.len()
            ));
        }
        if denied != verdict {
            return differs(format!("verdict {denied:?}, due is {verdict:?}"));
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
                return differs(format!("counters of policy {slot}: {counted:?}, due are {due:?}"));
            }
            *before = now;
        }
    }
    Ok(())
}

/// What a failure is about, for people.
fn about(texts: &[String], case: &Case, made: &MadeUp, hooks: &[Hook]) -> String {
    let selections: Vec<_> = hooks.iter().map(|hook| interpret::select(hook, &made.call)).collect();
    format!(
        "process known: {}, monitoring: {:?}, scoped: {:?}, workload {:?}, returned {:#x}, selections {selections:?}\nvalues {:?}\n{}",
        case.known_process,
        case.monitors,
        case.scoped,
        made.call.process.workload,
        made.returned,
        made.call.values,
        texts.join("---\n")
    )
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Set for a process that runs its share of a test in namespaces of its own: the namespaces of the host, which it may be unable
/// to find out, as `Uts=4026531838 Ipc=…`.
const ELSEWHERE: &str = "TETRA_DIFFERENTIAL_ELSEWHERE";

fn is_elsewhere() -> bool {
    std::env::var_os(ELSEWHERE).is_some()
}

/// The namespaces of the host, where they were told.
fn host_namespaces() -> Option<BTreeMap<String, u32>> {
    let told = std::env::var(ELSEWHERE).ok()?;
    let namespaces = told.split_whitespace().map(|namespace| {
        let (name, inode) = namespace.split_once('=').expect("a namespace");
        (name.to_owned(), inode.parse().expect("an inode number"))
    });
    Some(namespaces.collect())
}

/// Whether programs can be run on calls that are made up.
fn can_run() -> bool {
    if !guard::can_load() {
        return false;
    }
    let report = kprobes::probe::report().expect("eBPF can be used");
    report
        .reason(kprobes::probe::Feature::SyscallProgram)
        .is_none_or(|reason| guard::skip(&format!("test runs need programs of type syscall: {reason}")))
}

/// What is the same for all sets of a test.
struct Run<'w> {
    world: &'w mut World,
    arena: &'static Arena,
    /// Its test.
    name: &'static str,
    seed: u64,
    coverage: Coverage,
}

impl Run<'_> {
    /// Runs a set; a failure comes with the place where the set is kept.
    fn check(&mut self, case: &Case) -> Result<(), String> {
        check(self.world, self.arena, case, &mut self.coverage).map_err(|failure| self.keep(case, &failure))
    }

    /// Writes a set that failed to a file, with the call that shows it, or all up to there if it takes them.
    fn keep(&mut self, case: &Case, failure: &Failure) -> String {
        let mut case = case.clone();
        let mut nothing = Coverage::default();
        let calls = std::mem::take(&mut case.calls);
        let upto = failure.call.map_or(0, |call| call + 1);
        case.calls = calls[upto.saturating_sub(1)..upto].to_vec();
        if check(self.world, self.arena, &case, &mut nothing).is_ok() {
            case.calls = calls[..upto].to_vec();
        }
        let text = case.render(self.name, self.seed, is_elsewhere(), &self.world.around);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential");
        let path = directory.join(format!("{}-{}.yaml", self.name, self.seed));
        let written = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, &text));
        let at = match written {
            Ok(()) => format!("kept in {}", path.display()),
            Err(error) => format!("not kept in {}: {error}", path.display()),
        };
        format!(
            "{}\n{at}; a case in kprobes/tests/differential/cases is replayed at each run:\n{text}",
            failure.reason
        )
    }

    /// Random sets that make so many pairs; what fails is shrunk.
    fn random(&mut self, pairs: usize) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        let config = Config {
            cases: pairs.div_ceil(CALLS) as u32,
            max_shrink_iters: 200,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let run = Mutex::new(&mut *self);
        let outcome = runner.run(&recipe::recipe(CALLS), |recipe| {
            let mut run = run.lock().unwrap_or_else(PoisonError::into_inner);
            let case = Case::new(&recipe, run.arena, &run.world.around);
            run.check(&case).map_err(TestCaseError::fail)
        });
        if let Err(error) = outcome {
            let text = match error {
                proptest::test_runner::TestError::Fail(reason, _) => reason.message().to_owned(),
                aborted @ proptest::test_runner::TestError::Abort(_) => aborted.to_string(),
            };
            panic!("TETRA_DIFFERENTIAL_SEED={}\n{text}", self.seed);
        }
    }

    /// Sets that must reach everything, whatever the seed.
    fn sweep(&mut self, cases: &[Case]) {
        for case in cases {
            self.check(case).unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

/// The whole of a hook: as many random sets as make the pairs, and, unless it is to be short, those that reach every operator, here
/// and in namespaces of its own.
fn differential(arena: &'static Arena, name: &'static str) {
    if !can_run() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new();
    let pairs = number_of("TETRA_DIFFERENTIAL_PAIRS").map_or(PAIRS, |pairs| pairs as usize);
    let seed = number_of("TETRA_DIFFERENTIAL_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 32 | 0x7e_74a);
    eprintln!("{}: {pairs} pairs, TETRA_DIFFERENTIAL_SEED={seed}", arena.kind());
    let around = world.around.clone();
    let mut run = Run {
        world: &mut world,
        arena,
        name,
        seed,
        coverage: Coverage::default(),
    };
    run.random(pairs);
    if is_elsewhere() {
        run.sweep(&sweep::process(arena, &around));
    } else if pairs >= PAIRS {
        run.sweep(&sweep::arguments(arena, &around));
        run.sweep(&sweep::process(arena, &around));
        let host = run.world.facts.host_namespaces.clone();
        run.coverage.add(&elsewhere(name, seed, pairs / 4, &host));
        let holes = run.coverage.holes(arena);
        assert!(
            holes.is_empty(),
            "operators that were tested from one side only:\n{}",
            holes.join("\n")
        );
    }
    let coverage = run.coverage;
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

/// Runs a test once more in a process with namespaces and capabilities of its own (all but the user namespace, in which no program
/// can be loaded), with `pairs` pairs. What it has covered.
///
/// The procfs that is mounted stays: it tells the process's numbers in the initial pid namespace.
fn elsewhere(name: &str, seed: u64, pairs: usize, host: &BTreeMap<String, u32>) -> String {
    let host: Vec<String> = host.iter().map(|(name, inode)| format!("{name}={inode}")).collect();
    let table = tempfile::NamedTempFile::new().expect("a file");
    let output = Command::new("unshare")
        .args([
            "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--time", "--fork",
        ])
        .args([
            "setpriv",
            "--bounding-set=-chown,-sys_resource",
            "--inh-caps=+net_raw,+sys_admin",
        ])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(ELSEWHERE, host.join(" "))
        .env("TETRA_DIFFERENTIAL_SEED", (seed ^ 1).to_string())
        .env("TETRA_DIFFERENTIAL_PAIRS", pairs.to_string())
        .env("TETRA_COVERAGE", table.path())
        .output()
        .expect("unshare and setpriv (Debian: util-linux)");
    assert!(
        output.status.success(),
        "in other namespaces:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read_to_string(table.path()).expect("its coverage")
}

macro_rules! hooks {
    ($($name:ident: $arena:expr;)*) => {
        $(
            #[test]
            fn $name() {
                differential(&$arena, stringify!($name));
            }
        )*

        /// The hook of a test.
        fn hook_of(test: &str) -> Option<&'static Arena> {
            match test {
                $(stringify!($name) => Some(&$arena),)*
                _ => None,
            }
        }
    };
}

hooks! {
    a_syscall_with_a_string: arena::SYSCALL_STRING;
    a_syscall_with_two_strings: arena::SYSCALL_TWO_STRINGS;
    a_syscall_with_a_socket_address: arena::SYSCALL_ADDRESS;
    a_syscall_with_a_buffer: arena::SYSCALL_BUFFER;
    a_function_with_buffers: arena::FUNCTION_BUFFERS;
    a_function_with_a_file_and_its_return: arena::FUNCTION_FILE;
    a_function_with_a_path_and_a_dentry: arena::FUNCTION_PATH;
    a_function_with_a_program_to_run: arena::FUNCTION_BINPRM;
    a_function_with_a_sock: arena::FUNCTION_SOCK;
    a_function_with_a_packet: arena::FUNCTION_SKB;
    a_function_with_a_socket_address: arena::FUNCTION_ADDRESS;
    a_function_with_strings_in_the_kernel: arena::FUNCTION_STRING;
    a_function_seen_at_its_return: arena::FUNCTION_RETURN;
    a_function_with_strings_seen_at_its_return: arena::FUNCTION_STRING_RETURN;
    a_function_whose_result_is_replaced: arena::FUNCTION_OVERRIDE;
    a_user_function: arena::USER_FUNCTION;
    a_user_function_and_its_return: arena::USER_FUNCTION_RETURN;
    a_static_probe: arena::STATIC_PROBE;
    an_lsm_hook: arena::LSM;
    a_tracepoint: arena::TRACEPOINT;
    a_tracepoint_with_a_string: arena::TRACEPOINT_STRING;
    a_raw_tracepoint: arena::RAW_TRACEPOINT;
}

/// A thousand policies on one hook are what one is, a thousand times.
#[test]
fn a_thousand_policies_on_a_hook() {
    if !can_run() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new();
    let around = world.around.clone();
    for (hook, arena) in [
        ("a_syscall_with_a_string", &arena::SYSCALL_STRING),
        ("a_function_with_a_path_and_a_dentry", &arena::FUNCTION_PATH),
        ("a_function_with_a_sock", &arena::FUNCTION_SOCK),
        ("a_function_with_a_packet", &arena::FUNCTION_SKB),
        ("a_raw_tracepoint", &arena::RAW_TRACEPOINT),
    ] {
        let mut run = Run {
            world: &mut world,
            arena,
            name: hook,
            seed: 0,
            coverage: Coverage::default(),
        };
        let case = sweep::crowd(arena, &around, 1000);
        run.check(&case).unwrap_or_else(|failure| {
            let start: String = failure.chars().take(20_000).collect();
            panic!("{start}")
        });
    }
}

/// Sets that showed defects once, in `differential/cases`. They fail if the compiler, the runtime library or the interpreter has them
/// again.
#[test]
fn cases_of_earlier_defects() {
    if !can_run() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new();
    let around = world.around.clone();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/cases");
    let entries = fs::read_dir(&directory).expect("the directory of cases");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let (mut replayed, mut failures) = (0, Vec::new());
    for path in paths {
        let text = fs::read_to_string(&path).expect("a case");
        let kept = Kept::parse(&text, &around).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let arena = hook_of(&kept.hook).unwrap_or_else(|| panic!("{}: no hook `{}`", path.display(), kept.hook));
        if kept.is_elsewhere != is_elsewhere() {
            continue;
        }
        replayed += 1;
        if let Err(failure) = check(&mut world, arena, &kept.case, &mut Coverage::default()) {
            failures.push(format!("{}:\n{}", path.display(), failure.reason));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(replayed > 0, "there are cases in {}", directory.display());
    eprintln!("{replayed} cases replayed");
    if !is_elsewhere() {
        elsewhere("cases_of_earlier_defects", 0, 0, &world.facts.host_namespaces);
    }
}
