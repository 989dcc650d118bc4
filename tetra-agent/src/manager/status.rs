//! How policies look from outside.

use ebpf::record::PolicyCounter;
use kprobes::{PolicyCounters, PolicyMode};
use tetra_api::tetragon as api;
use tracingpolicy_crd::{Action, FieldPath, Selector, Spec};

use super::kernel::Kernel;
use super::{Entry, Manager, PolicyKey, State};

/// Whether a mode makes a difference: an action stops or signals somebody.
pub(super) fn enforces(spec: &Spec) -> bool {
    let acts = |selectors: &[Selector]| {
        selectors
            .iter()
            .flat_map(|selector| spec.parts(selector, &FieldPath::root()))
            .flat_map(|(part, _)| part.match_actions.iter().chain(&part.match_return_actions))
            .any(|action| {
                matches!(
                    action.action,
                    Action::Sigkill | Action::Signal | Action::Override | Action::NotifyEnforcer | Action::Set
                )
            })
    };
    spec.kprobes
        .iter()
        .chain(&spec.fentries)
        .any(|hook| acts(&hook.selectors))
        || spec.tracepoints.iter().any(|hook| acts(&hook.selectors))
        || spec.lsmhooks.iter().any(|hook| acts(&hook.selectors))
}

/// Names of the sensors a policy would have in the reference.
fn sensors(spec: &Spec) -> Vec<String> {
    [
        (!spec.kprobes.is_empty() || !spec.fentries.is_empty(), "generic_kprobe"),
        (!spec.tracepoints.is_empty(), "generic_tracepoint"),
        (!spec.uprobes.is_empty(), "generic_uprobe"),
        (!spec.usdts.is_empty(), "generic_usdt"),
        (!spec.lsmhooks.is_empty(), "generic_lsm"),
        (!spec.enforcers.is_empty(), "__enforcer__"),
        (spec.loader, "__loader__"),
    ]
    .iter()
    .filter(|(present, _)| *present)
    .map(|(_, name)| (*name).to_owned())
    .collect()
}

impl<K: Kernel> Manager<K> {
    /// Status of all policies of a domain (all domains, if it is empty), in the order in which they came.
    pub fn list(&self, domain: &str) -> Vec<api::TracingPolicyStatus> {
        let mut list: Vec<api::TracingPolicyStatus> = self
            .entries
            .iter()
            .filter(|(key, _)| domain.is_empty() || key.domain == domain)
            .map(|(key, entry)| self.status(key, entry))
            .collect();
        list.sort_by_key(|status| status.id);
        list
    }

    #[expect(deprecated, reason = "older clients read `enabled`")]
    fn status(&self, key: &PolicyKey, entry: &Entry) -> api::TracingPolicyStatus {
        let enabled = entry.state == State::Enabled;
        let mode = match (entry.enforces, entry.mode) {
            (false, _) => api::TracingPolicyMode::TpModeMonitorOnly,
            (true, PolicyMode::Enforce) => api::TracingPolicyMode::TpModeEnforce,
            (true, PolicyMode::Monitor) => api::TracingPolicyMode::TpModeMonitor,
        };
        let error = match &entry.state {
            State::LoadError(text) => text.clone(),
            _ => String::new(),
        };
        api::TracingPolicyStatus {
            id: entry.id,
            name: key.name.clone(),
            namespace: key.namespace.clone(),
            sensors: sensors(&entry.policy.spec),
            enabled,
            error,
            state: entry.state.api() as i32,
            kernel_memory_bytes: if enabled { self.memory(entry.slot) } else { 0 },
            mode: mode as i32,
            stats: self
                .kernel
                .counters(entry.slot)
                .ok()
                .map(|counters| api::TracingPolicyStats {
                    action_counters: Some(action_counters(&counters)),
                    selector_action_counters: Vec::new(),
                }),
            domain: key.domain.clone(),
            ..Default::default()
        }
    }

    /// A policy's share of the kernel memory of the hooks it is in.
    fn memory(&self, slot: u32) -> u64 {
        let own = self.hooks.iter().filter(|hook| hook.policy_slots.contains(&slot));
        own.map(|hook| hook.memlock_bytes / hook.policy_slots.len().max(1) as u64)
            .sum()
    }
}

fn action_counters(counters: &PolicyCounters) -> api::TracingPolicyActionCounters {
    let get = |counter: PolicyCounter| counters.get(counter as usize).copied().unwrap_or_default();
    api::TracingPolicyActionCounters {
        post: get(PolicyCounter::PostSent) + get(PolicyCounter::PostLost),
        signal: get(PolicyCounter::Signal),
        monitor_signal: get(PolicyCounter::MonitorSignal),
        r#override: get(PolicyCounter::Override),
        monitor_override: get(PolicyCounter::MonitorOverride),
        nopost: get(PolicyCounter::NoPost),
        notify_enforcer: get(PolicyCounter::NotifyEnforcer),
        monitor_notify_enforcer: get(PolicyCounter::MonitorNotifyEnforcer),
        ..Default::default()
    }
}
