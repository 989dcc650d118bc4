//! Reading the arguments of a hook, each attach type in its own way.
//!
//! | attach point | where the arguments are |
//! |---|---|
//! | fentry, fexit, fmod_ret, LSM, tp_btf, raw_tp | 8-byte slots of the context; after them the result (fexit) |
//! | the same on a syscall's wrapper | slot 0 points to the user's registers |
//! | kprobe | the context is the registers of the call |
//! | uprobe | the context is the user's registers at the place |
//! | kprobe on a syscall's wrapper | its first argument points to the user's registers, which are copied |
//! | `syscalls/sys_enter_*` | 8-byte slots after a header of 16 bytes |
//! | `syscalls/sys_exit_*`, kretprobe of a syscall | the user's registers of the current task, which are copied |
//!
//! Calling conventions: System V ABI for x86-64 (`Documentation/arch/x86/entry_64.rst` for syscalls).

use crate::binary::{ArgumentPlace, ProbeArgument};
use crate::btf::{Kind, TypeId};
use crate::hir::{ChainStart, Operand, OperandSource};
use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Type, Value, Width};
use crate::output::AttachPoint;
use crate::plan::HookPlan;

use super::{GenerateError, Generator, helper};

/// 8-byte words of `struct pt_regs` on x86-64.
pub(super) const PT_REGS_WORDS: usize = 21;

/// Registers of a C function's arguments.
const FUNCTION_REGISTERS: [&str; 6] = ["di", "si", "dx", "cx", "r8", "r9"];
/// Registers of a syscall's arguments.
const SYSCALL_REGISTERS: [&str; 6] = ["di", "si", "dx", "r10", "r8", "r9"];
/// Register of a function's result.
const RESULT_REGISTER: &str = "ax";

/// Bytes before the arguments in the record of a syscall tracepoint: common fields and the number.
const SYSCALL_TRACEPOINT_HEADER: i32 = 16;

/// How arguments are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Convention {
    Slots,
    TrustedRegisters,
    ContextRegisters,
    CopiedRegisters,
    SyscallTracepoint,
    Fields,
}

fn convention(plan: &HookPlan) -> Convention {
    let syscall = plan.is_syscall();
    match &plan.attach {
        AttachPoint::Fentry { .. } | AttachPoint::Fexit { .. } | AttachPoint::FmodRet { .. } if syscall => {
            Convention::TrustedRegisters
        }
        AttachPoint::Kprobe { .. }
        | AttachPoint::Kretprobe { .. }
        | AttachPoint::KprobeMulti { .. }
        | AttachPoint::KretprobeMulti { .. }
            if syscall =>
        {
            Convention::CopiedRegisters
        }
        AttachPoint::Kprobe { .. }
        | AttachPoint::Kretprobe { .. }
        | AttachPoint::KprobeMulti { .. }
        | AttachPoint::KretprobeMulti { .. }
        | AttachPoint::Uprobe { .. }
        | AttachPoint::Uretprobe { .. } => Convention::ContextRegisters,
        AttachPoint::Tracepoint { event, .. } if syscall && event.starts_with("sys_exit_") => {
            Convention::CopiedRegisters
        }
        AttachPoint::Tracepoint { .. } if syscall => Convention::SyscallTracepoint,
        AttachPoint::Tracepoint { .. } => Convention::Fields,
        _ => Convention::Slots,
    }
}

/// Whether the program copies the user's registers into its frame.
pub(super) fn copies_registers(plan: &HookPlan) -> bool {
    convention(plan) == Convention::CopiedRegisters
        && plan
            .instances
            .iter()
            .filter(|i| !i.only_finishes())
            .flat_map(|i| i.hook.operands())
            .any(|o| matches!(o.source, OperandSource::Parameter(_) | OperandSource::Buffer(_)))
}

impl Generator<'_> {
    /// Copies the user's registers into the frame; leaves if they cannot be read.
    pub(super) fn copy_registers(&mut self, place: i32, leave: BlockId) -> Result<(), GenerateError> {
        let address = match &self.plan.attach {
            AttachPoint::Kprobe { .. } | AttachPoint::KprobeMulti { .. } => {
                let offset = self.register("di")?;
                self.b.load(self.ctx, offset, Size::B8)
            }
            _ => {
                // the registers of a syscall stay on the kernel stack until it returns to the user
                let task = self.member_type("task_struct")?;
                let task = self
                    .b
                    .call_helper_typed(helper::GET_CURRENT_TASK_BTF, &[], Type::Trusted(task.0));
                let registers = self.member_type("pt_regs")?;
                self.b
                    .call_helper_typed(helper::TASK_PT_REGS, &[task.into()], Type::Trusted(registers.0))
            }
        };
        let into = self.b.alu_typed(
            AluOp::Add,
            Width::W64,
            self.scratch,
            place,
            Type::MapValue {
                size: PT_REGS_WORDS as u32 * 8,
            },
        );
        let args = [
            IrOperand::Value(into),
            (PT_REGS_WORDS as u32 * 8).into(),
            address.into(),
        ];
        let failed = self.b.call_helper(helper::PROBE_READ_KERNEL, &args);
        self.require(CmpOp::Eq, failed, 0, leave);
        Ok(())
    }

    /// The 8 bytes of an operand as the hook has them: a number, or an address.
    pub(super) fn raw(&mut self, operand: &Operand) -> Result<Value, GenerateError> {
        match &operand.source {
            OperandSource::Parameter(index) => self.parameter(operand, *index as usize),
            OperandSource::Field { offset, size, signed } => {
                let size = Size::from_bytes(*size)
                    .ok_or_else(|| GenerateError::MissingType(format!("field of {size} bytes")))?;
                Ok(self.b.load_typed(self.ctx, *offset as i32, size, *signed, Type::Scalar))
            }
            OperandSource::Probe(argument) => self.probe_argument(operand, *argument),
            OperandSource::Chain(_) => Ok(self.loaded(operand)),
            OperandSource::Register { register, shift, size } => self.call_register(register, *shift, *size),
            OperandSource::Buffer(buffer) => self.raw(&buffer.address),
            OperandSource::Return => self.returned(),
            OperandSource::Executable => Ok(self.b.const_(0)),
        }
    }

    /// A register of the call, or a part of one, zero-extended.
    fn call_register(&mut self, register: &str, shift: u8, size: u32) -> Result<Value, GenerateError> {
        if convention(self.plan) != Convention::ContextRegisters {
            return Err(GenerateError::MissingType(format!("pt_regs.{register}")));
        }
        let offset = self.register(register)?;
        let whole = self.b.load(self.ctx, offset, Size::B8);
        let bits = i64::from(size) * 8;
        if bits == 64 {
            return Ok(whole);
        }
        let high = self.b.alu(AluOp::Lsh, Width::W64, whole, 64 - bits - i64::from(shift));
        Ok(self.b.alu(AluOp::Rsh, Width::W64, high, 64 - bits))
    }

    /// The address that a chain begins with.
    pub(super) fn chain_start(&mut self, operand: &Operand, start: ChainStart) -> Result<Value, GenerateError> {
        match start {
            ChainStart::Parameter(index) => self.parameter(operand, index as usize),
            ChainStart::CurrentTask => Ok(self.b.call_helper(helper::GET_CURRENT_TASK, &[])),
        }
    }

    fn parameter(&mut self, operand: &Operand, index: usize) -> Result<Value, GenerateError> {
        match convention(self.plan) {
            Convention::Slots => {
                let value_type = self.slot_type(operand, index);
                Ok(self
                    .b
                    .load_typed(self.ctx, index as i32 * 8, Size::B8, false, value_type))
            }
            Convention::TrustedRegisters => {
                let registers = self.member_type("pt_regs")?;
                let registers = self
                    .b
                    .load_typed(self.ctx, 0, Size::B8, false, Type::Trusted(registers.0));
                let offset = self.register(SYSCALL_REGISTERS[index])?;
                Ok(self.b.load_kernel(registers, offset, Size::B8, false))
            }
            Convention::ContextRegisters => {
                let offset = self.register(FUNCTION_REGISTERS[index])?;
                Ok(self.b.load(self.ctx, offset, Size::B8))
            }
            Convention::CopiedRegisters => {
                let offset = self.register(SYSCALL_REGISTERS[index])?;
                let place = self.places.registers.unwrap_or_default();
                Ok(self.frame_load(place + offset, Size::B8))
            }
            Convention::SyscallTracepoint => {
                Ok(self
                    .b
                    .load(self.ctx, SYSCALL_TRACEPOINT_HEADER + index as i32 * 8, Size::B8))
            }
            Convention::Fields => Err(GenerateError::MissingType("parameter of a tracepoint".into())),
        }
    }

    /// An argument of a static probe, extended to 64 bits from its own size.
    fn probe_argument(&mut self, operand: &Operand, argument: ProbeArgument) -> Result<Value, GenerateError> {
        let bits = i64::from(argument.size) * 8;
        let (whole, shift) = match argument.place {
            ArgumentPlace::Constant(number) => return Ok(self.b.const_(number)),
            ArgumentPlace::Register { register, shift } => {
                let offset = self.register(register)?;
                (self.b.load(self.ctx, offset, Size::B8), shift)
            }
            ArgumentPlace::Memory { .. } => (self.loaded(operand), 0),
        };
        let unused = 64 - bits - i64::from(shift);
        if bits == 64 {
            return Ok(whole);
        }
        let high = self.b.alu(AluOp::Lsh, Width::W64, whole, unused);
        let extend = if argument.signed { AluOp::Arsh } else { AluOp::Rsh };
        Ok(self.b.alu(extend, Width::W64, high, 64 - bits))
    }

    fn returned(&mut self) -> Result<Value, GenerateError> {
        match &self.plan.attach {
            AttachPoint::Fexit { function } => {
                let facts = self.facts;
                let proto = facts
                    .btf
                    .function(function)
                    .ok_or_else(|| GenerateError::MissingType(function.clone()))?
                    .proto;
                let params = facts.btf.prototype(proto).params.len();
                Ok(self.b.load(self.ctx, params as i32 * 8, Size::B8))
            }
            AttachPoint::Kretprobe { .. } | AttachPoint::KretprobeMulti { .. } | AttachPoint::Uretprobe { .. } => {
                let offset = self.register(RESULT_REGISTER)?;
                Ok(self.b.load(self.ctx, offset, Size::B8))
            }
            AttachPoint::Tracepoint { .. } => Ok(self.b.load(self.ctx, SYSCALL_TRACEPOINT_HEADER, Size::B8)),
            other => Err(GenerateError::MissingType(format!("result at {other:?}"))),
        }
    }

    /// Whether [`Self::raw`] gives a trusted pointer.
    pub(super) fn is_trusted(&self, operand: &Operand) -> bool {
        match (convention(self.plan), &operand.source) {
            (Convention::Slots, OperandSource::Parameter(index)) => {
                matches!(self.slot_type(operand, *index as usize), Type::Trusted(_))
            }
            _ => false,
        }
    }

    /// Type of a context slot: a trusted pointer where the kernel's type is exactly the one meant.
    fn slot_type(&self, operand: &Operand, index: usize) -> Type {
        if !operand.exact_type || matches!(self.plan.attach, AttachPoint::RawTracepoint { .. }) {
            return Type::Scalar;
        }
        let btf = &*self.facts.btf;
        match self.slot(index).map(|id| btf.kind(btf.resolve(id))) {
            Some(Kind::Ptr(target)) => Type::Trusted(btf.resolve(target).0),
            _ => Type::Scalar,
        }
    }

    /// The kernel's type of what is in a context slot.
    fn slot(&self, index: usize) -> Option<TypeId> {
        let btf = &*self.facts.btf;
        let prototype = match &self.plan.attach {
            AttachPoint::Fentry { function } | AttachPoint::Fexit { function } | AttachPoint::FmodRet { function } => {
                btf.function(function).map(|f| f.proto)
            }
            AttachPoint::Lsm { hook } => btf.function(&format!("bpf_lsm_{hook}")).map(|f| f.proto),
            AttachPoint::TpBtf { event } => btf.typedef(&format!("btf_trace_{event}")).and_then(|id| {
                let Kind::Ptr(proto) = btf.kind(btf.resolve(id)) else {
                    return None;
                };
                Some(proto)
            }),
            _ => None,
        };
        let skipped = usize::from(matches!(self.plan.attach, AttachPoint::TpBtf { .. }));
        prototype.and_then(|p| btf.prototype(p).params.get(index + skipped).map(|p| p.type_id))
    }

    /// Whether a number is a pointer to the verifier, with which it lets no program calculate.
    pub(super) fn is_pointer(&self, operand: &Operand) -> bool {
        let btf = &*self.facts.btf;
        let of_type = match (&operand.source, &self.plan.attach) {
            (_, AttachPoint::RawTracepoint { .. }) => None,
            (OperandSource::Parameter(index), _) if convention(self.plan) == Convention::Slots => {
                self.slot(*index as usize)
            }
            (OperandSource::Return, AttachPoint::Fexit { function }) => {
                let function = btf.function(function);
                function.map(|function| btf.prototype(function.proto).return_type)
            }
            _ => None,
        };
        let Some(Kind::Ptr(target)) = of_type.map(|id| btf.kind(btf.resolve(id))) else {
            return false;
        };
        matches!(
            btf.kind(btf.resolve(target)),
            Kind::Struct { .. } | Kind::Union { .. } | Kind::Fwd { .. }
        )
    }

    /// The 8 bytes of a number. One that is a pointer to the verifier goes through memory, which makes it a number.
    pub(super) fn raw_number(&mut self, operand: &Operand) -> Result<Value, GenerateError> {
        let raw = self.raw(operand)?;
        if !self.is_pointer(operand) {
            return Ok(raw);
        }
        self.frame_store(self.places.pointer, Size::B8, raw);
        Ok(self.frame_load(self.places.pointer, Size::B8))
    }

    /// Offset of a register in `struct pt_regs`.
    pub(super) fn register(&self, name: &str) -> Result<i32, GenerateError> {
        self.offset("pt_regs", name)
    }

    /// Byte offset of a member of a kernel struct.
    pub(super) fn offset(&self, of: &str, member: &str) -> Result<i32, GenerateError> {
        let btf = &*self.facts.btf;
        btf.struct_by_name(of)
            .and_then(|id| btf.member(id, member))
            .map(|m| m.byte_offset() as i32)
            .ok_or_else(|| GenerateError::MissingType(format!("{of}.{member}")))
    }

    /// Id of a kernel struct.
    pub(super) fn member_type(&self, name: &str) -> Result<TypeId, GenerateError> {
        self.facts
            .btf
            .struct_by_name(name)
            .ok_or_else(|| GenerateError::MissingType(name.into()))
    }
}
