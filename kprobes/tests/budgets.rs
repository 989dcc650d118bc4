//! Verifier budgets: how many instructions the verifier of each kernel of the lab walks for each program of each example.
//!
//! `budgets.tsv` has a line for each: kernel, policy, hook, instructions. A tenth more than there fails, and so does a program
//! that is missing there, or a line without a program. `UPDATE_BUDGETS=1 cargo xtask test --kernels-only --filter
//! verified_instructions` writes the table anew for the kernels that it tests: a guest cannot write to this machine, so the test
//! prints lines that the task gathers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kprobes::probe::{Needs, collect};
use kprobes::{HookSet, LoadError, SensorOptions, SharedMaps};
use policy_compiler::attach::describe;
use policy_compiler::{Options, PolicySet, binaries_needed, compile, tracepoints_needed};
use tracingpolicy_crd::{Policy, Source, parse, render};

mod support;

use support::guard;

const TABLE: &str = include_str!("budgets.tsv");

/// Growth that is let pass, in percent.
const SLACK: u64 = 10;

/// Policy and hook.
type Program = (String, String);

fn examples(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("the examples");
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        // the library shows nothing of the compiler that the others do not
        if path.is_dir() && !path.ends_with("library") {
            examples(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

/// What the table allows on a kernel.
fn budgets(kernel: &str) -> BTreeMap<Program, u64> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let fields = lines.map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [of, policy, hook, instructions] => (of, (policy.to_owned(), hook.to_owned()), instructions),
        _ => panic!("`{line}` is no line of the table"),
    });
    fields
        .filter(|(of, ..)| *of == kernel)
        .map(|(_, program, instructions)| (program, instructions.parse().expect("a number")))
        .collect()
}

/// What the verifier walks for each program of each example that this kernel can have.
fn verified() -> BTreeMap<Program, u64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files = Vec::new();
    examples(&root, &mut files);
    files.sort();
    let policies: Vec<(String, Vec<Policy>)> = files
        .iter()
        .map(|file| {
            let name = file
                .strip_prefix(&root)
                .expect("below the examples")
                .display()
                .to_string();
            let text = fs::read_to_string(file).expect("an example");
            let policies = parse(&Source::new(name.as_str(), text)).policies;
            (name, policies)
        })
        .collect();
    let facts = collect(&Needs {
        tracepoints: tracepoints_needed(policies.iter().flat_map(|(_, policies)| policies)),
        binaries: binaries_needed(policies.iter().flat_map(|(_, policies)| policies)),
        functions: true,
    })
    .expect("facts");
    let maps = SharedMaps::create(&SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    })
    .expect("maps");
    let set = HookSet::new(&maps).expect("an empty set");
    let mut verified = BTreeMap::new();
    for (name, policies) in policies {
        let compilation = compile(&PolicySet::from_policies(policies), &facts, &Options::default());
        // what a kernel cannot have it need not verify
        for object in &compilation.objects {
            let instructions = match set.verify(object) {
                Ok(verified) => u64::from(verified.instructions),
                Err(LoadError::Policy(diagnostics)) => panic!("{}", render::full(&diagnostics, false)),
                Err(error) => panic!("{error}"),
            };
            verified.insert((name.clone(), describe(&object.attach)), instructions);
        }
    }
    verified
}

#[test]
fn verified_instructions_stay_within_their_budgets() {
    if !guard::can_load() {
        return;
    }
    let Ok(kernel) = std::env::var("TETRA_LAB_KERNEL") else {
        guard::skip("budgets are those of the lab's kernels");
        return;
    };
    let (verified, budgets) = (verified(), budgets(&kernel));
    assert!(!verified.is_empty(), "there are examples");
    if std::env::var_os("UPDATE_BUDGETS").is_some() {
        // the harness has begun a line with the test's name
        let mut lines = String::from("\n");
        for ((policy, hook), instructions) in &verified {
            lines += &["budget", &kernel, policy, hook, &instructions.to_string()].join("\t");
            lines.push('\n');
        }
        // the test harness keeps what goes through the macros of a test that passes
        std::io::stderr()
            .write_all(lines.as_bytes())
            .expect("standard error is open");
        return;
    }
    let mut wrong = Vec::new();
    for (program, instructions) in &verified {
        let (policy, hook) = program;
        match budgets.get(program) {
            None => wrong.push(format!("{policy}, {hook}: {instructions} instructions, and no budget")),
            Some(budget) if *instructions * 100 > *budget * (100 + SLACK) => {
                wrong.push(format!(
                    "{policy}, {hook}: {instructions} instructions, the budget is {budget}"
                ));
            }
            Some(_) => {}
        }
    }
    let gone = budgets.keys().filter(|program| !verified.contains_key(*program));
    wrong.extend(gone.map(|(policy, hook)| format!("{policy}, {hook}: has a budget, and no program")));
    assert!(
        wrong.is_empty(),
        "on kernel {kernel}:\n{}\nif that is meant, write the table anew: UPDATE_BUDGETS=1 cargo xtask test --kernels-only -k \
         {kernel} --filter verified_instructions",
        wrong.join("\n")
    );
}
