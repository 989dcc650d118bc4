//! Pass 2: syntax tree to typed hooks ([`crate::hir`]).
//!
//! Every name is looked up in the facts, every value parsed for the type it is compared with. What is outside the part of the
//! language that is compiled is refused by name: nothing is accepted and then ignored. Resolution goes on after an error, so
//! that one run shows all of them; a policy with an error yields no hooks.

use std::sync::Arc;

use tracingpolicy_crd::{Code, Diagnostic, FieldPath, Policy, Severity};

use crate::facts::KernelFacts;
use crate::hir::{Hook, Target, UserName};
use crate::output::{HookKind, SourceLine};
use crate::set::PolicyEntry;

mod action;
mod address;
mod argument;
mod chain;
mod enforcer;
mod expression;
mod filter;
mod hook;
mod integer;
mod list;
mod names;
mod outside;
mod user_hook;

pub(crate) use action::POST;
pub(crate) use argument::integer_width;
pub(crate) use filter::type_name;
pub(crate) use names::file_type_name;
pub use user_hook::binaries_needed;

/// Resolves one policy. Hooks are empty if there was an error.
pub(crate) fn resolve(entry: &PolicyEntry, facts: &KernelFacts, diagnostics: &mut Vec<Diagnostic>) -> Vec<Hook> {
    let mut found = Vec::new();
    let mut resolver = Resolver {
        entry,
        policy: &entry.policy,
        facts,
        diagnostics: &mut found,
        failed: false,
        notifications: Vec::new(),
    };
    let hooks = resolver.policy();
    let failed = resolver.failed;
    diagnostics.append(&mut found);
    if failed { Vec::new() } else { hooks }
}

/// What one policy is resolved with.
pub(crate) struct Resolver<'a> {
    entry: &'a PolicyEntry,
    policy: &'a Policy,
    facts: &'a KernelFacts,
    diagnostics: &'a mut Vec<Diagnostic>,
    failed: bool,
    /// What its hooks leave to its enforcers, by number from 1.
    notifications: Vec<enforcer::Notified>,
}

impl Resolver<'_> {
    fn policy(&mut self) -> Vec<Hook> {
        let spec = &self.policy.spec;
        let root = FieldPath::root().key("spec");
        self.refuse_what_is_outside(&root);
        self.options(&root);
        let mut hooks = Vec::new();
        for (i, hook) in spec.kprobes.iter().enumerate() {
            self.kprobe(HookKind::Kprobe, i, hook, &root.key("kprobes").index(i), &mut hooks);
        }
        for (i, hook) in spec.fentries.iter().enumerate() {
            self.kprobe(HookKind::Fentry, i, hook, &root.key("fentries").index(i), &mut hooks);
        }
        for (i, hook) in spec.tracepoints.iter().enumerate() {
            self.tracepoint(i, hook, &root.key("tracepoints").index(i), &mut hooks);
        }
        for (i, hook) in spec.lsmhooks.iter().enumerate() {
            self.lsm(i, hook, &root.key("lsmhooks").index(i), &mut hooks);
        }
        for (i, hook) in spec.uprobes.iter().enumerate() {
            self.uprobe(i, hook, &root.key("uprobes").index(i), &mut hooks);
        }
        for (i, hook) in spec.usdts.iter().enumerate() {
            self.usdt(i, hook, &root.key("usdts").index(i), &mut hooks);
        }
        for (i, enforcer) in spec.enforcers.iter().enumerate() {
            self.enforcer(i, enforcer, &root.key("enforcers").index(i), &mut hooks);
        }
        for (instance, hook) in hooks.iter_mut().enumerate() {
            hook.instance = instance as u32;
        }
        hooks
    }

    /// Begins a diagnostic on the value at `path`; [`Resolver::report`] ends it.
    fn diagnostic(&self, severity: Severity, code: Code, path: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(severity, code, &self.policy.source, self.policy.span(path), message)
    }

    fn error(&mut self, code: Code, path: &FieldPath, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = self.diagnostic(Severity::Error, code, path, message).help(help);
        self.report(diagnostic);
    }

    fn warning(&mut self, code: Code, path: &FieldPath, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = self.diagnostic(Severity::Warning, code, path, message).help(help);
        self.report(diagnostic);
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.failed |= diagnostic.is_error();
        // a macro is resolved for each selector that uses it
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// The policy line where the value at `path` stands.
    fn line(&self, path: &FieldPath) -> SourceLine {
        let span = self.policy.span(path);
        let position = self.policy.position(span);
        SourceLine {
            file: Arc::from(self.policy.source.name()),
            line: position.line,
            column: position.column,
            text: Arc::from(self.policy.line_text(span).trim()),
        }
    }
}

/// The names the kernel facts should be collected for: tracepoints that policies mention, and those behind their syscalls. An event
/// that ends in `*` stands for all that begin so.
pub fn tracepoints_needed<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Vec<(String, String)> {
    let mut needed = std::collections::BTreeSet::new();
    for policy in policies {
        for hook in &policy.spec.tracepoints {
            needed.insert((hook.subsystem.clone(), hook.event.clone()));
        }
        for call in list::syscall_names(&policy.spec) {
            for side in ["enter", "exit"] {
                needed.insert(("syscalls".to_owned(), format!("sys_{side}_{call}")));
            }
        }
    }
    needed.into_iter().collect()
}

/// What a target is called in messages.
pub(crate) fn target_name(target: &Target) -> String {
    match target {
        Target::Function(symbol) => format!("function `{symbol}`"),
        Target::Syscall(name) => format!("syscall `{name}`"),
        Target::Lsm(hook) => format!("LSM hook `{hook}`"),
        Target::Tracepoint(subsystem, event) | Target::RawTracepoint(subsystem, event) => {
            format!("tracepoint `{subsystem}/{event}`")
        }
        Target::User(user) => {
            let path = &user.place.path;
            match &user.name {
                UserName::Symbol(symbol) => format!("function `{symbol}` of `{path}`"),
                UserName::Offset => format!("offset {:#x} of `{path}`", user.place.offset),
                UserName::Probe(provider, name) => format!("static probe `{provider}:{name}` of `{path}`"),
            }
        }
    }
}
