//! Text of instructions, as `llvm-objdump` writes them.

use std::fmt;

use super::{Form, Instruction, PSEUDO_CALL, PSEUDO_KFUNC_CALL, Width};

impl Instruction {
    /// The text. `next` is the following slot, which holds the upper half of a `ld_imm64`.
    pub fn text(self, next: Option<Self>) -> String {
        Text {
            instruction: self,
            upper: next.map_or(0, |next| next.imm),
        }
        .to_string()
    }
}

struct Text {
    instruction: Instruction,
    upper: i32,
}

/// `r3`, or `w3` for the low half.
fn register(width: Width, number: u8) -> String {
    match width {
        Width::W32 => format!("w{number}"),
        Width::W64 => format!("r{number}"),
    }
}

/// `(r1 + 8)`
fn address(base: u8, off: i16) -> String {
    if off < 0 {
        format!("(r{base} - {})", -i32::from(off))
    } else {
        format!("(r{base} + {off})")
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Instruction {
            code,
            dst,
            src,
            off,
            imm,
        } = self.instruction;
        let Some(form) = self.instruction.form() else {
            return write!(f, "<unknown code {code:#04x}>");
        };
        let second = |width, is_register| {
            if is_register {
                register(width, src)
            } else {
                imm.to_string()
            }
        };
        match form {
            Form::Alu {
                operation,
                width,
                register: is_register,
            } => {
                write!(
                    f,
                    "{} {} {}",
                    register(width, dst),
                    operation.text(),
                    second(width, is_register)
                )
            }
            Form::Neg(width) => write!(f, "{0} = -{0}", register(width, dst)),
            Form::ByteOrder { big } => write!(f, "r{dst} = {}{imm} r{dst}", if big { "be" } else { "le" }),
            Form::ByteSwap => write!(f, "r{dst} = bswap{imm} r{dst}"),
            Form::Load { size, signed } => {
                write!(
                    f,
                    "r{dst} = *({}{} *){}",
                    if signed { "s" } else { "u" },
                    size * 8,
                    address(src, off)
                )
            }
            Form::Store {
                size,
                register: is_register,
            } => {
                write!(
                    f,
                    "*(u{} *){} = {}",
                    size * 8,
                    address(dst, off),
                    second(Width::W64, is_register)
                )
            }
            Form::Atomic { size } => write!(f, "lock *(u{} *){} {imm:#x} r{src}", size * 8, address(dst, off)),
            Form::LoadImm64 => {
                let constant = u64::from(imm as u32) | (u64::from(self.upper as u32) << 32);
                write!(f, "r{dst} = {} ll", constant as i64)
            }
            Form::Jump {
                operation,
                width,
                register: is_register,
            } => {
                write!(
                    f,
                    "if {} {} {} goto {off:+}",
                    register(width, dst),
                    operation.text(),
                    second(width, is_register)
                )
            }
            Form::Goto => write!(f, "goto {off:+}"),
            Form::GotoLong => write!(f, "gotol {imm:+}"),
            Form::Call if src == PSEUDO_CALL => write!(f, "call pc{imm:+}"),
            Form::Call if src == PSEUDO_KFUNC_CALL => write!(f, "call kfunc {imm}"),
            Form::Call => write!(f, "call {imm}"),
            Form::Exit => write!(f, "exit"),
        }
    }
}
