//! Compares the Rust mirror of `c/record.h` with the BTF of the built objects: every size, every field offset, and the maps.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "layout/btf.rs"]
mod btf;

use std::mem::offset_of;

use btf::Btf;
use ebpf::record::*;
use ebpf::{RUNTIME, RUNTIME_LEGACY, SENSOR, maps};

/// Names every type and constant; the other objects know only what their programs refer to.
static LAYOUTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/test-layouts.bpf.o"));

/// Compares one struct with the objects that know it; at least one must.
fn check_struct(objects: &[Btf], name: &str, size: usize, fields: &[(&str, usize)]) {
    let mut known = 0;
    for btf in objects {
        let Some(layout) = btf.struct_layout(name) else {
            continue;
        };
        known += 1;
        assert_eq!(layout.size, size, "size of struct {name}");
        let expected: Vec<(String, usize)> = fields.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        assert_eq!(layout.fields, expected, "fields of struct {name}");
    }
    assert!(known > 0, "no object knows struct {name}");
}

macro_rules! field_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $c_field:literal) => {
        $c_field
    };
}

#[test]
fn structs_are_those_of_the_objects() {
    let objects: Vec<Btf> = [SENSOR, RUNTIME, RUNTIME_LEGACY, LAYOUTS].map(Btf::of_object).into();
    let objects = &objects[..];
    macro_rules! all {
        ($($c:literal, $rust:ident { $($field:ident $(as $c_field:literal)?),* $(,)? })*) => {
            $(
                check_struct(objects, $c, size_of::<$rust>(), &[
                    $((field_name!($field $($c_field)?), offset_of!($rust, $field))),*
                ]);
                // does not compile if a field is missing above
                let _ = |value: $rust| { let $rust { $($field: _),* } = value; };
            )*
        };
    }
    all! {
        "process", Process { start_ktime, parent_start_ktime, parent_tgid, nspid, flags, pad, policy_words, cgroup_id, ns, capabilities }
        "record_header", RecordHeader { size, kind, flags, ktime, tgid, tid, start_ktime }
        "record_creds", RecordCreds {
            uid, gid, euid, egid, suid, sgid, fsuid, fsgid, securebits, auid, cap_permitted, cap_effective, cap_inheritable,
        }
        "record_exec", RecordExec {
            header, old_start_ktime, parent_start_ktime, parent_tgid, nspid, process_flags, exec_flags, cgroup_id, inode, nlink,
            ns, filename_len, args_len, args_total, cwd_len, cgroup_name_len, creds,
        }
        "record_clone", RecordClone { header, parent_start_ktime, parent_tgid, nspid, process_flags, pad }
        "record_exit", RecordExit { header, exit_code, pad }
        "record_data", RecordData { header, offset, len }
        "record_policy", RecordPolicy {
            header, call_id, cgroup_id, object_tag, template_index, action, argument_count, owner_tid,
        }
        "record_argument", RecordArgument { status, len }
        "argument_path", ArgumentPath { flags, mode, pad }
        "argument_sock", ArgumentSock {
            cookie, mark, priority, family, r#type as "type", protocol, state, sport, dport, pad, saddr, daddr,
        }
        "argument_sockaddr", ArgumentSockaddr { family, port, pad, addr }
        "argument_user_namespace", ArgumentUserNamespace { level, uid, gid, inum }
        "argument_cred", ArgumentCred {
            uid, gid, euid, egid, suid, sgid, fsuid, fsgid, securebits, pad, cap_permitted, cap_effective, cap_inheritable,
            user_ns,
        }
        "argument_bpf_prog", ArgumentBpfProg { r#type as "type", insn_cnt, name }
        "argument_bpf_map", ArgumentBpfMap { r#type as "type", key_size, value_size, max_entries, name }
        "argument_perf_event", ArgumentPerfEvent { config, probe_offset, r#type as "type", pad, func }
        "argument_module", ArgumentModule { taints, signature, pad, name }
        "argument_buffer", ArgumentBuffer { size, place }
        "record_buffer", RecordBuffer { header, place, offset, len, pad }
        "text", Text { len, flags, mode, status, slot, bytes }
        "scratch", Scratch { frame, level, cursor, sock, sockaddr, record, slack, busy }
        "pending_key", PendingKey { pid_tgid, hook_key, pad }
        "sock_owner_key", SockOwnerKey { sock, policy_slot, pad }
        "sock_owner", SockOwner { tgid, tid, start_ktime }
        "ratelimit_key", RateLimitKey { hash, scope_id, object_tag, template_index }
        "policy_set", PolicySet { hooks, slots }
        "cgroup_view", CgroupView { epoch, controller }
        "config", Config { ring_shards, cpus_per_shard, wakeup_bytes, agent_tgid, host_pid_ns, pad }
    }
}

#[test]
fn constants_are_those_of_the_objects() {
    macro_rules! constants {
        ($($name:ident),* $(,)?) => { [$((concat!("C_", stringify!($name)), $name as u64)),*] };
    }
    macro_rules! counters {
        ($($c:literal = $rust:expr),* $(,)?) => { [$((concat!("C_", $c), $rust as u64)),*] };
    }
    let plain = constants![
        PROCESS_EXECED,
        PROCESS_CLONED,
        PROCESS_FROM_PROCFS,
        PROCESS_IN_INIT_TREE,
        POLICY_WORDS,
        RECORD_EXEC,
        RECORD_CLONE,
        RECORD_EXIT,
        RECORD_DATA,
        RECORD_POLICY,
        RECORD_BUFFER,
        BUFFER_PIECES,
        RECORD_FLAG_RETURN,
        RECORD_FLAG_AWAIT_RETURN,
        RECORD_FLAG_CANCEL,
        RECORD_FLAG_UNDECIDED,
        RECORD_FLAG_UNKNOWN_PROCESS,
        RECORD_FLAG_KERNEL_STACK,
        RECORD_FLAG_USER_STACK,
        EXEC_SETUID,
        EXEC_SETGID,
        EXEC_FILE_CAPS,
        EXEC_FILELESS,
        EXEC_DELETED,
        EXEC_ROOT_CWD,
        EXEC_NO_CWD,
        EXEC_ERROR_CWD,
        EXEC_ERROR_FILENAME,
        EXEC_ERROR_ARGS,
        EXEC_TRUNCATED_ARGS,
        EXEC_DATA_ARGS,
        EXEC_MISSED_PARENT,
        EXEC_CWD_UNRESOLVED,
        EXEC_ERROR_CGROUP,
        EXEC_TRUNCATED_FILENAME,
        ARG_OK,
        ARG_FAULT,
        ARG_TRUNCATED,
        ARG_USER_FAULT,
        ARG_RESOLVE_FAULT,
        PATH_UNRESOLVED,
        PATH_DELETED,
        TEXT_MAX,
        TEXT_SLACK,
        SCRATCH_LEVELS,
        SCRATCH_TEXTS,
        FRAME_WORDS,
        RECORD_MAX,
        RECORD_SLACK,
        SENSOR_COUNTERS,
        POLICY_COUNTERS,
        POLICY_MODE_ENFORCE,
        POLICY_MODE_MONITOR,
        WORKLOAD_NONE,
        WORKLOAD_ALL,
        WORKLOADS_RESERVED,
        CGROUP_CACHE,
        CGROUP_LEVELS,
        HOOK_FILTER_BITS,
    ];
    let counters = counters![
        "SENSOR_EXEC_SENT" = SensorCounter::ExecSent,
        "SENSOR_EXEC_LOST" = SensorCounter::ExecLost,
        "SENSOR_CLONE_SENT" = SensorCounter::CloneSent,
        "SENSOR_CLONE_LOST" = SensorCounter::CloneLost,
        "SENSOR_EXIT_SENT" = SensorCounter::ExitSent,
        "SENSOR_EXIT_LOST" = SensorCounter::ExitLost,
        "SENSOR_DATA_SENT" = SensorCounter::DataSent,
        "SENSOR_DATA_LOST" = SensorCounter::DataLost,
        "SENSOR_PROCESS_TABLE_FULL" = SensorCounter::ProcessTableFull,
        "SENSOR_SCRATCH_EXHAUSTED" = SensorCounter::ScratchExhausted,
        "POLICY_POST_SENT" = PolicyCounter::PostSent,
        "POLICY_POST_LOST" = PolicyCounter::PostLost,
        "POLICY_NOPOST" = PolicyCounter::NoPost,
        "POLICY_RATE_LIMITED" = PolicyCounter::RateLimited,
        "POLICY_UNDECIDED" = PolicyCounter::Undecided,
        "POLICY_SIGNAL" = PolicyCounter::Signal,
        "POLICY_MONITOR_SIGNAL" = PolicyCounter::MonitorSignal,
        "POLICY_OVERRIDE" = PolicyCounter::Override,
        "POLICY_MONITOR_OVERRIDE" = PolicyCounter::MonitorOverride,
        "POLICY_SCRATCH_EXHAUSTED" = PolicyCounter::ScratchExhausted,
        "POLICY_RETURN_REJECTED" = PolicyCounter::ReturnRejected,
        "POLICY_PENDING_FULL" = PolicyCounter::PendingFull,
    ];
    let mut expected: Vec<(String, u64)> = plain
        .into_iter()
        .chain(counters)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut found: Vec<(String, u64)> = Btf::of_object(LAYOUTS)
        .enum_values("constants")
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn maps_are_those_of_the_objects() {
    let objects = [SENSOR, RUNTIME, RUNTIME_LEGACY].map(Btf::of_object);
    for map in maps::ALL {
        let mut known = 0;
        for btf in &objects {
            let Some(definition) = btf.map_definition(map.name) else {
                continue;
            };
            known += 1;
            let expected = [map.map_type as u32, map.max_entries, map.key_size, map.value_size];
            assert_eq!(
                definition, expected,
                "type, entries, key and value size of {}",
                map.name
            );
        }
        assert!(known > 0, "no object defines {}", map.name);
    }
    for btf in &objects {
        for name in btf.map_names() {
            assert!(
                maps::ALL.iter().any(|map| map.name == name),
                "{name} is not listed in `maps::ALL`"
            );
        }
    }
}

/// Generated programs load these objects without a relocation of data: nothing but code and maps may be in them.
#[test]
fn objects_hold_no_global_variables() {
    for object in [SENSOR, RUNTIME, RUNTIME_LEGACY] {
        for section in btf::section_names(object) {
            let is_data = [".rodata", ".data", ".bss"]
                .iter()
                .any(|prefix| section.starts_with(prefix));
            // what a program puts there itself
            assert!(!is_data || section == ".rodata.automata", "section {section}");
        }
    }
}
