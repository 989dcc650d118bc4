//! Hooks of each section, and the kernel symbols behind their names.

use std::sync::Arc;

use tracingpolicy_crd::{
    Action, ArgSpec, FieldPath, KprobeSpec, LsmHookSpec, Policy, Selector as SelectorSpec, TracepointSpec,
};

use super::Resolver;
use crate::attach::syscall_symbol;
use crate::codes;
use crate::hir::{Argument, Hook, Selector, Target};
use crate::output::HookKind;

/// `returnArgAction` that gives a socket an owner; the other one takes it away.
const TRACK_SOCK: &str = "TrackSock";

/// Whether any hook of a policy gives a socket an owner.
fn follows_socks(policy: &Policy) -> bool {
    let spec = &policy.spec;
    let functions = spec.kprobes.iter().chain(&spec.fentries);
    let returned = functions.clone().filter_map(|hook| hook.return_arg_action.as_deref());
    let selectors = functions
        .flat_map(|hook| &hook.selectors)
        .chain(spec.tracepoints.iter().flat_map(|hook| &hook.selectors))
        .chain(spec.lsmhooks.iter().flat_map(|hook| &hook.selectors))
        .chain(spec.selectors_macros.values());
    let mut actions = selectors.flat_map(|selector| &selector.match_actions);
    returned
        .into_iter()
        .any(|action| action.eq_ignore_ascii_case(TRACK_SOCK))
        || actions.any(|action| action.action == Action::TrackSock)
}

/// What the hooks of all sections have in common.
pub(super) struct Common<'s> {
    pub(super) kind: HookKind,
    pub(super) index: usize,
    pub(super) message: &'s str,
    pub(super) tags: &'s [String],
    pub(super) selectors: &'s [SelectorSpec],
    pub(super) path: &'s FieldPath,
    pub(super) name_path: FieldPath,
}

impl Resolver<'_> {
    /// A hook of `kprobes` or `fentries`: one for each symbol of its list.
    pub(super) fn kprobe(
        &mut self,
        kind: HookKind,
        index: usize,
        spec: &KprobeSpec,
        path: &FieldPath,
        hooks: &mut Vec<Hook>,
    ) {
        let call_path = path.key("call");
        let Some(targets) = self.call_targets(&spec.call, spec.syscall, &call_path) else {
            return;
        };
        let ignore_missing = spec.ignore.as_ref().is_some_and(|i| i.call_not_found);
        for target in targets {
            if !self.exists(&target) {
                if ignore_missing {
                    self.warning(
                        codes::FUNCTION_NOT_FOUND,
                        &call_path,
                        format!(
                            "{} is not on this kernel, the hook is left out",
                            super::target_name(&target)
                        ),
                        "`ignore.callNotFound` asks for this",
                    );
                } else {
                    self.not_found(&target, &call_path);
                }
                continue;
            }
            let (mut arguments, returned) = self.kprobe_arguments(&target, spec, path);
            arguments.extend(self.data(&target, &spec.data, path));
            let common = Common {
                kind,
                index,
                message: &spec.message,
                tags: &spec.tags,
                selectors: &spec.selectors,
                path,
                name_path: call_path.clone(),
            };
            let specs: Vec<&ArgSpec> = spec.args.iter().collect();
            let is_sock = returned.as_ref().is_some_and(|returned| returned.operand.is_sock());
            self.finish(&common, target, &specs, arguments, returned, hooks);
            if let (Some(hook), Some(action), true) = (hooks.last_mut(), &spec.return_arg_action, is_sock) {
                hook.tracks_returned = Some(action.eq_ignore_ascii_case(TRACK_SOCK));
            }
        }
    }

    /// A hook of `tracepoints`.
    pub(super) fn tracepoint(&mut self, index: usize, spec: &TracepointSpec, path: &FieldPath, hooks: &mut Vec<Hook>) {
        let target = if spec.raw {
            Target::RawTracepoint(spec.subsystem.clone(), spec.event.clone())
        } else {
            Target::Tracepoint(spec.subsystem.clone(), spec.event.clone())
        };
        let name_path = path.key("event");
        if !self.exists(&target) {
            return self.not_found(&target, &name_path);
        }
        let arguments = self.arguments(&target, &spec.args, path);
        let common = Common {
            kind: HookKind::Tracepoint,
            index,
            message: &spec.message,
            tags: &spec.tags,
            selectors: &spec.selectors,
            path,
            name_path,
        };
        let specs: Vec<&ArgSpec> = spec.args.iter().collect();
        self.finish(&common, target, &specs, arguments, None, hooks);
    }

    /// A hook of `lsmhooks`.
    pub(super) fn lsm(&mut self, index: usize, spec: &LsmHookSpec, path: &FieldPath, hooks: &mut Vec<Hook>) {
        let target = Target::Lsm(spec.hook.clone());
        let name_path = path.key("hook");
        if !self.exists(&target) {
            return self.not_found(&target, &name_path);
        }
        let arguments = self.arguments(&target, &spec.args, path);
        let common = Common {
            kind: HookKind::Lsm,
            index,
            message: &spec.message,
            tags: &spec.tags,
            selectors: &spec.selectors,
            path,
            name_path,
        };
        let specs: Vec<&ArgSpec> = spec.args.iter().collect();
        self.finish(&common, target, &specs, arguments, None, hooks);
    }

    pub(super) fn finish(
        &mut self,
        common: &Common<'_>,
        target: Target,
        specs: &[&ArgSpec],
        arguments: Vec<Argument>,
        returned: Option<Argument>,
        hooks: &mut Vec<Hook>,
    ) {
        let selectors: Vec<Selector> = common
            .selectors
            .iter()
            .enumerate()
            .map(|(i, spec)| {
                let path = common.path.key("selectors").index(i);
                self.selector(i as u32, spec, &path, &target, specs, &arguments, returned.as_ref())
            })
            .collect();
        hooks.push(Hook {
            policy_slot: self.entry.slot,
            scope: self.entry.scope,
            policy_name: Arc::from(self.policy.name.as_str()),
            policy_namespace: self.policy.namespace.as_deref().map(Arc::from),
            kind: common.kind,
            hook_index: common.index as u32,
            instance: 0,
            target,
            arguments,
            returned,
            tracks_returned: None,
            follows_socks: follows_socks(self.policy),
            selectors,
            message: Arc::from(common.message),
            tags: common.tags.to_vec(),
            line: self.line(&common.name_path),
        });
    }

    /// Whether the kernel has what a hook names.
    pub(super) fn exists(&self, target: &Target) -> bool {
        let facts = self.facts;
        match target {
            Target::Function(symbol) => facts.btf.function(symbol).is_some() || facts.functions.contains(symbol),
            Target::Syscall(name) => {
                let symbol = syscall_symbol(name, facts.arch);
                facts.btf.function(&symbol).is_some()
                    || facts.functions.contains(&symbol)
                    || facts
                        .tracepoints
                        .contains_key(&("syscalls".into(), format!("sys_enter_{name}")))
            }
            Target::Lsm(hook) => facts.btf.function(&format!("bpf_lsm_{hook}")).is_some(),
            Target::Tracepoint(subsystem, event) => facts.tracepoints.contains_key(&(subsystem.clone(), event.clone())),
            Target::RawTracepoint(_, event) => facts.btf.typedef(&format!("btf_trace_{event}")).is_some(),
            Target::User(_) => true,
        }
    }

    pub(super) fn not_found(&mut self, target: &Target, path: &FieldPath) {
        let what = super::target_name(target);
        match target {
            Target::Function(symbol) => {
                let help = if symbol.starts_with("sys_") || symbol.starts_with("__x64_sys_") {
                    "this looks like a syscall: set `syscall: true`"
                } else {
                    "see /sys/kernel/tracing/available_filter_functions for the names this kernel has, or set \
                     `ignore: {callNotFound: true}`"
                };
                self.error(codes::FUNCTION_NOT_FOUND, path, format!("{what} not found in the kernel's type information"), help);
            }
            Target::Syscall(_) => self.error(
                codes::SYSCALL_NOT_FOUND,
                path,
                format!("{what} not found on this kernel"),
                "for a kernel function that is not a syscall, set `syscall: false`: it is `true` unless said otherwise",
            ),
            Target::Lsm(_) => self.error(
                codes::LSM_HOOK_NOT_FOUND,
                path,
                format!("{what} not found on this kernel"),
                "hooks are named without prefix, as in include/linux/lsm_hook_defs.h (`file_open`, `bprm_check_security`)",
            ),
            Target::Tracepoint(..) | Target::RawTracepoint(..) => self.error(
                codes::TRACEPOINT_NOT_FOUND,
                path,
                format!("{what} not found on this kernel"),
                "the names are those of the folders in /sys/kernel/tracing/events/SUBSYSTEM/EVENT",
            ),
            // whoever looked into the binary has said so
            Target::User(_) => {}
        }
    }
}
