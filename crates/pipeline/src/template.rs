//! Texts with `${{ … }}`, filled in.

use source::Span;
use source::expression::{Expression, Function, Names, Vocabulary};
use source::workflow::{Entries, Literal, Part, Template};
use source::yaml::{Node, Value as Yaml};
use thiserror::Error;

use crate::expression::{EvaluationError, Object, Scope, Value, evaluate, explain};

/// Every context and function there is; what may be used where is settled when a run is planned.
const ANY: Vocabulary<'_> = Vocabulary {
    contexts: &[
        "github", "env", "vars", "job", "jobs", "steps", "runner", "secrets", "strategy", "matrix",
        "needs", "inputs",
    ],
    functions: Function::ALL,
};

/// Why a text could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where the expression stands.
    pub span: Span,
    /// What is wrong.
    pub message: String,
}

impl TemplateError {
    fn new(span: Span, message: impl ToString) -> Self {
        Self { span, message: message.to_string() }
    }
}

/// Returns what a template gives: the value of its one expression, its literal, or a text.
pub fn value(template: &Template, scope: &dyn Scope) -> Result<Value, TemplateError> {
    if !template.has_expression() {
        return Ok(match template.literal {
            Literal::Null => Value::Null,
            Literal::Boolean(value) => Value::Boolean(value),
            Literal::Number(value) => Value::Number(value),
            Literal::Text => Value::from(template.text.as_str()),
        });
    }
    let parts = template.parts().map_err(|unclosed| TemplateError::new(unclosed.span, unclosed))?;
    if let [Part::Expression { text, span, .. }] = parts.as_slice() {
        return part(text, *span, scope);
    }
    let mut filled = String::new();
    for piece in parts {
        match piece {
            Part::Text { text, .. } => filled.push_str(text),
            Part::Expression { text, span, .. } => {
                filled.push_str(&part(text, span, scope)?.to_text());
            }
        }
    }
    Ok(Value::from(filled))
}

/// Returns what a template gives, as a text.
pub fn text(template: &Template, scope: &dyn Scope) -> Result<String, TemplateError> {
    Ok(value(template, scope)?.to_text())
}

fn part(text: &str, span: Span, scope: &dyn Scope) -> Result<Value, TemplateError> {
    let expression =
        Expression::parse(text, &ANY).map_err(|error| TemplateError::new(span, error))?;
    evaluate(&expression, scope).map_err(|error: EvaluationError| TemplateError::new(span, error))
}

/// Returns the contexts that an expression names, in lower case; none if it is no expression.
pub(crate) fn contexts_of(text: &str) -> Vec<String> {
    Expression::parse(text, &ANY).map_or_else(|_| Vec::new(), |expression| expression.contexts())
}

/// Returns the entries of a context that an expression names.
pub(crate) fn names_in(text: &str, context: &str) -> Names {
    Expression::parse(text, &ANY)
        .map_or_else(|_| Names::default(), |expression| expression.names_in(context))
}

/// Returns names with values, filled in, in the order written.
pub fn entries(
    entries: &Entries,
    scope: &dyn Scope,
) -> Result<Vec<(String, Value)>, TemplateError> {
    let mut filled = Vec::new();
    match entries {
        Entries::Written(written) => {
            for entry in written {
                if entry.key.as_expression() == Some("insert") {
                    extend(&mut filled, &value(&entry.value, scope)?);
                } else {
                    filled.push((text(&entry.key, scope)?, value(&entry.value, scope)?));
                }
            }
        }
        Entries::Computed(template) => extend(&mut filled, &value(template, scope)?),
    }
    Ok(filled)
}

fn extend(filled: &mut Vec<(String, Value)>, object: &Value) {
    if let Some(object) = object.as_object() {
        filled.extend(object.iter().map(|(name, value)| (name.to_owned(), value.clone())));
    }
}

/// Returns what a piece of YAML gives. A list that an expression gives inside a list is taken in.
pub fn node(node: &Node, scope: &dyn Scope) -> Result<Value, TemplateError> {
    match &node.value {
        Yaml::Scalar(_) => match Template::of(node) {
            Some(template) => value(&template, scope),
            None => Ok(Value::Null),
        },
        Yaml::Sequence(items) => {
            let mut values = Vec::new();
            for item in items {
                let is_expression =
                    Template::of(item).is_some_and(|template| template.as_expression().is_some());
                match self::node(item, scope)? {
                    Value::Array(array) if is_expression => {
                        values.extend(array.items.iter().cloned());
                    }
                    value => values.push(value),
                }
            }
            Ok(Value::array(values))
        }
        Yaml::Mapping(pairs) => {
            let mut object = Object::default();
            for (key, item) in pairs {
                object.insert(self::node(key, scope)?.to_text(), self::node(item, scope)?);
            }
            Ok(Value::from(object))
        }
    }
}

/// A condition: the value of an `if`.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Its expressions with their places; several only where text stands around them.
    expressions: Vec<(Expression, Span)>,
    /// Whether text stands around the expressions, so that the condition always holds.
    has_text: bool,
    /// The condition as written.
    pub text: String,
    /// Where it stands.
    pub span: Option<Span>,
}

/// What a condition gave.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Whether it holds.
    pub holds: bool,
    /// Each part that was looked at, as written, with its value as JSON.
    pub parts: Vec<(String, String)>,
}

impl Condition {
    /// Reads the value of an `if`; none stands for `success()`.
    pub fn parse(template: Option<&Template>) -> Result<Self, TemplateError> {
        let Some(template) = template.filter(|template| !template.coerced().trim().is_empty())
        else {
            return Ok(Self {
                expressions: Vec::new(),
                has_text: false,
                text: "success()".to_owned(),
                span: None,
            });
        };
        let text = template.coerced().into_owned();
        let read = |text: &str, span| {
            Expression::parse(text, &ANY)
                .map(|expression| (expression, span))
                .map_err(|error| TemplateError::new(span, error))
        };
        let mut expressions = Vec::new();
        let mut has_text = false;
        if template.has_expression() {
            let parts =
                template.parts().map_err(|unclosed| TemplateError::new(unclosed.span, unclosed))?;
            for part in parts {
                match part {
                    Part::Text { .. } => has_text = true,
                    Part::Expression { text, span, .. } => expressions.push(read(text, span)?),
                }
            }
        } else {
            expressions.push(read(&text, template.span)?);
        }
        Ok(Self { expressions, has_text, text: text.trim().to_owned(), span: Some(template.span) })
    }

    /// Whether it asks itself how things have gone; otherwise `success()` must hold, too.
    pub fn asks_for_status(&self) -> bool {
        self.expressions.iter().any(|(expression, _)| expression.asks_for_status())
    }

    /// Whether text around its expressions makes it hold always.
    pub fn always_holds(&self) -> bool {
        self.has_text
    }

    /// Returns whether it holds, and why.
    pub fn answer(&self, scope: &dyn Scope) -> Result<Answer, TemplateError> {
        let mut parts = Vec::new();
        if !self.asks_for_status() {
            let is_good = scope.status(Function::Success, &[]);
            parts.push(("success()".to_owned(), is_good.to_string()));
            if !is_good || self.expressions.is_empty() {
                return Ok(Answer { holds: is_good, parts });
            }
        }
        let mut holds = self.has_text;
        for (expression, span) in &self.expressions {
            let (value, seen) = explain(expression, scope);
            for part in seen {
                let text = expression.text[part.range].to_owned();
                if !parts.iter().any(|(known, _)| *known == text) {
                    parts.push((text, shortened(part.value.to_json())));
                }
            }
            let value = value.map_err(|error| TemplateError::new(*span, error))?;
            holds |= value.is_truthy();
        }
        Ok(Answer { holds, parts })
    }
}

/// The longest value that explains anything.
const MAX_EXPLAINED: usize = 500;

fn shortened(mut json: String) -> String {
    if let Some((cut, _)) = json.char_indices().nth(MAX_EXPLAINED) {
        json.truncate(cut);
        json.push('…');
    }
    json
}
