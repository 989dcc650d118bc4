//! Where a policy's records went: nothing is lost silently.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! account {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// Counters of one policy, written by the pipeline and by sinks, read by anyone.
        ///
        /// Balance: `received = events + halves + cancelled + undecodable + expired + waiting`, and for each event
        /// `events = exported + filtered + lost` if there is an export.
        #[derive(Debug, Default)]
        pub struct Account {
            $($(#[$doc])* pub $field: Counter,)+
        }

        /// Values of an [`Account`] at one time.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct AccountSnapshot {
            $($(#[$doc])* pub $field: u64,)+
        }

        impl Account {
            /// Reads all counters.
            pub fn snapshot(&self) -> AccountSnapshot {
                AccountSnapshot { $($field: self.$field.get(),)+ }
            }
        }
    };
}

account! {
    /// Records read from the rings.
    received,
    /// Records that were the first half of an event (the second half counts as the event).
    halves,
    /// First and second halves dropped because the return selectors said no.
    cancelled,
    /// Records that could not be decoded.
    undecodable,
    /// First halves dropped because too many waited, and second halves whose first was gone.
    expired,
    /// Events made.
    events,
    /// Events written to the export.
    exported,
    /// Events that the export's filters held back.
    filtered,
    /// Events that the export could not take or write.
    lost,
}

/// A number that only grows.
///
/// Counters are statistics: they order nothing, so relaxed accesses are enough.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
