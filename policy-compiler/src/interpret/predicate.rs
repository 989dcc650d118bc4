//! What each predicate means.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use regex::bytes::RegexBuilder;

use crate::hir::{IntegerTest, Namespace, Network, Operand, Predicate, SockSide, SockTest, TextComparison, TextTest};
use crate::pattern;
use crate::resolve::integer_width;

use super::{Call, Sock, Sockaddr, Truth, Value};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Bits of the mode of an inode that are the type of the file.
const S_IFMT: u16 = 0o170_000;

/// Whether a predicate holds for a call.
pub fn holds(predicate: &Predicate, call: &Call) -> Truth {
    match predicate {
        Predicate::Integer { operand, test, negated } => match call.values.get(operand) {
            Some(Value::Integer(raw)) => truth(integer(test, extended(operand, *raw), is_signed(operand)) != *negated),
            other => unread(other),
        },
        Predicate::Text { operand, test, negated } => match call.values.get(operand) {
            // of a longer buffer only its beginning counts
            Some(Value::String(bytes)) if operand.is_buffer() => {
                let seen = &bytes[..bytes.len().min(ebpf::record::TEXT_MAX)];
                truth(text(test, seen) != *negated)
            }
            Some(Value::String(bytes)) => truth(text(test, bytes) != *negated),
            // §5.1: an empty path matches no string operator, not even a negated one
            Some(Value::Path { path, .. }) => truth(!path.is_empty() && text(test, path) != *negated),
            other => unread(other),
        },
        Predicate::FileType {
            operand,
            types,
            negated,
        } => match call.values.get(operand) {
            Some(Value::Path { mode, .. }) => truth(types.contains(&(mode & S_IFMT)) != *negated),
            other => unread(other),
        },
        Predicate::Sock { operand, test, negated } => match call.values.get(operand) {
            Some(Value::Sock(sock)) => socket(test, &Endpoint::of_sock(sock), *negated),
            Some(Value::Sockaddr(address)) => socket(test, &Endpoint::of_sockaddr(address), *negated),
            other => unread(other),
        },
        // §6.4: an unknown executable matches neither the filter nor its negation
        Predicate::Binary { test, negated } => match &call.process.executable {
            Some(path) => truth(text(test, path) != *negated),
            None => Truth::No,
        },
        Predicate::Pid {
            values,
            is_namespace_pid,
            follow_forks,
            negated,
        } => pid(values, *is_namespace_pid, *follow_forks, *negated, call),
        // §6.6: a namespace that the kernel does not have reads as 0
        Predicate::Namespace {
            namespace,
            values,
            negated,
        } => {
            let inode = inode(*namespace, call);
            truth(values.contains(&inode) != *negated)
        }
        // §3.9
        Predicate::Notified(notification) => truth(call.notified == Some(*notification)),
        // §11
        Predicate::Expression(condition) => super::expression::truth(condition, call),
        // §6.8
        Predicate::NamespaceChange { namespaces } => truth(call.process.recorded.as_ref().is_some_and(|recorded| {
            let then = |namespace: &Namespace| recorded.namespaces.get(namespace).copied().unwrap_or(0);
            namespaces
                .iter()
                .any(|namespace| inode(*namespace, call) != then(namespace))
        })),
        // §6.9
        Predicate::CapabilityChange {
            set,
            mask,
            negated,
            outside_user_namespace,
        } => {
            let outside = outside_user_namespace.is_none_or(|host| inode(Namespace::User, call) != host);
            let now = call.process.capabilities.get(set).copied().unwrap_or(0);
            truth(
                outside
                    && call.process.recorded.as_ref().is_some_and(|recorded| {
                        let changed = now ^ recorded.capabilities.get(set).copied().unwrap_or(0);
                        if *negated {
                            changed & mask == 0 && changed != 0
                        } else {
                            changed & mask != 0
                        }
                    }),
            )
        }
        // §6.7: the condition on the user namespace is not part of what is negated
        Predicate::Capability {
            set,
            mask,
            negated,
            outside_user_namespace,
        } => {
            let outside = outside_user_namespace.is_none_or(|host| inode(Namespace::User, call) != host);
            let present = call.process.capabilities.get(set).copied().unwrap_or(0) & mask != 0;
            truth(outside && present != *negated)
        }
    }
}

fn truth(holds: bool) -> Truth {
    if holds { Truth::Yes } else { Truth::No }
}

/// §5.1: what could not be read matches neither a test nor its negation, unless it is user memory: then nobody knows.
fn unread(value: Option<&Value>) -> Truth {
    match value {
        Some(Value::Unreadable) => Truth::Undecided,
        _ => Truth::No,
    }
}

fn inode(namespace: Namespace, call: &Call) -> u32 {
    call.process.namespaces.get(&namespace).copied().unwrap_or(0)
}

/// §6.1
fn pid(values: &[u32], is_namespace_pid: bool, follow_forks: bool, negated: bool, call: &Call) -> Truth {
    let process = &call.process;
    if follow_forks {
        // a process outside of pid namespaces has no pid in one: neither the filter nor its negation is about it
        let is_outside = is_namespace_pid && process.lineage.first().is_some_and(|(_, own)| *own == 0);
        if process.lineage.is_empty() || is_outside {
            return Truth::No;
        }
        let id = |(pid, namespace_pid): &(u32, u32)| if is_namespace_pid { *namespace_pid } else { *pid };
        return truth(process.lineage.iter().any(|of| values.contains(&id(of))) != negated);
    }
    if is_namespace_pid {
        return match process.namespace_pid {
            Some(own) => truth(values.contains(&own) != negated),
            None => Truth::No,
        };
    }
    truth(values.contains(&process.pid) != negated)
}

/// The value that a type makes of 8 bytes: cut to its width, then sign- or zero-extended.
pub(super) fn extended(operand: &Operand, raw: u64) -> u64 {
    match integer_width(operand.argument_type) {
        Some((8, true)) => raw as i8 as u64,
        Some((16, true)) => raw as i16 as u64,
        Some((32, true)) => raw as i32 as u64,
        Some((8, false)) => u64::from(raw as u8),
        Some((16, false)) => u64::from(raw as u16),
        Some((32, false)) => u64::from(raw as u32),
        _ => raw,
    }
}

fn is_signed(operand: &Operand) -> bool {
    integer_width(operand.argument_type).is_some_and(|(_, signed)| signed)
}

/// §7, numeric operators.
fn integer(test: &IntegerTest, value: u64, signed: bool) -> bool {
    let less = |a: u64, b: u64| if signed { (a as i64) < b as i64 } else { a < b };
    match test {
        IntegerTest::Equal(values) => values.contains(&value),
        IntegerTest::Above(bound) => less(*bound, value),
        IntegerTest::Below(bound) => less(value, *bound),
        IntegerTest::Mask(mask) => value & mask != 0,
        IntegerTest::Within(ranges) => ranges
            .iter()
            .any(|(low, high)| !less(value, *low) && !less(*high, value)),
    }
}

/// §7, string operators: true for any of the values. A value that is no pattern is none that the string has.
pub(crate) fn text(test: &TextTest, bytes: &[u8]) -> bool {
    test.values.iter().any(|value| match test.comparison {
        TextComparison::Equal => bytes == value,
        TextComparison::Prefix => bytes.starts_with(value),
        TextComparison::Postfix => bytes.ends_with(value),
        TextComparison::SubString => contains(bytes, |window| window == value, value.len()),
        TextComparison::SubStringIgnCase => contains(bytes, |window| window.eq_ignore_ascii_case(value), value.len()),
        TextComparison::Glob => std::str::from_utf8(value)
            .ok()
            .and_then(|value| pattern::glob(value).ok())
            .is_some_and(|glob| glob.compile_matcher().is_match(OsStr::from_bytes(bytes))),
        TextComparison::Regex => std::str::from_utf8(value)
            .ok()
            .and_then(|value| RegexBuilder::new(value).unicode(false).build().ok())
            .is_some_and(|regex| regex.is_match(bytes)),
    })
}

fn contains(bytes: &[u8], equal: impl Fn(&[u8]) -> bool, length: usize) -> bool {
    length == 0 || bytes.windows(length).any(equal)
}

/// What socket operators look at.
struct Endpoint {
    family: u16,
    protocol: u16,
    state: u16,
    ports: [u16; 2],
    addresses: [[u8; 16]; 2],
}

impl Endpoint {
    fn of_sock(sock: &Sock) -> Self {
        Self {
            family: sock.family,
            protocol: sock.protocol,
            state: sock.state,
            ports: [sock.source_port, sock.destination_port],
            addresses: [sock.source, sock.destination],
        }
    }

    /// A socket address has one side, whatever the operator calls it.
    fn of_sockaddr(address: &Sockaddr) -> Self {
        Self {
            family: address.family,
            protocol: 0,
            state: 0,
            ports: [address.port; 2],
            addresses: [address.address; 2],
        }
    }
}

/// §7, socket operators.
fn socket(test: &SockTest, endpoint: &Endpoint, negated: bool) -> Truth {
    let side = |side: &SockSide| match side {
        SockSide::Source => 0,
        SockSide::Destination => 1,
    };
    let matches = match test {
        // §5.1: a family without such addresses matches neither the operator nor its negation
        SockTest::Address(..) if !matches!(endpoint.family, AF_INET | AF_INET6) => return Truth::No,
        SockTest::Address(of, networks) => {
            let address = &endpoint.addresses[side(of)];
            networks.iter().any(|network| within(network, endpoint.family, address))
        }
        SockTest::Port(of, ranges) => {
            let port = endpoint.ports[side(of)];
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&port))
        }
        SockTest::Protocol(values) => values.contains(&endpoint.protocol),
        SockTest::Family(values) => values.contains(&endpoint.family),
        SockTest::State(values) => values.contains(&endpoint.state),
    };
    truth(matches != negated)
}

/// An address is within networks of its own family only.
fn within(network: &Network, family: u16, address: &[u8; 16]) -> bool {
    match network {
        Network::V4(of, prefix) if family == AF_INET => {
            let [a, b, c, d, ..] = *address;
            let address = u32::from_be_bytes([a, b, c, d]);
            same_bits(u128::from(*of) << 96, u128::from(address) << 96, *prefix)
        }
        Network::V6(of, prefix) if family == AF_INET6 => same_bits(*of, u128::from_be_bytes(*address), *prefix),
        _ => false,
    }
}

/// Whether the first `prefix` bits agree.
fn same_bits(a: u128, b: u128, prefix: u8) -> bool {
    prefix == 0 || (a ^ b) >> (128 - u32::from(prefix)) == 0
}
