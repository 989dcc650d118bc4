//! The rules of rotation, which the API may change while the agent runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When to rotate, and what to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// Size at which the file is rotated.
    pub max_size_bytes: u64,
    /// Rotated files that are kept.
    pub max_backups: usize,
    /// Age at which the file is rotated; zero: never.
    pub interval: Duration,
    /// Whether rotated files are compressed.
    pub compress: bool,
}

/// The rules in force, of the thread that writes and of whoever changes them.
#[derive(Clone, Debug)]
pub struct SharedRotation(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rotation: Mutex<Rotation>,
    /// Somebody has moved the file, and it is to be made anew.
    reopen: AtomicBool,
}

impl SharedRotation {
    /// Starts with these rules.
    pub fn new(rotation: Rotation) -> Self {
        Self(Arc::new(Shared {
            rotation: Mutex::new(rotation),
            reopen: AtomicBool::new(false),
        }))
    }

    /// The rules now.
    pub fn get(&self) -> Rotation {
        *self.lock()
    }

    /// Changes the rules from what they are to what `change` makes of them, and gives those; a failure leaves them.
    ///
    /// # Errors
    /// What `change` says.
    pub fn change<E>(&self, change: impl FnOnce(Rotation) -> Result<Rotation, E>) -> Result<Rotation, E> {
        let mut rotation = self.lock();
        *rotation = change(*rotation)?;
        Ok(*rotation)
    }

    /// Has the file opened by its name again before the next event is written: whoever moved it wants no more events in it.
    pub fn reopen(&self) {
        // nothing else is told by it
        self.0.reopen.store(true, Ordering::Relaxed);
    }

    /// Whether [`reopen`](Self::reopen) was called since the last time.
    pub(super) fn take_reopen(&self) -> bool {
        self.0.reopen.swap(false, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Rotation> {
        self.0.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
