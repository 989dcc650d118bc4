//! Stage 2: whether a policy applies to the workload of the process, one bit for each policy slot.
//!
//! The bits are looked up once, before everything else. A set of them does not change while a program runs, so its address may
//! live in a register all the time: it is the same on every way to a place where ways meet.
//!
//! Slots of a hook's policies may lie anywhere, so that asking for all of them takes as many words as there are policies. That is
//! left to processes whose set names the hook: one bit, by a hash of the attach point, that the loader keeps right.

use std::collections::BTreeMap;

use ebpf::record::HOOK_FILTER_BITS;

use crate::hash::StableHasher;
use crate::ir::{BlockId, CmpOp, Size, Type, Value, Width};
use crate::output::AttachPoint;
use crate::plan::Instance;
use crate::set::Scope;

use super::layout::{POLICY_SET_HOOKS, POLICY_SET_SLOTS};
use super::{Generator, evaluates_all};

/// Policies in a word of a set, as programs load it: a bit of 32 can be tested by an immediate.
const BITS: u32 = 32;
const WORD_BYTES: i32 = 4;

impl Generator<'_> {
    /// Looks up which policies apply, and leaves if all policies of the hook are for workloads and none of them applies.
    pub(super) fn look_up_workload(&mut self) {
        let plan = self.plan;
        let mut masks: BTreeMap<u32, u32> = BTreeMap::new();
        for instance in plan.instances.iter().filter(|instance| asks(instance)) {
            let slot = instance.hook.policy_slot;
            *masks.entry(slot / BITS).or_default() |= 1 << (slot % BITS);
        }
        let Some((&last, _)) = masks.last_key_value() else {
            return;
        };
        let size = POLICY_SET_SLOTS as u32 + (last + 1) * WORD_BYTES as u32;
        let policies = self
            .b
            .call_runtime_typed("tetra_policies", &[], Type::MapValueOrNull { size });
        let (leave, found) = (self.b.create_block(), self.b.create_block());
        self.b.branch(CmpOp::Eq, Width::W64, policies, 0, leave, found);
        self.b.switch_to(leave);
        self.b.ret(0);
        self.b.switch_to(found);
        if plan.instances.iter().all(asks) {
            let (go_on, named) = (self.b.create_block(), self.b.create_block());
            let hook = hook_bit(&plan.attach);
            let hooks = POLICY_SET_HOOKS + (hook / BITS) as i32 * WORD_BYTES;
            let hooks = self.b.load(policies, hooks, Size::B4);
            self.b.branch(CmpOp::Set, Width::W32, hooks, bit_of(hook), named, leave);
            self.b.switch_to(named);
            for (word, mask) in masks {
                let bits = self.load_slots(policies, word);
                let next = self.b.create_block();
                self.b
                    .branch(CmpOp::Set, Width::W32, bits, i64::from(mask as i32), go_on, next);
                self.b.switch_to(next);
            }
            self.b.ret(0);
            self.b.switch_to(go_on);
        }
        self.workload = Some(policies);
    }

    /// Goes on if the policy of a hook applies to the process, else to `other`.
    pub(super) fn require_workload(&mut self, instance: &Instance, other: BlockId) {
        let Some(policies) = self.workload.filter(|_| asks(instance)) else {
            return;
        };
        let slot = instance.hook.policy_slot;
        let bits = self.load_slots(policies, slot / BITS);
        let next = self.b.create_block();
        self.b.branch(CmpOp::Set, Width::W32, bits, bit_of(slot), next, other);
        self.b.switch_to(next);
    }

    fn load_slots(&mut self, policies: Value, word: u32) -> Value {
        let at = POLICY_SET_SLOTS + word as i32 * WORD_BYTES;
        self.b.load(policies, at, Size::B4)
    }

    /// As [`Self::require_workload`]; the block for processes that it does not apply to, if there can be any.
    pub(super) fn require_workload_or_skip(&mut self, instance: &Instance) -> Option<BlockId> {
        (self.workload.is_some() && asks(instance)).then(|| {
            let outside = self.b.create_block();
            self.require_workload(instance, outside);
            outside
        })
    }
}

/// The bit of a slot in its word, as an immediate.
fn bit_of(slot: u32) -> i64 {
    i64::from((1u32 << (slot % BITS)) as i32)
}

/// The bit that stands for a hook in a set of policies.
pub(crate) fn hook_bit(attach: &AttachPoint) -> u32 {
    StableHasher::of(&crate::attach::describe(attach)) % HOOK_FILTER_BITS
}

/// Whether a hook's calls are asked for their workload here. What the entry of an operation has marked is not asked again.
fn asks(instance: &Instance) -> bool {
    instance.hook.scope == Scope::Workloads && evaluates_all(instance.role)
}
