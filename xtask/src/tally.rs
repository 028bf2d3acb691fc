//! Counts tests from what the runners print, and finds the tests that skipped themselves.
//!
//! The convention: a test that cannot run here prints `SKIP <test>: <reason>` as a line of its own on
//! stderr and returns. Both runners are told to show the output of tests that pass; [`Tally::read`]
//! takes the counts and the skips from it and says which lines are worth showing to a person.
//! A log file named by the environment was the other road: it needs the same helper in every crate and
//! loses the skips of a test that runs its work in a cleaned environment.
//!
//! | line | from |
//! |---|---|
//! | `test result: ok. 3 passed; 1 failed; 0 ignored; …` | cargo test, once per binary |
//! | `Summary [ 0.2s] 4 tests run: 3 passed, 1 failed, …` | cargo nextest, once |

use std::collections::BTreeMap;

/// What the runs so far have shown.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Test name → reason.
    skips: BTreeMap<String, String>,
    hidden: Hidden,
}

/// Which output of passing tests is being read, and so is not shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    #[default]
    No,
    /// From libtest's `successes:` to its failures or its result.
    Successes,
    /// From nextest's `Starting` to its `Summary`: only lines about a test's status are shown. The
    /// output of failed tests comes after the summary.
    Running,
}

impl Tally {
    /// Reads one line of a runner's output, without its newline; true when it is worth showing.
    pub(crate) fn read(&mut self, coloured: &str) -> bool {
        let plain = without_colour(coloured);
        let line = plain.trim();
        if let Some((test, reason)) = skip(line) {
            self.skips.entry(test.to_owned()).or_insert_with(|| reason.to_owned());
            // Shown once, at the end.
            return false;
        }
        self.hidden = match self.hidden {
            Hidden::No if plain == "successes:" => Hidden::Successes,
            Hidden::No if line.starts_with("Starting ") && line.contains(" across ") => Hidden::Running,
            Hidden::Successes if plain == "failures:" || plain.starts_with("test result: ") => Hidden::No,
            Hidden::Running if line.starts_with("Summary [") => Hidden::No,
            unchanged => unchanged,
        };
        match self.hidden {
            Hidden::No => {}
            Hidden::Successes => return false,
            Hidden::Running => return line.starts_with("Starting ") || is_status(line),
        }
        if let Some(counts) = plain.strip_prefix("test result: ") {
            self.passed += number_before(counts, " passed");
            self.failed += number_before(counts, " failed");
            self.ignored += number_before(counts, " ignored");
        } else if line.starts_with("Summary [") {
            let run = number_before(line, " tests run").max(number_before(line, " test run"));
            let passed = number_before(line, " passed");
            self.passed += passed;
            self.failed += run.saturating_sub(passed);
        }
        true
    }

    /// Tests that failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// The skips, in the form in which they were printed.
    pub(crate) fn skips(&self) -> impl Iterator<Item = String> + '_ {
        self.skips.iter().map(|(test, reason)| format!("SKIP {test}: {reason}"))
    }

    /// The last line of a run: a skipped test is not a passed one, and each of `broken_steps` (lints,
    /// a build that failed) counts as a failure.
    pub(crate) fn summary(&self, broken_steps: u64) -> String {
        let skips = u64::try_from(self.skips.len()).unwrap_or(u64::MAX);
        let passed = self.passed.saturating_sub(skips);
        let failed = self.failed + broken_steps;
        format!("{passed} passed, {failed} failed, {} skipped", skips + self.ignored)
    }
}

/// `SKIP test: reason` → both parts.
fn skip(line: &str) -> Option<(&str, &str)> {
    let (test, reason) = line.strip_prefix("SKIP ")?.split_once(": ")?;
    // nextest's own status line looks like `SKIP [ 0.1s] …`.
    (!test.is_empty() && !test.starts_with('[')).then_some((test.trim(), reason.trim()))
}

/// Whether nextest wrote this line about a test: a word in capitals, then `[ 0.1s]`.
fn is_status(line: &str) -> bool {
    line.split_once(" [").is_some_and(|(word, _)| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ')
    })
}

/// The number that stands directly before `word`, 0 when there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else {
        return 0;
    };
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before.get(start..).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The line without colour sequences (`ESC [ … m`).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = sequence.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> (Tally, Vec<&str>) {
        let mut tally = Tally::default();
        let shown = output.lines().filter(|line| tally.read(line)).collect();
        (tally, shown)
    }

    const LIBTEST: &str = "\
running 3 tests
test good ... ok
test away ... ok
test bad ... FAILED

successes:

---- good stdout ----
test result: a line that a test printed
---- away stdout ----
SKIP away: no docker here
SKIP away: no podman here

successes:
    good
    away

failures:

---- bad stdout ----
assertion failed

test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.3s
";

    #[test]
    fn libtest_counts_and_hides_what_passing_tests_print() {
        // The printed line that looks like a result ends the hidden part early, and counts nothing.
        let (tally, shown) = read(LIBTEST);
        assert_eq!(tally.summary(0), "1 passed, 1 failed, 5 skipped");
        assert_eq!(tally.skips().collect::<Vec<_>>(), ["SKIP away: no docker here"]);
        assert!(shown.contains(&"test bad ... FAILED"));
        assert!(shown.contains(&"assertion failed"));
        assert!(!shown.iter().any(|line| line.starts_with("SKIP")));
        assert!(!shown.contains(&"---- good stdout ----"));
    }

    const NEXTEST: &str = "\
    Starting 3 tests across 1 binary
  stdout \u{2500}\u{2500}

    running 1 test
    test away ... ok

    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s

  stderr \u{2500}\u{2500}
    SKIP away: no docker here

\u{1b}[31m        FAIL\u{1b}[0m [   0.135s] (2/2) nx bad
     Summary [   0.136s] 3 tests run: 2 passed, 1 failed, 0 skipped
  stdout \u{2500}\u{2500}
    assertion failed
";

    #[test]
    fn nextest_counts_and_hides_what_passing_tests_print() {
        let (tally, shown) = read(NEXTEST);
        assert_eq!(tally.failed(), 1);
        assert_eq!(tally.summary(0), "1 passed, 1 failed, 1 skipped");
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert!(shown.contains(&"    assertion failed"));
    }

    #[test]
    fn several_binaries_and_a_broken_step_add_up() {
        let (tally, _) = read(
            "test result: ok. 30 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
             test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.summary(1), "42 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn only_a_whole_skip_line_is_a_skip() {
        for line in ["SKIP", "SKIP x", "  SKIPPED x: y", "SKIP [   0.1s] nx bad: x", "a SKIP x: y"] {
            assert_eq!(skip(line.trim()), None, "{line}");
        }
        assert_eq!(skip("SKIP live::ps: no BTF: x"), Some(("live::ps", "no BTF: x")));
    }
}
