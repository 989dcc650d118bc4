//! A queue of batches, bounded in bytes, between two threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Batch;

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signalled when a batch was taken.
    room: Condvar,
    /// Signalled when a batch was added or the queue was closed.
    work: Condvar,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            room: Condvar::new(),
            work: Condvar::new(),
            max_bytes,
        }
    }

    /// Adds a batch; gives it back if there is no room for it within `patience`.
    pub(super) fn push(&self, batch: Batch, patience: Duration) -> Result<(), Batch> {
        let len = batch.bytes().len();
        let full = |state: &mut State| !state.batches.is_empty() && state.bytes + len > self.max_bytes;
        let (mut state, _) = self
            .room
            .wait_timeout_while(self.lock(), patience, full)
            .unwrap_or_else(PoisonError::into_inner);
        if full(&mut state) {
            return Err(batch);
        }
        state.bytes += len;
        state.batches.push_back(batch);
        self.work.notify_one();
        Ok(())
    }

    /// Takes the oldest batch, waiting for one; `None` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<Batch> {
        let mut state = self
            .work
            .wait_while(self.lock(), |state| state.batches.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let batch = state.batches.pop_front()?;
        state.bytes -= batch.bytes().len();
        self.room.notify_one();
        Some(batch)
    }

    /// No batch will be added any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
