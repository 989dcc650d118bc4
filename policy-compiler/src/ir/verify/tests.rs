//! One violation each.

use super::*;
use crate::ir::builder::FunctionBuilder;
use crate::ir::{FuncId, Located, MapDef, StackSlot};

fn program(functions: Vec<Function>) -> Program {
    Program {
        section: "syscall".into(),
        functions,
        maps: Vec::new(),
        data: Vec::new(),
    }
}

fn entry(build: impl FnOnce(&mut FunctionBuilder)) -> Function {
    let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
    build(&mut b);
    b.finish()
}

fn problems(program: &Program) -> Vec<Problem> {
    verify(program)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|error| error.problem)
        .collect()
}

fn check(build: impl FnOnce(&mut FunctionBuilder), expected: &[Problem]) {
    assert_eq!(problems(&program(vec![entry(build)])), expected);
}

const LOOKUP: Type = Type::MapValueOrNull { size: 16 };

#[test]
fn a_checked_lookup_is_fine() {
    check(
        |b| {
            let (none, some, deeper) = (b.create_block(), b.create_block(), b.create_block());
            let value = b.call_runtime_typed("tetra_enter", &[], LOOKUP);
            b.branch(CmpOp::Eq, Width::W64, value, 0, none, some);
            b.switch_to(some);
            let x = b.load(value, 8, Size::B8);
            b.branch(CmpOp::Gt, Width::W64, x, 3, deeper, none);
            b.switch_to(deeper);
            b.store(value, 0, Size::B4, x);
            b.jump(none);
            b.switch_to(none);
            b.ret(0);
        },
        &[],
    );
}

#[test]
fn a_lookup_that_may_have_failed_is_not_used() {
    check(
        |b| {
            let value = b.call_runtime_typed("tetra_enter", &[], LOOKUP);
            b.load(value, 0, Size::B8);
            b.ret(0);
        },
        &[Problem::MaybeNull(Value(1))],
    );
    // a block that can also be reached without the check does not count
    check(
        |b| {
            let (join, other) = (b.create_block(), b.create_block());
            let value = b.call_runtime_typed("tetra_enter", &[], LOOKUP);
            b.branch(CmpOp::Ne, Width::W64, value, 0, join, other);
            b.switch_to(other);
            b.jump(join);
            b.switch_to(join);
            b.load(value, 0, Size::B8);
            b.ret(0);
        },
        &[Problem::MaybeNull(Value(1))],
    );
    check(
        |b| {
            let (x, y) = (b.create_block(), b.create_block());
            let value = b.call_runtime_typed("tetra_enter", &[], LOOKUP);
            b.branch(CmpOp::Gt, Width::W64, value, 0, x, y);
            b.switch_to(x);
            b.ret(1);
            b.switch_to(y);
            b.ret(0);
        },
        &[Problem::MaybeNull(Value(1))],
    );
}

#[test]
fn accesses_stay_within_bounds() {
    let out = |offset, size| Problem::OutOfBounds { offset, bytes: 8, size };
    let with_map_value = |use_it: fn(&mut FunctionBuilder, Value)| {
        let mut b = FunctionBuilder::new("local", &[Type::MapValue { size: 16 }]);
        let base = b.param(0);
        use_it(&mut b, base);
        b.ret(0);
        problems(&program(vec![entry(|b| b.ret(0)), b.finish()]))
    };
    assert_eq!(with_map_value(|b, base| _ = b.load(base, 8, Size::B8)), []);
    assert_eq!(with_map_value(|b, base| _ = b.load(base, 9, Size::B8)), [out(9, 16)]);
    assert_eq!(with_map_value(|b, base| b.store(base, -1, Size::B8, 0)), [out(-1, 16)]);
    assert_eq!(
        with_map_value(|b, base| {
            let inner = b.alu(AluOp::Add, Width::W64, base, 12);
            b.load(inner, 0, Size::B8);
        }),
        [out(0, 4)]
    );
    check(
        |b| {
            let slot = b.stack_slot(8);
            let address = b.stack_addr(slot);
            b.store(address, 8, Size::B8, 0);
            b.store(address, 2, Size::B4, 0);
            b.ret(0);
        },
        &[out(8, 8), Problem::Misaligned(2)],
    );
}

#[test]
fn definitions_dominate_uses() {
    check(
        |b| {
            let (left, right, join) = (b.create_block(), b.create_block(), b.create_block());
            let x = b.load(b.param(0), 0, Size::B8);
            b.branch(CmpOp::Eq, Width::W64, x, 0, left, right);
            b.switch_to(left);
            let y = b.alu(AluOp::Add, Width::W64, x, 1);
            b.jump(join);
            b.switch_to(right);
            b.jump(join);
            b.switch_to(join);
            b.ret(y);
        },
        &[Problem::NotDominated(Value(2))],
    );
    let mut function = entry(|b| {
        let x = b.load(b.param(0), 0, Size::B8);
        b.ret(x);
    });
    let again = function.blocks[0].insts[0].clone();
    function.blocks[0].insts.push(again);
    assert_eq!(
        problems(&program(vec![function.clone()])),
        [Problem::DefinedTwice(Value(1))]
    );
    function.blocks[0].insts.clear();
    assert_eq!(
        problems(&program(vec![function.clone()])),
        [Problem::NotDominated(Value(1))]
    );
    function.blocks[0].insts.push(Located {
        inst: Inst::ByteSwap {
            dest: Value(1),
            size: Size::B2,
            a: Value(9),
        },
        source: None,
    });
    assert_eq!(problems(&program(vec![function])), [Problem::UnknownValue(Value(9))]);
}

#[test]
fn pointers_are_used_as_pointers() {
    check(
        |b| {
            let ctx = b.param(0);
            b.alu(AluOp::And, Width::W64, ctx, 1);
            let map = b.map_ref("m");
            b.store(map, 0, Size::B8, 0);
            b.load_kernel(ctx, 0, Size::B8, false);
            b.ret(ctx);
        },
        &[
            Problem::WrongType {
                value: Value(0),
                found: Type::Ctx,
            },
            Problem::WrongType {
                value: Value(2),
                found: Type::Map,
            },
            Problem::WrongType {
                value: Value(0),
                found: Type::Ctx,
            },
            Problem::WrongType {
                value: Value(0),
                found: Type::Ctx,
            },
        ],
    );
    check(
        |b| {
            let x = b.load(b.param(0), 0, Size::B8);
            b.alu(AluOp::Lsh, Width::W32, x, 32);
            b.ret(0);
        },
        &[Problem::ShiftAmount(32)],
    );
}

#[test]
fn calls_fit_their_functions() {
    let functions = |build: fn(&mut FunctionBuilder)| {
        let mut callee = FunctionBuilder::new("wide", &[Type::MapValue { size: 64 }, Type::Scalar]);
        callee.ret(0);
        let caller = entry(|b| {
            build(b);
            b.ret(0);
        });
        problems(&program(vec![caller, callee.finish()]))
    };
    assert_eq!(
        functions(|b| _ = b.call_local(FuncId(7), &[])),
        [Problem::UnknownFunction]
    );
    assert_eq!(
        functions(|b| _ = b.call_local(FuncId(0), &[])),
        [Problem::UnknownFunction]
    );
    assert_eq!(
        functions(|b| _ = b.call_local(FuncId(1), &[])),
        [Problem::ArgumentCount { expected: 2, found: 0 }]
    );
    let wrong = Problem::ArgumentType {
        index: 0,
        expected: Type::MapValue { size: 64 },
        found: Type::MapValue { size: 8 },
    };
    assert_eq!(
        functions(|b| {
            let small = b.map_value_addr("m", 0, 8);
            b.call_local(FuncId(1), &[small.into(), 3.into()]);
        }),
        [wrong]
    );
}

#[test]
fn structure_is_checked_before_contents() {
    let mut function = entry(|b| b.ret(0));
    function.blocks[0].terminator = Terminator::Jump(BlockId(4));
    assert_eq!(
        problems(&program(vec![function.clone()])),
        [Problem::UnknownBlock(BlockId(4))]
    );
    function.blocks.clear();
    assert_eq!(problems(&program(vec![function])), [Problem::NoBlocks]);
    assert_eq!(problems(&program(Vec::new())), [Problem::NoFunctions]);

    let mut function = entry(|b| b.ret(0));
    function.slots = vec![StackSlot { size: 512 }, StackSlot { size: 4 }];
    assert_eq!(
        problems(&program(vec![function])),
        [Problem::StackTooLarge(516), Problem::SlotSize(4)]
    );

    let mut function = entry(|b| b.ret(0));
    function.blocks.push(function.blocks[0].clone());
    assert_eq!(problems(&program(vec![function])), [Problem::Unreachable]);

    let mut twice = program(vec![entry(|b| b.ret(0))]);
    twice.maps.push(MapDef {
        name: "entry".into(),
        map_type: 1,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
    });
    assert_eq!(problems(&twice), [Problem::DuplicateName("entry".into())]);

    let mut b = FunctionBuilder::new("no_context", &[]);
    b.ret(0);
    assert_eq!(problems(&program(vec![b.finish()])), [Problem::EntryParameters]);
}

#[test]
fn messages_say_where() {
    let error = verify(&program(vec![entry(|b| {
        let ctx = b.param(0);
        b.ret(ctx);
    })]))
    .expect_err("a pointer is returned");
    assert_eq!(
        error[0].to_string(),
        "entry, b0 instruction 0: v0 is ctx, which cannot be used like this"
    );
}
