//! Rendered diagnostics, in all forms, of the policies in `tests/golden/*.yaml`, compared with the files beside them.
//!
//! `UPDATE_GOLDEN=1 cargo test -p tracingpolicy-crd --test golden` rewrites those; read the difference before committing it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tracingpolicy_crd::{Parsed, Source, parse, render};

#[test]
fn diagnostics_are_rendered_as_recorded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut inputs: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("golden files can be listed")
        .map(|entry| entry.expect("golden files can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml" || extension == "json")
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());

    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = String::new();
    for input in inputs {
        let name = input
            .file_name()
            .and_then(|name| name.to_str())
            .expect("golden files have UTF-8 names");
        let text = fs::read_to_string(&input).expect("golden files can be read");
        let actual = render_all(&parse(&Source::new(name, text)));
        let expected_path = input.with_extension("expected");
        if update {
            fs::write(&expected_path, actual).expect("golden files can be written");
            continue;
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            write!(failures, "=== {name}\n--- expected\n{expected}\n--- actual\n{actual}\n")
                .expect("strings accept writes");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn render_all(parsed: &Parsed) -> String {
    let mut out = render::full(&parsed.diagnostics, false);
    out.push_str("\n== lines ==\n");
    for diagnostic in &parsed.diagnostics {
        out.push_str(&render::line(diagnostic));
        out.push('\n');
    }
    out.push_str("\n== json ==\n");
    for diagnostic in &parsed.diagnostics {
        out.push_str(&render::json(diagnostic).to_string());
        out.push('\n');
    }
    out.push_str("\n== policies ==\n");
    for policy in &parsed.policies {
        let namespace = policy.namespace.as_deref().unwrap_or("-");
        writeln!(
            out,
            "{} {} {namespace} document {}",
            policy.kind, policy.name, policy.document
        )
        .expect("strings accept writes");
    }
    out
}

#[test]
fn colour_is_asked_for() {
    let parsed = parse(&Source::new("x.yaml", "kind: Foo"));
    assert!(render::full(&parsed.diagnostics, true).contains("\u{1b}["));
    assert!(!render::full(&parsed.diagnostics, false).contains('\u{1b}'));
}
