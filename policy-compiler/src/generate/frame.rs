//! Memory of a program in its scratch element: what must survive a join, and so may not live in registers.

use super::layout::{FRAME, FRAME_BYTES};

/// Hands out places in the frame.
#[derive(Debug, Default)]
pub(super) struct Frame {
    used: u32,
}

/// The frame is full.
#[derive(Debug)]
pub(super) struct FrameFull;

impl Frame {
    /// `count` elements of `size` bytes (1, 2, 4 or 8); the offset is that in the scratch element.
    pub(super) fn allocate(&mut self, count: usize, size: u32) -> Result<i32, FrameFull> {
        let start = self.used.next_multiple_of(size);
        let end = start as usize + count * size as usize;
        if end > FRAME_BYTES as usize {
            return Err(FrameFull);
        }
        self.used = end as u32;
        Ok(FRAME + start as i32)
    }
}
