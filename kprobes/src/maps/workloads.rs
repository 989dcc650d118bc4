//! Stage 2: which policies apply to the processes of a cgroup. The maps are described in `ebpf/c/record.h`.
//!
//! What programs may still read is not written: a workload changes by one store of the number of a set that nobody has used for
//! a grace period. So a program sees all of a change or nothing of it, and no change waits for programs unless there are more
//! of them than spare sets.
//!
//! All state is in the maps. Whoever takes them over ([`super::SharedMaps::adopt`]) reads it from there: an element of
//! `tetra_workloads` is made last and removed first, so whatever is not reached from it is free.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ebpf::maps;
use ebpf::record::{self, WORKLOAD_ALL, WORKLOAD_NONE, WORKLOADS_RESERVED};

use crate::barrier::Barrier;
use crate::cgroup::CgroupHierarchy;
use crate::kernel::kernel_btf;
use crate::sys::{Map, SysError, UpdateMode, WordMapping};

/// Most workloads there can be: an element of the cache has 16 bits for one.
pub(super) const MOST: u32 = 65_000;
/// Sets beyond one for each workload: changes that can be made at once without waiting for programs.
pub(super) const SPARE_SETS: u32 = 64;
/// What is written by single stores instead of map commands.
pub(super) const MAPPED: [&str; 4] = [
    maps::CGROUP_CACHE.name,
    maps::CGROUP_VIEW.name,
    maps::WORKLOAD_SETS.name,
    maps::POLICY_SETS.name,
];

/// Last number of an epoch, which has 16 bits in an element of the cache.
const LAST_EPOCH: u64 = 0xffff;

/// Number of a cgroup, as `bpf_get_current_cgroup_id` gives it: the inode number of its directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CgroupId(pub u64);

/// Number of a workload: index in `tetra_workload_sets`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Workload(u32);

/// Number of a set of policies: index in `tetra_policy_sets`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct SetNumber(u32);

/// Numbers that are not in force.
#[derive(Debug)]
struct Pool<T> {
    /// No program can know them.
    free: Vec<T>,
    /// A program that runs may have found them when they were in force.
    resting: Vec<T>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            free: Vec::new(),
            resting: Vec::new(),
        }
    }
}

impl<T> Pool<T> {
    /// All programs that ran when the last one went out of force have ended.
    fn rested(&mut self) {
        self.free.append(&mut self.resting);
    }
}

/// Bytes of a set of policies.
pub(super) fn set_bytes(slots: u32) -> u32 {
    (FILTER_WORDS as u32 + slots.max(1).div_ceil(64)) * 8
}

/// Words of a set before those of its slots.
const FILTER_WORDS: usize = offset_of!(record::PolicySet, slots) / 8;

/// Hooks, as sets of policies name them: one bit for each, several may share one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct HookFilter([u64; FILTER_WORDS]);

impl HookFilter {
    const ALL: Self = Self([u64::MAX; FILTER_WORDS]);

    /// Adds the hook with this bit ([`policy_compiler::output::HookObject::hook_bit`]).
    pub(crate) fn add(&mut self, bit: u32) {
        let bit = bit as usize % (FILTER_WORDS * 64);
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn join(&mut self, other: Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }
}

/// The hooks of each policy, by slot.
pub(crate) type HookFilters = BTreeMap<u32, HookFilter>;

/// What the maps hold, and what in them is free.
#[derive(Debug)]
pub(super) struct Workloads {
    view: WordMapping,
    cache: WordMapping,
    /// By workload.
    sets: WordMapping,
    /// The sets, one after the other.
    policies: WordMapping,
    /// Of one set.
    words: usize,
    /// Hooks of the policies in force. A slot that is not here may be on any hook.
    hooks: HookFilters,
    assigned: BTreeMap<CgroupId, Workload>,
    numbers: Pool<Workload>,
    set_numbers: Pool<SetNumber>,
    barrier: Barrier,
}

impl Workloads {
    /// What the maps hold, be they new or taken over. Nothing is kept in force but what is assigned.
    pub(super) fn new(all: &BTreeMap<&'static str, Map>, hierarchy: CgroupHierarchy) -> Result<Self, SysError> {
        let mapped = |name: &str| {
            let map = &all[name];
            let shape = map.shape();
            // The kernel rounds elements up to words.
            let words = shape.max_entries as usize * shape.value_size.div_ceil(8) as usize;
            WordMapping::new(map.as_fd(), words, name)
        };
        let policy_sets = all[maps::POLICY_SETS.name].shape();
        let mut workloads = Self {
            view: mapped(maps::CGROUP_VIEW.name)?,
            cache: mapped(maps::CGROUP_CACHE.name)?,
            sets: mapped(maps::WORKLOAD_SETS.name)?,
            policies: mapped(maps::POLICY_SETS.name)?,
            words: policy_sets.value_size.div_ceil(8) as usize,
            hooks: HookFilters::new(),
            assigned: BTreeMap::new(),
            numbers: Pool::default(),
            set_numbers: Pool::default(),
            barrier: Barrier::new()?,
        };
        let controller = number_of(hierarchy)?;
        let epoch = workloads.view.word(0).load(Ordering::Relaxed) & LAST_EPOCH;
        workloads
            .view
            .word(0)
            .store(u64::from(controller) << 32 | epoch, Ordering::Relaxed);
        for workload in [WORKLOAD_NONE, WORKLOAD_ALL] {
            let word = if workload == WORKLOAD_ALL { u64::MAX } else { 0 };
            workloads.write(SetNumber(workload), &vec![word; workloads.words]);
            workloads.put(Workload(workload), SetNumber(workload));
        }
        workloads.read(&all[maps::WORKLOADS.name])?;
        let used: BTreeSet<Workload> = workloads.assigned.values().copied().collect();
        let used_sets: BTreeSet<SetNumber> = used.iter().map(|workload| workloads.set_of(*workload)).collect();
        // a program may have found what is free now just before
        workloads.numbers.resting = (WORKLOADS_RESERVED..workloads.sets.len() as u32)
            .map(Workload)
            .filter(|workload| !used.contains(workload))
            .collect();
        workloads.set_numbers.resting = (WORKLOADS_RESERVED..policy_sets.max_entries)
            .map(SetNumber)
            .filter(|set| !used_sets.contains(set))
            .collect();
        // whoever was here before may have ended between an assignment and this
        workloads.next_epoch();
        workloads.rest()?;
        Ok(workloads)
    }

    /// What is assigned according to the map.
    fn read(&mut self, map: &Map) -> Result<(), SysError> {
        let mut key: Option<Vec<u8>> = None;
        while let Some(next) = map.next_key(key.as_deref())? {
            let mut workload = [0; 4];
            map.lookup_into(&next, &mut workload)?;
            let id = u64::from_ne_bytes(next.as_slice().try_into().expect("keys of 8 bytes"));
            self.assigned
                .insert(CgroupId(id), Workload(u32::from_ne_bytes(workload)));
            key = Some(next);
        }
        Ok(())
    }

    /// The set that is in force for a workload.
    fn set_of(&self, workload: Workload) -> SetNumber {
        SetNumber(self.sets.word(workload.0 as usize).load(Ordering::Relaxed) as u32)
    }

    /// Puts a set into force for a workload.
    fn put(&self, workload: Workload, set: SetNumber) {
        // Pairs with the load of the number in tetra_policies: what stands in the set is there before.
        self.sets
            .word(workload.0 as usize)
            .store(u64::from(set.0), Ordering::Release);
    }

    fn write(&self, set: SetNumber, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.policies
                .word(set.0 as usize * self.words + index)
                .store(*word, Ordering::Relaxed);
        }
    }

    /// The word of a set that a slot is in, and its bit.
    fn slot(&self, set: SetNumber, slot: u32) -> (&AtomicU64, u64) {
        let index = set.0 as usize * self.words + FILTER_WORDS + slot as usize / 64;
        (self.policies.word(index), 1 << (slot % 64))
    }

    fn slots(&self, set: SetNumber) -> BTreeSet<u32> {
        let mut slots = BTreeSet::new();
        for first in (0..self.capacity()).step_by(64) {
            let mut bits = self.slot(set, first).0.load(Ordering::Relaxed);
            while bits != 0 {
                slots.insert(first + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        slots
    }

    /// Slots that a set can hold.
    fn capacity(&self) -> u32 {
        (self.words - FILTER_WORDS) as u32 * 64
    }

    /// The hooks that have any of these policies, or may have.
    fn filter(&self, slots: impl IntoIterator<Item = u32>) -> HookFilter {
        let mut filter = HookFilter::default();
        for slot in slots {
            filter.join(self.hooks.get(&slot).copied().unwrap_or(HookFilter::ALL));
        }
        filter
    }

    /// Brings the hooks of a set's policies into it.
    fn write_filter(&self, set: SetNumber, change: impl Fn(&AtomicU64, u64)) {
        let HookFilter(filter) = self.filter(self.slots(set));
        for (index, word) in filter.into_iter().enumerate() {
            change(self.policies.word(set.0 as usize * self.words + index), word);
        }
    }

    /// As [`Self::write_filter`], for all sets in force.
    fn write_filters(&self, change: impl Fn(&AtomicU64, u64)) {
        for workload in self.assigned.values() {
            self.write_filter(self.set_of(*workload), &change);
        }
    }

    /// Makes what programs have kept about cgroups invalid, after `tetra_workloads` has changed.
    fn next_epoch(&self) {
        // The upper half says which hierarchy counts.
        let view = self.view.word(0).load(Ordering::Relaxed);
        let (others, epoch) = (view & !LAST_EPOCH, view & LAST_EPOCH);
        // Pairs with the load of the epoch in find_workload: who sees it sees the change.
        let store = |epoch: u64| self.view.word(0).store(others | epoch, Ordering::Release);
        if epoch != 0 && epoch != LAST_EPOCH {
            return store(epoch + 1);
        }
        // All numbers have been used: what is kept under them goes before they are used again.
        store(0);
        if self.barrier.wait().is_err() {
            // Nothing is kept until the next change: that takes longer and is as right.
            return;
        }
        for index in 0..self.cache.len() {
            self.cache.word(index).store(0, Ordering::Relaxed);
        }
        store(1);
    }

    /// Waits until what is no longer in force is not used either.
    fn rest(&mut self) -> Result<(), SysError> {
        self.barrier.wait()?;
        self.numbers.rested();
        self.set_numbers.rested();
        Ok(())
    }

    fn free_set(&mut self) -> Result<SetNumber, SysError> {
        if self.set_numbers.free.is_empty() {
            self.rest()?;
        }
        // there are more sets than workloads
        Ok(self.set_numbers.free.pop().expect("a set for each workload and more"))
    }

    /// The number of a cgroup that gets one now; `set` is in force as soon as the kernel knows of it.
    fn assign_new(&mut self, map: &Map, cgroup: CgroupId, set: SetNumber) -> Result<(), SysError> {
        // An element that was removed is used again at once, and a program may still look at it.
        if !self.numbers.resting.is_empty() {
            self.rest()?;
        }
        let Some(workload) = self.numbers.free.pop() else {
            return Err(SysError {
                syscall: "bpf(BPF_MAP_UPDATE_ELEM)",
                object: format!("{}, cgroup {}", map.name(), cgroup.0),
                errno: libc::E2BIG,
                hint: Some("there are as many workloads as the table can hold"),
            });
        };
        self.put(workload, set);
        let inserted = map.update(&cgroup.0.to_ne_bytes(), &workload.0.to_ne_bytes(), UpdateMode::Any);
        if let Err(error) = inserted {
            self.numbers.free.push(workload);
            return Err(error);
        }
        self.assigned.insert(cgroup, workload);
        self.next_epoch();
        Ok(())
    }
}

/// A hierarchy as programs are told.
fn number_of(hierarchy: CgroupHierarchy) -> Result<u32, SysError> {
    let unsupported = || SysError {
        syscall: "bpf(BPF_MAP_UPDATE_ELEM)",
        object: format!("cgroup hierarchy {hierarchy:?}"),
        errno: libc::EOPNOTSUPP,
        hint: Some("this kernel has no such cgroup controller"),
    };
    if hierarchy == CgroupHierarchy::Unified {
        return Ok(0);
    }
    let kernel = kernel_btf().map_err(|_| unsupported())?;
    hierarchy.number(&kernel).ok_or_else(unsupported)
}

/// Access to the kernel's table of workloads: which policies apply to the processes of a cgroup, and of those below it that are not
/// in the table themselves.
///
/// Only policies that are compiled for workloads ([`policy_compiler::Scope::Workloads`]) ask for it; the others apply to all
/// processes. Every change is seen by the next call of a process; a call sees all of it or nothing.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadTable<'a> {
    map: &'a Map,
    state: &'a Mutex<Workloads>,
}

impl<'a> WorkloadTable<'a> {
    pub(super) fn new(map: &'a Map, state: &'a Mutex<Workloads>) -> Self {
        Self { map, state }
    }

    /// Says which policies, by slot, apply to a cgroup, instead of those that did. With none, the cgroup is a workload of its own
    /// all the same, to which the policies of those above it do not apply.
    ///
    /// # Errors
    /// `E2BIG` for a slot beyond the end or if the table is full; otherwise what the map commands say. Then nothing has changed.
    pub fn assign(&self, cgroup: CgroupId, slots: impl IntoIterator<Item = u32>) -> Result<(), SysError> {
        let mut state = self.lock();
        let slots: BTreeSet<u32> = slots.into_iter().collect();
        if let Some(slot) = slots.last().filter(|slot| **slot >= state.capacity()) {
            return Err(SysError {
                syscall: "bpf(BPF_MAP_UPDATE_ELEM)",
                object: format!("{}, policy slot {slot}", maps::POLICY_SETS.name),
                errno: libc::E2BIG,
                hint: None,
            });
        }
        let mut words = state.filter(slots.iter().copied()).0.to_vec();
        words.resize(state.words, 0);
        for slot in slots {
            words[FILTER_WORDS + slot as usize / 64] |= 1 << (slot % 64);
        }
        let set = state.free_set()?;
        state.write(set, &words);
        match state.assigned.get(&cgroup).copied() {
            Some(workload) => {
                let before = state.set_of(workload);
                state.put(workload, set);
                state.set_numbers.resting.push(before);
                Ok(())
            }
            None => state
                .assign_new(self.map, cgroup, set)
                .inspect_err(|_| state.set_numbers.free.push(set)),
        }
    }

    /// Takes cgroups out of the table; those above them count for them from now on. Those that are not in it are left out.
    ///
    /// Waits for programs that run, once for all of them.
    ///
    /// # Errors
    /// What the map commands say.
    pub fn remove(&self, cgroups: impl IntoIterator<Item = CgroupId>) -> Result<(), SysError> {
        let mut state = self.lock();
        let mut removed = Ok(());
        for cgroup in cgroups {
            let Some(workload) = state.assigned.get(&cgroup).copied() else {
                continue;
            };
            removed = self.map.delete(&cgroup.0.to_ne_bytes()).map(drop);
            if removed.is_err() {
                break;
            }
            state.assigned.remove(&cgroup);
            state.numbers.resting.push(workload);
            let set = state.set_of(workload);
            state.set_numbers.resting.push(set);
        }
        if state.numbers.resting.is_empty() {
            return removed;
        }
        state.next_epoch();
        state.rest()?;
        removed
    }

    /// All cgroups in the table, with the slots of their policies.
    pub fn all(&self) -> BTreeMap<CgroupId, BTreeSet<u32>> {
        let state = self.lock();
        let of = |workload: &Workload| state.slots(state.set_of(*workload));
        state
            .assigned
            .iter()
            .map(|(cgroup, workload)| (*cgroup, of(workload)))
            .collect()
    }

    /// Takes a policy slot from all cgroups. To be called when no program tests it any more, or not yet: before it is given to
    /// another policy.
    pub fn clear_slot(&self, slot: u32) {
        let state = self.lock();
        if slot >= state.capacity() {
            return;
        }
        for workload in state.assigned.values() {
            let set = state.set_of(*workload);
            let (word, bit) = state.slot(set, slot);
            if word.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {
                state.write_filter(set, |word, filter| word.store(filter, Ordering::Relaxed));
            }
        }
    }

    /// Makes sure that programs which will be in force soon are asked for their policies, beside those in force now. Returns what
    /// was known before, for [`WorkloadTable::hooks_are`] if nothing comes of it.
    pub(crate) fn hooks_will_be(&self, next: &HookFilters) -> HookFilters {
        let mut state = self.lock();
        let before = state.hooks.clone();
        // a slot that is not known may be on any hook now, and stays so
        for (slot, filter) in next {
            if let Some(known) = state.hooks.get_mut(slot) {
                known.join(*filter);
            }
        }
        state.write_filters(|word, more| {
            word.fetch_or(more, Ordering::Relaxed);
        });
        before
    }

    /// From now on the programs in force are on these hooks, and no others run any more.
    pub(crate) fn hooks_are(&self, hooks: HookFilters) {
        let mut state = self.lock();
        state.hooks = hooks;
        state.write_filters(|word, filter| word.store(filter, Ordering::Relaxed));
    }

    /// How many cgroups it can hold.
    pub fn capacity(&self) -> u32 {
        self.map.shape().max_entries
    }

    fn lock(&self) -> MutexGuard<'_, Workloads> {
        // every change leaves the maps in order at each step
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SensorOptions, SharedMaps};
    use super::*;

    /// Maps of 100 slots; `None` where maps cannot be made.
    fn maps() -> Option<SharedMaps> {
        let options = SensorOptions {
            policies: 100,
            workloads: 8,
            ring_bytes: 1 << 16,
            enforcement_ring_bytes: 1 << 16,
            ..SensorOptions::default()
        };
        crate::kernel::check_environment()
            .is_ok()
            .then(|| SharedMaps::create(&options).expect("maps"))
    }

    /// The hooks that the set of a cgroup names.
    fn hooks_of(maps: &SharedMaps, cgroup: CgroupId) -> HookFilter {
        let state = maps.0.workloads.lock().expect("nobody panicked");
        let set = state.set_of(state.assigned[&cgroup]).0 as usize * state.words;
        let mut filter = HookFilter::default();
        for (index, word) in filter.0.iter_mut().enumerate() {
            *word = state.policies.word(set + index).load(Ordering::Relaxed);
        }
        filter
    }

    fn filter(bits: &[u32]) -> HookFilter {
        let mut filter = HookFilter::default();
        for bit in bits {
            filter.add(*bit);
        }
        filter
    }

    #[test]
    fn epochs_begin_again_with_an_empty_cache() {
        let Some(maps) = maps() else { return };
        let table = maps.workloads();
        let set = |epoch: u64| {
            let state = table.lock();
            state.view.word(0).store(5 << 32 | epoch, Ordering::Relaxed);
            for index in 0..state.cache.len() {
                state.cache.word(index).store(7 << 32 | 3 << 16 | 4, Ordering::Relaxed);
            }
        };
        let view = || table.lock().view.word(0).load(Ordering::Relaxed);
        let cached = || {
            let state = table.lock();
            (0..state.cache.len())
                .filter(|index| state.cache.word(*index).load(Ordering::Relaxed) != 0)
                .count()
        };
        set(LAST_EPOCH - 1);
        table.assign(CgroupId(10), [1]).expect("there is room");
        assert_eq!(view(), 5 << 32 | LAST_EPOCH);
        assert_ne!(cached(), 0, "what is kept under other numbers does not count");
        table.assign(CgroupId(11), [1]).expect("there is room");
        assert_eq!((view(), cached()), (5 << 32 | 1, 0));
        table.assign(CgroupId(11), [2]).expect("it is there");
        assert_eq!(view(), 5 << 32 | 1, "only cgroups that come or go change what is kept");
    }

    #[test]
    fn a_set_names_the_hooks_of_its_policies() {
        let Some(maps) = maps() else { return };
        let table = maps.workloads();
        let cgroup = CgroupId(10);
        table.assign(cgroup, [1, 70]).expect("there is room");
        assert_eq!(hooks_of(&maps, cgroup), HookFilter::ALL, "nothing is known of them");
        let one = HookFilters::from([(1, filter(&[3])), (2, filter(&[4]))]);
        drop(table.hooks_will_be(&one));
        assert_eq!(hooks_of(&maps, cgroup), HookFilter::ALL, "nor of those before");
        let both = HookFilters::from([(1, filter(&[3])), (2, filter(&[4])), (70, filter(&[255]))]);
        table.hooks_are(both.clone());
        assert_eq!(hooks_of(&maps, cgroup), filter(&[3, 255]));
        // in between there are programs of both kinds
        let moved = HookFilters::from([(1, filter(&[100])), (70, filter(&[255]))]);
        let before = table.hooks_will_be(&moved);
        assert_eq!(before, both);
        assert_eq!(hooks_of(&maps, cgroup), filter(&[3, 100, 255]));
        table.assign(cgroup, [1, 2]).expect("it is there");
        assert_eq!(hooks_of(&maps, cgroup), filter(&[3, 4, 100]));
        // nothing came of it
        table.hooks_are(before);
        assert_eq!(hooks_of(&maps, cgroup), filter(&[3, 4]));
        table.clear_slot(2);
        assert_eq!(hooks_of(&maps, cgroup), filter(&[3]));
        assert_eq!(table.all(), BTreeMap::from([(cgroup, [1].into())]));
    }
}
