//! Counts of tests, and how they are read from what test runners print.

use std::fmt;

/// How many tests came to which end.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// `test: reason` of skipped tests that said so.
    pub(super) skip_reasons: Vec<String>,
}

impl Tally {
    /// One failure.
    pub(super) fn failure() -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    /// One success.
    pub(super) fn success() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// Adds the counts of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Takes tests that returned early out of the passed ones: a test runner knows no "skipped at run time". `list` has
    /// a line for each.
    pub(super) fn take_skips(&mut self, list: &str) {
        let reasons: Vec<String> = list
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        let count = reasons.len() as u64;
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
        self.skip_reasons.extend(reasons);
    }

    /// Reads nextest's summary line:
    /// `Summary [  1.2s] 8 tests run: 6 passed (1 slow), 1 failed, 1 timed out, 2 skipped`.
    pub(super) fn from_nextest(output: &str) -> Option<Self> {
        let line = output
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with("Summary ["))?;
        let counts = line.split("run:").nth(1)?;
        let mut tally = Self::default();
        for count in counts.split(',') {
            let mut words = count.split_whitespace();
            let number: u64 = words.next()?.parse().ok()?;
            match words.next()? {
                "passed" => tally.passed += number,
                "skipped" => tally.skipped += number,
                // failed, timed out, exec failed
                _ => tally.failed += number,
            }
        }
        Some(tally)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        ))
    }
}

/// Reads what test programs print, line by line as it comes: `running N tests`, `test NAME ... ok`, `test result: …`.
#[derive(Default)]
pub(super) struct Libtest {
    tally: Tally,
    /// Tests announced and not yet summed up.
    outstanding: u64,
}

impl Libtest {
    /// Takes one line.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("running ")
            && let Some(count) = rest.split(' ').next().and_then(|count| count.parse::<u64>().ok())
            && rest.contains(" test")
        {
            self.outstanding += count;
        } else if let Some(rest) = line.strip_prefix("test result: ") {
            let counts: Vec<u64> = rest
                .split([' ', '.', ';'])
                .filter_map(|word| word.parse().ok())
                .collect();
            if let [passed, failed, ignored, ..] = counts[..] {
                self.tally.passed += passed;
                self.tally.failed += failed;
                self.tally.skipped += ignored;
                self.outstanding = self.outstanding.saturating_sub(passed + failed + ignored);
            }
        }
    }

    /// All counts. Tests that were announced and never came to an end have failed.
    pub(super) fn finish(mut self) -> Tally {
        self.tally.failed += self.outstanding;
        self.tally
    }

    /// [`Self::line`] for every line of `text`, then [`Self::finish`].
    pub(super) fn read(text: &str) -> Tally {
        let mut reader = Self::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_summaries_are_read() {
        let tally = |line: &str| Tally::from_nextest(line).map(|tally| (tally.passed, tally.failed, tally.skipped));
        assert_eq!(
            tally("     Summary [   0.012s] 8 tests run: 8 passed, 0 skipped"),
            Some((8, 0, 0))
        );
        assert_eq!(
            tally(
                "x\n Summary [ 61.1s] 9 tests run: 5 passed (1 slow), 2 failed, 1 timed out, 1 exec failed, 3 skipped\nFAIL x"
            ),
            Some((5, 4, 3))
        );
        assert_eq!(tally("error: no such crate"), None);
    }

    #[test]
    fn test_programs_are_read() {
        let text = "\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\n\n\
                    test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                    running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        let tally = Libtest::read(text);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (2, 1, 1));
    }

    #[test]
    fn tests_without_an_end_have_failed() {
        let tally = Libtest::read("running 4 tests\ntest a ... ok\ntest b ... ");
        assert_eq!((tally.passed, tally.failed), (0, 4));
    }

    #[test]
    fn skips_are_taken_out_of_the_passed() {
        let mut tally = Tally {
            passed: 5,
            ..Tally::default()
        };
        tally.take_skips("a: no kprobes\nb: no lab\n");
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 2 skipped");
    }
}
