//! Text to policies.

mod damage;
pub(crate) mod decode;
mod envelope;
pub(crate) mod node;
mod reader;
pub(crate) mod scalar;
pub(crate) mod sink;
pub mod suggest;

use crate::code::codes;
use crate::diagnostic::Diagnostic;
use crate::policy::Policy;
use crate::source::{Source, Span};
use sink::Sink;

/// What a text holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parsed {
    /// The policies without errors, in the order of the text. One with errors is left out; its errors say why.
    pub policies: Vec<Policy>,
    /// Everything that is wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether anything in the text is wrong enough to keep a policy from being used.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads all policies of a text: YAML or JSON, one document or several.
///
/// Every problem of every document is reported, not only the first. Time and memory are bounded whatever the text is.
pub fn parse(source: &Source) -> Parsed {
    let mut sink = Sink::default();
    let mut policies = Vec::new();
    let mut candidates = 0;
    for document in reader::read(source, &mut sink) {
        if document.root.is_null() {
            continue;
        }
        candidates += 1;
        let errors = sink.errors();
        let mut found = Sink::default();
        let policy = envelope::decode(source, &document, &mut found);
        let shape_errors = found.error_places();
        sink.append(found);
        let Some(policy) = policy else { continue };
        if document.damaged {
            continue;
        }
        let mut rules = Sink::default();
        crate::validate::validate(&policy, &mut rules);
        sink.append(damage::judge(&policy, &shape_errors, rules));
        if sink.errors() == errors {
            policies.push(policy);
        }
    }
    if candidates == 0 && sink.errors() == 0 {
        sink.push(
            Diagnostic::error(codes::NO_POLICY, source, Span::new(0, 0), "the text holds no policy")
                .help("a policy starts with `apiVersion: cilium.io/v1alpha1`"),
        );
    }
    Parsed {
        policies,
        diagnostics: sink.finish(source),
    }
}

/// The documents of a text without errors, as trees.
#[cfg(test)]
pub(crate) fn documents(source: &Source) -> Option<Vec<std::sync::Arc<node::Node>>> {
    let mut sink = Sink::default();
    let documents = reader::read(source, &mut sink);
    (sink.errors() == 0).then(|| documents.into_iter().map(|document| document.root).collect())
}
