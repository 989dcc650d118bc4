//! Stage 1: the predicates on the executable of a process, numbered over the whole set.
//!
//! A process record has [`WORDS`] words, each `stamp << 32 | bits`. Bit 31 says that the executable's path is known, the
//! others hold a predicate each. The stamp is a hash of the predicates of the word: a program that finds another stamp
//! evaluates the word anew on the path of `mm->exe_file` and stores it with one aligned store. So processes that were there
//! before, exec, fork and a change of the policy set need nothing else, and a change leaves the words it does not touch valid.

use crate::hash::StableHasher;
use crate::hir::{Hook, Predicate, TextTest};

/// Words of a process record (`POLICY_WORDS`).
pub const WORDS: usize = 8;
/// Predicates in a word; bit 31 is [`KNOWN`].
pub const BITS: usize = 31;
/// Bit of a word: the path of the executable could be resolved.
pub const KNOWN: u32 = 1 << 31;

/// Where the answer to a predicate stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BinaryBit {
    /// Word of the process record.
    pub word: u32,
    /// Bit in it, 0 to 30.
    pub bit: u32,
}

/// The predicates of the set, in order of first use. Those that do not fit any more are evaluated at the hook.
#[derive(Clone, Debug, Default)]
pub struct BinaryTable {
    tests: Vec<TextTest>,
}

impl BinaryTable {
    /// Numbers the predicates of all hooks.
    pub fn new<'h>(hooks: impl IntoIterator<Item = &'h Hook>) -> Self {
        let mut table = Self::default();
        for hook in hooks {
            for filter in hook.selectors.iter().flat_map(|s| &s.filters) {
                if let Predicate::Binary { test, .. } = &filter.predicate
                    && !table.tests.contains(test)
                    && table.tests.len() < WORDS * BITS
                {
                    table.tests.push(test.clone());
                }
            }
        }
        table
    }

    /// The bit of a predicate, or `None` if the table was full.
    pub fn bit(&self, test: &TextTest) -> Option<BinaryBit> {
        let index = self.tests.iter().position(|t| t == test)?;
        Some(BinaryBit {
            word: (index / BITS) as u32,
            bit: (index % BITS) as u32,
        })
    }

    /// The predicates of a word, by bit.
    pub fn word(&self, word: u32) -> &[TextTest] {
        let start = (word as usize * BITS).min(self.tests.len());
        &self.tests[start..(start + BITS).min(self.tests.len())]
    }

    /// Stamp of a word, never 0.
    pub fn stamp(&self, word: u32) -> u32 {
        let mut hasher = StableHasher::default();
        hasher.write(format!("{:?}", self.word(word)).as_bytes());
        hasher.finish_u32()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hir::TextComparison;

    fn test(value: &str) -> TextTest {
        TextTest {
            comparison: TextComparison::Equal,
            values: vec![value.into()],
        }
    }

    #[test]
    fn words_fill_in_order_and_keep_their_stamps() {
        let mut table = BinaryTable {
            tests: (0..40).map(|i| test(&format!("/bin/{i}"))).collect(),
        };
        assert_eq!(table.bit(&test("/bin/0")), Some(BinaryBit { word: 0, bit: 0 }));
        assert_eq!(table.bit(&test("/bin/31")), Some(BinaryBit { word: 1, bit: 0 }));
        assert_eq!(table.bit(&test("/bin/40")), None);
        let stamps = [table.stamp(0), table.stamp(1)];
        table.tests.push(test("/bin/40"));
        assert_eq!(table.stamp(0), stamps[0]);
        assert_ne!(table.stamp(1), stamps[1]);
        assert!(stamps.iter().all(|&s| s != 0));
    }
}
