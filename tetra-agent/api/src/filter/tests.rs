use crate::tetragon::get_events_response::Event;
use crate::tetragon::{
    CapFilter, CapFilterSet, Capabilities, EventType, GetEventsResponse, Pod, Process, ProcessExec, ProcessKprobe,
    ProcessThrottle,
};

use super::*;

const ALL: FilterOptions = FilterOptions {
    ancestors: true,
    credentials: true,
    pid_sets: true,
};

fn exec(pid: u32, binary: &str, parent: Option<Process>) -> GetEventsResponse {
    let process = Process {
        pid: Some(pid),
        binary: binary.into(),
        arguments: "-c x".into(),
        ..Default::default()
    };
    GetEventsResponse {
        event: Some(Event::ProcessExec(ProcessExec {
            process: Some(process),
            parent,
            ancestors: vec![],
        })),
        node_name: "n".into(),
        ..Default::default()
    }
}

fn check_filter(json: &str, event: &GetEventsResponse, expected: bool) {
    let filters = parse_filters(json).unwrap();
    let lists = FilterLists::new(&filters, &[], ALL).unwrap();
    assert_eq!(lists.pass(event), expected, "{json}");
}

#[test]
fn an_empty_filter_and_no_filter_match_everything() {
    let event = exec(1, "/bin/sh", None);
    check_filter("", &event, true);
    check_filter("{}", &event, true);
    let throttle = GetEventsResponse {
        event: Some(Event::ProcessThrottle(ProcessThrottle::default())),
        ..Default::default()
    };
    check_filter("{}", &throttle, true);
    check_filter(r#"{"namespace":[""]}"#, &throttle, false);
}

#[test]
fn fields_are_anded_and_values_ored() {
    let event = exec(7, "/usr/bin/curl", None);
    check_filter(
        r#"{"binary_regex":["wget","curl$"],"event_set":["PROCESS_EXEC"]}"#,
        &event,
        true,
    );
    check_filter(r#"{"binaryRegex":["curl"],"eventSet":["PROCESS_EXIT"]}"#, &event, false);
    check_filter(r#"{"binary_regex":["wget"]}{"pid":[7]}"#, &event, true);
    check_filter(r#"{"arguments_regex":["^-c"]}"#, &event, true);
    check_filter(r#"{"namespace":[""]}"#, &event, true);
    check_filter(r#"{"namespace":["default"]}"#, &event, false);
    check_filter(r#"{"health_check":false}"#, &event, true);
    check_filter(r#"{"policy_names":["p"]}"#, &event, false);
}

#[test]
fn policies_and_pods_match_by_name() {
    let process = Process {
        pod: Some(Pod {
            namespace: "ns".into(),
            name: "web-1".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let kprobe = ProcessKprobe {
        process: Some(process),
        policy_name: "p".into(),
        ..Default::default()
    };
    let event = GetEventsResponse {
        event: Some(Event::ProcessKprobe(kprobe)),
        ..Default::default()
    };
    check_filter(
        r#"{"policy_names":["q","p"],"namespace":["ns"],"pod_regex":["^web"]}"#,
        &event,
        true,
    );
    check_filter(r#"{"namespace":[""]}"#, &event, false);
    check_filter(r#"{"namespace_regex":["^n"]}"#, &event, true);
}

#[test]
fn the_deny_list_wins() {
    let deny = parse_filters(r#"{"binary_regex":["curl"]}"#).unwrap();
    let lists = FilterLists::new(&[], &deny, ALL).unwrap();
    assert!(!lists.pass(&exec(1, "/usr/bin/curl", None)));
    assert!(lists.pass(&exec(1, "/usr/bin/wget", None)));
}

#[test]
fn a_pid_set_follows_descendants() {
    let lists = FilterLists::new(&parse_filters(r#"{"pid_set":[10]}"#).unwrap(), &[], ALL).unwrap();
    let process = |pid| Process {
        pid: Some(pid),
        ..Default::default()
    };
    assert!(lists.pass(&exec(10, "a", Some(process(1)))));
    assert!(lists.pass(&exec(11, "b", Some(process(10)))));
    assert!(lists.pass(&exec(12, "c", Some(process(11)))));
    assert!(!lists.pass(&exec(13, "d", Some(process(1)))));
}

#[test]
fn capability_sets_are_compared() {
    let mut event = exec(1, "a", None);
    let Some(Event::ProcessExec(payload)) = &mut event.event else {
        unreachable!()
    };
    payload.process.as_mut().unwrap().cap = Some(Capabilities {
        effective: vec![0, 21],
        ..Default::default()
    });
    let check = |set: CapFilterSet, expected| {
        let filter = Filter {
            capabilities: Some(CapFilter {
                effective: Some(set),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(FilterLists::new(&[filter], &[], ALL).unwrap().pass(&event), expected);
    };
    check(
        CapFilterSet {
            any: vec![21, 22],
            ..Default::default()
        },
        true,
    );
    check(
        CapFilterSet {
            all: vec![21, 22],
            ..Default::default()
        },
        false,
    );
    check(
        CapFilterSet {
            exactly: vec![0, 21],
            ..Default::default()
        },
        true,
    );
    check(
        CapFilterSet {
            none: vec![5],
            ..Default::default()
        },
        true,
    );
}

#[test]
fn a_pid_set_sees_what_other_conditions_and_filters_decide() {
    let child_of = |pid, parent, binary| {
        let parent = Process {
            pid: Some(parent),
            ..Default::default()
        };
        exec(pid, binary, Some(parent))
    };
    // the shell between is not what the filter is for, but its children are
    let list = |json| parse_filters(json).unwrap();
    let both = r#"{"binary_regex":["curl$"],"pid_set":[10]}"#;
    let lists = FilterLists::new(&list(both), &[], ALL).unwrap();
    assert!(!lists.pass(&child_of(11, 10, "/bin/sh")));
    assert!(lists.pass(&child_of(12, 11, "/usr/bin/curl")));

    let denied = r#"{"binary_regex":["sh$"]} {"pid_set":[10]}"#;
    let lists = FilterLists::new(&[], &list(denied), ALL).unwrap();
    assert!(!lists.pass(&child_of(11, 10, "/bin/sh")));
    assert!(!lists.pass(&child_of(12, 11, "/usr/bin/curl")));

    let lists = FilterLists::new(
        &list(r#"{"binary_regex":["curl$"]}"#),
        &list(r#"{"pid_set":[10]}"#),
        ALL,
    )
    .unwrap();
    assert!(!lists.pass(&child_of(11, 10, "/bin/sh")));
    assert!(!lists.pass(&child_of(12, 11, "/usr/bin/curl")));
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for json in [
        r#"{"binary_regex":["("]}"#,
        r#"{"labels":["a in b"]}"#,
        r#"{"cel_expression":["true"]}"#,
        r#"{"ancestor_binary_regex":["a"]}"#,
        r#"{"pid_set":[1]}"#,
        r#"{"capabilities":{"effective":{"any":["CAP_CHOWN"]}}}"#,
    ] {
        let filters = parse_filters(json).unwrap();
        assert!(
            FilterLists::new(&filters, &[], FilterOptions::default()).is_err(),
            "{json}"
        );
    }
    assert!(matches!(
        parse_filters(r#"{} {"binaryregexp":[]}"#),
        Err(FilterError::UnknownKey { position: 2, .. })
    ));
    assert!(matches!(parse_filters("{"), Err(FilterError::Json { position: 1, .. })));
}

#[test]
fn field_filters_keep_and_remove() {
    let apply = |json: &str| {
        let filters = FieldFilters::new(&parse_field_filters(json).unwrap()).unwrap();
        serde_json::to_string(&filters.apply(&exec(7, "/bin/sh", None))).unwrap()
    };
    assert_eq!(
        apply(r#"{"fields":"process.pid,process.binary","action":"INCLUDE"}"#),
        r#"{"process_exec":{"process":{"pid":7,"binary":"/bin/sh"}},"node_name":"n"}"#
    );
    assert_eq!(
        apply(r#"{"fields":"process.arguments,process.pid","action":"EXCLUDE","event_set":["PROCESS_EXEC"]}"#),
        r#"{"process_exec":{"process":{"binary":"/bin/sh"}},"node_name":"n"}"#
    );
    let untouched =
        apply(r#"{"fields":"process.pid","action":"EXCLUDE","event_set":["PROCESS_EXEC"],"invert_event_set":true}"#);
    assert!(untouched.contains("\"pid\":7"), "{untouched}");
    let wrong = parse_field_filters(r#"{"fields":"process.nonsense"}"#).unwrap();
    assert!(matches!(FieldFilters::new(&wrong), Err(FilterError::UnknownField(path)) if path == "process.nonsense"));
}

#[test]
fn an_event_that_cannot_be_cut_is_withheld() {
    let filters = parse_field_filters(r#"{"fields":"process.arguments","action":"EXCLUDE"}"#).unwrap();
    let mut event = exec(7, "/bin/sh", None);
    // JSON has no name for this number
    let kprobe = ProcessKprobe {
        process: Some(Process {
            arguments: "--password x".into(),
            ..Default::default()
        }),
        action: 9999,
        ..Default::default()
    };
    event.event = Some(Event::ProcessKprobe(kprobe));
    let sent = FieldFilters::new(&filters).unwrap().apply(&event);
    assert_eq!(sent.node_name, "n");
    let told = sent.event.as_ref();
    assert!(
        matches!(told, Some(Event::RateLimitInfo(info)) if info.number_of_dropped_process_events == 1),
        "{sent:?}"
    );
}

#[test]
fn event_types_are_checked() {
    let filter = Filter {
        event_set: vec![2],
        ..Default::default()
    };
    assert!(FilterLists::new(&[filter], &[], ALL).is_err());
    let filter = Filter {
        event_set: vec![EventType::ProcessExec as i32],
        ..Default::default()
    };
    assert!(FilterLists::new(&[filter], &[], ALL).unwrap().pass(&exec(1, "a", None)));
}

#[test]
fn labels_are_those_of_the_pod() {
    let mut event = exec(1, "/bin/sh", None);
    check_filter(r#"{"labels":["app=web"]}"#, &event, false);
    check_filter(r#"{"labels":["!app"]}"#, &event, false);
    if let Some(Event::ProcessExec(exec)) = &mut event.event
        && let Some(process) = &mut exec.process
    {
        process.pod = Some(Pod {
            pod_labels: [("app".to_owned(), "web".to_owned())].into(),
            ..Default::default()
        });
    }
    check_filter(r#"{"labels":["app=db","app in (web)"]}"#, &event, true);
    check_filter(r#"{"labels":["!app"]}"#, &event, false);
}

#[test]
fn expressions_are_about_the_fields_of_an_event() {
    let parent = Process {
        pid: Some(1),
        binary: "/sbin/init".into(),
        ..Default::default()
    };
    let event = exec(4711, "/usr/bin/curl", Some(parent));
    for (expression, expected) in [
        ("process_exec.process.binary == '/usr/bin/curl'", true),
        (
            "process_exec.process.pid == 4711 && process_exec.parent.pid < uint(2)",
            true,
        ),
        ("process_exec.process.pid > 4711u", false),
        (
            "process_exec.process.binary.endsWith('curl') || process_exec.process.uid == 0u",
            true,
        ),
        // the process has no uid here: what asks for it cannot be told
        ("process_exec.process.uid == 0u", false),
        ("!has(process_exec.process.uid) && has(process_exec.parent)", true),
        ("process_exec.process.arguments.matches('^-c +x$')", true),
        ("process_exec.process.arguments", false),
        ("process_exit.signal == 'SIGKILL'", false),
        (
            "process_kprobe.policy_name == 'p' || process_exec.process.binary.contains('bin')",
            true,
        ),
    ] {
        check_filter(&format!(r#"{{"cel_expression":["{expression}"]}}"#), &event, expected);
    }

    let kprobe = ProcessKprobe {
        function_name: "f".into(),
        args: vec![
            crate::tetragon::KprobeArgument {
                arg: Some(crate::tetragon::kprobe_argument::Arg::SizeArg(1 << 40)),
                ..Default::default()
            },
            crate::tetragon::KprobeArgument {
                arg: Some(crate::tetragon::kprobe_argument::Arg::IntArg(-3)),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let event = GetEventsResponse {
        event: Some(Event::ProcessKprobe(kprobe)),
        ..Default::default()
    };
    for (expression, expected) in [
        ("process_kprobe.args[0].size_arg == 1099511627776u", true),
        ("process_kprobe.args.exists(a, has(a.int_arg) && a.int_arg < 0)", true),
        ("process_kprobe.args.all(a, has(a.int_arg))", false),
        ("size(process_kprobe.args) == 2", true),
        ("process_kprobe.args[7].int_arg == 0", false),
    ] {
        check_filter(&format!(r#"{{"cel_expression":["{expression}"]}}"#), &event, expected);
    }
}

#[test]
fn expressions_that_cannot_be_honoured_are_refused_with_a_reason() {
    let refused = |expression: String, wanted: &str| {
        let filter = Filter {
            cel_expression: vec![expression.clone()],
            ..Default::default()
        };
        let error = FilterLists::new(&[filter], &[], ALL).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    refused("process_exec.".into(), "cel_expression");
    refused("1 == 1".into(), "names no event");
    refused(
        "ip(process_exec.process.binary) == ip('::1')".into(),
        "no function `ip`",
    );
    refused(format!("process_exec == '{}'", "x".repeat(5000)), "4096 are possible");
    // as wide, and as deep, as it fits
    refused(format!("process_exec{}", "+1".repeat(2000)), "64 deep");
    refused(format!("[process_exec{}]", ",1".repeat(1200)), "1000 parts");
    let nested = "process_exec.ancestors.all(a, ".repeat(4) + "true" + &")".repeat(4);
    refused(nested, "3 deep");
    refused("process_exec[".repeat(300), "cel_expression");
    refused(format!("process_exec{}", ".a".repeat(1900)), "64 deep");
    // parentheses leave nothing in the tree
    let deep = format!("{}process_exec.process.pid == 1u{}", "(".repeat(2000), ")".repeat(2000));
    check_filter(
        &format!(r#"{{"cel_expression":["{deep}"]}}"#),
        &exec(1, "/bin/sh", None),
        true,
    );
}
