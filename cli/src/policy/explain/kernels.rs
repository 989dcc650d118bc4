//! The same policies on several kernels: how each hook is attached there, or why not.

use policy_compiler::PolicySet;
use policy_compiler::explain::{Attachment, Outcome, attachments};
use policy_compiler::output::AttachPoint;
use serde::Serialize;
use tracingpolicy_crd::Policy;

use crate::policy::facts::{Facts, Kernel, collect_for};

/// A kernel by name, with its facts or why there are none.
pub(super) struct Other {
    name: String,
    facts: Result<Facts, String>,
}

/// A hook of a policy with its fate on each kernel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookOnKernels {
    pub(super) policy: String,
    /// `syscall openat`; absent: the policy as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hook: Option<String>,
    pub(super) on: Vec<OnKernel>,
}

/// What one kernel does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OnKernel {
    pub(super) kernel: String,
    /// Kinds of its programs: `fentry`, `lsm`. Empty if it is not attached.
    pub(super) attach: Vec<String>,
    /// Code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// Why there, or why not.
    pub(super) reason: String,
}

/// Collects the facts of each kernel. One that fails does not keep the others from being compared.
pub(super) fn collect(policies: &[Policy], kernels: &[Kernel]) -> Vec<Other> {
    kernels
        .iter()
        .map(|kernel| Other {
            name: kernel.to_string(),
            facts: collect_for(policies, kernel)
                .map(Facts::with_any_namespaces)
                .map_err(|error| format!("{error:#}")),
        })
        .collect()
}

/// Compares all kernels, in the order given.
pub(super) fn compare(set: &PolicySet, first: &Facts, others: &[Other]) -> Vec<HookOnKernels> {
    let mut columns: Vec<(String, Result<Vec<Attachment>, &str>)> =
        vec![(first.kernel.release.clone(), Ok(attachments(set, &first.kernel)))];
    for other in others {
        columns.push(match &other.facts {
            Ok(facts) => (facts.kernel.release.clone(), Ok(attachments(set, &facts.kernel))),
            Err(reason) => (other.name.clone(), Err(reason)),
        });
    }
    let mut rows: Vec<(u32, String, Option<String>)> = Vec::new();
    for attachment in columns.iter().filter_map(|(_, column)| column.as_ref().ok()).flatten() {
        let key = (
            attachment.policy_slot,
            attachment.policy.clone(),
            attachment.hook.clone(),
        );
        if !rows.contains(&key) {
            rows.push(key);
        }
    }
    // what is refused as a whole is said at each hook that another kernel knows
    let whole_rows: Vec<_> = rows.clone();
    rows.retain(|(slot, _, hook)| hook.is_some() || !whole_rows.iter().any(|(s, _, h)| s == slot && h.is_some()));
    rows.sort_by_key(|(slot, ..)| *slot);
    rows.into_iter()
        .map(|(slot, policy, hook)| {
            let on = columns
                .iter()
                .map(|(kernel, column)| {
                    on_kernel(
                        kernel,
                        column.as_deref().map_err(|reason| *reason),
                        slot,
                        hook.as_deref(),
                    )
                })
                .collect();
            HookOnKernels { policy, hook, on }
        })
        .collect()
}

fn on_kernel(kernel: &str, column: Result<&[Attachment], &str>, slot: u32, hook: Option<&str>) -> OnKernel {
    let answer = |attach, code, reason: &str| OnKernel {
        kernel: kernel.to_owned(),
        attach,
        code,
        reason: reason.to_owned(),
    };
    let attachments = match column {
        Ok(attachments) => attachments,
        Err(reason) => return answer(Vec::new(), None, reason),
    };
    let of_policy = || attachments.iter().filter(|a| a.policy_slot == slot);
    let found = of_policy()
        .find(|a| a.hook.as_deref() == hook)
        .or_else(|| of_policy().find(|a| a.hook.is_none()));
    match found.map(|found| &found.outcome) {
        Some(Outcome::Attached { points, reason }) => answer(points.iter().map(kind).collect(), None, reason),
        Some(Outcome::Refused { code, message }) => answer(Vec::new(), Some(code.to_string()), message),
        Some(Outcome::LeftOut) => answer(
            Vec::new(),
            None,
            "left out, since another hook of its policy is refused",
        ),
        None => answer(
            Vec::new(),
            None,
            "not on this kernel, and the policy says to leave it out then",
        ),
    }
}

/// `fentry`, `kprobe.multi`, `tp`
fn kind(point: &AttachPoint) -> String {
    let text = policy_compiler::attach::describe(point);
    text.split(['/', ' ']).next().unwrap_or_default().to_owned()
}
