use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn config() -> TableConfig {
    TableConfig {
        capacity: 64,
        max_exited: 32,
        ..TableConfig::default()
    }
}

fn clone_record(tgid: u32, start: u64, parent: (u32, u64)) -> CloneRecord {
    CloneRecord {
        tgid,
        start: KernelTime(start),
        parent_tgid: parent.0,
        parent_start: parent.1,
        nspid: 0,
        process_flags: flag::PROCESS_CLONED,
    }
}

fn exec_record(tgid: u32, start: u64, old: u64, parent: (u32, u64)) -> ExecRecord<'static> {
    ExecRecord {
        tgid,
        start: KernelTime(start),
        old_start: old,
        parent_tgid: parent.0,
        parent_start: parent.1,
        process_flags: flag::PROCESS_CLONED | flag::PROCESS_EXECED,
        filename: b"/bin/x",
        args: b"-c\0a b\0",
        cwd: b"/srv",
        ..ExecRecord::default()
    }
}

fn exit_record(tgid: u32, start: u64, time: u64) -> ExitRecord {
    ExitRecord {
        tgid,
        start: KernelTime(start),
        time: KernelTime(time),
        exit_code: 0,
    }
}

#[test]
fn fork_exec_exit_have_one_identity_and_the_right_parents() {
    let mut table = ProcessTable::new(config());
    table.exec(&exec_record(10, 100, 0, (0, 0)));
    table.clone_process(&clone_record(11, 200, (10, 100)));
    let exec = table.exec(&exec_record(11, 300, 200, (10, 100)));
    assert_eq!(exec.process.key, ProcessKey::new(11, 300));
    assert_eq!(exec.parent.unwrap().key, ProcessKey::new(10, 100));
    assert_eq!(exec.process.flags.to_string(), "execve clone");
    assert_eq!(&*exec.process.image.arguments, "-c \"a b\"");

    // a second image: its parent is the first, and it is no clone
    let again = table.exec(&exec_record(11, 400, 300, (10, 100)));
    assert_eq!(again.parent.unwrap().key, ProcessKey::new(11, 300));
    assert_eq!(again.process.flags.to_string(), "execve");

    let exit = table.exit(&exit_record(11, 400, 500));
    assert_eq!(exit.process.key, ProcessKey::new(11, 400));
    assert_eq!(exit.parent.unwrap().key, ProcessKey::new(11, 300));
    assert_eq!(exit.time, KernelTime(500));
}

#[test]
fn a_fork_runs_its_parents_image() {
    let mut table = ProcessTable::new(config());
    table.exec(&exec_record(10, 100, 0, (0, 0)));
    table.clone_process(&clone_record(11, 200, (10, 100)));
    let exit = table.exit(&exit_record(11, 200, 300));
    assert_eq!(&*exit.process.image.binary, "/bin/x");
    assert_eq!(exit.process.flags.to_string(), "execve");
    assert_eq!(exit.parent.unwrap().key, ProcessKey::new(10, 100));
}

#[test]
fn relative_names_and_directories_follow_the_flags() {
    let mut table = ProcessTable::new(config());
    let record = ExecRecord {
        filename: b"./run",
        cwd: b"/srv/app",
        ..exec_record(5, 1, 0, (0, 0))
    };
    assert_eq!(&*table.exec(&record).process.image.binary, "/srv/app/run");
    let record = ExecRecord {
        exec_flags: flag::EXEC_ROOT_CWD,
        filename: b"run",
        cwd: b"",
        ..exec_record(6, 2, 0, (0, 0))
    };
    let event = table.exec(&record);
    assert_eq!(&*event.process.image.binary, "/run");
    assert_eq!(&*event.process.image.cwd, "/");
    assert_eq!(event.process.flags.to_string(), "execve rootcwd clone");
    let record = ExecRecord {
        exec_flags: flag::EXEC_NO_CWD,
        cwd: b"junk",
        ..exec_record(7, 3, 0, (0, 0))
    };
    assert_eq!(&*table.exec(&record).process.image.cwd, "");
}

#[test]
fn long_arguments_come_in_chunks_and_their_loss_is_marked() {
    let mut table = ProcessTable::new(config());
    let data = |tgid, offset, bytes| DataRecord {
        tgid,
        exec_start: KernelTime(50),
        offset,
        bytes,
    };
    table.data(&data(5, 0, b"one\0tw"));
    table.data(&data(5, 6, b"o\0"));
    let record = ExecRecord {
        exec_flags: flag::EXEC_DATA_ARGS,
        args: b"",
        args_total: 8,
        ..exec_record(5, 50, 0, (0, 0))
    };
    let event = table.exec(&record);
    assert_eq!(&*event.process.image.arguments, "one two");
    assert_eq!(event.process.flags.to_string(), "execve clone dataArgs");

    let record = ExecRecord { tgid: 6, ..record };
    assert_eq!(
        table.exec(&record).process.flags.to_string(),
        "execve errorArgs clone dataArgs"
    );
    assert_eq!(table.stats().lost_arguments, 1);
}

#[test]
fn exits_that_overtake_leave_nothing_behind() {
    let mut table = ProcessTable::new(config());
    let exit = table.exit(&exit_record(20, 200, 300));
    assert!(exit.process.is_unknown() && exit.parent.is_none());
    table.clone_process(&clone_record(20, 200, (0, 0)));
    assert!(table.get(ProcessKey::new(20, 200)).is_none());
    table.exit(&exit_record(21, 250, 300));
    let exec = table.exec(&exec_record(21, 250, 200, (0, 0)));
    assert_eq!(exec.process.key, ProcessKey::new(21, 250));
    for tick in 1..4 {
        table.collect(KernelTime(tick * 100_000_000_000));
    }
    assert_eq!(table.stats().entries, 1);
}

#[test]
fn exited_processes_stay_for_two_ticks_and_as_long_as_children_live() {
    let mut table = ProcessTable::new(config());
    let seconds = |s: u64| KernelTime(s * 1_000_000_000);
    assert!(table.collect(seconds(1)));
    table.exec(&exec_record(10, 100, 0, (0, 0)));
    table.clone_process(&clone_record(11, 200, (10, 100)));
    table.exit(&exit_record(10, 100, 300));
    for tick in 1..6 {
        assert!(table.collect(seconds(1 + tick * 30)));
        assert!(!table.collect(seconds(2 + tick * 30)));
    }
    assert_eq!(table.references(ProcessKey::new(10, 100)), 1, "held by its child");
    table.exit(&exit_record(11, 200, 400));
    table.collect(seconds(200));
    assert!(table.get(ProcessKey::new(11, 200)).is_some(), "one tick is not enough");
    table.collect(seconds(230));
    assert_eq!(table.stats().entries, 1);
}

#[test]
fn lost_exits_are_found_out() {
    let mut table = ProcessTable::new(config());
    table.exec(&exec_record(10, 100, 0, (0, 0)));
    table.exec(&exec_record(11, 110, 0, (0, 0)));
    table.exec(&exec_record(12, 900, 0, (0, 0)));
    assert_eq!(
        table.reconcile(KernelTime(500), |tgid| tgid == 10),
        [ProcessKey::new(11, 110)]
    );
    assert_eq!(table.stats().exited, 1);
    assert_eq!(table.references(ProcessKey::new(12, 900)), 1, "too young to ask about");
}

#[test]
fn ancestors_reach_down_to_the_first_process() {
    let mut table = ProcessTable::new(TableConfig {
        ancestors: true,
        ..config()
    });
    table.exec(&exec_record(1, 10, 0, (0, 0)));
    table.exec(&exec_record(20, 20, 0, (1, 10)));
    table.exec(&exec_record(30, 30, 0, (20, 20)));
    let event = table.exec(&exec_record(40, 40, 0, (30, 30)));
    let tgids: Vec<u32> = event.ancestors.iter().map(|p| p.key.tgid).collect();
    assert_eq!(event.parent.unwrap().key.tgid, 30);
    assert_eq!(tgids, [20, 1]);
}

/// What a process is to the model: alive, and who its parent is.
#[derive(Clone, Debug)]
struct ModelProcess {
    alive: bool,
    parent: ProcessKey,
}

#[derive(Clone, Debug)]
enum Step {
    Fork { parent: usize },
    Exec { process: usize },
    Exit { process: usize },
    Tick,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..100).prop_map(|parent| Step::Fork { parent }),
        3 => (0usize..100).prop_map(|process| Step::Exec { process }),
        3 => (0usize..100).prop_map(|process| Step::Exit { process }),
        1 => Just(Step::Tick),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    /// Against a model that forgets nothing: living processes are known with the right parent, exited ones go in the end,
    /// the bound holds.
    #[test]
    fn agrees_with_a_model_that_forgets_nothing(steps in steps(), ancestors in any::<bool>(), capacity in 8usize..400) {
        let max_exited = capacity / 2;
        let mut table = ProcessTable::new(TableConfig { capacity, max_exited, ancestors, ..TableConfig::default() });
        let mut model: BTreeMap<ProcessKey, ModelProcess> = BTreeMap::new();
        let mut time = 1_000u64;
        let mut seconds = 0;
        table.exec(&exec_record(1, 10, 0, (0, 0)));
        model.insert(ProcessKey::new(1, 10), ModelProcess { alive: true, parent: ProcessKey::KERNEL });
        for step in steps {
            time += 1;
            let living: Vec<ProcessKey> = model.iter().filter(|(_, p)| p.alive).map(|(key, _)| *key).collect();
            let pick = |index: usize| living.get(index % living.len().max(1)).copied();
            match step {
                Step::Fork { parent } => if let Some(parent) = pick(parent) {
                    let key = ProcessKey::new(time as u32, time);
                    table.clone_process(&clone_record(key.tgid, time, (parent.tgid, parent.start.0)));
                    model.insert(key, ModelProcess { alive: true, parent });
                },
                Step::Exec { process } => if let Some(old) = pick(process) {
                    let parent = model[&old].parent;
                    let event = table.exec(&exec_record(old.tgid, time, old.start.0, (parent.tgid, parent.start.0)));
                    prop_assert_eq!(event.process.key, ProcessKey::new(old.tgid, time));
                    model.get_mut(&old).unwrap().alive = false;
                    model.insert(event.process.key, ModelProcess { alive: true, parent: event.process.parent });
                },
                Step::Exit { process } => if let Some(key) = pick(process) {
                    table.exit(&exit_record(key.tgid, key.start.0, time));
                    model.get_mut(&key).unwrap().alive = false;
                },
                Step::Tick => { seconds += 31; table.collect(KernelTime(seconds * 1_000_000_000)); }
            }
            let stats = table.stats();
            prop_assert!(stats.entries <= capacity.max(2));
            prop_assert!(table.unreferenced.len() <= max_exited);
            if stats.evictions == 0 {
                for (key, process) in model.iter().filter(|(_, p)| p.alive) {
                    let known = table.get(*key);
                    prop_assert!(known.is_some_and(|k| k.parent == process.parent), "{:?} {:?}", key, known);
                    prop_assert!(table.references(*key) >= 1);
                }
            }
        }
        // everybody exits: two ticks later only the kernel is left
        for (key, _) in model.iter().filter(|(_, p)| p.alive) {
            table.exit(&exit_record(key.tgid, key.start.0, time + 1));
        }
        let mut rounds = 0;
        while table.stats().entries > 1 && rounds < 600 {
            seconds += 31;
            table.collect(KernelTime(seconds * 1_000_000_000));
            rounds += 1;
        }
        prop_assert_eq!(table.stats().entries, 1, "after {} ticks", rounds);
        prop_assert_eq!(table.stats().exited, 0);
        prop_assert!(ancestors || rounds <= 3);
    }
}
