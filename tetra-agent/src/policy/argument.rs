//! One argument: payload and type become a `KprobeArgument`.

use ebpf::record as wire;
use tetra_api::tetragon as api;
use tetra_api::tetragon::kprobe_argument::Arg;
use zerocopy::FromBytes as _;

use super::{ArgumentTemplate, ArgumentType};
use crate::event::{capabilities, names, permission::permission};
use crate::record::Argument;
use crate::text::to_text;

/// Set in a `syscall64` when the call used the 32-bit ABI.
const SYSCALL_32_BIT: u64 = 1 << 31;

/// Decodes an argument. `None`: the payload does not fit the type; `Some(None)`: the type shows nothing.
///
/// `whole` has the beginning of a buffer that is longer than its payload, by its place.
#[allow(
    clippy::option_option,
    reason = "a payload that doesn't fit and one that isn't shown are different things"
)]
pub(super) fn decode(
    template: &ArgumentTemplate,
    argument: Argument<'_>,
    whole: &mut dyn FnMut(u32) -> Option<Vec<u8>>,
) -> Option<Option<api::KprobeArgument>> {
    if template.argument_type == ArgumentType::Nop {
        return Some(None);
    }
    let arg = if let Some(message) = fault(argument.status) {
        Arg::ErrorArg(api::KprobeError { message })
    } else {
        value(template.argument_type, argument.payload, whole)?
    };
    Some(Some(api::KprobeArgument {
        label: template.label.to_string(),
        arg: Some(arg),
    }))
}

/// What consumers read when the value could not be had.
fn fault(status: u32) -> Option<String> {
    match status {
        wire::ARG_OK | wire::ARG_TRUNCATED => None,
        status if status >= wire::ARG_RESOLVE_FAULT => Some(format!(
            "Bad address encountered during resolve dereference at depth {}",
            status - wire::ARG_RESOLVE_FAULT
        )),
        _ => Some("Bad address for basic type".to_owned()),
    }
}

fn value(argument_type: ArgumentType, payload: &[u8], whole: &mut dyn FnMut(u32) -> Option<Vec<u8>>) -> Option<Arg> {
    Some(match argument_type {
        ArgumentType::Int8 | ArgumentType::Int16 | ArgumentType::Int32 => Arg::IntArg(word(payload)? as i32),
        ArgumentType::Int64 => Arg::LongArg(word(payload)? as i64),
        ArgumentType::Uint8 | ArgumentType::Uint16 | ArgumentType::Uint32 => Arg::UintArg(word(payload)? as u32),
        ArgumentType::Uint64 | ArgumentType::SizeT => Arg::SizeArg(word(payload)?),
        ArgumentType::Syscall64 => Arg::SyscallId(syscall(word(payload)?)),
        ArgumentType::String => Arg::StringArg(to_text(payload.split(|&byte| byte == 0).next().unwrap_or_default())),
        ArgumentType::CharBuf | ArgumentType::CharIovec | ArgumentType::IovIter => {
            let (buffer, bytes) = wire::ArgumentBuffer::read_from_prefix(payload).ok()?;
            let whole = whole(buffer.place).filter(|whole| whole.len() > bytes.len());
            let bytes = whole.unwrap_or_else(|| bytes.to_vec());
            if buffer.size as usize > bytes.len() {
                Arg::TruncatedBytesArg(api::KprobeTruncatedBytes {
                    bytes_arg: bytes,
                    orig_size: u64::from(buffer.size),
                })
            } else {
                Arg::BytesArg(bytes)
            }
        }
        ArgumentType::Fd | ArgumentType::File => {
            let p = Path::decode(payload)?;
            Arg::FileArg(api::KprobeFile {
                mount: String::new(),
                path: p.text,
                flags: p.flags,
                permission: p.permission,
            })
        }
        ArgumentType::Path | ArgumentType::Dentry => {
            let p = Path::decode(payload)?;
            Arg::PathArg(api::KprobePath {
                mount: String::new(),
                path: p.text,
                flags: p.flags,
                permission: p.permission,
            })
        }
        ArgumentType::LinuxBinprm => {
            let p = Path::decode(payload)?;
            Arg::LinuxBinprmArg(api::KprobeLinuxBinprm {
                path: p.text,
                flags: p.flags,
                permission: p.permission,
            })
        }
        ArgumentType::Sock => Arg::SockArg(sock(&wire::ArgumentSock::read_from_prefix(payload).ok()?.0)),
        ArgumentType::Skb => Arg::SkbArg(skb(&wire::ArgumentSock::read_from_prefix(payload).ok()?.0)),
        ArgumentType::Sockaddr => {
            let s = wire::ArgumentSockaddr::read_from_prefix(payload).ok()?.0;
            Arg::SockaddrArg(api::KprobeSockaddr {
                family: names::family(s.family).into_owned(),
                addr: names::address(s.family, &s.addr),
                port: u32::from(s.port),
            })
        }
        ArgumentType::UserNamespace => Arg::UserNsArg(user_namespace(
            &wire::ArgumentUserNamespace::read_from_prefix(payload).ok()?.0,
        )),
        ArgumentType::Cred => Arg::ProcessCredentialsArg(cred(&wire::ArgumentCred::read_from_prefix(payload).ok()?.0)),
        ArgumentType::BpfAttr => {
            let p = wire::ArgumentBpfProg::read_from_prefix(payload).ok()?.0;
            Arg::BpfAttrArg(api::KprobeBpfAttr {
                prog_type: names::bpf_prog_type(p.r#type).into_owned(),
                insn_cnt: p.insn_cnt,
                prog_name: terminated(&p.name),
            })
        }
        ArgumentType::BpfProg => {
            let p = wire::ArgumentBpfProg::read_from_prefix(payload).ok()?.0;
            Arg::BpfProgArg(api::KprobeBpfProg {
                prog_type: names::bpf_prog_type(p.r#type).into_owned(),
                insn_cnt: p.insn_cnt,
                prog_name: terminated(&p.name),
            })
        }
        ArgumentType::BpfMap => {
            let m = wire::ArgumentBpfMap::read_from_prefix(payload).ok()?.0;
            Arg::BpfMapArg(api::KprobeBpfMap {
                map_type: names::bpf_map_type(m.r#type).into_owned(),
                key_size: m.key_size,
                value_size: m.value_size,
                max_entries: m.max_entries,
                map_name: terminated(&m.name),
            })
        }
        ArgumentType::PerfEvent => {
            let e = wire::ArgumentPerfEvent::read_from_prefix(payload).ok()?.0;
            Arg::PerfEventArg(api::KprobePerfEvent {
                kprobe_func: terminated(&e.func),
                r#type: names::perf_type(e.r#type).into_owned(),
                config: e.config,
                probe_offset: e.probe_offset,
            })
        }
        ArgumentType::Module | ArgumentType::LoadInfo => {
            Arg::ModuleArg(module(&wire::ArgumentModule::read_from_prefix(payload).ok()?.0))
        }
        ArgumentType::Capability => {
            let number = word(payload)? as i32;
            Arg::CapabilityArg(api::KprobeCapability {
                value: Some(number),
                name: names::capability(number).into_owned(),
            })
        }
        ArgumentType::KernelCapT => Arg::KernelCapTArg(format!("{:016x}", word(payload)?)),
        ArgumentType::CapInheritable => Arg::CapInheritableArg(format!("{:016x}", word(payload)?)),
        ArgumentType::CapPermitted => Arg::CapPermittedArg(format!("{:016x}", word(payload)?)),
        ArgumentType::CapEffective => Arg::CapEffectiveArg(format!("{:016x}", word(payload)?)),
        ArgumentType::Nop => return None,
    })
}

fn word(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn syscall(word: u64) -> api::SyscallId {
    let narrow = word & SYSCALL_32_BIT != 0;
    let abi = match (cfg!(target_arch = "aarch64"), narrow) {
        (false, false) => "x64",
        (false, true) => "i386",
        (true, false) => "arm64",
        (true, true) => "arm32",
    };
    api::SyscallId {
        id: (word & !SYSCALL_32_BIT) as u32,
        abi: abi.to_owned(),
    }
}

/// The shown parts of a path.
struct Path {
    text: String,
    flags: String,
    permission: String,
}

impl Path {
    fn decode(payload: &[u8]) -> Option<Self> {
        let (argument, path) = wire::ArgumentPath::read_from_prefix(payload).ok()?;
        let text = to_text(path);
        Some(Self {
            text: if text.is_empty() { "/".to_owned() } else { text },
            flags: if argument.flags & wire::PATH_UNRESOLVED != 0 {
                "unresolvedPathComponents"
            } else {
                ""
            }
            .to_owned(),
            permission: permission(argument.mode),
        })
    }
}

/// A name that ends at its first NUL, or with the array.
fn terminated(bytes: &[u8]) -> String {
    to_text(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
}

fn user_namespace(ns: &wire::ArgumentUserNamespace) -> api::UserNamespace {
    api::UserNamespace {
        level: Some(ns.level),
        uid: Some(ns.uid),
        gid: Some(ns.gid),
        ns: Some(api::Namespace {
            inum: ns.inum,
            is_host: ns.level == 0,
        }),
    }
}

fn cred(c: &wire::ArgumentCred) -> api::ProcessCredentials {
    api::ProcessCredentials {
        uid: Some(c.uid),
        gid: Some(c.gid),
        euid: Some(c.euid),
        egid: Some(c.egid),
        suid: Some(c.suid),
        sgid: Some(c.sgid),
        fsuid: Some(c.fsuid),
        fsgid: Some(c.fsgid),
        securebits: capabilities::secure_bits(c.securebits),
        caps: Some(capabilities::message(
            c.cap_permitted,
            c.cap_effective,
            c.cap_inheritable,
        )),
        user_ns: Some(user_namespace(&c.user_ns)),
    }
}

fn module(m: &wire::ArgumentModule) -> api::KernelModule {
    let taints = (0..31).map(|bit| 1i32 << bit).filter(|bit| m.taints & *bit as u64 != 0);
    api::KernelModule {
        name: terminated(&m.name),
        signature_ok: match m.signature {
            wire::MODULE_SIGNATURE_GOOD => Some(true),
            wire::MODULE_SIGNATURE_BAD => Some(false),
            _ => None,
        },
        tainted: taints
            .filter(|bit| api::TaintedBitsType::try_from(*bit).is_ok())
            .collect(),
    }
}

/// A packet comes in the form of a socket, with hash and length in place of the cookie.
fn skb(s: &wire::ArgumentSock) -> api::KprobeSkb {
    let is_ip = s.family != 0;
    let or_empty = |text: String| if is_ip { text } else { String::new() };
    api::KprobeSkb {
        hash: s.cookie as u32,
        len: (s.cookie >> 32) as u32,
        priority: s.priority,
        mark: s.mark,
        saddr: or_empty(names::address(s.family, &s.saddr)),
        daddr: or_empty(names::address(s.family, &s.daddr)),
        sport: u32::from(s.sport),
        dport: u32::from(s.dport),
        proto: u32::from(s.protocol),
        protocol: or_empty(names::protocol(s.protocol).into_owned()),
        family: or_empty(names::family(s.family).into_owned()),
        ..Default::default()
    }
}

fn sock(s: &wire::ArgumentSock) -> api::KprobeSock {
    api::KprobeSock {
        family: names::family(s.family).into_owned(),
        r#type: names::socket_type(s.r#type).into_owned(),
        protocol: names::protocol(s.protocol).into_owned(),
        mark: s.mark,
        priority: s.priority,
        saddr: names::address(s.family, &s.saddr),
        daddr: names::address(s.family, &s.daddr),
        sport: u32::from(s.sport),
        dport: u32::from(s.dport),
        cookie: s.cookie,
        state: names::tcp_state(s.state).into_owned(),
    }
}
