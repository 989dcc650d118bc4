//! What is refused, and how it is said.

use crate::compiled;
use crate::facts::modern;
use policy_compiler::facts::KernelFacts;

/// A policy gives this diagnostic on this line, and nothing is compiled.
fn check_error(spec: &str, code: u16, line: u32, message: &str) {
    check_error_with(&modern(), spec, code, line, message);
}

/// The same for other facts; the help.
pub(crate) fn check_error_with(facts: &KernelFacts, spec: &str, code: u16, line: u32, message: &str) -> String {
    let compilation = compiled(spec, facts);
    let errors: Vec<_> = compilation.diagnostics.iter().filter(|d| d.is_error()).collect();
    let found = errors.iter().find(|d| d.code.0 == code && d.message.contains(message));
    let found = found.unwrap_or_else(|| panic!("TP{code:04} `{message}` expected: {errors:#?}"));
    assert_eq!(
        found.source.position(found.primary.span.start).line,
        line,
        "{}",
        found.message
    );
    assert!(found.help.is_some(), "no help: {}", found.message);
    assert!(
        tracingpolicy_crd::explain(found.code).is_some(),
        "no page for {}",
        found.code
    );
    assert!(compilation.objects.is_empty());
    found.help.clone().unwrap_or_default()
}

const OPEN: &str = "  kprobes:\n  - call: security_file_open\n    syscall: false\n    args: [{index: 0, type: file}]\n";

#[test]
fn names_that_the_kernel_does_not_have() {
    check_error(
        "  kprobes:\n  - call: nosuchcall\n    syscall: false\n",
        501,
        7,
        "nosuchcall",
    );
    check_error("  kprobes:\n  - call: nosuchcall\n", 502, 7, "nosuchcall");
    check_error(
        "  tracepoints:\n  - {subsystem: sched, event: nosuch}\n",
        503,
        7,
        "sched/nosuch",
    );
    check_error("  lsmhooks:\n  - hook: nosuch\n", 504, 7, "nosuch");
}

#[test]
fn arguments_that_are_not_there() {
    check_error(
        "  kprobes:\n  - call: security_file_open\n    syscall: false\n    args: [{index: 1, type: file}]\n",
        505,
        9,
        "1 parameters",
    );
    check_error(
        "  tracepoints:\n  - {subsystem: raw_syscalls, event: sys_enter, args: [{index: 9}]}\n",
        505,
        7,
        "6 fields",
    );
}

#[test]
fn operators_that_are_not_compiled() {
    let hook = "  kprobes:\n  - call: security_file_open\n    syscall: false\n    return: true\n    returnArg: {index: 0, type: int}\n";
    let filter = "    selectors:\n    - matchReturnArgs:\n      - {index: 0, operator: CelExpr, values: ['true']}\n";
    check_error(&format!("{hook}{filter}"), 508, 13, "CelExpr");
}

#[test]
fn patterns_are_checked() {
    let values = |operator: &str, value: &str| {
        format!(
            "{OPEN}    selectors:\n    - matchArgs:\n      - {{index: 0, operator: {operator}, values: [\"{value}\"]}}\n"
        )
    };
    check_error(&values("Regex", "a(b"), 525, 12, "unclosed group");
    check_error(&values("NotGlob", "[a-"), 525, 12, "unclosed character class");
    check_error(&values("Regex", "a[a-z]{0,40}x[a-z]{0,9}b"), 525, 12, "size limit");
}

#[test]
fn expressions_are_checked() {
    let hook = "  kprobes:\n  - call: tcp_connect\n    syscall: false\n    args: [{index: 0, type: sock}]\n";
    let expression = |of: &str| {
        format!("{hook}    selectors:\n    - matchArgs:\n      - {{index: 0, operator: CelExpr, values: ['{of}']}}\n")
    };
    for (of, why) in [
        ("arg0.dport ==", "this is no expression"),
        ("arg1 == 1", "there is no `arg1`: the hook has 1 arguments"),
        ("arg0.dport", "the expression is not true or false"),
        ("arg0.name == 1", "a socket has no `name`"),
        ("arg0.startsWith(\"a\")", "`startsWith` is for texts and paths"),
        ("arg0.daddr == \"10.0.0\"", "`10.0.0` is not an address or network"),
        ("arg0.dport == 1 && 1", "`&&`, `||` and `!` are for conditions"),
        ("arg0.dport * 2 == 4", "`*` is not compiled"),
        ("arg0 == 1", "these cannot be combined"),
        (&"!".repeat(100), "this is no expression"),
        (
            &format!("{}true{}", "!(true || ".repeat(60), ")".repeat(60)),
            "the expression is too large",
        ),
        (
            &format!("{}true{}", "(true == ".repeat(12), ")".repeat(12)),
            "the expression is too large",
        ),
    ] {
        check_error(&expression(of), 527, 12, why);
    }
}

#[test]
fn errors_that_cannot_be_returned() {
    check_error(
        &format!("{OPEN}    selectors: [{{matchActions: [{{action: Override, argError: 1}}]}}]\n"),
        509,
        10,
        "not an error",
    );
}

#[test]
fn what_is_not_compiled_is_named() {
    check_error("  loader: true\n", 500, 6, "loader");
    check_error(
        "  kprobes:\n  - call: tcp_connect\n    syscall: false\n    args: [{index: 0, type: sockaddr_un}]\n",
        500,
        9,
        "sockaddr_un",
    );
    check_error(
        &format!("{OPEN}    selectors: [{{matchActions: [{{action: GetUrl, argUrl: \"http://x\"}}]}}]\n"),
        500,
        10,
        "GetUrl",
    );
    check_error(
        "  podSelector: {matchLabels: {a: b}}\n  kprobes:\n  - {call: tcp_connect, syscall: false}\n",
        500,
        6,
        "podSelector",
    );
}
