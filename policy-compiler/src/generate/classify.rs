//! Which classifications a program has, and calling them.

use std::collections::{BTreeMap, BTreeSet};

use crate::automaton;
use crate::hir::{Predicate, TextComparison, TextTest};
use crate::ir::{BlockId, CmpOp, FuncId, Size, Value};
use crate::plan::executable;

use super::classifier::{self, Classes};
use super::{GenerateError, Generator};

/// First bit of `need` that stands for a classification; those of text `t` are from `FIRST_NEED + 4 * t` on.
pub(super) const FIRST_NEED: usize = 20;

/// Comparisons that decision trees make.
const COMPARISONS: [TextComparison; 3] = [TextComparison::Equal, TextComparison::Prefix, TextComparison::Postfix];
/// Stands for the library's function until the size of all tables is known.
pub(super) const WALK: &str = "tetra_automaton";
/// Classifications of a text: these, and one by automata.
const CLASSIFICATIONS: usize = COMPARISONS.len() + 1;

fn need_bit(text: usize, comparison: TextComparison) -> usize {
    let anchored = COMPARISONS.iter().position(|known| *known == comparison);
    FIRST_NEED + CLASSIFICATIONS * text + anchored.unwrap_or(COMPARISONS.len())
}

impl Generator<'_> {
    /// Bits of `need` for the classification that answers a string test.
    pub(super) fn classification_need(&self, predicate: &Predicate) -> u64 {
        let (text, test) = match predicate {
            Predicate::Text { operand, test, .. } => (self.plan.text(operand), test),
            Predicate::Binary { test, .. } => (self.plan.text(&executable()), test),
            Predicate::Expression(condition) => {
                let tests = condition.tests().into_iter();
                return tests.fold(0, |bits, test| bits | self.classification_need(test));
            }
            _ => return 0,
        };
        text.map_or(0, |text| 1 << need_bit(text, test.comparison))
    }

    /// Classifies a text that has been read, as far as live selectors ask.
    pub(super) fn classify(&mut self, text: usize) -> Result<(), GenerateError> {
        // a test that holds makes the selectors live that hang on it
        let of_text = self.class_numbers.iter().filter(|((of, _), _)| *of == text);
        let all: Vec<(usize, TextTest)> = of_text
            .flat_map(|((_, test), number)| {
                let bits = [*number].into_iter().chain(self.live_bits_of(text, test));
                bits.map(|bit| (bit, test.clone()))
            })
            .collect();
        for comparison in COMPARISONS {
            let tests = of(&all, |test| test.comparison == comparison);
            if tests.is_empty() {
                continue;
            }
            let function = self.classifier(comparison, &tests, self.places.classes);
            let next = self.b.create_block();
            self.when_classified(text, comparison, next);
            let pointer = self.texts[text];
            self.b.call_local(function, &[pointer.into(), self.scratch.into()]);
            self.b.jump(next);
            self.b.switch_to(next);
        }
        let tests = of(&all, |test| !test.comparison.is_anchored());
        if let Some((_, test)) = tests.first() {
            let next = self.b.create_block();
            self.when_classified(text, test.comparison, next);
            self.walk_automata(self.texts[text], &tests, self.places.classes)?;
            self.b.jump(next);
            self.b.switch_to(next);
        }
        Ok(())
    }

    /// Goes on if a classification is asked for and its text is there.
    fn when_classified(&mut self, text: usize, comparison: TextComparison, other: BlockId) {
        let need = self.frame_load(self.places.need, Size::B8);
        self.require(CmpOp::Set, need, 1i64 << need_bit(text, comparison), other);
        self.when_text_read(text, other);
    }

    /// Sets the bits of the tests that automata find in a text.
    fn walk_automata(&mut self, text: Value, tests: &[(usize, TextTest)], base: i32) -> Result<(), GenerateError> {
        let mut bits: BTreeMap<&TextTest, BTreeSet<usize>> = BTreeMap::new();
        for (bit, test) in tests {
            bits.entry(test).or_default().insert(*bit);
        }
        let (tests, bits): (Vec<&TextTest>, Vec<BTreeSet<usize>>) = bits.into_iter().unzip();
        for automaton in automaton::build(&tests, &mut self.automata).map_err(GenerateError::Pattern)? {
            let arguments = [text.into(), automaton.classes.into(), automaton.start.into()];
            let found = self.call(WALK, &arguments);
            let done = self.b.create_block();
            self.require(CmpOp::Ne, found, 0, done);
            for (bit, test) in automaton.tests.iter().enumerate() {
                let next = self.b.create_block();
                self.require(CmpOp::Set, found, (1u64 << bit) as i64, next);
                classifier::set_bits(&mut self.b, self.scratch, base, &bits[*test]);
                self.b.jump(next);
                self.b.switch_to(next);
            }
            self.b.jump(done);
            self.b.switch_to(done);
        }
        Ok(())
    }

    /// Evaluates the predicates of stage 1 on the path of the executable, into the words in the frame.
    pub(super) fn classify_binary(&mut self, path: Value) -> Result<(), GenerateError> {
        let words = self.plan.binary_words.iter().enumerate();
        // a word has 64 bits, of which the upper half is the stamp
        let all: Vec<(usize, TextTest)> = words
            .flat_map(|(i, word)| {
                let tests = word.tests.iter().enumerate();
                tests.map(move |(bit, test)| (i * 64 + bit, test.clone()))
            })
            .collect();
        for comparison in COMPARISONS {
            let tests = of(&all, |test| test.comparison == comparison);
            if !tests.is_empty() {
                let function = self.classifier(comparison, &tests, self.places.binary);
                self.b.call_local(function, &[path.into(), self.scratch.into()]);
            }
        }
        let tests = of(&all, |test| !test.comparison.is_anchored());
        if !tests.is_empty() {
            self.walk_automata(path, &tests, self.places.binary)?;
        }
        Ok(())
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

/// The tests of a kind, each with the bit to set.
fn of(all: &[(usize, TextTest)], is_wanted: impl Fn(&TextTest) -> bool) -> Vec<(usize, TextTest)> {
    all.iter().filter(|(_, test)| is_wanted(test)).cloned().collect()
}
