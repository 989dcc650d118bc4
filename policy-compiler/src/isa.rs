//! The eBPF instruction set: encoding, decoding, text.
//!
//! Names are those of the kernel's instruction-set document (`Documentation/bpf/standardization/instruction-set.rst`), the text
//! is that of `llvm-objdump`. This module knows nothing of policies or of the kernel's verifier.
//!
//! ```text
//!   63                            32 31            16 15   12 11    8 7             0
//!  ┌────────────────────────────────┬────────────────┬───────┬───────┬───────────────┐
//!  │ imm                            │ off            │ src   │ dst   │ code          │
//!  └────────────────────────────────┴────────────────┴───────┴───────┴───────────────┘
//!
//!  code of arithmetic and jumps:     7      4  3   2     0    operation, source (0 imm, 1 register), class
//!  code of loads and stores:         7    5 4    3 2     0    mode, size (0 W, 1 H, 2 B, 3 DW), class
//! ```
//!
//! `ld_imm64` takes two slots: the second one has code 0 and the upper half of the constant as `imm`.

mod opcode;
mod text;

#[cfg(test)]
mod tests;

pub use opcode::{AluOperation, Form, JumpOperation, Width};

/// Bytes of a slot.
pub const SLOT: usize = 8;

/// `src` of a `ld_imm64` whose constant is a map.
pub const PSEUDO_MAP_FD: u8 = 1;
/// `src` of a `ld_imm64` whose constant is an address in the value of an array map.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// `src` of a `ld_imm64` whose constant is a function.
pub const PSEUDO_FUNC: u8 = 4;
/// `src` of a call of another function of the program.
pub const PSEUDO_CALL: u8 = 1;
/// `src` of a call of a kernel function.
pub const PSEUDO_KFUNC_CALL: u8 = 2;

/// A register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(u8);

#[allow(missing_docs, reason = "the names are the ISA's")]
impl Reg {
    pub const R0: Self = Self(0);
    pub const R1: Self = Self(1);
    pub const R2: Self = Self(2);
    pub const R3: Self = Self(3);
    pub const R4: Self = Self(4);
    pub const R5: Self = Self(5);
    pub const R6: Self = Self(6);
    pub const R7: Self = Self(7);
    pub const R8: Self = Self(8);
    pub const R9: Self = Self(9);
    /// The frame pointer: read-only.
    pub const FP: Self = Self(10);
}

impl Reg {
    /// The register with this number, 0 to 10.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= 10 { Some(Self(number)) } else { None }
    }

    /// The register of the `index`-th argument of a call, from 0 to 4.
    pub fn argument(index: usize) -> Self {
        assert!(index < 5, "calls have at most five arguments");
        Self(index as u8 + 1)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl std::fmt::Debug for Reg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// One slot of a program. Any contents can be held; [`Instruction::form`] says what it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register, 4 bits.
    pub dst: u8,
    /// Source register or kind of a pseudo instruction, 4 bits.
    pub src: u8,
    /// Offset of a jump in slots from the next one, or of an access in bytes.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Instruction {
    /// The bytes, little-endian.
    pub fn encode(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[0] = self.code;
        bytes[1] = (self.dst & 0xf) | (self.src << 4);
        bytes[2..4].copy_from_slice(&self.off.to_le_bytes());
        bytes[4..].copy_from_slice(&self.imm.to_le_bytes());
        bytes
    }

    /// The slot in these bytes.
    pub fn decode(bytes: [u8; SLOT]) -> Self {
        let [code, registers, off0, off1, imm @ ..] = bytes;
        Self {
            code,
            dst: registers & 0xf,
            src: registers >> 4,
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes(imm),
        }
    }

    /// The slots of a section's bytes; what is left over at the end is dropped.
    pub fn decode_all(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks().0.iter().copied().map(Self::decode).collect()
    }

    /// Whether a second slot belongs to it.
    pub fn is_wide(self) -> bool {
        self.code == opcode::LD_IMM64
    }

    /// `dst = src`
    pub fn mov(width: Width, dst: Reg, src: Reg) -> Self {
        Self::alu(AluOperation::Mov, width, dst, src)
    }

    /// `dst = imm`, sign-extended.
    pub fn mov_imm(dst: Reg, imm: i32) -> Self {
        Self::alu_imm(AluOperation::Mov, Width::W64, dst, imm)
    }

    /// `dst = dst op src`
    pub fn alu(operation: AluOperation, width: Width, dst: Reg, src: Reg) -> Self {
        Self {
            code: operation.code() | opcode::SOURCE_REG | width.alu_class(),
            dst: dst.0,
            src: src.0,
            ..Self::default()
        }
    }

    /// `dst = dst op imm`
    pub fn alu_imm(operation: AluOperation, width: Width, dst: Reg, imm: i32) -> Self {
        Self {
            code: operation.code() | width.alu_class(),
            dst: dst.0,
            imm,
            ..Self::default()
        }
    }

    /// `dst = be16/32/64 dst`: to big endian, zero-extended.
    pub fn to_big_endian(bits: i32, dst: Reg) -> Self {
        Self {
            code: opcode::TO_BE,
            dst: dst.0,
            imm: bits,
            ..Self::default()
        }
    }

    /// `dst = *(uN *)(src + off)`; `size` is 1, 2, 4 or 8.
    pub fn load(size: u32, dst: Reg, src: Reg, off: i16) -> Self {
        Self {
            code: opcode::LDX_MEM | opcode::size_bits(size),
            dst: dst.0,
            src: src.0,
            off,
            imm: 0,
        }
    }

    /// `*(uN *)(dst + off) = src`
    pub fn store(size: u32, dst: Reg, off: i16, src: Reg) -> Self {
        Self {
            code: opcode::STX_MEM | opcode::size_bits(size),
            dst: dst.0,
            src: src.0,
            off,
            imm: 0,
        }
    }

    /// `*(uN *)(dst + off) = imm`, sign-extended for 8 bytes.
    pub fn store_imm(size: u32, dst: Reg, off: i16, imm: i32) -> Self {
        Self {
            code: opcode::ST_MEM | opcode::size_bits(size),
            dst: dst.0,
            src: 0,
            off,
            imm,
        }
    }

    /// Both slots of `dst = constant`.
    pub fn load_imm64(dst: Reg, pseudo: u8, constant: u64) -> [Self; 2] {
        [
            Self {
                code: opcode::LD_IMM64,
                dst: dst.0,
                src: pseudo,
                off: 0,
                imm: constant as i32,
            },
            Self {
                imm: (constant >> 32) as i32,
                ..Self::default()
            },
        ]
    }

    /// `if dst op src goto +off`
    pub fn jump(operation: JumpOperation, width: Width, dst: Reg, src: Reg, off: i16) -> Self {
        Self {
            code: operation.code() | opcode::SOURCE_REG | width.jump_class(),
            dst: dst.0,
            src: src.0,
            off,
            imm: 0,
        }
    }

    /// `if dst op imm goto +off`
    pub fn jump_imm(operation: JumpOperation, width: Width, dst: Reg, imm: i32, off: i16) -> Self {
        Self {
            code: operation.code() | width.jump_class(),
            dst: dst.0,
            src: 0,
            off,
            imm,
        }
    }

    /// `goto +off`
    pub fn goto(off: i16) -> Self {
        Self {
            code: opcode::JA,
            off,
            ..Self::default()
        }
    }

    /// `gotol +off`: the offset has 32 bits. Kernels from 6.6 on.
    pub fn goto_long(off: i32) -> Self {
        Self {
            code: opcode::JA32,
            imm: off,
            ..Self::default()
        }
    }

    /// Call of a kernel helper.
    pub fn call_helper(helper: u32) -> Self {
        Self {
            code: opcode::CALL,
            imm: helper as i32,
            ..Self::default()
        }
    }

    /// Call of a kernel function, by the number of its type in the kernel's BTF.
    pub fn call_kfunc(function: u32) -> Self {
        Self {
            code: opcode::CALL,
            src: PSEUDO_KFUNC_CALL,
            imm: function as i32,
            ..Self::default()
        }
    }

    /// Call of a function of the program, `off` slots from the next one.
    pub fn call_function(off: i32) -> Self {
        Self {
            code: opcode::CALL,
            src: PSEUDO_CALL,
            imm: off,
            ..Self::default()
        }
    }

    /// Whether it calls another function of the program.
    pub fn is_function_call(self) -> bool {
        self.code == opcode::CALL && self.src == PSEUDO_CALL
    }

    /// Return from the function.
    pub fn exit() -> Self {
        Self {
            code: opcode::EXIT,
            ..Self::default()
        }
    }

    /// What the operation is; `None` if the instruction set has no such code.
    pub fn form(self) -> Option<Form> {
        opcode::form(self.code)
    }
}
