//! Counts which cases of a public suite pass.
//!
//! Each crate keeps its suites in `tests/conformance.rs`; `bench/conformance` runs them all and
//! shows what they print. The data is read in place and never copied.
//!
//! # Glossary
//!
//! - *suite*: cases of one kind from one public project.
//! - *bar*: the share of a suite that must pass.
//! - *excluded*: a case that is not counted, with the reason why it does not apply.

use std::path::{Path, PathBuf};

/// The cases of one suite as they come in.
///
/// ```
/// let mut suite = scoreboard::Suite::new("sums");
/// suite.case("one and one", (1 + 1 == 2).then_some(()).ok_or("it is not 2"));
/// assert_eq!(suite.to_string(), "sums 1/1\n");
/// suite.must_pass(100.0);
/// ```
#[derive(Debug)]
pub struct Suite {
    name: &'static str,
    passed: usize,
    failed: Vec<(String, String)>,
    excluded: Vec<(String, String)>,
}

impl Suite {
    /// A suite without cases.
    pub fn new(name: &'static str) -> Self {
        Self { name, passed: 0, failed: Vec::new(), excluded: Vec::new() }
    }

    /// Counts a case; an error says what was wrong.
    pub fn case(&mut self, case: impl Into<String>, outcome: Result<(), impl Into<String>>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.failed.push((case.into(), why.into())),
        }
    }

    /// Leaves a case out that does not apply, and says why.
    pub fn exclude(&mut self, case: impl Into<String>, why: impl Into<String>) {
        self.excluded.push((case.into(), why.into()));
    }

    /// How many passed so far.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// How many were counted so far.
    pub fn total(&self) -> usize {
        self.passed + self.failed.len()
    }

    /// Prints the suite.
    ///
    /// # Panics
    ///
    /// When fewer than `bar` percent of the cases passed, or when there were none.
    #[track_caller]
    pub fn must_pass(self, bar: f64) {
        print!("{self}");
        let (passed, total) = (self.passed(), self.total());
        assert!(total > 0, "{}: no case was found", self.name);
        let is_met = passed as f64 * 100.0 >= bar * total as f64;
        assert!(is_met, "{} is below its bar: {passed} of {total} passed, {bar} % must", self.name);
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}/{}", self.name, self.passed(), self.total())?;
        for (kind, cases) in [("failed", &self.failed), ("excluded", &self.excluded)] {
            for (case, why) in cases {
                writeln!(f, "  {kind} {case}: {}", why.replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}

/// The folder of a part of the public test data, by `MARLINE_CONFORMANCE` or beside the workspace.
///
/// Where it is missing, says which test is skipped and gives `None`.
pub fn data(test: &str, part: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let root = std::env::var_os("MARLINE_CONFORMANCE").map_or_else(beside, PathBuf::from);
    let folder = root.join(part);
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped {test}: no test data at {}", folder.display());
    None
}

/// All files below a folder with one of these extensions, in order of their paths.
pub fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| extensions.iter().any(|e| end == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_lists_what_failed_and_what_was_left_out() {
        let mut suite = Suite::new("answers");
        suite.case("a", Ok::<(), String>(()));
        suite.case("b", Err("got 1\nnot 2"));
        suite.exclude("c", "needs a network");
        assert_eq!(
            suite.to_string(),
            "answers 1/2\n  failed b: got 1\n    not 2\n  excluded c: needs a network\n"
        );
    }

    #[test]
    #[should_panic(expected = "answers is below its bar: 1 of 2 passed, 51 % must")]
    fn a_suite_below_its_bar_fails_its_test() {
        let mut suite = Suite::new("answers");
        suite.case("a", Ok::<(), String>(()));
        suite.case("b", Err("no"));
        suite.must_pass(51.0);
    }

    #[test]
    #[should_panic(expected = "no case was found")]
    fn a_suite_without_cases_is_no_success() {
        Suite::new("nothing").must_pass(0.0);
    }
}
