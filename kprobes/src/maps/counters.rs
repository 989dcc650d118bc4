//! Counters and modes.

use ebpf::maps;
use ebpf::record::{POLICY_COUNTERS, POLICY_MODE_ENFORCE, POLICY_MODE_MONITOR, SENSOR_COUNTERS};

use super::SharedMaps;
use crate::sys::{SysError, UpdateMode};

/// What the base sensor counted since its start, by `enum sensor_counter`, all CPUs together.
pub type SensorCounters = [u64; SENSOR_COUNTERS as usize];

/// What one policy counted since its slot was cleared, by `enum policy_counter`, all CPUs together.
pub type PolicyCounters = [u64; POLICY_COUNTERS as usize];

/// Whether a policy acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PolicyMode {
    /// It refuses and kills as it says.
    #[default]
    Enforce,
    /// It only reports what it would have done.
    Monitor,
}

impl SharedMaps {
    /// Reads the sensor's counters.
    ///
    /// # Errors
    /// What the map commands say.
    pub fn counters(&self) -> Result<SensorCounters, SysError> {
        let map = self.map(maps::SENSOR_COUNTER_VALUES.name);
        let mut sums = SensorCounters::default();
        for (index, sum) in sums.iter_mut().enumerate() {
            let value = map.lookup(&(index as u32).to_ne_bytes())?.unwrap_or_default();
            *sum = words(&value).sum();
        }
        Ok(sums)
    }

    /// Reads the counters of a policy slot.
    ///
    /// # Errors
    /// `ENOENT` for a slot beyond the end, otherwise what the map commands say.
    pub fn policy_counters(&self, slot: u32) -> Result<PolicyCounters, SysError> {
        let map = self.map(maps::POLICY_COUNTER_VALUES.name);
        let value = map.lookup(&slot.to_ne_bytes())?.ok_or_else(|| no_slot(slot))?;
        let mut sums = PolicyCounters::default();
        for (index, word) in words(&value).enumerate() {
            sums[index % sums.len()] += word;
        }
        Ok(sums)
    }

    /// Sets the counters of a policy slot to zero, before it is given to another policy.
    ///
    /// # Errors
    /// `E2BIG` for a slot beyond the end, otherwise what the map commands say.
    pub fn clear_policy_counters(&self, slot: u32) -> Result<(), SysError> {
        let map = self.map(maps::POLICY_COUNTER_VALUES.name);
        map.update(&slot.to_ne_bytes(), &vec![0; map.user_value_size()], UpdateMode::Any)
            .map(|_| ())
    }

    /// Sets the mode of a policy slot; programs that run see it at once.
    ///
    /// # Errors
    /// `E2BIG` for a slot beyond the end, otherwise what the map commands say.
    pub fn set_policy_mode(&self, slot: u32, mode: PolicyMode) -> Result<(), SysError> {
        let number = match mode {
            PolicyMode::Enforce => POLICY_MODE_ENFORCE,
            PolicyMode::Monitor => POLICY_MODE_MONITOR,
        };
        self.map(maps::POLICY_MODES.name)
            .update(&slot.to_ne_bytes(), &number.to_ne_bytes(), UpdateMode::Any)
            .map(|_| ())
    }

    /// The mode of a policy slot.
    ///
    /// # Errors
    /// `ENOENT` for a slot beyond the end, otherwise what the map commands say.
    pub fn policy_mode(&self, slot: u32) -> Result<PolicyMode, SysError> {
        let value = self
            .map(maps::POLICY_MODES.name)
            .lookup(&slot.to_ne_bytes())?
            .ok_or_else(|| no_slot(slot))?;
        Ok(if value == POLICY_MODE_MONITOR.to_ne_bytes() {
            PolicyMode::Monitor
        } else {
            PolicyMode::Enforce
        })
    }

    /// Notes which policy is in a slot, for whoever takes the maps over: any number but 0 that tells policies apart; 0 for none.
    ///
    /// # Errors
    /// `E2BIG` for a slot beyond the end, otherwise what the map commands say.
    pub fn set_policy_identity(&self, slot: u32, identity: u64) -> Result<(), SysError> {
        self.map(super::POLICY_IDENTITIES)
            .update(&slot.to_ne_bytes(), &identity.to_ne_bytes(), UpdateMode::Any)
            .map(|_| ())
    }

    /// The slots that have a policy, and which.
    ///
    /// # Errors
    /// What the map commands say.
    pub fn policy_identities(&self) -> Result<Vec<(u32, u64)>, SysError> {
        let map = self.map(super::POLICY_IDENTITIES);
        let mut identities = Vec::new();
        for slot in 0..map.shape().max_entries {
            let mut value = [0; 8];
            map.lookup_into(&slot.to_ne_bytes(), &mut value)?;
            if value != [0; 8] {
                identities.push((slot, u64::from_ne_bytes(value)));
            }
        }
        Ok(identities)
    }

    /// How many policy slots there are.
    pub fn policy_slots(&self) -> u32 {
        self.map(maps::POLICY_MODES.name).shape().max_entries
    }
}

fn words(value: &[u8]) -> impl Iterator<Item = u64> + '_ {
    value
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().expect("chunks of 8")))
}

fn no_slot(slot: u32) -> SysError {
    SysError {
        syscall: "bpf(BPF_MAP_LOOKUP_ELEM)",
        object: format!("policy slot {slot}"),
        errno: libc::ENOENT,
        hint: None,
    }
}
