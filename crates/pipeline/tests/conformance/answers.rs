//! Expressions and filters that nobody here wrote, answered.

use pipeline::expression::{Contexts, EvaluationError, Object, Value, evaluate};
use pipeline::filter::Patterns;
use scoreboard::Suite;
use serde_json::Value as Json;
use source::expression::{Expression, ExpressionError, Function, Vocabulary};

/// Why an expression has no value.
enum Fault {
    /// It cannot be read.
    Expression(ExpressionError),
    /// It cannot be evaluated.
    Evaluation(EvaluationError),
}

/// Every expression gives the value, or the error, that GitHub gives.
pub fn expressions() {
    let Some(folder) = scoreboard::data("expressions", "expressions") else { return };
    let mut suite = Suite::new("expressions");
    for path in scoreboard::files(&folder, &["json"]) {
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("the cases are text");
        let groups: serde_json::Map<String, Json> =
            serde_json::from_str(&text).expect("the cases are JSON");
        for (group, cases) in &groups {
            for case in cases.as_array().into_iter().flatten() {
                let text = case["expr"].as_str().unwrap_or_default();
                let name = format!("{file}/{group}: {text}");
                if is_skipped(case) {
                    suite.exclude(name, "GitHub's own readers disagree about it");
                    continue;
                }
                suite.case(name, expression(case, text));
            }
        }
    }
    suite.must_pass(100.0);
}

/// Whether a case is not for the runner. The TypeScript reader lags behind it, so what only that
/// one skips counts.
fn is_skipped(case: &Json) -> bool {
    let skip = case["options"]["skip"].as_array().map(Vec::as_slice).unwrap_or_default();
    skip.iter().any(|language| language != "typescript")
}

fn expression(case: &Json, text: &str) -> Result<(), String> {
    let contexts = match Value::from(case["contexts"].clone()) {
        Value::Object(object) => (*object).clone(),
        _ => Object::default(),
    };
    let got = run(text, contexts);
    if let Some(expected) = case["err"]["value"].as_str() {
        let (is_evaluation, message) = match got {
            Ok(value) => return Err(format!("got {}, not an error", value.to_json())),
            Err(Fault::Expression(error)) => (false, error.to_string()),
            Err(Fault::Evaluation(error)) => (true, error.to_string()),
        };
        if is_evaluation != (case["err"]["kind"] == "evaluation") {
            return Err(format!("the wrong kind of error: {message}"));
        }
        return if message.contains(expected) { Ok(()) } else { Err(message) };
    }
    let got = got.map_err(|fault| match fault {
        Fault::Expression(error) => error.to_string(),
        Fault::Evaluation(error) => error.to_string(),
    })?;
    let kind = case["result"]["kind"].as_str().unwrap_or("Null");
    let expected = Value::from(case["result"]["value"].clone());
    if got.kind() == kind && got.to_json() == expected.to_json() {
        return Ok(());
    }
    Err(format!("got {} {}, not {kind} {}", got.kind(), got.to_json(), expected.to_json()))
}

/// The keys of the contexts are the only names there are.
fn run(text: &str, contexts: Object) -> Result<Value, Fault> {
    let names: Vec<&str> = contexts.iter().map(|(name, _)| name).collect();
    let vocabulary = Vocabulary { contexts: &names, functions: Function::ALL };
    let expression = Expression::parse(text, &vocabulary).map_err(Fault::Expression)?;
    evaluate(&expression, &Contexts(contexts.clone())).map_err(Fault::Evaluation)
}

/// Every filter lets through what GitHub lets through.
pub fn filters() {
    let Some(folder) = scoreboard::data("filters", "filters") else { return };
    let mut suite = Suite::new("filters");
    for path in scoreboard::files(&folder, &["json"]) {
        let text = std::fs::read_to_string(&path).expect("the cases are text");
        let cases: Vec<Json> = serde_json::from_str(&text).expect("the cases are JSON");
        for case in &cases {
            suite.case(case.to_string(), filter(case));
        }
    }
    suite.must_pass(100.0);
}

fn filter(case: &Json) -> Result<(), String> {
    let texts = |key: &str| -> Vec<String> {
        let items = case[key].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let (written, inputs) = (texts("patterns"), texts("inputs"));
    let patterns = Patterns::parse(&written).map_err(|error| error.to_string())?;
    // Without patterns there is no filter.
    let is_filter = !written.is_empty();
    let skip = is_filter && !inputs.iter().any(|name| patterns.includes(name.as_bytes()));
    let ignored = is_filter && inputs.iter().all(|name| patterns.ignores(name.as_bytes()));
    if skip == case["skip"] && ignored == case["filter"] {
        return Ok(());
    }
    Err(format!("skips: {skip}, ignores: {ignored}"))
}
