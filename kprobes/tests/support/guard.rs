//! Says why a test that needs the kernel is skipped, and counts it in the file `$TETRA_SKIPS` if there is one; with
//! `REQUIRE_KERNEL=1` a skip is a failure.

#![allow(
    clippy::print_stderr,
    reason = "the reason of a skip belongs to the output of the test"
)]

use std::io::Write as _;

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
    if let Some(path) = std::env::var_os("TETRA_SKIPS") {
        // with one thread tests run on the main one, which has no test's name
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main").map(str::to_owned);
        let program = std::env::current_exe()
            .ok()
            .and_then(|path| Some(path.file_stem()?.to_string_lossy().rsplit_once('-')?.0.to_owned()));
        let name = test.or(program).unwrap_or_default();
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("TETRA_SKIPS names a writable file");
        file.write_all(format!("{name}: {reason}\n").as_bytes())
            .expect("TETRA_SKIPS can be written");
    }
    false
}

/// Shows a figure that a test has measured, also where it passes.
pub(crate) fn note(text: &str) {
    // the test harness keeps what goes through the macros of a test that passes
    writeln!(std::io::stderr(), "note: {text}").expect("standard error is open");
}
