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

/// Parsed binaries come from wherever a policy points: whatever is damaged in them, reading ends, and in time.
#[test]
fn damaged_binaries_do_not_panic() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (source, program) = (directory.path().join("a.c"), directory.path().join("a"));
    // with a note of a static probe, whose text and addresses can be damaged too
    let probe = r#"__asm__(".pushsection .note.stapsdt, \"\", \"note\"\n.balign 4\n.4byte 8, 34, 3\n.asciz \"stapsdt\"\n.8byte main, 0, 0\n.asciz \"p\"\n.asciz \"n\"\n.asciz \"4@$1\"\n.balign 4\n.popsection\n");"#;
    std::fs::write(&source, format!("{PROGRAM}{probe}")).expect("source");
    let built = Command::new("cc")
        .args(["-no-pie", "-Wl,--build-id", "-o"])
        .args([&program, &source])
        .status();
    assert!(built.expect("a C compiler").success());
    let whole = std::fs::read(&program).expect("binary");
    let binary = Binary::parse(&*whole).expect("an ELF file");
    assert_eq!(binary.probes.len(), 1);
    assert!(binary.digests.iter().any(|digest| digest.starts_with("build-id:")));

    proptest::proptest!(|(changes in proptest::collection::vec((0..whole.len(), proptest::num::u8::ANY), 1..24),
                          header in proptest::collection::vec((0..64usize, proptest::num::u8::ANY), 0..3),
                          length in 0..=whole.len())| {
        let mut bytes = whole.clone();
        for (at, byte) in changes.into_iter().chain(header) {
            bytes[at] = byte;
        }
        drop(Binary::parse(&*bytes));
        drop(Binary::parse(&bytes[..length]));
    });
}
