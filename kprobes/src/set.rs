//! The set of hook programs in force, and its atomic replacement.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use policy_compiler::btf::Btf;
use policy_compiler::output::{AttachPoint, HookObject};
use tracingpolicy_crd::Diagnostic;

use crate::assembler::OVERRIDE_RETURN;
use crate::barrier::Barrier;
use crate::error::LoadError;
use crate::hook::{Generation, Hook, HookError};
use crate::kernel::kernel_btf;
use crate::link::describe;
use crate::maps::{HookFilters, SharedMaps};
use crate::pins::{self, PinDirectory};
use crate::program::{LoadedObject, LoadedProgram, ProgramKind};
use crate::rejection;
use crate::sys::{self, SysError, UpdateMode};

mod verify;

pub use verify::Verified;

/// What one hook in force consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookInfo {
    /// Where it is attached.
    pub attach: AttachPoint,
    /// The same as text: `fentry/vfs_read`.
    pub name: String,
    /// Number of the program, as `bpftool prog` shows it.
    pub program_id: u32,
    /// Number of the stub that is attached.
    pub stub_id: u32,
    /// Number of the link; `None` before 5.15 for kprobes and tracepoints, which have none there.
    pub link_id: Option<u32>,
    /// Instructions that the verifier walked.
    pub verified_instructions: u32,
    /// Bytes of kernel memory: program, stub, and the maps that only this hook uses.
    pub memlock_bytes: u64,
    /// Calls since the hook was attached, of all processes, for which the kernel ran no program.
    ///
    /// The kernel does not run a program while another task is inside the same program on the same CPU. Where programs can be
    /// preempted (fully or lazily preemptible kernels, seen on 7.3) this happens under load at trampolines and raw tracepoints.
    /// BPF LSM has no such guard, kprobes and classic tracepoints run with preemption off. It is 0 on kernels that do not count it (before 5.12, and for what a kprobe misses itself before 6.7).
    pub missed: u64,
    /// Slots of the policies in it.
    pub policy_slots: Vec<u32>,
    /// Whether it may refuse operations or send signals.
    pub enforces: bool,
    /// Tag of its object in records.
    pub tag: u32,
}

/// What [`HookSet::apply`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppliedSet {
    /// All hooks in force now, by attach point.
    pub hooks: Vec<HookInfo>,
    /// Programs that were loaded.
    pub loaded: usize,
    /// Programs that were the same as before and were kept.
    pub kept: usize,
    /// Hooks that were detached.
    pub removed: usize,
    /// Hooks that end with this process although [`HookSet::set_pins`] asked for pins: the kernel cannot pin them. They only
    /// observe; one that enforces is refused.
    pub unpinned: Vec<String>,
}

/// A loaded program of the set, with what it came from.
#[derive(Debug)]
struct Member {
    elf: Vec<u8>,
    policy_slots: Vec<u32>,
    enforces: bool,
    tag: u32,
    program: Arc<LoadedProgram>,
    kind: ProgramKind,
    memlock_bytes: u64,
}

/// The programs in force at all hooks. Dropping it detaches everything.
#[derive(Debug)]
pub struct HookSet {
    // Hooks before members: detached before programs go.
    hooks: BTreeMap<AttachPoint, Hook>,
    members: BTreeMap<AttachPoint, Member>,
    maps: SharedMaps,
    kernel: Arc<Btf>,
    generation: Generation,
    barrier: Barrier,
    /// Where hooks are pinned, if they shall outlive the process.
    pins: Option<PathBuf>,
}

impl HookSet {
    /// An empty set over the sensor's maps. There may be only one for each [`SharedMaps`].
    ///
    /// # Errors
    /// [`LoadError::Environment`] without kernel BTF, otherwise what the kernel says.
    pub fn new(maps: &SharedMaps) -> Result<Self, LoadError> {
        let generation = Generation::FIRST;
        maps.set_active(generation.number())?;
        Ok(Self {
            hooks: BTreeMap::new(),
            members: BTreeMap::new(),
            maps: maps.clone(),
            kernel: kernel_btf()?,
            generation,
            barrier: Barrier::new()?,
            pins: None,
        })
    }

    /// Replaces the whole set by these objects, at one instant for all hooks. All or nothing: after an error the old set is in
    /// force as before. Objects that are the same as before keep their loaded program.
    ///
    /// # Errors
    /// [`LoadError::Policy`] with one diagnostic for each object that cannot be loaded or attached; other variants if the
    /// machine fails.
    pub fn apply(&mut self, objects: Vec<HookObject>) -> Result<AppliedSet, LoadError> {
        let next = self.generation.next();
        let (prepared, loaded) = self.load(objects)?;
        let kept = prepared.len() - loaded;
        let filters = hook_filters(prepared.values().map(|prepared| &prepared.source));
        let filters_before = self.maps.workloads().hooks_will_be(&filters);
        let Filled { added, unpinned } = match self.fill(next, &prepared) {
            Ok(filled) => filled,
            Err(error) => {
                self.empty(next);
                self.maps.workloads().hooks_are(filters_before);
                return Err(error);
            }
        };
        if let Err(error) = self.maps.set_active(next.number()) {
            self.empty(next);
            self.maps.workloads().hooks_are(filters_before);
            return Err(error.into());
        }
        // From here on the new set is in force, whatever happens.
        let previous = self.generation;
        self.generation = next;
        self.hooks.extend(added);
        self.members = prepared
            .into_iter()
            .map(|(attach, prepared)| (attach, prepared.member))
            .collect();
        // A call that read `tetra_active` before the flip may not have made its tail call yet.
        let waited = self.barrier.wait();
        let gone: Vec<Hook> = self
            .hooks
            .extract_if(.., |attach, _| !self.members.contains_key(attach))
            .map(|(_, hook)| hook)
            .collect();
        let removed = gone.len();
        detach(gone, true);
        if waited.is_ok() {
            self.empty(previous);
            self.maps.workloads().hooks_are(filters);
        }
        Ok(AppliedSet {
            hooks: self.hooks()?,
            loaded,
            kept,
            removed,
            unpinned,
        })
    }

    /// Takes over the hooks that a process has left pinned, over the maps that it has left ([`SharedMaps::adopt`]). They stay in
    /// force as they are until the next [`HookSet::apply`], which replaces them at one instant like any other set.
    ///
    /// # Errors
    /// As [`HookSet::new`]; what `BPF_OBJ_GET` says.
    pub fn adopt(maps: &SharedMaps, directory: &PinDirectory) -> Result<Self, LoadError> {
        let generation = Generation::of_number(maps.active_number()?);
        let mut hooks: BTreeMap<AttachPoint, Hook> = BTreeMap::new();
        for path in pins::entries(directory.path())?
            .into_iter()
            .filter(|path| pins::is_hook(path))
        {
            let Some((attach, mut hook)) = Hook::adopt(&path)? else {
                pins::remove_tree(&path)?;
                continue;
            };
            // A pin that could not be removed may name a hook that has been made anew since.
            if let Some(known) = hooks.get_mut(&attach) {
                if !hook.has(generation)? {
                    hook.unpin();
                    continue;
                }
                known.unpin();
            }
            hooks.insert(attach, hook);
        }
        Ok(Self {
            hooks,
            members: BTreeMap::new(),
            maps: maps.clone(),
            kernel: kernel_btf()?,
            generation,
            barrier: Barrier::new()?,
            pins: Some(directory.path().to_owned()),
        })
    }

    /// How many hooks are attached, with those taken over.
    pub fn attached(&self) -> usize {
        self.hooks.len()
    }

    /// Pins all hooks in a directory of a bpf file system (made if it is missing), so that they stay in force when this process
    /// ends, and keeps doing so for later sets; `None` takes the pins away. What the hooks need beside themselves is pinned by
    /// [`crate::Sensor::pin`]. [`HookSet::adopt`] takes them over, [`crate::remove_pins`] ends it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` before 5.15 if there are kprobes or tracepoints among the hooks; otherwise what `BPF_OBJ_PIN` says. Then
    /// nothing is pinned.
    pub fn set_pins(&mut self, directory: Option<&Path>) -> Result<(), SysError> {
        if let Some(directory) = directory {
            pins::make(directory)?;
        }
        if self.pins.as_deref() != directory {
            self.hooks.values_mut().for_each(Hook::unpin);
        }
        self.pins = directory.map(Path::to_owned);
        let pinned = self.pin_all();
        if pinned.is_err() {
            self.hooks.values_mut().for_each(Hook::unpin);
            self.pins = None;
        }
        pinned
    }

    fn pin_all(&mut self) -> Result<(), SysError> {
        let Some(directory) = &self.pins else { return Ok(()) };
        self.hooks
            .iter_mut()
            .try_for_each(|(attach, hook)| hook.pin(attach, directory))
    }

    /// All hooks in force, by attach point.
    ///
    /// # Errors
    /// What `BPF_OBJ_GET_INFO_BY_FD` says.
    pub fn hooks(&self) -> Result<Vec<HookInfo>, SysError> {
        let mut infos = Vec::with_capacity(self.hooks.len());
        for (attach, hook) in &self.hooks {
            let Some(member) = self.members.get(attach) else {
                continue;
            };
            let program = member.program.info()?;
            let stub = hook.stub().info()?;
            let slots = sys::map_info(hook.programs().as_fd())?;
            infos.push(HookInfo {
                attach: attach.clone(),
                name: describe(attach),
                program_id: program.id,
                stub_id: stub.id,
                link_id: hook.link_id(),
                verified_instructions: member.program.verified_instructions(),
                memlock_bytes: program.memlock_bytes + stub.memlock_bytes + slots.memlock_bytes + member.memlock_bytes,
                missed: stub.missed + hook.link_missed(),
                policy_slots: member.policy_slots.clone(),
                enforces: member.enforces,
                tag: member.tag,
            });
        }
        Ok(infos)
    }

    /// Loads what is new. Collects the problems of all objects.
    fn load(&self, objects: Vec<HookObject>) -> Result<(BTreeMap<AttachPoint, Prepared>, usize), LoadError> {
        let mut prepared = BTreeMap::new();
        let mut problems: Vec<Diagnostic> = Vec::new();
        let mut loaded = 0;
        for object in objects {
            if prepared.contains_key(&object.attach) {
                return Err(LoadError::DuplicateHook {
                    name: describe(&object.attach),
                });
            }
            let known = self
                .members
                .get(&object.attach)
                .filter(|member| member.elf == object.elf);
            let (program, kind, memlock_bytes) = match known {
                Some(member) => (Arc::clone(&member.program), member.kind, member.memlock_bytes),
                None => match self.load_object(&object) {
                    Ok(new) => {
                        loaded += 1;
                        new
                    }
                    Err(LoadError::Policy(diagnostics)) => {
                        problems.extend(diagnostics);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            // Without its bytes the rest is only needed for diagnostics.
            let mut source = object;
            let member = Member {
                elf: std::mem::take(&mut source.elf),
                policy_slots: source.policy_slots.clone(),
                enforces: source.enforces,
                tag: source.tag,
                program,
                kind,
                memlock_bytes,
            };
            prepared.insert(source.attach.clone(), Prepared { member, source });
        }
        if problems.is_empty() {
            Ok((prepared, loaded))
        } else {
            Err(LoadError::Policy(problems))
        }
    }

    fn load_object(&self, object: &HookObject) -> Result<(Arc<LoadedProgram>, ProgramKind, u64), LoadError> {
        let one = |diagnostic| LoadError::Policy(vec![diagnostic]);
        let kind = ProgramKind::of(&object.attach, &self.kernel)
            .map_err(|missing| one(rejection::missing_target(object, &missing)))?;
        let name = describe(&object.attach);
        let loaded = LoadedObject::load(&name, &object.elf, &self.maps)?;
        let code = loaded.assemble(&object.section, &object.symbol, &self.kernel, &self.maps)?;
        if code.instructions.iter().any(|instruction| {
            instruction.code == 0x85 && instruction.source() == 0 && instruction.immediate == OVERRIDE_RETURN
        }) {
            return Err(one(rejection::cannot_be_swapped(object)));
        }
        let program = loaded
            .load_program(&object.symbol, kind, &code)
            .map_err(|rejected| one(rejection::rejected(object, &rejected)))?;
        Ok((Arc::new(program), kind, loaded.own_memlock_bytes()))
    }

    /// Fills the slots of the next generation at all hooks, and attaches the hooks that are new.
    fn fill(&self, next: Generation, prepared: &BTreeMap<AttachPoint, Prepared>) -> Result<Filled, LoadError> {
        for (attach, hook) in &self.hooks {
            hook.set(next, prepared.get(attach).map(|prepared| &*prepared.member.program))?;
        }
        let mut added: Vec<(AttachPoint, Hook)> = Vec::new();
        let mut unpinned = Vec::new();
        let mut problems = Vec::new();
        for (attach, Prepared { member, source }) in prepared {
            if let Some(hook) = self.hooks.get(attach) {
                // It may have only observed so far.
                if self.pins.is_some() && !hook.is_pinned() && member.enforces {
                    problems.push(rejection::not_pinned(source));
                }
                continue;
            }
            match Hook::attach(attach, member.kind, self.maps.active(), next, &member.program) {
                Ok(mut hook) => {
                    let pinned = self
                        .pins
                        .as_deref()
                        .map_or(Ok(()), |directory| hook.pin(attach, directory));
                    match pinned {
                        Err(error) if error.errno == libc::EOPNOTSUPP && !member.enforces => {
                            unpinned.push(describe(attach));
                        }
                        Err(error) if error.errno == libc::EOPNOTSUPP => problems.push(rejection::not_pinned(source)),
                        Err(error) => problems.push(rejection::not_attached(source, &error, "")),
                        Ok(()) => {}
                    }
                    added.push((attach.clone(), hook));
                }
                Err(HookError::Sys(error)) => problems.push(rejection::not_attached(source, &error, "")),
                Err(HookError::Stub(rejected)) => {
                    problems.push(rejection::not_attached(source, &rejected.error, &rejected.log));
                }
            }
        }
        if problems.is_empty() {
            return Ok(Filled { added, unpinned });
        }
        for (_, hook) in &mut added {
            hook.unpin();
        }
        Err(LoadError::Policy(problems))
    }

    /// Empties a generation that is not active.
    fn empty(&self, generation: Generation) {
        for hook in self.hooks.values() {
            // The slot is overwritten before it is used again; until then it only keeps a program alive.
            drop(hook.set(generation, None));
        }
    }
}

impl Drop for HookSet {
    fn drop(&mut self) {
        detach(std::mem::take(&mut self.hooks).into_values().collect(), false);
    }
}

/// Which hooks each policy is on.
fn hook_filters<'o>(objects: impl Iterator<Item = &'o HookObject>) -> HookFilters {
    let mut filters = HookFilters::new();
    for object in objects {
        for slot in &object.policy_slots {
            filters.entry(*slot).or_default().add(object.hook_bit);
        }
    }
    filters
}

/// Detaches hooks. Each takes one or more grace periods of the kernel, some 100 ms on a busy machine, so they wait together.
fn detach(hooks: Vec<Hook>, unpin: bool) {
    const THREADS: usize = 16;
    let take_away = |hooks: Vec<Hook>| {
        for mut hook in hooks {
            if unpin {
                hook.unpin();
            }
        }
    };
    if hooks.len() < 2 {
        return take_away(hooks);
    }
    let mut shares: Vec<Vec<Hook>> = Vec::new();
    shares.resize_with(THREADS.min(hooks.len()), Vec::new);
    let count = shares.len();
    for (index, hook) in hooks.into_iter().enumerate() {
        shares[index % count].push(hook);
    }
    thread::scope(|scope| {
        for share in shares {
            scope.spawn(|| take_away(share));
        }
    });
}

/// A loaded program that is not in force yet.
struct Prepared {
    member: Member,
    /// The object without its bytes.
    source: HookObject,
}

/// What was done for the next generation.
struct Filled {
    /// Hooks attached for it.
    added: Vec<(AttachPoint, Hook)>,
    /// Those that should be pinned and cannot be.
    unpinned: Vec<String>,
}

impl SharedMaps {
    /// Which generation is in force.
    fn active_number(&self) -> Result<u32, SysError> {
        let mut number = [0; 4];
        self.active().lookup_into(&0u32.to_ne_bytes(), &mut number)?;
        Ok(u32::from_ne_bytes(number))
    }

    /// Puts a generation into force, at all hooks at once.
    fn set_active(&self, generation: u32) -> Result<(), SysError> {
        self.active()
            .update(&0u32.to_ne_bytes(), &generation.to_ne_bytes(), UpdateMode::Any)
            .map(|_| ())
    }
}
