//! Attach points by ability of the kernel.

use crate::compiled;
use crate::facts::{modern, with, without_probes};
use policy_compiler::attach::describe;
use policy_compiler::facts::KernelFacts;

/// Compiles a hook and compares where it is attached.
fn check_attached(hook: &str, facts: &KernelFacts, expected: &[&str]) {
    let compilation = compiled(hook, facts);
    let messages: Vec<&str> = compilation.diagnostics.iter().map(|d| d.message.as_str()).collect();
    let attached: Vec<String> = compilation.objects.iter().map(|o| describe(&o.attach)).collect();
    assert_eq!(attached, expected, "{messages:?}");
}

fn check_refused(hook: &str, facts: &KernelFacts, code: u16, help: &str) {
    let compilation = compiled(hook, facts);
    let found = compilation.diagnostics.iter().find(|d| d.code.0 == code);
    let found = found.unwrap_or_else(|| panic!("TP{code:04} expected: {:?}", compilation.diagnostics));
    assert!(
        found.help.as_deref().is_some_and(|h| h.contains(help)),
        "{:?}",
        found.help
    );
    assert!(compilation.objects.is_empty());
}

const OPENAT: &str = "  kprobes:\n  - call: sys_openat\n    args: [{index: 1, type: string}]\n";
const SETUID: &str = "  kprobes:\n  - call: sys_setuid\n    args: [{index: 0, type: int}]\n";
const PERMISSION: &str =
    "  kprobes:\n  - call: security_file_permission\n    syscall: false\n    args: [{index: 0, type: file}]\n";
const RETURN: &str = "    return: true\n    returnArg: {index: 0, type: int}\n";
const KILL: &str = "    selectors: [{matchActions: [{action: Sigkill}]}]\n";
const DENY: &str = "    selectors: [{matchActions: [{action: Override, argError: -1}]}]\n";

#[test]
fn functions_prefer_trampolines() {
    check_attached(PERMISSION, &modern(), &["fentry/security_file_permission"]);
    check_attached(
        PERMISSION,
        &with(|f| f.fentry = false),
        &["kprobe/security_file_permission"],
    );
    check_refused(PERMISSION, &without_probes(), 512, "tracepoint");
    // trampolines pass six arguments
    let seven = "  kprobes:\n  - call: seven\n    syscall: false\n";
    check_attached(seven, &modern(), &["kprobe/seven"]);
}

#[test]
fn one_program_sees_arguments_and_result_unless_it_must_act_before() {
    check_attached(
        &format!("{PERMISSION}{RETURN}"),
        &modern(),
        &["fexit/security_file_permission"],
    );
    check_attached(
        &format!("{PERMISSION}{RETURN}{KILL}"),
        &modern(),
        &["fentry/security_file_permission", "fexit/security_file_permission"],
    );
    check_attached(
        &format!("{PERMISSION}{RETURN}"),
        &with(|f| f.fentry = false),
        &["kprobe/security_file_permission", "kretprobe/security_file_permission"],
    );
}

#[test]
fn syscalls_with_user_memory_have_an_exit_that_decides_what_the_entry_could_not() {
    check_attached(
        OPENAT,
        &modern(),
        &["fentry/__x64_sys_openat", "fexit/__x64_sys_openat"],
    );
    check_attached(SETUID, &modern(), &["fentry/__x64_sys_setuid"]);
    check_attached(
        OPENAT,
        &without_probes(),
        &["tp/syscalls/sys_enter_openat", "tp/syscalls/sys_exit_openat"],
    );
    check_attached(SETUID, &without_probes(), &["tp/syscalls/sys_enter_setuid"]);
    // it never returns to its caller
    check_attached(
        "  kprobes:\n  - call: sys_exit_group\n",
        &modern(),
        &["fentry/__x64_sys_exit_group"],
    );
}

#[test]
fn overrides_go_where_the_kernel_allows_them() {
    let open = "  kprobes:\n  - call: security_file_open\n    syscall: false\n    args: [{index: 0, type: file}]\n";
    check_attached(&format!("{open}{DENY}"), &modern(), &["lsm/file_open"]);
    check_attached(
        &format!("{open}{DENY}"),
        &with(|f| f.lsm = false),
        &["fmod_ret/security_file_open"],
    );
    check_refused(
        &format!("{open}{DENY}"),
        &with(|f| {
            f.lsm = false;
            f.fmod_ret = false;
        }),
        513,
        "lsm=",
    );
    check_attached(
        &format!("{open}{RETURN}{DENY}"),
        &modern(),
        &["fexit/security_file_open", "lsm/file_open"],
    );
    check_refused(&format!("{OPENAT}{DENY}"), &modern(), 513, "hook: file_open");
    check_attached(
        &format!("{OPENAT}{DENY}"),
        &with(|f| f.fmod_ret_syscall = true),
        &["fexit/__x64_sys_openat", "fmod_ret/__x64_sys_openat"],
    );
    let connect = "  kprobes:\n  - call: tcp_connect\n    syscall: false\n";
    check_refused(&format!("{connect}{DENY}"), &modern(), 513, "security_*");
}

#[test]
fn the_number_of_every_system_call_is_read_raw_where_no_call_is_left_out() {
    let number =
        "  tracepoints:\n  - {subsystem: raw_syscalls, event: sys_enter, args: [{index: 4, type: syscall64}]}\n";
    check_attached(number, &modern(), &["tp_btf/sys_enter"]);
    for facts in [with(|f| f.preemptible_programs = true), with(|f| f.tp_btf = false)] {
        check_attached(number, &facts, &["tp/raw_syscalls/sys_enter"]);
    }
    // the arguments stand elsewhere in the raw context
    let arguments = "  tracepoints:\n  - {subsystem: raw_syscalls, event: sys_enter, args: [{index: 5}]}\n";
    let compilation = compiled(arguments, &modern());
    assert!(
        compilation
            .objects
            .iter()
            .all(|o| describe(&o.attach) != "tp_btf/sys_enter")
    );
}

#[test]
fn lsm_hooks_are_used_only_where_they_run() {
    let hook = "  lsmhooks:\n  - hook: file_open\n    args: [{index: 0, type: file}]\n";
    check_attached(hook, &modern(), &["lsm/file_open"]);
    check_attached(hook, &with(|f| f.lsm = false), &["fmod_ret/security_file_open"]);
    check_refused(hook, &without_probes(), 512, "lsm=");
}

#[test]
fn where_programs_are_preempted_hooks_go_where_no_call_is_left_out() {
    let preempting = with(|f| f.preemptible_programs = true);
    check_attached(PERMISSION, &preempting, &["kprobe.multi/security_file_permission"]);
    check_attached(
        &format!("{PERMISSION}{RETURN}"),
        &preempting,
        &[
            "kprobe.multi/security_file_permission",
            "kretprobe.multi/security_file_permission",
        ],
    );
    check_attached(
        OPENAT,
        &preempting,
        &["kprobe.multi/__x64_sys_openat", "kretprobe.multi/__x64_sys_openat"],
    );
    check_attached(SETUID, &preempting, &["kprobe.multi/__x64_sys_setuid"]);
    let without_multi = with(|f| {
        f.preemptible_programs = true;
        f.kprobe_multi = false;
    });
    check_attached(
        OPENAT,
        &without_multi,
        &["fexit/__x64_sys_openat", "kprobe/__x64_sys_openat"],
    );
    // BPF LSM has no guard against recursion: it sees every call
    let open = "  kprobes:\n  - call: security_file_open\n    syscall: false\n    args: [{index: 0, type: file}]\n";
    check_attached(&format!("{open}{DENY}"), &preempting, &["lsm/file_open"]);
}

/// The verifier lets programs with a typed context load no pointer to a struct that is known by name alone.
#[test]
fn what_a_trampoline_cannot_read_is_read_by_a_kprobe() {
    let reading = |index: u32, of: &str| {
        format!("  kprobes:\n  - call: opaque\n    syscall: false\n    args: [{{index: {index}, type: {of}}}]\n")
    };
    check_attached(&reading(0, "uint64"), &modern(), &["kprobe/opaque"]);
    check_attached(&reading(1, "int"), &modern(), &["fentry/opaque"]);
    check_attached(&reading(2, "string"), &modern(), &["fentry/opaque"]);
}
