//! The maps that the base sensor and all hook programs share.
//!
//! They are created once, before anything is loaded, and live as long as somebody holds a [`SharedMaps`]. Objects name them;
//! the loader gives every object the same ones.

mod counters;
mod processes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::sync::Arc;

use ebpf::maps::{self, MapDefinition};
use ebpf::record::Config;
use zerocopy::IntoBytes;

use crate::program::MapSource;
use crate::sys::{Map, MapShape, MapType, SysError, UpdateMode, possible_cpus};

pub use counters::{PolicyCounters, PolicyMode, SensorCounters};
pub use processes::ProcessTable;

/// Which generation of hook programs is active: `tetra_active`, one u32 that is 0 or 1. Read by the stubs.
const ACTIVE: &str = "tetra_active";

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u32 = 0xefff_fffc;

/// Sizes of the shared maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorOptions {
    /// Processes that the kernel's table can hold.
    pub processes: u32,
    /// Policy slots.
    pub policies: u32,
    /// Calls that may be under way between entry and return.
    pub pending_calls: u32,
    /// Rate limit entries.
    pub rate_limits: u32,
    /// Rings for observation; `None`: one for each group of four CPUs, at most 16.
    pub ring_shards: Option<u32>,
    /// Bytes of each of them; rounded up to a power of two, at least 64 kB.
    pub ring_bytes: u32,
    /// Bytes of the enforcement lane, likewise.
    pub enforcement_ring_bytes: u32,
    /// Unread bytes in a ring above which the reader is woken at once.
    pub wakeup_bytes: u32,
}

impl Default for SensorOptions {
    fn default() -> Self {
        Self {
            processes: maps::PROCESSES.max_entries,
            policies: maps::POLICY_MODES.max_entries,
            pending_calls: maps::PENDING.max_entries,
            rate_limits: maps::RATELIMIT.max_entries,
            ring_shards: None,
            ring_bytes: 4 << 20,
            enforcement_ring_bytes: 1 << 20,
            wakeup_bytes: 256 << 10,
        }
    }
}

impl SensorOptions {
    /// How many shards there will be, and how many CPUs each serves.
    fn sharding(&self) -> (u32, u32) {
        let cpus = possible_cpus() as u32;
        let shards = self
            .ring_shards
            .unwrap_or_else(|| cpus.div_ceil(4).min(16))
            .clamp(1, cpus);
        let cpus_per_shard = cpus.div_ceil(shards);
        // Rounding up may leave the last shards without a CPU.
        (cpus.div_ceil(cpus_per_shard), cpus_per_shard)
    }
}

/// The shared maps. Cloning shares them.
#[derive(Clone, Debug)]
pub struct SharedMaps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    maps: BTreeMap<&'static str, Map>,
    /// Observation shards, then the enforcement lane.
    rings: Vec<Map>,
}

impl SharedMaps {
    /// Creates all maps and fills in configuration and seed.
    ///
    /// # Errors
    /// What the kernel says to one of them.
    pub fn create(options: &SensorOptions) -> Result<Self, SysError> {
        // Where a limit is too low and cannot be raised, what needs it says so.
        drop(crate::sys::raise_memlock());
        drop(crate::sys::raise_open_files());
        let (shards, cpus_per_shard) = options.sharding();
        let ring = |bytes: u32, name: &str| {
            let bytes = bytes.max(64 << 10).checked_next_power_of_two().unwrap_or(1 << 31);
            let shape = MapShape {
                map_type: MapType::RingBuf,
                key_size: 0,
                value_size: 0,
                max_entries: bytes,
                flags: 0,
            };
            Map::create(name, shape, None)
        };
        let mut rings = (0..shards)
            .map(|shard| ring(options.ring_bytes, &format!("tetra_ring_{shard}")))
            .collect::<Result<Vec<_>, _>>()?;
        rings.push(ring(options.enforcement_ring_bytes, "tetra_ring_lane")?);

        let mut created = BTreeMap::new();
        for definition in maps::ALL.iter().chain([&maps::POLICY_MODES]) {
            let entries = match definition.name {
                name if name == maps::PROCESSES.name => options.processes,
                name if name == maps::POLICY_COUNTER_VALUES.name || name == maps::POLICY_MODES.name => options.policies,
                name if name == maps::PENDING.name => options.pending_calls,
                name if name == maps::RATELIMIT.name => options.rate_limits,
                name if name == maps::RINGS.name => rings.len() as u32,
                _ => definition.max_entries,
            };
            let inner = (definition.name == maps::RINGS.name).then(|| rings[0].as_fd());
            created.insert(
                definition.name,
                Map::create(definition.name, shape(definition, entries.max(1)), inner)?,
            );
        }
        let active = MapShape {
            map_type: MapType::Array,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
        };
        created.insert(ACTIVE, Map::create(ACTIVE, active, None)?);

        let shared = Self(Arc::new(Inner { maps: created, rings }));
        for (shard, ring) in shared.0.rings.iter().enumerate() {
            shared.map(maps::RINGS.name).update_fd(shard as u32, ring.as_fd())?;
        }
        let mut seed = [0u8; 16];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .map_err(|error| SysError::io("read", "/dev/urandom", &error))?;
        shared.write(maps::SEED.name, &seed)?;
        let config = Config {
            ring_shards: shards,
            cpus_per_shard,
            wakeup_bytes: options.wakeup_bytes,
            agent_tgid: std::process::id(),
            host_pid_ns: INITIAL_PID_NAMESPACE,
            ..Config::default()
        };
        shared.write(maps::CONFIG.name, config.as_bytes())?;
        Ok(shared)
    }

    /// The table of processes.
    pub fn processes(&self) -> ProcessTable<'_> {
        ProcessTable::new(self.map(maps::PROCESSES.name))
    }

    /// The ring buffers, the enforcement lane last, and their size in bytes.
    pub fn rings(&self) -> &[Map] {
        &self.0.rings
    }

    /// Bytes of kernel memory charged for all of them.
    pub fn memlock_bytes(&self) -> u64 {
        self.0
            .maps
            .values()
            .chain(&self.0.rings)
            .filter_map(|map| crate::sys::map_info(map.as_fd()).ok())
            .map(|info| info.memlock_bytes)
            .sum()
    }

    /// `tetra_active`
    pub(crate) fn active(&self) -> &Map {
        self.map(ACTIVE)
    }

    fn map(&self, name: &str) -> &Map {
        // `create` made all names that are asked for.
        &self.0.maps[name]
    }

    /// Writes the only element of an array.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), SysError> {
        self.map(name)
            .update(&0u32.to_ne_bytes(), value, UpdateMode::Any)
            .map(|_| ())
    }
}

impl MapSource for SharedMaps {
    fn find(&self, name: &str) -> Option<&Map> {
        self.0.maps.get(name)
    }
}

fn shape(definition: &MapDefinition, max_entries: u32) -> MapShape {
    let map_type = match definition.map_type {
        maps::MapType::Hash => MapType::Hash,
        maps::MapType::Array => MapType::Array,
        maps::MapType::PercpuArray => MapType::PercpuArray,
        maps::MapType::LruHash => MapType::LruHash,
        maps::MapType::ArrayOfMaps => MapType::ArrayOfMaps,
    };
    MapShape {
        map_type,
        key_size: definition.key_size,
        value_size: definition.value_size,
        max_entries,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_all_cpus() {
        for shards in [None, Some(0), Some(1), Some(3), Some(1000)] {
            let (count, each) = SensorOptions {
                ring_shards: shards,
                ..SensorOptions::default()
            }
            .sharding();
            let cpus = possible_cpus() as u32;
            assert!(
                count * each >= cpus && (count - 1) * each < cpus,
                "{shards:?}: {count} of {each}"
            );
        }
    }
}
