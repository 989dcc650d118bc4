//! What a call must leave behind, according to the interpreter.

use std::collections::BTreeSet;

use ebpf::record::{
    PolicyCounter, RECORD_FLAG_AWAIT_RETURN, RECORD_FLAG_CANCEL, RECORD_FLAG_KERNEL_STACK, RECORD_FLAG_RETURN,
    RECORD_FLAG_UNDECIDED, RECORD_FLAG_USER_STACK,
};
use policy_compiler::attach::Role;
use policy_compiler::hir::{Argument, Hook, OperandSource};
use policy_compiler::interpret::{self, Call, Selection, Value};
use policy_compiler::output::ArgumentType;

use super::arena::{Arena, Returns};

/// An event, as far as it is determined.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Event {
    pub(crate) slot: u32,
    pub(crate) selector: usize,
    pub(crate) flags: u16,
    /// `None` for return halves, whose action does not count.
    pub(crate) action: Option<u16>,
    /// Status and payload; `None`: whatever it is.
    pub(crate) arguments: Vec<(u32, Vec<u8>)>,
}

/// What one policy does in one call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) counters: [u64; 16],
    pub(crate) events: Vec<Event>,
    pub(crate) verdict: Option<u32>,
}

/// Events that rate limits have let pass: nothing like them may follow from the same program.
#[derive(Default)]
pub(crate) struct Limiter {
    passed: BTreeSet<(bool, u32, usize, Vec<LimitedArgument>)>,
    /// Whether the program is the one at the return of calls that the entry has left open, which has limits of its own.
    is_at_return: bool,
}

/// Status, length and the bytes of an argument that count.
type LimitedArgument = (u32, usize, Vec<u8>);

/// `ARG_*`
const OK: u32 = 0;
const FAULT: u32 = 1;
const TRUNCATED: u32 = 2;
/// Bytes of each argument that tell events apart for a rate limit (§8).
const LIMIT_BYTES: usize = 40;

/// What `hook` must do for a call; `returning` has the value returned, too.
pub(crate) fn expect(arena: &Arena, hook: &Hook, monitors: bool, call: &Call, limiter: &mut Limiter) -> Expected {
    let mut expected = Expected::default();
    let selector = match interpret::select(hook, call) {
        Selection::None => return expected,
        Selection::Undecided => {
            undecided(arena, hook, call, &mut expected);
            return expected;
        }
        Selection::Selector(selector) => selector,
    };
    let mut counters = [0; 16];
    let mut count = |counter: PolicyCounter, by: usize| counters[counter as usize] += by as u64;
    let act = |effects: &interpret::Effects, count: &mut dyn FnMut(PolicyCounter, usize)| {
        count(PolicyCounter::Signal, effects.signals.len());
        count(PolicyCounter::MonitorSignal, effects.monitored_signals.len());
        count(PolicyCounter::Override, usize::from(effects.override_errno.is_some()));
        count(PolicyCounter::MonitorOverride, usize::from(effects.monitored_override));
    };
    let at_entry = interpret::act(hook, selector, monitors);
    act(&at_entry, &mut count);
    let confirmed = interpret::confirmed(hook, selector, call);
    let at_return = interpret::act_at_return(hook, selector, monitors);
    if arena.returns != Returns::No && confirmed {
        act(&at_return, &mut count);
    }
    let post = match arena.returns {
        Returns::Whole if !confirmed => None,
        Returns::Whole => at_return.post,
        Returns::No | Returns::Pair => at_entry.post,
    };
    let payloads = payloads(&sent_arguments(arena, hook), call);
    // a pair looks at the return only if something hangs on it
    let mut is_looked_at = arena.returns == Returns::Whole
        || hook
            .selectors
            .get(selector)
            .is_some_and(|selector| selector.return_actions.enforces());
    match post {
        None => {
            if arena.returns != Returns::Whole || confirmed {
                count(PolicyCounter::NoPost, 1);
            }
        }
        Some(posted) => {
            let limited = |(status, payload): &(u32, Vec<u8>)| {
                (
                    *status,
                    payload.len(),
                    payload[..payload.len().min(LIMIT_BYTES)].to_vec(),
                )
            };
            let key = payloads.iter().map(limited).collect();
            let key = (limiter.is_at_return, hook.policy_slot, selector, key);
            if posted.rate_limit.is_some() && !limiter.passed.insert(key) {
                count(PolicyCounter::RateLimited, 1);
            } else {
                let pair = arena.returns == Returns::Pair;
                is_looked_at |= pair;
                expected.events.push(Event {
                    slot: hook.policy_slot,
                    selector,
                    flags: if pair { RECORD_FLAG_AWAIT_RETURN } else { 0 }
                        | stack_flags(posted.kernel_stack, posted.user_stack),
                    action: Some(posted.action),
                    arguments: payloads,
                });
                if pair {
                    let cancels = !confirmed || at_return.post.is_none();
                    count(PolicyCounter::NoPost, usize::from(confirmed && cancels));
                    expected.events.push(Event {
                        slot: hook.policy_slot,
                        selector,
                        flags: RECORD_FLAG_RETURN | if cancels { RECORD_FLAG_CANCEL } else { 0 },
                        action: None,
                        arguments: self::payloads(&hook.returned.clone().into_iter().collect::<Vec<_>>(), call),
                    });
                }
            }
        }
    }
    count(
        PolicyCounter::ReturnRejected,
        usize::from(is_looked_at && arena.returns != Returns::No && !confirmed),
    );
    expected.verdict = at_entry.override_errno;
    expected.counters = counters;
    expected
}

/// A hook as it is attached.
#[allow(dead_code, reason = "test runs attach nothing")]
pub(crate) struct Attached<'h> {
    pub(crate) hook: &'h Hook,
    /// Of its programs.
    pub(crate) roles: &'h [Role],
    /// Whether the one at the return of a system call finds the arguments again.
    pub(crate) reads_again: bool,
    pub(crate) monitors: bool,
}

/// What a hook must do where it is attached for a call whose user memory is another at its return than at its entry: it may have
/// become readable there.
#[allow(dead_code, reason = "test runs have no return of a syscall")]
pub(crate) fn expect_both(
    arena: &Arena,
    attached: &Attached<'_>,
    entry: &Call,
    exit: &Call,
    limiter: &mut Limiter,
) -> Expected {
    let Attached {
        hook,
        roles,
        reads_again,
        monitors,
    } = *attached;
    let has = |role: &[Role]| roles.iter().any(|of| role.contains(of));
    let returns = if has(&[Role::ExitWhole, Role::ExitPost]) {
        Returns::Whole
    } else if has(&[Role::ExitOfPair]) {
        Returns::Pair
    } else {
        Returns::No
    };
    let mut arena = Arena { returns, ..*arena };
    if interpret::select(hook, entry) != Selection::Undecided {
        return expect(&arena, hook, monitors, entry, limiter);
    }
    let is_left_to_the_return = arena.is_syscall() && reads_again && has(&[Role::ExitDeferred, Role::ExitOfPair]);
    let mut call = entry;
    if is_left_to_the_return {
        // one program then does all of it
        arena.returns = if hook.returned.is_some() {
            Returns::Whole
        } else {
            Returns::No
        };
        call = exit;
        if interpret::select(hook, exit) != Selection::Undecided {
            limiter.is_at_return = true;
            let mut expected = expect(&arena, hook, monitors, exit, limiter);
            limiter.is_at_return = false;
            // it is too late for another result, which leaves the call as undecided as it was
            let counters = &mut expected.counters;
            counters[PolicyCounter::Undecided as usize] += counters[PolicyCounter::Override as usize];
            counters[PolicyCounter::Override as usize] = 0;
            expected.verdict = None;
            return expected;
        }
    }
    let mut expected = Expected::default();
    show_undecided(&arena, hook, call, &mut expected);
    expected
}

/// A call that cannot be decided: left to the return of a syscall, which test runs do not have, else counted and shown.
fn undecided(arena: &Arena, hook: &Hook, call: &Call, expected: &mut Expected) {
    if !arena.is_syscall() {
        show_undecided(arena, hook, call, expected);
    }
}

fn show_undecided(arena: &Arena, hook: &Hook, call: &Call, expected: &mut Expected) {
    expected.counters[PolicyCounter::Undecided as usize] += 1;
    if let Some(selector) = interpret::posting_selector(hook) {
        expected.events.push(Event {
            slot: hook.policy_slot,
            selector,
            flags: RECORD_FLAG_UNDECIDED
                | interpret::act(hook, selector, false)
                    .post
                    .map_or(0, |posted| stack_flags(posted.kernel_stack, posted.user_stack)),
            action: Some(1),
            arguments: payloads(&sent_arguments(arena, hook), call),
        });
    }
}

/// Which stack traces are behind the arguments.
fn stack_flags(kernel: bool, user: bool) -> u16 {
    (if kernel { RECORD_FLAG_KERNEL_STACK } else { 0 }) | if user { RECORD_FLAG_USER_STACK } else { 0 }
}

/// What an event has that is not sent in halves.
fn sent_arguments(arena: &Arena, hook: &Hook) -> Vec<Argument> {
    let returned = hook.returned.iter().filter(|_| arena.returns == Returns::Whole);
    hook.arguments.iter().chain(returned).cloned().collect()
}

/// Arguments as records carry them.
fn payloads(arguments: &[Argument], call: &Call) -> Vec<(u32, Vec<u8>)> {
    arguments.iter().map(|argument| payload(argument, call)).collect()
}

fn payload(argument: &Argument, call: &Call) -> (u32, Vec<u8>) {
    let operand = &argument.operand;
    match call.values.get(operand) {
        Some(Value::Integer(raw)) => (OK, extended(operand.argument_type, *raw).to_le_bytes().to_vec()),
        Some(Value::String(bytes)) if operand.is_buffer() => {
            let shown = &bytes[..bytes.len().min(4096)];
            let status = if shown.len() < bytes.len() { TRUNCATED } else { OK };
            let header = [bytes.len() as u32, 0].map(u32::to_ne_bytes);
            (status, [header.as_flattened(), shown].concat())
        }
        Some(Value::String(bytes)) if bytes.len() > 4096 => (TRUNCATED, bytes[..4096].to_vec()),
        Some(Value::String(bytes) | Value::Path { path: bytes, .. }) => (OK, bytes.clone()),
        Some(Value::Sock(sock)) => {
            let mut bytes = Vec::new();
            for half in [
                sock.family,
                sock.protocol,
                sock.state,
                sock.source_port,
                sock.destination_port,
            ] {
                bytes.extend(half.to_le_bytes());
            }
            bytes.extend(sock.source);
            bytes.extend(sock.destination);
            (OK, bytes)
        }
        Some(Value::Sockaddr(address)) => {
            let mut bytes = address.family.to_le_bytes().to_vec();
            bytes.extend(address.port.to_le_bytes());
            bytes.extend(address.address);
            (OK, bytes)
        }
        // the last pointer is null
        Some(Value::Absent) if let OperandSource::Chain(chain) = &operand.source => {
            let status = ebpf::record::ARG_RESOLVE_FAULT + chain.pointers.len() as u32;
            (status, Vec::new())
        }
        Some(Value::Unreadable | Value::Absent) | None => (FAULT, Vec::new()),
    }
}

/// The definition's own words for a value's width and sign.
fn extended(argument_type: ArgumentType, raw: u64) -> u64 {
    match argument_type {
        ArgumentType::Int8 => raw as i8 as u64,
        ArgumentType::Int16 => raw as i16 as u64,
        ArgumentType::Int32 => raw as i32 as u64,
        ArgumentType::Uint8 => u64::from(raw as u8),
        ArgumentType::Uint16 => u64::from(raw as u16),
        ArgumentType::Uint32 => u64::from(raw as u32),
        _ => raw,
    }
}

/// The same part of an argument that was sent.
pub(crate) fn comparable(argument_type: ArgumentType, argument: &ebpf::record::Argument<'_>) -> (u32, Vec<u8>) {
    use zerocopy::FromBytes as _;
    let status = argument.status;
    if status == FAULT || status >= ebpf::record::ARG_RESOLVE_FAULT {
        return (status, Vec::new());
    }
    let payload = argument.payload;
    let bytes = match argument_type {
        ArgumentType::Fd
        | ArgumentType::File
        | ArgumentType::Path
        | ArgumentType::Dentry
        | ArgumentType::LinuxBinprm => payload
            .get(size_of::<ebpf::record::ArgumentPath>()..)
            .unwrap_or_default()
            .to_vec(),
        // the place among the texts is the program's own business
        ArgumentType::CharBuf | ArgumentType::CharIovec | ArgumentType::IovIter => {
            [&payload[..4], &[0; 4], &payload[8..]].concat()
        }
        ArgumentType::Sock | ArgumentType::Skb => {
            let (sock, _) = ebpf::record::ArgumentSock::read_from_prefix(payload).expect("a sock");
            let mut bytes = Vec::new();
            for half in [sock.family, sock.protocol, sock.state, sock.sport, sock.dport] {
                bytes.extend(half.to_le_bytes());
            }
            bytes.extend(sock.saddr);
            bytes.extend(sock.daddr);
            bytes
        }
        ArgumentType::Sockaddr => {
            let (address, _) = ebpf::record::ArgumentSockaddr::read_from_prefix(payload).expect("a sockaddr");
            let mut bytes = address.family.to_le_bytes().to_vec();
            bytes.extend(address.port.to_le_bytes());
            bytes.extend(address.addr);
            bytes
        }
        _ => payload.to_vec(),
    };
    (status, bytes)
}
