//! Loads objects with plain aya and reads their rings.

use std::time::{Duration, Instant};

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::{Btf, Ebpf, EbpfLoader};
use ebpf::record::{Config, POLICY_COUNTERS, PolicyCounter, Process, Record, SensorCounter};
use zerocopy::FromBytes;

/// Whether this process may load tracing programs; prints why not.
pub(crate) fn kernel_allows_bpf() -> bool {
    let refusal = if std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        create_ring(4096)
            .err()
            .map(|error| format!("cannot create a ring buffer: {error:#}"))
    } else {
        Some("the kernel has no BTF".to_owned())
    };
    if let Some(refusal) = refusal {
        skip(&refusal);
        return false;
    }
    true
}

/// Says why a test ends early; a failure if `REQUIRE_KERNEL` is set.
pub(crate) fn skip(reason: &str) {
    assert!(
        std::env::var_os("REQUIRE_KERNEL").is_none(),
        "REQUIRE_KERNEL is set, but {reason}"
    );
    eprintln!("skipped: {reason}");
}

/// Whether the kernel needs the legacy build of the runtime library: it lacks `bpf_get_current_task_btf` (5.11).
pub(crate) fn is_legacy() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse::<u32>().unwrap_or_default());
    (numbers.next(), numbers.next()) < (Some(5), Some(11))
}

/// A test program of `c/tests`, in the build that this kernel needs.
macro_rules! object {
    ($name:literal) => {
        if $crate::harness::is_legacy() {
            &include_bytes!(concat!(env!("OUT_DIR"), "/test-", $name, "-legacy.bpf.o"))[..]
        } else {
            &include_bytes!(concat!(env!("OUT_DIR"), "/test-", $name, ".bpf.o"))[..]
        }
    };
}
pub(crate) use object;

fn create_ring(bytes: u32) -> Result<MapData, aya::maps::MapError> {
    MapData::create(aya_obj::Map::new_from_params(27, 0, 0, bytes, 0), "ring", None)
}

/// An object whose maps are ready and whose programs are not attached yet.
pub(crate) struct Loaded {
    pub(crate) bpf: Ebpf,
    pub(crate) btf: Btf,
    ring: RingBuf<MapData>,
    lane: RingBuf<MapData>,
}

/// Creates the maps of `object` with one ring of `ring_bytes`, and the enforcement lane.
pub(crate) fn load(object: &[u8], ring_bytes: u32) -> Loaded {
    let btf = Btf::from_sys_fs().unwrap();
    let mut bpf = EbpfLoader::new().btf(Some(&btf)).load(object).unwrap();
    let ring = create_ring(ring_bytes).unwrap();
    let lane = create_ring(65536).unwrap();
    let mut rings: ArrayOfMaps<_, MapData> = bpf.map_mut("tetra_rings").unwrap().try_into().unwrap();
    rings.set(0, &ring, 0).unwrap();
    rings.set(1, &lane, 0).unwrap();
    configure(&mut bpf, std::process::id(), 0);
    let open = |ring| RingBuf::try_from(Map::RingBuf(ring)).unwrap();
    Loaded {
        bpf,
        btf,
        ring: open(ring),
        lane: open(lane),
    }
}

/// The test programs look at the process that `agent_tgid` names.
fn configure(bpf: &mut Ebpf, agent_tgid: u32, wakeup_bytes: u32) {
    let config = Config {
        ring_shards: 1,
        cpus_per_shard: 4096,
        agent_tgid,
        wakeup_bytes,
        ..Config::default()
    };
    let mut configs: Array<_, [u8; size_of::<Config>()]> = bpf.map_mut("tetra_config").unwrap().try_into().unwrap();
    let config: [u8; size_of::<Config>()] = zerocopy::transmute!(config);
    configs.set(0, config, 0).unwrap();
}

impl Loaded {
    /// Changes which process the test programs look at.
    pub(crate) fn set_watched(&mut self, tgid: u32) {
        configure(&mut self.bpf, tgid, 0);
    }

    /// Changes from how many unread bytes on the reader is woken.
    pub(crate) fn set_wakeup_bytes(&mut self, bytes: u32) {
        configure(&mut self.bpf, std::process::id(), bytes);
    }

    /// Calls `take` with every record that is there.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Record<'_>)) {
        while let Some(item) = self.ring.next() {
            take(Record::parse(&item).expect("programs send whole records"));
        }
    }

    /// Loads and attaches a program on a BTF tracepoint.
    pub(crate) fn attach_tracepoint(&mut self, program: &str, tracepoint: &str) {
        let program: &mut aya::programs::BtfTracePoint = self.bpf.program_mut(program).unwrap().try_into().unwrap();
        program.load(tracepoint, &self.btf).unwrap();
        program.attach().unwrap();
    }

    /// Calls `take` with every record until it says that it has seen enough; fails after half a minute.
    pub(crate) fn read_until(&mut self, mut take: impl FnMut(Record<'_>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            while let Some(item) = self.ring.next() {
                let record = Record::parse(&item).expect("programs send whole records");
                if take(record) {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "the record that was waited for did not come");
            std::thread::yield_now();
        }
    }

    /// Sum over all CPUs.
    pub(crate) fn sensor_counter(&self, counter: SensorCounter) -> u64 {
        let counters: PerCpuArray<_, u64> = self.bpf.map("tetra_sensor_counters").unwrap().try_into().unwrap();
        counters.get(&(counter as u32), 0).unwrap().iter().sum()
    }

    /// Sum over all CPUs.
    pub(crate) fn policy_counter(&self, slot: u32, counter: PolicyCounter) -> u64 {
        let counters: PerCpuArray<_, [u64; POLICY_COUNTERS as usize]> =
            self.bpf.map("tetra_policy_counters").unwrap().try_into().unwrap();
        counters
            .get(&slot, 0)
            .unwrap()
            .iter()
            .map(|words| words[counter as usize])
            .sum()
    }

    /// The oldest record of the enforcement lane, which must be there.
    pub(crate) fn next_of_lane(&mut self) -> Vec<u8> {
        self.lane.next().expect("a record in the enforcement lane").to_vec()
    }

    /// The process record.
    pub(crate) fn process(&self, tgid: u32) -> Option<Process> {
        let processes: HashMap<_, u64, [u8; size_of::<Process>()]> =
            self.bpf.map("tetra_processes").unwrap().try_into().unwrap();
        let bytes = processes.get(&tgid.into(), 0).ok()?;
        Some(Process::read_from_bytes(&bytes).unwrap())
    }
}
