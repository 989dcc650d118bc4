//! Automata as tables that a program walks, a byte of the string at a time.
//!
//! ```text
//!  0    class of each byte, u8 × 256
//!  256  a row per state:
//!       0    tests that hold once the state is reached, a bit each, u64
//!       8    tests that hold if the string ends here, u64
//!       16   offset of the next row by class, u32 × classes
//! ```
//!
//! The tables of all automata of a program stand one after the other in its section [`SECTION`], from whose start offsets count. The
//! library's `automaton_*` adds up the bits of all states on its way. It cuts offsets with a mask, so that the verifier sees that
//! they lie inside; behind the last table is what the mask lets through.

use std::collections::BTreeMap;

use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input};

use crate::hir::TextTest;
use crate::pattern;

/// Tests that one walk can tell apart.
pub(crate) const MAX_TESTS: usize = 64;
/// Bytes of a row before its entries.
const ROW_HEAD: usize = 16;
/// Classes of bytes, and bytes of them.
const CLASSES: usize = 256;

/// Section of the tables (`ebpf/c/runtime/automaton.h`).
pub(crate) const SECTION: &str = ".rodata.automata";
/// Sizes of all tables for which the library has a function, with its name.
const SIZES: [(usize, &str); 7] = [
    (1 << 12, "tetra_automaton_4096"),
    (1 << 14, "tetra_automaton_16384"),
    (1 << 16, "tetra_automaton_65536"),
    (1 << 18, "tetra_automaton_262144"),
    (1 << 20, "tetra_automaton_1048576"),
    (1 << 22, "tetra_automaton_4194304"),
    (1 << 24, "tetra_automaton_16777216"),
];

/// The tables of a program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tables(Vec<u8>);

/// An automaton in the tables of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Automaton {
    /// Offset of its classes.
    pub(crate) classes: u32,
    /// Offset of the first state's row.
    pub(crate) start: u32,
    /// The test of each bit, by its position among those that were asked for.
    pub(crate) tests: Vec<usize>,
}

impl Tables {
    /// The section's contents and the function that walks them; `None` if there are none.
    ///
    /// # Errors
    /// If they are larger than what any function can walk.
    pub(crate) fn finish(mut self) -> Result<Option<(Vec<u8>, &'static str)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let length = self.0.len();
        let fits = SIZES.iter().find(|(size, _)| *size >= length);
        let Some((size, function)) = fits else {
            return Err(format!("their tables take {length} bytes, 16 MiB are possible"));
        };
        // an offset below the mask, a row's head and 256 classes
        self.0.resize(size + ROW_HEAD + CLASSES * 4, 0);
        Ok(Some((self.0, function)))
    }
}

/// A value with the tests that have it.
type Pattern = (String, Vec<usize>);

/// Automata that together find all tests. One is enough unless there are more than [`MAX_TESTS`], or it would be too large.
///
/// # Errors
/// If a value cannot be looked for: [`pattern::check`] tells before.
pub(crate) fn build(tests: &[&TextTest], tables: &mut Tables) -> Result<Vec<Automaton>, String> {
    let mut automata = Vec::new();
    for (chunk, tests) in tests.chunks(MAX_TESTS).enumerate() {
        let mut patterns: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (bit, test) in tests.iter().enumerate() {
            for value in &test.values {
                let expression = pattern::expression(test.comparison, value)?;
                patterns.entry(expression).or_default().push(chunk * MAX_TESTS + bit);
            }
        }
        let patterns: Vec<Pattern> = patterns.into_iter().collect();
        build_patterns(&patterns, tables, &mut automata)?;
    }
    Ok(automata)
}

/// Halves the patterns until their automata are small enough.
fn build_patterns(patterns: &[Pattern], tables: &mut Tables, automata: &mut Vec<Automaton>) -> Result<(), String> {
    let expressions: Vec<String> = patterns.iter().map(|(expression, _)| expression.clone()).collect();
    match pattern::automaton(&expressions) {
        Ok(dfa) => {
            automata.push(add(&dfa, patterns, tables)?);
            Ok(())
        }
        Err(reason) if patterns.len() < 2 => Err(reason),
        Err(_) => {
            let (low, high) = patterns.split_at(patterns.len() / 2);
            build_patterns(low, tables, automata)?;
            build_patterns(high, tables, automata)
        }
    }
}

fn add(dfa: &dense::DFA<Vec<u32>>, patterns: &[Pattern], tables: &mut Tables) -> Result<Automaton, String> {
    let mut tests: Vec<usize> = patterns.iter().flat_map(|(_, tests)| tests).copied().collect();
    tests.sort_unstable();
    tests.dedup();
    let bits = |state: StateID| {
        let found = if dfa.is_match_state(state) {
            dfa.match_len(state)
        } else {
            0
        };
        (0..found)
            .flat_map(|i| &patterns[dfa.match_pattern(state, i).as_usize()].1)
            .filter_map(|test| tests.binary_search(test).ok())
            .fold(0u64, |bits, bit| bits | 1 << bit)
    };
    let classes = dfa.byte_classes();
    let representatives: Vec<u8> = classes
        .representatives(0..=255)
        .filter_map(regex_automata::util::alphabet::Unit::as_u8)
        .collect();
    let stride = (ROW_HEAD + representatives.len() * 4).next_multiple_of(8);

    let start = dfa
        .start_state_forward(&Input::new(b"").anchored(Anchored::No))
        .map_err(|error| error.to_string())?;
    let first = tables.0.len().next_multiple_of(8);
    let offset = |number: usize| {
        let offset = first + CLASSES + number * stride;
        u32::try_from(offset).map_err(|_| "the automata are too large together".to_owned())
    };
    let mut numbers = BTreeMap::from([(start, 0usize)]);
    let mut states = vec![start];
    tables.0.resize(first, 0);
    tables.0.extend((0..=255).map(|byte| classes.get(byte)));
    let mut done = 0;
    while let Some(&state) = states.get(done) {
        let row = tables.0.len();
        tables.0.extend(bits(state).to_le_bytes());
        tables.0.extend(bits(dfa.next_eoi_state(state)).to_le_bytes());
        // representatives ascend with their classes
        for byte in &representatives {
            let next = dfa.next_state(state, *byte);
            let number = *numbers.entry(next).or_insert_with(|| {
                states.push(next);
                states.len() - 1
            });
            tables.0.extend(offset(number)?.to_le_bytes());
        }
        tables.0.resize(row + stride, 0);
        done += 1;
    }
    Ok(Automaton {
        classes: first as u32,
        start: offset(0)?,
        tests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hir::TextComparison;

    /// What the library does.
    fn walk(tables: &[u8], automaton: &Automaton, text: &[u8]) -> Vec<usize> {
        let number = |at: usize| u64::from_le_bytes(tables[at..at + 8].try_into().unwrap());
        let (mut at, mut hits) = (automaton.start as usize, 0);
        for byte in text {
            hits |= number(at);
            let class = usize::from(tables[automaton.classes as usize + usize::from(*byte)]);
            let entry = at + ROW_HEAD + class * 4;
            at = u32::from_le_bytes(tables[entry..entry + 4].try_into().unwrap()) as usize;
        }
        hits |= number(at) | number(at + 8);
        let bits = (0..automaton.tests.len()).filter(|bit| hits & 1 << bit != 0);
        bits.map(|bit| automaton.tests[bit]).collect()
    }

    /// The tests that hold for each text.
    fn found(tests: &[TextTest], texts: &[&str]) -> (usize, Vec<Vec<usize>>) {
        let mut tables = Tables::default();
        let automata = build(&tests.iter().collect::<Vec<_>>(), &mut tables).unwrap();
        let (bytes, _) = tables.finish().unwrap().unwrap();
        let of_text = |text: &&str| automata.iter().flat_map(|a| walk(&bytes, a, text.as_bytes())).collect();
        (automata.len(), texts.iter().map(of_text).collect())
    }

    fn test(comparison: TextComparison, values: &[&str]) -> TextTest {
        TextTest {
            comparison,
            values: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        }
    }

    #[test]
    fn all_tests_are_found_in_one_walk() {
        use TextComparison::{Glob, Regex, SubString, SubStringIgnCase};
        let tests = [
            test(SubString, &["shadow", "gshad"]),
            test(SubStringIgnCase, &["PASS"]),
            test(Glob, &["/etc/*", "/usr/**/*.so"]),
            test(Regex, &["^/(tmp|var/tmp)/.*\\.sh$"]),
            test(SubString, &[""]),
        ];
        let expected = [
            ("", vec![4]),
            ("/etc/shadow", vec![0, 2, 4]),
            ("/etc/gshadow-", vec![0, 2, 4]),
            ("/etc/pam.d/x", vec![4]),
            ("/usr/lib/x86_64/libc.so", vec![2, 4]),
            ("/usr/libc.so", vec![2, 4]),
            ("/tmp/a/pAsSwd.sh", vec![1, 3, 4]),
            ("/tmp/a/pAsSwd.sh ", vec![1, 4]),
            ("x/tmp/a.sh", vec![4]),
        ];
        let (texts, expected): (Vec<&str>, Vec<Vec<usize>>) = expected.into_iter().unzip();
        assert_eq!(found(&tests, &texts), (1, expected));
    }

    #[test]
    fn many_tests_take_several_walks() {
        let tests: Vec<TextTest> = (0..150)
            .map(|i| test(TextComparison::SubString, &[&format!("needle-{i:03}")]))
            .collect();
        assert_eq!(
            found(&tests, &["a needle-149 and a needle-063"]),
            (3, vec![vec![63, 149]])
        );
    }

    #[test]
    fn what_is_too_large_together_is_split() {
        // each asks which of the last bytes were its letter
        let tests: Vec<TextTest> = ('a'..='h')
            .map(|letter| test(TextComparison::Regex, &[&format!("{letter}[a-z]{{6}}{letter}0")]))
            .collect();
        let (automata, found) = found(&tests, &["..cxxxxxxc0..fxxxxxf0"]);
        assert!(automata > 1, "{automata}");
        assert_eq!(found, [[2]]);
    }
}
