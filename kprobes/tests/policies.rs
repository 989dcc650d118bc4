//! What the compiler accepts for a kernel, that kernel loads (invariant 2 of the architecture), tried with the policies of
//! `examples/` and of the directories in `TETRA_POLICIES` (separated by colons), each by itself and all together.
#![allow(clippy::print_stdout, reason = "the table of verified instructions is worth reading")]

use std::fs;
use std::path::{Path, PathBuf};

use kprobes::probe::{Needs, collect};
use kprobes::{HookSet, LoadError, SensorOptions, SharedMaps};
use policy_compiler::facts::KernelFacts;
use policy_compiler::{Options, PolicySet, binaries_needed, compile, tracepoints_needed};
use tracingpolicy_crd::{Policy, Source, parse, render};

mod support;

use support::guard;

fn yaml_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

/// The policies of a file; empty if it does not hold valid ones, which is not the matter here.
fn policies_of(path: &Path) -> Vec<Policy> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let parsed = parse(&Source::new(name, text));
    if parsed.diagnostics.iter().any(tracingpolicy_crd::Diagnostic::is_error) {
        Vec::new()
    } else {
        parsed.policies
    }
}

#[test]
fn what_is_compiled_is_loaded() {
    if !guard::can_load() {
        return;
    }
    let mut files = Vec::new();
    yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"), &mut files);
    let examples = files.len();
    assert!(examples > 0, "there are examples");
    for directory in std::env::var("TETRA_POLICIES")
        .unwrap_or_default()
        .split(':')
        .filter(|name| !name.is_empty())
    {
        yaml_files(Path::new(directory), &mut files);
    }
    files.sort();

    let small = SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    };
    let maps = SharedMaps::create(&small).expect("maps");
    let mut set = HookSet::new(&maps).expect("a set");
    let sets: Vec<(String, Vec<Policy>)> = files
        .iter()
        .map(|file| {
            (
                file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                policies_of(file),
            )
        })
        .filter(|(_, policies)| !policies.is_empty())
        .collect();
    let tracepoints = tracepoints_needed(sets.iter().flat_map(|(_, policies)| policies));
    let facts = collect(&Needs {
        tracepoints,
        binaries: binaries_needed(sets.iter().flat_map(|(_, policies)| policies)),
        functions: true,
    })
    .expect("facts");

    let mut failures = Vec::new();
    let mut together = Vec::new();
    let mut loaded = 0;
    for (name, policies) in sets {
        match load(&mut set, policies.clone(), &facts) {
            Ok(Ok(line)) => {
                loaded += 1;
                println!("{name:44} {line}");
                together.extend(policies);
            }
            Ok(Err(refusal)) => println!("{name:44} refused by the compiler: {refusal}"),
            Err(error) => failures.push(format!("{name}:\n{}", text_of(&error))),
        }
    }
    println!("{loaded} of {} files loaded", files.len());
    match load(&mut set, together, &facts) {
        Ok(Ok(line)) => println!("all together: {line}"),
        Ok(Err(refusal)) => failures.push(format!("all together: {refusal}")),
        Err(error) => failures.push(format!("all together:\n{}", text_of(&error))),
    }
    assert!(
        failures.is_empty(),
        "the compiler accepted what the kernel refuses:\n{}",
        failures.join("\n")
    );
    assert!(loaded > 0, "at least tracepoints work everywhere");
}

#[test]
fn the_library_is_loaded() {
    if !guard::can_load() {
        return;
    }
    let mut files = Vec::new();
    yaml_files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/library"),
        &mut files,
    );
    files.sort();
    let policies: Vec<Policy> = files.iter().flat_map(|file| policies_of(file)).collect();
    assert_eq!(policies.len(), files.len(), "each file holds a valid policy");
    let facts = collect(&Needs {
        tracepoints: tracepoints_needed(&policies),
        functions: true,
        ..Needs::default()
    })
    .expect("facts");
    if !facts.features.fentry && !facts.features.kprobe {
        guard::skip("this kernel has neither fentry nor kprobes");
        return;
    }
    let maps = SharedMaps::create(&SensorOptions::default()).expect("maps");
    let mut set = HookSet::new(&maps).expect("a set");
    match load(&mut set, policies, &facts) {
        Ok(Ok(line)) => println!("{} policies: {line}", files.len()),
        Ok(Err(refusal)) => panic!("{refusal}"),
        Err(error) => panic!("{}", text_of(&error)),
    }
}

/// Compiles and applies a set; its hooks and their verified instructions, or why the compiler refuses it for this kernel.
fn load(set: &mut HookSet, policies: Vec<Policy>, facts: &KernelFacts) -> Result<Result<String, String>, LoadError> {
    let compilation = compile(&PolicySet::from_policies(policies), facts, &Options::default());
    if let Some(refusal) = compilation.diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
        return Ok(Err(format!("{} {}", refusal.code, refusal.message)));
    }
    let applied = set.apply(compilation.objects)?;
    let mut hooks: Vec<String> = applied
        .hooks
        .iter()
        .map(|hook| format!("{}={}", hook.name, hook.verified_instructions))
        .collect();
    let more = hooks.len().saturating_sub(6);
    hooks.truncate(6);
    Ok(Ok(format!(
        "{}{}",
        hooks.join(" "),
        if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        }
    )))
}

fn text_of(error: &LoadError) -> String {
    match error {
        LoadError::Policy(diagnostics) => render::full(diagnostics, false),
        other => other.to_string(),
    }
}

#[test]
fn what_is_verified_is_not_put_into_force() {
    if !guard::can_load() {
        return;
    }
    let policy = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: test}\nspec:\n  tracepoints:\n  - {subsystem: sched, event: sched_process_exit}\n";
    let policies = parse(&Source::new("policy.yaml", policy)).policies;
    let facts = collect(&Needs {
        tracepoints: tracepoints_needed(&policies),
        ..Needs::default()
    })
    .expect("facts");
    let compilation = compile(&PolicySet::from_policies(policies), &facts, &Options::default());
    let [object] = &compilation.objects[..] else {
        panic!("one program expected: {:?}", compilation.diagnostics);
    };
    let maps = SharedMaps::create(&SensorOptions::default()).expect("maps");
    let set = HookSet::new(&maps).expect("a set");
    let verified = set.verify(object).expect("the kernel takes it");
    assert!(verified.instructions > 0 && verified.memlock_bytes > 0, "{verified:?}");
    assert!(set.hooks().expect("hooks").is_empty());
    // what cannot be loaded says so
    let mut broken = object.clone();
    broken.attach = policy_compiler::output::AttachPoint::Fentry {
        function: "no_such_function".into(),
    };
    assert!(matches!(set.verify(&broken), Err(LoadError::Policy(_))));
}
