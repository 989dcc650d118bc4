//! Compiled objects, as other tools see them: deterministic, disassembled by llvm-objdump, loaded and dumped by bpftool.

use std::path::PathBuf;
use std::process::Command;

use tests::guard::{self, Need};
use tests::scratch::Scratch;
use tests::{output_of, policy, program, requires, test_name, try_output_of};

/// Objects of the policies in `files`, compiled for this machine's kernel.
fn compile(scratch: &Scratch, name: &str, files: &[PathBuf]) -> Vec<PathBuf> {
    let directory = scratch.path(name);
    output_of(
        Command::new(program("tetra"))
            .args(["policy", "compile", "-o"])
            .arg(&directory)
            .args(files),
    );
    let entries = std::fs::read_dir(&directory).expect("the objects can be listed");
    let mut objects: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the objects can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "o"))
        .collect();
    objects.sort();
    assert!(!objects.is_empty(), "no objects for {files:?}");
    objects
}

/// The examples that this kernel can hook.
fn usable_examples() -> Vec<PathBuf> {
    let functions = Need::KernelFunctions.missing().is_none();
    let is_syscall = |path: &PathBuf| {
        ["quickstart", "syscalls"]
            .iter()
            .any(|name| path.components().any(|c| c.as_os_str() == *name))
    };
    policy::examples()
        .into_iter()
        .filter(|path| functions || is_syscall(path))
        .collect()
}

#[test]
fn equal_policies_give_equal_objects() {
    requires!(Need::Bpf);
    let scratch = Scratch::new("deterministic");
    let examples = usable_examples();
    let contents = |objects: Vec<PathBuf>| -> Vec<(String, Vec<u8>)> {
        let name = |path: &PathBuf| {
            path.file_name()
                .expect("an object is a file")
                .to_string_lossy()
                .into_owned()
        };
        objects
            .iter()
            .map(|path| (name(path), std::fs::read(path).expect("an object can be read")))
            .collect()
    };
    let first = contents(compile(&scratch, "first", &examples));
    let second = contents(compile(&scratch, "second", &examples));
    assert_eq!(first.len(), second.len());
    for ((name, bytes), (other_name, other_bytes)) in first.iter().zip(&second) {
        assert_eq!(name, other_name);
        assert!(bytes == other_bytes, "`{name}` differs between two runs");
    }
}

#[test]
fn llvm_objdump_disassembles_objects() {
    requires!(Need::Bpf);
    if !try_output_of(Command::new("llvm-objdump").arg("--version")).0 {
        return guard::skip(test_name!(), "llvm-objdump is not installed");
    }
    let scratch = Scratch::new("objdump");
    for object in compile(&scratch, "objects", &usable_examples()) {
        let text = output_of(Command::new("llvm-objdump").arg("-d").arg(&object));
        assert!(text.contains("exit"), "{}:\n{text}", object.display());
        // constants to memory (BPF_ST) and bit tests (BPF_JSET) are in the instruction set from the start, but llvm-objdump
        // does not know them before 18
        let known = ["62 ", "6a ", "72 ", "7a ", "45 ", "46 ", "4d ", "4e "];
        let unknown: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("<unknown>"))
            .filter(|line| !known.iter().any(|opcode| line.contains(&format!(":\t{opcode}"))))
            .collect();
        assert!(unknown.is_empty(), "{}:\n{unknown:#?}", object.display());
    }
}

/// Removes what is pinned below a path of the BPF file system.
struct Pinned(PathBuf);

impl Drop for Pinned {
    fn drop(&mut self) {
        // whatever is left is gone at the next boot
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn bpftool_loads_objects_and_shows_the_lines_of_the_policy() {
    requires!(Need::Bpf);
    if !std::path::Path::new("/sys/fs/bpf").is_dir()
        || !try_output_of(Command::new("sh").args(["-c", "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf"]))
            .0
    {
        return guard::skip(test_name!(), "the BPF file system cannot be mounted");
    }
    let scratch = Scratch::new("bpftool");
    let example = policy::workspace().join("examples/quickstart/file-access.yaml");
    for object in compile(&scratch, "objects", &[example]) {
        let pinned = Pinned(format!("/sys/fs/bpf/tetra-test-{}", std::process::id()).into());
        std::fs::create_dir_all(&pinned.0).expect("the BPF file system can be written");
        let pin = pinned.0.join("program");
        output_of(Command::new("bpftool").args(["prog", "load"]).arg(&object).arg(&pin));
        let text = output_of(
            Command::new("bpftool")
                .args(["prog", "dump", "xlated", "pinned"])
                .arg(&pin)
                .arg("linum"),
        );
        assert!(text.contains("file-access.yaml"), "no line of the policy in:\n{text}");
        assert!(
            text.contains("- call: sys_openat"),
            "not the text of the policy's lines:\n{text}"
        );
    }
}
