//! One function for each feature: `Ok` if it works, else the reason.

use std::fs;
use std::os::fd::AsFd;

use policy_compiler::btf::Btf;
use policy_compiler::btf::write::{BtfWriter, Linkage};
use policy_compiler::output::{AttachPoint, UprobeLink};

use super::canary::{Canary, DENY, Outcome, load_reason, watched_place};
use super::{Feature, Finding, Report};
use crate::assembler::{
    COPY_FROM_USER, GET_CURRENT_TASK_BTF, LOOP, MAP_UPDATE_ELEM, OVERRIDE_RETURN, SEND_SIGNAL, add_immediate, call,
    exit, load_function, load_map, mov, mov_immediate, store64,
};
use crate::program::LoadedProgram;
use crate::sys::{
    self, Filesystem, FuncInfo, Instruction, Map, MapShape, MapType, ProgramLoad, ProgramType, ensure_mounted,
};

/// `BPF_F_SLEEPABLE`
const SLEEPABLE: u32 = 1 << 4;

/// The system call that the canary watches.
const SYSCALL: &str = if cfg!(target_arch = "aarch64") {
    "__arm64_sys_getpgid"
} else {
    "__x64_sys_getpgid"
};
/// What it passes on its way.
const SECURITY_FUNCTION: &str = "security_task_getpgid";
const LSM_HOOK: &str = "task_getpgid";

/// Tries everything, for the calling thread.
pub(super) fn try_all(kernel: &Btf) -> Report {
    let canary = Canary::new(kernel);
    let findings = Feature::ALL.map(|feature| {
        let outcome = match &canary {
            Ok(canary) => try_one(feature, canary),
            Err(reason) => Err(reason.clone()),
        };
        Finding { feature, outcome }
    });
    Report {
        findings: findings.into(),
    }
}

fn try_one(feature: Feature, canary: &Canary<'_>) -> Result<(), String> {
    let nothing = Vec::new();
    let fires = |attach: &AttachPoint| canary.run(attach, 0, &nothing, 0).map(|_| ());
    match feature {
        Feature::Kprobe => fires(&AttachPoint::Kprobe { symbol: SYSCALL.into() })
            .and_then(|()| fires(&AttachPoint::Kretprobe { symbol: SYSCALL.into() })),
        Feature::KprobeMulti => {
            let symbols = || vec![SYSCALL.into(), SECURITY_FUNCTION.into()];
            fires(&AttachPoint::KprobeMulti { symbols: symbols() })
                .and_then(|()| fires(&AttachPoint::KretprobeMulti { symbols: symbols() }))
        }
        Feature::Fentry => fires(&AttachPoint::Fentry {
            function: SYSCALL.into(),
        })
        .and_then(|()| {
            fires(&AttachPoint::Fexit {
                function: SYSCALL.into(),
            })
        }),
        Feature::FmodRet => denies(canary.run(
            &AttachPoint::FmodRet {
                function: SECURITY_FUNCTION.into(),
            },
            0,
            &nothing,
            DENY,
        )),
        Feature::FmodRetSyscall => denies(canary.run(
            &AttachPoint::FmodRet {
                function: SYSCALL.into(),
            },
            0,
            &nothing,
            DENY,
        )),
        Feature::Uprobe => user_probes(canary, UprobeLink::PerfEvent),
        Feature::UprobeMulti => user_probes(canary, UprobeLink::Multi),
        Feature::Lsm => {
            denies(canary.run(&AttachPoint::Lsm { hook: LSM_HOOK.into() }, 0, &nothing, DENY)).map_err(with_lsm_list)
        }
        Feature::OverrideReturn => {
            let action = vec![mov(1, 6), mov_immediate(2, DENY), call(OVERRIDE_RETURN)];
            denies(canary.run(&AttachPoint::Kprobe { symbol: SYSCALL.into() }, 0, &action, 0))
        }
        Feature::Signal => {
            // SIGURG is ignored unless somebody asked for it.
            let action = vec![mov_immediate(1, libc::SIGURG), call(SEND_SIGNAL)];
            match canary
                .run(
                    &AttachPoint::TpBtf {
                        event: "sys_enter".into(),
                    },
                    0,
                    &action,
                    0,
                )?
                .action
            {
                0 => Ok(()),
                error => Err(format!("bpf_send_signal returned {error}")),
            }
        }
        Feature::Tracepoint => {
            let tracepoint = |subsystem: &str, event: &str| AttachPoint::Tracepoint {
                subsystem: subsystem.into(),
                event: event.into(),
            };
            fires(&tracepoint("raw_syscalls", "sys_enter"))
        }
        Feature::RawTracepoint => fires(&AttachPoint::RawTracepoint {
            event: "sys_enter".into(),
        }),
        Feature::TpBtf => fires(&AttachPoint::TpBtf {
            event: "sys_enter".into(),
        }),
        Feature::Loop => bpf_loop(),
        Feature::CurrentTaskBtf => {
            let code = [call(GET_CURRENT_TASK_BTF), mov_immediate(0, 7), exit()];
            runs(&ProgramLoad::new("tetra_task", ProgramType::RawTracepoint, &code), 7)
        }
        Feature::SleepableSyscall => {
            let action = vec![
                mov(1, 10),
                add_immediate(1, -8),
                mov_immediate(2, 8),
                mov_immediate(3, 0),
                call(COPY_FROM_USER),
            ];
            canary
                .run(
                    &AttachPoint::Fentry {
                        function: SYSCALL.into(),
                    },
                    SLEEPABLE,
                    &action,
                    0,
                )
                .map(|_| ())
        }
        Feature::SyscallProgram => {
            let code = [mov_immediate(0, 7), exit()];
            runs(
                &ProgramLoad {
                    flags: SLEEPABLE,
                    ..ProgramLoad::new("tetra_syscall", ProgramType::Syscall, &code)
                },
                7,
            )
        }
        Feature::RunTimeAllocation => run_time_allocation(),
    }
}

/// A user probe at a function of this program, and one at its return.
fn user_probes(canary: &Canary<'_>, by: UprobeLink) -> Result<(), String> {
    let place = watched_place().ok_or("the place of a function of this program is not known")?;
    let both = [
        AttachPoint::Uprobe {
            place: place.clone(),
            by,
        },
        AttachPoint::Uretprobe { place, by },
    ];
    both.iter()
        .try_for_each(|attach| canary.run(attach, 0, &Vec::new(), 0).map(|_| ()))
}

/// A canary that denies must be seen to deny.
fn denies(outcome: Result<Outcome, String>) -> Result<(), String> {
    match outcome?.call {
        Err(error) if error.errno == libc::EPERM => Ok(()),
        Err(error) => Err(format!("the call failed in another way: {error}")),
        Ok(()) => Err("programs run, but what they deny happens nevertheless".to_owned()),
    }
}

/// Names the LSMs that the kernel started with: BPF LSM programs attach whether or not `bpf` is one of them.
fn with_lsm_list(reason: String) -> String {
    let list = ensure_mounted(Filesystem::Securityfs)
        .ok()
        .and_then(|root| fs::read_to_string(root.join("lsm")).ok());
    match list {
        Some(list) if !list.trim().split(',').any(|name| name == "bpf") => {
            format!(
                "{reason}: `bpf` is not among the active LSMs ({}); boot with `lsm={},bpf`",
                list.trim(),
                list.trim()
            )
        }
        _ => reason,
    }
}

/// Loads a program and runs it once.
fn runs(load: &ProgramLoad<'_>, expected: u32) -> Result<(), String> {
    let program = LoadedProgram::load(load).map_err(|rejected| load_reason(&rejected))?;
    let run = sys::test_run_context(program.as_fd(), &mut []).map_err(|error| error.to_string())?;
    if run.return_value == expected {
        Ok(())
    } else {
        Err(format!(
            "a test run returned {} instead of {expected}",
            run.return_value
        ))
    }
}

/// Inserts into a hash that is not preallocated.
///
/// Before the kernel had an allocator of its own for programs (6.1) it let most of them use such maps, with a warning, although
/// one that interrupts the slab allocator can then hang the machine. Only to perf event programs, which may interrupt anything, it
/// always refused them. Whether they are accepted is asked first, so that no kernel comes to warn.
pub(super) fn run_time_allocation() -> Result<(), String> {
    let shape = MapShape {
        map_type: MapType::Hash,
        key_size: 8,
        value_size: 8,
        max_entries: 1,
        flags: MapShape::NO_PREALLOC,
    };
    let map = Map::create("tetra_alloc", shape, None).map_err(|error| error.to_string())?;
    let mut code = vec![mov_immediate(1, 7), store64(10, 1, -8)];
    code.extend(load_map(1, map.as_fd()));
    code.extend([mov(2, 10), add_immediate(2, -8), mov(3, 2), mov_immediate(4, 0)]);
    code.extend([call(MAP_UPDATE_ELEM), exit()]);
    let interrupting = ProgramLoad::new("tetra_alloc", ProgramType::PerfEvent, &code);
    LoadedProgram::load(&interrupting).map_err(|rejected| load_reason(&rejected))?;
    runs(&ProgramLoad::new("tetra_alloc", ProgramType::RawTracepoint, &code), 0)
}

/// A loop of four rounds, whose callback needs BTF.
fn bpf_loop() -> Result<(), String> {
    let mut btf = BtfWriter::new();
    let int = btf.int("int", 4, true);
    let pointer = btf.ptr(policy_compiler::btf::TypeId::VOID);
    let entry = btf.func_proto(int, &[("ctx", pointer)]);
    let entry = btf.func("tetra_loop", entry, Linkage::Global);
    let callback = btf.func_proto(int, &[("index", int), ("ctx", pointer)]);
    let callback = btf.func("tetra_round", callback, Linkage::Static);
    let btf = sys::btf_load("tetra_loop", &btf.finish()).map_err(|rejected| rejected.to_string())?;

    let mut code: Vec<Instruction> = vec![mov_immediate(1, 4)];
    // From the instruction after the address to the callback: five more, and the address's own second half.
    code.extend(load_function(2, 5));
    code.extend([mov_immediate(3, 0), mov_immediate(4, 0), call(LOOP), exit()]);
    let start = code.len() as u32;
    code.extend([mov_immediate(0, 0), exit()]);
    let functions = [
        FuncInfo {
            instruction: 0,
            type_id: entry.0,
        },
        FuncInfo {
            instruction: start,
            type_id: callback.0,
        },
    ];
    let load = ProgramLoad {
        btf: Some(btf.as_fd()),
        func_info: &functions,
        ..ProgramLoad::new("tetra_loop", ProgramType::RawTracepoint, &code)
    };
    runs(&load, 4)
}
