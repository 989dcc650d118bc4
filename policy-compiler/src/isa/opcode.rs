//! Operation codes: the instruction set as tables.

// classes
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;

// modes of loads and stores
const IMM: u8 = 0x00;
const MEM: u8 = 0x60;
const MEMSX: u8 = 0x80;
const ATOMIC: u8 = 0xc0;

/// Set if the second operand is a register.
pub(super) const SOURCE_REG: u8 = 0x08;

pub(super) const LD_IMM64: u8 = LD | IMM | 0x18;
pub(super) const LDX_MEM: u8 = LDX | MEM;
pub(super) const ST_MEM: u8 = ST | MEM;
pub(super) const STX_MEM: u8 = STX | MEM;
const NEG: u8 = 0x80;
const END: u8 = 0xd0;
pub(super) const TO_BE: u8 = ALU | END | SOURCE_REG;
pub(super) const JA: u8 = JMP;
pub(super) const JA32: u8 = JMP32;
pub(super) const CALL: u8 = JMP | 0x80;
pub(super) const EXIT: u8 = JMP | 0x90;

/// Whether an operation works on the low 32 bits or on all 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Width {
    W32,
    W64,
}

impl Width {
    pub(super) fn alu_class(self) -> u8 {
        match self {
            Self::W32 => ALU,
            Self::W64 => ALU64,
        }
    }

    pub(super) fn jump_class(self) -> u8 {
        match self {
            Self::W32 => JMP32,
            Self::W64 => JMP,
        }
    }
}

/// Declares an enumeration of operations with their codes and their text.
macro_rules! operations {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "the names are the ISA's")]
        pub enum $name {
            $($variant,)*
        }

        impl $name {
            /// All of them, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Bits 4 to 7 of the code.
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// How it is written.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

operations! {
    /// Arithmetic with two operands.
    AluOperation {
        Add = 0x00 "+=",
        Sub = 0x10 "-=",
        Mul = 0x20 "*=",
        Div = 0x30 "/=",
        Or = 0x40 "|=",
        And = 0x50 "&=",
        Lsh = 0x60 "<<=",
        Rsh = 0x70 ">>=",
        Mod = 0x90 "%=",
        Xor = 0xa0 "^=",
        Mov = 0xb0 "=",
        Arsh = 0xc0 "s>>=",
    }
}

operations! {
    /// Conditional jumps.
    JumpOperation {
        Eq = 0x10 "==",
        Gt = 0x20 ">",
        Ge = 0x30 ">=",
        Set = 0x40 "&",
        Ne = 0x50 "!=",
        Sgt = 0x60 "s>",
        Sge = 0x70 "s>=",
        Lt = 0xa0 "<",
        Le = 0xb0 "<=",
        Slt = 0xc0 "s<",
        Sle = 0xd0 "s<=",
    }
}

impl JumpOperation {
    /// The operation that jumps exactly when this one does not; there is none for `&`.
    pub fn inverted(self) -> Option<Self> {
        Some(match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Gt => Self::Le,
            Self::Le => Self::Gt,
            Self::Ge => Self::Lt,
            Self::Lt => Self::Ge,
            Self::Sgt => Self::Sle,
            Self::Sle => Self::Sgt,
            Self::Sge => Self::Slt,
            Self::Slt => Self::Sge,
            Self::Set => return None,
        })
    }
}

/// What an operation code says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Form {
    /// `dst op src` or `dst op imm`
    Alu {
        /// Operation.
        operation: AluOperation,
        /// Width.
        width: Width,
        /// Second operand is a register.
        register: bool,
    },
    /// `dst = -dst`
    Neg(Width),
    /// `dst = le/beN dst`, with N in `imm`.
    ByteOrder {
        /// To big endian rather than little.
        big: bool,
    },
    /// `dst = bswapN dst`: always swaps. Kernels from 6.6 on.
    ByteSwap,
    /// `dst = *(uN *)(src + off)`
    Load {
        /// Bytes.
        size: u32,
        /// Sign-extends. Kernels from 6.6 on.
        signed: bool,
    },
    /// `*(uN *)(dst + off) = src` or `imm`
    Store {
        /// Bytes.
        size: u32,
        /// Value is a register.
        register: bool,
    },
    /// Atomic operation on memory; which one is in `imm`.
    Atomic {
        /// Bytes.
        size: u32,
    },
    /// `dst = imm ll`, two slots.
    LoadImm64,
    /// `if dst op … goto +off`
    Jump {
        /// Operation.
        operation: JumpOperation,
        /// Width.
        width: Width,
        /// Second operand is a register.
        register: bool,
    },
    /// `goto +off`
    Goto,
    /// `gotol +imm`
    GotoLong,
    /// Call of a helper or of a function.
    Call,
    /// Return.
    Exit,
}

/// Bits 3 and 4 for an access of this many bytes.
pub(super) fn size_bits(size: u32) -> u8 {
    match size {
        4 => 0x00,
        2 => 0x08,
        1 => 0x10,
        8 => 0x18,
        _ => panic!("accesses have 1, 2, 4 or 8 bytes, not {size}"),
    }
}

fn size_of(code: u8) -> u32 {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

pub(super) fn form(code: u8) -> Option<Form> {
    let register = code & SOURCE_REG != 0;
    let size = size_of(code);
    let mode = code & 0xe0;
    let operation = code & 0xf0;
    Some(match code & 7 {
        LD if code == LD_IMM64 => Form::LoadImm64,
        LDX if mode == MEM => Form::Load { size, signed: false },
        LDX if mode == MEMSX && size != 8 => Form::Load { size, signed: true },
        ST if mode == MEM => Form::Store { size, register: false },
        STX if mode == MEM => Form::Store { size, register: true },
        STX if mode == ATOMIC && size >= 4 => Form::Atomic { size },
        class @ (ALU | ALU64) => {
            let width = if class == ALU { Width::W32 } else { Width::W64 };
            match operation {
                NEG if !register => Form::Neg(width),
                END if class == ALU => Form::ByteOrder { big: register },
                END if !register => Form::ByteSwap,
                _ => {
                    let operation = *AluOperation::ALL.iter().find(|op| op.code() == operation)?;
                    Form::Alu {
                        operation,
                        width,
                        register,
                    }
                }
            }
        }
        class @ (JMP | JMP32) => {
            let width = if class == JMP32 { Width::W32 } else { Width::W64 };
            match code {
                JA => Form::Goto,
                JA32 => Form::GotoLong,
                CALL => Form::Call,
                EXIT => Form::Exit,
                _ => {
                    let operation = *JumpOperation::ALL.iter().find(|op| op.code() == operation)?;
                    Form::Jump {
                        operation,
                        width,
                        register,
                    }
                }
            }
        }
        _ => return None,
    })
}
