//! What the types cannot say: rules between keys, and the meaning of values, as far as no kernel is needed to judge.
//!
//! Limits that the reference has only because of how it is built (number of selectors, values, sections, …) are no rules here.

mod action;
mod action_hook;
mod argument;
mod filter;
mod filter_value;
mod hook;
mod label;
mod list;
mod macros;
pub(crate) mod names;
mod options;
mod process;
mod return_value;
mod rules;
mod selector;
mod user_hook;

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::parse::sink::Sink;
use crate::path::FieldPath;
use crate::policy::Policy;
use crate::source::Span;
use crate::types::{ArgSpec, Selector, Spec};

/// Checks a policy of the right shape.
pub(crate) fn validate(policy: &Policy, sink: &mut Sink) {
    let mut checker = Checker { policy, sink };
    rules::check(&mut checker);
    list::check(&mut checker);
    options::check(&mut checker);
    label::check(&mut checker);
    macros::check(&mut checker);
    let hooks = hooks(&policy.spec);
    hook::check_any(&mut checker, &hooks);
    for hook in &hooks {
        hook::check(&mut checker, hook);
        argument::check(&mut checker, hook);
        return_value::check(&mut checker, hook);
        selector::check(&mut checker, hook);
    }
    user_hook::check(&mut checker);
}

/// A policy under examination.
struct Checker<'a> {
    policy: &'a Policy,
    sink: &'a mut Sink,
}

impl<'a> Checker<'a> {
    fn spec(&self) -> &'a Spec {
        &self.policy.spec
    }

    fn span(&self, path: &FieldPath) -> Span {
        self.policy.spans.span(path)
    }

    /// Whether the text says something at `path`, rather than a default.
    fn has(&self, path: &FieldPath) -> bool {
        self.policy.spans.contains(path)
    }

    /// Whether the text gives `path` a value other than null, which Kubernetes drops.
    fn has_value(&self, path: &FieldPath) -> bool {
        self.policy.spans.has_value(path)
    }

    /// An error about the value at `path`.
    fn error(&self, code: Code, path: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, &self.policy.source, self.first_line(self.span(path)), message)
    }

    /// A warning about the value at `path`.
    fn warning(&self, code: Code, path: &FieldPath, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(code, &self.policy.source, self.first_line(self.span(path)), message)
    }

    /// The span of the key at `path`.
    fn key_span(&self, path: &FieldPath) -> Span {
        self.policy.spans.key_span(path)
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.sink.push(diagnostic);
    }

    /// A span without what follows its first line: whole mappings are too much to show.
    fn first_line(&self, span: Span) -> Span {
        let source = &self.policy.source;
        let end = span.end.min(source.line_end(span.start)).max(span.start);
        let text = source.slice(Span::new(span.start, end));
        Span::new(span.start, span.start + text.trim_end().len())
    }
}

/// The list of `spec` a hook stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    Kprobe,
    Fentry,
    Tracepoint { raw: bool },
    Uprobe,
    Usdt,
    Lsm,
}

impl Section {
    /// What such a hook is called in messages.
    fn describe(self) -> &'static str {
        match self {
            Self::Kprobe => "a kprobe",
            Self::Fentry => "a fentry hook",
            Self::Tracepoint { raw: false } => "a tracepoint",
            Self::Tracepoint { raw: true } => "a raw tracepoint",
            Self::Uprobe => "a uprobe",
            Self::Usdt => "a USDT probe",
            Self::Lsm => "an LSM hook",
        }
    }

    fn is_kernel_function(self) -> bool {
        matches!(self, Self::Kprobe | Self::Fentry)
    }
}

/// What all kinds of hooks have.
struct Hook<'a> {
    section: Section,
    path: FieldPath,
    /// The keys that name the place, with their values.
    names: Vec<(&'static str, &'a str)>,
    syscall: bool,
    args: &'a [ArgSpec],
    data: &'a [ArgSpec],
    has_return: bool,
    return_arg: Option<&'a ArgSpec>,
    return_arg_action: Option<&'a str>,
    selectors: &'a [Selector],
    message: &'a str,
    tags: &'a [String],
}

/// All hooks of a policy.
fn hooks(spec: &Spec) -> Vec<Hook<'_>> {
    let root = FieldPath::root().key("spec");
    let mut hooks = Vec::new();
    for (section, key, kprobes) in [
        (Section::Kprobe, "kprobes", &spec.kprobes),
        (Section::Fentry, "fentries", &spec.fentries),
    ] {
        hooks.extend(kprobes.iter().enumerate().map(|(index, hook)| Hook {
            section,
            path: root.key(key).index(index),
            names: vec![("call", &hook.call)],
            syscall: hook.syscall,
            args: &hook.args,
            data: &hook.data,
            has_return: hook.has_return,
            return_arg: hook.return_arg.as_ref(),
            return_arg_action: hook.return_arg_action.as_deref(),
            selectors: &hook.selectors,
            message: &hook.message,
            tags: &hook.tags,
        }));
    }
    hooks.extend(spec.tracepoints.iter().enumerate().map(|(index, hook)| Hook {
        section: Section::Tracepoint { raw: hook.raw },
        path: root.key("tracepoints").index(index),
        names: vec![("subsystem", &hook.subsystem), ("event", &hook.event)],
        syscall: false,
        args: &hook.args,
        data: &[],
        has_return: false,
        return_arg: None,
        return_arg_action: None,
        selectors: &hook.selectors,
        message: &hook.message,
        tags: &hook.tags,
    }));
    hooks.extend(spec.uprobes.iter().enumerate().map(|(index, hook)| Hook {
        section: Section::Uprobe,
        path: root.key("uprobes").index(index),
        names: vec![("path", &hook.path)],
        syscall: false,
        args: &hook.args,
        data: &hook.data,
        has_return: hook.has_return,
        return_arg: hook.return_arg.as_ref(),
        return_arg_action: None,
        selectors: &hook.selectors,
        message: &hook.message,
        tags: &hook.tags,
    }));
    hooks.extend(spec.usdts.iter().enumerate().map(|(index, hook)| Hook {
        section: Section::Usdt,
        path: root.key("usdts").index(index),
        names: vec![("path", &hook.path), ("provider", &hook.provider), ("name", &hook.name)],
        syscall: false,
        args: &hook.args,
        data: &[],
        has_return: false,
        return_arg: None,
        return_arg_action: None,
        selectors: &hook.selectors,
        message: &hook.message,
        tags: &hook.tags,
    }));
    hooks.extend(spec.lsmhooks.iter().enumerate().map(|(index, hook)| Hook {
        section: Section::Lsm,
        path: root.key("lsmhooks").index(index),
        names: vec![("hook", &hook.hook)],
        syscall: false,
        args: &hook.args,
        data: &[],
        has_return: false,
        return_arg: None,
        return_arg_action: None,
        selectors: &hook.selectors,
        message: &hook.message,
        tags: &hook.tags,
    }));
    hooks
}
