//! Whether the kernel preempts tasks inside itself, and how to keep it from doing so where that would lose events.
//!
//! This cannot be found by doing: a task is preempted when the scheduler says so, which a probe can wait for in vain. The
//! kernel tells its mode in debugfs; without that, its version string and command line do. Where they leave it open the answer
//! is yes: attaching for a preemptible kernel costs more and is right on any.

use std::fs;
use std::sync::OnceLock;

use super::{Filesystem, ensure_mounted};

/// Whether programs that run with preemption on can be preempted.
pub fn programs_are_preemptible() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(ask)
}

/// While it lives, the calling thread gives its CPU to no thread of the usual scheduling policies.
///
/// A map command of bpf(2) raises `bpf_prog_active` of its CPU, so that programs do not run into the lock that it holds
/// (`bpf_disable_instrumentation`, include/linux/bpf.h). A kernel that preempts the caller there goes on to run others on that CPU
/// without any kprobe or tracepoint program, for whole time slices: seen on 7.3 as 127 calls lost at once. A thread of the
/// lowest real-time priority is not preempted by them. Interrupts still come, as on every kernel.
///
/// Where the policy cannot be changed (no `CAP_SYS_NICE`, no real-time budget in the cgroup) the command runs as it is, and
/// what is lost stands in the kernel's count (`missed` of a hook).
pub(super) struct Unpreempted {
    /// What to go back to; `None` where nothing was changed.
    policy: Option<libc::c_int>,
}

impl Unpreempted {
    pub(super) fn begin() -> Self {
        if !programs_are_preemptible() {
            return Self { policy: None };
        }
        // SAFETY: the call takes no memory; 0 is the calling thread.
        let policy = unsafe { libc::sched_getscheduler(0) };
        // what has a real-time or deadline policy is at least as hard to preempt
        let is_usual = matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
        Self {
            policy: (is_usual && set_policy(libc::SCHED_FIFO, 1)).then_some(policy),
        }
    }
}

impl Drop for Unpreempted {
    fn drop(&mut self) {
        if let Some(policy) = self.policy {
            // giving up a priority is always allowed
            set_policy(policy, 0);
        }
    }
}

/// Sets the policy of the calling thread; the nice value stays. Whether that worked.
fn set_policy(policy: libc::c_int, priority: libc::c_int) -> bool {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `parameters` is a valid structure that the call only reads; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

fn ask() -> bool {
    let mode = ensure_mounted(Filesystem::Debugfs)
        .ok()
        .and_then(|root| fs::read_to_string(root.join("sched/preempt")).ok());
    mode.as_deref().and_then(by_mode).unwrap_or_else(|| {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        by_version(&read("/proc/sys/kernel/version"), &read("/proc/cmdline"))
    })
}

/// Reads `none voluntary (full) lazy`, where the mode in force stands in parentheses (kernel/sched/debug.c).
fn by_mode(text: &str) -> Option<bool> {
    let (_, rest) = text.split_once('(')?;
    let (mode, _) = rest.split_once(')')?;
    Some(!matches!(mode, "none" | "voluntary"))
}

/// Reads `#1 SMP PREEMPT_DYNAMIC Debian 6.12.95-1`: a kernel that is not built to preempt does not mention it (init/Makefile).
fn by_version(version: &str, command_line: &str) -> bool {
    let word = version.split_whitespace().find(|word| word.starts_with("PREEMPT"));
    match word {
        None => false,
        Some("PREEMPT_DYNAMIC") => command_line
            .split_whitespace()
            .rev()
            .find_map(|parameter| parameter.strip_prefix("preempt="))
            .is_none_or(|mode| !matches!(mode, "none" | "voluntary")),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_its_policy_back() {
        // SAFETY: the call takes no memory; 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let unpreempted = Unpreempted::begin();
        if unpreempted.policy.is_some() {
            assert_eq!((policy(), before), (libc::SCHED_FIFO, libc::SCHED_OTHER));
        }
        drop(unpreempted);
        assert_eq!(policy(), before);
    }

    #[test]
    fn the_mode_in_parentheses_counts() {
        assert_eq!(by_mode("none (voluntary) full \n"), Some(false));
        assert_eq!(by_mode("(none) voluntary full\n"), Some(false));
        assert_eq!(by_mode("none voluntary (full) lazy\n"), Some(true));
        assert_eq!(by_mode("full (lazy) \n"), Some(true));
        assert_eq!(by_mode(""), None);
    }

    #[test]
    fn without_the_mode_the_version_and_command_line_tell() {
        assert!(!by_version("#1 SMP Debian 5.10.251-1", ""));
        assert!(by_version("#1 SMP PREEMPT_RT Debian 6.12.95-1", ""));
        assert!(by_version("#1 SMP PREEMPT_DYNAMIC Debian 7.3.4-1", "ro quiet"));
        assert!(by_version("#1 SMP PREEMPT_DYNAMIC", "preempt=none preempt=full"));
        assert!(!by_version("#1 SMP PREEMPT_DYNAMIC", "ro preempt=voluntary"));
    }
}
