//! What there is to say about a set of policies on a kernel, as values: the text and the JSON form show the same.
//!
//! The fields' names are the keys of the JSON form and stay as they are.

use anyhow::Context as _;
use policy_compiler::explain::{Test, explain, predicate};
use policy_compiler::output::HookObject;
use policy_compiler::plan::HookPlan;
use policy_compiler::{Compilation, PolicySet, attach};
use serde::Serialize;
use tracingpolicy_crd::{Diagnostic, render};

use super::kernels::HookOnKernels;
use crate::policy::cost::measure;
use crate::policy::facts::{Basis, Facts};

/// Everything but diagnostics.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The kernel that the hooks are explained for.
    pub(super) kernel: String,
    /// `tried`, or `guessed` from its types.
    pub(super) features: &'static str,
    /// Policies that it takes.
    pub(super) policies: usize,
    /// Policies that it refuses, or that are wrong.
    pub(super) refused: Vec<String>,
    /// One for each program.
    pub(super) hooks: Vec<HookReport>,
    /// What other kernels do, if asked for.
    pub(super) kernels: Vec<HookOnKernels>,
}

/// One program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookReport {
    /// `fentry/tcp_connect`
    pub(super) attach: String,
    /// Why there, with the policies it is the reason for.
    pub(super) reasons: Vec<Reason>,
    /// Names, in order.
    pub(super) policies: Vec<String>,
    /// What the program does, where that is not all.
    pub(super) roles: Vec<&'static str>,
    /// Whether it may refuse what it sees, or send signals.
    pub(super) enforces: bool,
    /// Policies of which the cgroup of the process tells whether they apply.
    pub(super) for_workloads: Vec<String>,
    /// What is tested, by stage.
    pub(super) tests: Vec<TestReport>,
    /// How values are told apart.
    pub(super) dimensions: Vec<DimensionReport>,
    /// Instructions of a call, by estimate.
    pub(super) estimate: Estimate,
    /// Size of the program.
    pub(super) program: Size,
    /// What the kernel says of it.
    pub(super) verified: Verdict,
}

/// Why an attach point was chosen.
#[derive(Debug, Serialize)]
pub(super) struct Reason {
    pub(super) reason: String,
    pub(super) policies: Vec<String>,
}

/// A test with everybody who asks for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestReport {
    /// `exec`, `cheap`, `dear` or `return`.
    pub(super) stage: &'static str,
    pub(super) predicate: String,
    pub(super) asked_by: Vec<Place>,
}

/// A line of a policy.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) policy: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// How the values of one thing are told apart.
#[derive(Debug, Serialize)]
pub(super) struct DimensionReport {
    pub(super) what: String,
    pub(super) how: &'static str,
    pub(super) values: usize,
    pub(super) tests: usize,
}

/// Instructions of a call.
#[derive(Debug, Serialize)]
pub(super) struct Estimate {
    /// At least, for a call that matches nothing; absent if every call matches something.
    pub(super) miss: Option<u64>,
    /// At most, for a call that matches everything; loops count once.
    pub(super) hit: u64,
}

/// Instructions of a program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Size {
    pub(super) instructions: usize,
    pub(super) library_instructions: usize,
    pub(super) library_functions: usize,
}

/// What the kernel says of a program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// It was loaded, and let go again.
    #[serde(rename_all = "camelCase")]
    Loaded { instructions: u32, memory_bytes: u64 },
    /// It was refused.
    Refused(String),
    /// It was not asked.
    NotTried(String),
}

impl Report {
    /// Gathers what is known without loading anything.
    pub(super) fn new(set: &PolicySet, facts: &Facts, compilation: &Compilation) -> anyhow::Result<Self> {
        let name = |slot: &u32| {
            let entry = set.entries.iter().find(|entry| entry.slot == *slot);
            entry.map_or_else(String::new, |entry| entry.policy.name.clone())
        };
        let hooks = compilation
            .objects
            .iter()
            .zip(&compilation.plans)
            .map(|(object, plan)| HookReport::new(object, plan, object.policy_slots.iter().map(name).collect()))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            kernel: facts.kernel.release.clone(),
            features: match facts.basis {
                Basis::Tried => "tried",
                Basis::Types | Basis::TypesInstead { .. } => "guessed",
            },
            policies: set.entries.len() - compilation.failed.len(),
            refused: compilation.failed.iter().map(name).collect(),
            hooks,
            kernels: Vec::new(),
        })
    }

    /// With the diagnostics, as one value.
    pub(super) fn to_json(
        &self,
        diagnostics: &[Diagnostic],
        findings: &[Diagnostic],
    ) -> anyhow::Result<serde_json::Value> {
        let mut json = serde_json::to_value(self)?;
        let object = json.as_object_mut().context("a report is an object")?;
        let all = |diagnostics: &[Diagnostic]| diagnostics.iter().map(render::json).collect::<Vec<_>>();
        object.insert("diagnostics".to_owned(), all(diagnostics).into());
        object.insert("review".to_owned(), all(findings).into());
        Ok(json)
    }
}

impl HookReport {
    fn new(object: &HookObject, plan: &HookPlan, policies: Vec<String>) -> anyhow::Result<Self> {
        let explanation = explain(plan);
        let cost = measure(&object.elf, &object.symbol)?;
        Ok(Self {
            attach: attach::describe(&object.attach),
            reasons: reasons(&object.reasons),
            policies,
            roles: explanation.roles,
            enforces: object.enforces,
            for_workloads: explanation.for_workloads.iter().map(ToString::to_string).collect(),
            tests: explanation.tests.iter().map(TestReport::new).collect(),
            dimensions: explanation
                .dimensions
                .into_iter()
                .map(|dimension| DimensionReport {
                    what: dimension.what,
                    how: dimension.how,
                    values: dimension.values,
                    tests: dimension.tests,
                })
                .collect(),
            estimate: Estimate {
                miss: (!explanation.always_matches).then_some(cost.least),
                hit: cost.most,
            },
            program: Size {
                instructions: cost.own,
                library_instructions: cost.library,
                library_functions: cost.functions,
            },
            verified: Verdict::NotTried(String::new()),
        })
    }
}

impl TestReport {
    fn new(test: &Test) -> Self {
        let place = |(policy, line): &(std::sync::Arc<str>, policy_compiler::output::SourceLine)| Place {
            policy: policy.to_string(),
            file: line.file.to_string(),
            line: line.line,
        };
        Self {
            stage: test.stage.as_str(),
            predicate: predicate(&test.predicate),
            asked_by: test.asked_by.iter().map(place).collect(),
        }
    }
}

/// The reasons that the compiler gives for each policy (`policy: reason`), each once with its policies.
fn reasons(each: &[String]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for text in each {
        // names of policies have no colon
        let (policy, reason) = text.split_once(": ").unwrap_or(("", text));
        match reasons.iter_mut().find(|known| known.reason == reason) {
            Some(known) if known.policies.iter().any(|name| name == policy) => {}
            Some(known) => known.policies.push(policy.to_owned()),
            None => reasons.push(Reason {
                reason: reason.to_owned(),
                policies: vec![policy.to_owned()],
            }),
        }
    }
    reasons
}
