//! Texts made to break the parser: they get a diagnostic, soon, within bounded memory.
#![expect(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "the texts are made once, clarity counts"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tracingpolicy_crd::{Code, FieldPath, Parsed, Source, Span, codes, parse, render};

/// Nothing may take more of a processor than this in a debug build; most take milliseconds. What else the machine does is not counted.
const PATIENCE: Duration = Duration::from_secs(10);

const HEAD: &str = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: x}\nspec:\n";

/// Parses, renders in all forms, and checks what holds for every text.
fn check(text: &str) -> Parsed {
    let started = processor_time();
    let source = Source::new("hostile.yaml", text);
    let parsed = parse(&source);
    assert!(
        !(parsed.policies.is_empty() && parsed.diagnostics.is_empty()),
        "neither a policy nor a diagnostic"
    );
    assert!(
        parsed.diagnostics.len() <= 201,
        "{} diagnostics",
        parsed.diagnostics.len()
    );
    let in_bounds =
        |span: Span| span.start <= span.end && span.end <= text.len() && text.get(span.start..span.end).is_some();
    for diagnostic in &parsed.diagnostics {
        for label in std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary) {
            assert!(in_bounds(label.span), "{:?} of {:?}", label.span, diagnostic.message);
        }
        let line = render::line(diagnostic);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(render::json(diagnostic).is_object());
    }
    let full = render::full(&parsed.diagnostics, false);
    assert!(
        !full.contains('\u{1b}'),
        "escape sequences of the text reach the terminal"
    );
    assert!(full.len() < 2_000_000, "{} bytes of diagnostics", full.len());
    for policy in &parsed.policies {
        assert!(in_bounds(policy.span(&FieldPath::root().key("spec"))));
    }
    let taken = processor_time().saturating_sub(started);
    assert!(taken < PATIENCE, "took {taken:?}");
    parsed
}

/// Time this thread has run.
fn processor_time() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = statistics
        .split(' ')
        .next()
        .and_then(|field| field.parse().ok())
        .expect("the first field is the time");
    Duration::from_nanos(nanoseconds)
}

fn check_code(text: &str, code: Code) {
    let parsed = check(text);
    let found: Vec<Code> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert!(
        found.contains(&code),
        "{code} expected, found {found:?}\n{}",
        render::full(&parsed.diagnostics, false)
    );
}

#[test]
fn alias_bombs_do_not_go_off() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    check_code(&bomb, codes::TOO_LARGE);
    let merges: String = (1..60)
        .map(|n| format!("m{n}: &m{n} {{<<: [*m{0}, *m{0}], k{n}: 1}}\n", n - 1))
        .collect();
    check(&format!("m0: &m0 {{k: 1}}\n{merges}"));
    // a long string repeated is as bad as a long list
    let string = "x".repeat(100_000);
    let aliases = "*a, ".repeat(50_000);
    check_code(
        &format!("{HEAD}  kprobes: [{{call: &a {string}, tags: [{aliases}]}}]\n"),
        codes::TOO_LARGE,
    );
    check("a: &a [*a]");
    check("a: &a {<<: *a}");
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        format!("{HEAD}  kprobes: {}", "[".repeat(1000)),
        "? ".repeat(100_000),
        (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
    ] {
        check_code(&text, codes::TOO_DEEP);
    }
    check(&"}".repeat(100_000));
    check(&"[]".repeat(100_000));
    check(&"!!a ".repeat(100_000));
    check(&"&a ".repeat(100_000));
}

#[test]
fn megabytes_are_read_or_refused() {
    check_code(&"#".repeat((4 << 20) + 1), codes::TOO_LARGE);
    check_code(&" ".repeat(1 << 20), codes::NO_POLICY);
    check(&"a".repeat(1 << 20));
    check(&"a: b\n".repeat(50_000));
    check(&"---\n".repeat(50_000));
    check(&"- x\n".repeat(450_000));
    check(&format!("\"{}", "x\n".repeat(1 << 17)));
    check(&"\"\\x41".repeat(200_000));
    check(&"k: |\n".repeat(20_000));
    check(&"%TAG ! x\n".repeat(100_000));
    let long_line = format!(
        "{HEAD}  kprobes: [{{call: sys_dup, unknown: \"{}\"}}]\n",
        "ä".repeat(1 << 18)
    );
    check_code(&long_line, codes::UNKNOWN_KEY);
    // no diagnostic holds all of a value
    let parsed = check(&format!("{HEAD}  kprobes: [{{call: \"{}\"}}]\n", "a b".repeat(1 << 16)));
    assert!(
        parsed
            .diagnostics
            .iter()
            .all(|diagnostic| diagnostic.message.len() < 3000)
    );
    let unknown_keys: String = (0..20_000).map(|n| format!("  key{n}: 1\n")).collect();
    check_code(&format!("{HEAD}{unknown_keys}"), codes::TOO_MANY_PROBLEMS);
}

#[test]
fn a_big_policy_is_no_problem() {
    let values: String = (0..50_000).map(|n| format!("        - \"/data/{n}\"\n")).collect();
    let selectors = "    - matchPIDs: [{operator: In, values: [1]}]\n".repeat(2000);
    let text = format!(
        "{HEAD}  kprobes:\n  - call: sys_openat\n    args: [{{index: 1, type: string}}]\n    selectors:\n{selectors}    - matchArgs:\n      - index: 1\n        operator: Equal\n        values:\n{values}"
    );
    let parsed = check(&text);
    assert_eq!(parsed.diagnostics, []);
    let policy = &parsed.policies[0];
    assert_eq!(policy.spec.kprobes[0].selectors.len(), 2001);
    let value = FieldPath::root()
        .key("spec")
        .key("kprobes")
        .index(0)
        .key("selectors")
        .index(2000);
    let value = value.key("matchArgs").index(0).key("values").index(49_999);
    assert_eq!(policy.source.slice(policy.span(&value)), "\"/data/49999\"");
}

#[test]
fn memory_stays_bounded() {
    // nothing here may keep more than a few hundred bytes for a byte of text
    check(&"- x\n".repeat(450_000));
    check(&"[x,".repeat(60).repeat(1000));
    check(&format!("{HEAD}  kprobes: [{}]", "{call: a, x: b},".repeat(50_000)));
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux says the peak");
    let kilobytes: u64 = peak
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number of kilobytes");
    assert!(kilobytes < 600_000, "{kilobytes} kB");
}

#[test]
fn bytes_that_are_no_text() {
    check_code("kind: \0", codes::FORBIDDEN_CHARACTER);
    check_code("kind: \u{1b}[31mred", codes::FORBIDDEN_CHARACTER);
    check_code("kind: \u{7f}", codes::FORBIDDEN_CHARACTER);
    for bytes in [
        &b"\xff\xfek\0"[..],
        b"kind: \xc3",
        b"kind: \xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\x80",
    ] {
        let diagnostic = Source::from_bytes("x", bytes).expect_err("not UTF-8");
        assert_eq!(diagnostic.code, codes::NOT_UTF8);
        assert!(render::full(&[diagnostic], false).contains("TP0001"));
    }
    // written as an escape, anything may be in a value
    let text = format!("{HEAD}  kprobes: [{{call: \"sys\\0\\e[31m\"}}]");
    check_code(&text, codes::HOOK_NAME);
    check("\u{feff}kind: x");
    check("kind: x\u{feff}");
    check("a: \u{85}\u{2028}\u{2029}b");
    check("\r\n\r\r\n");
}

#[test]
fn recorded_inputs_are_survived() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/policy");
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("the corpus of the fuzzer is in the project") {
        let bytes = fs::read(entry.expect("the corpus can be listed").path()).expect("the corpus can be read");
        match Source::from_bytes("recorded", &bytes) {
            Ok(source) => drop(check(source.text())),
            Err(diagnostic) => assert_eq!(diagnostic.code, codes::NOT_UTF8),
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} recorded inputs");
}

/// Pieces that make up policies, so that random texts get past the first line.
fn yamlish() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "apiVersion: cilium.io/v1alpha1\n",
        "kind: TracingPolicy\n",
        "metadata: {name: x}\n",
        "spec:\n",
        "  kprobes:\n",
        "  - call: sys_dup\n",
        "    args:\n",
        "    - index: 0\n",
        "      type: int\n",
        "    selectors:\n",
        "    - matchArgs:\n",
        "      - {index: 0, operator: Equal, values: [\"1\"]}\n",
        "---\n",
        "...\n",
        "- ",
        ": ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "\\",
        "#",
        "%YAML 1.1\n",
        "\n",
        "  ",
        "\t",
        "ä",
        "\u{2028}",
        "yes",
        "0755",
        "~",
        "null",
        "1e9",
        "-1",
        "list:x",
        "\r\n",
        "@",
        "`",
        "${X}",
        "{{ x }}",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_policies_are_survived(text in yamlish()) {
        check(&text);
    }

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(source) = Source::from_bytes("random", &bytes) {
            check(source.text());
        }
    }

    #[test]
    fn random_edits_of_a_policy_are_survived(at in 0_usize..600, removed in 0_usize..20, inserted in ".{0,4}") {
        let mut text = format!("{HEAD}  kprobes:\n  - call: sys_openat\n    return: true\n    returnArg: {{index: 0, type: int}}\n    args:\n    - index: 1\n      type: string\n    selectors:\n    - matchArgs:\n      - index: 1\n        operator: Prefix\n        values: [\"/etc/\", '/ä']\n      matchActions:\n      - action: Post\n        rateLimit: 1m\n");
        let at = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((at + removed).min(text.len())).max(at);
        text.replace_range(at..end, &inserted);
        check(&text);
    }
}
