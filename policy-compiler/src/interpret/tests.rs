use std::sync::Arc;

use super::*;
use crate::hir::Selector;
use crate::hir::{CapabilitySet, Namespace, Network, Post};
use crate::hir::{IntegerTest, OperandSource, Predicate, SockSide, SockTest, Target, TextComparison, TextTest};
use crate::output::ArgumentType::{Int8, Int32, Uint32};
use crate::output::{ArgumentType, HookKind, SourceLine};
use crate::set::Scope;

fn line() -> SourceLine {
    SourceLine {
        file: Arc::from("policy.yaml"),
        line: 1,
        column: 1,
        text: Arc::from(""),
    }
}

fn operand(index: u32, argument_type: ArgumentType) -> Operand {
    Operand {
        source: OperandSource::Parameter(index),
        argument_type,
        exact_type: false,
    }
}

fn selector(filters: Vec<Predicate>) -> Selector {
    Selector {
        index: 0,
        filters: filters
            .into_iter()
            .map(|predicate| Filter {
                predicate,
                line: line(),
            })
            .collect(),
        return_filters: Vec::new(),
        actions: Actions {
            post: Some(Post::default()),
            reported: 1,
            ..Actions::default()
        },
        return_actions: Actions::default(),
        line: line(),
    }
}

fn hook(selectors: Vec<Selector>) -> Hook {
    Hook {
        policy_slot: 0,
        scope: Scope::All,
        policy_name: Arc::from("test"),
        policy_namespace: None,
        kind: HookKind::Kprobe,
        hook_index: 0,
        instance: 0,
        target: Target::Syscall("openat".into()),
        arguments: Vec::new(),
        returned: None,
        tracks_returned: None,
        follows_socks: false,
        selectors,
        message: Arc::from(""),
        tags: Vec::new(),
        line: line(),
    }
}

fn text(index: u32, argument_type: ArgumentType, comparison: TextComparison, value: &str, negated: bool) -> Predicate {
    Predicate::Text {
        operand: operand(index, argument_type),
        test: TextTest {
            comparison,
            values: vec![value.into()],
        },
        negated,
    }
}

fn call(values: impl IntoIterator<Item = (Operand, Value)>) -> Call {
    Call {
        values: values.into_iter().collect(),
        process: Process::default(),
        notified: None,
    }
}

fn check(predicate: &Predicate, call: &Call, expected: Truth) {
    assert_eq!(holds(predicate, call), expected, "{predicate:?}");
}

#[test]
fn the_first_selector_that_holds_wins() {
    let string = |value, negated| text(1, ArgumentType::String, TextComparison::Prefix, value, negated);
    let hook = hook(vec![
        selector(vec![string("/etc/shadow", false)]),
        selector(vec![string("/etc", false)]),
        selector(vec![string("/etc", true)]),
    ]);
    for (path, expected) in [
        ("/etc/shadow", Selection::Selector(0)),
        ("/etc/passwd", Selection::Selector(1)),
        ("/", Selection::Selector(2)),
    ] {
        let call = call([(operand(1, ArgumentType::String), Value::String(path.into()))]);
        assert_eq!(select(&hook, &call), expected, "{path}");
    }
}

#[test]
fn a_policy_for_workloads_is_not_asked_in_others() {
    let mut hook = hook(Vec::new());
    hook.policy_slot = 7;
    let mut call = call([]);
    assert_eq!(select(&hook, &call), Selection::Selector(0));
    hook.scope = Scope::Workloads;
    assert_eq!(select(&hook, &call), Selection::None);
    call.process.workload = [6, 8].into();
    assert_eq!(select(&hook, &call), Selection::None);
    call.process.workload = [7].into();
    assert_eq!(select(&hook, &call), Selection::Selector(0));
}

#[test]
fn what_cannot_be_read_leaves_a_selector_open_unless_another_filter_fails() {
    let string = |index, value| text(index, ArgumentType::String, TextComparison::Equal, value, false);
    let unread = (operand(1, ArgumentType::String), Value::Unreadable);
    let other = |value: &str| (operand(3, ArgumentType::String), Value::String(value.into()));
    let both = hook(vec![selector(vec![string(1, "a"), string(3, "b")])]);
    assert_eq!(select(&both, &call([unread.clone(), other("b")])), Selection::Undecided);
    assert_eq!(select(&both, &call([unread.clone(), other("c")])), Selection::None);
    // one before it that holds is first, whatever comes after
    let first = hook(vec![selector(vec![string(3, "b")]), selector(vec![string(1, "a")])]);
    assert_eq!(
        select(&first, &call([unread.clone(), other("b")])),
        Selection::Selector(0)
    );
    assert_eq!(select(&first, &call([unread, other("c")])), Selection::Undecided);
}

#[test]
fn the_type_of_a_file_is_known_without_its_path() {
    let file = operand(0, ArgumentType::File);
    let is = |types: &[u16], negated| Predicate::FileType {
        operand: file.clone(),
        types: types.to_vec(),
        negated,
    };
    let (fifo, directory, regular) = (0o010_000, 0o040_000, 0o100_000);
    let unnamed = call([(
        file.clone(),
        Value::Path {
            path: Vec::new(),
            mode: 0o010_600,
        },
    )]);
    check(&is(&[fifo, regular], false), &unnamed, Truth::Yes);
    check(&is(&[fifo, regular], true), &unnamed, Truth::No);
    check(&is(&[directory], false), &unnamed, Truth::No);
    check(&is(&[directory], true), &unnamed, Truth::Yes);
    for negated in [false, true] {
        check(
            &is(&[regular], negated),
            &call([(file.clone(), Value::Absent)]),
            Truth::No,
        );
    }
}

#[test]
fn empty_paths_match_nothing_and_empty_strings_are_strings() {
    for negated in [false, true] {
        let path = text(0, ArgumentType::Path, TextComparison::Prefix, "/x", negated);
        let empty = call([(
            operand(0, ArgumentType::Path),
            Value::Path {
                path: Vec::new(),
                mode: 0o040_755,
            },
        )]);
        check(&path, &empty, Truth::No);
        check(
            &path,
            &call([(operand(0, ArgumentType::Path), Value::Absent)]),
            Truth::No,
        );
        let string = text(0, ArgumentType::String, TextComparison::Equal, "", negated);
        let empty = call([(operand(0, ArgumentType::String), Value::String(Vec::new()))]);
        check(&string, &empty, if negated { Truth::No } else { Truth::Yes });
    }
}

#[test]
fn numbers_are_cut_to_their_type_and_compared_by_its_sign() {
    let integer = |argument_type, test| Predicate::Integer {
        operand: operand(0, argument_type),
        test,
        negated: false,
    };
    let value = |argument_type, raw| call([(operand(0, argument_type), Value::Integer(raw))]);
    check(&integer(Int8, IntegerTest::Below(0)), &value(Int8, 0x1ff), Truth::Yes);
    check(
        &integer(Uint32, IntegerTest::Below(0)),
        &value(Uint32, u64::MAX),
        Truth::No,
    );
    check(
        &integer(Uint32, IntegerTest::Equal(vec![5])),
        &value(Uint32, 0xff_0000_0005),
        Truth::Yes,
    );
    let range = IntegerTest::Within(vec![(-2i64 as u64, 2)]);
    check(&integer(Int32, range.clone()), &value(Int32, 0xffff_fffe), Truth::Yes);
    check(&integer(Int32, range), &value(Int32, 3), Truth::No);
    check(&integer(Int32, IntegerTest::Mask(0x6)), &value(Int32, 0x9), Truth::No);
}

#[test]
fn addresses_belong_to_networks_of_their_family() {
    let operand = operand(0, ArgumentType::Sock);
    let test = |network, negated| Predicate::Sock {
        operand: operand.clone(),
        test: SockTest::Address(SockSide::Destination, vec![network]),
        negated,
    };
    let with = |family, bytes: &[u8]| {
        let mut sock = Sock {
            family,
            ..Sock::default()
        };
        sock.destination[..bytes.len()].copy_from_slice(bytes);
        call([(operand.clone(), Value::Sock(sock))])
    };
    let ten = Network::V4(0x0a00_0000, 8);
    check(&test(ten, false), &with(AF_INET, &[10, 1, 2, 3]), Truth::Yes);
    check(&test(ten, false), &with(AF_INET, &[11, 1, 2, 3]), Truth::No);
    check(
        &test(Network::V4(0, 0), false),
        &with(AF_INET, &[11, 1, 2, 3]),
        Truth::Yes,
    );
    check(&test(Network::V4(0, 0), false), &with(AF_INET6, &[10]), Truth::No);
    check(&test(Network::V6(1, 128), false), &with(AF_INET6, &[0; 16]), Truth::No);
    for negated in [false, true] {
        check(&test(ten, negated), &with(1, &[10, 0, 0, 1]), Truth::No);
    }
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[test]
fn unknown_processes_match_neither_a_filter_nor_its_negation() {
    for negated in [false, true] {
        let binary = Predicate::Binary {
            test: TextTest {
                comparison: TextComparison::Equal,
                values: vec![b"/bin/sh".to_vec()],
            },
            negated,
        };
        check(&binary, &Call::default(), Truth::No);
        let pid = Predicate::Pid {
            values: vec![1],
            is_namespace_pid: false,
            follow_forks: true,
            negated,
        };
        check(&pid, &Call::default(), Truth::No);
    }
}

#[test]
fn a_condition_on_the_user_namespace_is_not_negated() {
    for (inode, negated, expected) in [(7, true, Truth::No), (8, true, Truth::Yes), (8, false, Truth::No)] {
        let mut call = Call::default();
        call.process.namespaces.insert(Namespace::User, inode);
        let capability = Predicate::Capability {
            set: CapabilitySet::Effective,
            mask: 1 << 21,
            negated,
            outside_user_namespace: Some(7),
        };
        check(&capability, &call, expected);
    }
}

#[test]
fn monitoring_policies_report_and_do_nothing() {
    let mut killing = selector(Vec::new());
    killing.actions.signals = vec![9];
    killing.actions.override_errno = Some(13);
    let hook = hook(vec![killing]);
    let enforced = act(&hook, 0, false);
    assert_eq!(
        (enforced.signals.as_slice(), enforced.override_errno),
        ([9].as_slice(), Some(13))
    );
    let monitored = act(&hook, 0, true);
    assert_eq!((monitored.signals.len(), monitored.override_errno), (0, None));
    assert_eq!(
        (monitored.monitored_signals.as_slice(), monitored.monitored_override),
        ([9].as_slice(), true)
    );
    assert_eq!(monitored.post, enforced.post);
    assert_eq!(verdict([&monitored, &enforced]), Some(13));
}
