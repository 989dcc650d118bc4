//! Says why a test that needs the kernel is skipped; with `REQUIRE_KERNEL=1` a skip is a failure.

#![allow(
    clippy::print_stderr,
    reason = "the reason of a skip belongs to the output of the test"
)]

/// Whether eBPF programs can be loaded here at all.
pub(crate) fn can_load() -> bool {
    match kprobes::kernel::check_environment() {
        Ok(()) => true,
        Err(error) => skip(&error.to_string()),
    }
}

/// Skips for a reason.
pub(crate) fn skip(reason: &str) -> bool {
    assert!(
        std::env::var_os("REQUIRE_KERNEL").is_none(),
        "REQUIRE_KERNEL is set, but: {reason}"
    );
    eprintln!("skipped: {reason}");
    false
}
