//! Objects that clang makes of `tests/programs/relocations.bpf.c`, relocated for the running kernel and run by it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use policy_compiler::btf::Btf;

use super::*;
use crate::kernel::{check_environment, kernel_btf};
use crate::program::{LoadedObject, MapSource, ProgramKind};
use crate::sys::{self, Map, MapShape, ProgramType, SysError};

struct NoMaps;

impl MapSource for NoMaps {
    fn shape(&self, _name: &str) -> Option<MapShape> {
        None
    }

    fn find(&self, _name: &str) -> Result<Option<&Map>, SysError> {
        Ok(None)
    }
}

#[allow(
    clippy::print_stderr,
    reason = "the reason of a skip belongs to the output of the test"
)]
fn skip(reason: &str) {
    assert!(
        std::env::var_os("REQUIRE_KERNEL").is_none(),
        "REQUIRE_KERNEL is set, but: {reason}"
    );
    eprintln!("skipped: {reason}");
}

/// `None`, with the reason printed, where there is no clang.
fn compile(optimisation: &str) -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/relocations.bpf.c");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let object = directory.path().join("relocations.bpf.o");
    let mut clang = Command::new("clang");
    clang
        .args(["-g", optimisation, "-target", "bpf", "-mcpu=v3", "-c"])
        .arg(source)
        .arg("-o")
        .arg(&object);
    match clang.output() {
        Ok(output) if output.status.success() => Some(fs::read(&object).expect("clang wrote it")),
        Ok(output) => panic!("clang: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skip(&format!("clang cannot be run: {error}"));
            None
        }
    }
}

/// What each program should return on a kernel of these types.
fn expected(kernel: &Btf) -> BTreeMap<&'static str, u32> {
    let task = kernel.struct_by_name("task_struct").expect("task_struct");
    let path = kernel.struct_by_name("path").expect("path");
    let file = kernel.struct_by_name("file").expect("file");
    let offset = |id, member: &str| {
        kernel
            .member(id, member)
            .unwrap_or_else(|| panic!("{member}"))
            .byte_offset()
    };
    let bit = kernel.member(task, "in_execve").expect("in_execve");
    let unit = bit.bit_offset / 32 * 32;
    BTreeMap::from([
        ("offset_of_tgid", offset(task, "tgid")),
        ("offset_of_flavour", offset(task, "pid")),
        ("offset_of_nested", offset(file, "f_path") + offset(path, "dentry")),
        ("offset_of_element", offset(task, "comm") + 5),
        ("size_of_comm", 16),
        ("tgid_exists", 1),
        ("no_such_exists", 0),
        ("tgid_is_signed", 1),
        ("bit_field_lshift", 64 - (1 + bit.bit_offset - unit)),
        ("bit_field_rshift", 63),
        ("type_exists", 1),
        ("no_such_type_exists", 0),
        ("type_size", kernel.size(path).expect("a size")),
        ("type_id", task.0),
        ("enum_value", 1),
        ("enum_value_exists", 1),
        ("no_such_enum_value_exists", 0),
        ("dead_branch", 7),
        ("sections", 42),
        ("calls", 86),
        ("callback", 10),
    ])
}

#[test]
fn every_relocation_gives_what_the_kernel_has() {
    if let Err(error) = check_environment() {
        return skip(&error.to_string());
    }
    let Some(elf) = compile("-O2") else { return };
    let kernel = kernel_btf().expect("the kernel's types");
    let has_loop = crate::probe::report()
        .expect("the environment allows it")
        .has(crate::probe::Feature::Loop);
    let object = LoadedObject::load("relocations", &elf, &NoMaps).expect("the object loads");
    let kind = ProgramKind {
        flags: 0,
        program_type: ProgramType::RawTracepoint,
        expected_attach_type: 0,
        attach_btf_id: 0,
    };
    let mut expected = expected(&kernel);
    for (section, symbol) in object.object().programs() {
        let want = expected
            .remove(symbol)
            .unwrap_or_else(|| panic!("no expectation for {symbol}"));
        if symbol == "callback" && !has_loop {
            continue;
        }
        let code = object
            .assemble(section, symbol, &kernel, &NoMaps)
            .unwrap_or_else(|error| panic!("{symbol}: {error}"));
        assert!(!code.func_info.is_empty(), "{symbol} has function info");
        assert!(!code.line_info.is_empty(), "{symbol} has line info");
        let program = object
            .load_program(symbol, kind, &code)
            .unwrap_or_else(|rejected| panic!("{symbol}: {rejected}\n{}", rejected.log));
        let run = sys::test_run_context(program.as_fd(), &mut []).unwrap_or_else(|error| panic!("{symbol}: {error}"));
        assert_eq!(run.return_value, want, "{symbol}");
    }
    assert!(expected.is_empty(), "programs that are missing: {expected:?}");
}

#[test]
fn damaged_objects_are_refused_without_panic() {
    let Some(elf) = compile("-O1") else { return };
    let kernel = Btf::parse_object(&elf).expect("its own types will do for a kernel's");
    // Every 97th byte flipped, and every prefix of a few hundred lengths.
    let damaged = (0..elf.len()).step_by(97).map(|at| {
        let mut copy = elf.clone();
        copy[at] ^= 0xff;
        copy
    });
    let cut = (0..elf.len()).step_by(211).map(|length| elf[..length].to_vec());
    let mut parsed = 0;
    for bytes in damaged.chain(cut) {
        let Ok(object) = ObjectFile::parse(&bytes) else {
            continue;
        };
        parsed += 1;
        let programs: Vec<(String, String)> = object
            .programs()
            .map(|(section, symbol)| (section.to_owned(), symbol.to_owned()))
            .collect();
        for (section, symbol) in programs {
            drop(object.assemble(&section, &symbol, &kernel, &|_| None));
        }
        object.loadable_btf();
    }
    assert!(parsed > 0, "most flips leave the headers alone");
}
