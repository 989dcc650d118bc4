//! The maps that the base sensor and all hook programs share.
//!
//! They are created once, before anything is loaded, and live as long as somebody holds a [`SharedMaps`]. Objects name them;
//! the loader gives every object the same ones.

mod counters;
mod processes;
mod workloads;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ebpf::maps::{self, MapDefinition};
use ebpf::record::{Config, WORKLOADS_RESERVED};
use zerocopy::IntoBytes;

use crate::cgroup::CgroupHierarchy;
use crate::pins::{self, PinDirectory, RING};
use crate::probe::allocates_at_run_time;
use crate::program::MapSource;
use crate::sys::{Map, MapShape, MapType, SysError, UpdateMode, possible_cpus};

pub use counters::{PolicyCounters, PolicyMode, SensorCounters};
pub use processes::ProcessTable;
use workloads::Workloads;
pub use workloads::{CgroupId, WorkloadTable};
pub(crate) use workloads::{HookFilter, HookFilters};

/// Which generation of hook programs is active: `tetra_active`, one u32 that is 0 or 1. Read by the stubs.
pub(crate) const ACTIVE: &str = "tetra_active";

/// Policy slot → which policy is in it, as a hash, 0 for none: read by user space only, by the next agent.
const POLICY_IDENTITIES: &str = "tetra_policy_identities";

/// Made for the first program that refers to it: hardly any policy follows sockets, and it takes 1.5 MB.
const SOCK_OWNERS: &str = maps::SOCK_OWNERS.name;

/// `BPF_F_MMAPABLE`
const MAPPABLE: u32 = 1 << 10;

/// Tables that are seldom full: the memory of their elements is allocated as they come where the kernel can do that in any
/// context. The others are LRU lists, which it only makes preallocated, or arrays.
const SPARSE: [&str; 2] = [maps::PROCESSES.name, maps::WORKLOADS.name];

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
    /// Cgroups to which policies can be assigned; at most 65,000.
    pub workloads: u32,
    /// The hierarchy whose cgroups those are.
    pub cgroup_hierarchy: CgroupHierarchy,
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
            workloads: maps::WORKLOADS.max_entries,
            cgroup_hierarchy: CgroupHierarchy::Unified,
            ring_shards: None,
            ring_bytes: 2 << 20,
            enforcement_ring_bytes: 512 << 10,
            wakeup_bytes: 256 << 10,
        }
    }
}

impl SensorOptions {
    /// How many shards there will be, and how many CPUs each serves.
    pub(crate) fn sharding(&self) -> (u32, u32) {
        let cpus = possible_cpus() as u32;
        let shards = self
            .ring_shards
            .unwrap_or_else(|| cpus.div_ceil(4).min(16))
            .clamp(1, cpus);
        let cpus_per_shard = cpus.div_ceil(shards);
        // Rounding up may leave the last shards without a CPU.
        (cpus.div_ceil(cpus_per_shard), cpus_per_shard)
    }

    /// Names and shapes of the rings: the observation shards, then the enforcement lane.
    fn rings(&self) -> Vec<(String, MapShape)> {
        let ring = |bytes: u32, name: String| {
            let shape = MapShape {
                map_type: MapType::RingBuf,
                key_size: 0,
                value_size: 0,
                max_entries: bytes.max(64 << 10).checked_next_power_of_two().unwrap_or(1 << 31),
                flags: 0,
            };
            (name, shape)
        };
        let (shards, _) = self.sharding();
        let shards = (0..shards).map(|shard| ring(self.ring_bytes, format!("{RING}{shard}")));
        shards
            .chain([ring(self.enforcement_ring_bytes, format!("{RING}lane"))])
            .collect()
    }

    /// Names and shapes of everything that is shared, on this kernel.
    pub(crate) fn shapes(&self) -> Vec<(String, MapShape)> {
        let others = self.maps().into_iter().chain([sock_owners()]);
        let others = others.map(|(name, shape)| (name.to_owned(), shape));
        self.rings().into_iter().chain(others).collect()
    }

    /// Names and shapes of all other maps that are there from the start.
    fn maps(&self) -> Vec<(&'static str, MapShape)> {
        let workloads = self.workloads.clamp(1, workloads::MOST);
        let from_start = maps::ALL.iter().filter(|definition| definition.name != SOCK_OWNERS);
        let defined = from_start.map(|definition| {
            let entries = match definition.name {
                name if name == maps::PROCESSES.name => self.processes,
                name if name == maps::POLICY_COUNTER_VALUES.name || name == maps::POLICY_MODES.name => self.policies,
                name if name == maps::PENDING.name => self.pending_calls,
                name if name == maps::RATELIMIT.name => self.rate_limits,
                name if name == maps::RINGS.name => self.sharding().0 + 1,
                name if name == maps::WORKLOADS.name => workloads,
                name if name == maps::WORKLOAD_SETS.name => workloads + WORKLOADS_RESERVED,
                name if name == maps::POLICY_SETS.name => workloads + WORKLOADS_RESERVED + workloads::SPARE_SETS,
                _ => definition.max_entries,
            };
            let mut shape = shape(definition, entries.max(1));
            if workloads::MAPPED.contains(&definition.name) {
                shape.flags = MAPPABLE;
            }
            if SPARSE.contains(&definition.name) && allocates_at_run_time() {
                shape.flags = MapShape::NO_PREALLOC;
            }
            if definition.name == maps::POLICY_SETS.name {
                shape.value_size = workloads::set_bytes(self.policies);
            }
            (definition.name, shape)
        });
        let array = |value_size, max_entries| MapShape {
            map_type: MapType::Array,
            key_size: 4,
            value_size,
            max_entries,
            flags: 0,
        };
        let own = [
            (POLICY_IDENTITIES, array(8, self.policies.max(1))),
            (ACTIVE, array(4, 1)),
        ];
        defined.chain(own).collect()
    }
}

/// Name and shape of the map that is made late.
fn sock_owners() -> (&'static str, MapShape) {
    (SOCK_OWNERS, shape(&maps::SOCK_OWNERS, maps::SOCK_OWNERS.max_entries))
}

/// Where a limit is too low and cannot be raised, what needs it says so.
fn raise_limits() {
    drop(crate::sys::raise_memlock());
    drop(crate::sys::raise_open_files());
}

fn path_of(directory: &PinDirectory, name: &str) -> PathBuf {
    if name == ACTIVE {
        directory.path().join(name)
    } else {
        directory.path().join(pins::MAPS).join(name)
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
    workloads: Mutex<Workloads>,
    late: Mutex<Late>,
    sock_owners: OnceLock<Map>,
}

/// What a map that is made late has to know.
#[derive(Debug, Default)]
struct Late {
    /// Where the others are pinned.
    pinned_in: Option<PinDirectory>,
}

impl SharedMaps {
    /// Creates all maps and fills in configuration and seed.
    ///
    /// # Errors
    /// What the kernel says to one of them; `EOPNOTSUPP` for a hierarchy that it does not have.
    pub fn create(options: &SensorOptions) -> Result<Self, SysError> {
        raise_limits();
        let rings = options
            .rings()
            .into_iter()
            .map(|(name, shape)| Map::create(&name, shape, None))
            .collect::<Result<Vec<_>, _>>()?;
        let mut created = BTreeMap::new();
        for (name, shape) in options.maps() {
            let inner = (name == maps::RINGS.name).then(|| rings[0].as_fd());
            created.insert(name, Map::create(name, shape, inner)?);
        }

        let workloads = Mutex::new(Workloads::new(&created, options.cgroup_hierarchy)?);
        let shared = Self(Arc::new(Inner {
            maps: created,
            rings,
            workloads,
            late: Mutex::default(),
            sock_owners: OnceLock::new(),
        }));
        for (shard, ring) in shared.0.rings.iter().enumerate() {
            shared.map(maps::RINGS.name).update_fd(shard as u32, ring.as_fd())?;
        }
        let mut seed = [0u8; 16];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .map_err(|error| SysError::io("read", "/dev/urandom", &error))?;
        shared.write(maps::SEED.name, &seed)?;
        shared.configure(options)?;
        Ok(shared)
    }

    /// Takes over the maps that a process has left pinned ([`crate::Sensor::pin`]), with all that is in them.
    ///
    /// # Errors
    /// What `BPF_OBJ_GET` says; `EINVAL` for a map that is not what the options ask for.
    pub fn adopt(options: &SensorOptions, directory: &PinDirectory) -> Result<Self, SysError> {
        raise_limits();
        let open = |name: &str, shape: MapShape| {
            let path = path_of(directory, name);
            let map = Map::open_pinned(name, &path)?;
            let is = map.shape();
            // The other flags are what the kernel made of them.
            let own = shape.flags & !MapShape::NO_PREALLOC;
            let flags = own | is.flags & MapShape::NO_PREALLOC;
            if (MapShape { flags, ..is }) == shape {
                return Ok(map);
            }
            Err(SysError {
                syscall: "bpf(BPF_OBJ_GET)",
                object: path.display().to_string(),
                errno: libc::EINVAL,
                hint: Some(
                    "this is not the map of that name; `tetra-agent uninstall` removes everything that is pinned",
                ),
            })
        };
        let rings = options
            .rings()
            .into_iter()
            .map(|(name, shape)| open(&name, shape))
            .collect::<Result<Vec<_>, _>>()?;
        let mut adopted = BTreeMap::new();
        for (name, shape) in options.maps() {
            adopted.insert(name, open(name, shape)?);
        }
        let (name, shape) = sock_owners();
        let sock_owners = OnceLock::new();
        if path_of(directory, name).exists() {
            drop(sock_owners.set(open(name, shape)?));
        }
        let workloads = Mutex::new(Workloads::new(&adopted, options.cgroup_hierarchy)?);
        let late = Late {
            pinned_in: Some(directory.clone()),
        };
        let shared = Self(Arc::new(Inner {
            maps: adopted,
            rings,
            workloads,
            late: Mutex::new(late),
            sock_owners,
        }));
        shared.configure(options)?;
        Ok(shared)
    }

    /// Pins all maps but the active word, which completes a set: [`SharedMaps::pin_active`]. What is made later will be pinned
    /// there, too.
    pub(crate) fn pin(&self, directory: &PinDirectory) -> Result<(), SysError> {
        let mut late = self.late();
        self.all()
            .filter(|map| map.name() != ACTIVE)
            .try_for_each(|map| crate::sys::obj_pin(map.as_fd(), &path_of(directory, map.name())))?;
        late.pinned_in = Some(directory.clone());
        Ok(())
    }

    /// All that are there.
    fn all(&self) -> impl Iterator<Item = &Map> {
        let Inner {
            maps,
            rings,
            sock_owners,
            ..
        } = &*self.0;
        maps.values().chain(rings).chain(sock_owners.get())
    }

    fn late(&self) -> MutexGuard<'_, Late> {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The map that is made late.
    fn sock_owners(&self) -> Result<&Map, SysError> {
        let late = self.late();
        if let Some(map) = self.0.sock_owners.get() {
            return Ok(map);
        }
        let (name, shape) = sock_owners();
        let map = Map::create(name, shape, None)?;
        if let Some(directory) = &late.pinned_in {
            crate::sys::obj_pin(map.as_fd(), &path_of(directory, name))?;
        }
        Ok(self.0.sock_owners.get_or_init(|| map))
    }

    /// Pins the active word.
    pub(crate) fn pin_active(&self, directory: &PinDirectory) -> Result<(), SysError> {
        crate::sys::obj_pin(self.active().as_fd(), &path_of(directory, ACTIVE))
    }

    /// All of it stays as it is when another process takes over, but for the process.
    fn configure(&self, options: &SensorOptions) -> Result<(), SysError> {
        let (ring_shards, cpus_per_shard) = options.sharding();
        let config = Config {
            ring_shards,
            cpus_per_shard,
            wakeup_bytes: options.wakeup_bytes,
            agent_tgid: std::process::id(),
            host_pid_ns: INITIAL_PID_NAMESPACE,
            ..Config::default()
        };
        self.write(maps::CONFIG.name, config.as_bytes())
    }

    /// The table of processes.
    pub fn processes(&self) -> ProcessTable<'_> {
        ProcessTable::new(self.map(maps::PROCESSES.name))
    }

    /// Which policies apply to which cgroups.
    pub fn workloads(&self) -> WorkloadTable<'_> {
        WorkloadTable::new(self.map(maps::WORKLOADS.name), &self.0.workloads)
    }

    /// The ring buffers, the enforcement lane last, and their size in bytes.
    pub fn rings(&self) -> &[Map] {
        &self.0.rings
    }

    /// Bytes of kernel memory for all of them, as the kernel tells it (`memlock` of `fdinfo`).
    ///
    /// Linux 5.11 to 6.3 do not tell what is there, but the most that all keys and values can take, and nothing for rings.
    pub fn memlock_bytes(&self) -> u64 {
        self.memlock().map(|(_, bytes)| bytes).sum()
    }

    /// The same for each map, by its name.
    pub fn memlock(&self) -> impl Iterator<Item = (&str, u64)> {
        self.all().filter_map(|map| {
            let info = crate::sys::map_info(map.as_fd()).ok()?;
            Some((map.name(), info.memlock_bytes))
        })
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
    fn shape(&self, name: &str) -> Option<MapShape> {
        let (late, shape) = sock_owners();
        if name == late {
            return Some(shape);
        }
        self.0.maps.get(name).map(Map::shape)
    }

    fn find(&self, name: &str) -> Result<Option<&Map>, SysError> {
        if name == SOCK_OWNERS {
            return self.sock_owners().map(Some);
        }
        Ok(self.0.maps.get(name))
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

    #[test]
    #[allow(
        clippy::print_stderr,
        reason = "the reason of a skip belongs to the output of the test"
    )]
    fn owners_of_sockets_take_nothing_until_somebody_asks() {
        let place = crate::kernel::check_environment()
            .map_err(|error| error.to_string())
            .and_then(|()| {
                crate::sys::ensure_mounted(crate::sys::Filesystem::Bpffs).map_err(|error| error.to_string())
            });
        let bpffs = match place {
            Ok(bpffs) => bpffs,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return;
            }
        };
        let options = SensorOptions::default();
        let root = bpffs.join(format!("tetra_test_late_{}", std::process::id()));
        let directory = PinDirectory::new(&root, &options);
        let is_there = |maps: &SharedMaps| maps.memlock().any(|(name, _)| name == SOCK_OWNERS);
        let id = |maps: &SharedMaps| {
            let map = maps.find(SOCK_OWNERS).expect("it can be made").expect("it is shared");
            crate::sys::map_info(map.as_fd()).expect("its number").id
        };

        let maps = SharedMaps::create(&options).expect("maps");
        assert!(maps.shape(SOCK_OWNERS).is_some());
        assert!(!is_there(&maps));
        directory.prepare().expect("a directory");
        maps.pin(&directory).expect("pinned");
        maps.pin_active(&directory).expect("pinned");
        let before = SharedMaps::adopt(&options, &directory).expect("adopted");
        assert!(!is_there(&before));

        let made = id(&maps);
        assert_eq!(id(&maps), made, "it is made once");
        assert!(is_there(&maps));
        let after = SharedMaps::adopt(&options, &directory).expect("adopted");
        assert!(is_there(&after));
        assert_eq!(id(&after), made, "the next one has the same");
        drop(crate::remove_pins(&root));
    }
}
