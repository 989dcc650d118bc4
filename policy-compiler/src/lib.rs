//! The policy compiler: a set of TracingPolicies and facts about one kernel in, one small eBPF object per hook out.
//!
//! ```text
//!  policies ─ resolve ─▶ hir ─ attach ─▶ plan ─ generate ─▶ ir ─ codegen ─▶ instructions ─ object, link ─▶ ELF
//!                ▲            ▲
//!              facts        facts
//! ```
//!
//! [`compile`] is a pure function: it never looks at the machine it runs on, and equal input gives equal bytes. It compiles a
//! *set*: hooks of different policies with the same attach point become one program. What cannot be honoured is refused with a
//! [`Diagnostic`]; a policy with an error contributes nothing, the others are compiled.

#![forbid(unsafe_code)]

pub mod attach;
mod automaton;
pub mod binary;
pub mod binary_table;
pub mod btf;
pub mod codegen;
pub mod codes;
pub mod disassemble;
pub mod explain;
pub mod facts;
pub mod generate;
mod hash;
pub mod hir;
pub mod interpret;
pub mod ir;
pub mod isa;
pub mod link;
pub mod object;
pub mod output;
mod pattern;
pub mod plan;
mod resolve;
mod resolved;
pub mod review;
pub mod set;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracingpolicy_crd::{Diagnostic, Policy, Span};

use attach::Role;
use binary_table::BinaryTable;
use facts::KernelFacts;
use hir::Hook;
use output::{AttachPoint, HookObject};
use plan::{HookPlan, TooLarge};
pub use resolve::{binaries_needed, tracepoints_needed};
use resolved::Resolved;
pub use set::{PolicyEntry, PolicySet, Scope};

/// What a compilation may be asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Keep the text of every pass in [`Compilation::passes`].
    pub emit_passes: bool,
    /// Selectors of a hook that are asked one after the other; where there are more, an index finds those that may hold.
    pub selectors_in_a_row: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            emit_passes: false,
            selectors_in_a_row: 16,
        }
    }
}

/// What came of a compilation.
#[derive(Clone, Debug, Default)]
pub struct Compilation {
    /// One per attach point, ordered by it.
    pub objects: Vec<HookObject>,
    /// Everything there is to say, errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// Slots of the policies that could not be compiled.
    pub failed: BTreeSet<u32>,
    /// Text of the passes per object, if asked for.
    pub passes: Vec<Passes>,
    /// The decision problem of each object, if the passes were asked for.
    pub plans: Vec<HookPlan>,
}

/// Text of the passes of one object.
#[derive(Clone, Debug, Default)]
pub struct Passes {
    /// Its attach point.
    pub name: String,
    /// Hooks after resolution.
    pub hir: String,
    /// The decision problem.
    pub plan: String,
    /// The control-flow graph.
    pub ir: String,
    /// Instructions, with policy lines.
    pub asm: String,
}

/// Modes a policy may ask for by its option `policy-mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Signals are sent and results replaced.
    #[default]
    Enforce,
    /// Events only.
    Monitor,
}

/// The mode that a policy's options ask for; `None` if the option has a wrong value.
pub fn mode_of(policy: &Policy) -> Option<Mode> {
    let mut mode = Mode::default();
    for option in policy.spec.options.iter().filter(|o| o.name == "policy-mode") {
        mode = match option.value.as_str() {
            "enforce" => Mode::Enforce,
            "monitor" => Mode::Monitor,
            _ => return None,
        };
    }
    Some(mode)
}

/// Resolves a set of policies for one kernel, without compiling it: the hooks that [`interpret`] runs. Policies with an error
/// have none.
pub fn hooks(policies: &PolicySet, facts: &KernelFacts) -> (Vec<Hook>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let resolve = |entry| resolve::resolve(entry, facts, &mut diagnostics);
    let hooks = policies.entries.iter().flat_map(resolve).collect();
    (hooks, diagnostics)
}

/// Compiles a set of policies for one kernel.
pub fn compile(policies: &PolicySet, facts: &KernelFacts, options: &Options) -> Compilation {
    Compiler::default().compile(policies, facts, options)
}

/// Compiles sets that follow each other, on one kernel. What a policy means to the kernel is found out once.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    resolved: Resolved,
}

impl Compiler {
    /// Compiles a set. The facts are those of one kernel at every call; they may tell more of it than at the call before.
    pub fn compile(&mut self, policies: &PolicySet, facts: &KernelFacts, options: &Options) -> Compilation {
        let mut compilation = Compilation::default();
        let hooks = self.resolved.resolve(policies, facts, &mut compilation);
        compile_hooks(policies, hooks, facts, options, compilation)
    }
}

fn compile_hooks(
    policies: &PolicySet,
    mut hooks: BTreeMap<u32, Vec<Arc<Hook>>>,
    facts: &KernelFacts,
    options: &Options,
    mut compilation: Compilation,
) -> Compilation {
    let reasons = choose_attach_points(policies, &mut hooks, facts, &mut compilation);
    // A hook that turns out too large takes its policy out; what is left is planned anew, so that a policy is whole or absent.
    loop {
        match build(&hooks, &reasons, facts, options) {
            Ok(built) => {
                compilation.objects = built.objects;
                compilation.passes = built.passes;
                compilation.plans = built.plans;
                return compilation;
            }
            Err(refusals) => {
                let mut removed = false;
                for refused in refusals {
                    if let Some(entry) = policies.entries.iter().find(|e| e.slot == refused.slot) {
                        compilation
                            .diagnostics
                            .push(located(entry, &refused.line, refused.code, refused.message).help(refused.help));
                    }
                    compilation.failed.insert(refused.slot);
                    removed |= hooks.remove(&refused.slot).is_some();
                }
                if !removed {
                    return compilation;
                }
            }
        }
    }
}

/// A hook at an attach point, what the program does for it there, and why it is there.
type Part = (Arc<Hook>, Role, String);
type Attached = BTreeMap<AttachPoint, Vec<Part>>;

/// What was made of all hooks.
#[derive(Default)]
struct Built {
    objects: Vec<HookObject>,
    passes: Vec<Passes>,
    plans: Vec<HookPlan>,
}

/// Why a policy cannot be part of the set.
struct Refused {
    slot: u32,
    code: tracingpolicy_crd::Code,
    line: output::SourceLine,
    message: String,
    help: &'static str,
}

/// Finds the attach points of all hooks; policies with a hook that has none are taken out.
fn choose_attach_points(
    policies: &PolicySet,
    hooks: &mut BTreeMap<u32, Vec<Arc<Hook>>>,
    facts: &KernelFacts,
    compilation: &mut Compilation,
) -> Attached {
    let mut attached = Attached::new();
    for entry in &policies.entries {
        let Some(of_policy) = hooks.get(&entry.slot).cloned() else {
            continue;
        };
        let mut found = Vec::new();
        let mut refused = false;
        for hook in of_policy {
            match attach::choose(&hook, facts) {
                Ok(choice) => found.extend(
                    choice
                        .parts
                        .into_iter()
                        .map(|p| (p.attach, (hook.clone(), p.role, choice.reason.clone()))),
                ),
                Err(refusal) => {
                    refused = true;
                    let code = if refusal.is_override {
                        codes::OVERRIDE_NOT_POSSIBLE
                    } else {
                        codes::NOT_ATTACHABLE
                    };
                    compilation
                        .diagnostics
                        .push(located(entry, &hook.line, code, refusal.reason).help(refusal.help));
                }
            }
        }
        if refused {
            compilation.failed.insert(entry.slot);
            hooks.remove(&entry.slot);
        } else {
            for (attach, part) in found {
                attached.entry(attach).or_default().push(part);
            }
        }
    }
    attached
}

fn build(
    hooks: &BTreeMap<u32, Vec<Arc<Hook>>>,
    attached: &Attached,
    facts: &KernelFacts,
    options: &Options,
) -> Result<Built, Vec<Refused>> {
    let table = BinaryTable::new(hooks.values().flatten().map(|h| &**h));
    let mut built = Built::default();
    // before any code is made, which takes far longer
    let mut plans = Vec::new();
    for (attach, parts) in attached {
        let is_in = |(hook, ..): &&Part| hooks.contains_key(&hook.policy_slot);
        let parts: Vec<Part> = parts.iter().filter(is_in).cloned().collect();
        if parts.is_empty() {
            continue;
        }
        let plan = plan(attach, &parts, &table, facts).map_err(|too_large| {
            let message = format!(
                "a program can hold {} {} at once, this hook needs more",
                too_large.limit, too_large.what
            );
            vec![Refused {
                slot: too_large.policy_slot,
                code: codes::HOOK_TOO_LARGE,
                line: too_large.line,
                message,
                help: "split the hook's policies by argument",
            }]
        })?;
        if !generate::fits(&plan, facts, options) {
            return Err(beyond_memory(attach, &parts, &table, facts, options));
        }
        plans.push((parts, plan));
    }
    for (parts, plan) in plans {
        let attach = &plan.attach;
        let first = &parts[0].0;
        let (slot, line) = (first.policy_slot, first.line.clone());
        let reasons = parts
            .iter()
            .map(|(hook, _, reason)| format!("{}: {reason}", hook.policy_name))
            .collect();
        let generated = generate::generate(&plan, facts, options).map_err(|error| match error {
            generate::GenerateError::TooManySelectors => {
                let last = plan.instances.last().map_or(first, |i| &i.hook);
                vec![too_many_selectors(last)]
            }
            generate::GenerateError::Pattern(reason) => vec![Refused {
                slot,
                code: codes::BAD_PATTERN,
                line: line.clone(),
                message: format!("the patterns of this hook cannot be made automata: {reason}"),
                help: "split the policy's values",
            }],
            generate::GenerateError::MissingType(name) => {
                let message = format!("this kernel's type information has no `{name}`");
                vec![Refused {
                    slot,
                    code: codes::NOT_ATTACHABLE,
                    line: line.clone(),
                    message,
                    help: "leave the filter that needs it out",
                }]
            }
        })?;
        let target = codegen::Target {
            legacy_runtime: !facts.features.current_task_btf,
            ..codegen::Target::default()
        };
        if options.emit_passes {
            built.plans.push(plan.clone());
            built.passes.push(Passes {
                name: attach::describe(attach),
                hir: plan
                    .instances
                    .iter()
                    .map(|i| hir::print::hook(&i.hook))
                    .collect::<Vec<_>>()
                    .join("\n"),
                plan: plan.to_string(),
                ir: generated.program.to_string(),
                asm: codegen::assembly(&generated.program, &target, &generated.source_lines).unwrap_or_default(),
            });
        }
        let compiled = codegen::compile_program(generated.program, &target, &generated.source_lines);
        let elf = compiled.map_err(|error| {
            let message = format!("no code could be made for {}: {error}", attach::describe(attach));
            vec![Refused {
                slot,
                code: codes::COMPILER_DEFECT,
                line: line.clone(),
                message,
                help: "this is a defect of the compiler; please report the policy",
            }]
        })?;
        let mut policy_slots: Vec<u32> = plan.instances.iter().map(|i| i.hook.policy_slot).collect();
        policy_slots.dedup();
        built.objects.push(HookObject {
            attach: attach.clone(),
            elf,
            section: generate::section(attach),
            symbol: generate::symbol(attach),
            tag: plan.tag,
            enforces: plan.instances.iter().any(|i| i.acts() && i.hook.enforces()),
            templates: plan.templates,
            source_lines: generated.source_lines,
            reasons,
            policy_slots,
            hook_bit: generate::hook_bit(attach),
        });
    }
    Ok(built)
}

fn plan(attach: &AttachPoint, parts: &[Part], table: &BinaryTable, facts: &KernelFacts) -> Result<HookPlan, TooLarge> {
    let hooks = parts.iter().map(|(hook, role, _)| (hook.clone(), *role)).collect();
    HookPlan::new(attach.clone(), hooks, table, facts)
}

/// The policies behind the last one that a program's memory has room for, in the set's order; it has not for all.
fn beyond_memory(
    attach: &AttachPoint,
    parts: &[Part],
    table: &BinaryTable,
    facts: &KernelFacts,
    options: &Options,
) -> Vec<Refused> {
    // what else may be wrong with a plan is said where code is made
    let fits = |count: usize| {
        plan(attach, &parts[..count], table, facts).map_or(true, |plan| generate::fits(&plan, facts, options))
    };
    let (mut room, mut too_many) = (0, parts.len());
    while room + 1 < too_many {
        let middle = room.midpoint(too_many);
        if fits(middle) {
            room = middle;
        } else {
            too_many = middle;
        }
    }
    let mut refused: Vec<Refused> = parts[room..]
        .iter()
        .map(|(hook, ..)| too_many_selectors(hook))
        .collect();
    refused.dedup_by_key(|refused| refused.slot);
    refused
}

fn too_many_selectors(hook: &Hook) -> Refused {
    Refused {
        slot: hook.policy_slot,
        code: codes::HOOK_TOO_LARGE,
        line: hook.line.clone(),
        message: "the hook has more selectors than a program's memory can hold".to_owned(),
        help: "merge selectors with equal actions: values of a filter are not limited",
    }
}

/// An error on a line of a policy.
fn located(
    entry: &PolicyEntry,
    line: &output::SourceLine,
    code: tracingpolicy_crd::Code,
    message: String,
) -> Diagnostic {
    Diagnostic::error(code, &entry.policy.source, span_of(entry, line), message)
}

/// What a policy's line says, from its column on.
fn span_of(entry: &PolicyEntry, line: &output::SourceLine) -> Span {
    let text = entry.policy.source.text();
    let start: usize = text
        .split_inclusive('\n')
        .take(line.line.saturating_sub(1) as usize)
        .map(str::len)
        .sum();
    let rest = text.get(start..).unwrap_or_default();
    let column = rest
        .char_indices()
        .nth(line.column.saturating_sub(1) as usize)
        .map_or(0, |(at, _)| at);
    let length = rest
        .get(column..)
        .map_or(0, |r| r.lines().next().unwrap_or_default().trim_end().len());
    Span::new(start + column, start + column + length)
}
