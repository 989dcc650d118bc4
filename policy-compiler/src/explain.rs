//! What the compiler decided about hooks, for people: when each test is made and how, and where each hook goes.
//!
//! It reads the same [`HookPlan`] that code is generated from, and so says what the program does, not what it might.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracingpolicy_crd::{Code, Diagnostic};

use crate::attach::{self, Role};
use crate::codes;
use crate::facts::KernelFacts;
use crate::hir::{Hook, IntegerTest, Operand, Predicate, SockTest, TextComparison, TextTest};
use crate::output::{AttachPoint, SourceLine};
use crate::plan::{HookPlan, PlannedFilter, executable};
use crate::resolve;
use crate::set::{PolicySet, Scope};

mod words;

pub use words::{operand, predicate};

/// When a test is made: its binding time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// Once for each program that a process runs; hooks test a bit.
    Exec,
    /// At each call of the hook, on what is at hand: registers, the process and its credentials.
    Cheap,
    /// At each call that no cheap test has settled, on what must be read first: strings, paths, sockets.
    Dear,
    /// Where the hooked function has returned, on its result.
    Return,
}

impl Stage {
    /// One word, stable: `exec`, `cheap`, `dear` or `return`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Cheap => "cheap",
            Self::Dear => "dear",
            Self::Return => "return",
        }
    }
}

/// A test of a hook's program, with everybody who asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Test {
    /// When it is made.
    pub stage: Stage,
    /// What must hold, with every value.
    pub predicate: Predicate,
    /// The policies that ask for it and their lines, in order.
    pub asked_by: Vec<(Arc<str>, SourceLine)>,
}

/// How the values of one thing are told apart, for all tests of it together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dimension {
    /// What is looked at: `argument 0 (file)`.
    pub what: String,
    /// How: `decision tree over 8-byte words`.
    pub how: &'static str,
    /// Different values.
    pub values: usize,
    /// Different tests that it answers.
    pub tests: usize,
}

/// The tests of a program, by stage, and its dimensions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explanation {
    /// Ordered by stage; within one in order of first use.
    pub tests: Vec<Test>,
    /// In order of first use.
    pub dimensions: Vec<Dimension>,
    /// What the program does for its hooks, each once.
    pub roles: Vec<&'static str>,
    /// Policies for certain workloads only. That is the first test of all: one lookup, by the cgroup of the process, tells which
    /// of them apply to a call, and a call to which none applies goes no further.
    pub for_workloads: Vec<Arc<str>>,
    /// Some selector without filters matches every call.
    pub always_matches: bool,
}

/// Explains a program.
pub fn explain(plan: &HookPlan) -> Explanation {
    let mut explanation = Explanation::default();
    let mut places: BTreeMap<(Stage, String), usize> = BTreeMap::new();
    for instance in &plan.instances {
        let role = role(instance.role);
        if !explanation.roles.contains(&role) {
            explanation.roles.push(role);
        }
        let hook = &instance.hook;
        if hook.scope == Scope::Workloads && !explanation.for_workloads.contains(&hook.policy_name) {
            explanation.for_workloads.push(hook.policy_name.clone());
        }
        let mut selectors = instance.selectors.iter();
        let asks_all = !instance.role.takes_pending() && instance.hook.scope == Scope::All;
        explanation.always_matches |= asks_all && selectors.any(|s| s.cheap.is_empty() && s.dear.is_empty());
        for selector in &instance.selectors {
            let returned: &[PlannedFilter] = if instance.role.is_exit() {
                &selector.returned
            } else {
                &[]
            };
            for (stage, filters) in [
                (Stage::Cheap, &selector.cheap[..]),
                (Stage::Dear, &selector.dear[..]),
                (Stage::Return, returned),
            ] {
                for filter in filters.iter().filter(|f| !f.is_implied) {
                    let stage = if filter.binary_bit.is_some() {
                        Stage::Exec
                    } else {
                        stage
                    };
                    let key = (stage, format!("{:?}", filter.predicate));
                    let place = *places.entry(key).or_insert_with(|| {
                        explanation.tests.push(Test {
                            stage,
                            predicate: filter.predicate.clone(),
                            asked_by: Vec::new(),
                        });
                        explanation.tests.len() - 1
                    });
                    let by = (instance.hook.policy_name.clone(), filter.line.clone());
                    let asked_by = &mut explanation.tests[place].asked_by;
                    if !asked_by.contains(&by) {
                        asked_by.push(by);
                    }
                }
            }
        }
    }
    explanation.dimensions = dimensions(&explanation.tests);
    explanation.tests.sort_by_key(|test| test.stage);
    explanation
}

/// What a program does for a hook, in words.
fn role(role: Role) -> &'static str {
    match role {
        Role::Entry => "decides, acts and reports where the operation begins",
        Role::EntryDeferring => {
            "decides, acts and reports where the operation begins; a call whose user memory cannot be read is left to its exit"
        }
        Role::EntryOfPair => "decides and acts where the operation begins, and reports its half of the event",
        Role::Enforce => "decides and acts where the operation begins; its exit reports",
        Role::ExitWhole => "decides, acts and reports where the operation has ended",
        Role::ExitPost => "reports where the operation has ended, by the same tests as the entry, which has acted",
        Role::ExitDeferred => {
            "decides, acts and reports where the operation has ended, for calls that the entry left to it"
        }
        Role::ExitOfPair => "reports the second half of the event, and decides calls that the entry left to it",
    }
}

/// What tests of one text share: the tree of all their values.
fn dimensions(tests: &[Test]) -> Vec<Dimension> {
    let mut dimensions: Vec<Dimension> = Vec::new();
    let mut trees: Vec<(Stage, Operand, TextComparison)> = Vec::new();
    for test in tests {
        let Some((of, text)) = text_of(&test.predicate) else {
            if let Some(single) = single(&test.predicate) {
                add(&mut dimensions, single);
            }
            continue;
        };
        let tree = (test.stage, of, text.comparison);
        if trees.contains(&tree) {
            continue;
        }
        dimensions.push(tree_of(&tree, tests));
        trees.push(tree);
    }
    dimensions
}

/// The text that a predicate is about, and the test of it.
fn text_of(predicate: &Predicate) -> Option<(Operand, &TextTest)> {
    match predicate {
        Predicate::Text { operand, test, .. } => Some((operand.clone(), test)),
        Predicate::Binary { test, .. } => Some((executable(), test)),
        _ => None,
    }
}

/// Adds a test that is made by itself to those of the same thing in the same way.
fn add(dimensions: &mut Vec<Dimension>, single: Dimension) {
    let known = dimensions
        .iter_mut()
        .find(|d| (&d.what, d.how) == (&single.what, single.how));
    match known {
        Some(known) => {
            known.values += single.values;
            known.tests += 1;
        }
        None => dimensions.push(single),
    }
}

fn tree_of((stage, of, comparison): &(Stage, Operand, TextComparison), tests: &[Test]) -> Dimension {
    let mut distinct: BTreeSet<&TextTest> = BTreeSet::new();
    for test in tests.iter().filter(|test| test.stage == *stage) {
        let Some((operand, text)) = text_of(&test.predicate) else {
            continue;
        };
        if operand == *of && text.comparison == *comparison {
            distinct.insert(text);
        }
    }
    let values: BTreeSet<&[u8]> = distinct.iter().flat_map(|t| &t.values).map(Vec::as_slice).collect();
    let how = match (stage, comparison) {
        (Stage::Exec, comparison) if comparison.is_anchored() => {
            "a bit of the process record, decided by a tree over 8-byte words"
        }
        (Stage::Exec, _) => "a bit of the process record, decided by an automaton in one pass",
        (_, TextComparison::Equal) => "decision tree over the length, then 8-byte words",
        (_, TextComparison::Prefix) => "decision tree over 8-byte words from the start",
        (_, TextComparison::Postfix) => "each length in turn, a decision tree over 8-byte words from there",
        _ => "an automaton, one pass over the bytes for all tests of such operators",
    };
    Dimension {
        what: format!("{} {}", operand(of), words::comparison(*comparison)),
        how,
        values: values.len(),
        tests: distinct.len(),
    }
}

/// Up to this many constants are compared in a row (`generate::classifier`).
const IN_A_ROW: usize = crate::generate::COMPARED_IN_A_ROW;

fn search(values: usize) -> &'static str {
    if values <= IN_A_ROW {
        "compared one after the other"
    } else {
        "binary search, at most four compares at its end"
    }
}

/// A predicate that is tested by itself; texts are not.
fn single(test: &Predicate) -> Option<Dimension> {
    let (what, how, values) = match test {
        Predicate::Integer { operand: of, test, .. } => {
            let (how, values) = match test {
                IntegerTest::Equal(values) => (search(values.len()), values.len()),
                IntegerTest::Above(_) | IntegerTest::Below(_) => ("one compare", 1),
                IntegerTest::Mask(_) => ("one test of bits", 1),
                IntegerTest::Within(ranges) => ("ranges in ascending order", ranges.len()),
            };
            (operand(of), how, values)
        }
        Predicate::Sock { operand: of, test, .. } => {
            let (how, values) = match test {
                SockTest::Address(_, networks) => ("for each prefix length a search over the address", networks.len()),
                SockTest::Port(_, ranges) => ("ranges in ascending order", ranges.len()),
                SockTest::Protocol(values) | SockTest::Family(values) | SockTest::State(values) => {
                    (search(values.len()), values.len())
                }
            };
            (format!("{} {}", operand(of), words::part(test)), how, values)
        }
        Predicate::Pid {
            values,
            follow_forks: true,
            ..
        } => (
            "pid of the process and its ancestors".to_owned(),
            "a walk up the process records for each value",
            values.len(),
        ),
        Predicate::Pid { values, .. } => ("pid".to_owned(), search(values.len()), values.len()),
        Predicate::Namespace { namespace, values, .. } => {
            (format!("{namespace:?} namespace"), search(values.len()), values.len())
        }
        Predicate::Notified(_) => ("notification".to_owned(), "one lookup for the thread", 1),
        Predicate::Expression(condition) => (
            "expression".to_owned(),
            "comparisons one after the other",
            condition.operands().len(),
        ),
        Predicate::NamespaceChange { namespaces } => (
            "change of namespaces".to_owned(),
            "each compared with the process record",
            namespaces.len(),
        ),
        Predicate::CapabilityChange { set, mask, .. } => (
            format!("change of {set:?} capabilities"),
            "one test of bits",
            mask.count_ones() as usize,
        ),
        Predicate::Capability { set, mask, .. } => (
            format!("{set:?} capabilities"),
            "one test of bits",
            mask.count_ones() as usize,
        ),
        Predicate::FileType { operand: of, types, .. } => (
            format!("{} FileType", operand(of)),
            "compared one after the other",
            types.len(),
        ),
        Predicate::Text { .. } | Predicate::Binary { .. } => return None,
    };
    Some(Dimension {
        what,
        how,
        values,
        tests: 1,
    })
}

/// What becomes of one hook of a policy on a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is attached.
    Attached {
        /// One or two places.
        points: Vec<AttachPoint>,
        /// Why there.
        reason: String,
    },
    /// It is refused.
    Refused {
        /// The diagnostic.
        code: Code,
        /// Its message.
        message: String,
    },
    /// It could be attached, but another hook of its policy is refused, and a policy is whole or absent.
    LeftOut,
}

/// A hook of a policy on a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// `metadata.name`
    pub policy: String,
    /// Slot of the policy.
    pub policy_slot: u32,
    /// What is hooked (`syscall openat`); `None`: the policy as a whole, since its hooks could not be made out.
    pub hook: Option<String>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// Says for each hook of each policy where it would be attached. In the order of the policies and of their hooks.
pub fn attachments(policies: &PolicySet, facts: &KernelFacts) -> Vec<Attachment> {
    let mut attachments = Vec::new();
    for entry in &policies.entries {
        let mut diagnostics = Vec::new();
        let hooks = resolve::resolve(entry, facts, &mut diagnostics);
        let attachment = |hook, outcome| Attachment {
            policy: entry.policy.name.clone(),
            policy_slot: entry.slot,
            hook,
            outcome,
        };
        if let Some(error) = diagnostics.iter().find(|d| Diagnostic::is_error(d)) {
            attachments.push(attachment(
                None,
                Outcome::Refused {
                    code: error.code,
                    message: error.message.clone(),
                },
            ));
            continue;
        }
        let outcomes: Vec<(String, Outcome)> = hooks
            .iter()
            .map(|hook| (hook_name(hook), outcome(hook, facts)))
            .collect();
        let is_refused = outcomes.iter().any(|(_, o)| matches!(o, Outcome::Refused { .. }));
        for (hook, outcome) in outcomes {
            let outcome = match outcome {
                Outcome::Attached { .. } if is_refused => Outcome::LeftOut,
                other => other,
            };
            attachments.push(attachment(Some(hook), outcome));
        }
    }
    attachments
}

/// `syscall openat`
pub fn hook_name(hook: &Hook) -> String {
    resolve::target_name(&hook.target).replace('`', "")
}

fn outcome(hook: &Hook, facts: &KernelFacts) -> Outcome {
    match attach::choose(hook, facts) {
        Ok(choice) => Outcome::Attached {
            points: choice.parts.into_iter().map(|part| part.attach).collect(),
            reason: choice.reason,
        },
        Err(refusal) => Outcome::Refused {
            code: if refusal.is_override {
                codes::OVERRIDE_NOT_POSSIBLE
            } else {
                codes::NOT_ATTACHABLE
            },
            message: refusal.reason,
        },
    }
}
