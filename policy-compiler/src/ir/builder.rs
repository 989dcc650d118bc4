//! Builds a [`Function`] instruction by instruction.
//!
//! The builder numbers values and blocks, gives results their types and remembers the policy line. It panics on misuse that is
//! a programming error of the caller (an instruction after a terminator, a block that was left open); whether the *program*
//! makes sense is the business of [`super::verify`].

use super::{
    AluOp, Block, BlockId, CmpOp, FuncId, Function, Inst, Located, Operand, Size, SlotId, StackSlot, Terminator, Type,
    Value, Width,
};
use crate::ir::Callee;
use crate::output::SourceRef;

impl From<Value> for Operand {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<i64> for Operand {
    fn from(value: i64) -> Self {
        Self::Imm(value)
    }
}

impl From<i32> for Operand {
    fn from(value: i32) -> Self {
        Self::Imm(i64::from(value))
    }
}

impl From<u32> for Operand {
    fn from(value: u32) -> Self {
        Self::Imm(i64::from(value))
    }
}

/// A block under construction.
#[derive(Debug, Default)]
struct OpenBlock {
    insts: Vec<Located>,
    end: Option<(Terminator, Option<SourceRef>)>,
    coldness: u8,
    region: u32,
}

/// A function under construction.
#[derive(Debug)]
pub struct FunctionBuilder {
    name: String,
    params: Vec<Value>,
    value_types: Vec<Type>,
    blocks: Vec<OpenBlock>,
    slots: Vec<StackSlot>,
    current: Option<BlockId>,
    source: Option<SourceRef>,
    coldness: u8,
    region: u32,
    regions: u32,
}

impl FunctionBuilder {
    /// A function with an empty entry block, which is the current one.
    pub fn new(name: impl Into<String>, params: &[Type]) -> Self {
        assert!(params.len() <= 5, "a function has at most five parameters");
        Self {
            name: name.into(),
            params: (0..params.len() as u32).map(Value).collect(),
            value_types: params.to_vec(),
            blocks: vec![OpenBlock::default()],
            slots: Vec::new(),
            current: Some(BlockId(0)),
            source: None,
            coldness: 0,
            region: 0,
            regions: 1,
        }
    }

    /// The `index`-th parameter.
    pub fn param(&self, index: usize) -> Value {
        self.params[index]
    }

    /// Type of a value.
    pub fn type_of(&self, value: Value) -> Type {
        self.value_types[value.0 as usize]
    }

    /// A new, empty block; it does not become the current one.
    pub fn create_block(&mut self) -> BlockId {
        self.blocks.push(OpenBlock {
            coldness: self.coldness,
            region: self.region,
            ..OpenBlock::default()
        });
        BlockId(self.blocks.len() as u32 - 1)
    }

    /// Blocks created from here on make a region of their own ([`Block::region`]), until [`FunctionBuilder::end_region`].
    /// Regions are not nested: the first one goes on behind it.
    pub fn begin_region(&mut self) {
        self.region = self.regions;
        self.regions += 1;
    }

    /// Blocks created from here on belong to the first region.
    pub fn end_region(&mut self) {
        self.region = 0;
    }

    /// Blocks created from here on are one level colder ([`Block::coldness`]).
    pub fn begin_cold(&mut self) {
        self.coldness += 1;
    }

    /// Ends what [`FunctionBuilder::begin_cold`] has begun.
    ///
    /// # Panics
    /// If there was nothing begun.
    pub fn end_cold(&mut self) {
        self.coldness = self.coldness.checked_sub(1).expect("cold code was begun");
    }

    /// What is built from here on goes into this block.
    pub fn switch_to(&mut self, block: BlockId) {
        assert!(
            self.blocks[block.0 as usize].end.is_none(),
            "{block:?} has a terminator already"
        );
        self.current = Some(block);
    }

    /// The block under construction; `None` after a terminator.
    pub fn current_block(&self) -> Option<BlockId> {
        self.current
    }

    /// What is built from here on comes from this policy line.
    pub fn set_source(&mut self, source: Option<SourceRef>) {
        self.source = source;
    }

    /// The policy line that instructions get at present.
    pub fn source(&self) -> Option<SourceRef> {
        self.source
    }

    fn open(&mut self) -> &mut OpenBlock {
        let current = self
            .current
            .expect("no current block: an instruction follows a terminator");
        &mut self.blocks[current.0 as usize]
    }

    fn push(&mut self, inst: Inst) {
        let source = self.source;
        self.open().insts.push(Located { inst, source });
    }

    fn define(&mut self, value_type: Type, inst: impl FnOnce(Value) -> Inst) -> Value {
        let dest = Value(self.value_types.len() as u32);
        self.value_types.push(value_type);
        self.push(inst(dest));
        dest
    }

    /// A constant in a register. Where an operand can be an immediate, say that instead.
    pub fn const_(&mut self, value: i64) -> Value {
        self.define(Type::Scalar, |dest| Inst::Const { dest, value })
    }

    /// Arithmetic. A pointer plus a number is a pointer of the same kind; a constant moves the end of a map value nearer.
    /// A pointer to a kernel object plus a number is a [`Type::Scalar`] unless [`FunctionBuilder::alu_typed`] says better.
    pub fn alu(&mut self, op: AluOp, width: Width, a: impl Into<Operand>, b: impl Into<Operand>) -> Value {
        let (a, b) = (a.into(), b.into());
        let result = match (op, width, a) {
            (AluOp::Add | AluOp::Sub, Width::W64, Operand::Value(base)) => match (self.type_of(base), b) {
                (Type::MapValue { size } | Type::MapValueOrNull { size }, Operand::Imm(offset)) if op == AluOp::Add => {
                    Type::MapValue {
                        size: size.saturating_sub(u32::try_from(offset).unwrap_or(0)),
                    }
                }
                (Type::MapValue { size } | Type::MapValueOrNull { size }, _) => Type::MapValue { size },
                (Type::Stack, _) => Type::Stack,
                _ => Type::Scalar,
            },
            _ => Type::Scalar,
        };
        self.alu_typed(op, width, a, b, result)
    }

    /// Arithmetic whose result has this type.
    pub fn alu_typed(
        &mut self,
        op: AluOp,
        width: Width,
        a: impl Into<Operand>,
        b: impl Into<Operand>,
        result: Type,
    ) -> Value {
        let (a, b) = (a.into(), b.into());
        self.define(result, |dest| Inst::Alu { dest, op, width, a, b })
    }

    /// `a` with the low `size` bytes swapped, zero-extended.
    pub fn byte_swap(&mut self, size: Size, a: Value) -> Value {
        self.define(Type::Scalar, |dest| Inst::ByteSwap { dest, size, a })
    }

    /// The lower half of a value, as a number.
    pub fn low32(&mut self, a: Value) -> Value {
        self.define(Type::Scalar, |dest| Inst::Low32 { dest, a })
    }

    /// Direct load of an unsigned number.
    pub fn load(&mut self, base: Value, offset: i32, size: Size) -> Value {
        self.load_typed(base, offset, size, false, Type::Scalar)
    }

    /// Direct load of a signed number, sign-extended to 64 bits.
    pub fn load_signed(&mut self, base: Value, offset: i32, size: Size) -> Value {
        self.load_typed(base, offset, size, true, Type::Scalar)
    }

    /// Direct load whose result has this type (an argument that is a trusted pointer, for example).
    pub fn load_typed(&mut self, base: Value, offset: i32, size: Size, signed: bool, result: Type) -> Value {
        self.define(result, |dest| Inst::Load {
            dest,
            base,
            offset,
            size,
            signed,
        })
    }

    /// Load from kernel memory, directly if `base` is trusted.
    pub fn load_kernel(&mut self, base: Value, offset: i32, size: Size, signed: bool) -> Value {
        self.load_kernel_typed(base, offset, size, signed, Type::Scalar)
    }

    /// Load from kernel memory whose result has this type. Only what comes from a trusted pointer can be trusted.
    pub fn load_kernel_typed(&mut self, base: Value, offset: i32, size: Size, signed: bool, result: Type) -> Value {
        self.define(result, |dest| Inst::LoadKernel {
            dest,
            base,
            offset,
            size,
            signed,
        })
    }

    /// Direct store.
    pub fn store(&mut self, base: Value, offset: i32, size: Size, value: impl Into<Operand>) {
        self.push(Inst::Store {
            base,
            offset,
            size,
            value: value.into(),
        });
    }

    /// Memory on the stack, its size rounded up to a multiple of 8. It is not initialised.
    pub fn stack_slot(&mut self, size: u32) -> SlotId {
        self.slots.push(StackSlot {
            size: size.next_multiple_of(8),
        });
        SlotId(self.slots.len() as u32 - 1)
    }

    /// Address of a stack slot.
    pub fn stack_addr(&mut self, slot: SlotId) -> Value {
        self.define(Type::Stack, |dest| Inst::StackAddr { dest, slot })
    }

    /// Reference to a map, as an argument of a helper.
    pub fn map_ref(&mut self, map: impl Into<String>) -> Value {
        let map = map.into();
        self.define(Type::Map, |dest| Inst::MapRef { dest, map })
    }

    /// Address in element 0 of an array map; `size` bytes may be accessed from there.
    pub fn map_value_addr(&mut self, map: impl Into<String>, offset: u32, size: u32) -> Value {
        let map = map.into();
        self.define(Type::MapValue { size }, |dest| Inst::MapValueAddr { dest, map, offset })
    }

    /// Call whose result has this type, or is not wanted.
    pub fn call(&mut self, callee: Callee, args: &[Operand], result: Option<Type>) -> Option<Value> {
        assert!(args.len() <= 5, "a call has at most five arguments");
        let args = args.to_vec();
        if let Some(result) = result {
            return Some(self.define(result, |dest| Inst::Call {
                dest: Some(dest),
                callee,
                args,
            }));
        }
        self.push(Inst::Call {
            dest: None,
            callee,
            args,
        });
        None
    }

    fn call_for(&mut self, callee: Callee, args: &[Operand], result: Type) -> Value {
        self.call(callee, args, Some(result)).expect("a result was asked for")
    }

    /// Calls a kernel helper that returns a number.
    pub fn call_helper(&mut self, helper: u32, args: &[Operand]) -> Value {
        self.call_for(Callee::Helper(helper), args, Type::Scalar)
    }

    /// Calls a kernel helper that returns a pointer.
    pub fn call_helper_typed(&mut self, helper: u32, args: &[Operand], result: Type) -> Value {
        self.call_for(Callee::Helper(helper), args, result)
    }

    /// Calls a kernel function that returns a pointer of this type.
    pub fn call_kfunc_typed(&mut self, function: u32, args: &[Operand], result: Type) -> Value {
        self.call_for(Callee::Kfunc(function), args, result)
    }

    /// Calls a function of the runtime library that returns a number.
    pub fn call_runtime(&mut self, name: &'static str, args: &[Operand]) -> Value {
        self.call_for(Callee::Runtime(name), args, Type::Scalar)
    }

    /// Calls a function of the runtime library that returns a pointer.
    pub fn call_runtime_typed(&mut self, name: &'static str, args: &[Operand], result: Type) -> Value {
        self.call_for(Callee::Runtime(name), args, result)
    }

    /// Calls a function of the runtime library for its effect.
    pub fn call_runtime_void(&mut self, name: &'static str, args: &[Operand]) {
        self.call(Callee::Runtime(name), args, None);
    }

    /// Calls another function of the program.
    pub fn call_local(&mut self, function: FuncId, args: &[Operand]) -> Value {
        self.call_for(Callee::Local(function), args, Type::Scalar)
    }

    fn end(&mut self, terminator: Terminator) {
        let source = self.source;
        self.open().end = Some((terminator, source));
        self.current = None;
    }

    /// Ends the block: goes on there.
    pub fn jump(&mut self, block: BlockId) {
        self.end(Terminator::Jump(block));
    }

    /// Ends the block: `if a op b goto then_block else goto else_block`.
    pub fn branch(
        &mut self,
        op: CmpOp,
        width: Width,
        a: Value,
        b: impl Into<Operand>,
        then_block: BlockId,
        else_block: BlockId,
    ) {
        let b = b.into();
        self.end(Terminator::Branch {
            op,
            width,
            a,
            b,
            then_block,
            else_block,
        });
    }

    /// Ends the function.
    pub fn ret(&mut self, value: impl Into<Operand>) {
        let value = value.into();
        self.end(Terminator::Return(value));
    }

    /// The function, without the blocks that cannot be reached.
    pub fn finish(self) -> Function {
        let mut new_ids = vec![None; self.blocks.len()];
        let mut open = vec![BlockId(0)];
        new_ids[0] = Some(BlockId(0));
        while let Some(block) = open.pop() {
            let Some((terminator, _)) = &self.blocks[block.0 as usize].end else {
                panic!("{block:?} of `{}` has no terminator", self.name)
            };
            for successor in terminator.successors() {
                let seen = &mut new_ids[successor.0 as usize];
                if seen.is_none() {
                    *seen = Some(successor);
                    open.push(successor);
                }
            }
        }
        // the blocks that stay keep their order
        for (count, id) in new_ids.iter_mut().filter(|id| id.is_some()).enumerate() {
            *id = Some(BlockId(count as u32));
        }
        let renumber =
            |block: BlockId| new_ids[block.0 as usize].expect("successors of reachable blocks are reachable");
        let mut blocks = Vec::new();
        for (open, id) in self.blocks.into_iter().zip(&new_ids) {
            let (Some(_), Some((terminator, source))) = (id, open.end) else {
                continue;
            };
            blocks.push(Block {
                insts: open.insts,
                terminator: terminator.map_blocks(renumber),
                source,
                coldness: open.coldness,
                region: open.region,
            });
        }
        Function {
            name: self.name,
            params: self.params,
            value_types: self.value_types,
            blocks,
            slots: self.slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_blocks_are_dropped() {
        let mut b = FunctionBuilder::new("f", &[Type::Ctx]);
        let dead = b.create_block();
        let live = b.create_block();
        let ctx = b.param(0);
        let x = b.load(ctx, 0, Size::B8);
        b.branch(CmpOp::Eq, Width::W64, x, 7, live, live);
        b.switch_to(dead);
        b.jump(live);
        b.switch_to(live);
        b.ret(0);
        let f = b.finish();
        assert_eq!(f.blocks.len(), 2);
        assert_eq!(
            f.blocks[0].terminator.successors().collect::<Vec<_>>(),
            [BlockId(1), BlockId(1)]
        );
    }

    #[test]
    fn pointer_arithmetic_keeps_the_kind_of_pointer() {
        let mut b = FunctionBuilder::new("f", &[Type::MapValue { size: 32 }]);
        let base = b.param(0);
        let inner = b.alu(AluOp::Add, Width::W64, base, 24);
        assert_eq!(b.type_of(inner), Type::MapValue { size: 8 });
        let number = b.load(inner, 0, Size::B8);
        let somewhere = b.alu(AluOp::Add, Width::W64, base, number);
        assert_eq!(b.type_of(somewhere), Type::MapValue { size: 32 });
    }

    #[test]
    #[should_panic(expected = "has no terminator")]
    fn open_blocks_are_misuse() {
        FunctionBuilder::new("f", &[]).finish();
    }
}
