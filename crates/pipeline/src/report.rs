//! What tests said: the results that a step leaves in files or prints.
//!
//! Nobody configures anything. Files are [JUnit XML](junit), [TAP](tap) and the lines of JSON that
//! `go test -json` and libtest write ([`json`]); what is printed is read line by line, by
//! [`Printed`], as [`libtest`], [`pytest`], TAP or JSON. Reading is pure; where files come from is
//! up to the execution.

mod json;
mod junit;
mod libtest;
mod pytest;
mod tap;

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::matcher::without_colours;

/// The largest file of results that is read.
pub const MAX_FILE: u64 = 32 * 1024 * 1024;

/// How many tests of one step are kept.
const MAX_TESTS: usize = 50_000;

/// The longest message of a test, and the longest name.
const MAX_TEXT: usize = 2000;

/// The longest printed line that is looked at.
const MAX_LINE: usize = 64 * 1024;

/// A test and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// What it is part of: a crate, a file, a class, a package.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// Why it failed, or why it was left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It was left out.
    Skipped,
    /// It failed, was tried again and passed, with nothing changed in between.
    Flaky,
}

impl Test {
    fn new(suite: &str, name: &str, outcome: Outcome) -> Self {
        Self {
            suite: short(suite),
            name: short(name),
            outcome,
            milliseconds: None,
            message: String::new(),
        }
    }

    fn because(mut self, message: &str) -> Self {
        self.message = short(message.trim());
        self
    }

    fn took(mut self, seconds: Option<f64>) -> Self {
        self.milliseconds = seconds
            .filter(|seconds| (0.0..1e9).contains(seconds))
            .map(|seconds| (seconds * 1000.0).round() as u64);
        self
    }

    /// The last part of its name, which every form of report has.
    fn last_name(&self) -> &str {
        let name = self.name.rsplit("::").next().unwrap_or(&self.name);
        name.rsplit(['/', '>']).next().unwrap_or(name).trim()
    }
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.suite.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{} › {}", self.suite, self.name)
        }
    }
}

/// Tests that were found, and how many more passed without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tests {
    /// Those with names.
    pub list: Vec<Test>,
    /// How many more passed, as a summary said.
    pub unnamed: u32,
    /// How many were not kept, as there were too many.
    pub dropped: u32,
}

impl Tests {
    fn push(&mut self, test: Test) {
        if self.list.len() < MAX_TESTS {
            self.list.push(test);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Adds others.
    pub fn add(&mut self, others: Tests) {
        others.list.into_iter().for_each(|test| self.push(test));
        self.unnamed = self.unnamed.saturating_add(others.unnamed);
        self.dropped = self.dropped.saturating_add(others.dropped);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.unnamed == 0 && self.dropped == 0
    }

    /// Joins what a step printed with what it wrote to files: a result that both have counts once,
    /// as the file has it.
    pub fn with_files(self, files: Tests) -> Tests {
        if files.is_empty() {
            return self;
        }
        let known: HashSet<(&str, Outcome)> =
            files.list.iter().map(|test| (test.last_name(), test.outcome)).collect();
        let mut printed = self.list;
        printed.retain(|test| !known.contains(&(test.last_name(), test.outcome)));
        // A summary without names says again what the file says.
        let mut all = Tests { list: printed, unnamed: 0, dropped: self.dropped };
        all.add(files);
        all
    }
}

/// Whether a file may hold results, by its name.
pub fn may_be_report(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension
        .is_some_and(|extension| ["xml", "tap", "json", "jsonl", "ndjson"].contains(&extension))
}

/// Reads a file; none if it holds no results of tests.
pub fn read_file(path: &Path, text: &str) -> Option<Tests> {
    let tests = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xml") => junit::read(text)?,
        Some("tap") => {
            let mut reader = tap::Reader::default();
            reader.begin();
            let mut tests = Tests::default();
            text.lines().for_each(|line| reader.line(line, &mut tests));
            reader.finish(&mut tests);
            tests
        }
        _ => {
            let mut reader = json::Reader::default();
            let mut tests = Tests::default();
            // What is no line of results at its beginning is something else.
            for (at, line) in text.lines().enumerate() {
                if !reader.line(line, &mut tests) && at == 0 {
                    return None;
                }
            }
            tests
        }
    };
    (!tests.is_empty()).then_some(tests)
}

/// Reads what a step prints.
#[derive(Debug, Default)]
pub struct Printed {
    tests: Tests,
    libtest: libtest::Reader,
    json: json::Reader,
    tap: tap::Reader,
    pytest: pytest::Reader,
}

impl Printed {
    /// Takes a line.
    pub fn line(&mut self, line: &str) {
        if line.len() > MAX_LINE {
            return;
        }
        let line = without_colours(line);
        let line = line.trim_end();
        if line.starts_with('{') {
            self.json.line(line, &mut self.tests);
            return;
        }
        self.libtest.line(line, &mut self.tests);
        self.tap.line(line, &mut self.tests);
        self.pytest.line(line, &mut self.tests);
    }

    /// Gives what was found.
    pub fn finish(mut self) -> Tests {
        self.libtest.finish(&mut self.tests);
        self.tap.finish(&mut self.tests);
        self.pytest.finish(&mut self.tests);
        self.tests
    }
}

/// Cuts a text to what is kept of it.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each test on a line, as `ok suite › name (7 ms): message`.
    pub(super) fn told(tests: &Tests) -> Vec<String> {
        let mut told: Vec<String> = tests
            .list
            .iter()
            .map(|test| {
                let outcome = match test.outcome {
                    Outcome::Passed => "ok",
                    Outcome::Failed => "FAILED",
                    Outcome::Skipped => "skipped",
                    Outcome::Flaky => "flaky",
                };
                let mut line = format!("{outcome} {test}");
                if let Some(time) = test.milliseconds {
                    line.push_str(&format!(" ({time} ms)"));
                }
                if !test.message.is_empty() {
                    line.push_str(&format!(
                        ": {}",
                        test.message.lines().next().unwrap_or_default()
                    ));
                }
                line
            })
            .collect();
        if tests.unnamed > 0 {
            told.push(format!("and {} more", tests.unnamed));
        }
        told
    }

    pub(super) fn printed(text: &str) -> Vec<String> {
        let mut printed = Printed::default();
        text.lines().for_each(|line| printed.line(line));
        told(&printed.finish())
    }

    #[test]
    fn a_result_that_is_printed_and_written_counts_once() {
        let mut printed = Printed::default();
        for line in [
            "==== test session starts ====",
            "tests/test_a.py::test_x PASSED [ 50%]",
            "tests/test_a.py::test_y FAILED [100%]",
            "==== 1 failed, 1 passed in 0.01s ====",
            "running 1 test",
            "test other ... ok",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            printed.line(line);
        }
        let xml = "<testsuite><testcase classname='tests.test_a' name='test_x'/>\
                   <testcase classname='tests.test_a' name='test_y'><failure message='no'/></testcase></testsuite>";
        let files = read_file(Path::new("r.xml"), xml).expect("is a report");
        assert_eq!(
            told(&printed.finish().with_files(files)),
            ["ok other", "ok tests.test_a › test_x", "FAILED tests.test_a › test_y: no"]
        );
    }

    #[test]
    fn files_that_hold_no_results_are_none() {
        for (name, text) in [
            ("pom.xml", "<project><name>x</name></project>"),
            ("a.json", "{\"name\": \"x\"}"),
            ("b.json", "[1]"),
            (
                "c.jsonl",
                "{\"type\":\"other\"}\n{\"type\":\"test\",\"event\":\"ok\",\"name\":\"x\"}",
            ),
            ("d.xml", ""),
        ] {
            assert_eq!(read_file(Path::new(name), text), None, "{name}");
        }
    }

    #[test]
    fn more_tests_than_are_kept_are_counted() {
        let mut tests = Tests::default();
        for at in 0..MAX_TESTS + 3 {
            tests.push(Test::new("", &at.to_string(), Outcome::Passed));
        }
        assert_eq!((tests.list.len(), tests.dropped), (MAX_TESTS, 3));
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            lines in proptest::collection::vec(
                "( |test |ok|not ok|1\\.\\.2|TAP version 13|running 1 test|FAILED|\\.\\.\\. |PASSED|::|---|====|\\{|\"Action\"|\\PC){0,12}", 0..12),
        ) {
            let text = lines.join("\n");
            printed(&text);
            for name in ["a.xml", "a.tap", "a.json"] {
                let _ = read_file(Path::new(name), &text);
            }
        }
    }
}
