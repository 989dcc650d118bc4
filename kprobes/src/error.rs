//! What can go wrong on the way into the kernel.

use std::fmt;

use tracingpolicy_crd::Diagnostic;

use crate::object::ObjectError;
use crate::sys::SysError;

/// Why something could not be loaded or attached.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This machine cannot run the agent at all.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A system call failed that has nothing to do with a policy.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// An object is malformed. Objects come from our own compiler and build, so this is a defect.
    #[error("object `{name}`: {error}")]
    Object {
        /// Which object.
        name: String,
        /// What is wrong with it.
        #[source]
        error: ObjectError,
    },
    /// The kernel refused a program of ours that does not come from a policy.
    #[error("program `{name}` was refused: {error}{}", LogTail(.log))]
    Rejected {
        /// Which program.
        name: String,
        /// What the call said.
        #[source]
        error: SysError,
        /// What the verifier said, its last lines.
        log: String,
    },
    /// Two objects for one attach point: the caller must compile a set as a whole.
    #[error("two programs for `{name}`: a set has one program for each hook")]
    DuplicateHook {
        /// The attach point.
        name: String,
    },
    /// Policies that this kernel does not take, each with the line at fault.
    #[error("{}", Messages(.0))]
    Policy(Vec<Diagnostic>),
}

/// Why the agent cannot work on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Neither root nor the capabilities.
    #[error("not allowed to load eBPF programs; help: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE")]
    NotPrivileged,
    /// bpf(2) does not exist.
    #[error("this kernel has no bpf(2); help: a kernel with CONFIG_BPF_SYSCALL=y is needed, 5.10 or later")]
    NoBpf,
    /// The kernel does not describe its types.
    #[error(
        "{path} is missing; help: a kernel with CONFIG_DEBUG_INFO_BTF=y is needed, as all current distributions have"
    )]
    NoBtf {
        /// Where it should be.
        path: &'static str,
    },
    /// The kernel's description of its types cannot be read.
    #[error("{path} cannot be used: {reason}")]
    BadBtf {
        /// Where it was read.
        path: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Kernel lockdown in confidentiality mode forbids programs to read kernel memory.
    #[error(
        "the kernel is locked down (`confidentiality`), which forbids eBPF to read kernel memory; help: boot with `lockdown=integrity` or none"
    )]
    LockedDown,
    /// A system call filter (a container's seccomp profile) forbids bpf(2).
    #[error(
        "bpf(2) is forbidden although this process has the privileges; help: a seccomp profile may be in the way: run the container privileged"
    )]
    Forbidden,
}

/// The last lines of a verifier log.
struct LogTail<'a>(&'a String);

impl fmt::Display for LogTail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, "\n{}", self.0)
        }
    }
}

/// All messages of some diagnostics in one line.
struct Messages<'a>(&'a Vec<Diagnostic>);

impl fmt::Display for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", diagnostic.code, diagnostic.message)?;
        }
        Ok(())
    }
}
