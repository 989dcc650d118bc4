//! Kernel file systems that the loader needs and that minimal systems do not mount.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::SysError;

/// A kernel file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filesystem {
    /// Tracepoint formats and the list of probeable functions.
    Tracefs,
    /// Pinned objects.
    Bpffs,
    /// `lsm`, `lockdown`.
    Securityfs,
    /// `sched/preempt`.
    Debugfs,
}

impl Filesystem {
    /// Places where it may be mounted, the usual one first.
    fn places(self) -> &'static [&'static str] {
        match self {
            Self::Tracefs => &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"],
            Self::Bpffs => &["/sys/fs/bpf"],
            Self::Securityfs => &["/sys/kernel/security"],
            Self::Debugfs => &["/sys/kernel/debug"],
        }
    }

    /// Its name for mount(2).
    fn name(self) -> &'static str {
        match self {
            Self::Tracefs => "tracefs",
            Self::Bpffs => "bpf",
            Self::Securityfs => "securityfs",
            Self::Debugfs => "debugfs",
        }
    }

    /// `f_type` of statfs(2).
    fn magic(self) -> i64 {
        match self {
            Self::Tracefs => 0x7472_6163,
            Self::Bpffs => 0xcafe_4a11,
            Self::Securityfs => 0x7363_6673,
            Self::Debugfs => 0x6462_6720,
        }
    }
}

/// Returns where a file system is mounted, mounting it at its usual place if it is nowhere.
///
/// # Errors
/// What mount(2) says.
pub fn ensure_mounted(filesystem: Filesystem) -> Result<PathBuf, SysError> {
    for place in filesystem.places() {
        if is_mounted(place, filesystem.magic()) {
            return Ok(PathBuf::from(place));
        }
    }
    let place = filesystem.places()[0];
    let target = super::c_string("mount", place)?;
    let kind = super::c_string("mount", filesystem.name())?;
    // SAFETY: all pointers are to NUL-terminated strings that outlive the call; no data is passed.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RELATIME,
            std::ptr::null(),
        )
    };
    if result == 0 {
        return Ok(PathBuf::from(place));
    }
    Err(SysError::last("mount", format!("{} at {place}", filesystem.name())).with_hint("mount it before the start"))
}

/// Whether a file system of this kind is mounted at a place.
fn is_mounted(place: &str, magic: i64) -> bool {
    if !Path::new(place).exists() {
        return false;
    }
    let Ok(path) = CString::new(place) else { return false };
    let mut info = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` is NUL-terminated and `info` is large enough for a statfs structure.
    if unsafe { libc::statfs(path.as_ptr(), info.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the structure was zeroed, which is a valid value of it, and then filled by the call.
    let info = unsafe { info.assume_init() };
    info.f_type == magic
}
