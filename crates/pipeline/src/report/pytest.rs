//! What pytest prints, with `-v` or without.
//!
//! Without it only what did not pass has a name; how many passed is in the last line.

use super::{Outcome, Test, Tests};

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where the tests of this session begin; none outside one.
    began: Option<usize>,
    /// Tests that failed and are tried again.
    again: Vec<String>,
    /// Whether the short summary is being read, also of a quiet session.
    is_summary: bool,
}

impl Reader {
    pub fn line(&mut self, line: &str, tests: &mut Tests) {
        let title = line.trim_matches('=').trim();
        let is_ruled = line.starts_with("==") && line.ends_with("==");
        if is_ruled && title == "test session starts" {
            self.begin(tests);
        } else if is_ruled && title == "short test summary info" {
            self.began.get_or_insert(tests.list.len());
            self.is_summary = true;
        } else if let Some(passed) = summary(title) {
            if self.began.is_some() || is_ruled {
                self.end(passed, tests);
            }
        } else if self.is_summary {
            self.summed_up(line, tests);
        } else if self.began.is_some() {
            self.result(line, tests);
        }
    }

    pub fn finish(&mut self, _: &mut Tests) {
        self.began = None;
    }

    fn begin(&mut self, tests: &Tests) {
        *self = Self { began: Some(tests.list.len()), ..Self::default() };
    }

    /// `tests/test_a.py::test_x PASSED [ 50%]`, or of xdist `[gw0] [ 50%] PASSED tests/…`.
    fn result(&mut self, line: &str, tests: &mut Tests) {
        let (id, word) = match line.strip_prefix("[gw") {
            Some(rest) => {
                let rest = rest.split_once("] ").map_or("", |(_, rest)| rest);
                let rest = match rest.strip_prefix('[') {
                    Some(rest) => rest.split_once("] ").map_or("", |(_, rest)| rest),
                    None => rest,
                };
                let Some((word, id)) = rest.split_once(' ') else { return };
                (id.trim(), word)
            }
            None => {
                let line = match line.rsplit_once('[') {
                    Some((before, percent)) if percent.ends_with("%]") => before.trim_end(),
                    _ => line,
                };
                let line = match line.rsplit_once(" (") {
                    Some((before, reason)) if reason.ends_with(')') && ends_in_word(before) => {
                        before
                    }
                    _ => line,
                };
                let Some((id, word)) = line.rsplit_once(' ') else { return };
                (id, word)
            }
        };
        if !id.contains("::") {
            return;
        }
        if word == "RERUN" {
            self.again.push(id.to_owned());
            return;
        }
        let Some(mut outcome) = outcome(word) else { return };
        if outcome == Outcome::Passed && self.again.iter().any(|known| known == id) {
            outcome = Outcome::Flaky;
        }
        tests.push(test(id, outcome));
    }

    /// `FAILED tests/test_a.py::test_y - assert 1 == 2`.
    fn summed_up(&mut self, line: &str, tests: &mut Tests) {
        let Some((word, rest)) = line.split_once(' ') else { return };
        if !matches!(word, "FAILED" | "ERROR") {
            return;
        }
        let (id, why) = rest.split_once(" - ").unwrap_or((rest, ""));
        let failed = test(id, Outcome::Failed).because(why);
        let of_session = tests.list.get_mut(self.began.unwrap_or(0)..).unwrap_or_default();
        let is_it = |known: &&mut Test| known.suite == failed.suite && known.name == failed.name;
        match of_session.iter_mut().find(is_it) {
            Some(known) => known.message = failed.message,
            None => tests.push(failed),
        }
    }

    fn end(&mut self, passed: u32, tests: &mut Tests) {
        let of_session =
            tests.list.get(self.began.unwrap_or(tests.list.len())..).unwrap_or_default();
        let is_good = |test: &&Test| matches!(test.outcome, Outcome::Passed | Outcome::Flaky);
        let named = of_session.iter().filter(is_good).count() as u32;
        tests.unnamed = tests.unnamed.saturating_add(passed.saturating_sub(named));
        *self = Self::default();
    }
}

fn outcome(word: &str) -> Option<Outcome> {
    match word {
        "PASSED" | "XPASS" => Some(Outcome::Passed),
        "FAILED" | "ERROR" => Some(Outcome::Failed),
        "SKIPPED" | "XFAIL" => Some(Outcome::Skipped),
        _ => None,
    }
}

fn ends_in_word(text: &str) -> bool {
    text.rsplit(' ').next().is_some_and(|word| outcome(word).is_some())
}

fn test(id: &str, outcome: Outcome) -> Test {
    let (file, name) = id.split_once("::").unwrap_or(("", id));
    Test::new(file, name, outcome)
}

/// How many passed, of a last line like `1 failed, 3 passed, 1 warning in 0.12s (0:00:01)`.
fn summary(title: &str) -> Option<u32> {
    let (counts, time) = title.rsplit_once(" in ")?;
    let (seconds, _) = time.split_once('s')?;
    seconds.parse::<f64>().ok()?;
    let mut passed = 0;
    for count in counts.split(", ") {
        let (number, word) = count.split_once(' ')?;
        let number: u32 = number.parse().ok()?;
        const WORDS: &[&str] = &[
            "passed",
            "failed",
            "skipped",
            "error",
            "errors",
            "warning",
            "warnings",
            "deselected",
            "xfailed",
            "xpassed",
            "rerun",
            "subtests passed",
        ];
        if !WORDS.contains(&word) {
            return None;
        }
        if word == "passed" {
            passed = number;
        }
    }
    Some(passed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;

    #[test]
    fn with_names_and_without() {
        let text =
            "============================= test session starts ==============================
platform linux -- Python 3.12.3, pytest-8.3.4
collected 4 items

tests/test_a.py::test_x PASSED                                           [ 25%]
tests/test_a.py::TestC::test_y[a b] FAILED                               [ 50%]
tests/test_a.py::test_net SKIPPED (no network)                           [ 75%]
tests/test_a.py::test_slow RERUN                                         [ 75%]
tests/test_a.py::test_slow PASSED                                        [100%]

=================================== FAILURES ===================================
=========================== short test summary info ============================
FAILED tests/test_a.py::TestC::test_y[a b] - assert 1 == 2
==================== 1 failed, 2 passed, 1 skipped, 1 rerun in 0.12s ===================
";
        assert_eq!(
            printed(text),
            [
                "ok tests/test_a.py › test_x",
                "FAILED tests/test_a.py › TestC::test_y[a b]: assert 1 == 2",
                "skipped tests/test_a.py › test_net",
                "flaky tests/test_a.py › test_slow",
            ]
        );
        let quiet =
            "..F.                                                                     [100%]
=========================== short test summary info ============================
FAILED tests/test_a.py::test_y - assert 1 == 2
1 failed, 3 passed in 0.02s
";
        assert_eq!(
            printed(quiet),
            ["FAILED tests/test_a.py › test_y: assert 1 == 2", "and 3 more"]
        );
        assert_eq!(printed("[gw0] [ 50%] PASSED tests/a.py::test_x"), [""; 0]);
        assert_eq!(
            printed("== test session starts ==\n[gw0] [ 50%] PASSED tests/a.py::test_x"),
            ["ok tests/a.py › test_x"]
        );
    }
}
