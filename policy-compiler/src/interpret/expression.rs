//! What expressions mean.

use crate::hir::{Condition, Number, Operand, Order};

use super::predicate::{extended, holds};
use super::{Call, Truth, Value};

/// Whether an expression holds: not if an argument that it names could not be read, and nobody knows if that is user memory.
pub(super) fn truth(condition: &Condition, call: &Call) -> Truth {
    let mut is_open = false;
    for operand in condition.operands() {
        match call.values.get(operand) {
            Some(Value::Unreadable) => is_open = true,
            // §5.1: there is no test that an empty path passes
            Some(Value::Path { path, .. }) if path.is_empty() => return Truth::No,
            Some(Value::Absent) | None => return Truth::No,
            Some(_) => {}
        }
    }
    match is_open {
        true => Truth::Undecided,
        false if value(condition, call) => Truth::Yes,
        false => Truth::No,
    }
}

fn value(condition: &Condition, call: &Call) -> bool {
    match condition {
        Condition::Constant(constant) => *constant,
        Condition::And(left, right) => value(left, call) && value(right, call),
        Condition::Or(left, right) => value(left, call) || value(right, call),
        Condition::Not(of) => !value(of, call),
        Condition::Same(left, right) => value(left, call) == value(right, call),
        Condition::Compare {
            order,
            number: of_type,
            left,
            right,
        } => {
            let (left, right) = (number(left, call), number(right, call));
            match order {
                Order::Equal => left == right,
                Order::Less if of_type.is_signed() => (left as i64) < right as i64,
                Order::Less => left < right,
            }
        }
        Condition::Test(test) => holds(test, call) == Truth::Yes,
    }
}

fn number(of: &Number, call: &Call) -> u64 {
    match of {
        Number::Constant(constant) => *constant,
        Number::Argument(operand) => argument(operand, call),
        Number::Operation(operation, of_type, left, right) => {
            of_type.cut(operation.apply(number(left, call), number(right, call)))
        }
        Number::Cut(of_type, of) => of_type.cut(number(of, call)),
    }
}

fn argument(operand: &Operand, call: &Call) -> u64 {
    match call.values.get(operand) {
        Some(Value::Integer(raw)) => extended(operand, *raw),
        _ => 0,
    }
}
