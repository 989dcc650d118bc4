//! Automata as tables that a program walks, a byte of the string at a time.
//!
//! ```text
//!  0    class of each byte, u8 × 256
//!  256  a row per state:
//!       0    tests that hold once the state is reached, a bit each, u64
//!       8    tests that hold if the string ends here, u64
//!       16   next row by class, as its offset from the first row, u32 × classes
//! ```
//!
//! The library's `tetra_automaton` adds up the bits of all states on its way. Rows are read with their offset masked, so that the
//! verifier sees where they end; the table is padded to what the mask lets through.

use std::collections::BTreeMap;

use regex_automata::dfa::Automaton as _;
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input};

use crate::hir::TextTest;
use crate::pattern;

/// Tests that one walk can tell apart.
pub(crate) const MAX_TESTS: usize = 64;
/// Bytes of a row before its entries.
const ROW_HEAD: usize = 16;
/// Bytes of the classes.
const CLASSES: usize = 256;

/// A table, and what its bits mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Automaton {
    /// The table.
    pub(crate) table: Vec<u8>,
    /// Offsets of rows are cut with this: one less than a power of two.
    pub(crate) mask: u32,
    /// Offset of the first state's row.
    pub(crate) start: u32,
    /// The test of each bit, by its position among those that were asked for.
    pub(crate) tests: Vec<usize>,
}

/// A value with the tests that have it.
type Pattern = (String, Vec<usize>);

/// Automata that together find all tests. One is enough unless there are more than [`MAX_TESTS`], or it would be too large.
///
/// # Errors
/// If a value cannot be looked for: [`pattern::check`] tells before.
pub(crate) fn build(tests: &[&TextTest]) -> Result<Vec<Automaton>, String> {
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
        build_patterns(&patterns, &mut automata)?;
    }
    Ok(automata)
}

/// Halves the patterns until their automata are small enough.
fn build_patterns(patterns: &[Pattern], automata: &mut Vec<Automaton>) -> Result<(), String> {
    let expressions: Vec<String> = patterns.iter().map(|(expression, _)| expression.clone()).collect();
    match pattern::automaton(&expressions) {
        Ok(dfa) => {
            automata.push(table(&dfa, patterns)?);
            Ok(())
        }
        Err(reason) if patterns.len() < 2 => Err(reason),
        Err(_) => {
            let (low, high) = patterns.split_at(patterns.len() / 2);
            build_patterns(low, automata)?;
            build_patterns(high, automata)
        }
    }
}

fn table(dfa: &regex_automata::dfa::dense::DFA<Vec<u32>>, patterns: &[Pattern]) -> Result<Automaton, String> {
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
    let mut numbers = BTreeMap::from([(start, 0usize)]);
    let mut states = vec![start];
    let mut rows: Vec<u8> = Vec::new();
    let mut done = 0;
    while let Some(&state) = states.get(done) {
        done += 1;
        rows.extend(bits(state).to_le_bytes());
        rows.extend(bits(dfa.next_eoi_state(state)).to_le_bytes());
        for byte in &representatives {
            let next = dfa.next_state(state, *byte);
            let number = *numbers.entry(next).or_insert_with(|| {
                states.push(next);
                states.len() - 1
            });
            let offset = u32::try_from(number * stride).map_err(|_| "the automaton is too large".to_owned())?;
            rows.extend(offset.to_le_bytes());
        }
        rows.resize(done * stride, 0);
    }

    let mask = (rows.len().next_power_of_two() - 1) as u32;
    // representatives ascend with their classes
    let mut table: Vec<u8> = (0..=255).map(|byte| classes.get(byte)).collect();
    table.extend(rows);
    table.resize(CLASSES + mask as usize + 1 + ROW_HEAD + CLASSES * 4, 0);
    Ok(Automaton {
        table,
        mask,
        start: 0,
        tests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hir::TextComparison;

    /// What the library does.
    fn walk(automaton: &Automaton, text: &[u8]) -> Vec<usize> {
        let number = |at: usize| u64::from_le_bytes(automaton.table[at..at + 8].try_into().unwrap());
        let row = |offset: u32| CLASSES + (offset & automaton.mask) as usize;
        let (mut at, mut hits) = (automaton.start, 0);
        for byte in text {
            hits |= number(row(at));
            let entry = row(at) + ROW_HEAD + usize::from(automaton.table[usize::from(*byte)]) * 4;
            at = u32::from_le_bytes(automaton.table[entry..entry + 4].try_into().unwrap());
        }
        hits |= number(row(at)) | number(row(at) + 8);
        let bits = (0..automaton.tests.len()).filter(|bit| hits & 1 << bit != 0);
        bits.map(|bit| automaton.tests[bit]).collect()
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
        let automata = build(&tests.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(automata.len(), 1);
        for (text, expected) in [
            ("", vec![4]),
            ("/etc/shadow", vec![0, 2, 4]),
            ("/etc/gshadow-", vec![0, 2, 4]),
            ("/etc/pam.d/x", vec![4]),
            ("/usr/lib/x86_64/libc.so", vec![2, 4]),
            ("/usr/libc.so", vec![2, 4]),
            ("/tmp/a/pAsSwd.sh", vec![1, 3, 4]),
            ("/tmp/a/pAsSwd.sh ", vec![1, 4]),
            ("x/tmp/a.sh", vec![4]),
        ] {
            assert_eq!(walk(&automata[0], text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn many_tests_take_several_walks() {
        let tests: Vec<TextTest> = (0..150)
            .map(|i| test(TextComparison::SubString, &[&format!("needle-{i:03}")]))
            .collect();
        let automata = build(&tests.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(automata.len(), 3);
        let found: Vec<usize> = automata
            .iter()
            .flat_map(|a| walk(a, b"a needle-149 and a needle-063"))
            .collect();
        assert_eq!(found, [63, 149]);
    }

    #[test]
    fn what_is_too_large_together_is_split() {
        // each asks which of the last bytes were its letter
        let tests: Vec<TextTest> = ('a'..='h')
            .map(|letter| test(TextComparison::Regex, &[&format!("{letter}[a-z]{{6}}{letter}0")]))
            .collect();
        let automata = build(&tests.iter().collect::<Vec<_>>()).unwrap();
        assert!(automata.len() > 1, "{}", automata.len());
        assert!(automata.iter().all(|a| a.table.len() <= 3 * pattern::MAX_AUTOMATON));
        let found: Vec<usize> = automata
            .iter()
            .flat_map(|a| walk(a, b"..cxxxxxxc0..fxxxxxf0"))
            .collect();
        assert_eq!(found, [2]);
    }
}
