//! Numeric operands and tests.

use tracingpolicy_crd::value::COMPAT_SYSCALL;

use crate::hir::{IntegerTest, Operand};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Value, Width};
use crate::output::ArgumentType;
use crate::resolve::integer_width;

use super::{GenerateError, Generator, classifier};

/// Flag of `thread_info.status` during a system call of the 32-bit ABI (`arch/x86/include/asm/thread_info.h`).
const TS_COMPAT: i64 = 2;
/// From there to the bit that `syscall64` has for it.
const COMPAT_SHIFT: i64 = 30;

impl Generator<'_> {
    /// The value of a numeric operand, extended to 64 bits as its type says.
    pub(super) fn integer(&mut self, operand: &Operand) -> Result<Value, GenerateError> {
        let raw = self.raw_number(operand)?;
        if operand.argument_type == ArgumentType::Syscall64 {
            return self.with_abi(raw);
        }
        let (bits, signed) = integer_width(operand.argument_type).unwrap_or((64, false));
        if bits == 64 {
            return Ok(raw);
        }
        let shift = i64::from(64 - bits);
        if signed {
            let high = self.b.alu(AluOp::Lsh, Width::W64, raw, shift);
            return Ok(self.b.alu(AluOp::Arsh, Width::W64, high, shift));
        }
        if bits == 32 {
            let high = self.b.alu(AluOp::Lsh, Width::W64, raw, 32i64);
            return Ok(self.b.alu(AluOp::Rsh, Width::W64, high, 32i64));
        }
        Ok(self.b.alu(AluOp::And, Width::W64, raw, (1i64 << bits) - 1))
    }

    /// The number of a system call with the bit that says that it was made by the 32-bit ABI (`in_ia32_syscall()` in
    /// `arch/x86/include/asm/compat.h`).
    fn with_abi(&mut self, number: Value) -> Result<Value, GenerateError> {
        let status = self.task_word("thread_info.status", Size::B4)?;
        let compat = self.b.alu(AluOp::And, Width::W64, status, TS_COMPAT);
        let bit = self.b.alu(AluOp::Lsh, Width::W64, compat, COMPAT_SHIFT);
        Ok(self.b.alu(AluOp::Or, Width::W64, number, IrOperand::Value(bit)))
    }

    /// Branches on a numeric test; the caller has dealt with negation by exchanging the blocks.
    pub(super) fn integer_test(
        &mut self,
        operand: &Operand,
        test: &IntegerTest,
        yes: BlockId,
        no: BlockId,
    ) -> Result<(), GenerateError> {
        let (bits, signed) = integer_width(operand.argument_type).unwrap_or((64, false));
        if let Some((op, constant)) = low_word_test(test, bits, signed) {
            let raw = self.raw_number(operand)?;
            self.b.branch(op, Width::W32, raw, constant, yes, no);
            return Ok(());
        }
        if let (ArgumentType::Syscall64, IntegerTest::Equal(values)) = (operand.argument_type, test) {
            // most calls are told apart by their numbers alone
            let mut numbers: Vec<u64> = values.iter().map(|value| value & !COMPAT_SYSCALL).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let raw = self.raw_number(operand)?;
            let known = self.b.create_block();
            classifier::search(&mut self.b, raw, &numbers, &|_| known, no);
            self.b.switch_to(known);
        }
        let value = self.integer(operand)?;
        match test {
            IntegerTest::Equal(values) => classifier::search(&mut self.b, value, values, &|_| yes, no),
            IntegerTest::Above(bound) => {
                let op = if signed { CmpOp::Sgt } else { CmpOp::Gt };
                self.b.branch(op, Width::W64, value, *bound as i64, yes, no);
            }
            IntegerTest::Below(bound) => {
                let op = if signed { CmpOp::Slt } else { CmpOp::Lt };
                self.b.branch(op, Width::W64, value, *bound as i64, yes, no);
            }
            IntegerTest::Mask(mask) => self.b.branch(CmpOp::Set, Width::W64, value, *mask as i64, yes, no),
            IntegerTest::Within(ranges) => {
                let ranges: Vec<(i64, i64)> = ranges.iter().map(|(low, high)| (*low as i64, *high as i64)).collect();
                self.ranges(value, signed, &ranges, yes, no);
            }
        }
        Ok(())
    }

    /// Branches on membership in any of the ranges, which are ordered by their lower bound.
    pub(super) fn ranges(&mut self, value: Value, signed: bool, ranges: &[(i64, i64)], yes: BlockId, no: BlockId) {
        let (below, at_most) = if signed {
            (CmpOp::Slt, CmpOp::Sle)
        } else {
            (CmpOp::Lt, CmpOp::Le)
        };
        for (low, high) in ranges {
            // below this range it is below all that follow
            self.require_not(below, value, *low, no);
            let next = self.b.create_block();
            self.b.branch(at_most, Width::W64, value, *high, yes, next);
            self.b.switch_to(next);
        }
        self.b.jump(no);
    }

    /// As [`Self::require_not`], for the `int` that a runtime function returned: its upper half is undefined, clang leaves it zero
    /// for -1.
    pub(super) fn require_result_not(&mut self, op: CmpOp, result: Value, b: i64, other: BlockId) {
        let next = self.b.create_block();
        self.b.branch(op, Width::W32, result, b, other, next);
        self.b.switch_to(next);
    }

    /// Goes to `other` if `a op b`, else on in a new block.
    pub(super) fn require_not(&mut self, op: CmpOp, a: Value, b: i64, other: BlockId) {
        let next = self.b.create_block();
        self.b.branch(op, Width::W64, a, b, other, next);
        self.b.switch_to(next);
    }
}

/// A test that looks at the lower half of a 32-bit operand, which spares the extension.
fn low_word_test(test: &IntegerTest, bits: u32, signed: bool) -> Option<(CmpOp, i64)> {
    let constant = |value: u64| i64::from(value as i32);
    let fits = |value: u64| {
        if signed {
            value as i64 == constant(value)
        } else {
            u32::try_from(value).is_ok()
        }
    };
    match test {
        IntegerTest::Equal(values) => match values[..] {
            [value] if bits == 32 && fits(value) => Some((CmpOp::Eq, constant(value))),
            _ => None,
        },
        IntegerTest::Mask(mask) if bits == 32 && u32::try_from(*mask).is_ok() => Some((CmpOp::Set, constant(*mask))),
        _ => None,
    }
}
