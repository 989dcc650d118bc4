//! What `tetra policy explain` says, on kernels made of a few types: nothing depends on the machine.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test that unwraps is a test that can fail"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use policy_compiler::btf::TypeId;
use policy_compiler::btf::write::{BtfWriter, Linkage};

const WATCH: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: watch
spec:
  kprobes:
  - call: sys_unlinkat
    args:
    - {index: 1, type: string}
    selectors:
    - matchArgs:
      - {index: 1, operator: Prefix, values: [/etc/, /boot/]}
      matchBinaries:
      - {operator: NotIn, values: [/usr/bin/dpkg]}
";

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
      - index: 1
        operator: Prefix
        values:
        - /srv/keep/
      - {index: 2, operator: Equal, values: [\"0\"]}
      matchActions:
      - action: Sigkill
  - call: security_file_open
    syscall: false
    args:
    - {index: 0, type: file}
";

/// A folder with two policies and two kernels: one with kprobes, one without.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        std::fs::create_dir_all(policies.join("deeper")).unwrap();
        std::fs::write(policies.join("watch.yaml"), WATCH).unwrap();
        std::fs::write(policies.join("deeper/keep.yml"), KEEP).unwrap();
        std::fs::write(policies.join("README.md"), "not a policy").unwrap();
        std::fs::write(folder.path().join("probes.btf"), types(true)).unwrap();
        std::fs::write(folder.path().join("plain.btf"), types(false)).unwrap();
        Self { folder }
    }

    fn tetra(&self, arguments: &[&str]) -> (String, String, Option<i32>) {
        let output = Command::new(env!("CARGO_BIN_EXE_tetra"))
            .args(["policy"])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code(),
        )
    }
}

fn types(has_kprobes: bool) -> Vec<u8> {
    let mut w = BtfWriter::new();
    let int = w.int("int", 4, true);
    let word = w.int("unsigned long", 8, false);
    let void = w.ptr(TypeId::VOID);
    let file = w.struct_type("file", 232, &[("f_inode", void, 0)]);
    let file = w.ptr(file);
    let registers = [
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    ];
    let members: Vec<(&str, TypeId, u32)> = registers
        .iter()
        .enumerate()
        .map(|(i, name)| (*name, word, i as u32 * 64))
        .collect();
    let registers = w.struct_type("pt_regs", 168, &members);
    let registers = w.ptr(registers);
    let mut functions = vec![
        ("security_file_open", "file", file),
        ("__x64_sys_unlinkat", "regs", registers),
    ];
    if has_kprobes {
        functions.push(("register_kprobe", "p", void));
    }
    for (name, parameter, type_id) in functions {
        let proto = w.func_proto(int, &[(parameter, type_id)]);
        w.func(name, proto, Linkage::Static);
    }
    w.finish()
}

/// Figures depend on the runtime library and on the compiler that built it.
fn without_figures(text: &str) -> String {
    let mut is_figure = false;
    let mut out = String::new();
    for line in text.lines() {
        is_figure =
            line.starts_with("  estimate ") || line.starts_with("  program ") || is_figure && line.starts_with("     ");
        // where a line breaks depends on them, too
        if !is_figure {
            out.push_str(line);
            out.push('\n');
        } else if !line.starts_with("     ") {
            out.push_str(line[..12].trim_end());
            out.push('\n');
        }
    }
    out
}

fn check_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{} differs; see it with UPDATE_GOLDEN=1 and git diff\n{text}",
        path.display()
    );
}

#[test]
fn a_set_is_explained_for_reading() {
    let world = World::new();
    let (out, err, code) = world.tetra(&["explain", "--btf", "probes.btf", "--btf", "plain.btf", "policies"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err, "");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(!out.contains('\x1b'), "no colours in a pipe");
    check_golden("explain.txt", &without_figures(&out));

    let (coloured, ..) = world.tetra(&["explain", "--color", "always", "--btf", "probes.btf", "policies"]);
    assert!(
        coloured.contains("\x1b[1mkprobe/security_file_open\x1b[0m"),
        "{coloured}"
    );
}

#[test]
fn a_set_is_explained_for_programs() {
    let world = World::new();
    let arguments = [
        "explain",
        "-o",
        "json",
        "--btf",
        "probes.btf",
        "--btf",
        "plain.btf",
        "policies",
    ];
    let (out, err, code) = world.tetra(&arguments);
    assert_eq!((err.as_str(), code), ("", Some(0)));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&report),
        "diagnostics features hooks kernel kernels policies refused review"
    );
    let hook = &report["hooks"][0];
    assert_eq!(
        keys(hook),
        "attach dimensions enforces estimate forWorkloads policies program reasons roles tests verified"
    );
    assert_eq!(hook["attach"], "kprobe/__x64_sys_unlinkat");
    assert_eq!(hook["policies"], serde_json::json!(["keep", "watch"]));
    let stages: Vec<&str> = hook["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| test["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["exec", "cheap", "dear", "dear"]);
    assert_eq!(keys(&hook["tests"][0]), "askedBy predicate stage");
    assert_eq!(hook["tests"][0]["askedBy"][0]["line"], 14);
    let (miss, hit) = (&hook["estimate"]["miss"], &hook["estimate"]["hit"]);
    assert!(
        miss.as_u64().unwrap() > 10 && hit.as_u64() > miss.as_u64(),
        "{miss} {hit}"
    );
    // it has no selectors, so nothing is a miss
    assert!(report["hooks"][1]["estimate"]["miss"].is_null());
    assert!(hook["verified"]["notTried"].is_string());
    let codes: Vec<&str> = report["review"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["TP0600", "TP0603", "TP0600"]);
    let row = &report["kernels"][1];
    assert_eq!(row["hook"], "function security_file_open");
    assert_eq!(row["on"][0]["attach"], serde_json::json!(["kprobe"]));
    assert_eq!(row["on"][1]["code"], "TP0512");
    assert_eq!(row["on"][1]["attach"], serde_json::json!([]));
    // the other hook of the refused policy goes with it
    assert_eq!(report["kernels"][0]["on"][1]["attach"], serde_json::json!([]));
    assert_eq!(report["kernels"][2]["on"][1]["attach"], serde_json::json!(["tp"]));
}

#[test]
fn check_keeps_quiet_unless_asked() {
    let world = World::new();
    let (out, _, code) = world.tetra(&["check", "--btf", "probes.btf", "--format", "line", "policies"]);
    assert_eq!(out, "2 policies without errors, 0 errors, 0 warnings\n");
    assert_eq!(code, Some(0));
    let (out, _, code) = world.tetra(&[
        "check",
        "--review",
        "--btf",
        "probes.btf",
        "--format",
        "line",
        "policies",
    ]);
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.contains("policies/watch.yaml:12:"), "{out}");
    assert!(out.contains("warning[TP0603]"), "{out}");
    assert_eq!(code, Some(0));
}

#[test]
fn what_a_kernel_refuses_is_told() {
    let world = World::new();
    let (out, err, code) = world.tetra(&["explain", "--btf", "plain.btf", "policies"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("error[TP0512]"), "{err}");
    assert!(out.contains("\nrefused: keep\n"), "{out}");
    // a kernel whose types cannot be read does not keep the others from being compared
    let (out, _, code) = world.tetra(&["explain", "--btf", "probes.btf", "--btf", "missing.btf", "policies"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("cannot read `missing.btf`"), "{out}");
}

#[test]
fn directories_without_policies_are_named() {
    let world = World::new();
    let empty = world.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (_, err, code) = world.tetra(&["explain", "--btf", "probes.btf", "empty"]);
    assert!(err.starts_with("error: no policies in `empty`\nhelp: "), "{err}");
    assert_eq!(code, Some(1));
    assert!(Path::new(&empty).exists());
}
