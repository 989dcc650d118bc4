//! What the compiler accepts, the kernel loads: random sets of policies, as they would be attached here.
//!
//! The hooks, policies and values are those of the differential tests; what the kernel can do is what it can do. Every program is
//! loaded with the type and for the place at which it would be attached, and let go again. A rejection by the verifier fails,
//! with the policy's line. `TETRA_LOAD_SETS` says how many sets must be loaded, `TETRA_LOAD_SEED` which ones.

#![allow(clippy::print_stderr, reason = "seeds and counts are worth reading")]

#[path = "differential/arena.rs"]
#[allow(dead_code, reason = "contexts and expectations are for runs")]
mod arena;
#[path = "differential/data.rs"]
mod data;
#[path = "differential/process.rs"]
#[allow(dead_code, reason = "nothing is run")]
mod process;
#[path = "differential/recipe.rs"]
#[allow(dead_code, reason = "calls are for runs")]
mod recipe;
mod support;

use std::collections::BTreeMap;

use kprobes::probe::{Needs, collect};
use kprobes::{HookSet, LoadError, SensorOptions, SharedMaps};
use policy_compiler::attach::describe;
use policy_compiler::{Options, compile, tracepoints_needed};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tracingpolicy_crd::{Policy, Source, parse, render};

use arena::Arena;
use recipe::{Surroundings, set_of};
use support::guard;

/// Sets to load, unless said otherwise.
const SETS: usize = 28;

const ARENAS: [&Arena; 19] = [
    &arena::SYSCALL_STRING,
    &arena::SYSCALL_TWO_STRINGS,
    &arena::SYSCALL_ADDRESS,
    &arena::SYSCALL_BUFFER,
    &arena::FUNCTION_BUFFERS,
    &arena::FUNCTION_FILE,
    &arena::FUNCTION_PATH,
    &arena::FUNCTION_BINPRM,
    &arena::FUNCTION_SOCK,
    &arena::FUNCTION_SKB,
    &arena::FUNCTION_ADDRESS,
    &arena::FUNCTION_STRING,
    &arena::FUNCTION_RETURN,
    &arena::FUNCTION_STRING_RETURN,
    &arena::FUNCTION_OVERRIDE,
    &arena::LSM,
    &arena::TRACEPOINT,
    &arena::TRACEPOINT_STRING,
    &arena::RAW_TRACEPOINT,
];

fn surroundings() -> Surroundings {
    let names = ["Uts", "Ipc", "Mnt", "Pid", "PidForChildren", "Net", "Cgroup", "User"];
    let paths = [
        "/etc/passwd",
        "/etc",
        "/usr/bin/true",
        "/var/log/syslog",
        "/tmp/a/b/c/d.log",
        "/",
    ];
    Surroundings {
        executable: "/usr/bin/some-program".into(),
        pids: vec![1, 2, 77_777, 0, std::process::id()],
        namespaces: names.iter().map(|name| (*name, 0xf000_0001)).collect(),
        paths: paths.map(Into::into).into(),
        data: data::unknown(),
        changes: true,
        ..Surroundings::default()
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The policies of the set of a run.
fn policies(texts: &[String], run: u64) -> Vec<Policy> {
    let parsed = texts
        .iter()
        .map(|text| parse(&Source::new("random.yaml", text.replace("${run}", &run.to_string()))));
    parsed.flat_map(|parsed| parsed.policies).collect()
}

#[test]
fn random_sets_are_loaded() {
    if !guard::can_load() {
        return;
    }
    let wanted = number_of("TETRA_LOAD_SETS").map_or(SETS, |sets| sets as usize);
    let seed = number_of("TETRA_LOAD_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 32 | 0x7e_74a);
    eprintln!("{wanted} sets, TETRA_LOAD_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let maps = SharedMaps::create(&SensorOptions {
        ring_bytes: 1 << 16,
        enforcement_ring_bytes: 1 << 16,
        ..SensorOptions::default()
    })
    .expect("maps");
    let set = HookSet::new(&maps).expect("an empty set");
    let around = surroundings();
    let all: Vec<Policy> = ARENAS.iter().flat_map(|arena| policies(&[arena.head(0)], 0)).collect();
    let facts = collect(&Needs {
        tracepoints: tracepoints_needed(&all),
        ..Needs::default()
    })
    .expect("facts");

    let (mut loaded, mut refused, mut instructions) = (0, 0, 0u64);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let strategy = recipe::recipe_to_load();
    for run in 0u64.. {
        if loaded == wanted {
            break;
        }
        assert!(
            run < 20 * wanted as u64 + 100,
            "only {loaded} sets of {run} can be compiled for this kernel"
        );
        let arena = ARENAS[run as usize % ARENAS.len()];
        let recipe = strategy.new_tree(&mut runner).expect("a recipe").current();
        let texts = recipe.yaml(arena, &around);
        let policies = set_of(
            policies(&texts, run),
            recipe.policies.iter().map(|policy| policy.is_scoped),
        );
        let mut options = Options::default();
        if recipe.is_indexed {
            options.selectors_in_a_row = 0;
        }
        let compilation = compile(&policies, &facts, &options);
        let defect = compilation
            .diagnostics
            .iter()
            .find(|d| d.code == policy_compiler::codes::COMPILER_DEFECT);
        assert!(defect.is_none(), "{}", render::full(&compilation.diagnostics, false));
        if compilation.objects.is_empty() {
            // this kernel has no such hook
            refused += 1;
            continue;
        }
        for object in &compilation.objects {
            match set.verify(object) {
                Ok(verified) => instructions = instructions.max(u64::from(verified.instructions)),
                Err(LoadError::Policy(diagnostics)) => panic!(
                    "TETRA_LOAD_SEED={seed}: the kernel refuses what was compiled\n{}\n{}",
                    render::full(&diagnostics, false),
                    texts.join("---\n")
                ),
                Err(error) => panic!("{error}"),
            }
            let name = describe(&object.attach);
            *kinds
                .entry(name.split('/').next().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        loaded += 1;
    }
    eprintln!(
        "{loaded} sets loaded, {refused} not for this kernel, at most {instructions} instructions verified: {kinds:?}"
    );
}
