//! What other crates rely on: defaults, spans by path, both notations, and how Kubernetes reads YAML.

use tracingpolicy_crd::{ArgType, Code, FieldPath, ListType, Parsed, PolicyKind, Source, Spec, codes, parse, render};

const HEAD: &str = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: x\nspec:\n";

fn read(text: &str) -> Parsed {
    parse(&Source::new("x.yaml", text))
}

/// The `spec` of a policy without problems.
fn spec(text: &str) -> Spec {
    let mut parsed = read(text);
    assert!(
        parsed.diagnostics.is_empty(),
        "{}",
        render::full(&parsed.diagnostics, false)
    );
    parsed.policies.remove(0).spec
}

fn found(text: &str) -> Vec<Code> {
    read(text)
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

#[test]
fn defaults_are_filled_in() {
    let spec = spec(&format!(
        "{HEAD}  kprobes:\n  - call: sys_dup\n    args: [{{index: 0, type: int}}]\n  tracepoints:\n  - {{subsystem: s, event: e, args: [{{index: 5}}]}}\n  lists:\n  - {{name: l, values: [f]}}\n"
    ));
    let kprobe = &spec.kprobes[0];
    assert!(kprobe.syscall);
    assert!(
        !kprobe.has_return && kprobe.return_arg.is_none() && kprobe.selectors.is_empty() && kprobe.message.is_empty()
    );
    assert_eq!(kprobe.args[0].size_arg_index, 0);
    assert_eq!(spec.tracepoints[0].args[0].arg_type, ArgType::Auto);
    assert_eq!(spec.lists[0].list_type, ListType::Functions);
    assert!(spec.pod_selector.is_none() && !spec.loader);
}

#[test]
fn places_are_found_by_path() {
    let text = format!(
        "{HEAD}  kprobes:\n  - call: \"sys_dup\"\n    Args: [{{index: 0, type: int}}]\n    selectors:\n    - matchArgs:\n      - index: 0\n        operator: Equal\n        values: [\"1\", '2']\n"
    );
    let parsed = read(&text);
    assert_eq!(
        parsed.diagnostics.iter().map(|found| found.code).collect::<Vec<_>>(),
        [codes::KEY_CASE]
    );
    let policy = &parsed.policies[0];
    let slice = |path: &FieldPath| policy.source.slice(policy.span(path));
    let kprobe = FieldPath::root().key("spec").key("kprobes").index(0);
    assert_eq!(slice(&kprobe.key("call")), "\"sys_dup\"");
    assert_eq!(
        slice(&kprobe.key("args").index(0).key("type")),
        "int",
        "a key in the wrong case is found"
    );
    let filter = kprobe.key("selectors").index(0).key("matchArgs").index(0);
    assert_eq!(filter.to_string(), "spec.kprobes[0].selectors[0].matchArgs[0]");
    assert_eq!(slice(&filter.key("values").index(1)), "'2'");
    let whole = slice(&filter);
    assert!(whole.starts_with("index: 0") && whole.ends_with("'2']"), "{whole}");
    assert_eq!(
        policy.span(&filter.key("nothing").index(7)),
        policy.span(&filter),
        "the nearest that exists"
    );
    assert_eq!(
        policy.source.slice(policy.spans.key_span(&filter.key("operator"))),
        "operator"
    );
    let position = policy.position(policy.span(&kprobe.key("call")));
    assert_eq!((position.line, position.column), (7, 11));
    assert_eq!(
        policy.line_text(policy.span(&kprobe.key("call"))),
        "  - call: \"sys_dup\""
    );
}

#[test]
fn spans_go_through_aliases_and_windows_line_ends() {
    let text = format!("{HEAD}  kprobes:\n  - call: sys_dup\n    args: &a [{{index: 0, type: int}}]\n  - call: sys_dup2\n    args: *a\n")
        .replace('\n', "\r\n");
    let parsed = read(&text);
    assert_eq!(parsed.diagnostics, []);
    let policy = &parsed.policies[0];
    assert_eq!(policy.spec.kprobes[0].args, policy.spec.kprobes[1].args);
    let path = FieldPath::root()
        .key("spec")
        .key("kprobes")
        .index(1)
        .key("args")
        .index(0)
        .key("type");
    assert_eq!(policy.source.slice(policy.span(&path)), "int");
    assert_eq!(policy.position(policy.span(&path)).line, 8);
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"apiVersion\": \"cilium.io/v1alpha1\", \"kind\": \"TracingPolicyNamespaced\",\n\t\"metadata\": {\"name\": \"x\", \"namespace\": \"y\", \"creationTimestamp\": null},\n\t\"spec\": {\"kprobes\": [{\"call\": \"sys_openat\", \"message\": \"\\u003cöpen\\/\\u00e9 \\ud83d\\ude00\\t\\\"\"}]}\n}\n";
    let parsed = read(text);
    assert!(
        parsed.diagnostics.is_empty(),
        "{}",
        render::full(&parsed.diagnostics, false)
    );
    let policy = &parsed.policies[0];
    assert_eq!(
        (policy.kind, policy.namespace.as_deref()),
        (PolicyKind::Namespaced, Some("y"))
    );
    assert_eq!(policy.spec.kprobes[0].message, "<öpen/é 😀\t\"");
}

#[test]
fn what_a_policy_serialises_to_is_the_same_policy() {
    let text = format!(
        "{HEAD}  podSelector: {{matchLabels: {{app: web}}}}\n  kprobes:\n  - call: sys_openat\n    args: [{{index: 1, type: string}}]\n    selectors:\n    - matchArgs: [{{index: 1, operator: Prefix, values: [\"/etc/\"]}}]\n"
    );
    let first = spec(&text);
    let json = serde_json::json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": "x"}, "spec": first,
    });
    let second = spec(&json.to_string());
    assert_eq!(first, second);
}

#[test]
fn yaml_is_read_as_kubernetes_does() {
    let kprobe = |fields: &str| format!("{HEAD}  kprobes:\n  - {{call: sys_dup, {fields}}}\n");
    for (fields, expected) in [
        ("syscall: yes", vec![codes::LEGACY_BOOLEAN]),
        ("syscall: Off", vec![codes::LEGACY_BOOLEAN, codes::HOOK_NAME]),
        ("syscall: \"true\"", vec![codes::WRONG_TYPE]),
        ("syscall: ~", vec![]),
        ("args: null", vec![]),
        ("args: ", vec![codes::EMPTY_VALUE]),
        ("args: [{index: 01, type: int}]", vec![codes::LEGACY_NUMBER]),
        ("args: [{index: 1.0, type: int}]", vec![]),
        ("args: [{index: 1.5, type: int}]", vec![codes::WRONG_TYPE]),
        ("args: [{index: \"1\", type: int}]", vec![codes::WRONG_TYPE]),
        ("args: [{index: 4294967296, type: int}]", vec![codes::NUMBER_RANGE]),
        ("message: 12", vec![codes::UNQUOTED]),
        ("message: no", vec![codes::UNQUOTED]),
        ("message: !!str no", vec![]),
        ("message: 2026-11-22", vec![]),
        ("message: a\n   b", vec![]),
        ("args: [null]", vec![codes::WRONG_TYPE]),
    ] {
        let expected: Vec<Code> = expected.into_iter().filter(|code| *code != codes::HOOK_NAME).collect();
        assert_eq!(found(&kprobe(fields)), expected, "{fields}");
    }
}

#[test]
fn errors_keep_only_their_own_policy_out() {
    let good = format!("{HEAD}  kprobes: [{{call: sys_dup}}]\n");
    let bad = good.replace("call", "kall");
    let parsed = read(&format!("{good}---\n{bad}---\n# nothing\n---\n{good}"));
    assert_eq!(
        parsed.policies.iter().map(|policy| policy.document).collect::<Vec<_>>(),
        [0, 3]
    );
    assert!(parsed.has_errors());
}
