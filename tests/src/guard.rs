//! Capability guards: a test that needs something the kernel lacks says so and is counted as skipped.
//!
//! The guards look at the kernel themselves instead of asking the agent, so that a broken probe of the agent cannot hide
//! a test. With `REQUIRE_KERNEL=1` a missing capability is a failure.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a test may need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Root, and a kernel that allows BPF programs.
    Bpf,
    /// Hooks on kernel functions: kprobes or BPF trampolines.
    KernelFunctions,
    /// BPF programs among the active security modules.
    Lsm,
    /// A machine of its own: the test disturbs the one it runs on.
    Guest,
}

impl Need {
    /// Why it is missing, if it is.
    pub fn missing(self) -> Option<&'static str> {
        let is_guest = std::env::var_os("TETRA_LAB_KERNEL").is_some();
        match self {
            Self::Bpf => {
                // a process's directory belongs to the user it runs as
                let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
                let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
                (!is_root || !btf).then_some("needs root and a kernel with BTF")
            }
            Self::KernelFunctions => {
                let probes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
                (!probes).then_some("needs hooks on kernel functions; this kernel has no kprobes")
            }
            Self::Lsm => {
                let active = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
                (!active.trim().split(',').any(|module| module == "bpf"))
                    .then_some("needs BPF among the active security modules")
            }
            Self::Guest => (!is_guest).then_some("disturbs the machine it runs on: runs in the lab only"),
        }
    }
}

/// Whether all of `needs` are there. If not, says why `test` is skipped.
///
/// # Panics
/// If something is missing and `REQUIRE_KERNEL` is set.
pub fn allows(test: &str, needs: &[Need]) -> bool {
    let Some(reason) = needs.iter().find_map(|need| need.missing()) else {
        return true;
    };
    assert!(
        std::env::var_os("REQUIRE_KERNEL").is_none(),
        "{test}: {reason}, and REQUIRE_KERNEL is set"
    );
    skip(test, reason);
    false
}

/// Prints a figure that a test has measured, also if the test passes.
///
/// # Panics
/// If standard error is closed.
pub fn note(text: &str) {
    // the test harness keeps what goes through the macros of a test that passes
    writeln!(std::io::stderr(), "note: {text}").expect("standard error is open");
}

/// Says that `test` is skipped and why, and counts it in the file `$TETRA_SKIPS` if there is one.
///
/// # Panics
/// If that file cannot be written.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped {test}: {reason}");
    if let Some(path) = std::env::var_os("TETRA_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("TETRA_SKIPS names a writable file");
        writeln!(file, "{test}: {reason}").expect("TETRA_SKIPS can be written");
    }
}

/// Returns from the test, counted as skipped, unless the kernel has all that is named.
///
/// ```
/// # use tests::{requires, guard::Need};
/// fn some_test() {
///     requires!(Need::Bpf, Need::KernelFunctions);
/// }
/// ```
#[macro_export]
macro_rules! requires {
    ($($need:expr),+ $(,)?) => {
        if !$crate::guard::allows($crate::test_name!(), &[$($need),+]) {
            return;
        }
    };
}

/// Path of the function it stands in.
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        std::any::type_name_of_val(&here).trim_end_matches("::here")
    }};
}
