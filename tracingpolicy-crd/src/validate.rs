//! What the types cannot say: rules between keys, and the meaning of values, as far as no kernel is needed to judge.

pub(crate) mod names;

use crate::parse::sink::Sink;
use crate::policy::Policy;

/// Checks a policy of the right shape.
pub(crate) fn validate(_policy: &Policy, _sink: &mut Sink) {}
