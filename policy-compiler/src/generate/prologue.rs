//! First and last instructions of a program: scratch memory, calls under way, verdict.

use ebpf::record::PolicyCounter;

use crate::ir::{BlockId, CmpOp, Operand as IrOperand, Size, Type, Width};
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
        let mut slots: Vec<u32> = self.plan.instances.iter().map(|i| i.hook.policy_slot).collect();
        slots.dedup();
        for slot in slots {
            self.count(slot, PolicyCounter::ScratchExhausted);
        }
        self.b.ret(0);

        self.b.switch_to(taken);
        for place in [self.places.verdict, self.places.need, self.places.any_winner] {
            self.frame_store(place, Size::B8, 0);
        }
        let gathered = self.plan.texts.len() + self.plan.socks.len() + self.plan.sockaddrs.len();
        let selectors: usize = self.plan.instances.iter().map(|i| i.selectors.len()).sum();
        let classes = self.class_numbers.len();
        for (start, words) in [
            (self.places.states, gathered.div_ceil(8)),
            (self.places.live, selectors.div_ceil(64)),
            (self.places.classes, classes.div_ceil(64)),
        ] {
            for word in 0..words {
                self.frame_store(start + word as i32 * 8, Size::B8, 0);
            }
        }
        self.take_pending(leave);
        if let Some(place) = self.places.registers {
            self.copy_registers(place, leave)?;
        }
        Ok(())
    }

    /// Takes the marks that the entry program left; leaves if there is none and nobody looks at calls without a mark.
    fn take_pending(&mut self, leave: BlockId) {
        let mut any = None;
        let takes = |(_, instance): &(usize, &Instance)| instance.role.takes_pending();
        for (i, instance) in self.plan.instances.iter().enumerate().filter(takes) {
            let taken = self.call("tetra_pending_take", &[instance.pending_key.into()]);
            self.frame_store(self.places.pending + i as i32 * 8, Size::B8, taken);
            any = Some(match any {
                None => taken,
                Some(before) => self.b.alu(
                    crate::ir::AluOp::Or,
                    Width::W64,
                    IrOperand::Value(before),
                    IrOperand::Value(taken),
                ),
            });
        }
        let is_all = self.plan.instances.iter().all(|instance| instance.role.takes_pending());
        if let Some(any) = any.filter(|_| is_all) {
            self.require(CmpOp::Ne, any, 0, leave);
        }
    }

    /// Gives the scratch memory back and returns the verdict.
    pub(super) fn leave(&mut self) {
        if self.may_deny() {
            let verdict = self.frame_load(self.places.verdict, Size::B8);
            self.b.call_runtime_void("tetra_leave", &[self.scratch.into()]);
            // The verifier wants proof that it is an errno: recompute it from what it can bound.
            let errno = self.b.alu(crate::ir::AluOp::And, Width::W64, verdict, 0xfff);
            let negative = self.b.alu(crate::ir::AluOp::Sub, Width::W64, 0i64, errno);
            self.b.ret(negative);
        } else {
            self.b.call_runtime_void("tetra_leave", &[self.scratch.into()]);
            self.b.ret(0);
        }
    }
}
