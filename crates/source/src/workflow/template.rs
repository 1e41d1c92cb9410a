//! A text that may hold `${{ … }}`.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

use crate::yaml::core_schema::{Typed, resolve};
use crate::yaml::{Layout, Node, Style};
use crate::{Position, Span};

/// A scalar that may hold `${{ … }}`, with the place of each of its characters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Template {
    /// The text as YAML gives it: unquoted, unescaped, folded.
    pub text: String,
    /// Where the scalar stands, quotes included. GitHub reports faults at its start.
    pub span: Span,
    /// How it was written.
    pub style: Style,
    /// What it is when it holds no expression.
    pub literal: Literal,
    #[serde(skip)]
    layout: Layout,
}

/// What a scalar without expressions is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Literal {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text as it is.
    Text {
        /// The text.
        text: &'a str,
        /// Where it stands.
        span: Span,
    },
    /// What stands between `${{` and `}}`.
    Expression {
        /// The expression, without the blanks around it; empty if nothing is written.
        text: &'a str,
        /// Where the expression stands.
        span: Span,
        /// Where `${{ … }}` stands, braces included.
        outer: Span,
        /// Which bytes of the template's text are the expression.
        range: Range<usize>,
    },
}

/// A `${{` without its `}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`${{{{` is not closed by `}}}}`")]
pub struct Unclosed {
    /// Where the `${{` stands.
    pub span: Span,
}

impl Template {
    /// Returns the template of a scalar node; `None` for a list or mapping.
    pub fn of(node: &Node) -> Option<Self> {
        let scalar = node.as_scalar()?;
        let literal = match resolve(node) {
            Ok(Typed::Null) => Literal::Null,
            Ok(Typed::Boolean(value)) => Literal::Boolean(value),
            Ok(Typed::Integer(value) | Typed::Float(value)) => Literal::Number(value),
            Ok(Typed::Text(_)) | Err(_) => Literal::Text,
        };
        Some(Self {
            text: scalar.text.clone(),
            span: node.span,
            style: scalar.style,
            literal,
            layout: scalar.layout.clone(),
        })
    }

    /// Returns a template that nobody wrote, for what a file leaves unsaid.
    pub fn unwritten(text: &str) -> Self {
        let start = Position::new(1, 1);
        Self {
            text: text.to_owned(),
            span: Span::new(start, start),
            style: Style::Plain,
            literal: Literal::Text,
            layout: Layout::default(),
        }
    }

    /// Whether a `${{` stands in it.
    pub fn has_expression(&self) -> bool {
        self.text.contains("${{")
    }

    /// The text GitHub makes of a scalar without expressions: `1.0` is `1`, `True` is `true`,
    /// nothing is the empty text.
    pub fn coerced(&self) -> Cow<'_, str> {
        match self.literal {
            Literal::Null => Cow::Borrowed(""),
            Literal::Boolean(true) => Cow::Borrowed("true"),
            Literal::Boolean(false) => Cow::Borrowed("false"),
            Literal::Number(value) => Cow::Owned(super::number::text(value)),
            Literal::Text => Cow::Borrowed(&self.text),
        }
    }

    /// Splits the template into text and expressions.
    ///
    /// A `}}` inside a quoted text of the expression does not end it.
    pub fn parts(&self) -> Result<Vec<Part<'_>>, Unclosed> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(found) = self.text[at..].find("${{") {
            let open = at + found;
            if open > at {
                parts.push(self.literal_part(at..open));
            }
            let Some(close) = closing_braces(&self.text, open + 3) else {
                return Err(Unclosed { span: self.span_of(open..open + 3) });
            };
            let inner = &self.text[open + 3..close];
            let start = open + 3 + (inner.len() - inner.trim_start().len());
            let end = start + inner.trim().len();
            parts.push(Part::Expression {
                text: &self.text[start..end],
                span: self.span_of(start..end),
                outer: self.span_of(open..close + 2),
                range: start..end,
            });
            at = close + 2;
        }
        if at < self.text.len() {
            parts.push(self.literal_part(at..self.text.len()));
        }
        Ok(parts)
    }

    /// The expression, if the template is one expression and nothing else.
    pub fn as_expression(&self) -> Option<&str> {
        match self.parts().ok()?.as_slice() {
            [Part::Expression { text, .. }] => Some(text),
            _ => None,
        }
    }

    /// Returns where a part of the text stands in the file.
    pub fn span_of(&self, part: Range<usize>) -> Span {
        self.layout.span(&self.text, part)
    }

    fn literal_part(&self, range: Range<usize>) -> Part<'_> {
        Part::Text { text: &self.text[range.clone()], span: self.span_of(range) }
    }
}

/// Finds the `}}` that ends an expression, skipping texts in single quotes.
pub(super) fn closing_braces(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for at in from..bytes.len() {
        match bytes[at] {
            // A doubled quote inside a text leaves and enters it again.
            b'\'' => quoted = !quoted,
            b'}' if !quoted && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}
