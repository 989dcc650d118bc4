//! The set of policies a node enforces: the unit of compilation.

use tracingpolicy_crd::Policy;

/// A policy with its place in the set.
#[derive(Clone, Debug)]
pub struct PolicyEntry {
    /// Index of its counters and of its mode in the shared maps; stable while the policy is loaded.
    pub slot: u32,
    /// The policy, parsed and validated.
    pub policy: Policy,
}

/// Policies in the order in which a hook evaluates them. The order decides only which override wins.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Ascending by slot.
    pub entries: Vec<PolicyEntry>,
}

impl PolicySet {
    /// A set whose slots are the positions.
    pub fn from_policies(policies: impl IntoIterator<Item = Policy>) -> Self {
        let entries = policies.into_iter().enumerate();
        Self {
            entries: entries
                .map(|(i, policy)| PolicyEntry { slot: i as u32, policy })
                .collect(),
        }
    }
}
