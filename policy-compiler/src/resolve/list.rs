//! Names of calls: `sys_openat`, `__x64_sys_openat`, `list:NAME`.

use std::collections::BTreeSet;

use regex::bytes::RegexBuilder;
use tracingpolicy_crd::value::{COMPAT_SYSCALL, SyscallAbi};
use tracingpolicy_crd::{FieldPath, ListSpec, ListType, Policy, Spec};

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
                        names.extend(
                            list.iter()
                                .flat_map(|l| &l.values)
                                .map(|v| abi_and_name(v).1.to_owned()),
                        );
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

/// The ABI that a list value names, by itself or by its prefix, and the bare name of the syscall.
fn abi_and_name(value: &str) -> (Option<SyscallAbi>, &str) {
    if let Some((abi, name)) = value.split_once('/') {
        return (SyscallAbi::by_name(abi), syscall_name(name));
    }
    let abi = match value {
        _ if value.starts_with("__ia32_") => SyscallAbi::I386,
        _ if value.starts_with("__x64_") => SyscallAbi::X64,
        _ if value.starts_with("__arm64_") => SyscallAbi::Arm64,
        _ => SyscallAbi::NATIVE,
    };
    (Some(abi), syscall_name(value))
}

impl<'a> Resolver<'a> {
    /// What a `call` means; `None` if an error was reported.
    pub(super) fn call_targets(&mut self, call: &str, syscall: bool, path: &FieldPath) -> Option<Vec<Target>> {
        if let Some(name) = call.strip_prefix("list:") {
            let (list, list_path) = self.list(name, path)?;
            return self.list_targets(list, syscall, &list_path);
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
                    let (abi, name) = abi_and_name(value);
                    if abi != Some(SyscallAbi::NATIVE) {
                        self.error(
                            codes::NOT_COMPILED,
                            &path.key("values").index(i),
                            format!(
                                "`{value}` names a syscall of another ABI, which a hook on a function cannot tell apart"
                            ),
                            "leave the ABI out, or use the tracepoint raw_syscalls/sys_enter",
                        );
                        return None;
                    }
                    targets.push(Target::Syscall(name.to_owned()));
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

    /// The functions that an element of `calls` of an enforcer means; `None` if an error was reported.
    pub(super) fn enforced_calls(&mut self, call: &str, path: &FieldPath) -> Option<Vec<Target>> {
        let Some(name) = call.strip_prefix("list:") else {
            return self.enforced_call_of(call, false, path).map(|target| vec![target]);
        };
        let (list, list_path) = self.list(name, path)?;
        match list.list_type {
            ListType::Syscalls | ListType::Functions => {
                let values = list.values.iter().enumerate();
                values
                    .map(|(i, value)| {
                        self.enforced_call_of(
                            value,
                            list.list_type == ListType::Syscalls,
                            &list_path.key("values").index(i),
                        )
                    })
                    .collect()
            }
            _ => self.list_targets(list, false, &list_path),
        }
    }

    /// `sys_dup`, `__ia32_sys_dup`, `i386/sys_dup`, `security_file_open`; `None` if an error was reported.
    fn enforced_call_of(&mut self, call: &str, is_syscall: bool, path: &FieldPath) -> Option<Target> {
        let (abi, name) = abi_and_name(call);
        if name == call && !is_syscall {
            return Some(Target::Function(call.to_owned()));
        }
        match abi.filter(|abi| abi.is_native()) {
            Some(abi) if abi.is_compat() => Some(Target::Function(format!("__ia32_sys_{name}"))),
            Some(_) => Some(Target::Syscall(name.to_owned())),
            None => {
                self.error(
                    codes::BAD_LIST,
                    path,
                    format!("no program of this machine makes the system call `{call}`"),
                    "write `sys_dup`, or with its ABI `x64/sys_dup`, `i386/sys_dup`",
                );
                None
            }
        }
    }

    /// The numbers of a list of system calls, as values of type `syscall64`; `None` if an error was reported.
    pub(super) fn syscall_numbers(&mut self, name: &str, path: &FieldPath) -> Option<Vec<u64>> {
        let (list, list_path) = self.list(name, path)?;
        if list.list_type == ListType::GeneratedSyscalls {
            return Some(SyscallAbi::NATIVE.syscall_numbers().map(u64::from).collect());
        }
        let mut numbers = Vec::new();
        let mut failed = false;
        for (i, value) in list.values.iter().enumerate() {
            let (abi, name) = abi_and_name(value);
            let abi = abi.filter(|abi| abi.is_native());
            match abi.and_then(|abi| Some((abi, abi.syscall_number(name)?))) {
                Some((abi, number)) if abi.is_compat() => numbers.push(u64::from(number) | COMPAT_SYSCALL),
                Some((_, number)) => numbers.push(number.into()),
                None => {
                    failed = true;
                    self.error(
                        codes::BAD_LIST,
                        &list_path.key("values").index(i),
                        format!("no system call `{value}` is known on this machine"),
                        "write `sys_dup`, or with its ABI `x64/sys_dup`, `i386/sys_dup`",
                    );
                }
            }
        }
        (!failed).then_some(numbers)
    }

    /// A list of the policy and where it stands; `None` if an error was reported.
    fn list(&mut self, name: &str, path: &FieldPath) -> Option<(&'a ListSpec, FieldPath)> {
        let policy: &'a Policy = self.policy;
        let lists = &policy.spec.lists;
        let Some(position) = lists.iter().position(|l| l.name == name) else {
            let known: Vec<String> = lists.iter().map(|l| format!("`{}`", l.name)).collect();
            let help = if known.is_empty() {
                "the policy has no `lists`".into()
            } else {
                format!("the policy has the lists {}", known.join(", "))
            };
            self.error(codes::BAD_LIST, path, format!("no list is named `{name}`"), help);
            return None;
        };
        let path = FieldPath::root().key("spec").key("lists").index(position);
        Some((&lists[position], path))
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
