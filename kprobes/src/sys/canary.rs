//! Harmless system calls that self-tests watch and deny.

use super::SysError;

/// The calling thread's id, as `bpf_get_current_pid_tgid` has it in its lower half (in the initial pid namespace).
pub fn thread_id() -> u32 {
    // SAFETY: gettid takes no arguments and cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Asks for the process group of the own process by number, which passes `security_task_getpgid`.
///
/// # Errors
/// What a program that denies the call made of it.
pub fn getpgid_of_self() -> Result<(), SysError> {
    // SAFETY: getpid takes no arguments; getpgid only takes a number.
    let result = unsafe { libc::getpgid(libc::getpid()) };
    if result >= 0 {
        Ok(())
    } else {
        Err(SysError::last("getpgid", "self"))
    }
}
