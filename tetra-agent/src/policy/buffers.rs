//! Buffers that are too long for the record of their event: their pieces come before it.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::time::KernelTime;

/// Which event a piece belongs to: thread and time of its record, and the place of the argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BufferKey {
    /// Thread that was running.
    pub tid: u32,
    /// When the hook fired.
    pub time: KernelTime,
    /// `argument_buffer.place`
    pub place: u32,
}

/// Pieces that wait for the record of their event, which follows them at once unless it was lost. Bounded: the oldest goes first.
#[derive(Debug, Default)]
pub struct Buffers {
    waiting: FxHashMap<BufferKey, Vec<u8>>,
    order: VecDeque<BufferKey>,
    bytes: usize,
}

impl Buffers {
    /// Bytes that may wait.
    const MOST: usize = 16 << 20;

    /// Takes a piece. One that does not continue those before it is left out: what is behind a gap is of no use.
    pub fn piece(&mut self, key: BufferKey, offset: u32, bytes: &[u8]) {
        let buffer = self.waiting.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Vec::new()
        });
        if buffer.len() != offset as usize {
            return;
        }
        buffer.extend_from_slice(bytes);
        self.bytes += bytes.len();
        while self.bytes > Self::MOST {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.waiting.remove(&oldest).map_or(0, |buffer| buffer.len());
        }
    }

    /// The beginning of a buffer, as far as its pieces have come.
    pub fn take(&mut self, key: BufferKey) -> Option<Vec<u8>> {
        if self.waiting.is_empty() {
            return None;
        }
        let buffer = self.waiting.remove(&key)?;
        self.order.retain(|known| *known != key);
        self.bytes -= buffer.len();
        Some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: u32) -> BufferKey {
        BufferKey {
            tid: 1,
            time: KernelTime(2),
            place,
        }
    }

    #[test]
    fn pieces_are_joined_up_to_the_first_gap() {
        let mut buffers = Buffers::default();
        buffers.piece(key(0), 0, b"ab");
        buffers.piece(key(1), 0, b"x");
        buffers.piece(key(0), 2, b"cd");
        buffers.piece(key(0), 6, b"gh");
        assert_eq!(buffers.take(key(0)), Some(b"abcd".to_vec()));
        assert_eq!(buffers.take(key(0)), None);
        assert_eq!(buffers.take(key(1)), Some(b"x".to_vec()));
        assert_eq!(buffers.bytes, 0);
    }

    #[test]
    fn what_nobody_asks_for_goes_and_memory_stays_bounded() {
        let mut buffers = Buffers::default();
        let piece = vec![0; 4096];
        for place in 0..10_000 {
            buffers.piece(key(place), 0, &piece);
            assert!(buffers.bytes <= Buffers::MOST && buffers.waiting.len() <= Buffers::MOST / piece.len());
        }
        assert_eq!(buffers.take(key(0)), None);
        assert_eq!(buffers.take(key(9_999)).map(|buffer| buffer.len()), Some(4096));
        assert_eq!(buffers.order.len(), buffers.waiting.len());
    }
}
