//! Results as lines of JSON: libtest's (`--format json`) and those of `go test -json`.

use std::collections::HashMap;

use serde_json::Value;

use super::{Outcome, Test, Tests};

/// How many running tests of Go are followed for what they print.
const MOST_RUNNING: usize = 1000;

/// How much of what a test prints is kept.
const MOST_BYTES: usize = 8000;

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What each running test of Go printed.
    printed: HashMap<(String, String), String>,
    suite: String,
}

impl Reader {
    /// Takes a line and says whether it is one of results.
    pub fn line(&mut self, line: &str, tests: &mut Tests) -> bool {
        // Most lines of JSON are not about tests; that is seen without reading them.
        if !line.starts_with('{') || !(line.contains("\"Action\"") || line.contains("\"event\"")) {
            return false;
        }
        let Ok(value) = serde_json::from_str::<Value>(line) else { return false };
        self.go(&value, tests) || self.libtest(&value, tests)
    }

    fn go(&mut self, value: &Value, tests: &mut Tests) -> bool {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (action, package, test) = (text("Action"), text("Package"), text("Test"));
        if action.is_empty() || (package.is_empty() && text("ImportPath").is_empty()) {
            return false;
        }
        if test.is_empty() {
            return true;
        }
        let key = (package.to_owned(), test.to_owned());
        let outcome = match action {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            "output" => {
                let is_room = self.printed.len() < MOST_RUNNING;
                let output = text("Output");
                let is_frame =
                    output.starts_with("=== ") || output.trim_start().starts_with("--- ");
                if !is_frame && (is_room || self.printed.contains_key(&key)) {
                    let printed = self.printed.entry(key).or_default();
                    if printed.len() + output.len() <= MOST_BYTES {
                        printed.push_str(output);
                    }
                }
                return true;
            }
            _ => return true,
        };
        let printed = self.printed.remove(&key).unwrap_or_default();
        let message = if outcome == Outcome::Passed { "" } else { printed.as_str() };
        let time = value.get("Elapsed").and_then(Value::as_f64);
        tests.push(Test::new(package, test, outcome).took(time).because(message));
        true
    }

    fn libtest(&mut self, value: &Value, tests: &mut Tests) -> bool {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let outcome = match (text("type"), text("event")) {
            ("suite", _) => return true,
            ("test", "started" | "timeout") => return true,
            ("test", "ok") => Outcome::Passed,
            ("test", "failed") => Outcome::Failed,
            ("test", "ignored") => Outcome::Skipped,
            _ => return false,
        };
        let message = match outcome {
            Outcome::Failed if text("message").is_empty() => text("stdout"),
            _ => text("message"),
        };
        let time = value.get("exec_time").and_then(Value::as_f64);
        tests.push(Test::new(&self.suite, text("name"), outcome).took(time).because(message));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::printed;

    #[test]
    fn go_and_libtest_are_told_apart() {
        let text = r#"{"Time":"2026-11-24T20:00:00Z","Action":"start","Package":"shop/cart"}
{"Action":"run","Package":"shop/cart","Test":"TestAdds"}
{"Action":"output","Package":"shop/cart","Test":"TestAdds","Output":"=== RUN   TestAdds\n"}
{"Action":"output","Package":"shop/cart","Test":"TestAdds","Output":"    cart_test.go:9: got 1, want 2\n"}
{"Action":"output","Package":"shop/cart","Test":"TestAdds","Output":"--- FAIL: TestAdds (0.01s)\n"}
{"Action":"fail","Package":"shop/cart","Test":"TestAdds","Elapsed":0.01}
{"Action":"pass","Package":"shop/cart","Test":"TestSub/one","Elapsed":0}
{"Action":"skip","Package":"shop/cart","Test":"TestNet"}
{"Action":"fail","Package":"shop/cart","Elapsed":0.02}
{ "type": "suite", "event": "started", "test_count": 2 }
{ "type": "test", "event": "started", "name": "a::b" }
{ "type": "test", "name": "a::b", "event": "ok", "exec_time": 0.002 }
{ "type": "test", "name": "a::c", "event": "failed", "stdout": "no\n" }
{ "level": "info", "event": "ok" }"#;
        assert_eq!(
            printed(text),
            [
                "FAILED shop/cart › TestAdds (10 ms): cart_test.go:9: got 1, want 2",
                "ok shop/cart › TestSub/one (0 ms)",
                "skipped shop/cart › TestNet",
                "ok a::b (2 ms)",
                "FAILED a::c: no",
            ]
        );
    }
}
