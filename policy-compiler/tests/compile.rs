//! The front and the middle of the compiler: what policies become, on kernels made of a few types.

#[path = "compile/attach.rs"]
mod attach;
#[path = "compile/diagnostics.rs"]
mod diagnostics;
#[path = "compile/explain.rs"]
mod explain;
#[path = "compile/facts.rs"]
mod facts;
#[path = "compile/goldens.rs"]
mod goldens;
#[path = "compile/lists.rs"]
mod lists;
#[path = "compile/macros.rs"]
mod macros;
#[path = "compile/review.rs"]
mod review;
#[path = "compile/set.rs"]
mod set;
#[path = "compile/user_hooks.rs"]
mod user_hooks;

use policy_compiler::facts::KernelFacts;
use policy_compiler::{Compilation, Options, PolicySet, compile};
use tracingpolicy_crd::{Policy, Source, parse};

/// Parses text that must be right.
fn policies(yaml: &str) -> Vec<Policy> {
    let parsed = parse(&Source::new("policy.yaml", yaml));
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|d| d.is_error())
        .map(tracingpolicy_crd::render::line)
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    parsed.policies
}

/// A policy with this `spec`, indented by two spaces.
fn policy(spec: &str) -> String {
    format!("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: test\nspec:\n{spec}")
}

/// Compiles a policy with this `spec`.
fn compiled(spec: &str, facts: &KernelFacts) -> Compilation {
    compile(
        &PolicySet::from_policies(policies(&policy(spec))),
        facts,
        &Options {
            emit_passes: true,
            ..Options::default()
        },
    )
}
