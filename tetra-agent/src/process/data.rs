//! Arguments that were too long for one record: chunks come first, the exec that owns them after.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::ProcessKey;

/// Chunks that wait for their exec record. Bounded in number and bytes: the oldest goes first.
#[derive(Debug)]
pub struct ArgumentChunks {
    blocks: FxHashMap<ProcessKey, Block>,
    order: VecDeque<ProcessKey>,
    bytes: usize,
    max_blocks: usize,
    max_bytes: usize,
    evicted: u64,
}

/// Bytes of one exec's arguments that have arrived.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// A chunk was missing in between: what follows it is not used.
    broken: bool,
}

impl ArgumentChunks {
    /// Longest argument block the kernel can produce is below this (`MAX_ARG_STRINGS` aside, a quarter of 24 MiB of stack).
    const BLOCK_MAX: usize = 6 << 20;

    /// Makes a store with these bounds.
    pub fn new(max_blocks: usize, max_bytes: usize) -> Self {
        Self {
            blocks: FxHashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            max_blocks,
            max_bytes,
            evicted: 0,
        }
    }

    /// Adds a chunk. Chunks of one exec come in order, from one CPU.
    pub fn push(&mut self, exec: ProcessKey, offset: u32, bytes: &[u8]) {
        let block = self.blocks.entry(exec).or_insert_with(|| {
            self.order.push_back(exec);
            Block::default()
        });
        if block.broken || block.bytes.len() != offset as usize || block.bytes.len() + bytes.len() > Self::BLOCK_MAX {
            block.broken = true;
        } else {
            block.bytes.extend_from_slice(bytes);
            self.bytes += bytes.len();
        }
        while self.blocks.len() > self.max_blocks.max(1) || (self.bytes > self.max_bytes && self.blocks.len() > 1) {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.remove(oldest).is_some() {
                self.evicted += 1;
            }
        }
        // keys that were taken stay in the order until they come up: don't let them pile up
        if self.order.len() > 2 * self.max_blocks.max(8) {
            self.order.retain(|key| self.blocks.contains_key(key));
        }
    }

    /// Takes what has arrived for an exec: the bytes, and whether they are the first `total`.
    pub fn take(&mut self, exec: ProcessKey, total: u32) -> (Vec<u8>, bool) {
        match self.remove(exec) {
            Some(block) => {
                let complete = !block.broken && block.bytes.len() == total as usize;
                (block.bytes, complete)
            }
            None => (Vec::new(), total == 0),
        }
    }

    /// Blocks dropped because their exec never came.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn remove(&mut self, exec: ProcessKey) -> Option<Block> {
        let block = self.blocks.remove(&exec)?;
        self.bytes -= block.bytes.len();
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_are_joined_and_gaps_are_marked() {
        let mut chunks = ArgumentChunks::new(4, 1 << 20);
        let key = ProcessKey::new(7, 100);
        chunks.push(key, 0, b"abc");
        chunks.push(key, 3, b"def");
        assert_eq!(chunks.take(key, 6), (b"abcdef".to_vec(), true));
        chunks.push(key, 0, b"abc");
        chunks.push(key, 5, b"xyz");
        assert_eq!(chunks.take(key, 8), (b"abc".to_vec(), false));
        assert_eq!(chunks.take(key, 8), (Vec::new(), false));
    }

    proptest! {
        #[test]
        fn bounds_hold(pushes in proptest::collection::vec((0u32..20, 0u32..3, 0usize..600), 0..200)) {
            let mut chunks = ArgumentChunks::new(5, 2000);
            for (tgid, offset, len) in pushes {
                chunks.push(ProcessKey::new(tgid + 1, 1), offset * 100, &vec![1; len]);
                prop_assert!(chunks.blocks.len() <= 5);
                prop_assert!(chunks.bytes <= 2000 || chunks.blocks.len() == 1);
                prop_assert_eq!(chunks.bytes, chunks.blocks.values().map(|b| b.bytes.len()).sum::<usize>());
                prop_assert!(chunks.order.len() <= 16 + 1);
            }
        }
    }
}
