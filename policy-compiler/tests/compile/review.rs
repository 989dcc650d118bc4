//! Findings of a review: each with a policy that deserves it, and its nearest neighbours that do not.

use crate::facts::{modern, with, without_probes};
use crate::{policies, policy};
use policy_compiler::facts::KernelFacts;
use policy_compiler::review::review;
use policy_compiler::{Options, PolicySet, compile};
use tracingpolicy_crd::Diagnostic;

fn findings(spec: &str, facts: &KernelFacts) -> Vec<Diagnostic> {
    findings_of(&[policy(spec)], facts)
}

fn findings_of(texts: &[String], facts: &KernelFacts) -> Vec<Diagnostic> {
    let set = PolicySet::from_policies(texts.iter().flat_map(|text| policies(text)));
    let compilation = compile(&set, facts, &Options::default());
    let errors: Vec<&Diagnostic> = compilation.diagnostics.iter().filter(|d| d.is_error()).collect();
    assert!(
        errors.is_empty(),
        "only policies that compile are reviewed: {errors:#?}"
    );
    review(&set, facts)
}

/// The policy gives this finding once, on this line, and it has a page and a help.
fn check_found(spec: &str, facts: &KernelFacts, code: u16, line: u32, message: &str, help: &str) {
    let all = findings(spec, facts);
    let found: Vec<&Diagnostic> = all.iter().filter(|d| d.code.0 == code).collect();
    let [found] = found[..] else {
        panic!("TP{code:04} once expected: {all:#?}");
    };
    assert_eq!(
        found.source.position(found.primary.span.start).line,
        line,
        "{}",
        found.message
    );
    assert!(found.message.contains(message), "{}", found.message);
    assert!(
        found.help.as_deref().is_some_and(|h| h.contains(help)),
        "{:?}",
        found.help
    );
    assert!(!found.is_error());
    assert!(
        tracingpolicy_crd::explain(found.code).is_some(),
        "no page for {}",
        found.code
    );
}

fn check_silent(spec: &str, facts: &KernelFacts, code: u16) {
    let all = findings(spec, facts);
    assert!(
        all.iter().all(|d| d.code.0 != code),
        "no TP{code:04} expected: {all:#?}"
    );
}

/// A hook with a list of selectors in flow style, one a line.
fn hook(head: &str, selectors: &[&str]) -> String {
    let selectors: String = selectors
        .iter()
        .map(|selector| ["    - ", selector, "\n"].concat())
        .collect();
    if selectors.is_empty() {
        head.to_owned()
    } else {
        [head, "    selectors:\n", &selectors].concat()
    }
}

const OPENAT: &str = "  kprobes:\n  - call: sys_openat\n    args: [{index: 1, type: string}]\n";
const LINKAT: &str = "  kprobes:\n  - call: sys_linkat\n    args: [{index: 1, type: string}]\n";
const SETUID: &str = "  kprobes:\n  - call: sys_setuid\n    args: [{index: 0, type: int}]\n";
const OPEN: &str = "  lsmhooks:\n  - hook: file_open\n    args: [{index: 0, type: file}]\n";
const PERMISSION: &str = "  kprobes:\n  - call: security_file_permission\n    syscall: false\n    args: [{index: 0, type: file}, {index: 1, type: int}]\n";
const SHADOW: &str = "matchArgs: [{index: 0, operator: Equal, values: [/etc/shadow]}]";
const KILL: &str = "matchActions: [{action: Sigkill}]";
const DENY: &str = "matchActions: [{action: Override, argError: -1}]";

#[test]
fn decisions_on_user_memory() {
    let filtered = hook(
        OPENAT,
        &["{matchArgs: [{index: 1, operator: Equal, values: [/etc/passwd]}]}"],
    );
    check_found(&filtered, &modern(), 600, 10, "io_uring", "`file_open`");
    check_found(&filtered, &without_probes(), 600, 10, "another thread", "`file_open`");
    check_found(
        &hook(LINKAT, &[&format!("{{{KILL}}}")]),
        &modern(),
        600,
        7,
        "io_uring",
        "`inode_link`",
    );
    let tracepoint = "  tracepoints:\n  - subsystem: syscalls\n    event: sys_enter_openat\n    args: [{index: 5, type: string}]\n    selectors:\n    - matchArgs: [{index: 5, operator: Prefix, values: [/etc]}]\n";
    check_found(tracepoint, &modern(), 600, 11, "io_uring", "`file_open`");

    check_silent(OPENAT, &modern(), 600); // an observer of everything
    check_silent(
        &hook(OPENAT, &["{matchBinaries: [{operator: In, values: [/bin/cat]}]}"]),
        &modern(),
        600,
    );
    check_silent(&hook(SETUID, &[&format!("{{{KILL}}}")]), &modern(), 600); // a number in a register
    check_silent(&hook(OPEN, &[&format!("{{{SHADOW}, {DENY}}}")]), &modern(), 600); // the kernel's own path
}

#[test]
fn files_with_other_names() {
    let denied = hook(OPEN, &[&format!("{{{SHADOW}, {DENY}}}")]);
    check_found(&denied, &modern(), 601, 10, "hard link", "inode_link");

    check_silent(&hook(OPEN, &[&format!("{{{SHADOW}}}")]), &modern(), 601); // only watched
    let others = "matchArgs: [{index: 0, operator: NotPrefix, values: [/srv]}]";
    check_silent(&hook(OPEN, &[&format!("{{{others}, {DENY}}}")]), &modern(), 601);
    let links = hook(LINKAT, &[&format!("{{{KILL}}}")]);
    let second = policy(&links).replace("name: test", "name: links");
    let found = findings_of(&[policy(&denied), second], &modern());
    assert!(
        found.iter().all(|d| d.code.0 != 601),
        "another policy stops links: {found:#?}"
    );
}

#[test]
fn kills_after_the_fact() {
    let exit = "  tracepoints:\n  - subsystem: syscalls\n    event: sys_exit_openat\n    args: [{index: 5, type: int64}]\n    selectors:\n    - matchActions: [{action: Sigkill}]\n";
    check_found(exit, &modern(), 602, 11, "has been made", "begins");
    let returned = hook(
        &format!("{SETUID}    return: true\n    returnArg: {{index: 0, type: int}}\n"),
        &["matchReturnActions: [{action: Sigkill}]"],
    );
    check_found(&returned, &modern(), 602, 12, "`setuid`", "matchActions");

    check_silent(&hook(SETUID, &[&format!("{{{KILL}}}")]), &modern(), 602);
    check_silent(&exit.replace("Sigkill", "Post"), &modern(), 602);
    // the file is not open yet when the hook that allows it returns
    let allowed = hook(
        &format!("{PERMISSION}    return: true\n    returnArg: {{index: 0, type: int}}\n"),
        &["matchReturnActions: [{action: Sigkill}]"],
    );
    check_silent(&allowed, &modern(), 602);
}

#[test]
fn kills_that_leave_what_they_answer() {
    let link = hook(LINKAT, &[&format!("{{{KILL}}}")]);
    check_found(&link, &modern(), 603, 10, "stays", "hook: inode_link");
    check_found(
        &link,
        &with(|f| f.fmod_ret_syscall = true),
        603,
        10,
        "stays",
        "Override",
    );

    check_silent(&hook(SETUID, &[&format!("{{{KILL}}}")]), &modern(), 603); // ends with the process
    let both = "matchActions: [{action: Override, argError: -1}, {action: Sigkill}]";
    check_silent(&hook(LINKAT, &[both]), &with(|f| f.fmod_ret_syscall = true), 603);
}

#[test]
fn kills_where_a_denial_could_be_had() {
    let open = hook(OPEN, &[&format!("{{{SHADOW}, {KILL}}}")]);
    check_found(&open, &modern(), 604, 10, "denied", "Override");
    let hooked = hook(PERMISSION, &[&format!("{{{SHADOW}, {KILL}}}")]);
    check_found(&hooked, &modern(), 604, 11, "denied", "Override");

    let none = with(|f| {
        f.lsm = false;
        f.fmod_ret = false;
    });
    check_silent(&hooked, &none, 604);
    check_silent(&hook(OPEN, &[&format!("{{{SHADOW}, {DENY}}}")]), &modern(), 604);
    check_silent(&hook(SETUID, &[&format!("{{{KILL}}}")]), &modern(), 604);
}

#[test]
fn events_of_hot_hooks() {
    let everything =
        "  tracepoints:\n  - subsystem: raw_syscalls\n    event: sys_enter\n    args: [{index: 4, type: syscall64}]\n";
    check_found(everything, &modern(), 605, 8, "a million times", "rateLimit");
    let writes = "{matchArgs: [{index: 1, operator: Equal, values: [\"2\"]}]}";
    check_found(
        &hook(PERMISSION, &[writes]),
        &modern(),
        605,
        11,
        "a million times",
        "paths",
    );

    check_silent(&hook(PERMISSION, &[&format!("{{{SHADOW}}}")]), &modern(), 605);
    check_silent(
        &hook(PERMISSION, &["{matchBinaries: [{operator: In, values: [/bin/cat]}]}"]),
        &modern(),
        605,
    );
    let limited = "{matchActions: [{action: Post, rateLimit: 1m}]}";
    check_silent(&hook(PERMISSION, &[limited]), &modern(), 605);
    check_silent(
        &hook(PERMISSION, &["{matchActions: [{action: NoPost}]}"]),
        &modern(),
        605,
    );
    let one = "{matchArgs: [{index: 4, operator: Equal, values: [\"59\"]}]}";
    check_silent(&hook(everything, &[one]), &modern(), 605);
    check_silent(SETUID, &modern(), 605);
}

#[test]
fn enforcement_by_the_path_of_a_program() {
    let exempt = "matchBinaries: [{operator: NotIn, values: [/usr/bin/vi]}]";
    check_found(
        &hook(OPEN, &[&format!("{{{exempt}, {DENY}}}")]),
        &modern(),
        606,
        10,
        "container",
        "host_ns",
    );
    let named = "matchBinaries: [{operator: In, values: [/usr/bin/curl]}]";
    check_found(
        &hook(OPEN, &[&format!("{{{named}, {DENY}}}")]),
        &modern(),
        606,
        10,
        "copy",
        "NotIn",
    );

    check_silent(&hook(OPEN, &[&format!("{{{exempt}}}")]), &modern(), 606); // less noise, no more
    check_silent(&hook(OPEN, &[&format!("{{{named}}}")]), &modern(), 606);
    let host = "matchNamespaces: [{namespace: Mnt, operator: In, values: [host_ns]}]";
    check_silent(&hook(OPEN, &[&format!("{{{exempt}, {host}, {DENY}}}")]), &modern(), 606);
}

#[test]
fn selectors_that_never_win() {
    let all = "{matchActions: [{action: NoPost}]}";
    check_found(
        &hook(OPEN, &[all, &format!("{{{SHADOW}}}")]),
        &modern(),
        607,
        11,
        "no filters",
        "first",
    );
    let etc = "{matchArgs: [{index: 0, operator: Prefix, values: [/etc, /boot]}]}";
    check_found(
        &hook(OPEN, &[etc, &format!("{{{SHADOW}, {DENY}}}")]),
        &modern(),
        607,
        11,
        "whenever",
        "first",
    );

    check_silent(&hook(OPEN, &[&format!("{{{SHADOW}, {DENY}}}"), etc]), &modern(), 607);
    check_silent(&hook(OPEN, &[&format!("{{{SHADOW}}}"), all]), &modern(), 607);
    let of_cat = "{matchArgs: [{index: 0, operator: Prefix, values: [/etc]}], matchBinaries: [{operator: In, values: [/bin/cat]}]}";
    check_silent(&hook(OPEN, &[of_cat, &format!("{{{SHADOW}}}")]), &modern(), 607);
    let beside = "{matchArgs: [{index: 0, operator: Prefix, values: [/etc/shadow-]}]}";
    check_silent(&hook(OPEN, &[beside, &format!("{{{SHADOW}}}")]), &modern(), 607);
}

#[test]
fn filters_that_never_hold() {
    let number = |filters: &str| hook(SETUID, &[&format!("{{matchArgs: [{filters}]}}")]);
    let never = [
        "{index: 0, operator: Equal, values: [\"1\"]}, {index: 0, operator: Equal, values: [\"2\"]}",
        "{index: 0, operator: Equal, values: [\"1\"]}, {index: 0, operator: NotEqual, values: [\"1\", \"2\"]}",
        "{index: 0, operator: GT, values: [\"10\"]}, {index: 0, operator: LT, values: [\"5\"]}",
        "{index: 0, operator: GT, values: [\"2147483647\"]}",
        "{index: 0, operator: Mask, values: [\"0\"]}",
        "{index: 0, operator: InRange, values: [\"1:5\"]}, {index: 0, operator: Equal, values: [\"-3\"]}",
    ];
    for filters in never {
        check_found(&number(filters), &modern(), 608, 10, "no value", "alternatives");
    }
    let possible = [
        "{index: 0, operator: Equal, values: [\"1\", \"2\"]}, {index: 0, operator: Equal, values: [\"2\", \"3\"]}",
        "{index: 0, operator: Equal, values: [\"1\", \"3\"]}, {index: 0, operator: NotEqual, values: [\"1\"]}",
        "{index: 0, operator: GT, values: [\"-5\"]}, {index: 0, operator: LT, values: [\"5\"]}",
        "{index: 0, operator: Mask, values: [\"1\"]}, {index: 0, operator: Mask, values: [\"2\"]}",
        "{index: 0, operator: NotInRange, values: [\"1:5\"]}",
    ];
    for filters in possible {
        check_silent(&number(filters), &modern(), 608);
    }
    let path = |filters: &str| hook(OPEN, &[&format!("{{matchArgs: [{filters}]}}")]);
    let never = [
        "{index: 0, operator: Equal, values: [/a]}, {index: 0, operator: Equal, values: [/b]}",
        "{index: 0, operator: Equal, values: [/etc/a]}, {index: 0, operator: NotPrefix, values: [/etc]}",
        "{index: 0, operator: Prefix, values: [/etc]}, {index: 0, operator: Prefix, values: [/usr]}",
        "{index: 0, operator: Prefix, values: [/etc/ssh]}, {index: 0, operator: NotPrefix, values: [/etc]}",
    ];
    for filters in never {
        check_found(&path(filters), &modern(), 608, 10, "no value", "alternatives");
    }
    let possible = [
        "{index: 0, operator: Prefix, values: [/etc]}, {index: 0, operator: Prefix, values: [/etc/ssh]}",
        "{index: 0, operator: Prefix, values: [/etc]}, {index: 0, operator: NotPrefix, values: [/etc/ssh]}",
        "{index: 0, operator: Prefix, values: [/etc]}, {index: 0, operator: Postfix, values: [.conf]}",
        "{index: 0, operator: NotEqual, values: [/a]}, {index: 0, operator: NotEqual, values: [/b]}",
        "{index: 0, operator: Postfix, values: [.bashrc]}",
    ];
    for filters in possible {
        check_silent(&path(filters), &modern(), 608);
    }
    let relative = "{index: 0, operator: Prefix, values: [/etc, .bashrc]}";
    check_found(&path(relative), &modern(), 608, 10, "`.bashrc`", "Postfix");
}

#[test]
fn types_that_are_too_wide() {
    let wide = PERMISSION.replace("index: 1, type: int", "index: 1, type: uint64");
    check_found(&wide, &modern(), 609, 9, "32 bits", "`int`");
    let returned = format!("{PERMISSION}    return: true\n    returnArg: {{index: 0, type: int64}}\n");
    check_found(&returned, &modern(), 609, 11, "32 bits", "`int`");

    check_silent(PERMISSION, &modern(), 609);
    check_silent(
        &PERMISSION.replace("index: 1, type: int", "index: 1, type: uint8"),
        &modern(),
        609,
    );
    check_silent(&SETUID.replace("type: int", "type: uint64"), &modern(), 609); // syscalls pass whole registers
}

#[test]
fn a_list_of_hooks_gives_one_finding() {
    let spec = "  lists:\n  - {name: some, type: syscalls, values: [sys_openat, sys_linkat]}\n  kprobes:\n  - call: \"list:some\"\n    args: [{index: 1, type: string}]\n    selectors:\n    - matchArgs: [{index: 1, operator: Equal, values: [/x]}]\n";
    let found = findings(spec, &modern());
    assert_eq!(found.iter().filter(|d| d.code.0 == 600).count(), 1, "{found:#?}");
}
