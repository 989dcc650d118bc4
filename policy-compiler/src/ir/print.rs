//! Text form of the IR, for golden tests and `--emit ir`.
//!
//! ```text
//! program tp_btf/sched_process_exec
//! map own_counts: type 2, key 4, value 8, entries 1, flags 0x0
//!
//! fn hook(v0: ctx) {
//! b0:
//!     v1: map_value_or_null(4096) = call tetra_enter()  ; @0
//!     if v1 == 0 goto b1 else b2
//! …
//! }
//! ```
//!
//! `@n` is the index of the policy line. 32-bit operations are marked `w32`.

use std::fmt::{self, Display, Formatter};

use super::{
    AluOp, BlockId, Callee, CmpOp, Function, Inst, MapDef, Operand, Program, Size, SlotId, Terminator, Type, Value,
    Width,
};
use crate::output::SourceRef;

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {}", self.section)?;
        for map in &self.maps {
            writeln!(f, "{map}")?;
        }
        for data in &self.data {
            writeln!(f, "data {}: {} bytes", data.section, data.bytes.len())?;
        }
        for function in &self.functions {
            writeln!(f)?;
            function.print(f, Some(self))?;
        }
        Ok(())
    }
}

impl Display for MapDef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
        } = self;
        write!(
            f,
            "map {name}: type {map_type}, key {key_size}, value {value_size}, entries {max_entries}, flags {flags:#x}"
        )
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.print(f, None)
    }
}

impl Function {
    fn print(&self, f: &mut Formatter<'_>, program: Option<&Program>) -> fmt::Result {
        let type_of = |value: Value| self.value_types.get(value.0 as usize).copied().unwrap_or(Type::Scalar);
        let params: Vec<_> = self
            .params
            .iter()
            .map(|param| format!("{param}: {}", type_of(*param)))
            .collect();
        writeln!(f, "fn {}({}) {{", self.name, params.join(", "))?;
        for (index, slot) in self.slots.iter().enumerate() {
            writeln!(f, "    {}: {} bytes", SlotId(index as u32), slot.size)?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            writeln!(f, "{}:", BlockId(index as u32))?;
            for located in &block.insts {
                write!(f, "    ")?;
                if let Some(dest) = located.inst.dest() {
                    match type_of(dest) {
                        Type::Scalar => write!(f, "{dest} = ")?,
                        other => write!(f, "{dest}: {other} = ")?,
                    }
                }
                print_inst(f, &located.inst, program)?;
                print_source(f, located.source)?;
            }
            write!(f, "    {}", block.terminator)?;
            print_source(f, block.source)?;
        }
        writeln!(f, "}}")
    }
}

fn print_source(f: &mut Formatter<'_>, source: Option<SourceRef>) -> fmt::Result {
    match source {
        Some(SourceRef(index)) => writeln!(f, "  ; @{index}"),
        None => writeln!(f),
    }
}

fn print_inst(f: &mut Formatter<'_>, inst: &Inst, program: Option<&Program>) -> fmt::Result {
    match inst {
        Inst::Const { value, .. } => write!(f, "{value}"),
        Inst::Alu { op, width, a, b, .. } => write!(f, "{a} {op}{width} {b}"),
        Inst::Low32 { a, .. } => write!(f, "low half of {a}"),
        Inst::ByteSwap { size, a, .. } => write!(
            f,
            "swap {a} as {}",
            Access {
                size: *size,
                signed: false
            }
        ),
        Inst::Load {
            base,
            offset,
            size,
            signed,
            ..
        } => {
            write!(
                f,
                "load {} {base}{offset:+}",
                Access {
                    size: *size,
                    signed: *signed
                }
            )
        }
        Inst::LoadKernel {
            base,
            offset,
            size,
            signed,
            ..
        } => {
            write!(
                f,
                "load_kernel {} {base}{offset:+}",
                Access {
                    size: *size,
                    signed: *signed
                }
            )
        }
        Inst::Store {
            base,
            offset,
            size,
            value,
        } => {
            write!(
                f,
                "store {} {base}{offset:+}, {value}",
                Access {
                    size: *size,
                    signed: false
                }
            )
        }
        Inst::StackAddr { slot, .. } => write!(f, "address of {slot}"),
        Inst::MapRef { map, .. } => write!(f, "map {map}"),
        Inst::MapValueAddr { map, offset, .. } => write!(f, "address in {map}+{offset}"),
        Inst::Call { callee, args, .. } => {
            match callee {
                Callee::Helper(number) => write!(f, "call helper {number}")?,
                Callee::Kfunc(number) => write!(f, "call kfunc {number}")?,
                Callee::Runtime(name) => write!(f, "call {name}")?,
                Callee::Local(id) => match program.and_then(|program| program.functions.get(id.0 as usize)) {
                    Some(function) => write!(f, "call local {}", function.name)?,
                    None => write!(f, "call local {}", id.0)?,
                },
            }
            let args: Vec<_> = args.iter().map(ToString::to_string).collect();
            write!(f, "({})", args.join(", "))
        }
    }
}

struct Access {
    size: Size,
    signed: bool,
}

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.signed { "s" } else { "u" }, self.size.bytes() * 8)
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(block) => write!(f, "goto {block}"),
            Self::Branch {
                op,
                width,
                a,
                b,
                then_block,
                else_block,
            } => {
                write!(f, "if {a} {op}{width} {b} goto {then_block} else {else_block}")
            }
            Self::Return(operand) => write!(f, "return {operand}"),
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar => write!(f, "scalar"),
            Self::Ctx => write!(f, "ctx"),
            Self::Trusted(id) => write!(f, "trusted({id})"),
            Self::MapValue { size } => write!(f, "map_value({size})"),
            Self::MapValueOrNull { size } => write!(f, "map_value_or_null({size})"),
            Self::Stack => write!(f, "stack"),
            Self::Map => write!(f, "map"),
        }
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Imm(imm) if (-4096..=4096).contains(imm) => write!(f, "{imm}"),
            Self::Imm(imm) => write!(f, "{imm:#x}"),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl Display for BlockId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl Display for SlotId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "slot{}", self.0)
    }
}

impl Display for Width {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::W32 => write!(f, " w32"),
            Self::W64 => Ok(()),
        }
    }
}

impl Display for AluOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::Lsh => "<<",
            Self::Rsh => ">>",
            Self::Arsh => "s>>",
        })
    }
}

impl Display for CmpOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Sgt => "s>",
            Self::Sge => "s>=",
            Self::Slt => "s<",
            Self::Sle => "s<=",
            Self::Set => "&",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::FuncId;
    use crate::ir::builder::FunctionBuilder;

    #[test]
    fn programs_have_a_text() {
        let mut b = FunctionBuilder::new("hook", &[Type::Ctx]);
        b.set_source(Some(SourceRef(0)));
        let (none, some) = (b.create_block(), b.create_block());
        let scratch = b.call_runtime_typed("tetra_enter", &[], Type::MapValueOrNull { size: 64 });
        b.branch(CmpOp::Eq, Width::W64, scratch, 0, none, some);
        b.switch_to(some);
        b.set_source(None);
        let file = b.load_typed(b.param(0), 8, Size::B8, false, Type::Trusted(7));
        let flags = b.load_kernel(file, 64, Size::B4, true);
        let masked = b.alu(AluOp::And, Width::W32, flags, 0x8000_0000u32);
        b.store(scratch, 8, Size::B2, masked);
        let slot = b.stack_slot(12);
        let key = b.stack_addr(slot);
        let map = b.map_ref("m");
        b.call_helper(1, &[map.into(), key.into()]);
        b.call_local(FuncId(0), &[1.into()]);
        b.jump(none);
        b.switch_to(none);
        b.ret(0);
        let maps = vec![MapDef {
            name: "m".into(),
            map_type: 1,
            key_size: 4,
            value_size: 8,
            max_entries: 2,
            flags: 1,
        }];
        let program = Program {
            section: "fentry/x".into(),
            functions: vec![b.finish()],
            maps,
            data: vec![super::super::DataDef {
                section: ".rodata.table",
                bytes: vec![1, 2, 3],
            }],
        };
        let expected = "\
program fentry/x
map m: type 1, key 4, value 8, entries 2, flags 0x1
data .rodata.table: 3 bytes

fn hook(v0: ctx) {
    slot0: 16 bytes
b0:
    v1: map_value_or_null(64) = call tetra_enter()  ; @0
    if v1 == 0 goto b1 else b2  ; @0
b1:
    return 0
b2:
    v2: trusted(7) = load u64 v0+8
    v3 = load_kernel s32 v2+64
    v4 = v3 & w32 0x80000000
    store u16 v1+8, v4
    v5: stack = address of slot0
    v6: map = map m
    v7 = call helper 1(v6, v5)
    v8 = call local hook(1)
    goto b1
}
";
        assert_eq!(program.to_string(), expected);
    }
}
