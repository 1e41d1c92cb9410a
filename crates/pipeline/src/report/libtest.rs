//! What `cargo test` prints.
//!
//! ```text
//!      Running unittests src/lib.rs (target/debug/deps/shop-0123456789abcdef)
//! running 2 tests
//! test cart::adds_up ... ok
//! test cart::is_empty ... FAILED
//! ```

use super::{Outcome, Test, Tests};

/// How many lines of a failed test are kept.
const MOST_LINES: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Reader {
    suite: String,
    /// Where the tests of this binary begin; none between binaries.
    began: Option<usize>,
    /// A test whose outcome comes after what it prints.
    pending: Option<String>,
    /// The failed test whose output is shown, and what was shown of it.
    shown: Option<(String, Vec<String>)>,
}

impl Reader {
    pub fn line(&mut self, line: &str, tests: &mut Tests) {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix("Running ") {
            if let Some(suite) = binary(rest) {
                suite.clone_into(&mut self.suite);
            }
        } else if let Some(name) = trimmed.strip_prefix("Doc-tests ") {
            self.suite = format!("{} (documentation)", name.trim());
        } else if is_running(line) {
            self.finish(tests);
            self.began = Some(tests.list.len());
        }
        if self.began.is_none() {
            return;
        }
        if line.starts_with("test result: ") {
            self.finish(tests);
        } else if let Some(rest) = line.strip_prefix("test ") {
            self.end_shown(tests);
            self.result(rest, tests);
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.end_shown(tests);
            self.shown = Some((name.to_owned(), Vec::new()));
        } else if line == "failures:" || line == "successes:" {
            self.end_shown(tests);
        } else if let Some((_, lines)) = &mut self.shown {
            let is_noise = line.is_empty()
                || line.starts_with("note: ")
                || line.starts_with("stack backtrace");
            if lines.len() < MOST_LINES && !is_noise {
                lines.push(line.to_owned());
            }
        } else if let Some(name) = &self.pending
            && let Some(outcome) = outcome(line)
        {
            tests.push(Test::new(&self.suite, name, outcome));
            self.pending = None;
        }
    }

    pub fn finish(&mut self, tests: &mut Tests) {
        self.end_shown(tests);
        self.pending = None;
        self.began = None;
    }

    fn result(&mut self, rest: &str, tests: &mut Tests) {
        let Some((name, said)) = rest.split_once(" ... ") else { return };
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        match outcome(said) {
            Some(outcome) => {
                let time = said.split_once('<').and_then(|(_, time)| time.strip_suffix("s>"));
                let reason = said.strip_prefix("ignored, ").unwrap_or_default();
                let time = time.and_then(|time| time.parse().ok());
                tests.push(Test::new(&self.suite, name, outcome).took(time).because(reason));
                self.pending = None;
            }
            None if said.starts_with("bench:") => {}
            None => self.pending = Some(name.to_owned()),
        }
    }

    /// Gives a failed test what was shown of it.
    fn end_shown(&mut self, tests: &mut Tests) {
        let (Some((name, lines)), Some(began)) = (self.shown.take(), self.began) else { return };
        let of_binary = tests.list.get_mut(began..).unwrap_or_default();
        if let Some(test) = of_binary.iter_mut().find(|test| test.name == name) {
            test.message = super::short(lines.join("\n").trim());
        }
    }
}

fn is_running(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("running ") else { return false };
    let Some((count, word)) = rest.split_once(' ') else { return false };
    count.parse::<u32>().is_ok() && matches!(word, "test" | "tests")
}

fn outcome(said: &str) -> Option<Outcome> {
    let word = said.split([',', ' ']).next().unwrap_or_default();
    match word {
        "ok" => Some(Outcome::Passed),
        "FAILED" => Some(Outcome::Failed),
        "ignored" => Some(Outcome::Skipped),
        _ => None,
    }
}

/// The name of a binary, without the hash behind it: `tests/it.rs (target/debug/deps/it-0a1b)`.
fn binary(rest: &str) -> Option<&str> {
    let path = rest.strip_suffix(')')?.rsplit_once('(')?.1;
    let file = path.rsplit('/').next()?;
    match file.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 => Some(name),
        _ => Some(file),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;

    #[test]
    fn what_cargo_prints_is_read_with_why_a_test_failed() {
        let text = "   Compiling shop v0.1.0
     Running unittests src/lib.rs (target/debug/deps/shop-0123456789abcdef)

running 4 tests
test cart::adds_up ... ok
test cart::is_empty ... FAILED
test net::reconnects ... ignored, needs a network
test cart::panics - should panic ... ok <0.250s>

failures:

---- cart::is_empty stdout ----

thread 'cart::is_empty' panicked at src/lib.rs:9:9:
assertion `left == right` failed
  left: 1
 right: 0
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace

failures:
    cart::is_empty

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests shop

running 1 test
test src/lib.rs - add (line 3) ... ok

test result: ok. 1 passed; 0 failed
test of something else ... ok
";
        assert_eq!(
            printed(text),
            [
                "ok shop › cart::adds_up",
                "FAILED shop › cart::is_empty: thread 'cart::is_empty' panicked at src/lib.rs:9:9:",
                "skipped shop › net::reconnects: needs a network",
                "ok shop › cart::panics (250 ms)",
                "ok shop (documentation) › src/lib.rs - add (line 3)",
            ]
        );
    }

    #[test]
    fn an_outcome_may_come_after_what_the_test_prints() {
        let text =
            "running 2 tests\ntest a ... hello\nworld\nok\ntest b ... \u{1b}[31mFAILED\u{1b}[0m\n";
        assert_eq!(printed(text), ["ok a", "FAILED b"]);
    }
}
