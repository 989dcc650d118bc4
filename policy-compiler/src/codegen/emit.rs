//! Turns the instructions of a function into those of the machine.
//!
//! Jumps still name blocks and references still name symbols; [`super::jumps`] and the linker put numbers there.

use crate::ir::{AluOp, BlockId, Callee, CmpOp, Function, Inst, Located, Operand, Size, Terminator, Value, Width};
use crate::isa::{self, AluOperation, Instruction, JumpOperation, PSEUDO_MAP_FD, Reg};
use crate::output::SourceRef;

use super::allocate::{Allocation, Place};
use super::frame::Frame;
use super::liveness::{Liveness, reads_directly};
use super::moves::parallel_moves;
use super::{CodegenError, Symbol};

/// `bpf_map_lookup_elem`
const MAP_LOOKUP_ELEM: u32 = 1;
/// `bpf_probe_read_kernel`
const PROBE_READ_KERNEL: u32 = 113;

/// Registers that hold nothing between instructions of the IR.
const SCRATCH: Reg = Reg::R0;
const SCRATCH2: Reg = Reg::R5;

/// What an instruction refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A jump to a block.
    Block(BlockId),
    /// A jump over this many slots, whatever happens to the code around.
    Skip(u32),
    /// A map or function.
    Symbol(Symbol),
}

/// One slot of machine code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) instruction: Instruction,
    pub(super) target: Option<Target>,
    pub(super) source: Option<SourceRef>,
}

/// Machine code of a function.
pub(super) struct Emitted {
    pub(super) slots: Vec<Slot>,
    /// First slot of each block, by position in the order.
    pub(super) starts: Vec<(BlockId, usize)>,
}

/// Emits a function, its blocks as they come in `layout`.
pub(super) fn emit(
    function: &Function,
    layout: &[BlockId],
    liveness: &Liveness,
    allocation: &Allocation,
    frame: &Frame,
) -> Result<Emitted, CodegenError> {
    let mut emitter = Emitter {
        function,
        liveness,
        allocation,
        frame,
        slots: Vec::new(),
        block_start: 0,
        source: None,
    };
    let mut starts = Vec::with_capacity(layout.len());
    for (position, &id) in layout.iter().enumerate() {
        starts.push((id, emitter.slots.len()));
        emitter.block_start = emitter.slots.len();
        let block = &function.blocks[id.0 as usize];
        if position == 0 {
            emitter.source = block.insts.first().map_or(block.source, |located| located.source);
            emitter.receive_params();
        }
        for Located { inst, source } in &block.insts {
            emitter.source = *source;
            emitter.inst(inst)?;
        }
        emitter.source = block.source;
        emitter.terminator(&block.terminator, layout.get(position + 1).copied());
    }
    Ok(Emitted {
        slots: emitter.slots,
        starts,
    })
}

struct Emitter<'a> {
    function: &'a Function,
    liveness: &'a Liveness,
    allocation: &'a Allocation,
    frame: &'a Frame,
    slots: Vec<Slot>,
    /// First slot of the block under way.
    block_start: usize,
    source: Option<SourceRef>,
}

/// Second operand of arithmetic or a comparison.
enum Second {
    Register(Reg),
    Imm(i32),
}

fn fits(value: i64, width: Width) -> Option<i32> {
    match width {
        // only the low half counts
        Width::W32 => Some(value as i32),
        Width::W64 => i32::try_from(value).ok(),
    }
}

fn machine_width(width: Width) -> isa::Width {
    match width {
        Width::W32 => isa::Width::W32,
        Width::W64 => isa::Width::W64,
    }
}

fn alu_operation(op: AluOp) -> AluOperation {
    match op {
        AluOp::Add => AluOperation::Add,
        AluOp::Sub => AluOperation::Sub,
        AluOp::Mul => AluOperation::Mul,
        AluOp::And => AluOperation::And,
        AluOp::Or => AluOperation::Or,
        AluOp::Xor => AluOperation::Xor,
        AluOp::Lsh => AluOperation::Lsh,
        AluOp::Rsh => AluOperation::Rsh,
        AluOp::Arsh => AluOperation::Arsh,
    }
}

fn jump_operation(op: CmpOp) -> JumpOperation {
    match op {
        CmpOp::Eq => JumpOperation::Eq,
        CmpOp::Ne => JumpOperation::Ne,
        CmpOp::Gt => JumpOperation::Gt,
        CmpOp::Ge => JumpOperation::Ge,
        CmpOp::Lt => JumpOperation::Lt,
        CmpOp::Le => JumpOperation::Le,
        CmpOp::Sgt => JumpOperation::Sgt,
        CmpOp::Sge => JumpOperation::Sge,
        CmpOp::Slt => JumpOperation::Slt,
        CmpOp::Sle => JumpOperation::Sle,
        CmpOp::Set => JumpOperation::Set,
    }
}

fn is_commutative(op: AluOp) -> bool {
    matches!(op, AluOp::Add | AluOp::Mul | AluOp::And | AluOp::Or | AluOp::Xor)
}

impl Emitter<'_> {
    fn push(&mut self, instruction: Instruction) {
        self.push_with(instruction, None);
    }

    fn push_with(&mut self, instruction: Instruction, target: Option<Target>) {
        self.slots.push(Slot {
            instruction,
            target,
            source: self.source,
        });
    }

    fn push_wide(&mut self, [low, high]: [Instruction; 2], target: Option<Target>) {
        self.push_with(low, target);
        self.push(high);
    }

    // ---- moving values

    fn move_register(&mut self, to: Reg, from: Reg) {
        if to != from {
            self.push(Instruction::mov(isa::Width::W64, to, from));
        }
    }

    fn constant_into(&mut self, to: Reg, value: i64) {
        if let Ok(imm) = i32::try_from(value) {
            self.push(Instruction::mov_imm(to, imm));
        } else if let Ok(imm) = u32::try_from(value) {
            // a 32-bit move zero-extends
            self.push(Instruction::alu_imm(AluOperation::Mov, isa::Width::W32, to, imm as i32));
        } else {
            self.push_wide(Instruction::load_imm64(to, 0, value as u64), None);
        }
    }

    fn place_into(&mut self, to: Reg, place: &Place) {
        match place {
            Place::Unused => unreachable!("a value that is read has a place"),
            Place::Register(from) => self.move_register(to, *from),
            Place::Spilled(slot) => self.push(Instruction::load(8, to, Reg::FP, self.frame.spill(*slot))),
            Place::Constant(value) => self.constant_into(to, *value),
            Place::StackAddress(slot) => {
                self.push(Instruction::mov(isa::Width::W64, to, Reg::FP));
                self.push(Instruction::alu_imm(
                    AluOperation::Add,
                    isa::Width::W64,
                    to,
                    i32::from(self.frame.slot(*slot)),
                ));
            }
            Place::Map(map) => {
                let target = Target::Symbol(Symbol::Map(map.clone()));
                self.push_wide(Instruction::load_imm64(to, PSEUDO_MAP_FD, 0), Some(target));
            }
        }
    }

    fn value_into(&mut self, to: Reg, value: Value) {
        let allocation = self.allocation;
        self.place_into(to, allocation.place(value));
    }

    fn operand_into(&mut self, to: Reg, operand: Operand) {
        match operand {
            Operand::Value(value) => self.value_into(to, value),
            Operand::Imm(value) => self.constant_into(to, value),
        }
    }

    /// The register a value is in; if it has none, it is loaded into `scratch`.
    fn register_of(&mut self, value: Value, scratch: Reg) -> Reg {
        if let Some(register) = self.allocation.register(value) {
            return register;
        }
        self.value_into(scratch, value);
        scratch
    }

    /// If a value is the result of the call right before and is read only once, here: takes the move to its register back
    /// and leaves it where calls return it.
    fn still_in_r0(&mut self, value: Value) -> bool {
        let Some(register) = self.allocation.register(value) else {
            return false;
        };
        let moved = Instruction::mov(isa::Width::W64, register, Reg::R0);
        // a result and one read
        let read_once = self.liveness.accesses[value.0 as usize] == 2;
        let is_last =
            self.slots.len() > self.block_start && self.slots.last().is_some_and(|slot| slot.instruction == moved);
        if read_once && is_last {
            self.slots.pop();
        }
        read_once && is_last
    }

    /// A constant as second operand: an immediate if it fits, else in scratch.
    fn immediate(&mut self, value: i64, width: Width) -> Second {
        if let Some(imm) = fits(value, width) {
            return Second::Imm(imm);
        }
        self.constant_into(SCRATCH2, value);
        Second::Register(SCRATCH2)
    }

    /// Where a result is put together: its own register, or scratch if it is spilled.
    fn destination(&self, dest: Value) -> Reg {
        self.allocation.register(dest).unwrap_or(SCRATCH)
    }

    /// Puts a result from `from` to its place.
    fn finish(&mut self, dest: Value, from: Reg) {
        match *self.allocation.place(dest) {
            Place::Register(to) => self.move_register(to, from),
            Place::Spilled(slot) => self.push(Instruction::store(8, Reg::FP, self.frame.spill(slot), from)),
            // nobody reads it
            _ => {}
        }
    }

    /// Base register and offset of an access; a base without register and offsets too large for the field take `scratch`.
    fn address(&mut self, base: Value, offset: i32, scratch: Reg) -> (Reg, i16) {
        let (register, offset) = match self.allocation.place(base) {
            Place::StackAddress(slot) => (Reg::FP, offset + i32::from(self.frame.slot(*slot))),
            _ => (self.register_of(base, scratch), offset),
        };
        if let Ok(offset) = i16::try_from(offset) {
            return (register, offset);
        }
        self.move_register(scratch, register);
        self.push(Instruction::alu_imm(
            AluOperation::Add,
            isa::Width::W64,
            scratch,
            offset,
        ));
        (scratch, 0)
    }

    // ---- instructions

    /// Moves the parameters from the registers of the call to their places.
    fn receive_params(&mut self) {
        let mut moves = Vec::new();
        for (index, param) in self.function.params.iter().enumerate() {
            let from = Reg::argument(index);
            match self.allocation.place(*param) {
                Place::Spilled(slot) => self.push(Instruction::store(8, Reg::FP, self.frame.spill(*slot), from)),
                Place::Register(to) => moves.push((*to, from)),
                _ => {}
            }
        }
        for (to, from) in parallel_moves(moves, SCRATCH) {
            self.move_register(to, from);
        }
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), CodegenError> {
        match inst {
            Inst::Const { dest, value } => {
                if let Some(register) = self.allocation.register(*dest) {
                    self.constant_into(register, *value);
                }
            }
            // made where they are read
            Inst::StackAddr { .. } | Inst::MapRef { .. } => {}
            Inst::Alu { dest, op, width, a, b } => self.alu(*dest, *op, *width, *a, *b),
            Inst::Low32 { dest, a } => {
                let to = self.destination(*dest);
                let from = self.register_of(*a, SCRATCH);
                self.push(Instruction::mov(isa::Width::W32, to, from));
                self.finish(*dest, to);
            }
            Inst::ByteSwap { dest, size, a } => {
                let to = self.destination(*dest);
                self.value_into(to, *a);
                self.push(match size {
                    // one byte has no order: only the zero extension is left
                    Size::B1 => Instruction::alu_imm(AluOperation::And, isa::Width::W64, to, 0xff),
                    _ => Instruction::to_big_endian(size.bytes() as i32 * 8, to),
                });
                self.finish(*dest, to);
            }
            Inst::Load {
                dest,
                base,
                offset,
                size,
                signed,
            } => self.load(*dest, *base, *offset, *size, *signed),
            Inst::LoadKernel {
                dest,
                base,
                offset,
                size,
                signed,
            } => {
                if reads_directly(self.function, *base) {
                    self.load(*dest, *base, *offset, *size, *signed);
                } else {
                    self.probe_read(*dest, *base, *offset, *size, *signed);
                }
            }
            Inst::Store {
                base,
                offset,
                size,
                value,
            } => self.store(*base, *offset, *size, *value),
            Inst::MapValueAddr { dest, map, offset } => self.map_value_address(*dest, map, *offset)?,
            Inst::Call { dest, callee, args } => self.call(*dest, callee, args),
        }
        Ok(())
    }

    fn alu(&mut self, dest: Value, op: AluOp, width: Width, a: Operand, b: Operand) {
        let to = self.destination(dest);
        let register = |operand: Operand| operand.value().and_then(|value| self.allocation.register(value));
        // `to` is written before `b` is read: `b` must not be there, unless `a` is the same
        let b_is_there = register(b) == Some(to) && register(a) != Some(to);
        let (a, b) = if b_is_there && is_commutative(op) {
            (b, a)
        } else {
            (a, b)
        };
        let second = match b {
            Operand::Imm(value) => self.immediate(value, width),
            Operand::Value(value) => match self.allocation.register(value) {
                Some(register) if !b_is_there || is_commutative(op) => Second::Register(register),
                _ => {
                    self.value_into(SCRATCH2, value);
                    Second::Register(SCRATCH2)
                }
            },
        };
        self.operand_into(to, a);
        let operation = alu_operation(op);
        self.push(match second {
            Second::Register(register) => Instruction::alu(operation, machine_width(width), to, register),
            Second::Imm(imm) => Instruction::alu_imm(operation, machine_width(width), to, imm),
        });
        self.finish(dest, to);
    }

    fn load(&mut self, dest: Value, base: Value, offset: i32, size: Size, signed: bool) {
        let to = self.destination(dest);
        let (base, offset) = self.address(base, offset, SCRATCH);
        self.push(Instruction::load(size.bytes(), to, base, offset));
        self.extend_sign(to, size, signed);
        self.finish(dest, to);
    }

    /// Sign-extends in place; loads that do so came only with Linux 6.6.
    fn extend_sign(&mut self, register: Reg, size: Size, signed: bool) {
        let shift = 64 - size.bytes() as i32 * 8;
        if signed && shift != 0 {
            self.push(Instruction::alu_imm(
                AluOperation::Lsh,
                isa::Width::W64,
                register,
                shift,
            ));
            self.push(Instruction::alu_imm(
                AluOperation::Arsh,
                isa::Width::W64,
                register,
                shift,
            ));
        }
    }

    /// `bpf_probe_read_kernel` into the frame. If it fails it fills the buffer with zeros.
    fn probe_read(&mut self, dest: Value, base: Value, offset: i32, size: Size, signed: bool) {
        self.value_into(Reg::R3, base);
        if offset != 0 {
            self.push(Instruction::alu_imm(
                AluOperation::Add,
                isa::Width::W64,
                Reg::R3,
                offset,
            ));
        }
        let buffer = self.frame.buffer();
        self.push(Instruction::mov(isa::Width::W64, Reg::R1, Reg::FP));
        self.push(Instruction::alu_imm(
            AluOperation::Add,
            isa::Width::W64,
            Reg::R1,
            i32::from(buffer),
        ));
        self.push(Instruction::mov_imm(Reg::R2, size.bytes() as i32));
        self.push(Instruction::call_helper(PROBE_READ_KERNEL));
        let to = self.destination(dest);
        self.push(Instruction::load(size.bytes(), to, Reg::FP, buffer));
        self.extend_sign(to, size, signed);
        self.finish(dest, to);
    }

    fn store(&mut self, base: Value, offset: i32, size: Size, value: Operand) {
        let (base, offset) = self.address(base, offset, SCRATCH);
        let bytes = size.bytes();
        let imm = match value {
            Operand::Imm(value) if size == Size::B8 => fits(value, Width::W64),
            Operand::Imm(value) => Some(value as i32),
            Operand::Value(_) => None,
        };
        if let Some(imm) = imm {
            self.push(Instruction::store_imm(bytes, base, offset, imm));
            return;
        }
        let from = match value {
            Operand::Value(value) => self.register_of(value, SCRATCH2),
            Operand::Imm(value) => {
                self.constant_into(SCRATCH2, value);
                SCRATCH2
            }
        };
        self.push(Instruction::store(bytes, base, offset, from));
    }

    /// Looks element 0 up, which the verifier turns into an address computation. Objects have no relocation for the address
    /// of a map's value that all loaders understand. Element 0 of an array exists, so the exit is never taken.
    fn map_value_address(&mut self, dest: Value, map: &str, offset: u32) -> Result<(), CodegenError> {
        let offset = i32::try_from(offset).map_err(|_| CodegenError::OffsetTooLarge {
            function: self.function.name.clone(),
            offset: i64::from(offset),
        })?;
        let key = self.frame.buffer();
        self.push(Instruction::store_imm(4, Reg::FP, key, 0));
        self.place_into(Reg::R1, &Place::Map(map.to_owned()));
        self.push(Instruction::mov(isa::Width::W64, Reg::R2, Reg::FP));
        self.push(Instruction::alu_imm(
            AluOperation::Add,
            isa::Width::W64,
            Reg::R2,
            i32::from(key),
        ));
        self.push(Instruction::call_helper(MAP_LOOKUP_ELEM));
        let present = Instruction::jump_imm(JumpOperation::Ne, isa::Width::W64, Reg::R0, 0, 0);
        self.push_with(present, Some(Target::Skip(1)));
        self.push(Instruction::exit());
        if offset != 0 {
            self.push(Instruction::alu_imm(
                AluOperation::Add,
                isa::Width::W64,
                Reg::R0,
                offset,
            ));
        }
        self.finish(dest, Reg::R0);
        Ok(())
    }

    fn call(&mut self, dest: Option<Value>, callee: &Callee, args: &[Operand]) {
        let in_register = |operand: &Operand| operand.value().and_then(|value| self.allocation.register(value));
        let moves = args
            .iter()
            .enumerate()
            .filter_map(|(i, operand)| Some((Reg::argument(i), in_register(operand)?)));
        // what comes from registers first: the rest reads none
        for (to, from) in parallel_moves(moves.collect(), SCRATCH) {
            self.move_register(to, from);
        }
        for (index, operand) in args.iter().enumerate() {
            if operand
                .value()
                .and_then(|value| self.allocation.register(value))
                .is_none()
            {
                self.operand_into(Reg::argument(index), *operand);
            }
        }
        match callee {
            Callee::Helper(helper) => self.push(Instruction::call_helper(*helper)),
            Callee::Kfunc(function) => self.push(Instruction::call_kfunc(*function)),
            Callee::Runtime(name) => {
                let symbol = Symbol::Function((*name).to_owned());
                self.push_with(Instruction::call_function(-1), Some(Target::Symbol(symbol)));
            }
            Callee::Local(function) => {
                self.push_with(
                    Instruction::call_function(-1),
                    Some(Target::Symbol(Symbol::Local(*function))),
                );
            }
        }
        if let Some(dest) = dest {
            self.finish(dest, Reg::R0);
        }
    }

    // ---- terminators

    fn goto(&mut self, block: BlockId, next: Option<BlockId>) {
        if Some(block) != next {
            self.push_with(Instruction::goto(0), Some(Target::Block(block)));
        }
    }

    fn terminator(&mut self, terminator: &Terminator, next: Option<BlockId>) {
        match *terminator {
            Terminator::Jump(block) => self.goto(block, next),
            Terminator::Return(operand) => {
                if !operand.value().is_some_and(|value| self.still_in_r0(value)) {
                    self.operand_into(Reg::R0, operand);
                }
                self.push(Instruction::exit());
            }
            Terminator::Branch {
                then_block, else_block, ..
            } if then_block == else_block => self.goto(then_block, next),
            Terminator::Branch {
                op,
                width,
                a,
                b,
                then_block,
                else_block,
            } => {
                let first = if self.still_in_r0(a) {
                    Reg::R0
                } else {
                    self.register_of(a, SCRATCH)
                };
                let second = match b {
                    Operand::Imm(value) => self.immediate(value, width),
                    Operand::Value(value) => Second::Register(self.register_of(value, SCRATCH2)),
                };
                let operation = jump_operation(op);
                let (operation, taken, other) = match operation.inverted() {
                    Some(inverted) if Some(then_block) == next => (inverted, else_block, then_block),
                    _ => (operation, then_block, else_block),
                };
                let width = machine_width(width);
                let jump = match second {
                    Second::Register(register) => Instruction::jump(operation, width, first, register, 0),
                    Second::Imm(imm) => Instruction::jump_imm(operation, width, first, imm, 0),
                };
                self.push_with(jump, Some(Target::Block(taken)));
                self.goto(other, next);
            }
        }
    }
}
