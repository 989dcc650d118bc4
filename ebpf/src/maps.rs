//! Maps shared by the base sensor and all generated programs.
//!
//! Objects define them alike; a loader creates each once, goes by its name and hands the same map to every object. The sizes
//! here are those of `c/maps.h` and `c/runtime.bpf.c`, which a test checks.

use crate::record::{
    self, Config, POLICY_COUNTERS, Process, SCRATCH_LEVELS, SCRATCH_TEXTS, SENSOR_COUNTERS, Scratch, Text,
};

/// Type of a map, by the kernel's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapType {
    /// `BPF_MAP_TYPE_HASH`
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    PercpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`
    LruHash = 9,
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
    ArrayOfMaps = 12,
}

/// One shared map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapDefinition {
    /// Name in the object files; the kernel keeps the first 15 bytes.
    pub name: &'static str,
    /// Its type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (per CPU, for per-CPU maps).
    pub value_size: u32,
    /// Default number of elements.
    pub max_entries: u32,
}

const fn map(
    name: &'static str,
    map_type: MapType,
    key_size: u32,
    value_size: usize,
    max_entries: u32,
) -> MapDefinition {
    MapDefinition {
        name,
        map_type,
        key_size,
        value_size: value_size as u32,
        max_entries,
    }
}

/// Thread group id → [`Process`].
pub const PROCESSES: MapDefinition = map("tetra_processes", MapType::Hash, 8, size_of::<Process>(), 32768);
/// Nesting level → [`Scratch`].
pub const SCRATCH: MapDefinition = map(
    "tetra_scratch",
    MapType::PercpuArray,
    4,
    size_of::<Scratch>(),
    SCRATCH_LEVELS,
);
/// Level × texts + index → [`Text`].
pub const TEXTS: MapDefinition = map(
    "tetra_texts",
    MapType::PercpuArray,
    4,
    size_of::<Text>(),
    SCRATCH_LEVELS * SCRATCH_TEXTS,
);
/// Shard → ring buffer. The loader sets the number of elements to shards + 1; the last one is the enforcement lane.
pub const RINGS: MapDefinition = map("tetra_rings", MapType::ArrayOfMaps, 4, 4, 2);
/// 0 → [`Config`]; programs send nothing while it is zero.
pub const CONFIG: MapDefinition = map("tetra_config", MapType::Array, 4, size_of::<Config>(), 1);
/// [`record::SensorCounter`] → u64.
pub const SENSOR_COUNTER_VALUES: MapDefinition =
    map("tetra_sensor_counters", MapType::PercpuArray, 4, 8, SENSOR_COUNTERS);
/// Policy slot → u64 per [`record::PolicyCounter`].
pub const POLICY_COUNTER_VALUES: MapDefinition = map(
    "tetra_policy_counters",
    MapType::PercpuArray,
    4,
    8 * POLICY_COUNTERS as usize,
    1024,
);
/// Policy slot → mode ([`record::POLICY_MODE_ENFORCE`], [`record::POLICY_MODE_MONITOR`]).
pub const POLICY_MODES: MapDefinition = map("tetra_policy_modes", MapType::Array, 4, 4, 1024);
/// Calls under way: [`record::PendingKey`] → u64, never 0.
pub const PENDING: MapDefinition = map(
    "tetra_pending",
    MapType::LruHash,
    size_of::<record::PendingKey>() as u32,
    8,
    8192,
);
/// Socket and policy → whom it belongs to: [`record::SockOwnerKey`] → [`record::SockOwner`].
pub const SOCK_OWNERS: MapDefinition = map(
    "tetra_sock_owners",
    MapType::LruHash,
    size_of::<record::SockOwnerKey>() as u32,
    size_of::<record::SockOwner>(),
    16384,
);
/// Last time a record passed: [`record::RateLimitKey`] → time.
pub const RATELIMIT: MapDefinition = map(
    "tetra_ratelimit",
    MapType::LruHash,
    size_of::<record::RateLimitKey>() as u32,
    8,
    4096,
);
/// 0 → the two random words that key the rate limiter's hash.
pub const SEED: MapDefinition = map("tetra_seed", MapType::Array, 4, 16, 1);

/// Cgroup id → number of the workload that was assigned to it. See `c/record.h`, also for the next four.
pub const WORKLOADS: MapDefinition = map("tetra_workloads", MapType::Hash, 8, 4, 4096);
/// Hash of a cgroup id → the workload that was found for it.
pub const CGROUP_CACHE: MapDefinition = map("tetra_cgroup_cache", MapType::Array, 4, 8, record::CGROUP_CACHE);
/// 0 → [`record::CgroupView`]
pub const CGROUP_VIEW: MapDefinition = map(
    "tetra_cgroup_view",
    MapType::Array,
    4,
    size_of::<record::CgroupView>(),
    1,
);
/// Workload → number of its set of policies.
pub const WORKLOAD_SETS: MapDefinition = map("tetra_workload_sets", MapType::Array, 4, 8, 4096);
/// Set → [`record::PolicySet`], as wide as there are slots: that is the loader's to choose.
pub const POLICY_SETS: MapDefinition = map(
    "tetra_policy_sets",
    MapType::Array,
    4,
    size_of::<record::PolicySet>(),
    4096,
);

/// Every map that the sensor or the runtime library refers to.
pub const ALL: [MapDefinition; 17] = [
    SOCK_OWNERS,
    PROCESSES,
    SCRATCH,
    TEXTS,
    RINGS,
    CONFIG,
    SENSOR_COUNTER_VALUES,
    POLICY_COUNTER_VALUES,
    PENDING,
    RATELIMIT,
    SEED,
    WORKLOADS,
    CGROUP_CACHE,
    CGROUP_VIEW,
    WORKLOAD_SETS,
    POLICY_SETS,
    POLICY_MODES,
];
