//! First and last instructions of a program: scratch memory, calls under way, verdict.

use std::collections::BTreeSet;

use ebpf::record::PolicyCounter;

use crate::ir::{AluOp, BlockId, CmpOp, Operand as IrOperand, Size, Type, Width};
use crate::output::AttachPoint;
use crate::plan::Instance;

use super::layout::SCRATCH_SIZE;
use super::{GenerateError, Generator};

impl Generator<'_> {
    /// Takes scratch memory, clears the frame's state and takes the calls under way; `leave` gives the memory back.
    pub(super) fn prologue(&mut self, leave: BlockId) -> Result<(), GenerateError> {
        let (exhausted, taken) = (self.b.create_block(), self.b.create_block());
        self.scratch = self
            .b
            .call_runtime_typed("tetra_enter", &[], Type::MapValueOrNull { size: SCRATCH_SIZE });
        self.b.branch(CmpOp::Eq, Width::W64, self.scratch, 0, exhausted, taken);

        self.b.switch_to(exhausted);
        let plan = self.plan;
        let mut instances: Vec<&Instance> = plan.instances.iter().collect();
        instances.dedup_by_key(|i| i.hook.policy_slot);
        for instance in instances {
            let outside = self.require_workload_or_skip(instance);
            self.count(instance.hook.policy_slot, PolicyCounter::ScratchExhausted);
            if let Some(outside) = outside {
                self.b.jump(outside);
                self.b.switch_to(outside);
            }
        }
        self.b.ret(0);

        self.b.switch_to(taken);
        for place in [self.places.verdict, self.places.need, self.places.any_winner] {
            self.frame_store(place, Size::B8, 0);
        }
        let gathered = self.plan.gathered();
        let classes = self.class_numbers.len();
        for (start, words) in [
            (self.places.states, gathered.div_ceil(8)),
            (self.places.live, self.groups.live_words()),
            (self.places.classes, classes.div_ceil(64)),
            (self.places.taken, self.taken_words()),
        ] {
            for word in 0..words {
                self.frame_store(start + word as i32 * 8, Size::B8, 0);
            }
        }
        for (word, mask) in self.first_live_words() {
            self.frame_store(self.places.live + word as i32 * 4, Size::B4, i64::from(mask));
        }
        if self.takes_pending() {
            self.take_marks(leave);
        }
        if let Some(place) = self.places.registers {
            self.copy_registers(place, leave)?;
        }
        Ok(())
    }

    /// The key under which the entry of a call and its exit find each other. User functions call themselves, so theirs hold where
    /// the stack stands too: two calls under way of one thread stand apart.
    pub(super) fn call_key(&mut self, key: u32) -> IrOperand {
        // the return has taken the return address off the stack
        let beyond = match &self.plan.attach {
            AttachPoint::Uprobe { .. } => 0,
            AttachPoint::Uretprobe { .. } => 8,
            _ => return key.into(),
        };
        let Ok(offset) = self.register("sp") else {
            return key.into();
        };
        let stack = self.b.load(self.ctx, offset, Size::B8);
        let at_entry = self.b.alu(AluOp::Sub, Width::W32, stack, i64::from(beyond));
        // the stack's distances are multiples of 8, keys are small numbers: spread before they are mixed
        let spread = self
            .b
            .alu(AluOp::Mul, Width::W32, at_entry, i64::from(0x9e37_79b1_u32 as i32));
        self.b.alu(AluOp::Xor, Width::W32, spread, i64::from(key as i32)).into()
    }

    /// Takes the marks of the entry program, a bit for each policy slot modulo 64; leaves if there is none and nobody looks at
    /// calls without a mark.
    fn take_marks(&mut self, leave: BlockId) {
        let takes = |instance: &&Instance| instance.role.takes_pending();
        let targets: BTreeSet<u32> = self.plan.instances.iter().filter(takes).map(|i| i.target_key).collect();
        let mut marks = None;
        for target in targets {
            let key = self.call_key(target);
            let taken = self.call("tetra_pending_take", &[key]);
            marks = Some(match marks {
                None => taken,
                Some(before) => self
                    .b
                    .alu(AluOp::Or, Width::W64, IrOperand::Value(before), IrOperand::Value(taken)),
            });
        }
        if let Some(marks) = marks {
            self.frame_store(self.places.marks, Size::B8, marks);
            if self.plan.instances.iter().all(|instance| instance.role.takes_pending()) {
                self.require(CmpOp::Ne, marks, 0, leave);
            }
        }
    }

    /// Gives the scratch memory back and returns the verdict.
    pub(super) fn leave(&mut self) {
        if self.may_deny() {
            let verdict = self.frame_load(self.places.verdict, Size::B8);
            self.b.call_runtime_void("tetra_leave", &[self.scratch.into()]);
            // The verifier wants proof that it is an errno: recompute it from what it can bound.
            let errno = self.b.alu(AluOp::And, Width::W64, verdict, 0xfff);
            let negative = self.b.alu(AluOp::Sub, Width::W64, 0i64, errno);
            self.b.ret(negative);
        } else {
            self.b.call_runtime_void("tetra_leave", &[self.scratch.into()]);
            self.b.ret(0);
        }
    }
}
