//! CO-RE relocations: what an instruction needs to know of the running kernel's types.
//!
//! A relocation names a type of the object's own BTF and a path into it (`0:2:1`: element 0, member 2, member 1). The path is
//! repeated by *names* in the type of the same name of the kernel's BTF, and the instruction gets the offset, size or existence
//! found there. What follows `___` in a name (`task_struct___old`) is not part of it: several forms of a type may be described
//! side by side, and the program asks which one exists.
//!
//! Source: `tools/lib/bpf/relo_core.c`, whose rules of compatibility are kept.

use policy_compiler::btf::ext::CoreRelocation;
use policy_compiler::btf::{Btf, Kind, MAX_DEPTH, Member, TypeId};

use crate::sys::Instruction;

/// Why a relocation cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// A path that its own type does not have.
    #[error("access `{0}` does not fit its type")]
    BadAccess(String),
    /// A kind of relocation that is not known.
    #[error("kind {0} is not supported")]
    UnknownKind(u32),
    /// The kernel has several types of this name, and they disagree.
    #[error("the kernel's types named `{0}` disagree")]
    Ambiguous(String),
    /// The instruction cannot hold the value.
    #[error("opcode {code:#04x} cannot take the value {value}")]
    BadInstruction {
        /// Its operation.
        code: u8,
        /// The value.
        value: u64,
    },
}

const FIELD_BYTE_OFFSET: u32 = 0;
const FIELD_BYTE_SIZE: u32 = 1;
const FIELD_EXISTS: u32 = 2;
const FIELD_SIGNED: u32 = 3;
const FIELD_LSHIFT_U64: u32 = 4;
const FIELD_RSHIFT_U64: u32 = 5;
const TYPE_ID_LOCAL: u32 = 6;
const TYPE_ID_TARGET: u32 = 7;
const TYPE_EXISTS: u32 = 8;
const TYPE_SIZE: u32 = 9;
const ENUM_VALUE_EXISTS: u32 = 10;
const ENUM_VALUE: u32 = 11;

/// A helper that does not exist: the verifier refuses the instruction where it can be reached, and names this number.
const POISON: i32 = 0x0bad_2310;

/// A step of a path that is compared by name.
enum Step<'a> {
    Member(&'a str),
    Element(u32),
}

/// Where a path leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    type_id: TypeId,
    bit_offset: u32,
    bitfield_size: Option<u32>,
}

/// The answer for one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// The value, and the size of the access if it is a plain field.
    Value(u64, Option<u32>),
    /// The kernel has no such thing.
    Missing,
}

/// Makes one relocation; `code` starts at the instruction.
pub(super) fn apply(
    local: &Btf,
    kernel: &Btf,
    relocation: &CoreRelocation,
    code: &mut [Instruction],
) -> Result<(), CoreError> {
    let answer = answer(local, kernel, relocation)?;
    let own_size = if relocation.kind == FIELD_BYTE_OFFSET {
        field(local, relocation)?.and_then(|field| local.size(field.type_id))
    } else {
        None
    };
    patch(code, answer, own_size)
}

fn answer(local: &Btf, kernel: &Btf, relocation: &CoreRelocation) -> Result<Answer, CoreError> {
    match relocation.kind {
        FIELD_BYTE_OFFSET..=FIELD_RSHIFT_U64 => field_answer(local, kernel, relocation),
        TYPE_ID_LOCAL => Ok(Answer::Value(u64::from(relocation.type_id.0), None)),
        TYPE_ID_TARGET | TYPE_EXISTS | TYPE_SIZE => {
            let found = candidates(local, kernel, relocation.type_id).next();
            Ok(match (relocation.kind, found) {
                (TYPE_EXISTS, found) => Answer::Value(u64::from(found.is_some()), None),
                (TYPE_SIZE, Some(id)) => Answer::Value(u64::from(kernel.size(id).unwrap_or(0)), None),
                (_, Some(id)) => Answer::Value(u64::from(id.0), None),
                (_, None) => Answer::Missing,
            })
        }
        ENUM_VALUE_EXISTS | ENUM_VALUE => enum_answer(local, kernel, relocation),
        kind => Err(CoreError::UnknownKind(kind)),
    }
}

fn enum_answer(local: &Btf, kernel: &Btf, relocation: &CoreRelocation) -> Result<Answer, CoreError> {
    let access = local.string(relocation.access);
    let bad = || CoreError::BadAccess(access.to_owned());
    let index: usize = access.parse().map_err(|_| bad())?;
    let wanted = local.enum_values(relocation.type_id).nth(index).ok_or_else(bad)?;
    let wanted = essential(wanted.name);
    let found = candidates(local, kernel, relocation.type_id).find_map(|id| {
        kernel
            .enum_values(id)
            .find(|value| essential(value.name) == wanted)
            .map(|value| value.value)
    });
    Ok(match (relocation.kind, found) {
        (ENUM_VALUE_EXISTS, found) => Answer::Value(u64::from(found.is_some()), None),
        (_, Some(value)) => Answer::Value(value as u64, None),
        (_, None) => Answer::Missing,
    })
}

fn field_answer(local: &Btf, kernel: &Btf, relocation: &CoreRelocation) -> Result<Answer, CoreError> {
    let (first, steps) = steps(local, relocation)?;
    let Some(own) = field(local, relocation)? else {
        return Err(CoreError::BadAccess(local.string(relocation.access).to_owned()));
    };
    let mut result: Option<Answer> = None;
    for candidate in candidates(local, kernel, relocation.type_id) {
        let Some(found) = walk(kernel, candidate, first, &steps) else {
            continue;
        };
        if !compatible(local, own.type_id, kernel, found.type_id, MAX_DEPTH) {
            continue;
        }
        let answer = describe(kernel, found, relocation.kind);
        match result {
            None => result = Some(answer),
            Some(other) if other == answer => {}
            Some(_) => return Err(CoreError::Ambiguous(local.name(relocation.type_id).to_owned())),
        }
    }
    Ok(result.unwrap_or(if relocation.kind == FIELD_EXISTS {
        Answer::Value(0, None)
    } else {
        Answer::Missing
    }))
}

/// The value asked for, of a field that exists.
fn describe(btf: &Btf, field: Field, kind: u32) -> Answer {
    let type_size = btf.size(field.type_id);
    let size = type_size.unwrap_or(0);
    let bits = field.bitfield_size.unwrap_or(size.saturating_mul(8));
    let (byte_offset, unit) = if field.bitfield_size.is_some() {
        storage_unit(field.bit_offset, bits, size)
    } else {
        (field.bit_offset / 8, size)
    };
    let value = match kind {
        FIELD_EXISTS => 1,
        FIELD_BYTE_OFFSET => {
            let plain = if field.bitfield_size.is_some() { None } else { type_size };
            return Answer::Value(u64::from(byte_offset), plain);
        }
        FIELD_BYTE_SIZE => unit,
        FIELD_SIGNED => u32::from(match btf.kind(btf.resolve(field.type_id)) {
            Kind::Int { signed, .. } | Kind::Enum { signed, .. } => signed,
            _ => false,
        }),
        // Left so far that the field's highest bit is bit 63, then right so far that its lowest is bit 0.
        FIELD_LSHIFT_U64 => 64u32.saturating_sub(bits.saturating_add(field.bit_offset - byte_offset * 8)),
        _ => 64u32.saturating_sub(bits),
    };
    Answer::Value(u64::from(value), None)
}

/// The aligned word that holds a bit field: its byte offset and size.
fn storage_unit(bit_offset: u32, bits: u32, type_size: u32) -> (u32, u32) {
    let mut unit = type_size.max(1);
    loop {
        let byte_offset = bit_offset / 8 / unit * unit;
        if (bit_offset - byte_offset * 8).saturating_add(bits) <= unit.saturating_mul(8) || unit >= 8 {
            return (byte_offset, unit);
        }
        unit *= 2;
    }
}

/// The path of a relocation: the element of the outermost type, and the named steps. Anonymous structs are stepped through
/// without a name, because they may stand elsewhere in the kernel.
fn steps<'a>(local: &'a Btf, relocation: &CoreRelocation) -> Result<(u32, Vec<Step<'a>>), CoreError> {
    let access = local.string(relocation.access);
    let bad = || CoreError::BadAccess(access.to_owned());
    let mut numbers = access.split(':').map(|part| part.parse::<u32>().map_err(|_| bad()));
    let first = numbers.next().ok_or_else(bad)??;
    let mut current = local.resolve(relocation.type_id);
    let mut steps = Vec::new();
    for number in numbers {
        let number = number?;
        match local.kind(current) {
            Kind::Struct { .. } | Kind::Union { .. } => {
                let member = local.members(current).nth(number as usize).ok_or_else(bad)?;
                if !member.name.is_empty() {
                    steps.push(Step::Member(member.name));
                }
                current = local.resolve(member.type_id);
            }
            Kind::Array { element, .. } => {
                steps.push(Step::Element(number));
                current = local.resolve(element);
            }
            _ => return Err(bad()),
        }
    }
    Ok((first, steps))
}

/// Where the path of a relocation leads in the object's own types.
fn field(local: &Btf, relocation: &CoreRelocation) -> Result<Option<Field>, CoreError> {
    let (first, steps) = steps(local, relocation)?;
    Ok(walk(local, local.resolve(relocation.type_id), first, &steps))
}

/// Follows a path by names.
fn walk(btf: &Btf, root: TypeId, first: u32, steps: &[Step<'_>]) -> Option<Field> {
    let mut field = Field {
        type_id: root,
        bit_offset: 0,
        bitfield_size: None,
    };
    if first != 0 {
        field.bit_offset = btf.size(root)?.checked_mul(first)?.checked_mul(8)?;
    }
    for step in steps {
        let current = btf.resolve(field.type_id);
        match step {
            Step::Member(name) => {
                let member: Member<'_> = btf.member(current, name)?;
                field = Field {
                    type_id: member.type_id,
                    bit_offset: field.bit_offset.checked_add(member.bit_offset)?,
                    bitfield_size: member.bitfield_size,
                };
            }
            Step::Element(index) => {
                let Kind::Array { element, count } = btf.kind(current) else {
                    return None;
                };
                // A flexible array at the end of a struct has no bound.
                if count != 0 && *index >= count {
                    return None;
                }
                let offset = btf.size(element)?.checked_mul(*index)?.checked_mul(8)?;
                field = Field {
                    type_id: element,
                    bit_offset: field.bit_offset.checked_add(offset)?,
                    bitfield_size: None,
                };
            }
        }
    }
    Some(field)
}

/// Types of the kernel with the same essential name and kind.
fn candidates<'a>(local: &'a Btf, kernel: &'a Btf, id: TypeId) -> impl Iterator<Item = TypeId> + 'a {
    let named = named_type(local, id);
    let kind = discriminant(local.kind(named));
    kernel
        .ids_by_name(essential(local.name(named)))
        .filter(move |candidate| discriminant(kernel.kind(*candidate)) == kind)
}

/// Strips qualifiers, and typedefs of what has a name of its own.
fn named_type(btf: &Btf, id: TypeId) -> TypeId {
    let resolved = btf.resolve(id);
    if btf.name(resolved).is_empty() { id } else { resolved }
}

/// A number for each kind that may be compared by name.
fn discriminant(kind: Kind<'_>) -> u8 {
    match kind {
        Kind::Struct { .. } => 1,
        Kind::Union { .. } => 2,
        Kind::Enum { .. } => 3,
        Kind::Int { .. } => 4,
        Kind::Typedef(_) => 5,
        Kind::Func(_) => 6,
        Kind::Fwd { .. } => 7,
        _ => 0,
    }
}

/// The name without `___flavour`.
fn essential(name: &str) -> &str {
    match name.find("___") {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// Whether a field of one type may be read as the other: same kind, integers of any size.
fn compatible(local: &Btf, own: TypeId, kernel: &Btf, theirs: TypeId, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let (own, theirs) = (local.resolve(own), kernel.resolve(theirs));
    match (local.kind(own), kernel.kind(theirs)) {
        (Kind::Struct { .. } | Kind::Union { .. }, Kind::Struct { .. } | Kind::Union { .. })
        | (Kind::Ptr(_), Kind::Ptr(_))
        | (Kind::Int { .. }, Kind::Int { .. })
        | (Kind::Float(_), Kind::Float(_)) => true,
        (Kind::Enum { .. }, Kind::Enum { .. }) | (Kind::Fwd { .. }, Kind::Fwd { .. }) => {
            let (a, b) = (essential(local.name(own)), essential(kernel.name(theirs)));
            a.is_empty() || b.is_empty() || a == b
        }
        (Kind::Array { element: a, .. }, Kind::Array { element: b, .. }) => compatible(local, a, kernel, b, depth),
        _ => false,
    }
}

const CLASS_MASK: u8 = 0x07;
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const ALU64: u8 = 7;
const SIZE_MASK: u8 = 0x18;

fn patch(code: &mut [Instruction], answer: Answer, own_size: Option<u32>) -> Result<(), CoreError> {
    let Some(instruction) = code.first().copied() else {
        return Err(CoreError::BadInstruction { code: 0, value: 0 });
    };
    let wide = instruction.code == 0x18;
    let Answer::Value(value, size) = answer else {
        let poison = Instruction {
            code: 0x85,
            registers: 0,
            offset: 0,
            immediate: POISON,
        };
        code.iter_mut()
            .take(if wide { 2 } else { 1 })
            .for_each(|slot| *slot = poison);
        return Ok(());
    };
    let bad = CoreError::BadInstruction {
        code: instruction.code,
        value,
    };
    match instruction.code & CLASS_MASK {
        ALU | ALU64 if instruction.code & 0x08 == 0 => {
            code[0].immediate = u32::try_from(value).map_err(|_| bad)? as i32;
        }
        LDX | ST | STX => {
            code[0].offset = i16::try_from(value).map_err(|_| bad.clone())?;
            if let (Some(own), Some(kernel)) = (own_size, size)
                && own != kernel
                && own <= 8
            {
                // The field has grown or shrunk since: load as much as there is.
                let width = match kernel {
                    8 => 0x18,
                    4 => 0x00,
                    2 => 0x08,
                    1 => 0x10,
                    _ => return Err(bad),
                };
                code[0].code = (instruction.code & !SIZE_MASK) | width;
            }
        }
        LD if wide && code.len() > 1 => {
            code[0].immediate = value as u32 as i32;
            code[1].immediate = (value >> 32) as u32 as i32;
        }
        _ => return Err(bad),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_not_part_of_a_name() {
        assert_eq!(essential("task_struct___old"), "task_struct");
        assert_eq!(essential("task_struct"), "task_struct");
        assert_eq!(essential("___x"), "___x");
    }

    #[test]
    fn bit_fields_are_loaded_by_the_word_that_holds_them() {
        assert_eq!(storage_unit(35, 3, 4), (4, 4));
        assert_eq!(storage_unit(30, 4, 4), (0, 8));
        assert_eq!(storage_unit(9, 2, 1), (1, 1));
    }

    #[test]
    fn a_missing_field_poisons_the_instruction() {
        let mut code = [Instruction::from_bytes([0x61, 0x10, 0, 0, 0, 0, 0, 0])];
        patch(&mut code, Answer::Missing, None).expect("poison");
        assert_eq!((code[0].code, code[0].immediate), (0x85, POISON));
    }

    #[test]
    fn a_load_follows_offset_and_size_of_the_kernel() {
        let mut code = [Instruction::from_bytes([0x61, 0x10, 4, 0, 0, 0, 0, 0])];
        patch(&mut code, Answer::Value(40, Some(8)), Some(4)).expect("load");
        assert_eq!((code[0].code, code[0].offset), (0x79, 40));
    }
}
