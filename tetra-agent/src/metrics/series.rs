//! Metrics as text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Labels of one series.
type Labels = Vec<(&'static str, String)>;

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    name: &'static str,
    help: &'static str,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// `_total` is added to the name.
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, u64)>),
}

/// A list of metrics, to be written once.
#[derive(Debug, Default)]
pub(super) struct Metrics(Vec<Metric>);

impl Metrics {
    /// A counter without labels. The name is given without `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counters(name, help, vec![(Labels::new(), value)]);
    }

    pub(super) fn counters(&mut self, name: &'static str, help: &'static str, values: Vec<(Labels, u64)>) {
        self.0.push(Metric {
            name,
            help,
            values: Values::Counter(values),
        });
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.gauges(name, help, vec![(Labels::new(), value)]);
    }

    pub(super) fn gauges(&mut self, name: &'static str, help: &'static str, values: Vec<(Labels, u64)>) {
        self.0.push(Metric {
            name,
            help,
            values: Values::Gauge(values),
        });
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &self.0 {
            match &metric.values {
                Values::Counter(values) => {
                    let mut of = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?;
                    for (labels, value) in values {
                        if labels.is_empty() {
                            of.encode_counter::<NoLabelSet, u64, f64>(value, None)?;
                        } else {
                            of.encode_family(labels)?
                                .encode_counter::<NoLabelSet, u64, f64>(value, None)?;
                        }
                    }
                }
                Values::Gauge(values) => {
                    let mut of = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
                    for (labels, value) in values {
                        if labels.is_empty() {
                            of.encode_gauge(value)?;
                        } else {
                            of.encode_family(labels)?.encode_gauge(value)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
