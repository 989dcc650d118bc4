//! The screen of a program with an index: asks of each dimension at once whether any selector that hangs there may hold.
//!
//! As every [screen](super::screen) it takes no memory and may let a call through for nothing. So a call that no policy is
//! interested in costs about the same with one policy and with a thousand.

use std::collections::{BTreeMap, BTreeSet};

use crate::hir::{Operand, OperandSource, TextComparison, TextTest};
use crate::ir::{BlockId, CmpOp, Value, Width};

use super::index::{Index, Number, Selectors};
use super::{GenerateError, Generator, classifier};

impl Generator<'_> {
    /// Leaves if no selector can hold; else goes on in a new block.
    pub(super) fn screen_by_index(&mut self, index: &Index, path: Option<&Operand>) -> Result<(), GenerateError> {
        let Some(ends) = self.screened_ends(index, path) else {
            return Ok(());
        };
        self.b.set_source(None);
        let go_on = self.b.create_block();
        for (number, ranges) in &index.numbers {
            let next = self.b.create_block();
            let (value, signed) = self.indexed_number(number)?;
            classifier::search_ranges(&mut self.b, value, signed, &ranges.bounds(signed), &|_| go_on, next);
            self.b.switch_to(next);
        }
        self.screen_words(index, go_on);
        if let (Some(path), false) = (path, ends.is_empty()) {
            let outline = self.outline(path, go_on)?;
            for test in &ends {
                let next = self.b.create_block();
                self.end_test(outline, test, go_on, next);
                self.b.switch_to(next);
            }
        }
        self.b.ret(0);
        self.b.switch_to(go_on);
        Ok(())
    }

    /// The values of all selectors that hang on a path and on no stage-1 bit before it, one test for each comparison; `None` if
    /// there are selectors of which nothing can be asked.
    fn screened_ends(&self, index: &Index, path: Option<&Operand>) -> Option<Vec<TextTest>> {
        let guarded: Selectors = index.guarded.values().flatten().copied().collect();
        let copied = |number: &Number| {
            matches!(number, Number::Integer(operand) if self.is_pointer(operand)
                || matches!(operand.source, OperandSource::Parameter(_)) && self.places.registers.is_some())
        };
        if !index.always().is_empty()
            || index.numbers.keys().any(copied)
            || index.of_sockets().any(|selector| !guarded.contains(&selector))
        {
            return None;
        }
        let screened = path.and_then(|path| self.plan.text(path));
        let mut values: BTreeMap<TextComparison, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for ((text, test), selectors) in &index.texts {
            if selectors.is_subset(&guarded) {
                continue;
            }
            let tells_by_ends = test.comparison.is_anchored();
            if Some(*text) != screened || !tells_by_ends || test.values.iter().any(Vec::is_empty) {
                return None;
            }
            values.entry(test.comparison).or_default().extend(test.values.clone());
        }
        let tests = values.into_iter().map(|(comparison, values)| TextTest {
            comparison,
            values: values.into_iter().collect(),
        });
        Some(tests.collect())
    }

    /// Goes to `go_on` if a stage-1 bit that selectors hang on is set, or is not known.
    fn screen_words(&mut self, index: &Index, go_on: BlockId) {
        let mut masks: BTreeMap<u32, i64> = BTreeMap::new();
        for bit in index.bits.keys().chain(index.guarded.keys()) {
            *masks.entry(bit.word).or_default() |= 1 << bit.bit;
        }
        if masks.is_empty() {
            return;
        }
        let words: Vec<Value> = self.screened_words(go_on);
        for (word, stored) in self.plan.binary_words.iter().zip(words) {
            if let Some(mask) = masks.get(&word.word) {
                let next = self.b.create_block();
                self.b.branch(CmpOp::Set, Width::W64, stored, *mask, go_on, next);
                self.b.switch_to(next);
            }
        }
    }
}
