//! A call as the interpreter takes it, from what a case says of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, bail};
use policy_compiler::facts::KernelFacts;
use policy_compiler::hir::{Argument, CapabilitySet, Hook, Namespace, Notification, Operand, Predicate};
use policy_compiler::interpret::{Call, Process, Recorded, Sock, Sockaddr, Value};
use policy_compiler::output::{ArgumentType, HookKind};
use tracingpolicy_crd::{ArgSpec, Policy, value};

use super::expectations::{ArgumentName, Case, Fields, ProcessSpec, ValueSpec};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The mode of a regular file that everybody may read.
const REGULAR: u16 = 0o100_644;
/// Pid of a process of which the case does not say it.
const SOME_PID: u32 = 1000;

/// Namespaces by the names that facts and policies have for them.
const NAMESPACES: [(&str, Namespace); 10] = [
    ("Uts", Namespace::Uts),
    ("Ipc", Namespace::Ipc),
    ("Mnt", Namespace::Mnt),
    ("Pid", Namespace::Pid),
    ("PidForChildren", Namespace::PidForChildren),
    ("Net", Namespace::Net),
    ("Time", Namespace::Time),
    ("TimeForChildren", Namespace::TimeForChildren),
    ("Cgroup", Namespace::Cgroup),
    ("User", Namespace::User),
];

/// What a hook sees of the call of a case.
pub(super) fn call_of(
    hook: &Hook,
    policy: &Policy,
    case: &Case,
    defaults: &ProcessSpec,
    facts: &KernelFacts,
) -> anyhow::Result<Call> {
    let mut values = BTreeMap::new();
    let specs = specs(hook, policy);
    let of_args = hook.arguments.iter().filter(|argument| !argument.is_data);
    let args: Vec<&Argument> = of_args.collect();
    let data: Vec<&Argument> = hook.arguments.iter().filter(|argument| argument.is_data).collect();
    let by_index = |index: u32| specs.iter().position(|spec| spec.index == index);
    take(&mut values, "argument", &case.args, &args, by_index)?;
    take(&mut values, "entry of `data`", &case.data, &data, |index| {
        Some(index as usize)
    })?;
    if let (Some(given), Some(returned)) = (&case.returned, &hook.returned) {
        let value = value_of(given, &returned.operand).context("the value returned")?;
        values.insert(returned.operand.clone(), value);
    }
    Ok(Call {
        values,
        process: process_of(&case.process, defaults, facts)?,
        notified: notified(hook),
    })
}

/// Takes the values that a case gives to arguments, each by its label or by what `position` makes of its index.
fn take(
    values: &mut BTreeMap<Operand, Value>,
    what: &str,
    given: &BTreeMap<ArgumentName, ValueSpec>,
    arguments: &[&Argument],
    position: impl Fn(u32) -> Option<usize>,
) -> anyhow::Result<()> {
    for (name, value) in given {
        let found = match name {
            ArgumentName::Index(index) => position(*index).and_then(|at| arguments.get(at)),
            ArgumentName::Label(label) => arguments.iter().find(|argument| *argument.label == **label),
        };
        let Some(argument) = found else {
            bail!("the policy has no {what} with the {name}");
        };
        let value = value_of(value, &argument.operand).with_context(|| format!("{what} with the {name}"))?;
        values.insert(argument.operand.clone(), value);
    }
    Ok(())
}

/// The arguments as the policy has them.
fn specs<'p>(hook: &Hook, policy: &'p Policy) -> &'p [ArgSpec] {
    let (spec, index) = (&policy.spec, hook.hook_index as usize);
    let args = match hook.kind {
        HookKind::Kprobe => spec.kprobes.get(index).map(|hook| &hook.args),
        HookKind::Fentry => spec.fentries.get(index).map(|hook| &hook.args),
        HookKind::Tracepoint => spec.tracepoints.get(index).map(|hook| &hook.args),
        HookKind::Lsm => spec.lsmhooks.get(index).map(|hook| &hook.args),
        HookKind::Uprobe => spec.uprobes.get(index).map(|hook| &hook.args),
        HookKind::Usdt => spec.usdts.get(index).map(|hook| &hook.args),
        HookKind::Enforcer => None,
    };
    args.map_or(&[], Vec::as_slice)
}

/// A case of an enforcer is about what it does when it is told to: the first thing that the policy may tell it.
fn notified(hook: &Hook) -> Option<Notification> {
    let mut filters = hook.selectors.iter().flat_map(|selector| &selector.filters);
    filters.find_map(|filter| match filter.predicate {
        Predicate::Notified(notification) => Some(notification),
        _ => None,
    })
}

fn value_of(given: &ValueSpec, operand: &Operand) -> anyhow::Result<Value> {
    if matches!(given, ValueSpec::Fields(Fields { unreadable: true, .. })) {
        return Ok(Value::Unreadable);
    }
    Ok(match (given, operand.argument_type) {
        (ValueSpec::Absent, _) => Value::Absent,
        (ValueSpec::Number(number), _) if is_number(operand) => Value::Integer(*number as u64),
        (ValueSpec::Large(number), _) if is_number(operand) => Value::Integer(*number),
        (ValueSpec::Text(text), _) if operand.is_path() => file(text, None)?,
        (ValueSpec::Fields(fields), _) if operand.is_path() => {
            file(fields.path.as_deref().unwrap_or_default(), fields.file_type.as_deref())?
        }
        (ValueSpec::Text(text), ArgumentType::String) => Value::String(text.clone().into_bytes()),
        (ValueSpec::Fields(fields), ArgumentType::Sock | ArgumentType::Skb) => Value::Sock(sock(fields)?),
        (ValueSpec::Fields(fields), ArgumentType::Sockaddr) => {
            let sock = sock(fields)?;
            Value::Sockaddr(Sockaddr {
                family: sock.family,
                port: sock.source_port,
                address: sock.source,
            })
        }
        (_, expected) => bail!(
            "this is no value of its type\nhelp: write {}",
            match expected {
                _ if operand.is_path() => "a path, or `{path: /dev/null, type: chr}`",
                ArgumentType::String => "a text",
                ArgumentType::Sock | ArgumentType::Skb =>
                    "`{saddr: 10.0.0.1, sport: 40000, daddr: 10.0.0.2, dport: 443, protocol: IPPROTO_TCP, state: TCP_SYN_SENT}`",
                ArgumentType::Sockaddr => "`{saddr: 10.0.0.2, sport: 443}`",
                _ => "a number",
            }
        ),
    })
}

fn is_number(operand: &Operand) -> bool {
    !operand.is_text() && !operand.is_socket()
}

fn file(path: &str, file_type: Option<&str>) -> anyhow::Result<Value> {
    let mode = match file_type {
        None => REGULAR,
        Some(name) => {
            let bits =
                value::lookup(name, value::FILE_TYPES).with_context(|| format!("there is no type of file `{name}`"))?;
            u16::try_from(bits)? | 0o644
        }
    };
    Ok(Value::Path {
        // the root has no name
        path: if path == "/" {
            Vec::new()
        } else {
            path.as_bytes().to_vec()
        },
        mode,
    })
}

fn sock(fields: &Fields) -> anyhow::Result<Sock> {
    let address = |text: &Option<String>| -> anyhow::Result<Option<IpAddr>> {
        let parse = |text: &String| text.parse().with_context(|| format!("`{text}` is not an IP address"));
        text.as_ref().map(parse).transpose()
    };
    let (source, destination) = (address(&fields.saddr)?, address(&fields.daddr)?);
    let constant = |text: &Option<String>, table| -> anyhow::Result<Option<u16>> {
        let Some(text) = text else { return Ok(None) };
        let number = value::integer(text).or_else(|| value::lookup(text, table).map(i128::from));
        let number = number.with_context(|| format!("`{text}` is not known"))?;
        Ok(Some(u16::try_from(number)?))
    };
    let of_addresses = match source.or(destination) {
        Some(IpAddr::V6(_)) => AF_INET6,
        _ => AF_INET,
    };
    Ok(Sock {
        family: constant(&fields.family, value::ADDRESS_FAMILIES)?.unwrap_or(of_addresses),
        protocol: constant(&fields.protocol, value::PROTOCOLS)?.unwrap_or_default(),
        state: constant(&fields.state, value::TCP_STATES)?.unwrap_or_default(),
        source_port: fields.sport.unwrap_or_default(),
        destination_port: fields.dport.unwrap_or_default(),
        source: octets(source),
        destination: octets(destination),
    })
}

/// In network byte order; IPv4 in the first four bytes.
fn octets(address: Option<IpAddr>) -> [u8; 16] {
    let mut octets = [0; 16];
    match address {
        Some(IpAddr::V4(address)) => octets[..4].copy_from_slice(&address.octets()),
        Some(IpAddr::V6(address)) => octets = address.octets(),
        None => {}
    }
    octets
}

fn process_of(case: &ProcessSpec, defaults: &ProcessSpec, facts: &KernelFacts) -> anyhow::Result<Process> {
    let pid = case.pid.or(defaults.pid).unwrap_or(SOME_PID);
    let namespace_pid = case.namespace_pid.or(defaults.namespace_pid).unwrap_or_default();
    let ancestors = case.ancestors.as_ref().or(defaults.ancestors.as_ref());
    let ancestors = ancestors.cloned().unwrap_or_else(|| vec![1]);
    let mut namespaces: BTreeMap<Namespace, u32> = NAMESPACES
        .iter()
        .filter_map(|(name, namespace)| Some((*namespace, *facts.host_namespaces.get(*name)?)))
        .collect();
    set_namespaces(&mut namespaces, defaults.namespaces.iter().chain(&case.namespaces))?;
    let mut capabilities = BTreeMap::new();
    set_capabilities(
        &mut capabilities,
        defaults.capabilities.iter().chain(&case.capabilities),
    )?;
    let mut recorded = Recorded {
        namespaces: namespaces.clone(),
        capabilities: capabilities.clone(),
    };
    let (before, before_all) = (&case.at_exec, &defaults.at_exec);
    set_namespaces(
        &mut recorded.namespaces,
        before_all.namespaces.iter().chain(&before.namespaces),
    )?;
    let sets = before_all.capabilities.iter().chain(&before.capabilities);
    set_capabilities(&mut recorded.capabilities, sets)?;
    let binary = case.binary.as_ref().or(defaults.binary.as_ref());
    Ok(Process {
        pid,
        namespace_pid: Some(namespace_pid),
        lineage: std::iter::once((pid, namespace_pid))
            .chain(ancestors.into_iter().map(|pid| (pid, 0)))
            .collect(),
        executable: Some(binary.map_or("/usr/bin/true", String::as_str).as_bytes().to_vec()),
        namespaces,
        workload: std::collections::BTreeSet::new(),
        capabilities,
        recorded: Some(recorded),
    })
}

fn set_namespaces<'s>(
    namespaces: &mut BTreeMap<Namespace, u32>,
    given: impl Iterator<Item = (&'s String, &'s u32)>,
) -> anyhow::Result<()> {
    for (name, inode) in given {
        let known = NAMESPACES.iter().find(|(known, _)| known == name);
        let (_, namespace) = known.with_context(|| format!("there is no namespace `{name}`"))?;
        namespaces.insert(*namespace, *inode);
    }
    Ok(())
}

fn set_capabilities<'s>(
    capabilities: &mut BTreeMap<CapabilitySet, u64>,
    given: impl Iterator<Item = (&'s String, &'s Vec<String>)>,
) -> anyhow::Result<()> {
    for (set, names) in given {
        let set = match set.as_str() {
            "effective" => CapabilitySet::Effective,
            "inheritable" => CapabilitySet::Inheritable,
            "permitted" => CapabilitySet::Permitted,
            other => {
                bail!("there is no set of capabilities `{other}`\nhelp: write effective, inheritable or permitted")
            }
        };
        let mut bits = 0;
        for name in names {
            bits |= 1 << value::capability(name).with_context(|| format!("there is no capability `{name}`"))?;
        }
        capabilities.insert(set, bits);
    }
    Ok(())
}
