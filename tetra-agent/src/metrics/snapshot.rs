//! What the agent counts, read when somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use ebpf::record::SensorCounter;
use kprobes::SharedMaps;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tetra_api::tetragon::TracingPolicyState;

use super::events::EventCounts;
use super::series::Metrics;
use crate::export::ExportStats;
use crate::manager::{LiveKernel, Manager};
use crate::pipeline::{PipelineHandle, PipelineReport};
use crate::server::Broadcast;

/// Where things are counted.
#[derive(Debug)]
pub struct Sources {
    /// Policies.
    pub manager: Arc<Mutex<Manager<LiveKernel>>>,
    /// The sensor's maps.
    pub maps: SharedMaps,
    /// The pipeline.
    pub pipeline: PipelineHandle,
    /// The export, if there is one.
    pub export: Option<Arc<ExportStats>>,
    /// API clients.
    pub broadcast: Arc<Broadcast>,
    /// Events, if they are counted.
    pub events: Option<Arc<EventCounts>>,
    /// How many processes the agent remembers at most.
    pub table_capacity: usize,
    /// Name of the node.
    pub node_name: String,
}

impl Sources {
    /// All metrics as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        let mut metrics = Metrics::default();
        metrics.gauges(
            "tetragon_build_info",
            "Version of the agent",
            vec![(
                vec![
                    ("version", concat!("v", env!("CARGO_PKG_VERSION")).to_owned()),
                    // of the reference's labels, those that are about Go stay empty
                    ("commit", String::new()),
                    ("go_version", String::new()),
                    ("modified", String::new()),
                    ("time", String::new()),
                ],
                1,
            )],
        );
        self.events(&mut metrics);
        self.rings(&mut metrics);
        self.policies(&mut metrics);
        if let Some(report) = self.pipeline.report() {
            self.processes(&mut metrics, &report);
        }
        self.export(&mut metrics);
        metrics.counter(
            "tetragon_notify_overflowed_events",
            "Events that API clients were too slow for",
            self.broadcast.lost(),
        );
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut text = String::new();
        // writing to a string cannot fail
        let _infallible = text::encode(&mut text, &registry);
        text
    }

    fn events(&self, metrics: &mut Metrics) {
        let Some(counts) = &self.events else { return };
        let node_name = if counts.labels().node_name { &self.node_name } else { "" };
        // of a pod nothing is known yet
        let common = |binary: &str| {
            vec![
                ("namespace", String::new()),
                ("workload", String::new()),
                ("pod", String::new()),
                ("binary", binary.to_owned()),
                ("node_name", node_name.to_owned()),
            ]
        };
        let (mut events, mut of_policies) = (Vec::new(), Vec::new());
        for (series, count) in counts.all() {
            if let Some((policy, hook)) = &series.policy {
                let mut labels = vec![("policy", policy.to_string()), ("hook", hook.to_string())];
                labels.extend(common(&series.binary));
                of_policies.push((labels, count));
            }
            let mut labels = vec![("type", series.event_type.to_owned())];
            labels.extend(common(&series.binary));
            // several hooks may count under one name of a program
            match events.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, total)) => *total += count,
                None => events.push((labels, count)),
            }
        }
        metrics.counters("tetragon_events", "Events by type", events);
        metrics.counters("tetragon_policy_events", "Events by policy and hook", of_policies);
    }

    fn rings(&self, metrics: &mut Metrics) {
        let Ok(sensor) = self.maps.counters() else { return };
        let get = |counter: SensorCounter| sensor[counter as usize];
        let of_sensor = |name, counter| {
            (
                vec![("msg_op", String::from(name)), ("error", "ring full".into())],
                get(counter),
            )
        };
        metrics.counters(
            "tetragon_bpf_missed_events",
            "Records of processes that the kernel's side could not send",
            vec![
                of_sensor("exec", SensorCounter::ExecLost),
                of_sensor("clone", SensorCounter::CloneLost),
                of_sensor("exit", SensorCounter::ExitLost),
                of_sensor("data", SensorCounter::DataLost),
            ],
        );
        let lost = [
            SensorCounter::ExecLost,
            SensorCounter::CloneLost,
            SensorCounter::ExitLost,
            SensorCounter::DataLost,
        ];
        metrics.counter(
            "tetragon_observer_ringbuf_events_lost",
            "Records of processes that found the ring full; those of policies are counted by policy",
            lost.into_iter().map(get).sum(),
        );
        metrics.counter(
            "tetragon_process_table_full",
            "Processes that found no room in the kernel's table",
            get(SensorCounter::ProcessTableFull),
        );
        let memory = |(name, bytes): (&str, u64)| (vec![("map", name.to_owned())], bytes);
        metrics.gauges(
            "tetragon_map_memory_bytes",
            "Kernel memory of the maps that all policies share",
            self.maps.memlock().map(memory).collect(),
        );
    }

    fn policies(&self, metrics: &mut Metrics) {
        let list = {
            let manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner);
            manager.list("")
        };
        let states = [
            ("disabled", TracingPolicyState::TpStateDisabled),
            ("enabled", TracingPolicyState::TpStateEnabled),
            ("error", TracingPolicyState::TpStateError),
            ("load_error", TracingPolicyState::TpStateLoadError),
        ];
        let loaded = states.map(|(name, state)| {
            let count = list.iter().filter(|policy| policy.state() == state).count();
            (vec![("state", name.to_owned())], count as u64)
        });
        metrics.gauges("tetragon_tracingpolicy_loaded", "Policies by state", loaded.into());
        let labels =
            |name: &str, namespace: &str| vec![("policy", name.to_owned()), ("policy_namespace", namespace.to_owned())];
        let memory = list.iter().map(|policy| {
            let bytes = policy.kernel_memory_bytes;
            (labels(&policy.name, &policy.namespace), bytes)
        });
        metrics.gauges(
            "tetragon_tracingpolicy_kernel_memory_bytes",
            "Kernel memory of a policy's programs; shared ones count for each by its share",
            memory.collect(),
        );
        let mut actions = Vec::new();
        for policy in &list {
            let Some(counters) = policy.stats.as_ref().and_then(|stats| stats.action_counters.as_ref()) else {
                continue;
            };
            for (action, count) in [
                ("post", counters.post),
                ("signal", counters.signal),
                ("monitor_signal", counters.monitor_signal),
                ("override", counters.r#override),
                ("monitor_override", counters.monitor_override),
                ("notify_enforcer", counters.notify_enforcer),
                ("monitor_notify_enforcer", counters.monitor_notify_enforcer),
                ("nopost", counters.nopost),
            ] {
                let mut labels = labels(&policy.name, &policy.namespace);
                labels.push(("action", action.to_owned()));
                actions.push((labels, count));
            }
        }
        metrics.counters("tetragon_tracingpolicy_actions", "What policies did", actions);
    }

    fn processes(&self, metrics: &mut Metrics, report: &PipelineReport) {
        let table = &report.table;
        metrics.gauge(
            "tetragon_process_cache_size",
            "Processes that the agent remembers",
            table.entries as u64,
        );
        metrics.gauge(
            "tetragon_process_cache_capacity",
            "Processes that it remembers at most",
            self.table_capacity as u64,
        );
        metrics.counter(
            "tetragon_process_cache_evictions",
            "Processes forgotten for want of room",
            table.evictions,
        );
        metrics.counter(
            "tetragon_process_cache_early_deletions",
            "Ended processes forgotten before their time",
            table.early_deletions,
        );
        metrics.counter(
            "tetragon_events_missing_process_info",
            "Records of processes that the agent did not know",
            table.misses,
        );
        let [exec, clone, exit, data, policy, buffer] = report.assembler.records;
        let of_kind = |name: &str, count| (vec![("msg_op", name.to_owned())], count);
        metrics.counters(
            "tetragon_msg_op",
            "Records read, by kind",
            vec![
                of_kind("exec", exec),
                of_kind("clone", clone),
                of_kind("exit", exit),
                of_kind("data", data),
                of_kind("policy", policy),
                of_kind("buffer", buffer),
            ],
        );
        metrics.counter(
            "tetragon_observer_ringbuf_events_received",
            "Records read from the rings",
            report.assembler.records.iter().sum(),
        );
        metrics.counter(
            "tetragon_observer_ringbuf_errors",
            "Records that could not be used",
            report.assembler.undecodable + report.assembler.unknown_template,
        );
    }

    fn export(&self, metrics: &mut Metrics) {
        let Some(export) = &self.export else { return };
        metrics.counter("tetragon_events_exported", "Events exported", export.exported.get());
        metrics.counter("tetragon_events_exported_bytes", "Bytes exported", export.bytes.get());
        metrics.counter(
            "tetragon_export_ratelimit_events_dropped",
            "Events beyond the limit of so many a minute",
            export.limited.get(),
        );
        metrics.counter(
            "tetragon_export_filtered_events",
            "Events that the export's filters held back",
            export.filtered.get(),
        );
        metrics.counter(
            "tetragon_export_lost_events",
            "Events that could not be written",
            export.lost.get(),
        );
    }
}
