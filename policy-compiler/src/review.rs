//! What a careful reader would say about policies that are right: they compile and load, but may not do what they are meant to.
//!
//! A finding is a [`Diagnostic`] of severity warning or note with a code of its own, so it has a page in `docs/errors`. It is not part of
//! [`compile`](crate::compile), which says nothing about policies that are right. Each rule is a file; it sees one hook of one
//! policy, typed, with the hooks of the whole set beside it. A false alarm is worse than silence: a rule that cannot tell keeps
//! quiet.

use std::collections::BTreeSet;

use tracingpolicy_crd::{Code, Diagnostic, FieldPath, Selector as SelectorSpec, Severity, Span};

use crate::facts::KernelFacts;
use crate::hir::{Actions, Hook, Selector, Target};
use crate::output::{HookKind, SourceLine};
use crate::set::{PolicyEntry, PolicySet};
use crate::{resolve, span_of};

mod binaries;
mod contradiction;
mod hot;
mod kill;
mod names;
mod selectors;
mod user_function;
mod user_memory;
mod width;

/// Number of SIGKILL.
const SIGKILL: u32 = 9;

/// Reviews a set for one kernel. Policies with errors are left out: [`compile`](crate::compile) reports them.
///
/// Findings are ordered by policy, then by place in its text. Hooks that a list makes of one hook of the policy give one
/// finding.
pub fn review(policies: &PolicySet, facts: &KernelFacts) -> Vec<Diagnostic> {
    let hooks: Vec<(&PolicyEntry, Vec<Hook>)> = policies
        .entries
        .iter()
        .map(|entry| (entry, resolve::resolve(entry, facts, &mut Vec::new())))
        .collect();
    let set: Vec<&Hook> = hooks.iter().flat_map(|(_, hooks)| hooks).collect();
    let mut diagnostics = Vec::new();
    for (entry, hooks) in &hooks {
        let mut findings = Vec::new();
        for hook in hooks {
            let subject = Subject {
                entry,
                hook,
                facts,
                set: &set,
            };
            for rule in RULES {
                rule(&subject, &mut findings);
            }
        }
        findings.sort_by_key(|finding| (finding.span.start, finding.code));
        let mut seen = BTreeSet::new();
        findings.retain(|finding| seen.insert((finding.span.start, finding.code)));
        diagnostics.extend(findings.into_iter().map(|finding| finding.into_diagnostic(entry)));
    }
    diagnostics
}

type Rule = fn(&Subject<'_>, &mut Vec<Finding>);

const RULES: [Rule; 9] = [
    user_memory::check,
    user_function::check,
    names::check,
    kill::check,
    hot::check,
    binaries::check,
    selectors::check,
    contradiction::check,
    width::check,
];

/// One hook under review.
struct Subject<'a> {
    entry: &'a PolicyEntry,
    hook: &'a Hook,
    facts: &'a KernelFacts,
    /// All hooks of the set.
    set: &'a [&'a Hook],
}

/// What a rule has to say.
struct Finding {
    severity: Severity,
    code: Code,
    span: Span,
    message: String,
    /// Another place that is the reason.
    because: Option<(Span, &'static str)>,
    help: String,
}

impl Finding {
    fn warning(code: Code, span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            code,
            span,
            message: message.into(),
            because: None,
            help: help.into(),
        }
    }

    fn into_diagnostic(self, entry: &PolicyEntry) -> Diagnostic {
        let diagnostic =
            Diagnostic::new(self.severity, self.code, &entry.policy.source, self.span, self.message).help(self.help);
        match self.because {
            Some((span, text)) => diagnostic.secondary(span, text),
            None => diagnostic,
        }
    }
}

impl Subject<'_> {
    fn span(&self, line: &SourceLine) -> Span {
        span_of(self.entry, line)
    }

    /// Where the policy says that a selector sends SIGKILL.
    fn kill_span(&self, selector: &Selector, at_return: bool) -> Span {
        let (section, specs) = self.section();
        let index = selector.index as usize;
        let Some(spec) = specs.get(index) else {
            return self.span(&selector.line);
        };
        let path = FieldPath::root()
            .key("spec")
            .key(section)
            .index(self.hook.hook_index as usize)
            .key("selectors")
            .index(index);
        let is_kill = |action: &tracingpolicy_crd::ActionSelector| match action.action {
            tracingpolicy_crd::Action::Sigkill => true,
            tracingpolicy_crd::Action::Signal => action.arg_sig == SIGKILL,
            _ => false,
        };
        let killing = self
            .entry
            .policy
            .spec
            .parts(spec, &path)
            .into_iter()
            .find_map(|(part, path)| {
                let (key, actions) = if at_return {
                    ("matchReturnActions", &part.match_return_actions)
                } else {
                    ("matchActions", &part.match_actions)
                };
                Some(path.key(key).index(actions.iter().position(is_kill)?))
            });
        let path = killing.unwrap_or(path);
        let span = self.entry.policy.span(&path);
        let first_line = self.entry.policy.source.slice(span).lines().next().unwrap_or_default();
        Span::new(span.start, span.start + first_line.trim_end().len())
    }

    /// The section of the hook and its selectors as written.
    fn section(&self) -> (&'static str, &[SelectorSpec]) {
        let spec = &self.entry.policy.spec;
        let index = self.hook.hook_index as usize;
        let (name, selectors) = match self.hook.kind {
            HookKind::Kprobe => ("kprobes", spec.kprobes.get(index).map(|h| &h.selectors)),
            HookKind::Fentry => ("fentries", spec.fentries.get(index).map(|h| &h.selectors)),
            HookKind::Tracepoint => ("tracepoints", spec.tracepoints.get(index).map(|h| &h.selectors)),
            HookKind::Lsm => ("lsmhooks", spec.lsmhooks.get(index).map(|h| &h.selectors)),
            HookKind::Enforcer => ("enforcers", None),
            HookKind::Uprobe => ("uprobes", spec.uprobes.get(index).map(|h| &h.selectors)),
            HookKind::Usdt => ("usdts", spec.usdts.get(index).map(|h| &h.selectors)),
        };
        (name, selectors.map_or(&[], Vec::as_slice))
    }

    /// The syscall at whose entry the hook is, whichever way the policy says it.
    fn syscall(&self) -> Option<&str> {
        syscall_of(&self.hook.target)
    }

    /// The LSM hook at which the hook is, whichever way the policy says it, without prefix.
    fn lsm_hook(&self) -> Option<&str> {
        lsm_hook_of(&self.hook.target)
    }
}

fn syscall_of(target: &Target) -> Option<&str> {
    match target {
        Target::Syscall(name) => Some(name),
        Target::Tracepoint(subsystem, event) if subsystem == "syscalls" => event.strip_prefix("sys_enter_"),
        _ => None,
    }
}

fn lsm_hook_of(target: &Target) -> Option<&str> {
    match target {
        Target::Lsm(name) => Some(name),
        Target::Function(symbol) => match symbol.strip_prefix("security_")? {
            "bprm_check" => Some("bprm_check_security"),
            hook => Some(hook),
        },
        _ => None,
    }
}

fn kills(actions: &Actions) -> bool {
    actions.signals.contains(&SIGKILL)
}

/// Whether a selector stops or kills at entry.
fn stops(selector: &Selector) -> bool {
    selector.actions.override_errno.is_some() || kills(&selector.actions)
}
