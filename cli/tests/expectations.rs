//! What `tetra policy test` says of policies and of what is expected of them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test that unwraps is a test that can fail"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use policy_compiler::btf::TypeId;
use policy_compiler::btf::write::{BtfWriter, Linkage};

const KEEP: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: keep
spec:
  kprobes:
  - call: sys_unlinkat
    args:
    - {index: 1, type: string}
    - {index: 2, type: int}
    selectors:
    - matchArgs:
      - {index: 1, operator: Prefix, values: [/srv/keep/]}
      - {index: 2, operator: Equal, values: [\"0\"]}
      matchBinaries:
      - {operator: NotIn, values: [/usr/bin/dpkg]}
      matchActions:
      - action: Sigkill
";

const EXPECTED: &str = "\
process: {binary: /usr/bin/rm}
cases:
- name: what is kept is not removed
  hook: sys_unlinkat
  args: {1: /srv/keep/x, 2: 0}
  expect: {signals: [9]}
- name: but by the package manager
  hook: unlinkat
  process: {binary: /usr/bin/dpkg}
  args: {1: /srv/keep/x, 2: 0}
  expect: nothing
- name: a name that cannot be read decides nothing
  hook: __x64_sys_unlinkat
  args: {1: {unreadable: true}, 2: 0}
  expect: undecided
- name: unless the rest does
  hook: sys_unlinkat
  args: {1: {unreadable: true}, 2: 512}
  expect: nothing
";

/// A folder with a policy, a kernel of one system call, and what is expected.
struct World(tempfile::TempDir);

impl World {
    fn new(expected: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keep.yaml"), KEEP).unwrap();
        std::fs::write(folder.path().join("keep.test"), expected).unwrap();
        let mut w = BtfWriter::new();
        let int = w.int("int", 4, true);
        let registers = w.ptr(TypeId::VOID);
        let proto = w.func_proto(int, &[("regs", registers)]);
        w.func("__x64_sys_unlinkat", proto, Linkage::Static);
        std::fs::write(folder.path().join("kernel.btf"), w.finish()).unwrap();
        Self(folder)
    }

    fn test(&self, arguments: &[&str]) -> (String, String, Option<i32>) {
        let mut all = vec!["--btf", "kernel.btf"];
        all.extend(arguments);
        tetra_policy_test(self.0.path(), &all)
    }
}

fn tetra_policy_test(directory: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_tetra"))
        .args(["policy", "test"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code(),
    )
}

#[test]
fn what_is_as_expected_passes() {
    let world = World::new(EXPECTED);
    for subject in ["keep.yaml", "keep.test", "."] {
        let (out, err, code) = world.test(&[subject]);
        assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
        assert!(out.ends_with("4 cases: 4 passed, 0 failed\n"), "{out}");
    }
}

#[test]
fn what_is_not_is_shown_beside_what_was_expected() {
    let world = World::new(&EXPECTED.replace("signals: [9]", "post: false"));
    let (out, err, code) = world.test(&["keep.yaml"]);
    assert_eq!((err.as_str(), code), ("", Some(1)));
    assert_eq!(
        out,
        "\
keep.test
  FAIL  what is kept is not removed
          expected nothing
          found    post, signal 9
  ok    but by the package manager
  ok    a name that cannot be read decides nothing
  ok    unless the rest does
4 cases: 3 passed, 1 failed
"
    );
    let (out, _, code) = world.test(&["-o", "json", "keep.yaml"]);
    assert_eq!(code, Some(1));
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["passed"], false);
    assert_eq!(first["found"], "post, signal 9");
    assert_eq!(out.lines().count(), 4);
}

#[test]
fn mistakes_say_what_would_be_right() {
    let fails = |from: &str, to: &str, wanted: &str| {
        assert!(EXPECTED.contains(from), "{from}");
        let (out, err, code) = World::new(&EXPECTED.replacen(from, to, 1)).test(&["keep.yaml"]);
        assert_eq!((out.as_str(), code), ("", Some(1)), "{to}");
        assert!(err.contains(wanted) && err.contains("keep.test"), "{to}: {err}");
    };
    fails("hook: sys_unlinkat", "hook: sys_unlink", "they hook sys_unlinkat");
    fails(
        "args: {1: /srv/keep/x, 2: 0}",
        "args: {3: 0}",
        "no argument with the index 3",
    );
    fails("1: /srv/keep/x", "1: 7", "write a text");
    fails("expect: nothing", "expect: noting", "expected `nothing`");
    fails("expect: nothing", "expects: nothing", "expects");
    fails("{signals: [9]}", "{signal: 9}", "expected one of post, signals");
    fails("{unreadable: true}", "{unreadible: true}", "expected one of unreadable");
    fails("binary: /usr/bin/rm", "capabilities: {effective: [CAP_FLY]}", "CAP_FLY");
}

#[test]
fn expectations_must_be_there() {
    let world = World::new(EXPECTED);
    std::fs::remove_file(world.0.path().join("keep.test")).unwrap();
    for subject in ["keep.yaml", "."] {
        let (_, err, code) = world.test(&[subject]);
        assert_eq!(code, Some(1));
        assert!(err.contains("no expectations") && err.contains(".test"), "{err}");
    }
}

/// All files with an extension in a directory and below.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path, extension)
        } else {
            Vec::from_iter(path.extension().is_some_and(|of| of == extension).then_some(path))
        }
    };
    let mut found: Vec<PathBuf> = entries.flat_map(below).collect();
    found.sort();
    found
}

#[test]
fn every_example_does_what_is_expected_of_it() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let with_expectations: Vec<PathBuf> = files(&examples, "test")
        .into_iter()
        .map(|file| file.with_extension("yaml"))
        .collect();
    assert_eq!(
        files(&examples, "yaml"),
        with_expectations,
        "each example says what it does"
    );
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        eprintln!("skipped: this kernel does not tell its types");
        return;
    }
    let (out, err, code) = tetra_policy_test(&examples, &["."]);
    assert_eq!(code, Some(0), "{out}{err}");
}
