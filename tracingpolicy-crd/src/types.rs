//! The language as Rust types: every key of both kinds of policy.
//!
//! Field names are the YAML keys in snake case. Serialising a value gives the form Kubernetes stores, with defaults filled in.

mod action;
mod argument;
mod declare;
mod enforcer;
mod filter;
mod hook;
mod list;
mod operator;
mod options;
mod selector;
mod spec;
mod user_hook;
mod workload;

pub use action::{Action, ActionSelector, RateLimitScope};
pub use argument::{ArgSpec, ArgType};
pub use enforcer::EnforcerSpec;
pub use filter::{
    ArgSelector, BinarySelector, CapabilitySelector, CapabilityType, Namespace, NamespaceChangesSelector,
    NamespaceSelector, PidSelector,
};
pub use hook::{Ignore, KprobeSpec, LsmHookSpec, TracepointSpec};
pub use list::{ListSpec, ListType};
pub use operator::{ArgOperator, BinaryOperator, SetOperator};
pub use options::OptionSpec;
pub use selector::Selector;
pub use spec::Spec;
pub use user_hook::{UprobeIgnore, UprobeSpec, UsdtSpec};
pub use workload::{LabelOperator, LabelRequirement, LabelSelector, WorkloadSelector};
