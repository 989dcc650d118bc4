//! What calls pass: numbers, strings and addresses as they stand in memory, and what filters see of them.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use policy_compiler::hir::{Operand, OperandSource};
use policy_compiler::interpret::{Sockaddr, Value};
use policy_compiler::output::ArgumentType;

use super::recipe;

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

/// A number at an edge of widths and signs.
pub(crate) fn number(choice: u16) -> u64 {
    recipe::NUMBERS[choice as usize % recipe::NUMBERS.len()] as u64
}

/// What is left of a value in a field of a tracepoint's record.
fn field(raw: u64, size: u32, signed: bool) -> u64 {
    let shift = 64 - 8 * size;
    if signed {
        ((raw << shift) as i64 >> shift) as u64
    } else {
        raw << shift >> shift
    }
}

/// What an operand sees of 8 bytes that a process passes.
pub(crate) fn number_value(operand: &Operand, raw: u64, process: &str) -> Value {
    let raw = match operand.source {
        OperandSource::Field { size, signed, .. } => field(raw, size, signed),
        _ => raw,
    };
    if operand.argument_type != ArgumentType::Fd {
        return Value::Integer(raw);
    }
    // a number may be that of a file that the process has open for reasons of its own
    // the language has no filter on the type of a descriptor's file
    path_of(process, raw as u32).map_or(Value::Absent, |path| Value::Path { path, mode: 0 })
}

/// The path of a process's open file as the language has it (§12): that of the root directory is empty. `None`: no open file.
pub(crate) fn path_of(process: &str, fd: u32) -> Option<Vec<u8>> {
    let path = fs::read_link(format!("/proc/{process}/fd/{fd}"))
        .ok()?
        .into_os_string()
        .into_vec();
    // what has no path (`pipe:[1]`, `anon_inode:[eventfd]`) is the root of a file system of its own
    Some(if path == b"/" || !path.starts_with(b"/") {
        Vec::new()
    } else {
        path
    })
}

/// A string as C has it.
pub(crate) fn terminated(bytes: &[u8]) -> Vec<u8> {
    [bytes, b"\0"].concat()
}

/// A `struct sockaddr` of its family.
pub(crate) fn sockaddr_bytes(address: &Sockaddr) -> Vec<u8> {
    let mut bytes = vec![0; 28];
    bytes[..2].copy_from_slice(&address.family.to_le_bytes());
    bytes[2..4].copy_from_slice(&address.port.to_be_bytes());
    match address.family {
        AF_INET => bytes[4..8].copy_from_slice(&address.address[..4]),
        AF_INET6 => bytes[8..24].copy_from_slice(&address.address),
        _ => {}
    }
    bytes
}
