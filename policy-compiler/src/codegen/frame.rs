//! Where things are in the stack frame, as offsets from the frame pointer.
//!
//! ```text
//!  r10 ──► ┌─────────────────┐  0
//!          │ spill slots     │
//!          ├─────────────────┤
//!          │ buffer, 8 bytes │  if kernel memory is read through a helper
//!          ├─────────────────┤
//!          │ stack slots     │
//!          └─────────────────┘  −size ≥ −512
//! ```

use crate::ir::{BlockId, Function, Inst, SlotId};

use super::CodegenError;
use super::allocate::Allocation;
use super::liveness::reads_directly;

/// What the kernel allows a frame, and a chain of calls together.
pub(crate) const STACK_SIZE: u32 = 512;

/// Offsets of a function's memory.
#[derive(Debug)]
pub(super) struct Frame {
    buffer: i16,
    slots: Vec<i16>,
    /// Bytes in use.
    pub(super) size: u32,
}

impl Frame {
    /// Lays the frame out.
    pub(super) fn new(function: &Function, order: &[BlockId], allocation: &Allocation) -> Result<Self, CodegenError> {
        let needs_buffer = order
            .iter()
            .flat_map(|id| &function.blocks[id.0 as usize].insts)
            .any(|located| match &located.inst {
                Inst::LoadKernel { base, .. } => !reads_directly(function, *base),
                Inst::MapValueAddr { .. } => true,
                _ => false,
            });
        let buffer = allocation.spill_slots * 8 + if needs_buffer { 8 } else { 0 };
        let mut size = buffer;
        let mut slots = Vec::with_capacity(function.slots.len());
        for slot in &function.slots {
            size = size.saturating_add(slot.size.next_multiple_of(8));
            if size > STACK_SIZE {
                break;
            }
            slots.push(-(size as i16));
        }
        if size > STACK_SIZE {
            let slots = function.slots.iter().map(|slot| slot.size).sum();
            return Err(CodegenError::FrameTooLarge {
                function: function.name.clone(),
                slots,
                spills: buffer,
            });
        }
        Ok(Self {
            buffer: -(buffer as i16),
            slots,
            size,
        })
    }

    /// Offset of a spill slot.
    #[expect(clippy::unused_self, reason = "the frame is what knows where spill slots are")]
    pub(super) fn spill(&self, slot: u32) -> i16 {
        -((slot as i16 + 1) * 8)
    }

    /// Offset of the buffer for reads through a helper.
    pub(super) fn buffer(&self) -> i16 {
        self.buffer
    }

    /// Offset of a stack slot.
    pub(super) fn slot(&self, slot: SlotId) -> i16 {
        self.slots[slot.0 as usize]
    }
}
