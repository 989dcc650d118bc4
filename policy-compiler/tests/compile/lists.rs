//! Lists that the kernel fills.

use policy_compiler::facts::KernelFacts;
use policy_compiler::hir::Target;
use policy_compiler::{PolicySet, hooks, tracepoints_needed};
use tracingpolicy_crd::render;

use crate::facts::modern;
use crate::{policies, policy};

fn generated(list: &str) -> PolicySet {
    PolicySet::from_policies(policies(&policy(&format!(
        "  lists:\n  - {{name: all, {list}}}\n  kprobes:\n  - call: \"list:all\"\n"
    ))))
}

fn targets(list: &str, facts: &KernelFacts) -> Result<Vec<Target>, String> {
    let (hooks, diagnostics) = hooks(&generated(list), facts);
    if diagnostics.is_empty() {
        return Ok(hooks.into_iter().map(|hook| hook.target).collect());
    }
    Err(diagnostics.iter().map(render::line).collect::<Vec<_>>().join("\n"))
}

#[test]
fn all_system_calls_are_those_of_the_kernel() {
    let names = |facts: &KernelFacts| -> Vec<String> {
        let found = targets("type: generated_syscalls", facts).unwrap().into_iter();
        found
            .map(|target| match target {
                Target::Syscall(name) => name,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let mut facts = modern();
    facts.functions = ["__x64_sys_spu_run", "__x64_sys_ni_syscall", "__x64_other"]
        .map(str::to_owned)
        .into();
    assert_eq!(names(&facts), ["exit_group", "linkat", "openat", "setuid"]);
    facts.tracepoints.clear();
    let known = names(&facts);
    assert!(
        known.contains(&"openat".to_owned()) && known.contains(&"spu_run".to_owned()),
        "{known:?}"
    );
    assert!(
        !known
            .iter()
            .any(|name| name.contains("ni_syscall") || name.contains("other")),
        "{known:?}"
    );
    let set = generated("type: generated_syscalls");
    assert_eq!(
        tracepoints_needed(set.entries.iter().map(|entry| &entry.policy)),
        [("syscalls", "sys_enter_*"), ("syscalls", "sys_exit_*")].map(|(s, e)| (s.to_owned(), e.to_owned()))
    );
}

#[test]
fn a_pattern_finds_functions_that_can_be_probed() {
    let security = |found: Result<Vec<Target>, String>| {
        let found = found.unwrap();
        assert!(!found.is_empty());
        for target in &found {
            assert!(
                matches!(target, Target::Function(name) if name.starts_with("security_file_")),
                "{target:?}"
            );
        }
        found.len()
    };
    let list = "type: generated_ftrace, pattern: \"^security_file_\"";
    // known by type
    let by_type = security(targets(list, &modern()));
    let mut facts = modern();
    facts.functions = ["security_file_open", "file_security_open"].map(str::to_owned).into();
    assert_eq!(security(targets(list, &facts)), 1);
    assert!(by_type > 1);
}

#[test]
fn a_pattern_that_finds_nothing_is_an_error() {
    for (pattern, message) in [
        ("^no_such_", "matches the pattern"),
        ("^(open", "not a regular expression: "),
    ] {
        let error = targets(&format!("type: generated_ftrace, pattern: \"{pattern}\""), &modern()).unwrap_err();
        assert!(
            error.starts_with("policy.yaml:7:") && error.contains(message),
            "{error}"
        );
    }
}

/// What is said of a list of system calls that `use_of_list` uses.
fn said(values: &str, use_of_list: &str) -> String {
    let text = policy(&format!(
        "  lists:\n  - {{name: calls, type: syscalls, values: [{values}]}}\n{use_of_list}"
    ));
    let set = PolicySet::from_policies(policies(&text));
    let (_, diagnostics) = hooks(&set, &modern());
    diagnostics.iter().map(render::line).collect::<Vec<_>>().join("\n")
}

#[test]
fn calls_of_another_abi_are_not_taken_for_those_of_this_one() {
    let function = "  kprobes:\n  - call: \"list:calls\"\n";
    assert_eq!(
        said("sys_openat, __x64_sys_openat, x64/sys_openat, openat", function),
        ""
    );
    for value in ["__ia32_sys_openat", "i386/sys_openat", "arm64/sys_openat"] {
        let said = said(value, function);
        assert!(said.contains("another ABI"), "{value}: {said}");
    }
    let enforcer = "  enforcers: [{calls: [\"list:calls\"]}]\n  kprobes:\n  - call: sys_setuid\n    selectors:\n    - matchActions: [{action: NotifyEnforcer, argSig: 9}]\n";
    assert_eq!(said("sys_openat, openat", enforcer), "");
    let wrong = said("arm64/sys_openat", enforcer);
    assert!(wrong.contains("no program of this machine"), "{wrong}");
    let idle = said("sys_openat", &enforcer.replace("NotifyEnforcer, argSig: 9", "Post"));
    assert!(idle.contains("nobody tells the enforcer"), "{idle}");
}
