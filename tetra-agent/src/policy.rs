//! Policy records become events: which template describes a record, what its arguments mean, which halves belong together.
//!
//! Sans-I/O. Every record that comes in leaves as an event, as half of one, or counted in its policy's [`Account`].

mod account;
mod argument;
mod buffers;
mod pairing;
mod registry;
mod stack;

pub use account::{Account, AccountSnapshot, Counter};
pub use buffers::{BufferKey, Buffers};
pub use pairing::{Half, Pairs};
pub use policy_compiler::output::{ArgumentTemplate, ArgumentType, EventTemplate, HookKind};
pub use registry::{Registry, Template};
pub use stack::StackTraces;
use tetra_api::tetragon::KprobeArgument;

use crate::record::{PolicyRecord, flag};

/// Why a policy record did not become an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// No object with this tag is or was recently loaded.
    #[error("record of unknown object {0:#x}")]
    UnknownObject(u32),
    /// The object has no such template.
    #[error("record of object {tag:#x} names template {index}, which it does not have")]
    UnknownTemplate {
        /// `record_policy.object_tag`
        tag: u32,
        /// `record_policy.template_index`
        index: u16,
    },
    /// The arguments are not those of the template.
    #[error("arguments of a record of policy do not fit its template")]
    Arguments,
}

/// Arguments of a record.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DecodedArguments {
    /// Those of the call.
    pub arguments: Vec<KprobeArgument>,
    /// What else the hook reads (`data`).
    pub data: Vec<KprobeArgument>,
    /// The return value.
    pub return_value: Option<KprobeArgument>,
}

/// Decodes the arguments of a record by its template.
///
/// A record may carry fewer arguments than the template has: a first half lacks the last ones (the return value), a second
/// half the first ones. `buffers` has what came before it of buffers that are too long for it.
///
/// # Errors
/// [`DecodeError::Arguments`] if there are more than the template has, or the bytes don't fit.
pub fn decode_arguments(
    template: &EventTemplate,
    record: &PolicyRecord<'_>,
    buffers: &mut Buffers,
) -> Result<DecodedArguments, DecodeError> {
    let described = &template.arguments;
    let count = record.argument_count as usize;
    let missing = described.len().checked_sub(count).ok_or(DecodeError::Arguments)?;
    let skipped = if record.flags & flag::RECORD_FLAG_RETURN != 0 {
        missing
    } else {
        0
    };
    let return_index = template.has_return.then(|| described.len().saturating_sub(1));

    let mut decoded = DecodedArguments {
        arguments: Vec::with_capacity(count),
        ..DecodedArguments::default()
    };
    let mut whole = |place| {
        buffers.take(BufferKey {
            tid: record.tid,
            time: record.time,
            place,
        })
    };
    let mut payloads = record.arguments.clone();
    for (index, described) in described.iter().enumerate().skip(skipped).take(count) {
        let argument = payloads.next().ok_or(DecodeError::Arguments)?;
        let Some(message) = argument::decode(described, argument, &mut whole).ok_or(DecodeError::Arguments)? else {
            continue;
        };
        if Some(index) == return_index {
            decoded.return_value = Some(message);
        } else if described.is_data {
            decoded.data.push(message);
        } else {
            decoded.arguments.push(message);
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
