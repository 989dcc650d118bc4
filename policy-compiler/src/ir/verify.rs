//! Checks the invariants of the IR (see [`crate::ir`]) and the types of what instructions do.
//!
//! All violations are collected. What passes here the back end turns into code without panic, and the kernel's verifier finds
//! no pointer misused; it does not look at the contents of numbers, so it cannot promise that an offset computed at run time
//! stays within bounds.

use std::collections::BTreeSet;

use super::{AluOp, BlockId, Callee, CmpOp, Function, Inst, Operand, Program, Size, Terminator, Type, Value, Width};

mod dominance;

#[cfg(test)]
mod tests;

use dominance::Dominance;

/// Bytes of stack that all slots of a function may take together.
const STACK_SIZE: u32 = 512;

/// What is wrong with a program, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{function}, {}: {problem}", place(*block, *index))]
pub struct VerifyError {
    /// Function.
    pub function: String,
    /// Block, unless it concerns the function as a whole.
    pub block: Option<BlockId>,
    /// Instruction in the block; the number of instructions stands for the terminator.
    pub index: usize,
    /// What is wrong.
    pub problem: Problem,
}

fn place(block: Option<BlockId>, index: usize) -> String {
    block.map_or_else(
        || "as a whole".to_owned(),
        |block| format!("{block} instruction {index}"),
    )
}

/// What can be wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("the program has no functions")]
    NoFunctions,
    #[error("the entry must have one parameter, the context")]
    EntryParameters,
    #[error("{0} is defined twice")]
    DuplicateName(String),
    #[error("a function has at most five parameters and five arguments, not {0}")]
    TooManyArguments(usize),
    #[error("stack slots take {0} bytes, {STACK_SIZE} are allowed")]
    StackTooLarge(u32),
    #[error("size {0} of a stack slot is not a positive multiple of 8")]
    SlotSize(u32),
    #[error("there is no block")]
    NoBlocks,
    #[error("there is no {0}")]
    UnknownBlock(BlockId),
    #[error("the block cannot be reached")]
    Unreachable,
    #[error("there is no {0}")]
    UnknownValue(Value),
    #[error("{0} is defined more than once")]
    DefinedTwice(Value),
    #[error("{0} is not defined on every path to here")]
    NotDominated(Value),
    #[error("there is no such stack slot")]
    UnknownSlot,
    #[error("there is no such function, or it is the entry")]
    UnknownFunction,
    #[error("the function takes {expected} arguments, not {found}")]
    ArgumentCount { expected: usize, found: usize },
    #[error("argument {index} is {found}, the function takes {expected}")]
    ArgumentType { index: usize, expected: Type, found: Type },
    #[error("{0} may be null here")]
    MaybeNull(Value),
    #[error("{value} is {found}, which cannot be used like this")]
    WrongType { value: Value, found: Type },
    #[error("{bytes} bytes at offset {offset} are not within {size}")]
    OutOfBounds { offset: i32, bytes: u32, size: u32 },
    #[error("offset {0} on the stack is not aligned")]
    Misaligned(i32),
    #[error("shift by {0}")]
    ShiftAmount(i64),
}

/// Checks a program.
///
/// # Errors
///
/// All violations found, in order.
pub fn verify(program: &Program) -> Result<(), Vec<VerifyError>> {
    let mut errors = Vec::new();
    let Some(entry) = program.functions.first() else {
        return Err(vec![VerifyError {
            function: String::new(),
            block: None,
            index: 0,
            problem: Problem::NoFunctions,
        }]);
    };
    let whole = |function: &str, problem| VerifyError {
        function: function.to_owned(),
        block: None,
        index: 0,
        problem,
    };
    if entry.params.len() != 1 || entry.value_types.first() != Some(&Type::Ctx) {
        errors.push(whole(&entry.name, Problem::EntryParameters));
    }
    let mut names = BTreeSet::new();
    for name in program
        .functions
        .iter()
        .map(|function| &function.name)
        .chain(program.maps.iter().map(|map| &map.name))
    {
        if !names.insert(name) {
            errors.push(whole(name, Problem::DuplicateName(name.clone())));
        }
    }
    for function in &program.functions {
        verify_function(program, function, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn verify_function(program: &Program, function: &Function, errors: &mut Vec<VerifyError>) {
    let mut check = Checker {
        program,
        function,
        errors,
        block: None,
        index: 0,
    };
    let sound = check.structure();
    // without blocks and successors there is nothing to walk on
    if sound {
        let facts = Facts::collect(function, &mut check);
        check.contents(&facts);
    }
}

/// Where a value is defined.
#[derive(Clone, Copy)]
struct Definition {
    block: BlockId,
    /// Instruction in the block; parameters are before the first one.
    index: Option<usize>,
}

/// What is known of a function's values.
struct Facts {
    dominance: Dominance,
    definitions: Vec<Option<Definition>>,
    /// Bytes that can be accessed from a stack address whose slot is known.
    stack: Vec<Option<u32>>,
    /// Pointers whose distance from the start of the object is not constant.
    variable: Vec<bool>,
    /// For each value, blocks from which on it is known not to be null.
    not_null: Vec<Vec<BlockId>>,
}

impl Facts {
    fn collect(function: &Function, check: &mut Checker<'_>) -> Self {
        let count = function.value_types.len();
        let mut facts = Self {
            dominance: Dominance::new(function),
            definitions: vec![None; count],
            stack: vec![None; count],
            variable: vec![false; count],
            not_null: vec![Vec::new(); count],
        };
        for param in &function.params {
            if let Some(definition) = facts.definitions.get_mut(param.0 as usize) {
                *definition = Some(Definition {
                    block: BlockId(0),
                    index: None,
                });
            }
        }
        for (block, contents) in function.blocks.iter().enumerate() {
            let block = BlockId(block as u32);
            check.block = Some(block);
            for (index, located) in contents.insts.iter().enumerate() {
                check.index = index;
                let Some(dest) = located.inst.dest() else { continue };
                let Some(definition) = facts.definitions.get_mut(dest.0 as usize) else {
                    check.report(Problem::UnknownValue(dest));
                    continue;
                };
                if definition.is_some() {
                    check.report(Problem::DefinedTwice(dest));
                }
                *definition = Some(Definition {
                    block,
                    index: Some(index),
                });
                facts.follow_pointer(function, &located.inst);
            }
            facts.learn_not_null(function, &contents.terminator);
        }
        facts
    }

    /// Follows stack addresses, and where pointers lose their constant distance. Definitions come before uses in the order of
    /// blocks that builders produce; where they do not, less is known and less is checked.
    fn follow_pointer(&mut self, function: &Function, inst: &Inst) {
        match *inst {
            Inst::StackAddr { dest, slot } => {
                self.stack[dest.0 as usize] = function.slots.get(slot.0 as usize).map(|slot| slot.size);
            }
            Inst::Alu {
                dest,
                op,
                a: Operand::Value(a),
                b,
                ..
            } if (a.0 as usize) < self.stack.len() => {
                let known = self.stack[a.0 as usize];
                let moved = match (op, b) {
                    (AluOp::Add, Operand::Imm(offset)) => known
                        .zip(u32::try_from(offset).ok())
                        .and_then(|(size, n)| size.checked_sub(n)),
                    _ => None,
                };
                self.stack[dest.0 as usize] = moved;
                let constant = op == AluOp::Add && matches!(b, Operand::Imm(offset) if offset >= 0);
                self.variable[dest.0 as usize] = self.variable[a.0 as usize] || !constant;
            }
            _ => {}
        }
    }

    fn learn_not_null(&mut self, function: &Function, terminator: &Terminator) {
        let Terminator::Branch {
            op,
            width: Width::W64,
            a,
            b: Operand::Imm(0),
            then_block,
            else_block,
        } = *terminator
        else {
            return;
        };
        let not_null = match op {
            CmpOp::Eq => else_block,
            CmpOp::Ne => then_block,
            _ => return,
        };
        // the edge itself must be the only way in
        let only_way = then_block != else_block && self.dominance.incoming[not_null.0 as usize] == 1;
        if only_way
            && matches!(
                function.value_types.get(a.0 as usize),
                Some(Type::MapValueOrNull { .. })
            )
        {
            self.not_null[a.0 as usize].push(not_null);
        }
    }
}

struct Checker<'a> {
    program: &'a Program,
    function: &'a Function,
    errors: &'a mut Vec<VerifyError>,
    block: Option<BlockId>,
    index: usize,
}

impl Checker<'_> {
    fn report(&mut self, problem: Problem) {
        self.errors.push(VerifyError {
            function: self.function.name.clone(),
            block: self.block,
            index: self.index,
            problem,
        });
    }

    /// Checks what must hold before the blocks can be walked.
    fn structure(&mut self) -> bool {
        let function = self.function;
        let before = self.errors.len();
        if function.params.len() > 5 {
            self.report(Problem::TooManyArguments(function.params.len()));
        }
        let total = function
            .slots
            .iter()
            .fold(0u32, |sum, slot| sum.saturating_add(slot.size));
        if total > STACK_SIZE {
            self.report(Problem::StackTooLarge(total));
        }
        for slot in &function.slots {
            if slot.size == 0 || slot.size % 8 != 0 {
                self.report(Problem::SlotSize(slot.size));
            }
        }
        for param in &function.params {
            if param.0 as usize >= function.value_types.len() {
                self.report(Problem::UnknownValue(*param));
            }
        }
        if function.blocks.is_empty() {
            self.report(Problem::NoBlocks);
        }
        for (id, block) in function.blocks.iter().enumerate() {
            self.block = Some(BlockId(id as u32));
            self.index = block.insts.len();
            for successor in block.terminator.successors() {
                if successor.0 as usize >= function.blocks.len() {
                    self.report(Problem::UnknownBlock(successor));
                }
            }
        }
        self.block = None;
        self.index = 0;
        self.errors.len() == before
    }

    fn contents(&mut self, facts: &Facts) {
        let function = self.function;
        for (id, block) in function.blocks.iter().enumerate() {
            let id = BlockId(id as u32);
            self.block = Some(id);
            self.index = 0;
            if !facts.dominance.is_reachable(id) {
                self.report(Problem::Unreachable);
                continue;
            }
            for (index, located) in block.insts.iter().enumerate() {
                self.index = index;
                if self.uses_are_defined(facts, id, located.inst.uses()) {
                    self.inst(facts, id, &located.inst);
                }
            }
            self.index = block.insts.len();
            if self.uses_are_defined(facts, id, block.terminator.uses()) {
                self.terminator(facts, id, &block.terminator);
            }
        }
    }

    fn uses_are_defined(&mut self, facts: &Facts, block: BlockId, uses: impl Iterator<Item = Value>) -> bool {
        let before = self.errors.len();
        for value in uses {
            match facts.definitions.get(value.0 as usize) {
                None => self.report(Problem::UnknownValue(value)),
                Some(None) => self.report(Problem::NotDominated(value)),
                Some(Some(definition)) => {
                    let earlier = if definition.block == block {
                        definition.index.is_none_or(|index| index < self.index)
                    } else {
                        facts.dominance.dominates(definition.block, block)
                    };
                    if !earlier {
                        self.report(Problem::NotDominated(value));
                    }
                }
            }
        }
        self.errors.len() == before
    }

    /// Type of a value at a place: one that was found not to be null is a map value.
    fn type_at(&self, facts: &Facts, block: BlockId, value: Value) -> Type {
        match self.function.value_types[value.0 as usize] {
            Type::MapValueOrNull { size }
                if facts.not_null[value.0 as usize]
                    .iter()
                    .any(|known| facts.dominance.dominates(*known, block)) =>
            {
                Type::MapValue { size }
            }
            other => other,
        }
    }

    fn type_of_operand(&self, facts: &Facts, block: BlockId, operand: Operand) -> Type {
        operand
            .value()
            .map_or(Type::Scalar, |value| self.type_at(facts, block, value))
    }

    /// Reports an operand that may not be used at all where any pointer may.
    fn usable(&mut self, facts: &Facts, block: BlockId, operand: Operand, map_allowed: bool) {
        let Some(value) = operand.value() else { return };
        match self.type_at(facts, block, value) {
            Type::MapValueOrNull { .. } => self.report(Problem::MaybeNull(value)),
            found @ Type::Map if !map_allowed => self.report(Problem::WrongType { value, found }),
            _ => {}
        }
    }

    /// Reports an operand that is no number.
    fn scalar(&mut self, facts: &Facts, block: BlockId, operand: Operand) {
        let Some(value) = operand.value() else { return };
        match self.type_at(facts, block, value) {
            Type::Scalar => {}
            found => self.report(Problem::WrongType { value, found }),
        }
    }

    fn inst(&mut self, facts: &Facts, block: BlockId, inst: &Inst) {
        match *inst {
            Inst::Const { .. } | Inst::MapRef { .. } | Inst::MapValueAddr { .. } => {}
            Inst::Alu { op, width, a, b, .. } => {
                let moves_pointer = matches!(op, AluOp::Add | AluOp::Sub) && width == Width::W64;
                if moves_pointer {
                    self.usable(facts, block, a, false);
                } else {
                    self.scalar(facts, block, a);
                }
                self.scalar(facts, block, b);
                let bits = if width == Width::W32 { 32 } else { 64 };
                if let (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(amount)) = (op, b)
                    && !(0..bits).contains(&amount)
                {
                    self.report(Problem::ShiftAmount(amount));
                }
            }
            Inst::ByteSwap { a, .. } => self.scalar(facts, block, Operand::Value(a)),
            Inst::Low32 { a, .. } => self.usable(facts, block, Operand::Value(a), false),
            Inst::Load { base, offset, size, .. } => self.access(facts, block, base, offset, size, false),
            Inst::LoadKernel { base, .. } => match self.type_at(facts, block, base) {
                Type::Trusted(_) | Type::Scalar => {}
                Type::MapValueOrNull { .. } => self.report(Problem::MaybeNull(base)),
                found => self.report(Problem::WrongType { value: base, found }),
            },
            Inst::Store {
                base,
                offset,
                size,
                value,
            } => {
                self.access(facts, block, base, offset, size, true);
                self.usable(facts, block, value, false);
            }
            Inst::StackAddr { slot, .. } => {
                if slot.0 as usize >= self.function.slots.len() {
                    self.report(Problem::UnknownSlot);
                }
            }
            Inst::Call {
                ref callee, ref args, ..
            } => self.call(facts, block, callee, args),
        }
    }

    fn access(&mut self, facts: &Facts, block: BlockId, base: Value, offset: i32, size: Size, is_store: bool) {
        let bytes = size.bytes();
        let within = |limit: u32| {
            u32::try_from(offset).is_ok_and(|start| start.checked_add(bytes).is_some_and(|end| end <= limit))
        };
        let constant = !facts.variable[base.0 as usize];
        match self.type_at(facts, block, base) {
            Type::MapValue { size } if constant && !within(size) => {
                self.report(Problem::OutOfBounds { offset, bytes, size });
            }
            Type::MapValue { .. } => {}
            Type::Stack => match facts.stack[base.0 as usize] {
                Some(size) if !within(size) => self.report(Problem::OutOfBounds { offset, bytes, size }),
                Some(_) if offset % bytes as i32 != 0 => self.report(Problem::Misaligned(offset)),
                _ => {}
            },
            Type::Ctx if offset >= 0 => {}
            Type::Trusted(_) if !is_store => {}
            Type::MapValueOrNull { .. } => self.report(Problem::MaybeNull(base)),
            found => self.report(Problem::WrongType { value: base, found }),
        }
    }

    fn call(&mut self, facts: &Facts, block: BlockId, callee: &Callee, args: &[Operand]) {
        if args.len() > 5 {
            self.report(Problem::TooManyArguments(args.len()));
        }
        for arg in args {
            self.usable(facts, block, *arg, true);
        }
        let Callee::Local(id) = callee else { return };
        let Some(function) = self.program.functions.get(id.0 as usize).filter(|_| id.0 != 0) else {
            return self.report(Problem::UnknownFunction);
        };
        if function.params.len() != args.len() {
            return self.report(Problem::ArgumentCount {
                expected: function.params.len(),
                found: args.len(),
            });
        }
        for (index, (param, arg)) in function.params.iter().zip(args).enumerate() {
            let Some(&expected) = function.value_types.get(param.0 as usize) else {
                continue;
            };
            let found = self.type_of_operand(facts, block, *arg);
            let fits = match (expected, found) {
                (Type::MapValue { size: wanted }, Type::MapValue { size }) => size >= wanted,
                // any address can be taken as a number
                (Type::Scalar, _) => true,
                _ => expected == found,
            };
            if !fits {
                self.report(Problem::ArgumentType { index, expected, found });
            }
        }
    }

    fn terminator(&mut self, facts: &Facts, block: BlockId, terminator: &Terminator) {
        match *terminator {
            Terminator::Jump(_) => {}
            Terminator::Return(operand) => self.scalar(facts, block, operand),
            Terminator::Branch { op, width, a, b, .. } => {
                let null_check = matches!(op, CmpOp::Eq | CmpOp::Ne) && width == Width::W64 && b == Operand::Imm(0);
                match self.type_at(facts, block, a) {
                    Type::MapValueOrNull { .. } if null_check => {}
                    Type::MapValueOrNull { .. } => self.report(Problem::MaybeNull(a)),
                    found @ Type::Map => self.report(Problem::WrongType { value: a, found }),
                    _ => {}
                }
                self.usable(facts, block, b, false);
            }
        }
    }
}
