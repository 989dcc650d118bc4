//! Checks policy files: `cargo run -p tracingpolicy-crd --example check -- FILE…`
#![expect(clippy::print_stdout, reason = "an example prints")]

use tracingpolicy_crd::{Source, parse, render};

fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        let source = match Source::from_bytes(path.as_str(), &std::fs::read(&path)?) {
            Ok(source) => source,
            Err(diagnostic) => {
                println!("{}", render::full(&[diagnostic], true));
                continue;
            }
        };
        let parsed = parse(&source);
        print!("{}", render::full(&parsed.diagnostics, false));
        for policy in &parsed.policies {
            println!("{path}: {} `{}`", policy.kind, policy.name);
        }
    }
    Ok(())
}
