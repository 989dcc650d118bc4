//! One filter: all fields that are set must match, any value of a field will do.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::tetragon::{EventType, Filter, GetEventsResponse, Process};
use regex::Regex;

use super::FilterError;
use super::capabilities::CapabilityFilter;
use super::cel::Expression;
use super::labels::Selector;

/// What the configuration permits filters to use.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterOptions {
    /// Events list ancestors.
    pub ancestors: bool,
    /// Events show capabilities.
    pub credentials: bool,
    /// Pid sets are allowed.
    pub pid_sets: bool,
}

/// A compiled `Filter`.
#[derive(Debug)]
pub struct EventFilter {
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    Binary(Vec<Regex>),
    ParentBinary(Vec<Regex>),
    AncestorBinary(Vec<Regex>),
    Arguments(Vec<Regex>),
    ParentArguments(Vec<Regex>),
    Namespace(Vec<String>),
    NamespaceRegex(Vec<Regex>),
    Pod(Vec<Regex>),
    ContainerName(Vec<Regex>),
    ContainerId(Vec<Regex>),
    HealthCheck(bool),
    InInitTree(bool),
    Pid(Vec<u32>),
    /// Pids given, and those of descendants seen since.
    PidSet(Mutex<HashSet<u32>>),
    EventSet(Vec<EventType>),
    PolicyNames(Vec<String>),
    Capabilities(CapabilityFilter),
    Labels(Vec<Selector>),
    Expressions(Vec<Expression>),
}

impl EventFilter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// A wrong regular expression, or a field that can't be honoured.
    pub fn new(filter: &Filter, options: FilterOptions) -> Result<Self, FilterError> {
        let mut conditions = Vec::new();
        let mut regexes = |field, patterns: &[String], make: fn(Vec<Regex>) -> Condition| {
            if !patterns.is_empty() {
                conditions.push(make(compile(field, patterns)?));
            }
            Ok(())
        };
        regexes("binary_regex", &filter.binary_regex, Condition::Binary)?;
        regexes(
            "parent_binary_regex",
            &filter.parent_binary_regex,
            Condition::ParentBinary,
        )?;
        regexes(
            "ancestor_binary_regex",
            &filter.ancestor_binary_regex,
            Condition::AncestorBinary,
        )?;
        regexes("arguments_regex", &filter.arguments_regex, Condition::Arguments)?;
        regexes(
            "parent_arguments_regex",
            &filter.parent_arguments_regex,
            Condition::ParentArguments,
        )?;
        regexes("namespace_regex", &filter.namespace_regex, Condition::NamespaceRegex)?;
        regexes("pod_regex", &filter.pod_regex, Condition::Pod)?;
        regexes(
            "container_name_regex",
            &filter.container_name_regex,
            Condition::ContainerName,
        )?;
        regexes("container_id", &filter.container_id, Condition::ContainerId)?;
        if !filter.ancestor_binary_regex.is_empty() && !options.ancestors {
            return Err(FilterError::Unsupported {
                field: "ancestor_binary_regex",
                reason: "events list no ancestors; start the agent with --enable-ancestors=base",
            });
        }
        if !filter.namespace.is_empty() {
            conditions.push(Condition::Namespace(filter.namespace.clone()));
        }
        if let Some(wanted) = filter.health_check {
            conditions.push(Condition::HealthCheck(wanted));
        }
        if let Some(wanted) = filter.in_init_tree {
            conditions.push(Condition::InInitTree(wanted));
        }
        if !filter.pid.is_empty() {
            conditions.push(Condition::Pid(filter.pid.clone()));
        }
        if !filter.pid_set.is_empty() {
            if !options.pid_sets {
                return Err(FilterError::Unsupported {
                    field: "pid_set",
                    reason: "start the agent with --enable-pid-set-filter",
                });
            }
            // first: it must see every event, whatever the other conditions say of it, to know its descendants
            conditions.insert(
                0,
                Condition::PidSet(Mutex::new(filter.pid_set.iter().copied().collect())),
            );
        }
        if !filter.event_set.is_empty() {
            let types = filter.event_set.iter().map(|&number| {
                EventType::try_from(number).map_err(|_| FilterError::Value {
                    field: "event_set",
                    number,
                })
            });
            conditions.push(Condition::EventSet(types.collect::<Result<_, _>>()?));
        }
        if !filter.policy_names.is_empty() {
            conditions.push(Condition::PolicyNames(filter.policy_names.clone()));
        }
        if let Some(capabilities) = &filter.capabilities {
            if !options.credentials {
                return Err(FilterError::Unsupported {
                    field: "capabilities",
                    reason: "events show no capabilities; start the agent with --enable-process-cred",
                });
            }
            conditions.push(Condition::Capabilities(CapabilityFilter::new(capabilities)?));
        }
        if !filter.labels.is_empty() {
            let selectors = filter.labels.iter().map(|text| Selector::new(text));
            conditions.push(Condition::Labels(selectors.collect::<Result<_, _>>()?));
        }
        if !filter.cel_expression.is_empty() {
            let expressions = filter.cel_expression.iter().map(|text| Expression::new(text));
            conditions.push(Condition::Expressions(expressions.collect::<Result<_, _>>()?));
        }
        Ok(Self { conditions })
    }

    /// Whether all conditions hold.
    pub fn matches(&self, event: &GetEventsResponse) -> bool {
        self.conditions.iter().all(|condition| condition.holds(event))
    }
}

impl Condition {
    fn holds(&self, event: &GetEventsResponse) -> bool {
        let subject = event
            .event
            .as_ref()
            .map(crate::tetragon::get_events_response::Event::subject)
            .unwrap_or_default();
        let any = |patterns: &[Regex], text: &str| patterns.iter().any(|pattern| pattern.is_match(text));
        // conditions on the process never hold for events without one
        let of = |process: Option<&Process>, test: &dyn Fn(&Process) -> bool| process.is_some_and(test);
        match self {
            Self::Binary(patterns) => of(subject.process, &|p| any(patterns, &p.binary)),
            Self::ParentBinary(patterns) => of(subject.parent, &|p| any(patterns, &p.binary)),
            Self::AncestorBinary(patterns) => subject.ancestors.iter().any(|p| any(patterns, &p.binary)),
            Self::Arguments(patterns) => of(subject.process, &|p| any(patterns, &p.arguments)),
            Self::ParentArguments(patterns) => of(subject.parent, &|p| any(patterns, &p.arguments)),
            Self::Namespace(names) => of(subject.process, &|p| {
                let namespace = p.pod.as_ref().map_or("", |pod| &pod.namespace);
                names.iter().any(|name| name == namespace)
            }),
            Self::NamespaceRegex(patterns) => of(subject.process, &|p| {
                p.pod.as_ref().is_some_and(|pod| any(patterns, &pod.namespace))
            }),
            Self::Pod(patterns) => of(subject.process, &|p| {
                p.pod.as_ref().is_some_and(|pod| any(patterns, &pod.name))
            }),
            Self::ContainerName(patterns) => of(subject.process, &|p| {
                p.pod
                    .as_ref()
                    .and_then(|pod| pod.container.as_ref())
                    .is_some_and(|c| any(patterns, &c.name))
            }),
            Self::ContainerId(patterns) => of(subject.process, &|p| any(patterns, &p.docker)),
            Self::HealthCheck(wanted) => {
                let probe = |p: &Process| {
                    p.pod
                        .as_ref()
                        .and_then(|pod| pod.container.as_ref())
                        .is_some_and(|c| c.maybe_exec_probe)
                };
                subject.process.is_some()
                    && (subject.process.is_some_and(probe) || subject.parent.is_some_and(probe)) == *wanted
            }
            Self::InInitTree(wanted) => of(subject.process, &|p| p.in_init_tree == Some(*wanted)),
            Self::Pid(pids) => of(subject.process, &|p| p.pid.is_some_and(|pid| pids.contains(&pid))),
            Self::PidSet(pids) => {
                let mut pids = pids.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(pid) = subject.process.and_then(|p| p.pid) else {
                    return false;
                };
                let child = subject
                    .parent
                    .and_then(|p| p.pid)
                    .is_some_and(|parent| pids.contains(&parent));
                if child {
                    pids.insert(pid);
                }
                pids.contains(&pid)
            }
            Self::EventSet(types) => types.contains(&event.event_type()),
            Self::PolicyNames(names) => event
                .event
                .as_ref()
                .and_then(|e| e.policy_name())
                .is_some_and(|name| names.iter().any(|n| n == name)),
            Self::Labels(selectors) => of(subject.process, &|p| {
                p.pod
                    .as_ref()
                    .is_some_and(|pod| selectors.iter().any(|selector| selector.matches(&pod.pod_labels)))
            }),
            Self::Expressions(expressions) => expressions.iter().any(|expression| expression.holds(event)),
            Self::Capabilities(filter) => of(subject.process, &|p| {
                p.cap.as_ref().is_some_and(|cap| filter.matches(cap))
            }),
        }
    }
}

fn compile(field: &'static str, patterns: &[String]) -> Result<Vec<Regex>, FilterError> {
    patterns
        .iter()
        .map(|p| Regex::new(p).map_err(|source| FilterError::Regex { field, source }))
        .collect()
}
