//! The system calls of the loader: bpf(2), perf_event_open(2), and the few others that it needs.
//!
//! This is the only module of the project with `unsafe`, and the only one that knows `union bpf_attr`. Everything it
//! hands out owns its descriptor or its mapping, and every failure names the call, the object and the error.
//! It knows nothing of policies: what to load and where stands in the modules above.
#![allow(
    unsafe_code,
    reason = "system calls and shared memory; each block says why it is sound"
)]

mod array;
mod attr;
mod canary;
mod link;
mod map;
mod memory;
mod mount;
mod object;
mod perf;
mod poll;
mod preemption;
mod program;
mod ring;
mod rlimit;
mod time;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(crate) use array::WordMapping;
pub use canary::{getpgid_of_self, thread_id};
pub use link::{link_kprobe_multi, link_perf_event, link_tracing, link_uprobe_multi, raw_tracepoint_open};
pub use map::{Map, MapShape, MapType, UpdateMode, possible_cpus};
pub use mount::{Filesystem, ensure_mounted};
pub use object::{
    MapInfo, ProgramInfo, link_id, link_missed, map_info, map_shape_of, obj_get, obj_pin, program_exists, program_info,
};
pub use perf::{perf_kprobe, perf_set_program, perf_tracepoint, perf_uprobe};
pub use poll::Poll;
pub use preemption::programs_are_preemptible;
pub use program::{
    FuncInfo, Instruction, LineInfo, Loaded, ProgramLoad, ProgramType, Rejected, TestRun, attach_type, btf_load,
    prog_load, test_run, test_run_context,
};
pub(crate) use ring::{RingMapping, RingRecord};
pub use rlimit::{raise_memlock, raise_open_files};
pub use time::monotonic_ns;

/// A system call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SysError {
    /// The call, with the command of a multiplexed one: `bpf(BPF_PROG_LOAD)`.
    pub syscall: &'static str,
    /// What it was about: the name of a map, program, symbol or file.
    pub object: String,
    /// The error number.
    pub errno: i32,
    /// What to do about it, where that is known.
    pub hint: Option<&'static str>,
}

impl SysError {
    /// Captures `errno` of the call that has just failed.
    pub(crate) fn last(syscall: &'static str, object: impl Into<String>) -> Self {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Self {
            syscall,
            object: object.into(),
            errno,
            hint: None,
        }
    }

    /// An error of a file operation.
    pub(crate) fn io(syscall: &'static str, object: impl Into<String>, error: &io::Error) -> Self {
        Self {
            syscall,
            object: object.into(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The kernel's name of the error (`EPERM`), or an empty text for one that the loader never meets.
    pub fn name(&self) -> &'static str {
        match self.errno {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::ESRCH => "ESRCH",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::E2BIG => "E2BIG",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::EINVAL => "EINVAL",
            libc::EMFILE => "EMFILE",
            libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            libc::ENOSPC => "ENOSPC",
            libc::ENOSYS => "ENOSYS",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            524 => "ENOTSUPP",
            _ => "",
        }
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}` failed: ", self.syscall, self.object)?;
        match self.name() {
            "ENOTSUPP" => write!(f, "operation not supported (ENOTSUPP)")?,
            "" => write!(f, "{}", io::Error::from_raw_os_error(self.errno))?,
            name => write!(f, "{} ({name})", describe(self.errno))?,
        }
        if let Some(hint) = self.hint {
            write!(f, "; help: {hint}")?;
        }
        Ok(())
    }
}

/// The library's text for an error number, without Rust's `(os error N)`.
fn describe(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// Makes a C string of a name that may come from a policy.
fn c_string(syscall: &'static str, text: &str) -> Result<CString, SysError> {
    CString::new(text).map_err(|_| SysError {
        syscall,
        object: text.replace('\0', "\\0"),
        errno: libc::EINVAL,
        hint: Some("names may not contain NUL bytes"),
    })
}

/// Issues a bpf(2) command whose argument is `attr`.
fn bpf<T>(command: u32, attr: &mut T) -> Result<i64, i32> {
    loop {
        // SAFETY: `attr` is a live, initialised `#[repr(C)]` structure of `attr` module types, exactly as long as the size
        // passed; the kernel reads and writes only these bytes and the buffers they point to, and the callers in this
        // module keep those buffers alive and long enough until the call returns.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                std::ptr::from_mut(attr),
                size_of::<T>(),
            )
        };
        if result >= 0 {
            return Ok(result);
        }
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        // BPF_PROG_LOAD gives EAGAIN when the verifier was interrupted by a signal.
        if errno != libc::EAGAIN || command != attr::BPF_PROG_LOAD {
            return Err(errno);
        }
    }
}

/// As [`bpf`], for commands that return a descriptor.
fn bpf_fd<T>(command: u32, attr: &mut T) -> Result<OwnedFd, i32> {
    bpf(command, attr).map(|fd| own(fd as RawFd))
}

/// Takes ownership of a descriptor that the kernel has just returned.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: `fd` is the non-negative result of a system call that creates a descriptor; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The first `\0`-terminated text in a buffer.
fn text_of(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

/// A kernel object name: at most 15 bytes of what the kernel allows in names.
fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'_' || from == b'.' {
            from
        } else {
            b'_'
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_call_object_and_errno() {
        let error = SysError {
            syscall: "bpf(BPF_MAP_CREATE)",
            object: "tetra_rings".into(),
            errno: libc::EPERM,
            hint: Some("run as root"),
        };
        assert_eq!(
            error.to_string(),
            "bpf(BPF_MAP_CREATE) of `tetra_rings` failed: operation not permitted (EPERM); help: run as root"
        );
    }

    #[test]
    fn object_names_are_cut_and_cleaned() {
        assert_eq!(&object_name("tetra_sensor_counters"), b"tetra_sensor_co\0");
        assert_eq!(&object_name("a-b/c")[..6], b"a_b_c\0");
    }
}
