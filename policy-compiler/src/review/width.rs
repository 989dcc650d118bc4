//! Arguments that a policy reads wider than the kernel passes them.

use crate::btf::{Kind, TypeId};
use crate::codes;
use crate::hir::{Argument, OperandSource, Target};
use crate::resolve::integer_width;

use super::{Finding, Subject};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let hook = subject.hook;
    for argument in hook.arguments.iter().chain(&hook.returned) {
        if let Some(finding) = too_wide(subject, argument) {
            findings.push(finding);
        }
    }
}

fn too_wide(subject: &Subject<'_>, argument: &Argument) -> Option<Finding> {
    let btf = &*subject.facts.btf;
    let (wanted, _) = integer_width(argument.operand.argument_type)?;
    let kernel_type = kernel_type(subject, &argument.operand.source)?;
    let resolved = btf.resolve(kernel_type);
    if !matches!(btf.kind(resolved), Kind::Int { .. } | Kind::Enum { .. }) {
        return None;
    }
    let bits = btf.size(resolved)?.checked_mul(8)?;
    if bits >= wanted {
        return None;
    }
    let (what, fitting) = (
        btf.c_declaration(kernel_type),
        if bits == 32 {
            "int` or `uint32"
        } else {
            "uint8` or `uint16"
        },
    );
    Some(Finding::warning(
        codes::TYPE_TOO_WIDE,
        subject.span(&argument.line),
        format!(
            "the kernel's `{what}` has {bits} bits, the policy reads {wanted}: the upper ones are undefined, and negative numbers look positive"
        ),
        format!("read it as `{fitting}`"),
    ))
}

/// The kernel's type of a parameter or result, where it is known.
fn kernel_type(subject: &Subject<'_>, source: &OperandSource) -> Option<TypeId> {
    let btf = &*subject.facts.btf;
    let prototype = match &subject.hook.target {
        Target::Function(symbol) => btf.function(symbol)?.proto,
        Target::Lsm(hook) => btf.function(&format!("bpf_lsm_{hook}"))?.proto,
        // syscalls are wrapped, tracepoints are read with the width of their fields, user binaries have no types here
        Target::Syscall(_) | Target::Tracepoint(..) | Target::RawTracepoint(..) | Target::User(_) => return None,
    };
    let prototype = btf.prototype(prototype);
    match source {
        OperandSource::Parameter(index) => prototype.params.get(*index as usize).map(|p| p.type_id),
        OperandSource::Return => Some(prototype.return_type),
        OperandSource::Field { .. }
        | OperandSource::Probe(_)
        | OperandSource::Chain(_)
        | OperandSource::Buffer(_)
        | OperandSource::Register { .. }
        | OperandSource::Executable => None,
    }
}
