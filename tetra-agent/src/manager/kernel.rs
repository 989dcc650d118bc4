//! What the manager needs of the kernel, so that it can be tested without one.

use std::path::Path;

use kprobes::probe::{self, Needs};
use kprobes::sys::SysError;
use kprobes::{AppliedSet, HookSet, LoadError, PinDirectory, PolicyCounters, PolicyMode, SharedMaps};
use policy_compiler::output::HookObject;
use policy_compiler::{Compilation, Compiler, Options, PolicySet, binaries_needed, tracepoints_needed};

/// The kernel, as far as policies are concerned.
pub trait Kernel {
    /// Compiles a set for this kernel.
    ///
    /// # Errors
    /// If this kernel can't be examined.
    fn compile(&mut self, set: &PolicySet) -> Result<Compilation, LoadError>;

    /// Replaces all programs, at one instant.
    ///
    /// # Errors
    /// As [`HookSet::apply`]: then the old programs are in force.
    fn apply(&mut self, objects: Vec<HookObject>) -> Result<AppliedSet, LoadError>;

    /// Makes a slot ready for a new policy: counters are zero, it applies to no workload, the mode is set, and which policy it is, is noted for whoever
    /// takes over.
    ///
    /// # Errors
    /// What the kernel says.
    fn prepare_slot(&self, slot: u32, mode: PolicyMode, identity: u64) -> Result<(), LoadError>;

    /// Notes that a slot has no policy any more.
    ///
    /// # Errors
    /// What the kernel says.
    fn free_slot(&self, slot: u32) -> Result<(), LoadError>;

    /// The slots with a policy, and which one it is.
    ///
    /// # Errors
    /// What the kernel says.
    fn identities(&self) -> Result<Vec<(u32, u64)>, LoadError>;

    /// Sets the mode of the policy in a slot.
    ///
    /// # Errors
    /// What the kernel says.
    fn set_mode(&self, slot: u32, mode: PolicyMode) -> Result<(), LoadError>;

    /// Counters of the policy in a slot.
    ///
    /// # Errors
    /// What the kernel says.
    fn counters(&self, slot: u32) -> Result<PolicyCounters, LoadError>;

    /// How many slots there are.
    fn slots(&self) -> u32;
}

/// The running kernel.
#[derive(Debug)]
pub struct LiveKernel {
    hooks: HookSet,
    maps: SharedMaps,
    compiler: Compiler,
}

impl LiveKernel {
    /// Over the sensor's maps.
    ///
    /// # Errors
    /// As [`HookSet::new`].
    pub fn new(maps: &SharedMaps) -> Result<Self, LoadError> {
        Ok(Self {
            hooks: HookSet::new(maps)?,
            maps: maps.clone(),
            compiler: Compiler::default(),
        })
    }
}

impl LiveKernel {
    /// Over maps that a former agent has left, with the hooks that it has left in force; how many.
    ///
    /// # Errors
    /// As [`HookSet::adopt`].
    pub fn adopt(maps: &SharedMaps, directory: &PinDirectory) -> Result<(Self, usize), LoadError> {
        let hooks = HookSet::adopt(maps, directory)?;
        let count = hooks.attached();
        let kernel = Self {
            hooks,
            maps: maps.clone(),
            compiler: Compiler::default(),
        };
        Ok((kernel, count))
    }

    /// As [`HookSet::set_pins`].
    ///
    /// # Errors
    /// As [`HookSet::set_pins`].
    pub fn set_pins(&mut self, directory: Option<&Path>) -> Result<(), SysError> {
        self.hooks.set_pins(directory)
    }
}

impl Kernel for LiveKernel {
    fn compile(&mut self, set: &PolicySet) -> Result<Compilation, LoadError> {
        let policies = || set.entries.iter().map(|entry| &entry.policy);
        let tracepoints = tracepoints_needed(policies());
        let binaries = binaries_needed(policies());
        let mut facts = probe::collect(&Needs {
            tracepoints: tracepoints.clone(),
            binaries: binaries.clone(),
            functions: false,
        })?;
        // The list of functions that can be probed is long; types know nearly all of them.
        let is_unknown = |call: &str| !call.starts_with("sys_") && facts.btf.function(call).is_none();
        let hooks = policies().flat_map(|policy| policy.spec.kprobes.iter().chain(&policy.spec.fentries));
        if hooks.into_iter().any(|hook| is_unknown(&hook.call)) {
            facts = probe::collect(&Needs {
                tracepoints,
                binaries,
                functions: true,
            })?;
        }
        Ok(self.compiler.compile(set, &facts, &Options::default()))
    }

    fn apply(&mut self, objects: Vec<HookObject>) -> Result<AppliedSet, LoadError> {
        self.hooks.apply(objects)
    }

    fn prepare_slot(&self, slot: u32, mode: PolicyMode, identity: u64) -> Result<(), LoadError> {
        self.maps.clear_policy_counters(slot)?;
        self.maps.workloads().clear_slot(slot);
        self.set_mode(slot, mode)?;
        Ok(self.maps.set_policy_identity(slot, identity)?)
    }

    fn free_slot(&self, slot: u32) -> Result<(), LoadError> {
        // before the slot is known to be free: whoever ends in between leaves it to the next one
        self.maps.workloads().clear_slot(slot);
        Ok(self.maps.set_policy_identity(slot, 0)?)
    }

    fn identities(&self) -> Result<Vec<(u32, u64)>, LoadError> {
        Ok(self.maps.policy_identities()?)
    }

    fn set_mode(&self, slot: u32, mode: PolicyMode) -> Result<(), LoadError> {
        Ok(self.maps.set_policy_mode(slot, mode)?)
    }

    fn counters(&self, slot: u32) -> Result<PolicyCounters, LoadError> {
        Ok(self.maps.policy_counters(slot)?)
    }

    fn slots(&self) -> u32 {
        self.maps.policy_slots()
    }
}
