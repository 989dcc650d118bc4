use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::*;

/// Compiles C code, if the machine has a compiler, and reads the binary.
fn compile(code: &str, options: &[&str]) -> Binary {
    let directory = tempfile::tempdir().expect("temporary directory");
    let source = directory.path().join("program.c");
    let program = directory.path().join("program");
    std::fs::write(&source, code).expect("source");
    let compiled = Command::new("cc")
        .args(options)
        .args([OsStr::new("-o"), program.as_os_str(), source.as_os_str()])
        .status()
        .expect("a C compiler");
    assert!(compiled.success());
    read(&program)
}

fn read(path: &Path) -> Binary {
    let bytes = std::fs::read(path).expect("binary");
    Binary::parse(&*bytes).expect("an ELF file")
}

const PROGRAM: &str = "int here(int a) { return a + 1; }\nint main(void) { return here(0); }\n";

#[test]
fn functions_are_found_by_name_whether_or_not_the_binary_is_loaded_elsewhere() {
    for options in [["-no-pie", "-O0"], ["-pie", "-O0"]] {
        let binary = compile(PROGRAM, &options);
        let function = binary.functions["here"];
        assert!(binary.is_executable(function.offset), "{options:?}");
        assert!(function.size > 0);
        assert!(!binary.is_go);
        assert!(binary.functions.contains_key("main"));
    }
}

#[test]
fn the_dynamic_table_is_enough() {
    let binary = compile(PROGRAM, &["-shared", "-fPIC", "-s"]);
    assert!(binary.functions.contains_key("here"));
}

#[test]
fn what_is_imported_is_told_from_what_is_there() {
    let code = "#include <stdio.h>\nint main(int n, char **v) { return puts(v[0]) + n; }\n";
    let binary = compile(code, &["-O0"]);
    assert!(binary.imports.contains("puts"));
    assert!(!binary.functions.contains_key("puts"));
}

#[test]
fn bytes_that_are_no_binary_are_refused() {
    for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0x7f; 200]] {
        assert_eq!(Binary::parse(bytes), Err(ParseError::NotElf64));
    }
}
