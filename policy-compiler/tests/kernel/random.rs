//! Random programs: a recipe of steps that any numbers make a valid program of.
//!
//! Values found by one arm of a branch do not leave it (the IR has no phi nodes); arms talk through the map and the stack. At
//! the end everything computed is folded into one number, so that all of it is live to the end and registers run out.

use policy_compiler::ir::builder::FunctionBuilder;
use policy_compiler::ir::{AluOp, CmpOp, FuncId, Function, Operand, Size, Type, Value, Width};
use proptest::prelude::*;

/// Bytes of the context.
pub(crate) const CTX_SIZE: u32 = 64;
/// Bytes of the map `state`.
pub(crate) const STATE_SIZE: u32 = 128;
/// Bytes of a function's stack slot.
const SLOT_SIZE: u32 = 32;

/// Chooses one of what there is.
type Choice = u16;

#[derive(Clone, Debug)]
enum Source {
    Value(Choice),
    Imm(i64),
}

#[derive(Clone, Debug)]
enum Step {
    Const(i64),
    Alu(AluOp, Width, Source, Source),
    ByteSwap(Size, Choice),
    Low32(Choice),
    LoadContext(Choice, Size, bool),
    LoadState(Choice, Size, bool),
    StoreState(Choice, Size, Source),
    /// At an index that is only known to be in bounds.
    LoadIndexed(Choice),
    StoreIndexed(Choice, Source),
    /// Through `MapValueAddr`.
    LoadDirect(Choice, Size),
    LoadStack(Choice, Size, bool),
    StoreStack(Choice, Size, Source),
    /// A read from an address that cannot be read.
    LoadKernel(Size),
    Call(Choice, [Source; 3]),
    If(CmpOp, Width, Choice, Source, Vec<Step>, Vec<Step>),
    /// Ends this arm.
    Return(Source),
}

/// Functions, the entry first.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    entry: Vec<Step>,
    locals: Vec<Vec<Step>>,
}

fn alu_op() -> impl Strategy<Value = AluOp> {
    prop::sample::select(vec![
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::And,
        AluOp::Or,
        AluOp::Xor,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Arsh,
    ])
}

fn cmp_op() -> impl Strategy<Value = CmpOp> {
    prop::sample::select(vec![
        CmpOp::Eq,
        CmpOp::Ne,
        CmpOp::Gt,
        CmpOp::Ge,
        CmpOp::Lt,
        CmpOp::Le,
        CmpOp::Sgt,
        CmpOp::Sge,
        CmpOp::Slt,
        CmpOp::Sle,
        CmpOp::Set,
    ])
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(vec![Width::W32, Width::W64])
}

fn size() -> impl Strategy<Value = Size> {
    prop::sample::select(vec![Size::B1, Size::B2, Size::B4, Size::B8])
}

fn imm() -> impl Strategy<Value = i64> {
    prop_oneof![
        -16..16i64,
        any::<i64>(),
        any::<i32>().prop_map(i64::from),
        any::<u32>().prop_map(i64::from),
        prop::sample::select(vec![
            0,
            -1,
            1 << 31,
            (1 << 31) - 1,
            1 << 32,
            -(1 << 31),
            i64::MIN,
            i64::MAX
        ]),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![3 => any::<Choice>().prop_map(Source::Value), 1 => imm().prop_map(Source::Imm)]
}

fn plain_step() -> impl Strategy<Value = Step> {
    let choice = any::<Choice>;
    prop_oneof![
        1 => imm().prop_map(Step::Const),
        6 => (alu_op(), width(), source(), source()).prop_map(|(op, w, a, b)| Step::Alu(op, w, a, b)),
        1 => (size(), choice()).prop_map(|(s, c)| Step::ByteSwap(s, c)),
        1 => choice().prop_map(Step::Low32),
        3 => (choice(), size(), any::<bool>()).prop_map(|(c, s, g)| Step::LoadContext(c, s, g)),
        2 => (choice(), size(), any::<bool>()).prop_map(|(c, s, g)| Step::LoadState(c, s, g)),
        2 => (choice(), size(), source()).prop_map(|(c, s, v)| Step::StoreState(c, s, v)),
        1 => choice().prop_map(Step::LoadIndexed),
        1 => (choice(), source()).prop_map(|(c, v)| Step::StoreIndexed(c, v)),
        1 => (choice(), size()).prop_map(|(c, s)| Step::LoadDirect(c, s)),
        1 => (choice(), size(), any::<bool>()).prop_map(|(c, s, g)| Step::LoadStack(c, s, g)),
        1 => (choice(), size(), source()).prop_map(|(c, s, v)| Step::StoreStack(c, s, v)),
        1 => size().prop_map(Step::LoadKernel),
        1 => (choice(), [source(), source(), source()]).prop_map(|(c, args)| Step::Call(c, args)),
    ]
}

fn steps(depth: u32, most: usize) -> BoxedStrategy<Vec<Step>> {
    let plain = plain_step().boxed();
    let step = if depth == 0 {
        prop_oneof![20 => plain, 1 => source().prop_map(Step::Return)].boxed()
    } else {
        let inner = || steps(depth - 1, most / 2);
        let branch = (cmp_op(), width(), any::<Choice>(), source(), inner(), inner());
        prop_oneof![12 => plain, 2 => branch.prop_map(|(op, w, a, b, yes, no)| Step::If(op, w, a, b, yes, no))].boxed()
    };
    prop::collection::vec(step, 0..most).boxed()
}

/// Random programs.
pub(crate) fn program() -> impl Strategy<Value = Recipe> {
    (steps(2, 24), prop::collection::vec(steps(1, 12), 0..3)).prop_map(|(entry, locals)| Recipe { entry, locals })
}

impl Recipe {
    /// The functions. `look_up_state` starts the entry and gives the address of the map's value.
    pub(crate) fn build(&self, look_up_state: fn(&mut FunctionBuilder) -> Value) -> Vec<Function> {
        let mut b = FunctionBuilder::new("entry", &[Type::Ctx]);
        let state = look_up_state(&mut b);
        let ctx = b.param(0);
        let first = b.load(ctx, 0, Size::B8);
        let mut builder = Builder::new(b, state, Some(ctx), self.locals.len(), vec![first]);
        builder.steps(&self.entry);
        let mut functions = vec![builder.finish()];
        for (index, steps) in self.locals.iter().enumerate() {
            let params = [
                Type::MapValue { size: STATE_SIZE },
                Type::Scalar,
                Type::Scalar,
                Type::Scalar,
            ];
            let b = FunctionBuilder::new(format!("local{index}"), &params);
            let (state, values) = (b.param(0), vec![b.param(1), b.param(2), b.param(3)]);
            // locals call nobody: recursion is not allowed
            let mut builder = Builder::new(b, state, None, 0, values);
            builder.steps(steps);
            functions.push(builder.finish());
        }
        functions
    }
}

struct Builder {
    b: FunctionBuilder,
    state: Value,
    ctx: Option<Value>,
    locals: usize,
    stack: Value,
    /// Numbers that are defined here.
    pool: Vec<Value>,
}

/// An aligned offset at which `size` bytes fit into `limit`.
fn place(choice: Choice, size: Size, limit: u32) -> i32 {
    ((u32::from(choice) * size.bytes()) % (limit - size.bytes() + 1) / size.bytes() * size.bytes()) as i32
}

impl Builder {
    fn new(mut b: FunctionBuilder, state: Value, ctx: Option<Value>, locals: usize, pool: Vec<Value>) -> Self {
        let slot = b.stack_slot(SLOT_SIZE);
        let stack = b.stack_addr(slot);
        for word in 0..SLOT_SIZE as i32 / 8 {
            b.store(stack, word * 8, Size::B8, word);
        }
        Self {
            b,
            state,
            ctx,
            locals,
            stack,
            pool,
        }
    }

    fn value(&self, choice: Choice) -> Value {
        self.pool[choice as usize % self.pool.len()]
    }

    fn operand(&self, source: &Source) -> Operand {
        match source {
            Source::Value(choice) => Operand::Value(self.value(*choice)),
            Source::Imm(imm) => Operand::Imm(*imm),
        }
    }

    /// An address in the state at an index that the verifier can bound.
    fn indexed(&mut self, choice: Choice) -> Value {
        let index = self.value(choice);
        let bounded = self.b.alu(AluOp::And, Width::W64, index, 0x78);
        self.b.alu(AluOp::Add, Width::W64, self.state, bounded)
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            if self.b.current_block().is_none() {
                return;
            }
            let result = self.step(step);
            self.pool.extend(result);
        }
    }

    fn step(&mut self, step: &Step) -> Option<Value> {
        Some(match step {
            Step::Const(value) => self.b.const_(*value),
            Step::Alu(op, width, x, y) => {
                let (x, mut y) = (self.operand(x), self.operand(y));
                if let (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(amount)) = (op, y) {
                    y = Operand::Imm(amount.rem_euclid(if *width == Width::W32 { 32 } else { 64 }));
                }
                self.b.alu(*op, *width, x, y)
            }
            Step::ByteSwap(size, value) => self.b.byte_swap(*size, self.value(*value)),
            Step::Low32(value) => self.b.low32(self.value(*value)),
            Step::LoadContext(at, size, signed) => {
                let ctx = self.ctx?;
                self.b
                    .load_typed(ctx, place(*at, *size, CTX_SIZE), *size, *signed, Type::Scalar)
            }
            Step::LoadState(at, size, signed) => {
                self.b
                    .load_typed(self.state, place(*at, *size, STATE_SIZE), *size, *signed, Type::Scalar)
            }
            Step::StoreState(at, size, value) => {
                let value = self.operand(value);
                self.b.store(self.state, place(*at, *size, STATE_SIZE), *size, value);
                return None;
            }
            Step::LoadIndexed(index) => {
                let address = self.indexed(*index);
                self.b.load(address, 0, Size::B8)
            }
            Step::StoreIndexed(index, value) => {
                let address = self.indexed(*index);
                let value = self.operand(value);
                self.b.store(address, 0, Size::B8, value);
                return None;
            }
            Step::LoadDirect(at, size) => {
                let offset = place(*at, *size, STATE_SIZE) as u32;
                let address = self.b.map_value_addr("state", offset, STATE_SIZE - offset);
                self.b.load(address, 0, *size)
            }
            Step::LoadStack(at, size, signed) => {
                self.b
                    .load_typed(self.stack, place(*at, *size, SLOT_SIZE), *size, *signed, Type::Scalar)
            }
            Step::StoreStack(at, size, value) => {
                let value = self.operand(value);
                self.b.store(self.stack, place(*at, *size, SLOT_SIZE), *size, value);
                return None;
            }
            Step::LoadKernel(size) => {
                let nowhere = self.b.const_(0x10);
                self.b.load_kernel(nowhere, 8, *size, false)
            }
            Step::Call(which, args) => {
                let function = which.checked_rem(self.locals as Choice)?;
                let mut operands = vec![Operand::Value(self.state)];
                operands.extend(args.iter().map(|arg| self.operand(arg)));
                self.b.call_local(FuncId(u32::from(function) + 1), &operands)
            }
            Step::If(op, width, x, y, yes, no) => {
                let (then_block, else_block, join) =
                    (self.b.create_block(), self.b.create_block(), self.b.create_block());
                let (x, y) = (self.value(*x), self.operand(y));
                self.b.branch(*op, *width, x, y, then_block, else_block);
                let known = self.pool.len();
                for (block, steps) in [(then_block, yes), (else_block, no)] {
                    self.b.switch_to(block);
                    self.steps(steps);
                    if self.b.current_block().is_some() {
                        self.keep(known);
                        self.b.jump(join);
                    }
                    self.pool.truncate(known);
                }
                self.b.switch_to(join);
                return None;
            }
            Step::Return(value) => {
                let value = self.operand(value);
                self.b.ret(value);
                return None;
            }
        })
    }

    /// Stores what was computed since, so that it is not dead.
    fn keep(&mut self, known: usize) {
        let mut folded = None;
        for value in self.pool.split_off(known) {
            folded = Some(folded.map_or(value, |folded| self.b.alu(AluOp::Add, Width::W64, folded, value)));
        }
        if let Some(folded) = folded {
            self.b.store(self.state, 8, Size::B8, folded);
        }
    }

    fn finish(mut self) -> Function {
        // an arm of the last step may have ended everything
        if self.b.current_block().is_some() {
            let mut folded = self.pool[0];
            for value in self.pool.split_off(1) {
                folded = self.b.alu(AluOp::Xor, Width::W64, folded, value);
            }
            self.b.store(self.state, 0, Size::B8, folded);
            self.b.ret(folded);
        }
        self.b.finish()
    }
}
