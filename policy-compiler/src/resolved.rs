//! Resolved policies, kept from one set to the next: all but a few policies of a set are those of the set before.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracingpolicy_crd::{Diagnostic, FieldPath, Source, Span};

use crate::Compilation;
use crate::facts::KernelFacts;
use crate::hir::Hook;
use crate::resolve::resolve;
use crate::set::{PolicyEntry, PolicySet, Scope};

/// By slot. Policies with an error are not kept: what was missing may be there the next time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    policies: BTreeMap<u32, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    scope: Scope,
    /// With the span, what makes two policies the same.
    source: Source,
    span: Span,
    hooks: Vec<Arc<Hook>>,
    warnings: Vec<Diagnostic>,
}

impl Known {
    fn is(&self, entry: &PolicyEntry, span: Span) -> bool {
        self.scope == entry.scope && self.span == span && self.source == entry.policy.source
    }
}

impl Resolved {
    /// The hooks of each policy by its slot, without those that failed.
    pub(crate) fn resolve(
        &mut self,
        policies: &PolicySet,
        facts: &KernelFacts,
        compilation: &mut Compilation,
    ) -> BTreeMap<u32, Vec<Arc<Hook>>> {
        let mut before = std::mem::take(&mut self.policies);
        let mut hooks = BTreeMap::new();
        for entry in &policies.entries {
            let span = entry.policy.span(&FieldPath::default());
            let known = before.remove(&entry.slot).filter(|known| known.is(entry, span));
            let Some(known) = known.or_else(|| resolve_entry(entry, span, facts, compilation)) else {
                compilation.failed.insert(entry.slot);
                continue;
            };
            compilation.diagnostics.extend(known.warnings.iter().cloned());
            hooks.insert(entry.slot, known.hooks.clone());
            // a binary can be replaced at any time, and its offsets with it
            let spec = &entry.policy.spec;
            if spec.uprobes.is_empty() && spec.usdts.is_empty() {
                self.policies.insert(entry.slot, known);
            }
        }
        hooks
    }
}

/// `None` if there is an error, which is among the diagnostics then.
fn resolve_entry(entry: &PolicyEntry, span: Span, facts: &KernelFacts, compilation: &mut Compilation) -> Option<Known> {
    let mut diagnostics = Vec::new();
    let hooks = resolve(entry, facts, &mut diagnostics);
    if diagnostics.iter().any(Diagnostic::is_error) {
        compilation.diagnostics.append(&mut diagnostics);
        return None;
    }
    Some(Known {
        scope: entry.scope,
        source: entry.policy.source.clone(),
        span,
        hooks: hooks.into_iter().map(Arc::new).collect(),
        warnings: diagnostics,
    })
}
