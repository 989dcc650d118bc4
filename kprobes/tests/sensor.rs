//! The base sensor on the running kernel: exec, fork and exit of a real process come out of the rings, in order.

use std::process::Command;
use std::time::{Duration, Instant};

use ebpf::record::{RECORD_CLONE, RECORD_EXEC, RECORD_EXIT, RecordHeader};
use kprobes::{LoadError, Sensor, SensorOptions};
use zerocopy::FromBytes;

mod support;

use support::guard;

#[test]
fn exec_and_exit_of_a_process_are_read() {
    if !guard::can_load() {
        return;
    }
    let sensor = match Sensor::load(&SensorOptions {
        ring_bytes: 1 << 20,
        ..SensorOptions::default()
    }) {
        Ok(sensor) => sensor,
        Err(error @ LoadError::Environment(_)) => panic!("the guard should have seen this: {error}"),
        Err(error) => panic!("{error}"),
    };
    for program in sensor.programs() {
        assert!(program.verified_instructions() > 0, "{} was verified", program.name());
    }
    let mut rings = sensor.rings().expect("rings");

    let mut child = Command::new("/bin/true").spawn().expect("spawn /bin/true");
    let tgid = child.id();
    assert!(child.wait().expect("wait").success());

    let mut kinds = Vec::new();
    let mut last = 0;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !kinds.contains(&RECORD_EXIT) {
        assert!(Instant::now() < deadline, "no exit record within 10 s, only {kinds:?}");
        rings.wait(Duration::from_millis(20)).expect("wait");
        rings
            .drain(|record| {
                let (header, _) = RecordHeader::read_from_prefix(record).expect("every record has a header");
                assert_eq!(header.size as usize, record.len());
                assert!(header.ktime >= last, "records come in the order of time");
                last = header.ktime;
                if header.tgid == tgid {
                    kinds.push(header.kind);
                }
            })
            .expect("drain");
    }
    kinds.retain(|kind| [RECORD_CLONE, RECORD_EXEC, RECORD_EXIT].contains(kind));
    assert_eq!(kinds, [RECORD_CLONE, RECORD_EXEC, RECORD_EXIT]);

    let counters = sensor.maps().counters().expect("counters");
    assert!(counters[0] >= 1, "execs sent: {counters:?}");
    assert_eq!(counters[1], 0, "execs lost");
    sensor.missed().expect("program info");
    assert_eq!(
        sensor.maps().processes().lookup(tgid).expect("lookup"),
        None,
        "the table forgets a process that is gone"
    );
    let own = sensor.maps().processes().lookup(std::process::id()).expect("lookup");
    assert_eq!(own, None, "a process from before is only known after a scan of /proc");
}
