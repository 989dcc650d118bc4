//! When tests are made and how, and where hooks go, in words.

use crate::facts::{modern, without_probes};
use crate::{compiled, policies, policy};
use policy_compiler::explain::{Outcome, attachments, explain, predicate};
use policy_compiler::facts::KernelFacts;
use policy_compiler::{Options, PolicySet, Scope, compile};

/// The tests and dimensions of the first program of a policy, one a line.
fn check_explained(spec: &str, facts: &KernelFacts, tests: &[&str], dimensions: &[&str]) {
    let compilation = compiled(spec, facts);
    assert_eq!(compilation.plans.len(), compilation.objects.len());
    let explanation = explain(&compilation.plans[0]);
    let found: Vec<String> = explanation
        .tests
        .iter()
        .map(|test| {
            let lines: Vec<String> = test.asked_by.iter().map(|(_, line)| line.line.to_string()).collect();
            format!(
                "{} {} @{}",
                test.stage.as_str(),
                predicate(&test.predicate),
                lines.join(",")
            )
        })
        .collect();
    assert_eq!(found, tests);
    let found: Vec<String> = explanation
        .dimensions
        .iter()
        .map(|d| format!("{}: {} in {}, {}", d.what, d.values, d.tests, d.how))
        .collect();
    assert_eq!(found, dimensions);
}

const PERMISSION: &str = "  kprobes:\n  - call: security_file_permission\n    syscall: false\n    args: [{index: 0, type: file}, {index: 1, type: int}]\n";

#[test]
fn tests_have_the_stage_in_which_they_are_made() {
    let spec = format!(
        "{PERMISSION}    return: true\n    returnArg: {{index: 0, type: int}}\n    selectors:\n    - matchArgs:\n      - {{index: 0, operator: Prefix, values: [/etc, /boot]}}\n      - {{index: 1, operator: Equal, values: [\"4\"]}}\n      matchBinaries:\n      - {{operator: NotIn, values: [/bin/cat]}}\n      matchReturnArgs:\n      - {{index: 0, operator: LT, values: [\"0\"]}}\n    - matchArgs:\n      - {{index: 0, operator: Prefix, values: [/usr]}}\n      - {{index: 1, operator: Equal, values: [\"4\"]}}\n"
    );
    check_explained(
        &spec,
        &modern(),
        &[
            "exec binary NotIn /bin/cat @17",
            "cheap argument 1 (int32) Equal 4 @15,22",
            "dear argument 0 (file) Prefix /boot /etc @14",
            "dear argument 0 (file) Prefix /usr @21",
            "return result (int32) LT 0 @19",
        ],
        &[
            "argument 1 (int32): 1 in 1, compared one after the other",
            "binary Equal: 1 in 1, a bit of the process record, decided by a tree over 8-byte words",
            "argument 0 (file) Prefix: 3 in 2, decision tree over 8-byte words from the start",
            "result (int32): 1 in 1, one compare",
        ],
    );
}

#[test]
fn many_numbers_are_searched_and_sockets_are_taken_apart() {
    let setuid = "  kprobes:\n  - call: sys_setuid\n    args: [{index: 0, type: int}]\n    selectors:\n    - matchArgs:\n      - {index: 0, operator: Equal, values: [\"1\", \"2\", \"3\", \"4\", \"-5\"]}\n";
    check_explained(
        setuid,
        &modern(),
        &["cheap argument 0 (int32) Equal 1 2 3 4 -5 @11"],
        &["argument 0 (int32): 5 in 1, binary search, at most four compares at its end"],
    );
    let connect = "  kprobes:\n  - call: tcp_connect\n    syscall: false\n    args: [{index: 0, type: sock}]\n    selectors:\n    - matchArgs:\n      - {index: 0, operator: NotDAddr, values: [127.0.0.0/8, \"::1\"]}\n      - {index: 0, operator: DPort, values: [\"443\", \"8000:8080\"]}\n";
    check_explained(
        connect,
        &modern(),
        &[
            "dear argument 0 (sock) NotDAddr 127.0.0.0/8 ::1/128 @12",
            "dear argument 0 (sock) DPort 443 8000:8080 @13",
        ],
        &[
            "argument 0 (sock) DAddr: 2 in 1, for each prefix length a search over the address",
            "argument 0 (sock) DPort: 2 in 1, ranges in ascending order",
        ],
    );
}

#[test]
fn a_selector_without_filters_matches_every_call() {
    let explanation = |spec: &str| explain(&compiled(spec, &modern()).plans[0]);
    assert!(explanation(PERMISSION).always_matches);
    let filtered =
        format!("{PERMISSION}    selectors: [{{matchArgs: [{{index: 1, operator: Equal, values: [\"4\"]}}]}}]\n");
    assert!(!explanation(&filtered).always_matches);
}

#[test]
fn policies_for_workloads_are_told_apart_from_those_for_all() {
    let text = [policy(PERMISSION), policy(PERMISSION)].join("---\n");
    let mut set = PolicySet::from_policies(policies(&text));
    set.entries[0].scope = Scope::Workloads;
    let options = Options {
        emit_passes: true,
        ..Options::default()
    };
    let plans = compile(&set, &modern(), &options).plans;
    let scoped = explain(&plans[0]).for_workloads;
    assert_eq!(scoped.len(), 1);
    assert_eq!(*scoped[0], *set.entries[0].policy.name);
    assert!(explain(&plans[0]).always_matches, "the other one is for all");
}

#[test]
fn attachments_differ_by_kernel_and_policies_stay_whole() {
    let spec = format!("{PERMISSION}  - call: sys_setuid\n    args: [{{index: 0, type: int}}]\n");
    let set = PolicySet::from_policies(policies(&policy(&spec)));
    let outcomes = |facts: &KernelFacts| -> Vec<(String, Outcome)> {
        attachments(&set, facts)
            .into_iter()
            .map(|a| (a.hook.unwrap_or_default(), a.outcome))
            .collect()
    };
    let on_modern = outcomes(&modern());
    assert_eq!(on_modern[0].0, "function security_file_permission");
    assert!(
        on_modern.iter().all(|(_, o)| matches!(o, Outcome::Attached { .. })),
        "{on_modern:?}"
    );
    let without = outcomes(&without_probes());
    assert!(
        matches!(&without[0].1, Outcome::Refused { code, .. } if code.0 == 512),
        "{without:?}"
    );
    assert_eq!(without[1], ("syscall setuid".into(), Outcome::LeftOut));
}
