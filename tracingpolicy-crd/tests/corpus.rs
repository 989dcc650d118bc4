//! Real policies of the reference project, which stay outside of this one: found through `TETRA_CORPUS`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tracingpolicy_crd::{Code, Source, codes, parse, render};

/// What is wrong with the policies that should not be accepted as they are, or deserve a warning.
fn expectations() -> BTreeMap<&'static str, Vec<Code>> {
    BTreeMap::from([
        ("quickstart-docker-compose.yaml", vec![codes::NOT_A_POLICY]),
        (
            "quickstart-file_monitoring_enforce.yaml",
            vec![codes::NAMESPACE_MISSING],
        ),
        (
            "quickstart-network_egress_cluster.yaml",
            vec![codes::PLACEHOLDER, codes::PLACEHOLDER],
        ),
        (
            "quickstart-network_egress_cluster_enforce.yaml",
            vec![codes::NAMESPACE_MISSING, codes::PLACEHOLDER, codes::PLACEHOLDER],
        ),
        // the reference refuses it too
        ("list-syscalls-tracepoint.yaml", vec![codes::LIST_TYPE]),
        // `argError: 1`
        ("security-socket-connect-block-others.yaml", vec![codes::ACTION_NUMBER]),
        // `returnArg` without `return`
        ("security_bprm_check.yaml", vec![codes::NO_EFFECT]),
    ])
}

/// Expectations that are warnings: the policy is accepted.
const WARNINGS: [Code; 2] = [codes::ACTION_NUMBER, codes::NO_EFFECT];

#[test]
fn corpus_is_judged_as_expected() {
    let Some(directory) = corpus() else { return };
    let expectations = expectations();
    let mut seen = 0;
    for entry in fs::read_dir(&directory).expect("the corpus can be listed") {
        let path = entry.expect("the corpus can be listed").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("names of policies are UTF-8")
            .to_owned();
        let bytes = fs::read(&path).expect("policies can be read");
        let source = Source::from_bytes(&name, &bytes).expect("policies are UTF-8");
        let parsed = parse(&source);
        let found: Vec<Code> = parsed.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        let expected = expectations.get(name.as_str()).cloned().unwrap_or_default();
        let rendered = render::full(&parsed.diagnostics, false);
        assert_eq!(found, expected, "{name}\n{rendered}");
        let accepted = usize::from(expected.iter().all(|code| WARNINGS.contains(code)));
        assert_eq!(parsed.policies.len(), accepted, "{name}\n{rendered}");
        for diagnostic in parsed.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()) {
            assert!(diagnostic.help.is_some(), "{name}: an error without help\n{rendered}");
        }
        seen += 1;
    }
    assert!(seen >= 60, "only {seen} policies in {}", directory.display());
}

/// The directory of policies, if there is one; says so if not.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("TETRA_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let directory = root.join("policies");
    if directory.is_dir() {
        return Some(directory);
    }
    eprintln!("skipped: no corpus in {} (set TETRA_CORPUS)", directory.display());
    None
}
