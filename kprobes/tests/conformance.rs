//! What of the policy language works on which kernel: every item in the smallest policy that has it, and the policies of the
//! reference project, compiled for the kernel and taken by its verifier.
//!
//! `conformance.tsv` has a line for each kernel of the lab and item; `docs/CONFORMANCE.md` is made from it. A result that is not
//! the table's fails. `UPDATE_CONFORMANCE=1 cargo xtask test --kernels-only --filter every_item` writes the table anew for the kernels
//! that it tests, `UPDATE_GOLDEN=1 cargo nextest run -p kprobes --test conformance` the document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kprobes::probe::{Needs, collect};
use kprobes::{HookSet, LoadError, SensorOptions, SharedMaps};
use policy_compiler::{Compilation, Options, PolicySet, binaries_needed, compile, tracepoints_needed};
use tracingpolicy_crd::{Diagnostic, Policy, Source, parse, render};

#[path = "conformance/items.rs"]
mod items;
mod support;

use items::items;
use support::guard;

const TABLE: &str = include_str!("conformance.tsv");

/// Kernels of the lab, in the order of the document.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.3"];

/// Programs that are verified of those with the same policies.
const ALIKE: usize = 4;

/// Chapter of the policies that are not ours.
const POLICIES: &str = "Policies of the reference project";

/// The result of what is compiled and verified.
const WORKS: &str = "works";

/// Chapter and item.
type Key = (String, String);

/// Policies of the reference project, by file; none where there are none.
fn corpus() -> Vec<PathBuf> {
    let directory = std::env::var_os("TETRA_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let entries = fs::read_dir(directory.join("policies")).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// Policies, or the first thing that is wrong with them.
fn read(name: &str, text: &str) -> Result<Vec<Policy>, String> {
    let parsed = parse(&Source::new(name, text));
    match parsed.diagnostics.iter().find(|diagnostic| diagnostic.is_error()) {
        Some(error) => Err(refusal(error)),
        None => Ok(parsed.policies),
    }
}

/// In one line of the table.
fn refusal(error: &Diagnostic) -> String {
    let message = error.message.replace(['\t', '\n'], " ");
    format!("refused, {}: {message}", error.code)
}

/// All items, with what becomes of them.
///
/// They are compiled and verified all at once, which takes a fraction of the time; one that does not fit beside the others is
/// compiled alone.
fn outcomes() -> Vec<(Key, String)> {
    let mut all: Vec<(Key, Result<Vec<Policy>, String>)> = Vec::new();
    let mut add = |key: Key, text: &str| {
        let read = read(&source_of(all.len()), text);
        all.push((key, read));
    };
    for item in items() {
        add((item.area.to_owned(), item.name), &item.policy);
    }
    for path in corpus() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a policy");
        // hundreds of programs that differ in the syscall: `examples/syscalls` has one, for the tests of what is loaded
        if !text.contains("generated_syscalls") {
            add((POLICIES.to_owned(), name), &text);
        }
    }
    let policies = || all.iter().filter_map(|(_, policies)| policies.as_ref().ok()).flatten();
    let facts = collect(&Needs {
        tracepoints: tracepoints_needed(policies()),
        binaries: binaries_needed(policies()),
        functions: true,
    })
    .expect("facts");
    let small = SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    };
    let maps = SharedMaps::create(&small).expect("maps");
    let set = HookSet::new(&maps).expect("an empty set");

    let mut results: Vec<Option<String>> = all
        .iter()
        .map(|(_, policies)| policies.as_ref().err().cloned())
        .collect();
    let accepted = |results: &[Option<String>]| -> Vec<Policy> {
        let accepted = all.iter().zip(results).filter(|(_, result)| result.is_none());
        accepted
            .filter_map(|((_, policies), _)| policies.as_ref().ok())
            .flatten()
            .cloned()
            .collect()
    };
    loop {
        let compilation = compile(
            &PolicySet::from_policies(accepted(&results)),
            &facts,
            &Options::default(),
        );
        let mut alone = Vec::new();
        let mut refused = false;
        for error in compilation
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
        {
            let item = (0..all.len()).find(|item| source_of(*item) == error.source.name());
            let item = item.expect("an error of an item");
            refused = true;
            if error.code == policy_compiler::codes::HOOK_TOO_LARGE {
                alone.push(item);
            }
            results[item].get_or_insert_with(|| refusal(error));
        }
        if !refused {
            verify(&set, &compilation, "all together");
            break;
        }
        for item in alone {
            let Ok(policies) = &all[item].1 else { continue };
            let compilation = compile(&PolicySet::from_policies(policies.clone()), &facts, &Options::default());
            let error = compilation.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
            if error.is_none() {
                verify(&set, &compilation, &all[item].0.1);
            }
            results[item] = Some(error.map_or_else(|| WORKS.to_owned(), refusal));
        }
    }
    let results = results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| WORKS.to_owned()));
    all.into_iter().map(|(key, _)| key).zip(results).collect()
}

/// Name of an item's text.
fn source_of(item: usize) -> String {
    format!("item-{item}.yaml")
}

fn verify(set: &HookSet, compilation: &Compilation, what: &str) {
    let mut seen: BTreeMap<&[u32], usize> = BTreeMap::new();
    for object in &compilation.objects {
        // those of a list of syscalls differ in the syscall only
        let alike = seen.entry(&object.policy_slots).or_insert(0);
        *alike += 1;
        if *alike > ALIKE {
            continue;
        }
        match set.verify(object) {
            Ok(_) => {}
            Err(LoadError::Policy(diagnostics)) => panic!("{what}: {}", render::full(&diagnostics, false)),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// The table's lines of a kernel.
fn table(kernel: &str) -> BTreeMap<Key, String> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let fields = lines.map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [of, area, item, result] => (of, (area.to_owned(), item.to_owned()), result.to_owned()),
        _ => panic!("`{line}` is no line of the table"),
    });
    fields
        .filter(|(of, ..)| *of == kernel)
        .map(|(_, key, result)| (key, result))
        .collect()
}

#[test]
fn every_item_of_the_language_does_what_the_table_says() {
    if !guard::can_load() {
        return;
    }
    let Ok(kernel) = std::env::var("TETRA_LAB_KERNEL") else {
        guard::skip("the table is about the lab's kernels");
        return;
    };
    let outcomes = outcomes();
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        // the harness has begun a line with the test's name
        let mut lines = String::from("\n");
        for ((area, item), result) in &outcomes {
            lines += &["conformance", &kernel, area, item, result].join("\t");
            lines.push('\n');
        }
        // the test harness keeps what goes through the macros of a test that passes
        std::io::stderr()
            .write_all(lines.as_bytes())
            .expect("standard error is open");
        return;
    }
    let mut table = table(&kernel);
    let mut wrong = Vec::new();
    for (key, result) in outcomes {
        match table.remove(&key) {
            Some(expected) if expected == result => {}
            Some(expected) => wrong.push(format!("{key:?}: {result}\n    in the table: {expected}")),
            None => wrong.push(format!("{key:?}: {result}\n    not in the table")),
        }
    }
    // the reference's policies are not there everywhere
    let gone = table
        .keys()
        .filter(|(area, _)| area != POLICIES || !corpus().is_empty());
    wrong.extend(gone.map(|key| format!("{key:?} is in the table only")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The document, made from the table.
fn document() -> String {
    let tables = KERNELS.map(table);
    let mut text = String::from(
        "# What works where\n\n\
         Made from `kprobes/tests/conformance.tsv` by the tests; do not edit. Every item of the policy language stands in the smallest\n\
         policy that has it, and that is compiled for each kernel of the lab (Debian's) and given to its verifier. *works* means that the\n\
         kernel has taken the programs; what they do there is the matter of the other tests (`tests/tests/kernel`, the differential tests).\n\
         What is refused is refused when the policy is added, with this diagnostic ([errors](errors)).\n",
    );
    let mut areas: Vec<&str> = items().iter().map(|item| item.area).collect();
    areas.push(POLICIES);
    areas.dedup();
    let mut seen: Vec<&str> = Vec::new();
    for area in areas {
        if seen.contains(&area) {
            continue;
        }
        seen.push(area);
        write!(text, "\n## {area}\n\n| | {} |\n|---|", KERNELS.join(" | ")).expect("a string");
        text.push_str(&"---|".repeat(KERNELS.len()));
        text.push('\n');
        let mut notes: Vec<String> = Vec::new();
        for (key, _) in tables[0].iter().filter(|((of, _), _)| of == area) {
            let mut row = format!("| {} |", key.1);
            for table in &tables {
                let result = table.get(key).map_or("not tested", String::as_str);
                let Some(reason) = result.strip_prefix("refused, ") else {
                    write!(row, " {result} |").expect("a string");
                    continue;
                };
                let known = notes.iter().position(|note| note == reason);
                let number = known.unwrap_or_else(|| {
                    notes.push(reason.to_owned());
                    notes.len() - 1
                });
                write!(row, " no ({}) |", number + 1).expect("a string");
            }
            text.push_str(&row);
            text.push('\n');
        }
        if !notes.is_empty() {
            text.push('\n');
        }
        for (number, note) in notes.iter().enumerate() {
            writeln!(text, "{}. {note}", number + 1).expect("a string");
        }
    }
    text
}

#[test]
fn the_document_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFORMANCE.md");
    let document = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &document).expect("the document can be written");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == document,
        "docs/CONFORMANCE.md is not that of the table: UPDATE_GOLDEN=1 cargo nextest run -p kprobes --test conformance"
    );
}
