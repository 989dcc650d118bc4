//! Objects that clang makes of `tests/programs/hooks.bpf.c`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use policy_compiler::output::{AttachPoint, HookObject, SourceLine};

use super::guard;

const SOURCE: &str = include_str!("../programs/hooks.bpf.c");

/// The system call wrapper, and what it passes.
pub(crate) const SYSCALL: &str = if cfg!(target_arch = "aarch64") {
    "__arm64_sys_getpgid"
} else {
    "__x64_sys_getpgid"
};
pub(crate) const SECURITY_FUNCTION: &str = "security_task_getpgid";

/// The compiled programs, which count from policy slot `slot` on.
pub(crate) struct Objects {
    elf: Vec<u8>,
    slot: u32,
}

/// One program of the object: its section, symbol, and slot less the first one.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) section: &'static str,
    pub(crate) symbol: &'static str,
    pub(crate) slot: u32,
}

/// Compiles the programs; `None`, with the reason printed, if there is no clang.
pub(crate) fn compile(slot: u32) -> Option<Objects> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = directory.path().join("hooks.bpf.c");
    let object = directory.path().join("hooks.bpf.o");
    fs::write(&source, SOURCE).expect("write the source");
    let output = Command::new("clang")
        .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-c"])
        .args([format!("-DTGID={}", std::process::id()), format!("-DSLOT={slot}")])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(Objects {
            elf: read(&object),
            slot,
        }),
        Ok(output) => panic!("clang: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            guard::skip(&format!("clang cannot be run: {error}"));
            None
        }
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("clang wrote it")
}

impl Objects {
    /// The program for an attach point.
    pub(crate) fn hook(&self, attach: AttachPoint) -> HookObject {
        let program = program_of(&attach);
        self.object(attach, program.section, program.symbol, self.slot + program.slot)
    }

    /// A program that the verifier refuses.
    pub(crate) fn bad(&self, event: &str) -> HookObject {
        self.object(
            AttachPoint::RawTracepoint {
                event: event.to_owned(),
            },
            "raw_tp/bad",
            "on_bad",
            self.slot,
        )
    }

    fn object(&self, attach: AttachPoint, section: &str, symbol: &str, slot: u32) -> HookObject {
        let source_lines = SOURCE.lines().enumerate().map(|(index, text)| SourceLine {
            file: Arc::from("hooks.bpf.c"),
            line: index as u32 + 1,
            column: (text.len() - text.trim_start().len()) as u32 + 1,
            text: Arc::from(text.trim()),
        });
        HookObject {
            attach,
            elf: self.elf.clone(),
            section: section.to_owned(),
            symbol: symbol.to_owned(),
            tag: slot + 1,
            templates: Vec::new(),
            source_lines: source_lines.collect(),
            enforces: false,
            reasons: Vec::new(),
            policy_slots: vec![slot],
            hook_bit: 0,
        }
    }
}

/// Which program of the object is for which attach point.
pub(crate) fn program_of(attach: &AttachPoint) -> Program {
    let program = |section, symbol, slot| Program { section, symbol, slot };
    match attach {
        AttachPoint::Kprobe { .. } => program("kprobe/f", "on_kprobe", 0),
        AttachPoint::Kretprobe { .. } => program("kretprobe/f", "on_kretprobe", 1),
        AttachPoint::KprobeMulti { .. } => program("kprobe.multi/f", "on_kprobe_multi", 2),
        AttachPoint::KretprobeMulti { .. } => program("kretprobe.multi/f", "on_kretprobe_multi", 10),
        AttachPoint::Fentry { .. } => program("fentry/f", "on_fentry", 3),
        AttachPoint::Fexit { .. } => program("fexit/f", "on_fexit", 4),
        AttachPoint::Tracepoint { .. } => program("tracepoint/f", "on_tracepoint", 5),
        AttachPoint::RawTracepoint { .. } => program("raw_tp/f", "on_raw_tp", 6),
        AttachPoint::TpBtf { .. } => program("tp_btf/f", "on_tp_btf", 7),
        AttachPoint::FmodRet { .. } => program("fmod_ret/f", "on_fmod_ret", 8),
        AttachPoint::Lsm { .. } => program("lsm/f", "on_lsm", 9),
        // no system call passes there: `user_hooks` tests them
        AttachPoint::Uprobe { .. } | AttachPoint::Uretprobe { .. } => unreachable!("getpgid(2) has no user probe"),
    }
}

/// The attach points of getpgid(2) that this kernel can use.
pub(crate) fn attach_points() -> Vec<AttachPoint> {
    use kprobes::probe::Feature;
    let report = kprobes::probe::report().expect("eBPF can be used");
    let syscall = || SYSCALL.to_owned();
    let all = [
        (Feature::Kprobe, AttachPoint::Kprobe { symbol: syscall() }),
        (Feature::Kprobe, AttachPoint::Kretprobe { symbol: syscall() }),
        (
            Feature::KprobeMulti,
            AttachPoint::KprobeMulti {
                symbols: vec![syscall()],
            },
        ),
        (
            Feature::KprobeMulti,
            AttachPoint::KretprobeMulti {
                symbols: vec![syscall()],
            },
        ),
        (Feature::Fentry, AttachPoint::Fentry { function: syscall() }),
        (Feature::Fentry, AttachPoint::Fexit { function: syscall() }),
        (
            Feature::Tracepoint,
            AttachPoint::Tracepoint {
                subsystem: "raw_syscalls".into(),
                event: "sys_enter".into(),
            },
        ),
        (
            Feature::RawTracepoint,
            AttachPoint::RawTracepoint {
                event: "sys_enter".into(),
            },
        ),
        (
            Feature::TpBtf,
            AttachPoint::TpBtf {
                event: "sys_enter".into(),
            },
        ),
        (
            Feature::FmodRet,
            AttachPoint::FmodRet {
                function: SECURITY_FUNCTION.into(),
            },
        ),
        (
            Feature::Lsm,
            AttachPoint::Lsm {
                hook: "task_getpgid".into(),
            },
        ),
    ];
    // What is lacking is no skip: the probe's own test knows where it must not be.
    all.into_iter()
        .filter(|(feature, _)| report.has(*feature))
        .map(|(_, attach)| attach)
        .collect()
}
