//! Generated programs, run by the kernel this test runs on.
//!
//! Programs are compiled to objects, loaded as syscall programs (raw tracepoints before Linux 5.14), and run with `BPF_PROG_TEST_RUN`; what they return and
//! what they leave in a map is compared with an evaluation of their IR. Needs root; where that is missing the tests say so
//! and pass, unless `REQUIRE_KERNEL=1`.

#[path = "kernel/evaluate.rs"]
mod evaluate;
#[path = "kernel/harness.rs"]
mod harness;
#[path = "kernel/random.rs"]
mod random;

use harness::{Loaded, can_run, skip};
use policy_compiler::codegen::{Target, compile_program, compile_with_runtime};
use policy_compiler::ir::builder::FunctionBuilder;
use policy_compiler::ir::{AluOp, BlockId, CmpOp, MapDef, Operand, Program, Size, Type, Value, Width};
use policy_compiler::output::{SourceLine, SourceRef};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use random::{CTX_SIZE, STATE_SIZE};

const MAP_LOOKUP_ELEM: u32 = 1;

/// A program that works on the context and on one array map, `state`.
fn program(functions: Vec<policy_compiler::ir::Function>) -> Program {
    let state = MapDef {
        name: "state".into(),
        map_type: 2,
        key_size: 4,
        value_size: STATE_SIZE,
        max_entries: 1,
        flags: 0,
    };
    Program {
        section: "raw_tp/test".into(),
        functions,
        maps: vec![state],
        data: Vec::new(),
    }
}

fn lines() -> Vec<SourceLine> {
    (1..4)
        .map(|line| SourceLine {
            file: "policy.yaml".into(),
            line,
            column: 3,
            text: format!("line {line}").into(),
        })
        .collect()
}

/// Looks the state up and goes on with its address; without it the program returns.
fn look_up_state(b: &mut FunctionBuilder) -> Value {
    let slot = b.stack_slot(8);
    let key = b.stack_addr(slot);
    b.store(key, 0, Size::B4, 0);
    let map = b.map_ref("state");
    let state = b.call_helper_typed(
        MAP_LOOKUP_ELEM,
        &[map.into(), key.into()],
        Type::MapValueOrNull { size: STATE_SIZE },
    );
    let (missing, found) = (b.create_block(), b.create_block());
    b.branch(CmpOp::Eq, Width::W64, state, 0, missing, found);
    b.switch_to(missing);
    b.ret(0);
    b.switch_to(found);
    state
}

#[test]
fn random_programs_do_what_their_ir_says() {
    if !can_run() {
        return;
    }
    let mut runner = TestRunner::new(Config {
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let inputs = (
        random::program(),
        any::<[u64; CTX_SIZE as usize / 8]>(),
        any::<[u64; STATE_SIZE as usize / 8]>(),
    );
    let result = runner.run(&inputs, |(recipe, ctx, state)| {
        let program = program(recipe.build(look_up_state));
        let elf = compile_program(program.clone(), &Target::default(), &lines()).expect("compiles");
        let loaded = Loaded::load(&elf, "entry").map_err(|error| TestCaseError::fail(format!("{error}\n{program}")))?;
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let (mut expected_state, ctx) = (words(&state), words(&ctx));
        loaded.write_map("state", &expected_state);
        let returned = loaded.run(&ctx);
        let expected = evaluate::run(&program, &ctx, &mut expected_state);
        prop_assert_eq!(
            (returned, loaded.read_map("state")),
            (expected as u32, expected_state),
            "{}",
            program
        );
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// As long as needed to make jumps go through islands: tests in a row that leave to one shared exit far below.
#[test]
fn jumps_reach_over_long_functions() {
    if !can_run() {
        return;
    }
    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    let ctx = b.param(0);
    let state = look_up_state(&mut b);
    let exit = b.create_block();
    let first = b.load(ctx, 0, Size::B8);
    for step in 0..50i64 {
        let next = b.create_block();
        b.branch(CmpOp::Eq, Width::W64, first, step, exit, next);
        b.switch_to(next);
        let mut x = b.load(state, 0, Size::B8);
        for round in 0..1000i64 {
            x = b.alu(AluOp::Add, Width::W64, x, round + step);
        }
        b.store(state, 0, Size::B8, x);
    }
    b.ret(7);
    b.switch_to(exit);
    let sum = b.load(state, 0, Size::B8);
    b.ret(sum);
    let program = program(vec![b.finish()]);
    let elf = compile_program(program.clone(), &Target::default(), &lines()).expect("compiles");
    let loaded = Loaded::load(&elf, "entry").expect("loads");
    for first in [0u64, 1, 30, 49, 50] {
        let mut ctx = vec![0; CTX_SIZE as usize];
        ctx[..8].copy_from_slice(&first.to_le_bytes());
        let mut state = vec![0; STATE_SIZE as usize];
        loaded.write_map("state", &state);
        let expected = evaluate::run(&program, &ctx, &mut state);
        assert_eq!(loaded.run(&ctx), expected as u32, "{first}");
        assert_eq!(loaded.read_map("state"), state);
    }
}

/// The chain of a search for a constant, which a hook with many values is.
#[test]
fn large_decision_trees_load() {
    fn search(b: &mut FunctionBuilder, x: Value, constants: &[i64], found: BlockId, lost: BlockId) {
        if constants.len() <= 4 {
            for constant in constants {
                let next = b.create_block();
                b.branch(CmpOp::Eq, Width::W64, x, *constant, found, next);
                b.switch_to(next);
            }
            b.jump(lost);
            return;
        }
        let (low, high) = constants.split_at(constants.len() / 2);
        let (below, above) = (b.create_block(), b.create_block());
        b.branch(CmpOp::Lt, Width::W64, x, high[0], below, above);
        b.switch_to(below);
        search(b, x, low, found, lost);
        b.switch_to(above);
        search(b, x, high, found, lost);
    }
    if !can_run() {
        return;
    }
    let constants: Vec<i64> = (0..4000).map(|n| 0x1234_5678_0000_0000 + n * 3).collect();
    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    let x = b.load(b.param(0), 0, Size::B8);
    let (found, lost) = (b.create_block(), b.create_block());
    search(&mut b, x, &constants, found, lost);
    b.switch_to(found);
    b.ret(1);
    b.switch_to(lost);
    b.ret(0);
    let elf = compile_program(program(vec![b.finish()]), &Target::default(), &[]).expect("compiles");
    let loaded = Loaded::load(&elf, "entry").expect("loads");
    for probe in [
        constants[0],
        constants[1999],
        constants[3999],
        constants[2000] + 1,
        0,
        -1,
    ] {
        let mut ctx = vec![0; CTX_SIZE as usize];
        ctx[..8].copy_from_slice(&probe.to_le_bytes());
        assert_eq!(loaded.run(&ctx), u32::from(constants.contains(&probe)), "{probe:#x}");
    }
}

/// Functions of the runtime library, linked, relocated and run: the path of the test's own binary.
#[test]
fn the_runtime_library_links_and_runs() {
    if !can_run() {
        return;
    }
    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    b.set_source(Some(SourceRef(0)));
    let (leave, out, taken, have_text) = (b.create_block(), b.create_block(), b.create_block(), b.create_block());
    let state = look_up_state(&mut b);
    let scratch = b.call_runtime_typed("tetra_enter", &[], Type::MapValueOrNull { size: 8192 });
    b.branch(CmpOp::Eq, Width::W64, scratch, 0, out, taken);
    b.switch_to(taken);
    b.set_source(Some(SourceRef(1)));
    let text = b.call_runtime_typed(
        "tetra_text",
        &[scratch.into(), Operand::Imm(0)],
        Type::MapValueOrNull { size: 4096 },
    );
    b.branch(CmpOp::Eq, Width::W64, text, 0, leave, have_text);
    b.switch_to(have_text);
    let length = b.call_runtime("tetra_walk_exe", &[text.into()]);
    b.store(state, 0, Size::B8, length);
    b.jump(leave);
    b.switch_to(leave);
    b.call_runtime_void("tetra_leave", &[scratch.into()]);
    b.jump(out);
    b.switch_to(out);
    b.ret(3);
    let program = program(vec![b.finish()]);
    let target = Target {
        legacy_runtime: !harness::has_syscall_programs(),
        ..Target::default()
    };
    let elf = compile_program(program, &target, &lines()).expect("links");
    let loaded = Loaded::load(&elf, "entry").expect("loads");
    assert_eq!(loaded.run(&[0; 8]), 3);
    let state = loaded.read_map("state");
    let path = std::env::current_exe()
        .and_then(std::fs::canonicalize)
        .expect("own path");
    assert_eq!(
        u64::from_le_bytes(state[..8].try_into().expect("8 bytes")),
        path.as_os_str().len() as u64
    );
}

/// A library with what the runtime library does not have at present: constants, variables, static functions that are called
/// relative to their section, a function whose address is taken.
const OTHER_LIBRARY: &str = r#"
typedef unsigned int u32; typedef unsigned long long u64;
#define HIDDEN __attribute__((noinline, visibility("hidden")))
static long (*bpf_loop)(u32 count, void *callback, void *context, u64 flags) = (void *)181;
static const volatile u32 table[4] = { 3, 5, 7, 11 };
u64 total;
static __attribute__((noinline)) int add(u32 index, u64 *sum) { *sum += table[index & 3]; return 0; }
static __attribute__((noinline)) u64 twice(u64 n) { asm volatile("" : "+r"(n)); return n * 2; }
HIDDEN int unused(void) { return 1; }
HIDDEN u64 sum_of_table(u64 rounds) {
	u64 sum = 0;
	bpf_loop(rounds & 15, add, &sum, 0);
	total += sum;
	return twice(sum) + total;
}
"#;

#[test]
fn data_and_callbacks_of_a_library_are_linked() {
    if !can_run() || !harness::has_syscall_programs() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (source, object) = (directory.path().join("library.c"), directory.path().join("library.o"));
    std::fs::write(&source, OTHER_LIBRARY).expect("written");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let output = std::process::Command::new(clang)
        .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output()
        .expect("clang is needed to build this project");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library = std::fs::read(&object).expect("the object");

    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    let rounds = b.load(b.param(0), 0, Size::B8);
    let sum = b.call_runtime("sum_of_table", &[rounds.into()]);
    b.ret(sum);
    let elf = compile_with_runtime(program(vec![b.finish()]), &Target::default(), &lines(), &library).expect("links");
    let loaded = Loaded::load(&elf, "entry").expect("loads");
    // 3 + 5 + 7 + 11 + 3 + 5 = 34, doubled, and the total so far
    let ctx = 6u64.to_le_bytes();
    assert_eq!(loaded.run(&ctx), 34 * 2 + 34);
    assert_eq!(loaded.run(&ctx), 34 * 2 + 68);
}

/// libbpf reads the objects, too, and shows policy lines with the instructions.
#[test]
fn bpftool_loads_objects_and_shows_policy_lines() {
    let bpftool = |args: &[&str]| std::process::Command::new("bpftool").args(args).output();
    let Ok(version) = bpftool(&["version"]) else {
        skip("bpftool is not installed");
        return;
    };
    if !can_run() || !version.status.success() {
        return;
    }
    if !std::path::Path::new("/sys/fs/bpf").exists() {
        skip("there is no bpf file system");
        return;
    }
    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    let state = look_up_state(&mut b);
    b.set_source(Some(SourceRef(1)));
    let process = b.call_runtime_typed("tetra_process", &[], Type::MapValueOrNull { size: 8 });
    let (out, found) = (b.create_block(), b.create_block());
    b.branch(CmpOp::Eq, Width::W64, process, 0, out, found);
    b.switch_to(found);
    let start = b.load(process, 0, Size::B8);
    b.store(state, 0, Size::B8, start);
    b.jump(out);
    b.switch_to(out);
    b.ret(0);
    let target = Target {
        legacy_runtime: !harness::has_syscall_programs(),
        ..Target::default()
    };
    let elf = compile_program(program(vec![b.finish()]), &target, &lines()).expect("compiles");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), elf).expect("written");
    let pin = format!("/sys/fs/bpf/tetra-test-{}", std::process::id());
    let path = file.path().to_str().expect("UTF-8");
    let loaded = bpftool(&["prog", "load", path, &pin]).expect("bpftool");
    let dump = bpftool(&["prog", "dump", "xlated", "pinned", &pin, "linum"]).expect("bpftool");
    let gone = std::fs::remove_file(&pin);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let text = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(
        text.contains("line 2 [file:policy.yaml line_num:2 line_col:3]"),
        "{text}"
    );
    gone.expect("the pin is removed");
}

/// What the verifier says of a program it refuses names the policy line.
#[test]
fn rejections_name_the_policy_line() {
    if !can_run() {
        return;
    }
    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    let state = look_up_state(&mut b);
    b.set_source(Some(SourceRef(2)));
    let index = b.load(b.param(0), 0, Size::B8);
    let anywhere = b.alu(AluOp::Add, Width::W64, state, index);
    let x = b.load(anywhere, 0, Size::B8);
    b.ret(x);
    let elf = compile_program(program(vec![b.finish()]), &Target::default(), &lines()).expect("the IR is sound");
    let Err(error) = Loaded::load(&elf, "entry") else {
        panic!("the index is not bounded")
    };
    assert!(error.contains("; line 3"), "{error}");
    // newer kernels also say where the line stands
    assert!(!error.contains(" @ ") || error.contains("policy.yaml:3"), "{error}");
}
