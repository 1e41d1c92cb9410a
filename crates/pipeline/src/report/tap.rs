//! The Test Anything Protocol, versions 12 to 14, with subtests.
//!
//! ```text
//! TAP version 13
//! ok 1 - adds up
//! not ok 2 - is empty # TODO later
//! 1..2
//! ```

use super::{Outcome, Test, Tests};

/// How deep subtests may be.
const DEEPEST: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Whether what is printed is TAP; in a log it must say so first.
    is_on: bool,
    /// Tests whose parents have not been told yet, with their indentation.
    open: Vec<(usize, Vec<Test>)>,
    /// Where the YAML behind a test stands, while it is read.
    details: Option<usize>,
}

impl Reader {
    /// Takes what comes for TAP whether it says so or not.
    pub fn begin(&mut self) {
        self.is_on = true;
    }

    pub fn line(&mut self, line: &str, tests: &mut Tests) {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if !self.is_on {
            if trimmed.starts_with("TAP version ") || is_plan(line) {
                self.is_on = true;
            }
            return;
        }
        if trimmed.starts_with("TAP version ") && indent == 0 {
            self.settle(0, tests);
        }
        if let Some(at) = self.details {
            if trimmed == "..." && indent == at {
                self.details = None;
            } else {
                self.detail(trimmed);
            }
            return;
        }
        if trimmed == "---" {
            self.details = Some(indent);
        } else if let Some(test) = point(trimmed) {
            self.take(indent, test, tests);
        } else if trimmed.starts_with("Bail out!") {
            let why = trimmed.trim_start_matches("Bail out!").trim();
            let why = if why.is_empty() { "the tests were given up" } else { why };
            self.take(0, Test::new("", "(all that follow)", Outcome::Failed).because(why), tests);
        }
    }

    pub fn finish(&mut self, tests: &mut Tests) {
        self.settle(0, tests);
        self.is_on = false;
        self.details = None;
    }

    /// Takes a test; what stands deeper than it are its parts.
    fn take(&mut self, indent: usize, parent: Test, tests: &mut Tests) {
        let mut parts = Vec::new();
        while self.open.last().is_some_and(|(depth, _)| *depth > indent) {
            let (_, deeper) = self.open.pop().unwrap_or_default();
            parts.splice(..0, deeper);
        }
        if self.open.last().is_none_or(|(depth, _)| *depth != indent) {
            if self.open.len() == DEEPEST {
                return;
            }
            if indent == 0 {
                self.settle(0, tests);
            }
            self.open.push((indent, Vec::new()));
        }
        let Some((_, list)) = self.open.last_mut() else { return };
        // A parent says again what its parts said, unless only it failed.
        let says_more = parts.is_empty()
            || (parent.outcome == Outcome::Failed
                && parts.iter().all(|part| part.outcome != Outcome::Failed));
        for mut part in parts {
            part.suite = match part.suite.as_str() {
                "" => parent.name.clone(),
                inner => super::short(&format!("{} > {inner}", parent.name)),
            };
            list.push(part);
        }
        if says_more {
            list.push(parent);
        }
        if indent == 0 && list.len() > 1 {
            // All but the last, whose details may follow, are settled.
            let last = list.pop();
            list.drain(..).for_each(|test| tests.push(test));
            list.extend(last);
        }
    }

    /// Gives away the tests that are at least this deep.
    fn settle(&mut self, indent: usize, tests: &mut Tests) {
        while self.open.last().is_some_and(|(depth, _)| *depth >= indent) {
            let (_, list) = self.open.pop().unwrap_or_default();
            for test in list {
                tests.push(test);
            }
        }
    }

    /// A line of the YAML behind a test.
    fn detail(&mut self, line: &str) {
        let Some(test) = self.open.last_mut().and_then(|(_, list)| list.last_mut()) else { return };
        let Some((key, value)) = line.split_once(':') else { return };
        let value = value.trim().trim_matches(['\'', '"']);
        match key {
            "message" | "error"
                if test.outcome == Outcome::Failed
                    && test.message.is_empty()
                    && !value.is_empty()
                    && !value.starts_with(['|', '>']) =>
            {
                test.message = super::short(value);
            }
            "duration_ms" => {
                *test = test.clone().took(value.parse::<f64>().ok().map(|time| time / 1000.0));
            }
            _ => {}
        }
    }
}

/// Whether a line is a plan, as `1..7`.
fn is_plan(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim_end();
    line.strip_prefix("1..").is_some_and(|count| count.parse::<u32>().is_ok())
}

fn point(line: &str) -> Option<Test> {
    let (is_good, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let number = rest.split(' ').next().filter(|word| word.parse::<u32>().is_ok());
    let rest = rest[number.map_or(0, str::len)..].trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) =
        match rest.rsplit_once(" # ").or_else(|| Some(("", rest.strip_prefix("# ")?))) {
            Some((name, directive)) if is_directive(directive) => (name, directive),
            _ => (rest, ""),
        };
    let outcome = if !directive.is_empty() {
        Outcome::Skipped
    } else if is_good {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    let reason = directive.split_once(' ').map_or("", |(_, reason)| reason);
    let name = match (name.trim(), number) {
        ("", Some(number)) => format!("test {number}"),
        ("", None) => "test".to_owned(),
        (name, _) => name.replace("\\#", "#"),
    };
    Some(Test::new("", &name, outcome).because(reason))
}

fn is_directive(text: &str) -> bool {
    let word = text.split([' ', ':']).next().unwrap_or_default();
    word.eq_ignore_ascii_case("skip") || word.eq_ignore_ascii_case("todo")
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;

    #[test]
    fn tests_with_parts_reasons_and_details() {
        let text = "starting
ok 0 - before anybody said it is TAP
TAP version 14
# Subtest: cart
    # Subtest: adds
    ok 1 - adds
      ---
      duration_ms: 1.5
      ...
    not ok 2 - is empty
      ---
      error: 'got 1'
      duration_ms: 2
      ...
    1..2
not ok 1 - cart
ok 2 - net # SKIP no network
not ok 3 # TODO
ok
okay, no test
1..4
";
        assert_eq!(
            printed(text),
            [
                "ok cart › adds (2 ms)",
                "FAILED cart › is empty (2 ms): got 1",
                "skipped net: no network",
                "skipped test 3",
                "ok test",
            ]
        );
        assert_eq!(
            printed("1..1\nok 1 x\nBail out! no disk"),
            ["ok x", "FAILED (all that follow): no disk"]
        );
        assert_eq!(printed("ok 1 x"), [""; 0]);
    }
}
