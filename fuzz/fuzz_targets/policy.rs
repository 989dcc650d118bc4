//! Reads arbitrary bytes as policies and renders what is wrong with them: nothing may panic, and spans stay in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracingpolicy_crd::{FieldPath, Source, parse, render};

fuzz_target!(|bytes: &[u8]| {
    let source = match Source::from_bytes("fuzz.yaml", bytes) {
        Ok(source) => source,
        Err(diagnostic) => {
            render::full(&[diagnostic], true);
            return;
        }
    };
    let parsed = parse(&source);
    assert!(!(parsed.policies.is_empty() && parsed.diagnostics.is_empty()));
    for diagnostic in &parsed.diagnostics {
        for label in std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary) {
            assert!(source.text().get(label.span.start..label.span.end).is_some());
        }
        assert!(!render::line(diagnostic).chars().any(char::is_control));
        render::json(diagnostic);
    }
    assert!(!render::full(&parsed.diagnostics, false).contains('\u{1b}'));
    for policy in &parsed.policies {
        let span = policy.span(&FieldPath::root().key("spec").key("kprobes").index(0));
        assert!(source.text().get(span.start..span.end).is_some());
    }
});
