//! Locked-memory limit: before 5.11 maps and programs are charged to it.

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
