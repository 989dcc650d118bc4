//! Whether the kernel preempts tasks inside itself.
//!
//! This cannot be found by doing: a task is preempted when the scheduler says so, which a probe can wait for in vain. The
//! kernel tells its mode in debugfs; without that, its version string and command line do. Where they leave it open the answer
//! is yes: attaching for a preemptible kernel costs more and is right on any.

use std::fs;

use crate::sys::{Filesystem, ensure_mounted};

/// Whether programs that run with preemption on can be preempted.
pub(super) fn is_possible() -> bool {
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
