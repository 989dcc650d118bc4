//! Numbers of the kernel's constants, by name or number, as filters give them.

use tracingpolicy_crd::value;

fn number_or_name(text: &str, names: &[(&str, u64)]) -> Option<u16> {
    let number = value::integer(text).or_else(|| value::lookup(text, names).map(i128::from))?;
    u16::try_from(number).ok()
}

/// IP protocol.
pub(super) fn protocol(text: &str) -> Option<u16> {
    number_or_name(text, value::PROTOCOLS)
}

/// Address family.
pub(super) fn family(text: &str) -> Option<u16> {
    number_or_name(text, value::ADDRESS_FAMILIES)
}

/// TCP state.
pub(super) fn state(text: &str) -> Option<u16> {
    number_or_name(text, value::TCP_STATES)
}

/// Type of a file: its bits of the mode.
pub(super) fn file_type(text: &str) -> Option<u16> {
    u16::try_from(value::lookup(text, value::FILE_TYPES)?).ok()
}

/// A name of a type of files.
pub(crate) fn file_type_name(bits: u16) -> &'static str {
    let named = value::FILE_TYPES.iter().find(|(_, of)| *of == u64::from(bits));
    named.map_or("unknown", |(name, _)| name)
}
