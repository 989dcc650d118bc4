//! The text of every pass for a few policies; `UPDATE_GOLDEN=1` accepts what the compiler says now.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::facts::{modern, without_probes};
use crate::{compiled, policies, policy};
use policy_compiler::facts::KernelFacts;
use policy_compiler::{Compilation, Options, PolicySet, Scope, compile};

pub(crate) fn check_golden(name: &str, spec: &str, facts: &KernelFacts) {
    compare(name, &text(&compiled(spec, facts), false));
}

/// The text of a compilation, with the instructions or up to the IR.
fn text(compilation: &Compilation, with_instructions: bool) -> String {
    let diagnostics = compilation
        .diagnostics
        .iter()
        .map(|d| tracingpolicy_crd::render::line(d) + "\n");
    let passes = compilation.passes.iter().map(|passes| {
        let mut text = format!(
            "# {}\n\n## hir\n{}\n## plan\n{}\n## ir\n{}\n",
            passes.name, passes.hir, passes.plan, passes.ir
        );
        if with_instructions {
            writeln!(text, "## instructions\n{}", passes.asm).expect("a string");
        }
        text
    });
    diagnostics.chain(passes).collect()
}

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let directory = path.parent().expect("it is in a directory");
        fs::create_dir_all(directory).expect("the directory of golden files");
        fs::write(&path, text).expect("the golden file is written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{} differs; see it with UPDATE_GOLDEN=1 and git diff\n{text}",
        path.display()
    );
}

#[test]
fn integer_filter_on_a_syscall() {
    let spec = "  kprobes:\n  - call: sys_setuid\n    args: [{index: 0, type: int}]\n    selectors:\n    - matchArgs:\n      - {index: 0, operator: Equal, values: [\"0\", \"-1\"]}\n";
    check_golden("setuid", spec, &modern());
}

#[test]
fn path_filters_at_a_return() {
    let spec = "  kprobes:\n  - call: security_file_permission\n    syscall: false\n    return: true\n    returnArg: {index: 0, type: int}\n    args: [{index: 0, type: file}, {index: 1, type: int}]\n    selectors:\n    - matchArgs:\n      - {index: 0, operator: Prefix, values: [/etc/passwd, /etc, /boot]}\n      - {index: 1, operator: Equal, values: [\"4\"]}\n    - matchArgs:\n      - {index: 0, operator: Postfix, values: [.ssh]}\n      matchActions: [{action: NoPost}]\n";
    check_golden("file-permission", spec, &modern());
}

#[test]
fn kill_on_a_kernel_without_probes() {
    let spec = "  kprobes:\n  - call: sys_openat\n    args: [{index: 1, type: string}]\n    selectors:\n    - matchArgs:\n      - {index: 1, operator: Equal, values: [/forbidden]}\n      matchBinaries:\n      - {operator: NotIn, values: [/usr/bin/vi]}\n      matchActions: [{action: Sigkill}]\n";
    check_golden("kill", spec, &without_probes());
}

#[test]
fn denial_by_lsm_with_process_filters() {
    let spec = "  lsmhooks:\n  - hook: file_open\n    args: [{index: 0, type: file}]\n    selectors:\n    - matchNamespaces:\n      - {namespace: Mnt, operator: NotIn, values: [host_ns]}\n      matchCapabilities:\n      - {type: Effective, operator: In, values: [CAP_SYS_ADMIN]}\n      matchActions: [{action: Override, argError: -13}]\n";
    check_golden("lsm-file-open", spec, &modern());
}

#[test]
fn policies_for_workloads_beside_one_for_all() {
    let hook = |value: &str| {
        policy(&format!(
            "  kprobes:\n  - call: sys_setuid\n    args: [{{index: 0, type: int}}]\n    selectors:\n    - matchArgs:\n      \
             - {{index: 0, operator: Equal, values: [\"{value}\"]}}\n"
        ))
    };
    let texts = ["0", "1", "2"].map(hook);
    let mut set = PolicySet::from_policies(policies(&texts.join("---\n")));
    for (entry, slot) in set.entries.iter_mut().zip([3, 40, 90]) {
        entry.slot = slot;
        entry.scope = Scope::Workloads;
    }
    let options = Options {
        emit_passes: true,
        ..Options::default()
    };
    compare("workloads-only", &text(&compile(&set, &modern(), &options), false));
    set.entries[1].scope = Scope::All;
    compare("workloads-and-all", &text(&compile(&set, &modern(), &options), false));
}

/// Policies below a directory, sorted.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let below = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => yaml_files(&path),
        Some(extension) if extension == "yaml" => vec![path],
        _ => Vec::new(),
    };
    paths.into_iter().flat_map(below).collect()
}

#[test]
fn every_example() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    // the library is compiled for real kernels (kprobes/tests/policies.rs)
    let library = examples.join("library");
    let files: Vec<_> = yaml_files(&examples)
        .into_iter()
        .filter(|file| !file.starts_with(&library))
        .collect();
    assert!(!files.is_empty(), "there are examples");
    let mut known = Vec::new();
    for file in files {
        let set = PolicySet::from_policies(policies(&fs::read_to_string(&file).expect("an example")));
        let compilation = compile(
            &set,
            &modern(),
            &Options {
                emit_passes: true,
                ..Options::default()
            },
        );
        let of = file
            .strip_prefix(&examples)
            .expect("below the examples")
            .with_extension("");
        let name = of.display().to_string().replace('/', "-");
        assert!(
            compilation.failed.is_empty(),
            "{name}: every example compiles here: {:?}",
            compilation.diagnostics
        );
        compare(&format!("examples/{name}"), &text(&compilation, true));
        known.push(format!("{name}.txt"));
    }
    // a golden without its example shows nothing any more
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/examples");
    for entry in fs::read_dir(goldens).expect("the golden files") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(known.contains(&name), "{name} has no example");
    }
}
