//! Limits: locked memory, to which maps and programs are charged before 5.11, and open files.

use super::SysError;

/// Raises `RLIMIT_MEMLOCK` to infinity.
///
/// Kernels since 5.11 charge eBPF memory to the memory cgroup instead, so callers may ignore a failure there.
///
/// # Errors
/// `EPERM` without `CAP_SYS_RESOURCE`.
pub fn raise_memlock() -> Result<(), SysError> {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `limit` is a valid rlimit structure that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } == 0 {
        return Ok(());
    }
    Err(SysError::last("setrlimit(RLIMIT_MEMLOCK)", "infinity")
        .with_hint("start with CAP_SYS_RESOURCE or `ulimit -l unlimited`"))
}

/// Raises the number of files that may be open to what the process is allowed: a hook takes up to five descriptors, and the
/// usual limit is 1024.
///
/// # Errors
/// What getrlimit(2) and setrlimit(2) say.
pub fn raise_open_files() -> Result<(), SysError> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit structure to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(SysError::last("getrlimit(RLIMIT_NOFILE)", "open files"));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid rlimit structure that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(SysError::last("setrlimit(RLIMIT_NOFILE)", "open files"));
    }
    Ok(())
}
