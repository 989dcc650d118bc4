//! Events by type, policy and program.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{Event, EventBody};
use crate::policy::HookKind;

/// Different series of events that are kept apart: whoever can run programs can make up names for them. Events beyond are counted
/// without the name of the program.
const SERIES: usize = 2000;

/// Labels that are filled, of those whose values are not bounded.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Path of the program.
    pub binary: bool,
    /// Name of the node.
    pub node_name: bool,
}

/// What an event is counted under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Series {
    /// `PROCESS_EXEC`, …
    pub(super) event_type: &'static str,
    /// Policy and hook; none for events of processes.
    pub(super) policy: Option<(Arc<str>, Arc<str>)>,
    /// Program; empty if it is not kept apart.
    pub(super) binary: Arc<str>,
}

/// Type of the events of a hook, by its name in the API.
fn event_type(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Kprobe | HookKind::Fentry | HookKind::Enforcer => "PROCESS_KPROBE",
        HookKind::Tracepoint => "PROCESS_TRACEPOINT",
        HookKind::Lsm => "PROCESS_LSM",
        HookKind::Uprobe => "PROCESS_UPROBE",
        HookKind::Usdt => "PROCESS_USDT",
    }
}

/// Counts of events since the agent's start.
#[derive(Debug)]
pub struct EventCounts {
    labels: Labels,
    counts: Mutex<BTreeMap<Series, u64>>,
}

impl EventCounts {
    /// Counts with these labels.
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            counts: Mutex::default(),
        }
    }

    pub(super) fn labels(&self) -> Labels {
        self.labels
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let (event_type, policy) = match &event.body {
            EventBody::Exec(_) => ("PROCESS_EXEC", None),
            EventBody::Exit { .. } => ("PROCESS_EXIT", None),
            EventBody::Policy(of) => {
                let of = &of.template;
                let hook = if of.function_name.is_empty() {
                    &of.event
                } else {
                    &of.function_name
                };
                (
                    event_type(of.kind),
                    Some((Arc::clone(&of.policy_name), Arc::clone(hook))),
                )
            }
        };
        let binary: Arc<str> = if self.labels.binary {
            Arc::from(&*event.process.image.binary)
        } else {
            Arc::from("")
        };
        self.add(Series {
            event_type,
            policy,
            binary,
        });
    }

    fn add(&self, mut series: Series) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= SERIES && !counts.contains_key(&series) {
            series.binary = Arc::from("");
        }
        *counts.entry(series).or_default() += 1;
    }

    pub(super) fn all(&self) -> Vec<(Series, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(series, count)| (series.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_do_not_grow_without_bound() {
        let counts = EventCounts::new(Labels {
            binary: true,
            node_name: false,
        });
        for number in 0..SERIES + 100 {
            counts.add(Series {
                event_type: "PROCESS_EXEC",
                policy: None,
                binary: Arc::from(format!("/tmp/{number}")),
            });
        }
        let all = counts.all();
        assert_eq!(all.len(), SERIES + 1);
        assert_eq!((&*all[0].0.binary, all[0].1), ("", 100));
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), SERIES as u64 + 100);
    }
}
