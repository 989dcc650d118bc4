//! Which pods, containers and hosts are meant.

use std::collections::BTreeMap;

use super::declare::{names, object};

names! {
    /// How a label is compared.
    pub enum LabelOperator: "operator" {
        /// The label has any of the values.
        In = "In",
        /// The label has none of the values, or is absent.
        NotIn = "NotIn",
        /// The label is there.
        Exists = "Exists",
        /// The label is not there.
        DoesNotExist = "DoesNotExist",
    }
}

object! {
    /// A condition on one label.
    pub struct LabelRequirement {
        /// Key of the label.
        key: String = "key" [required],
        /// How to compare.
        operator: LabelOperator = "operator" [required],
        /// What to compare with.
        values: Vec<String> = "values",
    }
}

object! {
    /// Conditions on labels, all of which have to hold. An empty one matches everything.
    pub struct LabelSelector {
        /// Labels with the value each must have.
        match_labels: BTreeMap<String, String> = "matchLabels",
        /// Other conditions.
        match_expressions: Vec<LabelRequirement> = "matchExpressions",
    }
}

impl LabelSelector {
    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

object! {
    /// A filter on the workload of the process.
    pub struct WorkloadSelector {
        /// Pods.
        pod_selector: Option<LabelSelector> = "podSelector",
        /// Containers, by `name` and `repo`.
        container_selector: Option<LabelSelector> = "containerSelector",
        /// `{}` for processes outside of containers.
        host_selector: Option<LabelSelector> = "hostSelector",
    }
    rules {
        "!has(self.hostSelector) || (!has(self.hostSelector.matchLabels) && !has(self.hostSelector.matchExpressions))"
            => "The hostSelector should be either null or {}.",
    }
}
