//! Operands and predicates in the policy's words.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::hir::{
    ChainStart, IntegerTest, Network, Operand, OperandSource, Predicate, SockSide, SockTest, TextComparison,
};
use crate::output::ArgumentType;
use crate::resolve::{file_type_name, integer_width, type_name};

/// What is read: `argument 0 (file)`.
pub fn operand(operand: &Operand) -> String {
    let type_name = type_name(operand.argument_type);
    match &operand.source {
        OperandSource::Parameter(index) => format!("argument {index} ({type_name})"),
        OperandSource::Field { offset, .. } => format!("field at byte {offset} ({type_name})"),
        OperandSource::Probe(_) => format!("argument of the static probe ({type_name})"),
        OperandSource::Chain(chain) => match chain.from {
            ChainStart::Parameter(index) => format!("value behind argument {index} ({type_name})"),
            ChainStart::CurrentTask => format!("value behind the current task ({type_name})"),
        },
        OperandSource::Register { register, .. } => format!("register {register} ({type_name})"),
        OperandSource::Buffer(buffer) => match buffer.address.parameter() {
            Some(index) => format!("argument {index} ({type_name})"),
            None => format!("field ({type_name})"),
        },
        OperandSource::Return => format!("result ({type_name})"),
        OperandSource::Executable => "binary".into(),
    }
}

/// What must hold: `argument 0 (file) Prefix /etc /boot`. All values are named.
pub fn predicate(predicate: &Predicate) -> String {
    match predicate {
        Predicate::Integer {
            operand: of,
            test,
            negated,
        } => {
            format!("{} {}{}", operand(of), not(*negated), integer(of.argument_type, test))
        }
        Predicate::Text {
            operand: of,
            test,
            negated,
        } => format!(
            "{} {}{} {}",
            operand(of),
            not(*negated),
            comparison(test.comparison),
            texts(&test.values)
        ),
        Predicate::FileType {
            operand: of,
            types,
            negated,
        } => {
            let names: Vec<&str> = types.iter().map(|of_type| file_type_name(*of_type)).collect();
            format!("{} {}FileType {}", operand(of), not(*negated), names.join(" "))
        }
        Predicate::Sock {
            operand: of,
            test,
            negated,
        } => {
            format!("{} {}{} {}", operand(of), not(*negated), part(test), sock_values(test))
        }
        Predicate::Binary { test, negated } => {
            let name = match test.comparison {
                TextComparison::Equal => "In",
                other => comparison(other),
            };
            format!("binary {}{name} {}", not(*negated), texts(&test.values))
        }
        Predicate::Pid {
            values,
            is_namespace_pid,
            follow_forks,
            negated,
        } => format!(
            "pid{}{} {}In {}",
            if *is_namespace_pid { " in its namespace" } else { "" },
            if *follow_forks { " or an ancestor's" } else { "" },
            not(*negated),
            list(values)
        ),
        Predicate::Namespace {
            namespace,
            values,
            negated,
        } => format!("{namespace:?} namespace {}In {}", not(*negated), list(values)),
        Predicate::Expression(condition) => {
            let count = condition.operands().len();
            format!("an expression that names arguments {count} times")
        }
        Predicate::NamespaceChange { namespaces } => {
            let names: Vec<String> = namespaces.iter().map(|namespace| format!("{namespace:?}")).collect();
            format!("namespaces changed since exec: any of {}", names.join(", "))
        }
        Predicate::CapabilityChange { set, mask, negated, .. } => {
            format!("{set:?} capabilities changed since exec, {}In {mask:#x}", not(*negated))
        }
        Predicate::Notified(notification) => format!("notification {} of NotifyEnforcer", notification.number),
        Predicate::Capability {
            set,
            mask,
            negated,
            outside_user_namespace,
        } => format!(
            "{set:?} capabilities {}In {mask:#x}{}",
            not(*negated),
            if outside_user_namespace.is_some() {
                ", outside of the host's user namespace"
            } else {
                ""
            }
        ),
    }
}

pub(super) fn comparison(comparison: TextComparison) -> &'static str {
    match comparison {
        TextComparison::Equal => "Equal",
        TextComparison::Prefix => "Prefix",
        TextComparison::Postfix => "Postfix",
        TextComparison::SubString => "SubString",
        TextComparison::SubStringIgnCase => "SubStringIgnCase",
        TextComparison::Glob => "Glob",
        TextComparison::Regex => "Regex",
    }
}

/// The part of a socket that a test looks at.
pub(super) fn part(test: &SockTest) -> &'static str {
    match test {
        SockTest::Address(SockSide::Source, _) => "SAddr",
        SockTest::Address(SockSide::Destination, _) => "DAddr",
        SockTest::Port(SockSide::Source, _) => "SPort",
        SockTest::Port(SockSide::Destination, _) => "DPort",
        SockTest::Protocol(_) => "Protocol",
        SockTest::Family(_) => "Family",
        SockTest::State(_) => "State",
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "Not" } else { "" }
}

fn integer(argument_type: ArgumentType, test: &IntegerTest) -> String {
    let signed = integer_width(argument_type).is_some_and(|(_, signed)| signed);
    let number = |value: &u64| {
        if signed {
            (*value as i64).to_string()
        } else {
            value.to_string()
        }
    };
    match test {
        IntegerTest::Equal(values) => format!("Equal {}", values.iter().map(number).collect::<Vec<_>>().join(" ")),
        IntegerTest::Above(bound) => format!("GT {}", number(bound)),
        IntegerTest::Below(bound) => format!("LT {}", number(bound)),
        IntegerTest::Mask(mask) => format!("Mask {mask:#x}"),
        IntegerTest::Within(ranges) => {
            let range = |(low, high): &(u64, u64)| format!("{}:{}", number(low), number(high));
            format!("InRange {}", ranges.iter().map(range).collect::<Vec<_>>().join(" "))
        }
    }
}

fn sock_values(test: &SockTest) -> String {
    match test {
        SockTest::Address(_, networks) => {
            let network = |network: &Network| match network {
                Network::V4(address, prefix) => format!("{}/{prefix}", Ipv4Addr::from_bits(*address)),
                Network::V6(address, prefix) => format!("{}/{prefix}", Ipv6Addr::from_bits(*address)),
            };
            networks.iter().map(network).collect::<Vec<_>>().join(" ")
        }
        SockTest::Port(_, ranges) => {
            let range = |(low, high): &(u16, u16)| {
                if low == high {
                    low.to_string()
                } else {
                    format!("{low}:{high}")
                }
            };
            ranges.iter().map(range).collect::<Vec<_>>().join(" ")
        }
        SockTest::Protocol(values) | SockTest::Family(values) | SockTest::State(values) => list(values),
    }
}

fn list<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// Texts without characters that could act on a terminal.
fn texts(values: &[Vec<u8>]) -> String {
    let text = |value: &Vec<u8>| value.escape_ascii().to_string();
    values.iter().map(text).collect::<Vec<_>>().join(" ")
}
