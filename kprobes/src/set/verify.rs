//! Asking the kernel about a program without putting it into force.

use policy_compiler::output::HookObject;

use super::HookSet;
use crate::error::LoadError;

/// What the kernel says of a program that it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Instructions that the verifier walked.
    pub instructions: u32,
    /// Bytes of kernel memory: the program, and the maps that only it uses.
    pub memlock_bytes: u64,
}

impl HookSet {
    /// Loads a program as [`HookSet::apply`] would, and lets it go again: nothing is attached, the set stays as it is.
    ///
    /// # Errors
    /// As [`HookSet::apply`], but for what only attaching finds out.
    pub fn verify(&self, object: &HookObject) -> Result<Verified, LoadError> {
        let (program, _, own_memlock_bytes) = self.load_object(object)?;
        Ok(Verified {
            instructions: program.verified_instructions(),
            memlock_bytes: program.info()?.memlock_bytes + own_memlock_bytes,
        })
    }
}
