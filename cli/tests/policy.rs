//! Commands on policies that need no agent.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test that unwraps is a test that can fail"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::path::Path;
use std::process::{Command, Stdio};

/// Types that any user may read. They stand for a kernel here, whichever it is.
const BTF: &str = "/sys/kernel/btf/vmlinux";

const GOOD: &str = "\
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: open
spec:
  kprobes:
  - call: sys_openat
    syscall: true
    args:
    - {index: 1, type: string}
    selectors:
    - matchArgs:
      - {index: 1, operator: Equal, values: [/etc/passwd]}
";

struct Ran {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn tetra(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_tetra"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// Whether the kernel's types can be read; says why a test is skipped if not.
fn has_btf() -> bool {
    let exists = Path::new(BTF).exists();
    if !exists {
        eprintln!("skipped: this kernel has no {BTF}");
    }
    exists
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn mistakes_are_shown_in_three_forms() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(
        &folder,
        "bad.yaml",
        &GOOD.replace("operator: Equal", "operator: Equals"),
    );
    let full = tetra(&["policy", "check", &bad]);
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    assert!(full.stdout.starts_with("error[TP"), "{}", full.stdout);
    assert!(full.stdout.contains(&format!("--> {bad}:13:")), "{}", full.stdout);
    assert!(
        full.stdout
            .ends_with("0 policies without errors, 1 error, 0 warnings\n"),
        "{}",
        full.stdout
    );

    let line = tetra(&["policy", "check", "--format", "line", &bad]);
    assert!(line.stdout.starts_with(&format!("{bad}:13:")), "{}", line.stdout);
    assert_eq!(line.stdout.lines().count(), 2);

    let json = tetra(&["policy", "check", "--format", "json", &bad]);
    let diagnostic: serde_json::Value = serde_json::from_str(json.stdout.trim()).unwrap();
    assert_eq!(diagnostic["severity"], "error");
    assert_eq!(json.code, Some(1));
}

#[test]
fn good_policies_pass() {
    if !has_btf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.yaml", GOOD);
    let ran = tetra(&["policy", "check", "--btf", BTF, &good]);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("1 policy without errors, 0 errors, 0 warnings\n", "")
    );
    assert_eq!(ran.code, Some(0));
}

#[test]
fn what_the_kernel_lacks_is_a_mistake_too() {
    if !has_btf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let policy = file(&folder, "p.yaml", &GOOD.replace("sys_openat", "sys_no_such_call"));
    let ran = tetra(&["policy", "check", "--btf", BTF, "--format", "line", &policy]);
    assert!(ran.stdout.starts_with(&format!("{policy}:7:")), "{}", ran.stdout);
    assert!(ran.stdout.contains("no_such_call"), "{}", ran.stdout);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn objects_are_written_and_passes_printed() {
    if !has_btf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.yaml", GOOD);
    let out = folder.path().join("out");
    let ran = tetra(&["policy", "compile", "--btf", BTF, "-o", out.to_str().unwrap(), &good]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let objects = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    assert_eq!(ran.stdout.lines().count(), objects.len());
    assert!(!objects.is_empty());
    for object in objects {
        assert!(
            std::fs::read(&object).unwrap().starts_with(b"\x7fELF"),
            "{}",
            object.display()
        );
        assert!(
            ran.stdout.contains(&format!("{}: ", object.display())),
            "{}",
            ran.stdout
        );
    }

    let ran = tetra(&["policy", "compile", "--btf", BTF, "--emit", "plan,asm", &good]);
    let headings = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("; plan of") || line.starts_with("; asm of"));
    assert!(headings.count() >= 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("call tetra_enter"), "{}", ran.stdout);
}

#[test]
fn hooks_are_explained() {
    if !has_btf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.yaml", GOOD);
    let ran = tetra(&["policy", "explain", "--btf", BTF, &good]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for part in [
        "kernel ",
        "  policies   open\n",
        " instructions for a call that matches nothing, ",
        "\n1 policy: ",
    ] {
        assert!(ran.stdout.contains(part), "{part:?} in {}", ran.stdout);
    }
}

#[test]
fn codes_are_explained() {
    let ran = tetra(&["policy", "explain", "TP0001", "tp0002"]);
    assert!(ran.stdout.starts_with("# TP0001"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\n# TP0002"), "{}", ran.stdout);
    let ran = tetra(&["policy", "explain", "TP9999"]);
    assert!(
        ran.stderr.starts_with("error: there is no diagnostic TP9999\nhelp: "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.code, Some(1));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let ran = tetra(&["policy", "check", "/nowhere.yaml"]);
    assert_eq!(
        ran.stderr,
        "error: cannot read `/nowhere.yaml`: No such file or directory (os error 2)\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let good = file(&folder, "good.yaml", GOOD);
    let ran = tetra(&["policy", "check", "--btf", &good, &good]);
    assert!(ran.stderr.contains("holds no types of a kernel"), "{}", ran.stderr);
    assert_eq!(ran.code, Some(1));
}
