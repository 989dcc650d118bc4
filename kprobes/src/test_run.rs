//! Running a hook's program on calls that are made up, attached to nothing.
//!
//! The program is the one that would be attached, loaded as `BPF_PROG_TYPE_SYSCALL`: its context is what the caller passes, the
//! current task is the caller. So what a policy does can be tried on any kernel, also where the hook cannot be attached. Pointers
//! in the context must be addresses: programs whose context is typed (fentry, LSM, `tp_btf`) and that follow typed pointers in
//! it are refused by the verifier.

use std::os::fd::AsFd as _;

use policy_compiler::output::HookObject;

use crate::error::LoadError;
use crate::kernel::kernel_btf;
use crate::maps::{HookFilter, SharedMaps};
use crate::program::{LoadedObject, LoadedProgram, ProgramKind};
use crate::rejection;
use crate::sys::{self, SysError};

/// A program for test runs.
///
/// A [`crate::HookSet`] that is applied over the same maps may make it leave out policies for workloads.
pub struct TestRun {
    program: LoadedProgram,
    // Keeps the maps that only this object has.
    _object: LoadedObject,
}

impl TestRun {
    /// Loads the program of a hook over the shared maps, whose rings and counters it uses as if it were attached.
    ///
    /// # Errors
    /// [`LoadError::Policy`] if the verifier refuses it, with the policy's line; other variants if the machine fails.
    ///
    /// # Minimum kernel version
    /// 5.14
    pub fn load(object: &HookObject, maps: &SharedMaps) -> Result<Self, LoadError> {
        let kernel = kernel_btf()?;
        let loaded = LoadedObject::load(&object.symbol, &object.elf, maps)?;
        let code = loaded.assemble(&object.section, &object.symbol, &kernel, maps)?;
        // no set of hooks knows of it
        let mut filter = HookFilter::default();
        filter.add(object.hook_bit);
        let filters = object.policy_slots.iter().map(|slot| (*slot, filter)).collect();
        drop(maps.workloads().hooks_will_be(&filters));
        let program = loaded
            .load_program(&object.symbol, ProgramKind::for_test_runs(), &code)
            .map_err(|rejected| LoadError::Policy(vec![rejection::rejected(object, &rejected)]))?;
        Ok(Self {
            program,
            _object: loaded,
        })
    }

    /// Runs it once, as the calling thread. What the program writes to the context is copied back.
    ///
    /// # Errors
    /// What `BPF_PROG_TEST_RUN` says.
    pub fn run(&self, context: &mut [u8]) -> Result<u32, SysError> {
        sys::test_run_context(self.program.as_fd(), context).map(|run| run.return_value)
    }

    /// Instructions that the verifier walked.
    pub fn verified_instructions(&self) -> u32 {
        self.program.verified_instructions()
    }
}
