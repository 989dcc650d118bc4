//! Stage 1: the predicates on the executable of a process, numbered over the whole set.
//!
//! A process record has [`WORDS`] words, each `stamp << 32 | bits`. Bit 31 says that the executable's path is known, the
//! others hold a predicate each. The stamp is a hash of the predicates of the word: a program that finds another stamp
//! evaluates the word anew on the path of `mm->exe_file` and stores it with one aligned store. So processes that were there
//! before, exec, fork and a change of the policy set need nothing else, and a change leaves the words it does not touch valid.

use std::collections::{BTreeMap, BTreeSet};

use crate::hash::StableHasher;
use crate::hir::{Hook, Predicate, TextComparison, TextTest};

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

/// The predicates of the set, in order of first use.
///
/// Where there are more than bits, those behind share a bit for each comparison, which says whether any of them holds: hooks that
/// test them evaluate them only then.
#[derive(Clone, Debug, Default)]
pub struct BinaryTable {
    tests: Vec<TextTest>,
    bits: BTreeMap<TextTest, usize>,
    /// By comparison: the shared bit.
    shared: BTreeMap<TextComparison, usize>,
}

impl BinaryTable {
    /// Numbers the predicates of all hooks.
    pub fn new<'h>(hooks: impl IntoIterator<Item = &'h Hook>) -> Self {
        let mut seen = BTreeSet::new();
        let mut tests = Vec::new();
        for filter in hooks.into_iter().flat_map(|h| &h.selectors).flat_map(|s| &s.filters) {
            if let Predicate::Binary { test, .. } = &filter.predicate
                && seen.insert(test)
            {
                tests.push(test.clone());
            }
        }
        Self::of(tests)
    }

    fn of(mut tests: Vec<TextTest>) -> Self {
        let mut shared = BTreeMap::new();
        if tests.len() > WORDS * BITS {
            let mut values: BTreeMap<TextComparison, BTreeSet<Vec<u8>>> = BTreeMap::new();
            for test in tests.split_off(WORDS * BITS - TextComparison::COUNT) {
                values.entry(test.comparison).or_default().extend(test.values);
            }
            for (comparison, values) in values {
                shared.insert(comparison, tests.len());
                tests.push(TextTest {
                    comparison,
                    values: values.into_iter().collect(),
                });
            }
        }
        let bits = tests.iter().cloned().zip(0..).collect();
        Self { tests, bits, shared }
    }

    /// The bit of a predicate, or `None` if the table was full.
    pub fn bit(&self, test: &TextTest) -> Option<BinaryBit> {
        self.bits.get(test).map(|index| at(*index))
    }

    /// For a predicate without a bit of its own: the bit that is set for every executable that it holds for.
    pub fn shared_bit(&self, test: &TextTest) -> Option<BinaryBit> {
        self.shared.get(&test.comparison).map(|index| at(*index))
    }

    /// The predicates of a word, by bit.
    pub fn word(&self, word: u32) -> &[TextTest] {
        let start = (word as usize * BITS).min(self.tests.len());
        &self.tests[start..(start + BITS).min(self.tests.len())]
    }

    /// Stamp of a word, never 0.
    pub fn stamp(&self, word: u32) -> u32 {
        StableHasher::of(&self.word(word))
    }
}

fn at(index: usize) -> BinaryBit {
    BinaryBit {
        word: (index / BITS) as u32,
        bit: (index % BITS) as u32,
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
        let tests: Vec<TextTest> = (0..40).map(|i| test(&format!("/bin/{i}"))).collect();
        let table = BinaryTable::of(tests.clone());
        assert_eq!(table.bit(&test("/bin/0")), Some(BinaryBit { word: 0, bit: 0 }));
        assert_eq!(table.bit(&test("/bin/31")), Some(BinaryBit { word: 1, bit: 0 }));
        assert_eq!(table.bit(&test("/bin/40")), None);
        let stamps = [table.stamp(0), table.stamp(1)];
        let table = BinaryTable::of(tests.into_iter().chain([test("/bin/40")]).collect());
        assert_eq!(table.stamp(0), stamps[0]);
        assert_ne!(table.stamp(1), stamps[1]);
        assert!(stamps.iter().all(|&s| s != 0));
    }

    #[test]
    fn what_finds_no_bit_shares_one() {
        let full = WORDS * BITS;
        let named = |i: usize| test(&format!("/bin/{i}"));
        let table = BinaryTable::of((0..full).map(named).collect());
        assert!(table.bit(&named(full - 1)).is_some() && table.shared_bit(&named(0)).is_none());

        let table = BinaryTable::of((0..full + 50).map(named).collect());
        assert!(table.bit(&named(full - 8)).is_some());
        assert_eq!(table.bit(&named(full - 7)), None);
        let bit = table.shared_bit(&named(full + 1)).expect("a shared bit");
        assert_eq!((bit.word, bit.bit), (7, 24));
        assert_eq!(table.word(7)[24].values.len(), 57);
    }
}
