//! The table proper: entries, reference counts, delayed deletion.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::args::join_arguments;
use super::container::container_id;
use super::{ArgumentChunks, Credentials, Image, ImageFlags, Process, ProcessKey};
use crate::event::{BinaryProperties, Event, EventBody};
use crate::record::{CloneRecord, DataRecord, ExecRecord, ExitRecord, flag};
use crate::text::{join_path, to_text};
use crate::time::KernelTime;

/// Bounds and habits of a [`ProcessTable`].
#[derive(Clone, Debug)]
pub struct TableConfig {
    /// Most entries at any time.
    pub capacity: usize,
    /// Most exited entries kept for latecomers; the oldest goes first.
    pub max_exited: usize,
    /// Time between two garbage-collection ticks; an exited process is known for one to two of them.
    pub gc_interval: Duration,
    /// Keep exited ancestors as long as a descendant lives, and list them in events.
    pub ancestors: bool,
    /// Most execs whose argument chunks may wait for their exec record.
    pub data_cache_size: usize,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            capacity: 65_536,
            max_exited: 8_192,
            gc_interval: Duration::from_secs(30),
            ancestors: false,
            data_cache_size: 1024,
        }
    }
}

/// Counts of a [`ProcessTable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableStats {
    /// Entries now.
    pub entries: usize,
    /// Of these, exited and waiting for deletion.
    pub exited: usize,
    /// Entries dropped because the table was full.
    pub evictions: u64,
    /// Exited entries dropped before their time because too many waited.
    pub early_deletions: u64,
    /// Records about a process that the table did not know.
    pub misses: u64,
    /// Execs whose arguments are incomplete because chunks were lost.
    pub lost_arguments: u64,
    /// Argument blocks dropped because their exec never came.
    pub orphaned_arguments: u64,
}

/// Longest chain of ancestors an event lists.
const MAX_ANCESTORS: usize = 64;
/// Exits of processes that the table did not know yet, remembered so that a late clone or exec makes no eternal entry.
const MAX_TOMBSTONES: usize = 1024;

/// See [the module](super).
#[derive(Debug)]
pub struct ProcessTable {
    config: TableConfig,
    entries: FxHashMap<ProcessKey, Entry>,
    /// The newest entry of each thread group, for records that don't know when their process began.
    newest: FxHashMap<u32, KernelTime>,
    /// Keys by age of entry, for eviction; may name entries that are gone.
    age: VecDeque<ProcessKey>,
    /// Entries whose count became zero, with the tick at which it did; may name entries that are gone or back.
    unreferenced: VecDeque<(u64, ProcessKey)>,
    exited: usize,
    tombstones: FxHashSet<ProcessKey>,
    tombstone_order: VecDeque<ProcessKey>,
    chunks: ArgumentChunks,
    tick: u64,
    next_tick: KernelTime,
    stats: TableStats,
}

#[derive(Debug)]
struct Entry {
    process: Arc<Process>,
    /// One for being alive, one for each entry that holds it as its parent.
    references: u32,
    alive: bool,
    /// Whether the entry counts in its parent's `references`.
    holds_parent: bool,
    /// Tick at which `references` became zero.
    zero_since: Option<u64>,
}

impl ProcessTable {
    /// Makes a table that holds only the kernel's pseudo process.
    pub fn new(config: TableConfig) -> Self {
        let chunks = ArgumentChunks::new(config.data_cache_size, 8 << 20);
        let mut table = Self {
            config,
            entries: FxHashMap::default(),
            newest: FxHashMap::default(),
            age: VecDeque::new(),
            unreferenced: VecDeque::new(),
            exited: 0,
            tombstones: FxHashSet::default(),
            tombstone_order: VecDeque::new(),
            chunks,
            tick: 0,
            next_tick: KernelTime(0),
            stats: TableStats::default(),
        };
        table.insert(Process::kernel());
        table
    }

    /// Counts now.
    pub fn stats(&self) -> TableStats {
        TableStats {
            entries: self.entries.len(),
            exited: self.exited,
            orphaned_arguments: self.chunks.evicted(),
            ..self.stats
        }
    }

    /// The process a key names.
    pub fn get(&self, key: ProcessKey) -> Option<&Arc<Process>> {
        self.entries.get(&key).map(|entry| &entry.process)
    }

    /// The newest entry of a thread group.
    pub fn newest_of(&self, tgid: u32) -> Option<ProcessKey> {
        self.newest.get(&tgid).map(|&start| ProcessKey { tgid, start })
    }

    /// A parent as a record names it: without a start time if the kernel side did not know it.
    fn parent_key(&self, tgid: u32, start: u64) -> ProcessKey {
        match self.newest_of(tgid) {
            Some(key) if start == 0 => key,
            _ => ProcessKey::new(tgid, start),
        }
    }

    /// References to an entry; 0 if there is none.
    pub fn references(&self, key: ProcessKey) -> u32 {
        self.entries.get(&key).map_or(0, |entry| entry.references)
    }

    /// The parent of a process, if known and not the process itself.
    pub fn parent_of(&self, process: &Process) -> Option<Arc<Process>> {
        if process.is_unknown() {
            None
        } else {
            self.get(process.parent).cloned()
        }
    }

    /// Ancestors beyond the parent, nearest first, down to pid 1 or 2; empty unless configured.
    pub fn ancestors_of(&self, process: &Process) -> Vec<Arc<Process>> {
        let mut ancestors = Vec::new();
        if !self.config.ancestors || process.key.tgid <= 2 {
            return ancestors;
        }
        let mut current = self.get(process.parent);
        while let Some(parent) = current {
            if parent.key.tgid <= 2 || ancestors.len() == MAX_ANCESTORS {
                break;
            }
            current = self.get(parent.parent);
            if let Some(next) = current {
                ancestors.push(Arc::clone(next));
            }
        }
        ancestors
    }

    /// All processes, in the order of their keys.
    pub fn processes(&self) -> Vec<(Arc<Process>, u32, bool)> {
        let mut all: Vec<_> = self
            .entries
            .values()
            .map(|e| (Arc::clone(&e.process), e.references, e.alive))
            .collect();
        all.sort_by_key(|(process, ..)| process.key);
        all
    }

    // === records ===

    /// Keeps a chunk of arguments for the exec it belongs to.
    pub fn data(&mut self, record: &DataRecord<'_>) {
        self.chunks.push(
            ProcessKey::new(record.tgid, record.exec_start.0),
            record.offset,
            record.bytes,
        );
    }

    /// A process forked: it runs its parent's image until it executes its own.
    pub fn clone_process(&mut self, record: &CloneRecord) {
        let key = ProcessKey::new(record.tgid, record.start.0);
        if self.tombstones.contains(&key) || self.entries.contains_key(&key) {
            return;
        }
        let parent_key = self.parent_key(record.parent_tgid, record.parent_start);
        let in_init_tree = record.process_flags & flag::PROCESS_IN_INIT_TREE != 0;
        let mut flags = ImageFlags::EXECVE | ImageFlags::FORKED;
        flags.set_if(in_init_tree, ImageFlags::IN_INIT_TREE);
        let image = if let Some(parent) = self.get(parent_key) {
            Arc::clone(&parent.image)
        } else {
            self.stats.misses += 1;
            flags = flags | ImageFlags::MISS;
            Arc::new(Image {
                auid: u32::MAX,
                ..Image::default()
            })
        };
        self.insert(Process {
            key,
            parent: parent_key,
            nspid: record.nspid,
            flags,
            in_init_tree,
            image,
        });
    }

    /// A process executed an image.
    pub fn exec(&mut self, record: &ExecRecord<'_>) -> Event {
        let key = ProcessKey::new(record.tgid, record.start.0);
        let old = (record.old_start != 0).then(|| ProcessKey::new(record.tgid, record.old_start));
        // The first image after a fork has the forking process as its parent, a later one the image before it.
        let first = match old.and_then(|old| self.entries.get(&old)) {
            Some(entry) => entry.process.flags.contains(ImageFlags::FORKED),
            None => old.is_none() || !record.was_executed(),
        };
        let cloned = record.process_flags & flag::PROCESS_CLONED != 0;
        let parent_key = match old {
            Some(old) if !first => old,
            _ => self.parent_key(record.parent_tgid, record.parent_start),
        };

        let (process, properties) = self.build(record, key, parent_key, first && cloned);
        if let Some(old) = old {
            self.release(old);
        }
        if self.tombstones.contains(&key) {
            // Its exit came first: known for latecomers, but not alive.
            self.insert(process);
            self.release(key);
        } else {
            self.insert(process);
        }
        let process = self.get(key).map_or_else(|| Arc::new(Process::kernel()), Arc::clone);
        let parent = self.parent_of(&process);
        Event {
            time: key.start,
            tid: key.tgid,
            references: None,
            ancestors: self.ancestors_of(&process),
            parent,
            process,
            body: EventBody::Exec(properties),
        }
    }

    /// The last thread of a process ended.
    pub fn exit(&mut self, record: &ExitRecord) -> Event {
        let key = ProcessKey::new(record.tgid, record.start.0);
        let known = self.get(key).cloned();
        let process = if let Some(process) = known {
            process
        } else {
            self.stats.misses += 1;
            self.entomb(key);
            Arc::new(Process::unknown(key))
        };
        let event = Event {
            time: record.time,
            tid: record.tgid,
            references: None,
            parent: self.parent_of(&process),
            ancestors: self.ancestors_of(&process),
            process,
            body: EventBody::Exit { code: record.exit_code },
        };
        self.release(key);
        event
    }

    /// Adds a process found in `/proc`, unless the sensor has reported it already. `None`: it has.
    pub fn insert_scanned(&mut self, process: Process) -> Option<Event> {
        if self.entries.contains_key(&process.key) && process.key != ProcessKey::KERNEL {
            return None;
        }
        let key = process.key;
        self.insert(process);
        let process = Arc::clone(self.get(key)?);
        Some(Event {
            time: key.start,
            tid: key.tgid,
            references: None,
            parent: self.parent_of(&process),
            ancestors: self.ancestors_of(&process),
            process,
            body: EventBody::Exec(BinaryProperties::default()),
        })
    }

    // === time ===

    /// When [`ProcessTable::collect`] wants to be called next.
    pub fn next_tick(&self) -> KernelTime {
        self.next_tick
    }

    /// Ticks if it is time: entries that nothing has referred to for two ticks go. Returns whether it ticked.
    pub fn collect(&mut self, now: KernelTime) -> bool {
        if now < self.next_tick {
            return false;
        }
        self.next_tick = now.after(self.config.gc_interval);
        self.tick += 1;
        while let Some(&(since, key)) = self.unreferenced.front() {
            if since + 2 > self.tick {
                break;
            }
            self.unreferenced.pop_front();
            if self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.zero_since == Some(since))
            {
                self.remove(key);
            }
        }
        if self.age.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.age.retain(|key| entries.contains_key(key));
            self.age.shrink_to_fit();
        }
        if self.entries.capacity() > 4 * self.entries.len() + 1024 {
            self.entries.shrink_to(2 * self.entries.len());
            self.newest.shrink_to(2 * self.newest.len());
            self.unreferenced.shrink_to_fit();
        }
        true
    }

    /// Releases processes that ended without a record reaching us, and says which. `alive` says whether a thread group exists;
    /// it is asked only about entries that began before `before`.
    pub fn reconcile(&mut self, before: KernelTime, mut alive: impl FnMut(u32) -> bool) -> Vec<ProcessKey> {
        let mut suspects: Vec<ProcessKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| entry.alive && key.start < before && **key != ProcessKey::KERNEL)
            .map(|(key, _)| *key)
            .collect();
        suspects.sort_unstable();
        let superseded = |key: &ProcessKey| self.newest_of(key.tgid) != Some(*key);
        suspects.retain(|key| superseded(key) || !alive(key.tgid));
        for key in &suspects {
            self.release(*key);
        }
        suspects
    }

    // === entries ===

    fn build(
        &mut self,
        record: &ExecRecord<'_>,
        key: ProcessKey,
        parent: ProcessKey,
        clone: bool,
    ) -> (Process, BinaryProperties) {
        let bits = record.exec_flags;
        let has = |bit: u32| bits & bit != 0;
        let (arguments, complete) = if has(flag::EXEC_DATA_ARGS) {
            let (bytes, complete) = self.chunks.take(key, record.args_total);
            (join_arguments(&bytes), complete)
        } else {
            (join_arguments(record.args), true)
        };
        if !complete {
            self.stats.lost_arguments += 1;
        }
        let cwd = if has(flag::EXEC_ROOT_CWD) {
            "/".to_owned()
        } else if has(flag::EXEC_NO_CWD) || has(flag::EXEC_ERROR_CWD) {
            String::new()
        } else {
            to_text(record.cwd)
        };
        let filename = to_text(record.filename);
        let binary = if filename.is_empty() || filename.starts_with('/') {
            filename
        } else {
            join_path(&cwd, &filename)
        };
        let cgroup_name = to_text(record.cgroup_name.split(|&b| b == 0).next().unwrap_or_default());
        let in_init_tree = record.process_flags & flag::PROCESS_IN_INIT_TREE != 0;

        let mut flags = ImageFlags::EXECVE;
        flags.set_if(has(flag::EXEC_TRUNCATED_ARGS), ImageFlags::TRUNC_ARGS);
        flags.set_if(has(flag::EXEC_MISSED_PARENT), ImageFlags::MISS);
        flags.set_if(
            has(flag::EXEC_ERROR_FILENAME) || has(flag::EXEC_TRUNCATED_FILENAME),
            ImageFlags::ERROR_FILENAME,
        );
        flags.set_if(has(flag::EXEC_ERROR_ARGS) || !complete, ImageFlags::ERROR_ARGS);
        flags.set_if(has(flag::EXEC_NO_CWD), ImageFlags::NO_CWD);
        flags.set_if(has(flag::EXEC_ROOT_CWD), ImageFlags::ROOT_CWD);
        flags.set_if(has(flag::EXEC_ERROR_CWD), ImageFlags::ERROR_CWD);
        flags.set_if(clone, ImageFlags::CLONE);
        flags.set_if(has(flag::EXEC_ERROR_CGROUP), ImageFlags::ERROR_CGROUP_NAME);
        flags.set_if(has(flag::EXEC_CWD_UNRESOLVED), ImageFlags::ERROR_PATH_RESOLUTION_CWD);
        flags.set_if(has(flag::EXEC_DATA_ARGS), ImageFlags::DATA_ARGS);
        flags.set_if(in_init_tree, ImageFlags::IN_INIT_TREE);

        let image = Image {
            binary: binary.into(),
            arguments: arguments.into(),
            cwd: cwd.into(),
            container_id: container_id(&cgroup_name, record.cgroup_name.len() >= 127)
                .unwrap_or_default()
                .into(),
            auid: record.auid,
            credentials: record.credentials,
            namespaces: record.namespaces,
            cgroup_id: record.cgroup_id,
        };
        let properties = properties_of(bits, &record.credentials, record.inode, record.nlink);
        let process = Process {
            key,
            parent,
            nspid: record.nspid,
            flags,
            in_init_tree,
            image: Arc::new(image),
        };
        (process, properties)
    }

    fn insert(&mut self, process: Process) {
        let key = process.key;
        let parent = process.parent;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.process = Arc::new(process);
            return;
        }
        while self.entries.len() >= self.config.capacity.max(2) {
            if !self.evict() {
                break;
            }
        }
        let holds_parent = parent != key && self.entries.get_mut(&parent).map(Entry::hold).is_some();
        let entry = Entry {
            process: Arc::new(process),
            references: 1,
            alive: true,
            holds_parent,
            zero_since: None,
        };
        self.entries.insert(key, entry);
        let newest = self.newest.entry(key.tgid).or_default();
        *newest = key.start.max(*newest);
        self.age.push_back(key);
    }

    /// The process no longer runs this image.
    fn release(&mut self, key: ProcessKey) {
        if key == ProcessKey::KERNEL {
            return;
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if !entry.alive {
            return;
        }
        entry.alive = false;
        let parent =
            (!self.config.ancestors && std::mem::take(&mut entry.holds_parent)).then_some(entry.process.parent);
        self.exited += 1;
        self.unreference(key);
        if let Some(parent) = parent {
            self.unreference(parent);
        }
    }

    fn unreference(&mut self, key: ProcessKey) {
        let tick = self.tick;
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        // a child may outlive its parent's entry and see another one take its place: being alive is never taken away
        entry.references = entry.references.saturating_sub(1).max(u32::from(entry.alive));
        if entry.references > 0 {
            return;
        }
        entry.zero_since = Some(tick);
        self.unreferenced.push_back((tick, key));
        while self.unreferenced.len() > self.config.max_exited {
            let Some((since, oldest)) = self.unreferenced.pop_front() else {
                break;
            };
            if self
                .entries
                .get(&oldest)
                .is_some_and(|entry| entry.zero_since == Some(since))
            {
                self.stats.early_deletions += 1;
                self.remove(oldest);
            }
        }
    }

    fn remove(&mut self, key: ProcessKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        if self.newest_of(key.tgid) == Some(key) {
            self.newest.remove(&key.tgid);
        }
        if !entry.alive {
            self.exited -= 1;
        }
        if entry.holds_parent {
            self.unreference(entry.process.parent);
        }
    }

    /// Makes room: the oldest exited entry goes, else the oldest of all.
    fn evict(&mut self) -> bool {
        while let Some((since, key)) = self.unreferenced.pop_front() {
            if self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.zero_since == Some(since))
            {
                self.stats.early_deletions += 1;
                self.remove(key);
                return true;
            }
        }
        while let Some(key) = self.age.pop_front() {
            if key != ProcessKey::KERNEL && self.entries.contains_key(&key) {
                self.stats.evictions += 1;
                self.remove(key);
                return true;
            }
        }
        false
    }

    fn entomb(&mut self, key: ProcessKey) {
        if key.start.0 == 0 || !self.tombstones.insert(key) {
            return;
        }
        self.tombstone_order.push_back(key);
        if self.tombstone_order.len() > MAX_TOMBSTONES
            && let Some(oldest) = self.tombstone_order.pop_front()
        {
            self.tombstones.remove(&oldest);
        }
    }
}

impl Entry {
    /// Counts one more reference; rescues an entry that waits for deletion.
    fn hold(&mut self) {
        self.references += 1;
        self.zero_since = None;
    }
}

/// What an exec did to privileges, and the inode of an image without a name.
fn properties_of(bits: u32, credentials: &Credentials, inode: u64, nlink: u32) -> BinaryProperties {
    let has = |bit: u32| bits & bit != 0;
    BinaryProperties {
        setuid: has(flag::EXEC_SETUID).then_some(credentials.euid),
        setgid: has(flag::EXEC_SETGID).then_some(credentials.egid),
        file_capabilities: has(flag::EXEC_FILE_CAPS),
        inode: (has(flag::EXEC_FILELESS) || nlink == 0)
            .then_some((inode, nlink))
            .filter(|(inode, _)| *inode != 0),
    }
}

#[cfg(test)]
mod tests;
