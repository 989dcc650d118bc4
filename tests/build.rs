//! Builds the program that does what the tests watch. It is C and static, so that a test sees its system calls and nothing of a
//! language runtime's or the dynamic linker's.
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=programs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("activity");
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
        .arg(&out)
        .arg("programs/activity.c")
        .status()
        .expect("a C compiler (Debian: gcc, libc6-dev)");
    assert!(status.success(), "programs/activity.c does not compile");
    println!("cargo::rustc-env=TETRA_ACTIVITY={}", out.display());
}
