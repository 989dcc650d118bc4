//! The table of processes: thread group id → [`Process`].

use ebpf::record::Process;
use zerocopy::{FromBytes, IntoBytes};

use crate::sys::{Map, SysError, UpdateMode};

/// Access to the kernel's table of processes, for the scan of `/proc` at the start.
///
/// The base sensor writes it at the same time, so the scan uses [`ProcessTable::insert`], which never replaces what the sensor
/// has seen itself.
#[derive(Clone, Copy, Debug)]
pub struct ProcessTable<'a> {
    map: &'a Map,
}

/// Keys are thread group ids in eight bytes.
fn key_of(tgid: u32) -> [u8; 8] {
    u64::from(tgid).to_ne_bytes()
}

impl<'a> ProcessTable<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self { map }
    }

    /// Adds a process that is not there yet; `false` if it is.
    ///
    /// # Errors
    /// `E2BIG` if the table is full, `ENOMEM` if there is no memory for one more.
    pub fn insert(&self, tgid: u32, process: &Process) -> Result<bool, SysError> {
        self.map.update(&key_of(tgid), process.as_bytes(), UpdateMode::Create)
    }

    /// Adds or replaces a process.
    ///
    /// # Errors
    /// `E2BIG` if the table is full, `ENOMEM` if there is no memory for one more.
    pub fn replace(&self, tgid: u32, process: &Process) -> Result<(), SysError> {
        self.map
            .update(&key_of(tgid), process.as_bytes(), UpdateMode::Any)
            .map(|_| ())
    }

    /// Reads a process.
    ///
    /// # Errors
    /// What `BPF_MAP_LOOKUP_ELEM` says.
    pub fn lookup(&self, tgid: u32) -> Result<Option<Process>, SysError> {
        let mut process = Process::default();
        Ok(self
            .map
            .lookup_into(&key_of(tgid), process.as_mut_bytes())?
            .then_some(process))
    }

    /// Removes a process; `false` if it was not there.
    ///
    /// # Errors
    /// What `BPF_MAP_DELETE_ELEM` says.
    pub fn delete(&self, tgid: u32) -> Result<bool, SysError> {
        self.map.delete(&key_of(tgid))
    }

    /// All processes. Those that come or go meanwhile may be missing, but none is listed twice.
    ///
    /// # Errors
    /// What the map commands say.
    pub fn all(&self) -> Result<Vec<(u32, Process)>, SysError> {
        let mut tgids = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        // When an element vanishes under the walk it starts again at the first one: bounded, because that can go on for ever.
        let limit = self.map.shape().max_entries as usize * 2;
        while let Some(next) = self.map.next_key(key.as_deref())? {
            if let Ok(key) = u64::read_from_bytes(&next) {
                tgids.push(key as u32);
            }
            if tgids.len() >= limit {
                break;
            }
            key = Some(next);
        }
        tgids.sort_unstable();
        tgids.dedup();
        let mut processes = Vec::with_capacity(tgids.len());
        for tgid in tgids {
            if let Some(process) = self.lookup(tgid)? {
                processes.push((tgid, process));
            }
        }
        Ok(processes)
    }

    /// How many processes it can hold.
    pub fn capacity(&self) -> u32 {
        self.map.shape().max_entries
    }
}
