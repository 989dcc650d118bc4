//! Which classifications a program has, and calling them.

use std::collections::BTreeMap;

use crate::hir::{Predicate, TextComparison, TextTest};
use crate::ir::{CmpOp, FuncId, Size, Value};
use crate::plan::executable;

use super::Generator;
use super::classifier::{self, Classes};

/// First bit of `need` that stands for a classification; those of text `t` are at `FIRST_NEED + 3 * t`.
pub(super) const FIRST_NEED: usize = 16;

const COMPARISONS: [TextComparison; 3] = [TextComparison::Equal, TextComparison::Prefix, TextComparison::Postfix];

fn need_bit(text: usize, comparison: TextComparison) -> usize {
    FIRST_NEED + COMPARISONS.len() * text + comparison as usize
}

impl Generator<'_> {
    /// Bits of `need` for the classification that answers a string test.
    pub(super) fn classification_need(&self, predicate: &Predicate) -> u64 {
        let (text, test) = match predicate {
            Predicate::Text { operand, test, .. } => (self.plan.text(operand), test),
            Predicate::Binary { test, .. } => (self.plan.text(&executable()), test),
            _ => return 0,
        };
        text.map_or(0, |text| 1 << need_bit(text, test.comparison))
    }

    /// Classifies a text that has been read, as far as live selectors ask.
    pub(super) fn classify(&mut self, text: usize) {
        for comparison in COMPARISONS {
            let of_comparison = self
                .class_numbers
                .iter()
                .filter(|((of, test), _)| *of == text && test.comparison == comparison);
            // a test that holds makes the selectors live that hang on it
            let tests: Vec<(usize, TextTest)> = of_comparison
                .flat_map(|((_, test), number)| {
                    let bits = [*number].into_iter().chain(self.live_bits_of(text, test));
                    bits.map(|bit| (bit, test.clone()))
                })
                .collect();
            if tests.is_empty() {
                continue;
            }
            let function = self.classifier(comparison, &tests, self.places.classes);
            let next = self.b.create_block();
            let need = self.frame_load(self.places.need, Size::B8);
            self.require(CmpOp::Set, need, 1i64 << need_bit(text, comparison), next);
            self.when_text_read(text, next);
            let pointer = self.texts[text];
            self.b.call_local(function, &[pointer.into(), self.scratch.into()]);
            self.b.jump(next);
            self.b.switch_to(next);
        }
    }

    /// Evaluates the predicates of stage 1 on the path of the executable, into the words in the frame.
    pub(super) fn classify_binary(&mut self, path: Value) {
        for comparison in COMPARISONS {
            let tests: Vec<(usize, TextTest)> = self
                .plan
                .binary_words
                .iter()
                .enumerate()
                // a word has 64 bits, of which the upper half is the stamp
                .flat_map(|(i, word)| {
                    word.tests
                        .iter()
                        .enumerate()
                        .map(move |(bit, test)| (i * 64 + bit, test.clone()))
                })
                .filter(|(_, test)| test.comparison == comparison)
                .collect();
            if !tests.is_empty() {
                let function = self.classifier(comparison, &tests, self.places.binary);
                self.b.call_local(function, &[path.into(), self.scratch.into()]);
            }
        }
    }

    fn classifier(&mut self, comparison: TextComparison, tests: &[(usize, TextTest)], base: i32) -> FuncId {
        let mut classes: Classes = BTreeMap::new();
        for (bit, test) in tests {
            for value in &test.values {
                classes.entry(value.clone()).or_default().insert(*bit);
            }
        }
        let id = self.next_function();
        let name = format!("classify_{}_{}", format!("{comparison:?}").to_lowercase(), id.0);
        self.functions
            .push(classifier::function(&name, comparison, &classes, base));
        id
    }
}
