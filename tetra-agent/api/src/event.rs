//! Access to what all events share.

use crate::tetragon::get_events_response::Event;
use crate::tetragon::{EventType, GetEventsResponse, Process};

/// The process fields that most events have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Subject<'a> {
    /// Process that caused the event.
    pub process: Option<&'a Process>,
    /// Its parent.
    pub parent: Option<&'a Process>,
    /// Ancestors beyond the parent, nearest first.
    pub ancestors: &'a [Process],
}

impl Event {
    /// Type of the event, as filters name it.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::ProcessExec(_) => EventType::ProcessExec,
            Self::ProcessExit(_) => EventType::ProcessExit,
            Self::ProcessKprobe(_) => EventType::ProcessKprobe,
            Self::ProcessTracepoint(_) => EventType::ProcessTracepoint,
            Self::ProcessLoader(_) => EventType::ProcessLoader,
            Self::ProcessUprobe(_) => EventType::ProcessUprobe,
            Self::ProcessThrottle(_) => EventType::ProcessThrottle,
            Self::ProcessLsm(_) => EventType::ProcessLsm,
            Self::ProcessUsdt(_) => EventType::ProcessUsdt,
            Self::Test(_) => EventType::Test,
            Self::RateLimitInfo(_) => EventType::RateLimitInfo,
        }
    }

    /// Process, parent and ancestors; empty for events that have none.
    pub fn subject(&self) -> Subject<'_> {
        macro_rules! subject {
            ($event:expr) => {
                Subject {
                    process: $event.process.as_ref(),
                    parent: $event.parent.as_ref(),
                    ancestors: &$event.ancestors,
                }
            };
        }
        match self {
            Self::ProcessExec(event) => subject!(event),
            Self::ProcessExit(event) => subject!(event),
            Self::ProcessKprobe(event) => subject!(event),
            Self::ProcessTracepoint(event) => subject!(event),
            Self::ProcessLoader(event) => subject!(event),
            Self::ProcessUprobe(event) => subject!(event),
            Self::ProcessLsm(event) => subject!(event),
            Self::ProcessUsdt(event) => subject!(event),
            Self::ProcessThrottle(_) | Self::Test(_) | Self::RateLimitInfo(_) => Subject::default(),
        }
    }

    /// Name of the policy that asked for the event; `None` if the event type has no policy.
    pub fn policy_name(&self) -> Option<&str> {
        match self {
            Self::ProcessKprobe(event) => Some(&event.policy_name),
            Self::ProcessTracepoint(event) => Some(&event.policy_name),
            Self::ProcessUprobe(event) => Some(&event.policy_name),
            Self::ProcessLsm(event) => Some(&event.policy_name),
            Self::ProcessUsdt(event) => Some(&event.policy_name),
            _ => None,
        }
    }
}

impl GetEventsResponse {
    /// Type of the event; [`EventType::Undef`] if the envelope is empty.
    pub fn event_type(&self) -> EventType {
        self.event.as_ref().map_or(EventType::Undef, Event::event_type)
    }

    /// Process that caused the event.
    pub fn process(&self) -> Option<&Process> {
        self.event.as_ref()?.subject().process
    }
}
