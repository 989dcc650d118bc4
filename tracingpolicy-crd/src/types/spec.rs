//! What a policy says, as a whole.

use std::collections::BTreeMap;

use super::declare::object;
use super::enforcer::EnforcerSpec;
use super::hook::{KprobeSpec, LsmHookSpec, TracepointSpec};
use super::list::ListSpec;
use super::options::OptionSpec;
use super::selector::Selector;
use super::user_hook::{UprobeSpec, UsdtSpec};
use super::workload::LabelSelector;
use crate::path::FieldPath;

object! {
    /// Hooks, and what they share.
    pub struct Spec {
        /// Hooks on kernel functions and system calls, by kprobe or what is equivalent.
        kprobes: Vec<KprobeSpec> = "kprobes",
        /// Hooks on kernel functions, by BPF trampoline.
        fentries: Vec<KprobeSpec> = "fentries",
        /// Hooks on tracepoints.
        tracepoints: Vec<TracepointSpec> = "tracepoints",
        /// Hooks on functions of user programs.
        uprobes: Vec<UprobeSpec> = "uprobes",
        /// Hooks on static probes of user programs.
        usdts: Vec<UsdtSpec> = "usdts",
        /// Hooks of the BPF security module.
        lsmhooks: Vec<LsmHookSpec> = "lsmhooks",
        /// Send an event for each executable file that a process maps.
        loader: bool = "loader",
        /// Where `NotifyEnforcer` takes effect.
        enforcers: Vec<EnforcerSpec> = "enforcers",
        /// Named lists of functions.
        lists: Vec<ListSpec> = "lists",
        /// Options of this policy.
        options: Vec<OptionSpec> = "options",
        /// Pods the policy is for; all, if absent.
        pod_selector: Option<LabelSelector> = "podSelector",
        /// Containers the policy is for, by `name` and `repo`; all, if absent.
        container_selector: Option<LabelSelector> = "containerSelector",
        /// `{}` to include processes outside of containers.
        host_selector: Option<LabelSelector> = "hostSelector",
        /// Nodes the policy is for; all, if absent.
        node_selector: Option<LabelSelector> = "nodeSelector",
        /// Parts of selectors to be used by name.
        selectors_macros: BTreeMap<String, Selector> = "selectorsMacros",
    }
    rules {
        "!has(self.hostSelector) || (!has(self.hostSelector.matchLabels) && !has(self.hostSelector.matchExpressions))"
            => "The hostSelector should be either null or {}.",
    }
}

impl Spec {
    /// Where a macro is defined.
    pub fn macro_path(name: &str) -> FieldPath {
        FieldPath::root().key("spec").key("selectorsMacros").key(name)
    }

    /// A selector that stands at `path`, and the macros that it uses, each with where it is defined. No key is defined by more than
    /// one of them.
    pub fn parts<'s>(&'s self, selector: &'s Selector, path: &FieldPath) -> Vec<(&'s Selector, FieldPath)> {
        let macros = selector
            .macros
            .iter()
            .filter_map(|name| Some((self.selectors_macros.get(name)?, Self::macro_path(name))));
        std::iter::once((selector, path.clone())).chain(macros).collect()
    }
}
