//! The compiler's intermediate representation: a control-flow graph over typed values, one [`Program`] per hook.
//!
//! The planner writes it, [`verify`] checks it, the back end turns it into eBPF instructions. It knows no policy and no
//! YAML: what a policy means is decided before. It knows the kernel only through [`Type`], which says what a pointer may be
//! used for, because that decides how a load is lowered (direct, or through `bpf_probe_read_kernel`).
//!
//! Invariants, checked by [`verify`]:
//!
//! * every value is defined once, by an instruction or as a parameter, and its definition dominates each use;
//! * there are no phi nodes: what must survive a join with different contents lives in memory (a stack slot or the frame
//!   of the scratch element), because the kernel's verifier prunes joins only if registers agree;
//! * a value of type [`Type::MapValueOrNull`] is used only as an operand of a comparison with zero, or in blocks that the
//!   non-zero edge of such a comparison dominates (there it counts as [`Type::MapValue`]);
//! * each block ends in exactly one [`Terminator`], every block is reachable, block 0 of a function is its entry;
//! * stack slots of a function together take at most 512 bytes less what register allocation may spill.

use crate::output::SourceRef;

pub mod builder;
pub(crate) mod order;
pub mod print;
pub mod verify;

/// Index of a [`Function`] in its [`Program`]; 0 is the entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FuncId(pub u32);
/// Index of a [`Block`] in its [`Function`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BlockId(pub u32);
/// A virtual register: defined once, used any number of times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Value(pub u32);
/// Index of a [`StackSlot`] in its [`Function`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SlotId(pub u32);

/// What a value is, and so what may be done with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "what a variant says of its fields is enough")]
pub enum Type {
    /// A number, or an address the verifier knows nothing of (read it with [`Inst::LoadKernel`]).
    Scalar,
    /// The program's context.
    Ctx,
    /// A pointer the verifier trusts, to the kernel type with this id in the target's BTF.
    Trusted(u32),
    /// Pointer into a map value (or a scratch element): direct loads and stores within `size` bytes.
    MapValue { size: u32 },
    /// Result of a lookup that may have failed.
    MapValueOrNull { size: u32 },
    /// Pointer to a stack slot.
    Stack,
    /// Reference to a map: an argument of helpers and functions, nothing else.
    Map,
}

/// Where an instruction gets an operand from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A virtual register.
    Value(Value),
    /// A constant; those that do not fit 32 bits sign-extended are materialised with `ld_imm64`.
    Imm(i64),
}

/// Arithmetic; the names are those of the kernel's instruction-set document.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the ISA's")]
pub enum AluOp {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    Lsh,
    Rsh,
    Arsh,
}

/// Comparison of a conditional branch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the ISA's")]
pub enum CmpOp {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Sgt,
    Sge,
    Slt,
    Sle,
    /// `a & b != 0`
    Set,
}

/// Width of an access, in bytes: 1, 2, 4 or 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Size {
    B1,
    B2,
    B4,
    B8,
}

/// Whether arithmetic or a comparison works on 32 or 64 bits. 32-bit results are zero-extended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Width {
    W32,
    W64,
}

/// What a call calls.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Callee {
    /// A kernel helper by number (`enum bpf_func_id`).
    Helper(u32),
    /// A kernel function by the number of its `BTF_KIND_FUNC` in the target's BTF.
    Kfunc(u32),
    /// A function of the runtime library (`ebpf/c/runtime.h`), by name.
    Runtime(&'static str),
    /// Another function of this program.
    Local(FuncId),
}

/// One instruction. Where there is a `dest`, it is defined by it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "what a variant says of its fields is enough")]
pub enum Inst {
    /// `dest = value`
    Const { dest: Value, value: i64 },
    /// `dest = a op b`; pointer arithmetic is `Add` on [`Width::W64`] with a pointer as `a`.
    Alu {
        dest: Value,
        op: AluOp,
        width: Width,
        a: Operand,
        b: Operand,
    },
    /// Swaps the low `size` bytes of `a` and zero-extends (`to big endian` on a little-endian machine).
    ByteSwap { dest: Value, size: Size, a: Value },
    /// The lower 32 bits of a value, zero-extended: of a pointer too, as a number of which the verifier knows nothing.
    Low32 { dest: Value, a: Value },
    /// `dest = *(size *)(base + offset)` where the verifier allows it: context, map value, stack, trusted pointer.
    Load {
        dest: Value,
        base: Value,
        offset: i32,
        size: Size,
        signed: bool,
    },
    /// Reads kernel memory: a direct load if `base` is [`Type::Trusted`], else `bpf_probe_read_kernel`; a failed read gives 0.
    LoadKernel {
        dest: Value,
        base: Value,
        offset: i32,
        size: Size,
        signed: bool,
    },
    /// `*(size *)(base + offset) = value`
    Store {
        base: Value,
        offset: i32,
        size: Size,
        value: Operand,
    },
    /// Address of a stack slot.
    StackAddr { dest: Value, slot: SlotId },
    /// Reference to a map, for helpers that take one.
    MapRef { dest: Value, map: String },
    /// Address `offset` bytes into element 0 of an array map (`BPF_PSEUDO_MAP_VALUE`).
    MapValueAddr { dest: Value, map: String, offset: u32 },
    /// A call; at most five arguments. Registers r1 to r5 are lost over it.
    Call {
        dest: Option<Value>,
        callee: Callee,
        args: Vec<Operand>,
    },
}

/// How a block ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "what a variant says of its fields is enough")]
pub enum Terminator {
    /// Unconditional.
    Jump(BlockId),
    /// `if a op b goto then_block else goto else_block`
    Branch {
        op: CmpOp,
        width: Width,
        a: Value,
        b: Operand,
        then_block: BlockId,
        else_block: BlockId,
    },
    /// Ends the function.
    Return(Operand),
}

impl Size {
    /// Bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Self::B1 => 1,
            Self::B2 => 2,
            Self::B4 => 4,
            Self::B8 => 8,
        }
    }

    /// The size of this many bytes, if there is one.
    pub fn from_bytes(bytes: u32) -> Option<Self> {
        Some(match bytes {
            1 => Self::B1,
            2 => Self::B2,
            4 => Self::B4,
            8 => Self::B8,
            _ => return None,
        })
    }
}

impl Inst {
    /// The value it defines.
    pub fn dest(&self) -> Option<Value> {
        match self {
            Self::Const { dest, .. }
            | Self::Alu { dest, .. }
            | Self::ByteSwap { dest, .. }
            | Self::Low32 { dest, .. }
            | Self::Load { dest, .. }
            | Self::LoadKernel { dest, .. }
            | Self::StackAddr { dest, .. }
            | Self::MapRef { dest, .. }
            | Self::MapValueAddr { dest, .. } => Some(*dest),
            Self::Call { dest, .. } => *dest,
            Self::Store { .. } => None,
        }
    }

    /// What it reads, in order.
    pub fn operands(&self) -> impl Iterator<Item = Operand> {
        let (first, second, rest): (_, _, &[Operand]) = match self {
            Self::Const { .. } | Self::StackAddr { .. } | Self::MapRef { .. } | Self::MapValueAddr { .. } => {
                (None, None, &[])
            }
            Self::Alu { a, b, .. } => (Some(*a), Some(*b), &[]),
            Self::ByteSwap { a, .. } | Self::Low32 { a, .. } => (Some(Operand::Value(*a)), None, &[]),
            Self::Load { base, .. } | Self::LoadKernel { base, .. } => (Some(Operand::Value(*base)), None, &[]),
            Self::Store { base, value, .. } => (Some(Operand::Value(*base)), Some(*value), &[]),
            Self::Call { args, .. } => (None, None, args),
        };
        first.into_iter().chain(second).chain(rest.iter().copied())
    }

    /// The values it reads, in order.
    pub fn uses(&self) -> impl Iterator<Item = Value> {
        self.operands().filter_map(Operand::value)
    }
}

impl Operand {
    /// The virtual register, if it is one.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Imm(_) => None,
        }
    }
}

impl Terminator {
    /// The blocks that may come next, `then_block` first.
    pub fn successors(&self) -> impl Iterator<Item = BlockId> + use<> {
        let (first, second) = match self {
            Self::Jump(block) => (Some(*block), None),
            Self::Branch {
                then_block, else_block, ..
            } => (Some(*then_block), Some(*else_block)),
            Self::Return(_) => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The values it reads.
    pub fn uses(&self) -> impl Iterator<Item = Value> + use<> {
        let (first, second) = match self {
            Self::Jump(_) => (None, None),
            Self::Branch { a, b, .. } => (Some(*a), b.value()),
            Self::Return(operand) => (operand.value(), None),
        };
        first.into_iter().chain(second)
    }

    /// The same with other blocks.
    pub fn map_blocks(self, map: impl Fn(BlockId) -> BlockId) -> Self {
        match self {
            Self::Jump(block) => Self::Jump(map(block)),
            Self::Branch {
                op,
                width,
                a,
                b,
                then_block,
                else_block,
            } => Self::Branch {
                op,
                width,
                a,
                b,
                then_block: map(then_block),
                else_block: map(else_block),
            },
            Self::Return(operand) => Self::Return(operand),
        }
    }
}

/// An instruction with the policy line it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// The instruction.
    pub inst: Inst,
    /// The policy line, if one is the reason for it.
    pub source: Option<SourceRef>,
}

/// A basic block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Executed in order.
    pub insts: Vec<Located>,
    /// How it ends.
    pub terminator: Terminator,
    /// The policy line of the terminator.
    pub source: Option<SourceRef>,
    /// Regions stand one behind the other, whatever jumps between them: code that belongs together stays within reach of short
    /// jumps.
    pub region: u32,
    /// How seldom it runs: blocks of a higher level stand behind all of lower ones in the region, jumped to and from, not over.
    ///
    /// The kernel's verifier keeps a pending state for each branch it has not gone back to, at most 8,192
    /// (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, kernel/bpf/verifier.c), and follows the code that comes next first: of a chain of tests
    /// whose hits are colder it keeps one for each test, whatever the hits do.
    pub coldness: u8,
}

/// Memory on the stack, at a multiple of 8 from the frame pointer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StackSlot {
    /// Size in bytes, a multiple of 8.
    pub size: u32,
}

/// A function: the entry of the program, or a static subprogram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Symbol name.
    pub name: String,
    /// Parameters, in r1 to r5. The entry has one: the context.
    pub params: Vec<Value>,
    /// Type of each value, by its index.
    pub value_types: Vec<Type>,
    /// Blocks; 0 is the entry.
    pub blocks: Vec<Block>,
    /// Stack memory.
    pub slots: Vec<StackSlot>,
}

/// What kind of program it is: decides the section, the context and what the verifier trusts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// ELF section, as libbpf spells it (`fexit/security_file_permission`, `tp/syscalls/sys_enter_openat`, …).
    pub section: String,
    /// Functions; 0 is the entry.
    pub functions: Vec<Function>,
    /// Maps it refers to and that the object must define, besides those of the runtime library.
    pub maps: Vec<MapDef>,
    /// Contents of sections of constant data that the runtime library declares and leaves to the program.
    pub data: Vec<DataDef>,
}

/// Constant data of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataDef {
    /// Section, as the library names it.
    pub section: &'static str,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// A map that an object defines (BTF-defined in `.maps`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MapDef {
    /// Name, at most 15 bytes to survive in the kernel.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key; 0 for a ring buffer.
    pub key_size: u32,
    /// Bytes of a value; 0 for a ring buffer.
    pub value_size: u32,
    /// Elements.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
}
