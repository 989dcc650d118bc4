//! Expressions over the arguments of a hook (`CelExpr`, §11), typed.
//!
//! All arguments that an expression names must have been read, or it does not hold, however it would come out: what could not be
//! read is neither this nor that.

use super::{Operand, Predicate};

/// True or false.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Condition {
    /// A constant.
    Constant(bool),
    /// `&&`
    And(Box<Condition>, Box<Condition>),
    /// `||`
    Or(Box<Condition>, Box<Condition>),
    /// `!`
    Not(Box<Condition>),
    /// `==` of two conditions.
    Same(Box<Condition>, Box<Condition>),
    /// A comparison of two numbers of one type.
    Compare {
        /// How.
        order: Order,
        /// Their type.
        number: NumberType,
        /// The first.
        left: Number,
        /// The second.
        right: Number,
    },
    /// A test of a text or a socket: a [`Predicate::Text`] or a [`Predicate::Sock`] that is not negated.
    Test(Predicate),
}

/// How numbers are compared; the other ways are the same with the sides, or the outcome, swapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Order {
    /// `==`
    Equal,
    /// `<`
    Less,
}

/// Types of numbers. Values are extended to 64 bits, as the type is signed or not; what does not fit is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NumberType {
    Int32,
    Uint32,
    Int64,
    Uint64,
}

/// A number.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Number {
    /// A constant, extended to 64 bits.
    Constant(u64),
    /// An argument, extended as its own type says.
    Argument(Operand),
    /// An operation on two numbers, cut to a type.
    Operation(Operation, NumberType, Box<Number>, Box<Number>),
    /// A number cut to a type.
    Cut(NumberType, Box<Number>),
}

/// Operations on numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Operation {
    Add,
    Subtract,
    And,
    Or,
    Xor,
}

impl NumberType {
    /// Whether it is signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64)
    }

    /// Whether it has 32 bits.
    pub fn is_narrow(self) -> bool {
        matches!(self, Self::Int32 | Self::Uint32)
    }

    /// The value that the type makes of 64 bits.
    pub fn cut(self, value: u64) -> u64 {
        match self {
            Self::Int32 => value as i32 as u64,
            Self::Uint32 => u64::from(value as u32),
            Self::Int64 | Self::Uint64 => value,
        }
    }
}

impl Operation {
    /// Its result, before it is cut.
    pub fn apply(self, left: u64, right: u64) -> u64 {
        match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::And => left & right,
            Self::Or => left | right,
            Self::Xor => left ^ right,
        }
    }
}

impl Condition {
    /// The arguments that it names, each as often as it does.
    pub fn operands(&self) -> Vec<&Operand> {
        let mut all = Vec::new();
        self.visit(&mut |part| match part {
            Part::Argument(operand) => all.push(operand),
            Part::Test(test) => all.extend(test.operand()),
        });
        all
    }

    /// The tests of texts and sockets in it.
    pub fn tests(&self) -> Vec<&Predicate> {
        let mut all = Vec::new();
        self.visit(&mut |part| {
            if let Part::Test(test) = part {
                all.push(test);
            }
        });
        all
    }

    fn visit<'c>(&'c self, visitor: &mut dyn FnMut(Part<'c>)) {
        match self {
            Self::Constant(_) => {}
            Self::And(left, right) | Self::Or(left, right) | Self::Same(left, right) => {
                left.visit(visitor);
                right.visit(visitor);
            }
            Self::Not(of) => of.visit(visitor),
            Self::Compare { left, right, .. } => {
                left.visit(visitor);
                right.visit(visitor);
            }
            Self::Test(test) => visitor(Part::Test(test)),
        }
    }
}

impl Number {
    fn visit<'c>(&'c self, visitor: &mut dyn FnMut(Part<'c>)) {
        match self {
            Self::Constant(_) => {}
            Self::Argument(operand) => visitor(Part::Argument(operand)),
            Self::Operation(_, _, left, right) => {
                left.visit(visitor);
                right.visit(visitor);
            }
            Self::Cut(_, of) => of.visit(visitor),
        }
    }
}

/// What an expression is about.
enum Part<'c> {
    Argument(&'c Operand),
    Test(&'c Predicate),
}
