//! The probes on the running kernel. What must hold everywhere is asserted; the rest is printed, and compared with what is
//! known of the lab's kernels.
#![allow(
    clippy::print_stdout,
    reason = "the findings are the point of running this in the lab"
)]

use kprobes::probe::{self, Feature, Needs};

mod support;

use support::guard;

/// What is known to work on the kernels of the lab (Debian's), by release prefix. `Signal` and the tracepoints work on all.
fn expected(release: &str) -> Option<Vec<Feature>> {
    use Feature::{
        CurrentTaskBtf, Fentry, FmodRet, FmodRetSyscall, Kprobe, KprobeMulti, Loop, Lsm, RunTimeAllocation,
        SleepableSyscall, SyscallProgram, Uprobe, UprobeMulti,
    };
    let all = vec![Kprobe, Fentry, FmodRet, Uprobe];
    let since_6_1 = [Loop, CurrentTaskBtf, SyscallProgram, RunTimeAllocation];
    let features = match release.split('.').take(2).collect::<Vec<_>>().join(".").as_str() {
        "5.10" => all,
        "6.1" => [all, since_6_1.to_vec()].concat(),
        "6.12" => [all, since_6_1.to_vec(), vec![KprobeMulti, UprobeMulti]].concat(),
        "7.3" => [
            all,
            since_6_1.to_vec(),
            vec![KprobeMulti, UprobeMulti, FmodRetSyscall, SleepableSyscall],
        ]
        .concat(),
        _ => return None,
    };
    // 5.10 has BPF LSM, too, but Debian does not switch it on; the others depend on the command line.
    let lsm = lsm_is_active().then_some(Lsm);
    Some(
        [
            features,
            lsm.into_iter().collect(),
            vec![
                Feature::Tracepoint,
                Feature::RawTracepoint,
                Feature::TpBtf,
                Feature::Signal,
            ],
        ]
        .concat(),
    )
}

/// Whether the kernel was started with `bpf` among its LSMs. The probe does not ask: it tries.
fn lsm_is_active() -> bool {
    let root = kprobes::sys::ensure_mounted(kprobes::sys::Filesystem::Securityfs).expect("securityfs");
    std::fs::read_to_string(root.join("lsm")).is_ok_and(|list| list.trim().split(',').any(|name| name == "bpf"))
}

#[test]
fn every_feature_works_or_has_a_reason() {
    if !guard::can_load() {
        return;
    }
    let report = probe::report().expect("the guard allowed it");
    for finding in &report.findings {
        println!(
            "{:18} {}",
            finding.feature.name(),
            finding.outcome.as_ref().err().map_or("works", String::as_str)
        );
    }
    for feature in [Feature::RawTracepoint, Feature::TpBtf] {
        assert_eq!(report.reason(feature), None, "the sensor needs {}", feature.name());
    }
    let release = kprobes::kernel::kernel_release();
    if let Some(expected) = expected(&release) {
        for feature in Feature::ALL {
            assert_eq!(
                report.has(feature),
                expected.contains(&feature),
                "{} on {release}: {:?}",
                feature.name(),
                report.reason(feature)
            );
        }
    }
}

#[test]
fn facts_hold_what_was_asked_for() {
    if !guard::can_load() {
        return;
    }
    let name = |subsystem: &str, event: &str| (subsystem.to_owned(), event.to_owned());
    let needs = Needs {
        tracepoints: vec![name("sched", "sched_switch"), name("sched", "no_such_event")],
        functions: true,
        ..Needs::default()
    };
    let facts = probe::collect(&needs).expect("facts");
    assert!(facts.btf.struct_by_name("task_struct").is_some());
    let format = &facts.tracepoints[&name("sched", "sched_switch")];
    assert!(
        format
            .fields
            .iter()
            .any(|field| field.name == "prev_pid" && field.size == 4)
    );
    assert!(!facts.tracepoints.contains_key(&name("sched", "no_such_event")));
    if facts.features.kprobe {
        assert!(
            facts.functions.contains("security_file_open"),
            "{} functions",
            facts.functions.len()
        );
    }
    assert!(facts.host_namespaces["Pid"] != 0);
}
