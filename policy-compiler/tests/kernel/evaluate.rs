//! Runs IR by looking at it: the meaning that machine code is compared with.

use policy_compiler::ir::{
    AluOp, Block, BlockId, Callee, CmpOp, Function, Inst, Operand, Program, Size, SlotId, Terminator, Value, Width,
};

/// What a value holds.
#[derive(Clone, Copy, Debug)]
enum Content {
    Number(u64),
    Context,
    /// Offset into the map `state`.
    State(u64),
    /// Offset into a slot of the running function's frame.
    Stack(SlotId, u64),
    /// The map itself.
    Map,
}

impl Content {
    fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            // addresses are only compared with zero
            _ => 1,
        }
    }
}

/// Runs a program's entry.
pub(crate) fn run(program: &Program, ctx: &[u8], state: &mut Vec<u8>) -> u64 {
    Machine { program, ctx, state }.call(&program.functions[0], &[Content::Context])
}

struct Machine<'a> {
    program: &'a Program,
    ctx: &'a [u8],
    state: &'a mut Vec<u8>,
}

struct Frame<'a> {
    function: &'a Function,
    values: Vec<Content>,
    slots: Vec<Vec<u8>>,
}

fn mask(size: Size) -> u64 {
    u64::MAX >> (64 - size.bytes() * 8)
}

fn read(bytes: &[u8], at: u64, size: Size, signed: bool) -> u64 {
    let mut word = [0; 8];
    let count = size.bytes() as usize;
    word[..count].copy_from_slice(&bytes[at as usize..at as usize + count]);
    let shift = 64 - size.bytes() * 8;
    let number = u64::from_le_bytes(word);
    if signed {
        (((number << shift) as i64) >> shift) as u64
    } else {
        number
    }
}

fn write(bytes: &mut [u8], at: u64, size: Size, number: u64) {
    let count = size.bytes() as usize;
    bytes[at as usize..at as usize + count].copy_from_slice(&number.to_le_bytes()[..count]);
}

fn alu(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let compute = |a: u64, b: u64, bits: u32, arsh: u64| match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::And => a & b,
        AluOp::Or => a | b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & u64::from(bits - 1)),
        AluOp::Rsh => a >> (b & u64::from(bits - 1)),
        AluOp::Arsh => arsh,
    };
    match width {
        Width::W64 => compute(a, b, 64, ((a as i64) >> (b & 63)) as u64),
        Width::W32 => {
            let (a, b) = (a & 0xffff_ffff, b & 0xffff_ffff);
            compute(a, b, 32, ((a as i32) >> (b & 31)) as u32 as u64) & 0xffff_ffff
        }
    }
}

fn compare(op: CmpOp, width: Width, a: u64, b: u64) -> bool {
    let (a, b, signed_a, signed_b) = match width {
        Width::W64 => (a, b, a as i64, b as i64),
        Width::W32 => (
            a & 0xffff_ffff,
            b & 0xffff_ffff,
            i64::from(a as i32),
            i64::from(b as i32),
        ),
    };
    match op {
        CmpOp::Eq => a == b,
        CmpOp::Ne => a != b,
        CmpOp::Gt => a > b,
        CmpOp::Ge => a >= b,
        CmpOp::Lt => a < b,
        CmpOp::Le => a <= b,
        CmpOp::Sgt => signed_a > signed_b,
        CmpOp::Sge => signed_a >= signed_b,
        CmpOp::Slt => signed_a < signed_b,
        CmpOp::Sle => signed_a <= signed_b,
        CmpOp::Set => a & b != 0,
    }
}

impl Machine<'_> {
    fn call(&mut self, function: &Function, args: &[Content]) -> u64 {
        let mut frame = Frame {
            function,
            values: vec![Content::Number(0); function.value_types.len()],
            slots: function.slots.iter().map(|slot| vec![0; slot.size as usize]).collect(),
        };
        for (param, arg) in function.params.iter().zip(args) {
            frame.values[param.0 as usize] = *arg;
        }
        let mut block = BlockId(0);
        loop {
            let Block { insts, terminator, .. } = &frame.function.blocks[block.0 as usize];
            for located in insts {
                self.step(&mut frame, &located.inst);
            }
            match *terminator {
                Terminator::Jump(next) => block = next,
                Terminator::Return(operand) => return frame.number(operand),
                Terminator::Branch {
                    op,
                    width,
                    a,
                    b,
                    then_block,
                    else_block,
                } => {
                    let holds = compare(op, width, frame.number(Operand::Value(a)), frame.number(b));
                    block = if holds { then_block } else { else_block };
                }
            }
        }
    }

    fn step(&mut self, frame: &mut Frame<'_>, inst: &Inst) {
        let result = match inst {
            Inst::Const { value, .. } => Content::Number(*value as u64),
            Inst::Alu { op, width, a, b, .. } => {
                let (a, b) = (frame.content(*a), frame.content(*b));
                match (a, op) {
                    (Content::State(offset), AluOp::Add) => Content::State(offset.wrapping_add(b.number())),
                    (Content::Stack(slot, offset), AluOp::Add) => Content::Stack(slot, offset.wrapping_add(b.number())),
                    _ => Content::Number(alu(*op, *width, a.number(), b.number())),
                }
            }
            Inst::ByteSwap { size, a, .. } => {
                let number = frame.values[a.0 as usize].number() & mask(*size);
                Content::Number(number.swap_bytes() >> (64 - size.bytes() * 8))
            }
            Inst::Low32 { a, .. } => {
                let number = frame.values[a.0 as usize].number();
                Content::Number(number & 0xffff_ffff)
            }
            Inst::Load {
                base,
                offset,
                size,
                signed,
                ..
            } => {
                let offset = i64::from(*offset) as u64;
                Content::Number(match frame.values[base.0 as usize] {
                    Content::Context => read(self.ctx, offset, *size, *signed),
                    Content::State(at) => read(self.state, at.wrapping_add(offset), *size, *signed),
                    Content::Stack(slot, at) => read(&frame.slots[slot.0 as usize], at + offset, *size, *signed),
                    other => panic!("load from {other:?}"),
                })
            }
            // the programs of these tests read only addresses that cannot be read
            Inst::LoadKernel { .. } => Content::Number(0),
            Inst::Store {
                base,
                offset,
                size,
                value,
            } => {
                let offset = i64::from(*offset) as u64;
                let number = frame.number(*value);
                match frame.values[base.0 as usize] {
                    Content::State(at) => write(self.state, at.wrapping_add(offset), *size, number),
                    Content::Stack(slot, at) => write(&mut frame.slots[slot.0 as usize], at + offset, *size, number),
                    other => panic!("store to {other:?}"),
                }
                return;
            }
            Inst::StackAddr { slot, .. } => Content::Stack(*slot, 0),
            Inst::MapRef { .. } => Content::Map,
            Inst::MapValueAddr { offset, .. } => Content::State(u64::from(*offset)),
            Inst::Call {
                callee: Callee::Helper(1),
                ..
            } => Content::State(0),
            Inst::Call {
                callee: Callee::Local(id),
                args,
                ..
            } => {
                let args: Vec<_> = args.iter().map(|arg| frame.content(*arg)).collect();
                let function = &self.program.functions[id.0 as usize];
                Content::Number(self.call(function, &args))
            }
            Inst::Call { callee, .. } => panic!("call of {callee:?}"),
        };
        if let Some(Value(dest)) = inst.dest() {
            frame.values[dest as usize] = result;
        }
    }
}

impl Frame<'_> {
    fn content(&self, operand: Operand) -> Content {
        match operand {
            Operand::Value(value) => self.values[value.0 as usize],
            Operand::Imm(imm) => Content::Number(imm as u64),
        }
    }

    fn number(&self, operand: Operand) -> u64 {
        self.content(operand).number()
    }
}
