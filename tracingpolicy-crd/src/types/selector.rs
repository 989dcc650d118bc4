//! Selectors: which calls are meant and what is done then.

use super::action::ActionSelector;
use super::declare::object;
use super::filter::{
    ArgSelector, BinarySelector, CapabilitySelector, NamespaceChangesSelector, NamespaceSelector, PidSelector,
};
use super::workload::WorkloadSelector;

object! {
    /// Filters that all have to match, and actions for when they do. Of several selectors the first that matches counts.
    pub struct Selector {
        /// Name in status and metrics.
        label: String = "label",
        /// Filters on the process id.
        match_pids: Vec<PidSelector> = "matchPIDs",
        /// Filters on arguments.
        match_args: Vec<ArgSelector> = "matchArgs",
        /// Filters on entries of `data`.
        match_data: Vec<ArgSelector> = "matchData",
        /// What to do when all filters match; an event is sent if nothing is said.
        match_actions: Vec<ActionSelector> = "matchActions",
        /// Filters on the return value.
        match_return_args: Vec<ArgSelector> = "matchReturnArgs",
        /// What to do when the filters on the return value match too.
        match_return_actions: Vec<ActionSelector> = "matchReturnActions",
        /// Filters on the path of the running program.
        match_binaries: Vec<BinarySelector> = "matchBinaries" [max_items(1)],
        /// Filters on the path of the parent's program.
        match_parent_binaries: Vec<BinarySelector> = "matchParentBinaries" [max_items(1)],
        /// Filters on namespaces.
        match_namespaces: Vec<NamespaceSelector> = "matchNamespaces",
        /// Filters on changed namespaces.
        match_namespace_changes: Vec<NamespaceChangesSelector> = "matchNamespaceChanges",
        /// Filters on capabilities.
        match_capabilities: Vec<CapabilitySelector> = "matchCapabilities",
        /// Filters on changed capabilities.
        match_capability_changes: Vec<CapabilitySelector> = "matchCapabilityChanges",
        /// Filters on the pod and container of the process.
        match_workloads: Vec<WorkloadSelector> = "matchWorkloads",
        /// Names of `selectorsMacros` whose filters are added.
        macros: Vec<String> = "macros",
    }
}
