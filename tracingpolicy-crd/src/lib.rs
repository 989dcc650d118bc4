//! The TracingPolicy language: text in, typed policies with byte spans and diagnostics out.
//!
//! ```
//! use tracingpolicy_crd::{Source, parse, render};
//!
//! let source = Source::new("open.yaml", "\
//! apiVersion: cilium.io/v1alpha1
//! kind: TracingPolicy
//! metadata: {name: open}
//! spec:
//!   kprobes:
//!   - call: sys_openat
//!     args: [{index: 1, type: string}]
//! ");
//! let parsed = parse(&source);
//! assert!(parsed.diagnostics.is_empty(), "{}", render::full(&parsed.diagnostics, false));
//! assert_eq!(parsed.policies[0].spec.kprobes[0].call, "sys_openat");
//! ```
//!
//! [`parse()`] never fails: what is wrong comes as [`Diagnostic`]s, all of it at once. It does three things in turn: `parse`
//! reads YAML into a tree of spanned nodes (`parse::reader`) and decodes the tree into [`types`] strictly, and `validate` checks
//! what the types cannot say, as far as that needs no kernel. [`schema`] writes the same types as a Kubernetes
//! CustomResourceDefinition.
//!
//! What it deliberately does not do: no I/O, no kernel facts (whether a function exists is the compiler's matter), no limits
//! on the number of hooks, selectors, arguments or values.

#![forbid(unsafe_code)]
#![expect(clippy::single_match_else, reason = "both cases of an option are told in order")]

pub mod code;
pub mod diagnostic;
pub mod parse;
pub mod path;
pub mod policy;
pub mod render;
pub mod schema;
pub mod source;
pub mod types;
mod validate;
pub mod value;

pub use code::{Code, codes, explain};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use parse::{Parsed, parse};
pub use path::{FieldPath, Step};
pub use policy::{Policy, PolicyKind, SpanTree};
pub use source::{Position, Source, Span};
pub use types::{
    Action, ActionSelector, ArgOperator, ArgSelector, ArgSpec, ArgType, BinaryOperator, BinarySelector,
    CapabilitySelector, CapabilityType, EnforcerSpec, Ignore, KprobeSpec, LabelOperator, LabelRequirement,
    LabelSelector, ListSpec, ListType, LsmHookSpec, Namespace, NamespaceChangesSelector, NamespaceSelector, OptionSpec,
    PidSelector, RateLimitScope, Selector, SetOperator, Spec, TracepointSpec, UprobeIgnore, UprobeSpec, UsdtSpec,
    WorkloadSelector,
};
