//! Policies from text, and the events that their programs have sent.

use ebpf::record::Record;
use kprobes::Rings;
use policy_compiler::output::HookObject;
use tracingpolicy_crd::{Policy, Source, parse, render};

use super::expect::{Event, comparable};

/// Policies that must be right.
pub(crate) fn policies(texts: &[String]) -> Result<Vec<Policy>, String> {
    let mut policies = Vec::new();
    for text in texts {
        let parsed = parse(&Source::new("random.yaml", text.as_str()));
        let errors: Vec<_> = parsed.diagnostics.iter().filter(|d| d.is_error()).cloned().collect();
        if !errors.is_empty() {
            return Err(render::full(&errors, false));
        }
        policies.extend(parsed.policies);
    }
    Ok(policies)
}

/// What the rings had.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) of_process: Vec<Event>,
    /// Events of other processes.
    pub(crate) foreign: usize,
}

/// All events that were sent since the last time; with `tgid`, those of other processes are only counted.
pub(crate) fn sent(rings: &mut Rings, objects: &[HookObject], tgid: Option<u32>) -> Result<Sent, String> {
    let mut sent = Sent::default();
    let mut wrong = None;
    let drained = rings.drain_all(|bytes| match Record::parse(bytes) {
        Some(Record::Policy(record)) => {
            let fixed = record.fixed;
            if tgid.is_some_and(|tgid| tgid != fixed.header.tgid) {
                sent.foreign += 1;
                return;
            }
            let Some(template) = objects
                .iter()
                .find(|object| object.tag == fixed.object_tag)
                .and_then(|object| object.templates.get(fixed.template_index as usize))
            else {
                wrong = Some(format!("no template for {fixed:?}"));
                return;
            };
            let types = template.arguments.iter().map(|argument| argument.argument_type);
            let is_half = fixed.header.flags & ebpf::record::RECORD_FLAG_RETURN != 0;
            sent.of_process.push(Event {
                slot: template.policy_slot,
                selector: template.selector_index.unwrap_or(0) as usize,
                flags: fixed.header.flags & !ebpf::record::RECORD_FLAG_UNKNOWN_PROCESS,
                action: (!is_half).then_some(fixed.action),
                arguments: types
                    .zip(record.arguments())
                    .map(|(of_type, argument)| comparable(of_type, &argument))
                    .collect(),
            });
        }
        other => wrong = Some(format!("not an event of a policy: {other:?}")),
    });
    drained.map_err(|error| error.to_string())?;
    wrong.map_or(Ok(sent), Err)
}
