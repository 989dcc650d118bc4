//! Expressions over arguments: conditions become branches, numbers values in registers.

use crate::hir::{Condition, Number, NumberType, Operation, Order, Predicate};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Value, Width};

use super::decide::Outcomes;
use super::{GenerateError, Generator, state};

impl Generator<'_> {
    /// Branches on an expression, if all that it names has been read.
    pub(super) fn expression(&mut self, condition: &Condition, to: Outcomes) -> Result<(), GenerateError> {
        let mut gathered: Vec<usize> = condition
            .operands()
            .into_iter()
            .filter_map(|operand| self.gathered_index(operand))
            .collect();
        gathered.sort_unstable();
        gathered.dedup();
        // what is not there decides before what nobody can tell
        for index in &gathered {
            let read = self.frame_load(self.state_place(*index), Size::B1);
            let (other, next) = (self.b.create_block(), self.b.create_block());
            self.b.branch(CmpOp::Eq, Width::W64, read, state::READ, next, other);
            self.b.switch_to(other);
            self.b
                .branch(CmpOp::Eq, Width::W64, read, state::UNREADABLE_USER, next, to.no);
            self.b.switch_to(next);
        }
        for index in gathered {
            let read = self.frame_load(self.state_place(index), Size::B1);
            self.require(CmpOp::Eq, read, state::READ, to.undecided);
        }
        self.condition(condition, to.yes, to.no)
    }

    fn condition(&mut self, condition: &Condition, yes: BlockId, no: BlockId) -> Result<(), GenerateError> {
        match condition {
            Condition::Constant(constant) => self.b.jump(if *constant { yes } else { no }),
            Condition::And(left, right) => {
                let next = self.b.create_block();
                self.condition(left, next, no)?;
                self.b.switch_to(next);
                self.condition(right, yes, no)?;
            }
            Condition::Or(left, right) => {
                let next = self.b.create_block();
                self.condition(left, yes, next)?;
                self.b.switch_to(next);
                self.condition(right, yes, no)?;
            }
            Condition::Not(of) => self.condition(of, no, yes)?,
            Condition::Same(left, right) => {
                let (holds, fails) = (self.b.create_block(), self.b.create_block());
                self.condition(left, holds, fails)?;
                self.b.switch_to(holds);
                self.condition(right, yes, no)?;
                self.b.switch_to(fails);
                self.condition(right, no, yes)?;
            }
            Condition::Compare {
                order,
                number,
                left,
                right,
            } => {
                let (left, right) = (self.number(left)?, self.number(right)?);
                let op = match order {
                    Order::Equal => CmpOp::Eq,
                    Order::Less if number.is_signed() => CmpOp::Slt,
                    Order::Less => CmpOp::Lt,
                };
                self.b.branch(op, Width::W64, left, IrOperand::Value(right), yes, no);
            }
            Condition::Test(test) => {
                let to = Outcomes { yes, no, undecided: no };
                match test {
                    Predicate::Text { operand, test, .. } => self.text_test(operand, test, false, to),
                    Predicate::Sock { operand, test, .. } => self.socket_test(operand, test, false, to),
                    // resolved expressions have no others
                    _ => self.b.jump(no),
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, number: &Number) -> Result<Value, GenerateError> {
        Ok(match number {
            Number::Constant(constant) => self.b.const_(*constant as i64),
            Number::Argument(operand) => self.integer(operand)?,
            Number::Operation(operation, of_type, left, right) => {
                let op = match operation {
                    Operation::Add => AluOp::Add,
                    Operation::Subtract => AluOp::Sub,
                    Operation::And => AluOp::And,
                    Operation::Or => AluOp::Or,
                    Operation::Xor => AluOp::Xor,
                };
                let (left, right) = (self.number(left)?, self.number(right)?);
                let result = self.b.alu(op, Width::W64, left, IrOperand::Value(right));
                self.cut(*of_type, result)
            }
            Number::Cut(of_type, of) => {
                let whole = self.number(of)?;
                self.cut(*of_type, whole)
            }
        })
    }

    fn cut(&mut self, of_type: NumberType, value: Value) -> Value {
        if !of_type.is_narrow() {
            return value;
        }
        let high = self.b.alu(AluOp::Lsh, Width::W64, value, 32i64);
        let extend = if of_type.is_signed() { AluOp::Arsh } else { AluOp::Rsh };
        self.b.alu(extend, Width::W64, high, 32i64)
    }
}
