//! Back end: from the IR of a program to a relocatable object.
//!
//! ```text
//!  ir::Function ─ simplify ─ order ─ liveness ─ allocate ─ frame ─ emit ─ jumps ─► FunctionCode
//!                                                                                      │
//!  runtime library (clang) ──────────────────────────────────────────────► link ─► object ─► ELF
//! ```
//!
//! A program is first checked by [`crate::ir::verify`]; one that passes can only be too large ([`CodegenError`]).
//! Output depends on the input alone: same program, same bytes.

use crate::disassemble;
use crate::ir::order::reverse_post_order;
use crate::ir::verify::{VerifyError, verify};
use crate::ir::{BlockId, FuncId, Function, Program};
use crate::isa::Instruction;
use crate::link::{self, LinkError};
use crate::output::{SourceLine, SourceRef};

mod allocate;
mod emit;
mod frame;
mod jumps;
mod liveness;
mod moves;
mod simplify;

#[cfg(test)]
mod tests;

pub(crate) use frame::STACK_SIZE;

/// What the kernel the program is for can do, as far as the back end cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Link with the runtime library for kernels without `bpf_get_current_task_btf` (5.10).
    pub legacy_runtime: bool,
    /// The kernel has `gotol`, jumps with 32-bit offsets (6.6).
    pub jumps32: bool,
}

/// Why a program cannot be turned into an object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodegenError {
    /// The program breaks the rules of the IR.
    #[error("the program is not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<VerifyError>),
    /// A function needs more stack than there is.
    #[error("`{function}` needs {} bytes of stack ({slots} of its own, {spills} for registers), 512 are allowed", slots + spills)]
    FrameTooLarge {
        /// Function.
        function: String,
        /// Bytes of its stack slots.
        slots: u32,
        /// Bytes for values that found no register.
        spills: u32,
    },
    /// A jump is out of reach even through islands.
    #[error("`{function}` has {slots} instructions, a jump in it cannot reach its target")]
    JumpTooFar {
        /// Function.
        function: String,
        /// Its size in slots.
        slots: usize,
    },
    /// An offset into a map value does not fit an instruction.
    #[error("offset {offset} in `{function}` does not fit 32 bits")]
    OffsetTooLarge {
        /// Function.
        function: String,
        /// Offset in bytes.
        offset: i64,
    },
    /// The program could not be linked.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What an instruction refers to by name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Symbol {
    /// A map of the program or the runtime library.
    Map(String),
    /// A function of the runtime library.
    Function(String),
    /// A function of the program.
    Local(FuncId),
}

/// Machine code of one function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FunctionCode {
    /// Symbol name.
    pub(crate) name: String,
    /// Slots.
    pub(crate) instructions: Vec<Instruction>,
    /// References, by slot, ascending.
    pub(crate) references: Vec<(usize, Symbol)>,
    /// Policy line of each slot.
    pub(crate) sources: Vec<Option<SourceRef>>,
    /// Bytes of stack.
    pub(crate) frame_size: u32,
    /// How many parameters it has.
    pub(crate) parameters: usize,
}

/// Compiles a program to a relocatable ELF object, linked with what it calls of the runtime library.
///
/// `source_lines` is what the program's [`SourceRef`]s index.
///
/// # Errors
///
/// See [`CodegenError`].
pub fn compile_program(
    program: Program,
    target: &Target,
    source_lines: &[SourceLine],
) -> Result<Vec<u8>, CodegenError> {
    let runtime = if target.legacy_runtime {
        ebpf::RUNTIME_LEGACY
    } else {
        ebpf::RUNTIME
    };
    compile_with_runtime(program, target, source_lines, runtime)
}

/// As [`compile_program`], with this object as the runtime library.
///
/// # Errors
///
/// See [`CodegenError`].
pub fn compile_with_runtime(
    mut program: Program,
    target: &Target,
    source_lines: &[SourceLine],
    runtime: &[u8],
) -> Result<Vec<u8>, CodegenError> {
    verify(&program).map_err(CodegenError::Invalid)?;
    let functions = compile_functions(std::mem::take(&mut program.functions), *target)?;
    Ok(link::link(&program, &functions, source_lines, runtime)?)
}

/// The text of a program's instructions with the policy lines they come from, for `--emit asm`.
///
/// # Errors
///
/// See [`CodegenError`].
pub fn assembly(program: &Program, target: &Target, source_lines: &[SourceLine]) -> Result<String, CodegenError> {
    verify(program).map_err(CodegenError::Invalid)?;
    let functions = compile_functions(program.functions.clone(), *target)?;
    Ok(disassemble::listing(&functions, program, source_lines))
}

fn compile_functions(functions: Vec<Function>, target: Target) -> Result<Vec<FunctionCode>, CodegenError> {
    functions
        .into_iter()
        .map(|function| compile_function(function, target))
        .collect()
}

pub(crate) fn compile_function(function: Function, target: Target) -> Result<FunctionCode, CodegenError> {
    let parameters = function.params.len();
    let function = simplify::simplify(function);
    let order = reverse_post_order(&function);
    let liveness = liveness::analyze(&function, &order);
    let allocation = allocate::allocate(&function, &order, &liveness);
    let frame = frame::Frame::new(&function, &order, &allocation)?;
    let emitted = emit::emit(&function, &layout(&function, &order), &liveness, &allocation, &frame)?;
    let code = jumps::resolve(&function.name, &emitted, frame.size, target.jumps32)?;
    Ok(FunctionCode { parameters, ..code })
}

/// Order of blocks in memory: by region, and there the colder, the later.
fn layout(function: &Function, order: &[BlockId]) -> Vec<BlockId> {
    let mut layout = order.to_vec();
    // stable: among equals the order stays
    layout.sort_by_key(|id| {
        let block = &function.blocks[id.0 as usize];
        (block.region, block.coldness)
    });
    layout
}
