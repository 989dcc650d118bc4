//! Machine code of small functions, as text.

use super::*;
use crate::ir::builder::FunctionBuilder;
use crate::ir::{AluOp, CmpOp, Size, Type, Width};

fn check(build: impl FnOnce(&mut FunctionBuilder), params: &[Type], expected: &str) {
    let mut b = FunctionBuilder::new("f", params);
    build(&mut b);
    let code = compile_function(b.finish(), Target::default()).expect("small enough");
    let texts: Vec<_> = code
        .instructions
        .iter()
        .enumerate()
        .filter(|(at, _)| *at == 0 || !code.instructions[at - 1].is_wide())
        .map(|(at, instruction)| instruction.text(code.instructions.get(at + 1).copied()))
        .collect();
    let expected: Vec<_> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(texts, expected);
}

#[test]
fn a_comparison_jumps_to_the_far_block() {
    check(
        |b| {
            let (yes, no) = (b.create_block(), b.create_block());
            let x = b.load(b.param(0), 8, Size::B4);
            b.branch(CmpOp::Eq, Width::W64, x, 7, yes, no);
            b.switch_to(yes);
            b.ret(1);
            b.switch_to(no);
            b.ret(0);
        },
        &[Type::Ctx],
        "r4 = *(u32 *)(r1 + 8)
         if r4 == 7 goto +2
         r0 = 0
         exit
         r0 = 1
         exit",
    );
}

#[test]
fn what_lives_over_a_call_is_in_callee_saved_registers() {
    check(
        |b| {
            let a = b.load(b.param(0), 0, Size::B8);
            let pid = b.call_helper(14, &[]);
            let sum = b.alu(AluOp::Add, Width::W64, pid, a);
            b.ret(sum);
        },
        &[Type::Ctx],
        "r6 = *(u64 *)(r1 + 0)
         call 14
         r4 = r0
         r4 += r6
         r0 = r4
         exit",
    );
}

#[test]
fn constants_take_the_shortest_form() {
    check(
        |b| {
            let x = b.load(b.param(0), 0, Size::B8);
            let x = b.alu(AluOp::And, Width::W64, x, 0xffff_ffffi64);
            let x = b.alu(AluOp::Xor, Width::W64, x, 0x1_0000_0000i64);
            let x = b.alu(AluOp::Or, Width::W32, x, 0xffff_fff0u32);
            b.ret(x);
        },
        &[Type::Ctx],
        "r4 = *(u64 *)(r1 + 0)
         w5 = -1
         r4 &= r5
         r5 = 4294967296 ll
         r4 ^= r5
         w4 |= -16
         r0 = r4
         exit",
    );
}

#[test]
fn kernel_memory_is_read_directly_or_through_the_helper() {
    let build = |b: &mut FunctionBuilder| {
        let x = b.load_kernel(b.param(0), 16, Size::B4, true);
        b.ret(x);
    };
    check(
        build,
        &[Type::Trusted(1)],
        "r4 = *(u32 *)(r1 + 16)
         r4 <<= 32
         r4 s>>= 32
         r0 = r4
         exit",
    );
    check(
        build,
        &[Type::Scalar],
        "r3 = r1
         r3 += 16
         r1 = r10
         r1 += -8
         r2 = 4
         call 113
         r4 = *(u32 *)(r10 - 8)
         r4 <<= 32
         r4 s>>= 32
         r0 = r4
         exit",
    );
}

#[test]
fn operands_survive_a_result_in_their_register() {
    // `b - a` where the result takes the register of `a`
    check(
        |b| {
            let x = b.load(b.param(0), 0, Size::B8);
            let y = b.load(b.param(0), 8, Size::B8);
            let difference = b.alu(AluOp::Sub, Width::W64, y, x);
            let again = b.alu(AluOp::Sub, Width::W64, 5, difference);
            b.ret(again);
        },
        &[Type::Ctx],
        "r3 = *(u64 *)(r1 + 0)
         r4 = *(u64 *)(r1 + 8)
         r4 -= r3
         r5 = r4
         r4 = 5
         r4 -= r5
         r0 = r4
         exit",
    );
}

#[test]
fn stack_slots_are_addressed_through_the_frame_pointer() {
    check(
        |b| {
            let slot = b.stack_slot(12);
            let address = b.stack_addr(slot);
            b.store(address, 0, Size::B8, -1);
            b.store(address, 8, Size::B4, 0xffff_ffffu32);
            let map = b.map_ref("m");
            b.call_helper(1, &[map.into(), address.into()]);
            b.ret(0);
        },
        &[Type::Ctx],
        "*(u64 *)(r10 - 16) = -1
         *(u32 *)(r10 - 8) = -1
         r1 = 0 ll
         r2 = r10
         r2 += -16
         call 1
         r0 = 0
         exit",
    );
}

#[test]
fn frames_have_a_limit() {
    let mut b = FunctionBuilder::new("f", &[]);
    b.stack_slot(520);
    b.ret(0);
    let error = compile_function(b.finish(), Target::default()).expect_err("too large");
    assert_eq!(
        error,
        CodegenError::FrameTooLarge {
            function: "f".into(),
            slots: 520,
            spills: 0
        }
    );
}

#[test]
fn results_of_calls_are_tested_where_they_are() {
    check(
        |b| {
            let (yes, no) = (b.create_block(), b.create_block());
            let x = b.call_helper(14, &[]);
            b.branch(CmpOp::Slt, Width::W64, x, 0, yes, no);
            b.switch_to(yes);
            let y = b.call_helper(15, &[]);
            b.ret(y);
            b.switch_to(no);
            b.ret(0);
        },
        &[Type::Ctx],
        "call 14
         if r0 s< 0 goto +2
         r0 = 0
         exit
         call 15
         exit",
    );
}

#[test]
fn arguments_are_computed_in_their_registers() {
    check(
        |b| {
            let ctx = b.param(0);
            let x = b.load_signed(ctx, 8, Size::B4);
            let x = b.alu(AluOp::Add, Width::W64, x, 3);
            let x = b.alu(AluOp::Xor, Width::W64, x, 5);
            b.call_helper(6, &[ctx.into(), x.into()]);
            b.ret(0);
        },
        &[Type::Ctx],
        "r2 = *(u32 *)(r1 + 8)
         r2 <<= 32
         r2 s>>= 32
         r2 += 3
         r2 ^= 5
         call 6
         r0 = 0
         exit",
    );
}

#[test]
fn jumps_to_jumps_are_threaded() {
    check(
        |b| {
            let (hop, hop2, end, other) = (b.create_block(), b.create_block(), b.create_block(), b.create_block());
            let x = b.load(b.param(0), 0, Size::B8);
            b.branch(CmpOp::Eq, Width::W64, x, 1, hop, other);
            b.switch_to(hop);
            b.jump(hop2);
            b.switch_to(hop2);
            b.jump(end);
            b.switch_to(other);
            b.store(b.param(0), 0, Size::B8, 1);
            b.jump(end);
            b.switch_to(end);
            b.ret(0);
        },
        &[Type::Ctx],
        "r4 = *(u64 *)(r1 + 0)
         if r4 == 1 goto +1
         *(u64 *)(r1 + 0) = 1
         r0 = 0
         exit",
    );
}
