//! Compiles the C side with clang.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Object name, source, extra flags.
const OBJECTS: [(&str, &str, &[&str]); 3] = [
    ("sensor.bpf.o", "c/sensor.bpf.c", &[]),
    ("runtime.bpf.o", "c/runtime.bpf.c", &[]),
    ("runtime-legacy.bpf.o", "c/runtime.bpf.c", &["-DTETRA_LEGACY"]),
];

fn main() {
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (object, source, flags) in OBJECTS {
        compile(&clang, source, &out.join(object), flags);
    }
    let tests = Path::new("c/tests");
    if let Ok(entries) = std::fs::read_dir(tests) {
        let mut sources: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        sources.sort();
        for source in sources {
            let (Some(source), Some(name)) = (source.to_str(), source.file_name().and_then(|name| name.to_str())) else {
                continue;
            };
            if let Some(stem) = name.strip_suffix(".bpf.c") {
                compile(&clang, source, &out.join(format!("test-{stem}.bpf.o")), &[]);
                compile(&clang, source, &out.join(format!("test-{stem}-legacy.bpf.o")), &["-DTETRA_LEGACY"]);
            }
        }
    }
}

fn compile(clang: &str, source: &str, object: &Path, flags: &[&str]) {
    let output = Command::new(clang)
        .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-std=gnu11", "-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-unused-function", "-Ic", "-fdebug-compilation-dir=."])
        .args(flags)
        .args(["-c", source, "-o"])
        .arg(object)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => fail(&format!(
            "cannot run `{clang}` ({error}); the kernel side is compiled with clang 14 or newer: `apt install clang`, or set CLANG"
        )),
    };
    if !output.status.success() {
        fail(&format!("`{clang}` failed on `{source}`:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
