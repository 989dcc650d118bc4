//! Names of calls: `sys_openat`, `__x64_sys_openat`, `list:NAME`.

use std::collections::BTreeSet;

use regex::bytes::RegexBuilder;
use tracingpolicy_crd::{FieldPath, ListSpec, ListType, Spec};

use super::Resolver;
use crate::attach::syscall_symbol;
use crate::codes;
use crate::hir::Target;

/// Prefixes of syscall symbols.
const PREFIXES: [&str; 4] = ["__x64_sys_", "__arm64_sys_", "__ia32_sys_", "sys_"];

/// The bare name of a syscall.
pub(super) fn syscall_name(call: &str) -> &str {
    PREFIXES.iter().find_map(|p| call.strip_prefix(p)).unwrap_or(call)
}

/// In place of the name of a syscall: all that there are.
const ALL_SYSCALLS: &str = "*";

/// The syscalls that a policy names, lists included.
pub(super) fn syscall_names(spec: &Spec) -> Vec<String> {
    let mut names = Vec::new();
    for hook in spec.kprobes.iter().chain(&spec.fentries) {
        match hook.call.strip_prefix("list:") {
            Some(list) => {
                let list = spec.lists.iter().find(|l| l.name == list);
                match list.map(|list| list.list_type) {
                    Some(ListType::Syscalls) => {
                        names.extend(list.iter().flat_map(|l| &l.values).map(|v| abi_free(v).to_owned()));
                    }
                    Some(ListType::GeneratedSyscalls) => names.push(ALL_SYSCALLS.to_owned()),
                    _ => {}
                }
            }
            None if hook.syscall => names.push(syscall_name(&hook.call).to_owned()),
            None => {}
        }
    }
    names
}

/// A list value without `x64/` and prefix.
fn abi_free(value: &str) -> &str {
    syscall_name(value.split_once('/').map_or(value, |(_, name)| name))
}

impl Resolver<'_> {
    /// What a `call` means; `None` if an error was reported.
    pub(super) fn call_targets(&mut self, call: &str, syscall: bool, path: &FieldPath) -> Option<Vec<Target>> {
        if let Some(name) = call.strip_prefix("list:") {
            let policy = self.policy;
            let Some(position) = policy.spec.lists.iter().position(|l| l.name == name) else {
                let known: Vec<String> = policy.spec.lists.iter().map(|l| format!("`{}`", l.name)).collect();
                let help = if known.is_empty() {
                    "the policy has no `lists`".into()
                } else {
                    format!("the policy has the lists {}", known.join(", "))
                };
                self.error(codes::BAD_LIST, path, format!("no list is named `{name}`"), help);
                return None;
            };
            let list_path = FieldPath::root().key("spec").key("lists").index(position);
            return self.list_targets(&policy.spec.lists[position], syscall, &list_path);
        }
        if syscall {
            if call.starts_with("__arm64_sys_") || call.starts_with("__ia32_sys_") {
                self.error(
                    codes::NOT_COMPILED,
                    path,
                    format!("`{call}` is a syscall of another instruction set"),
                    format!(
                        "write `sys_{}`: the prefix of the kernel's own instruction set is added",
                        syscall_name(call)
                    ),
                );
                return None;
            }
            return Some(vec![Target::Syscall(syscall_name(call).to_owned())]);
        }
        Some(vec![Target::Function(call.to_owned())])
    }

    fn list_targets(&mut self, list: &ListSpec, syscall: bool, path: &FieldPath) -> Option<Vec<Target>> {
        match list.list_type {
            ListType::Syscalls => {
                let mut targets = Vec::new();
                for (i, value) in list.values.iter().enumerate() {
                    if let Some((abi, _)) = value.split_once('/')
                        && abi != "x64"
                    {
                        self.error(
                            codes::NOT_COMPILED,
                            &path.key("values").index(i),
                            format!("`{value}` names a syscall of the ABI `{abi}`, which a hook on a function cannot tell apart"),
                            "leave the ABI out, or use the tracepoint raw_syscalls/sys_enter",
                        );
                        return None;
                    }
                    targets.push(Target::Syscall(abi_free(value).to_owned()));
                }
                Some(targets)
            }
            ListType::Functions => Some(
                list.values
                    .iter()
                    .map(|v| {
                        if syscall {
                            Target::Syscall(syscall_name(v).to_owned())
                        } else {
                            Target::Function(v.clone())
                        }
                    })
                    .collect(),
            ),
            ListType::GeneratedSyscalls => Some(self.all_syscalls().into_iter().map(Target::Syscall).collect()),
            ListType::GeneratedFtrace => self.functions_like(list, path),
        }
    }

    /// The system calls of this kernel: those that it traces, or else those that it has functions of, among which are some for
    /// machines of other kinds.
    fn all_syscalls(&self) -> BTreeSet<String> {
        let facts = self.facts;
        let traced = facts
            .tracepoints
            .keys()
            .filter(|(subsystem, _)| subsystem == "syscalls");
        let traced: BTreeSet<String> = traced
            .filter_map(|(_, event)| event.strip_prefix("sys_enter_"))
            .map(str::to_owned)
            .collect();
        if !traced.is_empty() {
            return traced;
        }
        let prefix = syscall_symbol("", facts.arch);
        facts
            .btf
            .functions_from(&prefix)
            .chain(facts.functions.iter().map(String::as_str))
            .filter_map(|name| name.strip_prefix(&prefix))
            // stands for those that there are not
            .filter(|name| *name != "ni_syscall")
            .map(str::to_owned)
            .collect()
    }

    /// The functions that can be probed and that a list's pattern finds.
    fn functions_like(&mut self, list: &ListSpec, path: &FieldPath) -> Option<Vec<Target>> {
        let path = path.key("pattern");
        let pattern = list.pattern.as_deref().unwrap_or_default();
        let pattern = match RegexBuilder::new(pattern).unicode(false).build() {
            Ok(pattern) => pattern,
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default();
                self.error(
                    codes::BAD_LIST,
                    &path,
                    format!("the pattern is not a regular expression: {reason}"),
                    "see https://docs.rs/regex for what a pattern may have",
                );
                return None;
            }
        };
        let facts = self.facts;
        let known: BTreeSet<&str> = if facts.functions.is_empty() {
            // what can be probed is not known: what has a type mostly can
            facts.btf.functions_from("").collect()
        } else {
            facts.functions.iter().map(String::as_str).collect()
        };
        let found: Vec<Target> = known
            .into_iter()
            .filter(|name| pattern.is_match(name.as_bytes()))
            .map(|name| Target::Function(name.to_owned()))
            .collect();
        if found.is_empty() {
            self.error(
                codes::BAD_LIST,
                &path,
                "no function that this kernel can probe matches the pattern",
                "see /sys/kernel/tracing/available_filter_functions for their names",
            );
            return None;
        }
        Some(found)
    }
}
