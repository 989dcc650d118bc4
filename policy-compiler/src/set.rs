//! The set of policies a node enforces: the unit of compilation.

use tracingpolicy_crd::Policy;

/// A policy with its place in the set.
#[derive(Clone, Debug)]
pub struct PolicyEntry {
    /// Index of its counters and of its mode in the shared maps; stable while the policy is loaded.
    pub slot: u32,
    /// Whose calls it is about.
    pub scope: Scope,
    /// The policy, parsed and validated.
    pub policy: Policy,
}

/// Whose calls a policy is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Scope {
    /// Those of all processes.
    #[default]
    All,
    /// Those of the workloads that it is assigned to, that is of processes in certain cgroups. Which ones is not known to the
    /// compiler: programs look it up, by the policy's slot.
    Workloads,
}

/// Policies in the order in which a hook evaluates them. The order decides only which override wins.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Ascending by slot.
    pub entries: Vec<PolicyEntry>,
}

impl PolicySet {
    /// A set whose slots are the positions, of policies for all processes.
    pub fn from_policies(policies: impl IntoIterator<Item = Policy>) -> Self {
        let entries = policies.into_iter().enumerate();
        Self {
            entries: entries
                .map(|(i, policy)| PolicyEntry {
                    slot: i as u32,
                    scope: Scope::All,
                    policy,
                })
                .collect(),
        }
    }
}
