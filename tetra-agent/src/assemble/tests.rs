use ebpf::record as wire;
use zerocopy::IntoBytes as _;

use super::*;
use crate::policy::{Account, ArgumentTemplate, ArgumentType, EventTemplate, HookKind};

fn registry(account: &Arc<Account>) -> Registry {
    let description = EventTemplate {
        kind: HookKind::Kprobe,
        policy_slot: 0,
        policy_name: "p".into(),
        policy_namespace: None,
        function_name: "vfs_read".into(),
        subsystem: "".into(),
        event: "".into(),
        user: None,
        arguments: [ArgumentType::Uint64, ArgumentType::Int32]
            .map(|argument_type| ArgumentTemplate {
                argument_type,
                is_data: false,
                label: "".into(),
            })
            .to_vec(),
        has_return: true,
        message: "".into(),
        tags: vec![],
        hook_index: 0,
        selector_index: None,
    };
    let mut registry = Registry::default();
    registry.insert(
        9,
        vec![Template {
            description,
            account: Arc::clone(account),
        }],
    );
    registry
}

fn policy(tgid: u32, call_id: u64, flags: u16, words: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend_from_slice(wire::RecordArgument { status: 0, len: 8 }.as_bytes());
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let fixed = wire::RecordPolicy {
        header: wire::RecordHeader {
            size: (size_of::<wire::RecordPolicy>() + bytes.len()) as u32,
            kind: wire::RECORD_POLICY,
            flags,
            ktime: 500,
            tgid,
            tid: tgid + 1,
            start_ktime: 100,
        },
        call_id,
        object_tag: 9,
        argument_count: words.len() as u32,
        action: 1,
        ..Default::default()
    };
    [fixed.as_bytes(), &bytes].concat()
}

fn exit(tgid: u32) -> Vec<u8> {
    let header = wire::RecordHeader {
        size: size_of::<wire::RecordExit>() as u32,
        kind: wire::RECORD_EXIT,
        ktime: 900,
        tgid,
        tid: tgid,
        start_ktime: 100,
        ..Default::default()
    };
    wire::RecordExit {
        header,
        exit_code: 9,
        pad: 0,
    }
    .as_bytes()
    .to_vec()
}

/// Feeds records; what came out, as `arguments+return` counts, `exit` for exits.
fn check_events(records: &[Vec<u8>], expected: &[&str]) -> Arc<Account> {
    let account = Arc::new(Account::default());
    let registry = registry(&account);
    let mut assembler = Assembler::new(TableConfig::default());
    let mut events = Vec::new();
    for record in records {
        assembler.record(record, &registry, &mut events).unwrap();
    }
    assembler.finish(&mut events);
    let seen: Vec<String> = events
        .iter()
        .map(|event| match &event.body {
            EventBody::Policy(policy) => {
                format!("{}+{}", policy.arguments.len(), u8::from(policy.return_value.is_some()))
            }
            EventBody::Exit { .. } => "exit".to_owned(),
            EventBody::Exec(_) => "exec".to_owned(),
        })
        .collect();
    assert_eq!(seen, expected);
    let a = account.snapshot();
    assert_eq!(
        a.received,
        a.events + a.halves + a.undecodable + a.expired + a.cancelled,
        "the balance of {a:?}"
    );
    account
}

#[test]
fn whole_records_are_events() {
    let account = check_events(&[policy(7, 0, 0, &[1, 2]), policy(7, 0, 0, &[1])], &["1+1", "1+0"]);
    assert_eq!(account.events.get(), 2);
}

#[test]
fn halves_become_one_event() {
    let account = check_events(
        &[
            policy(7, 5, wire::RECORD_FLAG_AWAIT_RETURN, &[1]),
            policy(8, 5, wire::RECORD_FLAG_AWAIT_RETURN, &[1]),
            policy(7, 5, wire::RECORD_FLAG_RETURN, &[2]),
            policy(8, 5, wire::RECORD_FLAG_RETURN, &[2]),
        ],
        &["1+1", "1+1"],
    );
    assert_eq!((account.events.get(), account.halves.get()), (2, 2));
}

#[test]
fn a_rejected_return_takes_the_entry_with_it() {
    let account = check_events(
        &[
            policy(7, 5, wire::RECORD_FLAG_AWAIT_RETURN, &[1]),
            policy(7, 5, wire::RECORD_FLAG_RETURN | wire::RECORD_FLAG_CANCEL, &[]),
        ],
        &[],
    );
    assert_eq!(account.cancelled.get(), 2);
}

#[test]
fn calls_that_never_return_are_reported_when_their_process_ends() {
    check_events(
        &[policy(7, 5, wire::RECORD_FLAG_AWAIT_RETURN, &[1]), exit(7)],
        &["1+0", "exit"],
    );
    check_events(&[policy(7, 5, wire::RECORD_FLAG_AWAIT_RETURN, &[1])], &["1+0"]);
}

#[test]
fn a_return_without_its_entry_is_counted() {
    let account = check_events(&[policy(7, 5, wire::RECORD_FLAG_RETURN, &[2])], &[]);
    assert_eq!(account.expired.get(), 1);
}

#[test]
fn what_cannot_be_decoded_is_counted() {
    let mut assembler = Assembler::new(TableConfig::default());
    let mut events = Vec::new();
    assert!(assembler.record(b"junk", &Registry::default(), &mut events).is_err());
    let record = policy(7, 0, 0, &[1]);
    assert!(matches!(
        assembler.record(&record, &Registry::default(), &mut events),
        Err(AssembleError::Policy(DecodeError::UnknownObject(9)))
    ));
    let account = Arc::new(Account::default());
    assert!(
        assembler
            .record(&policy(7, 0, 0, &[1, 2, 3]), &registry(&account), &mut events)
            .is_err()
    );
    assert_eq!(account.undecodable.get(), 1);
    assert_eq!(
        (assembler.stats().undecodable, assembler.stats().unknown_template),
        (1, 1)
    );
    assert!(events.is_empty());
}
