//! `marline eval`: what an expression gives, part by part.

use anyhow::Context as _;
use pipeline::expression::{Contexts, Object, Value, explain};
use serde_json::json;
use source::expression::{ErrorKind, Expression, ExpressionError, Function, Vocabulary};

use super::timeline::{clean, paint, tell};
use crate::cli::{EvalArgs, Global};
use crate::exit::{Exit, Failure, Outcome};

/// The longest value of a part that is shown in full.
const LONGEST_PART: usize = 100;

/// Evaluates an expression over the contexts of a JSON file.
pub fn run(args: &EvalArgs, global: &Global) -> Outcome {
    let contexts = contexts(args, global)?;
    let names: Vec<&str> = contexts.keys().map(String::as_str).collect();
    let vocabulary = Vocabulary { contexts: &names, functions: Function::ALL };
    let written = bare(&args.expression);
    let expression = match Expression::parse(written, &vocabulary) {
        Ok(expression) => expression,
        Err(error) => {
            let kind = if is_lexing(&error) { "lexing" } else { "parsing" };
            let help = mend(&error, &names);
            return refuse(global, kind, &error.to_string(), Some(written), help);
        }
    };
    let object: Object = contexts.iter().map(|(name, value)| (name, value.clone())).collect();
    let (value, parts) = explain(&expression, &Contexts(object));
    if !global.json {
        let mut told = String::new();
        // The last part is the whole; what it gave follows below.
        let parts: Vec<(&str, String)> = parts
            .iter()
            .filter_map(|part| Some((expression.text.get(part.range.clone())?.trim(), part)))
            .filter(|(text, _)| *text != expression.text.trim())
            .map(|(text, part)| (text, one_line(&part.value)))
            .collect();
        let width = parts.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(60);
        for (text, value) in &parts {
            let value = paint(global.colour(), "2", &explain::words::shorten(value, LONGEST_PART));
            told += &format!("  {:<width$}  {value}\n", clean(text));
        }
        tell(&told)?;
    }
    match value {
        Err(error) => refuse(global, "evaluation", &error.to_string(), None, None),
        Ok(value) if global.json => {
            tell(&format!("{}\n", json!({ "kind": value.kind(), "value": to_json(&value) })))?;
            Ok(Exit::Done)
        }
        Ok(value) => {
            let shown = value.to_json();
            let shown: Vec<String> = shown.lines().map(clean).collect();
            tell(&format!("{}\n", shown.join("\n")))?;
            Ok(Exit::Done)
        }
    }
}

/// Reads the contexts; without a file there are none.
fn contexts(
    args: &EvalArgs,
    global: &Global,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let Some(path) = &args.context else { return Ok(serde_json::Map::new()) };
    let path = global.directory.join(path);
    let as_usage = |error: anyhow::Error| Failure { exit: Exit::Usage, error, help: None };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("read {}", path.display()))
        .map_err(as_usage)?;
    let read = serde_json::from_str(&text)
        .with_context(|| format!("read {} as JSON", path.display()))
        .map_err(as_usage)?;
    match read {
        serde_json::Value::Object(contexts) => Ok(contexts),
        _ => Err(Failure::new(Exit::Usage, format!("{} holds no object", path.display()))
            .help("write the contexts as {\"github\": {\"ref\": \"refs/heads/main\"}}")),
    }
}

/// Takes the `${{ }}` off that people copy along.
fn bare(written: &str) -> &str {
    let inner = written.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    // With two of them in a row it is a template, and no expression any more.
    inner.filter(|inner| !inner.contains("${{")).map_or(written, str::trim)
}

/// Whether the symbol at fault is none at all, wherever it may stand.
fn is_lexing(error: &ExpressionError) -> bool {
    let Some(symbol) = error.symbol.as_ref().filter(|_| error.kind == ErrorKind::UnexpectedSymbol)
    else {
        return false;
    };
    let is_operator = symbol.text.chars().all(|c| "()[],.!=<>&|*".contains(c));
    let nothing = Vocabulary { contexts: &[], functions: &[] };
    !is_operator
        && Expression::parse(&symbol.text, &nothing)
            .is_err_and(|alone| alone.kind == ErrorKind::UnexpectedSymbol)
}

fn mend(error: &ExpressionError, contexts: &[&str]) -> Option<String> {
    let near = |known: &[&str]| {
        let name = &error.symbol.as_ref()?.text;
        let best = known.iter().max_by(|one, two| {
            strsim::jaro_winkler(name, one).total_cmp(&strsim::jaro_winkler(name, two))
        })?;
        (strsim::jaro_winkler(name, best) > 0.75).then(|| format!("did you mean `{best}`?"))
    };
    match error.kind {
        ErrorKind::UnknownContext if contexts.is_empty() => {
            Some("give a JSON file with the contexts: --context FILE".to_owned())
        }
        ErrorKind::UnknownContext => {
            near(contexts).or_else(|| Some(format!("the file has {}", contexts.join(", "))))
        }
        ErrorKind::UnknownFunction => {
            let names: Vec<&str> = Function::ALL.iter().map(|function| function.name()).collect();
            near(&names)
        }
        _ => None,
    }
}

/// Says why there is no value: for `--json` on standard output.
fn refuse(
    global: &Global,
    kind: &str,
    message: &str,
    expression: Option<&str>,
    help: Option<String>,
) -> Outcome {
    if global.json {
        tell(&format!("{}\n", json!({ "error": { "kind": kind, "message": message } })))?;
        return Ok(Exit::Failed);
    }
    let failure = Failure::new(Exit::Failed, clean(message));
    Err(match (help, expression) {
        (Some(help), _) => failure.help(clean(&help)),
        (None, Some(written)) if written.contains('"') => {
            failure.help("texts stand in single quotes: 'main'")
        }
        _ => failure,
    })
}

/// The value on one line.
fn one_line(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => to_json(value).to_string(),
        primitive => clean(&primitive.to_json()),
    }
}

/// The value as JSON: whole numbers without a point, what JSON cannot say as text.
fn to_json(value: &Value) -> serde_json::Value {
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(value) => json!(value),
        Value::Number(number) if !number.is_finite() => json!(value.to_text()),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < WHOLE => {
            json!(*number as i64)
        }
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(&**text),
        Value::Array(array) => array.items.iter().map(to_json).collect(),
        Value::Object(object) => {
            let entries = object.iter().map(|(name, value)| (name.to_owned(), to_json(value)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(expression: &str) -> ExpressionError {
        let vocabulary = Vocabulary { contexts: &["foo"], functions: Function::ALL };
        Expression::parse(expression, &vocabulary).expect_err("it is wrong")
    }

    #[test]
    fn a_symbol_that_is_none_is_told_from_one_in_the_wrong_place() {
        for lexing in ["0x01p2", "-Inf", "-0xFF", "foo.b@r"] {
            assert!(is_lexing(&error(lexing)), "{lexing}");
        }
        for parsing in ["foo.1", "fromjson('').1", "startsWith('a')", "foo)", "(foo", "foo foo"] {
            assert!(!is_lexing(&error(parsing)), "{parsing}");
        }
    }

    #[test]
    fn a_whole_number_has_no_point_and_what_json_cannot_say_is_text() {
        assert_eq!(to_json(&Value::Number(1.0)), json!(1));
        assert_eq!(to_json(&Value::Number(-0.5)), json!(-0.5));
        assert_eq!(to_json(&Value::Number(f64::NAN)), json!("NaN"));
    }

    #[test]
    fn braces_copied_along_do_no_harm() {
        assert_eq!(bare(" ${{ github.ref == 'x' }} "), "github.ref == 'x'");
        assert_eq!(bare("${{ a }} ${{ b }}"), "${{ a }} ${{ b }}");
        assert_eq!(bare("1 < 2"), "1 < 2");
    }
}
