use std::sync::Arc;

use ebpf::record as wire;
use tetra_api::tetragon::kprobe_argument::Arg;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::*;
use crate::process::ProcessKey;
use crate::record::{self, Record};
use crate::time::KernelTime;

fn template(arguments: &[ArgumentType], has_return: bool) -> EventTemplate {
    EventTemplate {
        kind: HookKind::Kprobe,
        policy_slot: 0,
        policy_name: "p".into(),
        policy_namespace: None,
        function_name: "f".into(),
        subsystem: "".into(),
        event: "".into(),
        user: None,
        arguments: arguments
            .iter()
            .map(|&argument_type| ArgumentTemplate {
                argument_type,
                is_data: false,
                label: "".into(),
            })
            .collect(),
        has_return,
        message: "".into(),
        tags: vec![],
        hook_index: 0,
        selector_index: None,
    }
}

fn argument(status: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [status.to_le_bytes(), (payload.len() as u32).to_le_bytes()].concat();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A policy record's bytes.
fn record(flags: u16, arguments: &[u8], count: u32) -> Vec<u8> {
    let mut fixed = wire::RecordPolicy::new_zeroed();
    fixed.header.kind = wire::RECORD_POLICY;
    fixed.header.flags = flags;
    fixed.header.size = (size_of::<wire::RecordPolicy>() + arguments.len()) as u32;
    fixed.argument_count = count;
    [fixed.as_bytes(), arguments].concat()
}

fn decode(template: &EventTemplate, bytes: &[u8]) -> Result<DecodedArguments, DecodeError> {
    let Ok(Record::Policy(record)) = record::decode(bytes) else {
        unreachable!()
    };
    decode_arguments(template, &record, &mut Buffers::default())
}

fn check_argument(argument_type: ArgumentType, status: u32, payload: &[u8], expected: &str) {
    let bytes = argument(status, payload);
    let DecodedArguments { arguments, .. } = decode(&template(&[argument_type], false), &record(0, &bytes, 1)).unwrap();
    assert_eq!(serde_json::to_string(&arguments).unwrap(), expected);
}

#[test]
fn integers_have_the_form_of_their_width() {
    let minus = (-100i64).to_le_bytes();
    check_argument(ArgumentType::Int32, 0, &minus, r#"[{"int_arg":-100}]"#);
    check_argument(ArgumentType::Int64, 0, &minus, r#"[{"long_arg":"-100"}]"#);
    check_argument(ArgumentType::Uint32, 0, &7u64.to_le_bytes(), r#"[{"uint_arg":7}]"#);
    check_argument(ArgumentType::SizeT, 0, &13u64.to_le_bytes(), r#"[{"size_arg":"13"}]"#);
    check_argument(
        ArgumentType::Syscall64,
        0,
        &137u64.to_le_bytes(),
        r#"[{"syscall_id":{"id":137,"abi":"x64"}}]"#,
    );
    check_argument(ArgumentType::Nop, 0, &minus, "[]");
}

#[test]
fn strings_and_faults() {
    check_argument(
        ArgumentType::String,
        wire::ARG_TRUNCATED,
        b"/etc/x\0",
        r#"[{"string_arg":"/etc/x"}]"#,
    );
    check_argument(
        ArgumentType::String,
        1,
        b"",
        r#"[{"error_arg":{"Message":"Bad address for basic type"}}]"#,
    );
}

#[test]
fn paths_show_permission_and_unresolved_components() {
    let mut fixed = wire::ArgumentPath::new_zeroed();
    fixed.mode = 0o100_644;
    fixed.flags = wire::PATH_UNRESOLVED;
    let payload = [fixed.as_bytes(), b"/etc/passwd"].concat();
    check_argument(
        ArgumentType::File,
        0,
        &payload,
        r#"[{"file_arg":{"path":"/etc/passwd","flags":"unresolvedPathComponents","permission":"-rw-r--r--"}}]"#,
    );
    fixed.flags = 0;
    check_argument(
        ArgumentType::LinuxBinprm,
        0,
        &[fixed.as_bytes(), b"/bin/x"].concat(),
        r#"[{"linux_binprm_arg":{"path":"/bin/x","permission":"-rw-r--r--"}}]"#,
    );
}

#[test]
fn sockets_show_addresses_and_names() {
    let mut sock = wire::ArgumentSock::new_zeroed();
    (sock.family, sock.r#type, sock.protocol, sock.state) = (2, 1, 6, 2);
    (sock.sport, sock.dport, sock.cookie) = (36261, 9, 42);
    sock.saddr[..4].copy_from_slice(&[127, 0, 0, 1]);
    sock.daddr[..4].copy_from_slice(&[10, 0, 0, 2]);
    check_argument(
        ArgumentType::Sock,
        0,
        sock.as_bytes(),
        concat!(
            r#"[{"sock_arg":{"family":"AF_INET","type":"SOCK_STREAM","protocol":"IPPROTO_TCP","saddr":"127.0.0.1","#,
            r#""daddr":"10.0.0.2","sport":36261,"dport":9,"cookie":"42","state":"TCP_SYN_SENT"}}]"#
        ),
    );
    let mut address = wire::ArgumentSockaddr::new_zeroed();
    (address.family, address.port) = (10, 443);
    address.addr[15] = 1;
    check_argument(
        ArgumentType::Sockaddr,
        0,
        address.as_bytes(),
        r#"[{"sockaddr_arg":{"family":"AF_INET6","addr":"::1","port":443}}]"#,
    );
}

#[test]
fn halves_carry_their_end_of_the_template() {
    let template = template(&[ArgumentType::String, ArgumentType::Int32], true);
    let first = argument(0, b"x");
    let DecodedArguments {
        arguments,
        return_value: value,
        ..
    } = decode(&template, &record(wire::RECORD_FLAG_AWAIT_RETURN, &first, 1)).unwrap();
    assert_eq!((arguments.len(), value.is_none()), (1, true));
    let second = argument(0, &(-2i64).to_le_bytes());
    let DecodedArguments {
        arguments,
        return_value: value,
        ..
    } = decode(&template, &record(wire::RECORD_FLAG_RETURN, &second, 1)).unwrap();
    assert!(arguments.is_empty());
    assert_eq!(value.unwrap().arg, Some(Arg::IntArg(-2)));
    let both = [first, second].concat();
    let DecodedArguments {
        arguments,
        return_value: value,
        ..
    } = decode(&template, &record(0, &both, 2)).unwrap();
    assert_eq!((arguments.len(), value.is_some()), (1, true));
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let bytes = argument(0, b"abc");
    assert_eq!(
        decode(&template(&[ArgumentType::Int32], false), &record(0, &bytes, 1)),
        Err(DecodeError::Arguments)
    );
    assert_eq!(
        decode(&template(&[], false), &record(0, &bytes, 1)),
        Err(DecodeError::Arguments)
    );
    assert_eq!(
        decode(&template(&[ArgumentType::Int32; 2], false), &record(0, &bytes, 2)),
        Err(DecodeError::Arguments)
    );
}

fn half(account: &Arc<Account>, tid: u32, time: u64) -> Half {
    Half {
        event_tid: tid,
        stacks: StackTraces::default(),
        template: Arc::new(Template {
            description: template(&[], false),
            account: Arc::clone(account),
        }),
        time: KernelTime(time),
        process: ProcessKey::new(tid, 1),
        tid,
        arguments: vec![KprobeArgument::default()],
        data: Vec::new(),
        action: 1,
    }
}

#[test]
fn waiting_halves_are_bounded_and_their_loss_is_counted() {
    let account = Arc::new(Account::default());
    let mut pairs = Pairs::new(4);
    for call in 0..10 {
        pairs.wait(call, half(&account, 1, call));
    }
    assert_eq!(pairs.len(), 4);
    assert_eq!(account.expired.get(), 6);
    assert!(pairs.take(1, 0).is_none());
    assert_eq!(pairs.take(1, 9).unwrap().time, KernelTime(9));
    assert!(pairs.take(1, 9).is_none());
}

#[test]
fn calls_of_an_ended_process_come_out_in_order() {
    let account = Arc::new(Account::default());
    let mut pairs = Pairs::new(100);
    pairs.wait(2, half(&account, 1, 20));
    pairs.wait(1, half(&account, 1, 10));
    pairs.wait(3, half(&account, 2, 15));
    let times: Vec<u64> = pairs
        .take_all_of(ProcessKey::new(1, 1))
        .iter()
        .map(|half| half.time.0)
        .collect();
    assert_eq!(times, [10, 20]);
    assert_eq!(pairs.len(), 1);
}

#[test]
fn records_of_replaced_objects_can_still_be_decoded() {
    let account = Arc::new(Account::default());
    let mut registry = Registry::default();
    let one = || {
        vec![Template {
            description: template(&[], false),
            account: Arc::clone(&account),
        }]
    };
    registry.insert(5, one());
    registry.retire(5);
    assert!(registry.get(5, 0).is_ok());
    assert_eq!(
        registry.get(5, 1).unwrap_err(),
        DecodeError::UnknownTemplate { tag: 5, index: 1 }
    );
    for tag in 10..2000 {
        registry.insert(tag, one());
        registry.retire(tag);
    }
    assert_eq!(registry.get(5, 0).unwrap_err(), DecodeError::UnknownObject(5));
}
