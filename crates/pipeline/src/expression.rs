//! What an expression gives.
//!
//! [`evaluate`] takes an [`Expression`] and a [`Scope`] that knows the contexts of the place where
//! the expression stands. [`explain`] does the same and tells the value of every part, which is how
//! a skipped job or step says why.

mod function;
mod value;

use std::cell::Cell;
use std::ops::Range;

use source::expression::{Comparison, Expression, Function, Node, NodeKind};
use thiserror::Error;

pub use value::{Array, Object, Value, fold};

/// The most bytes that the texts made while evaluating one expression may take.
pub const MAX_MEMORY: usize = 10 * 1024 * 1024;

/// Who answers what an expression asks about its surroundings.
pub trait Scope {
    /// The value of a context; none is `null`. Names come as written.
    fn context(&self, name: &str) -> Option<Value>;

    /// What a status function gives; names of jobs may be given as arguments.
    fn status(&self, function: Function, arguments: &[Value]) -> bool;

    /// The hash of all files that match the patterns; empty when none does.
    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        let _ = patterns;
        Err("hashFiles works only where there is a workspace".to_owned())
    }
}

/// A scope of contexts that are there from the start, in which all is well.
#[derive(Debug, Clone, Default)]
pub struct Contexts(pub Object);

impl Scope for Contexts {
    fn context(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }

    fn status(&self, function: Function, _: &[Value]) -> bool {
        matches!(function, Function::Success | Function::Always)
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// The braces of a format do not fit together.
    #[error("The following format string is invalid: {0}")]
    Format(String),
    /// A format asks for an argument that is not there.
    #[error("The following format string references more arguments than were supplied: {0}")]
    FormatArguments(String),
    /// A format asks for a presentation that does not exist.
    #[error("The format specifiers '{0}' are not valid for objects of type '{1}'")]
    FormatSpecifier(String, &'static str),
    /// A text is not JSON.
    #[error("Error parsing fromJson: {0}")]
    Json(String),
    /// `case` got something else than true or false.
    #[error("case predicate must evaluate to a boolean value")]
    CasePredicate,
    /// Files could not be hashed.
    #[error("hashFiles: {0}")]
    HashFiles(String),
    /// The texts grew too long.
    #[error("The maximum allowed memory size was exceeded")]
    Memory,
}

/// A part of an expression and what it gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which bytes of the expression it is.
    pub range: Range<usize>,
    /// What it gave.
    pub value: Value,
}

/// Returns what an expression gives; nothing written gives `null`.
pub fn evaluate(expression: &Expression, scope: &dyn Scope) -> Result<Value, EvaluationError> {
    let evaluator = Evaluator::new(scope, None);
    match &expression.root {
        Some(root) => evaluator.evaluate(root),
        None => Ok(Value::Null),
    }
}

/// Returns what an expression gives and each part that was looked at, in the order of looking.
///
/// Literals are left out, as are parts that did not have to be looked at.
pub fn explain(
    expression: &Expression,
    scope: &dyn Scope,
) -> (Result<Value, EvaluationError>, Vec<Part>) {
    let mut parts = Vec::new();
    let value = {
        let evaluator = Evaluator::new(scope, Some(&mut parts));
        match &expression.root {
            Some(root) => evaluator.evaluate(root),
            None => Ok(Value::Null),
        }
    };
    (value, parts)
}

struct Evaluator<'a> {
    scope: &'a dyn Scope,
    parts: Option<std::cell::RefCell<&'a mut Vec<Part>>>,
    memory: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    fn new(scope: &'a dyn Scope, parts: Option<&'a mut Vec<Part>>) -> Self {
        Self { scope, parts: parts.map(std::cell::RefCell::new), memory: Cell::new(0) }
    }

    /// The depth of a tree is limited when it is read, so this may call itself.
    fn evaluate(&self, node: &Node) -> Result<Value, EvaluationError> {
        let value = match &node.kind {
            NodeKind::Null => return Ok(Value::Null),
            NodeKind::Boolean(value) => return Ok(Value::Boolean(*value)),
            NodeKind::Number(value) => return Ok(Value::Number(*value)),
            NodeKind::Text(text) => return Ok(Value::from(text.as_str())),
            NodeKind::Wildcard => return Ok(Value::Null),
            NodeKind::Context(name) => {
                // A context as a whole explains nothing; what is taken out of it does.
                return Ok(self.scope.context(name).unwrap_or(Value::Null));
            }
            NodeKind::Call(function, arguments) => self.call(*function, arguments)?,
            NodeKind::Index(of, index) => self.index(of, index)?,
            NodeKind::Not(of) => Value::Boolean(!self.evaluate(of)?.is_truthy()),
            NodeKind::Compare(how, left, right) => {
                let left = self.evaluate(left)?;
                let right = self.evaluate(right)?;
                Value::Boolean(compare(*how, &left, &right))
            }
            NodeKind::And(nodes) => self.first(nodes, |value| !value.is_truthy())?,
            NodeKind::Or(nodes) => self.first(nodes, Value::is_truthy)?,
        };
        if let Some(parts) = &self.parts {
            parts.borrow_mut().push(Part { range: node.range.clone(), value: value.clone() });
        }
        Ok(value)
    }

    /// The first value that decides a chain, otherwise its last.
    fn first(
        &self,
        nodes: &[Node],
        decides: impl Fn(&Value) -> bool,
    ) -> Result<Value, EvaluationError> {
        let mut value = Value::Null;
        for node in nodes {
            value = self.evaluate(node)?;
            if decides(&value) {
                break;
            }
        }
        Ok(value)
    }

    fn index(&self, of: &Node, index: &Node) -> Result<Value, EvaluationError> {
        let collection = self.evaluate(of)?;
        if index.kind == NodeKind::Wildcard {
            return Ok(Value::filtered(collection.each_item()));
        }
        let index = self.evaluate(index)?;
        Ok(match &collection {
            Value::Array(array) if array.is_filtered => {
                Value::filtered(array.items.iter().filter_map(|item| item.at(&index)).collect())
            }
            _ => collection.at(&index).unwrap_or(Value::Null),
        })
    }

    /// Counts a text that was made.
    fn count(&self, text: &str) -> Result<(), EvaluationError> {
        let total = self.memory.get() + text.len();
        self.memory.set(total);
        if total > MAX_MEMORY {
            return Err(EvaluationError::Memory);
        }
        Ok(())
    }
}

fn compare(how: Comparison, left: &Value, right: &Value) -> bool {
    use std::cmp::Ordering::{Greater, Less};
    match how {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => !left.equals(right),
        Comparison::Less => left.order(right) == Some(Less),
        Comparison::Greater => left.order(right) == Some(Greater),
        Comparison::LessOrEqual => left.equals(right) || left.order(right) == Some(Less),
        Comparison::GreaterOrEqual => left.equals(right) || left.order(right) == Some(Greater),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use source::expression::Vocabulary;

    use super::*;

    fn run(text: &str, contexts: &Object) -> Result<Value, String> {
        let names: Vec<&str> = contexts.keys().collect();
        let vocabulary = Vocabulary { contexts: &names, functions: Function::ALL };
        let expression = Expression::parse(text, &vocabulary).map_err(|error| error.to_string())?;
        evaluate(&expression, &Contexts(contexts.clone())).map_err(|error| error.to_string())
    }

    fn shown(text: &str) -> String {
        match run(text, &Object::default()) {
            Ok(value) => value.to_json(),
            Err(error) => error,
        }
    }

    #[test]
    fn operators_give_their_operand() {
        assert_eq!(shown("'a' && 'b'"), "\"b\"");
        assert_eq!(shown("'' || 'd'"), "\"d\"");
        assert_eq!(shown("0 || false || 'z'"), "\"z\"");
        assert_eq!(shown("3 < 2 < 1"), "true");
    }

    #[test]
    fn arrays_are_equal_only_to_themselves() {
        assert_eq!(shown("fromJSON('[1,2]') == fromJSON('[1,2]')"), "false");
        let mut contexts = Object::default();
        contexts.insert("a", Value::array(vec![Value::Number(1.0)]));
        assert_eq!(run("a == a", &contexts).map(|v| v.to_json()), Ok("true".to_owned()));
    }

    #[test]
    fn join_takes_what_has_a_text() {
        assert_eq!(shown("join(fromJSON('[1,true,null,\"x\"]'), '-')"), "\"1-true--x\"");
        assert_eq!(shown("join('abc')"), "\"abc\"");
        assert_eq!(shown("join(fromJSON('{}'))"), "\"\"");
        assert_eq!(shown("join(fromJSON('[1,2]'), fromJSON('[]'))"), "\"1,2\"");
    }

    #[test]
    fn case_gives_the_first_that_holds_and_looks_no_further() {
        assert_eq!(shown("case(true, 'yes', 'no')"), "\"yes\"");
        assert_eq!(shown("case(false, 1, true, 2, fromJSON(''))"), "2");
        assert_eq!(shown("case(1, 'a', 'b')"), "case predicate must evaluate to a boolean value");
        assert!(shown("case(true, 1)").starts_with("Too few parameters"));
        assert!(shown("case(true, 1, false, 2)").starts_with("Even number of parameters"));
    }

    #[test]
    fn json_is_written_as_it_was_read() {
        assert_eq!(
            shown("fromJSON('{\"z\":\"<&>\",\"a\":[1,{\"b\":null}],\"y\":{}}')"),
            "{\n  \"z\": \"<&>\",\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"y\": {}\n}"
        );
    }

    #[test]
    fn an_explanation_has_the_value_of_each_part_that_was_looked_at() {
        let mut github = Object::default();
        github.insert("ref", Value::from("refs/heads/main"));
        let mut contexts = Object::default();
        contexts.insert("github", Value::from(github));
        let vocabulary = Vocabulary { contexts: &["github"], functions: Function::ALL };
        let text = "github.ref == 'refs/heads/dev' && contains(github.ref, 'x')";
        let expression = Expression::parse(text, &vocabulary).expect("is legal");
        let (value, parts) = explain(&expression, &Contexts(contexts));
        assert_eq!(value, Ok(Value::Boolean(false)));
        let parts: Vec<(&str, String)> =
            parts.iter().map(|part| (&text[part.range.clone()], part.value.to_json())).collect();
        assert_eq!(
            parts,
            [
                ("github.ref", "\"refs/heads/main\"".to_owned()),
                ("github.ref == 'refs/heads/dev'", "false".to_owned()),
                (text, "false".to_owned()),
            ]
        );
    }

    #[test]
    fn texts_that_grow_without_end_are_stopped() {
        let long = format!("format('{{0}}{{0}}{{0}}{{0}}', '{}')", "x".repeat(10_000));
        let mut text = long;
        for _ in 0..5 {
            text = format!("format('{{0}}{{0}}{{0}}{{0}}{{0}}{{0}}', {text})");
        }
        assert_eq!(shown(&text), EvaluationError::Memory.to_string());
    }

    proptest! {
        #[test]
        fn any_expression_gives_a_value_or_an_error(
            symbols in proptest::collection::vec(
                prop::sample::select(vec![
                    "a", ".x", ".*", "[0]", "['x']", "(", ")", ", ", "!", " == ", " < ", " && ",
                    " || ", "'t{0}'", "1", "format(", "join(", "toJSON(", "fromJSON(", "contains(",
                ]), 0..16)
        ) {
            let mut contexts = Object::default();
            contexts.insert("a", Value::from(serde_json::json!({"x": [1, {"x": "y"}]})));
            let _ = run(&symbols.concat(), &contexts);
        }
    }
}
