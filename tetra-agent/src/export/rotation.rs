//! The rules of rotation, which the API may change while the agent runs.

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
pub struct SharedRotation(Arc<Mutex<Rotation>>);

impl SharedRotation {
    /// Starts with these rules.
    pub fn new(rotation: Rotation) -> Self {
        Self(Arc::new(Mutex::new(rotation)))
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

    fn lock(&self) -> MutexGuard<'_, Rotation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
