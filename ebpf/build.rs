//! Compiles the C side with clang.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Object name, source, extra flags.
const OBJECTS: [(&str, &str, &[&str]); 3] = [
    ("sensor.bpf.o", "c/sensor.bpf.c", &[]),
    ("runtime.bpf.o", "c/runtime.bpf.c", &[]),
    ("runtime-legacy.bpf.o", "c/runtime.bpf.c", &["-DTETRA_LEGACY"]),
];

/// Sources in `c/tests`.
const TEST_PROGRAMS: [&str; 3] = ["hooks", "layouts", "library"];

fn main() {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(error) = compile_all() {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn compile_all() -> Result<(), String> {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (object, source, flags) in OBJECTS {
        compile(&clang, source, &out.join(object), flags)?;
    }
    // Test programs, which integration tests take from OUT_DIR.
    for name in TEST_PROGRAMS {
        let source = format!("c/tests/{name}.bpf.c");
        compile(&clang, &source, &out.join(format!("test-{name}.bpf.o")), &[])?;
        compile(
            &clang,
            &source,
            &out.join(format!("test-{name}-legacy.bpf.o")),
            &["-DTETRA_LEGACY"],
        )?;
    }
    Ok(())
}

fn compile(clang: &str, source: &str, object: &Path, flags: &[&str]) -> Result<(), String> {
    let output = Command::new(clang)
        .args([
            "-g",
            "-O2",
            "-target",
            "bpf",
            "-mcpu=v3",
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-Wno-unused-function", "-Ic", "-fdebug-compilation-dir=."])
        .args(flags)
        .args(["-c", source, "-o"])
        .arg(object)
        .output()
        .map_err(|error| {
            format!(
                "cannot run `{clang}` ({error}): the kernel side is compiled with clang 14 or newer\n\
                 help: `apt install clang`, or name another with the environment variable CLANG"
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`{clang}` failed on `ebpf/{source}`:\n{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
