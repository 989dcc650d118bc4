//! What the running kernel can do, found out by doing it.
//!
//! Every feature is tried as it will be used: a small program is loaded, attached and made to run by a harmless system call of
//! the probing thread (`getpgid`), and where it should deny, the call must really fail. Versions, configuration files and
//! successful attaching prove nothing: BPF LSM programs attach without error on kernels where they never run, and
//! distributions switch features off that their version has. The programs act on the probing thread alone. The one thing that
//! is read instead is whether the kernel preempts.

mod canary;
mod features;
mod namespaces;
mod tracefs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::thread;

use policy_compiler::binary::Binary;
use policy_compiler::facts::{Arch, Features, KernelFacts};

use crate::binary;
use crate::error::LoadError;
use crate::kernel::{kernel_btf, kernel_release};
use crate::sys::programs_are_preemptible;

/// What a compilation needs to know beside types and features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tracepoints whose format is wanted, by (subsystem, event).
    pub tracepoints: Vec<(String, String)>,
    /// User binaries that are hooked, by path, with the digests that are wanted of each.
    pub binaries: BTreeMap<String, BTreeSet<String>>,
    /// Whether the list of probeable functions is wanted (some 50,000 names).
    pub functions: bool,
}

/// Something that a kernel has or lacks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Feature {
    /// kprobes.
    Kprobe,
    /// Many kprobes by one link.
    KprobeMulti,
    /// fentry and fexit programs.
    Fentry,
    /// fmod_ret programs that deny at `security_*` functions.
    FmodRet,
    /// fmod_ret programs that deny system calls.
    FmodRetSyscall,
    /// BPF LSM programs that deny.
    Lsm,
    /// `bpf_override_return`.
    OverrideReturn,
    /// `bpf_send_signal`.
    Signal,
    /// Classic tracepoints.
    Tracepoint,
    /// Raw tracepoints.
    RawTracepoint,
    /// Raw tracepoints with typed arguments.
    TpBtf,
    /// `bpf_loop`.
    Loop,
    /// `bpf_get_current_task_btf`.
    CurrentTaskBtf,
    /// Sleepable programs on system calls.
    SleepableSyscall,
    /// Programs that are run by a system call.
    SyscallProgram,
    /// Hash maps whose elements are allocated when programs insert them, wherever programs run.
    RunTimeAllocation,
    /// uprobes and uretprobes.
    Uprobe,
    /// uprobes by a link of their own kind.
    UprobeMulti,
}

impl Feature {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 18] = [
        Self::Kprobe,
        Self::KprobeMulti,
        Self::Fentry,
        Self::Uprobe,
        Self::UprobeMulti,
        Self::Tracepoint,
        Self::RawTracepoint,
        Self::TpBtf,
        Self::Lsm,
        Self::FmodRet,
        Self::FmodRetSyscall,
        Self::OverrideReturn,
        Self::Signal,
        Self::Loop,
        Self::CurrentTaskBtf,
        Self::SleepableSyscall,
        Self::SyscallProgram,
        Self::RunTimeAllocation,
    ];

    /// Short name, as `tetra probe` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::KprobeMulti => "kprobe.multi",
            Self::Fentry => "fentry",
            Self::FmodRet => "fmod_ret",
            Self::FmodRetSyscall => "fmod_ret.syscall",
            Self::Lsm => "lsm",
            Self::OverrideReturn => "override_return",
            Self::Signal => "send_signal",
            Self::Tracepoint => "tracepoint",
            Self::RawTracepoint => "raw_tp",
            Self::TpBtf => "tp_btf",
            Self::Loop => "bpf_loop",
            Self::CurrentTaskBtf => "current_task_btf",
            Self::SleepableSyscall => "sleepable.syscall",
            Self::SyscallProgram => "syscall",
            Self::RunTimeAllocation => "no_prealloc",
            Self::Uprobe => "uprobe",
            Self::UprobeMulti => "uprobe.multi",
        }
    }

    /// What it is good for.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Kprobe => "watch any kernel function",
            Self::KprobeMulti => "watch many kernel functions by one link",
            Self::Fentry => "watch kernel functions at a third of a kprobe's cost",
            Self::FmodRet => "deny at security hooks without BPF LSM",
            Self::FmodRetSyscall => "deny system calls",
            Self::Lsm => "deny at LSM hooks",
            Self::OverrideReturn => "deny at functions marked for error injection",
            Self::Signal => "kill or signal the acting process",
            Self::Tracepoint => "watch tracepoints",
            Self::RawTracepoint => "watch tracepoints cheaply",
            Self::TpBtf => "the base process sensor",
            Self::Loop => "loops in the kernel without unrolling",
            Self::CurrentTaskBtf => "read the current task without helper calls",
            Self::SleepableSyscall => "read user memory that is not resident",
            Self::SyscallProgram => "run programs for tests",
            Self::RunTimeAllocation => "a process table that takes memory for the processes there are",
            Self::Uprobe => "watch functions and static probes of user programs",
            Self::UprobeMulti => "watch them by links that can be pinned",
        }
    }
}

/// What was found of one feature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which.
    pub feature: Feature,
    /// `Err` with the reason if it does not work.
    pub outcome: Result<(), String>,
}

/// What was found of all features.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// In the order of [`Feature::ALL`].
    pub findings: Vec<Finding>,
}

/// What enforcement on this kernel amounts to, by self-test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enforcement {
    /// Ways to deny an operation that were seen to deny one.
    pub deny: Vec<Feature>,
    /// Whether a process can be killed from a program.
    pub kill: bool,
}

impl Report {
    /// Whether a feature works.
    pub fn has(&self, feature: Feature) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.feature == feature && finding.outcome.is_ok())
    }

    /// Why a feature does not work; `None` if it does.
    pub fn reason(&self, feature: Feature) -> Option<&str> {
        self.findings
            .iter()
            .find(|finding| finding.feature == feature)?
            .outcome
            .as_ref()
            .err()
            .map(String::as_str)
    }

    /// The same in the compiler's form.
    pub fn features(&self) -> Features {
        Features {
            kprobe: self.has(Feature::Kprobe),
            kprobe_multi: self.has(Feature::KprobeMulti),
            fentry: self.has(Feature::Fentry),
            fmod_ret: self.has(Feature::FmodRet),
            fmod_ret_syscall: self.has(Feature::FmodRetSyscall),
            lsm: self.has(Feature::Lsm),
            override_return: self.has(Feature::OverrideReturn),
            tracepoint: self.has(Feature::Tracepoint),
            raw_tracepoint: self.has(Feature::RawTracepoint),
            tp_btf: self.has(Feature::TpBtf),
            bpf_loop: self.has(Feature::Loop),
            current_task_btf: self.has(Feature::CurrentTaskBtf),
            sleepable_syscall: self.has(Feature::SleepableSyscall),
            syscall_program: self.has(Feature::SyscallProgram),
            uprobe: self.has(Feature::Uprobe),
            uprobe_multi: self.has(Feature::UprobeMulti),
            preemptible_programs: programs_are_preemptible(),
        }
    }

    /// What can deny, and whether anything can kill.
    pub fn enforcement(&self) -> Enforcement {
        let ways = [
            Feature::Lsm,
            Feature::FmodRet,
            Feature::FmodRetSyscall,
            Feature::OverrideReturn,
        ];
        Enforcement {
            deny: ways.into_iter().filter(|way| self.has(*way)).collect(),
            kill: self.has(Feature::Signal),
        }
    }
}

/// Tries all features. This is done once in the life of a process, in a thread of its own that the programs act upon; later
/// calls return the same report.
///
/// # Errors
/// [`LoadError::Environment`] if eBPF cannot be used at all.
pub fn report() -> Result<&'static Report, LoadError> {
    static REPORT: OnceLock<Report> = OnceLock::new();
    if let Some(report) = REPORT.get() {
        return Ok(report);
    }
    crate::kernel::check_environment()?;
    let kernel = kernel_btf()?;
    let fresh = thread::scope(|scope| scope.spawn(|| features::try_all(&kernel)).join());
    let fresh = fresh.unwrap_or_else(|_| Report {
        findings: Feature::ALL
            .map(|feature| Finding {
                feature,
                outcome: Err("the probe itself failed".to_owned()),
            })
            .into(),
    });
    Ok(REPORT.get_or_init(|| fresh))
}

/// Whether maps may be made that allocate their elements at run time ([`Feature::RunTimeAllocation`]). Tries only this, once in
/// the life of a process; `false` where eBPF cannot be used at all.
pub(crate) fn allocates_at_run_time() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| features::run_time_allocation().is_ok())
}

/// Everything that a compilation for this kernel may depend on.
///
/// # Errors
/// [`LoadError::Environment`] if eBPF cannot be used at all.
pub fn collect(needs: &Needs) -> Result<KernelFacts, LoadError> {
    let features = report()?.features();
    let mut tracepoints = BTreeMap::new();
    for (subsystem, event) in &needs.tracepoints {
        let events = match event.strip_suffix('*') {
            Some(prefix) => tracefs::events(subsystem, prefix),
            None => vec![event.clone()],
        };
        for event in events {
            if let Some(format) = tracefs::format(subsystem, &event) {
                tracepoints.insert((subsystem.clone(), event), format);
            }
        }
    }
    Ok(KernelFacts {
        release: kernel_release(),
        arch: arch(),
        btf: Arc::clone(&kernel_btf()?),
        features,
        tracepoints,
        host_namespaces: namespaces::of_host(),
        binaries: binaries(&needs.binaries),
        functions: if needs.functions && (features.kprobe || features.fentry) {
            tracefs::functions()
        } else {
            BTreeSet::new()
        },
    })
}

/// What is known of user binaries, by path; the reason for those that cannot be hooked.
pub fn binaries(needed: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, Result<Arc<Binary>, String>> {
    let read = |(path, digests): (&String, _)| (path.clone(), binary::read(path, digests).map(Arc::new));
    needed.iter().map(read).collect()
}

/// Instruction set of this build.
fn arch() -> Arch {
    if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else {
        Arch::X86_64
    }
}
