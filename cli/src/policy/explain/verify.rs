//! What the running kernel says of programs: they are loaded, attached to nothing, and let go again.

use kprobes::{HookSet, SensorOptions, SharedMaps};
use policy_compiler::output::HookObject;

use super::report::{HookReport, Verdict};
use crate::policy::facts::{Basis, Facts};

/// Fills in the verdicts, or why there are none. `objects` are those of `hooks`, in the same order.
pub(super) fn verify(facts: &Facts, objects: &[HookObject], hooks: &mut [HookReport]) {
    let set = match &facts.basis {
        Basis::Tried => new_set().map_err(|error| error.to_string()),
        Basis::Types => Err("this is not known to be the running kernel".to_owned()),
        Basis::TypesInstead { reason } => Err(reason.clone()),
    };
    for (object, hook) in objects.iter().zip(hooks) {
        hook.verified = match &set {
            Err(reason) => Verdict::NotTried(reason.clone()),
            Ok(set) => match set.verify(object) {
                Ok(verified) => Verdict::Loaded {
                    instructions: verified.instructions,
                    memory_bytes: verified.memlock_bytes,
                },
                Err(error) => Verdict::Refused(error.to_string()),
            },
        };
    }
}

/// A set over maps of its own, as small as they may be: nothing will ever be in them.
fn new_set() -> Result<HookSet, kprobes::LoadError> {
    let smallest = SensorOptions {
        processes: 1,
        pending_calls: 1,
        rate_limits: 1,
        ring_shards: Some(1),
        ring_bytes: 0,
        enforcement_ring_bytes: 0,
        ..SensorOptions::default()
    };
    HookSet::new(&SharedMaps::create(&smallest)?)
}
