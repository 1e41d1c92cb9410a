//! A workflow as GitHub's own reader sees it: what the table made of each value.

use serde::Serialize;

use super::number;
use crate::Span;

/// A value of a workflow file after the table of keys and types has been held against it.
///
/// Texts are coerced (`1.0` is `1` where a text is wanted), and a text with expressions in it has
/// become one expression: `ci-${{ github.ref }}` is `format('ci-{0}', github.ref)`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Token {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: TokenKind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// An expression, without its braces.
    Expression(String),
    /// The key `${{ insert }}`.
    Insert,
    /// A list.
    List(Vec<Token>),
    /// Keys and values in the order written.
    Mapping(Vec<(Token, Token)>),
}

impl Token {
    /// Returns a value that stands at `span`.
    pub fn new(kind: TokenKind, span: Span) -> Self {
        Self { span, kind }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Token]> {
        match &self.kind {
            TokenKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn as_mapping(&self) -> Option<&[(Token, Token)]> {
        match &self.kind {
            TokenKind::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Token> {
        let mut entries = self.as_mapping()?.iter();
        entries.find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// The entries whose keys are texts.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Token, &Token)> {
        let entries = self.as_mapping().unwrap_or_default().iter();
        entries.filter_map(|(key, value)| Some((key.as_text()?, key, value)))
    }

    /// Whether it is an expression or `${{ insert }}`.
    pub fn is_expression(&self) -> bool {
        matches!(self.kind, TokenKind::Expression(_) | TokenKind::Insert)
    }

    /// Whether an expression stands anywhere in it.
    pub fn has_expression(&self) -> bool {
        match &self.kind {
            TokenKind::List(items) => items.iter().any(Token::has_expression),
            TokenKind::Mapping(entries) => {
                entries.iter().any(|(key, value)| key.has_expression() || value.has_expression())
            }
            _ => self.is_expression(),
        }
    }

    /// The text of a scalar as GitHub writes it.
    pub fn text(&self) -> String {
        match &self.kind {
            TokenKind::Null | TokenKind::List(_) | TokenKind::Mapping(_) => String::new(),
            TokenKind::Boolean(value) => value.to_string(),
            TokenKind::Number(value) => number::text(*value),
            TokenKind::Text(text) => text.clone(),
            TokenKind::Expression(text) => format!("${{{{ {text} }}}}"),
            TokenKind::Insert => "${{ insert }}".to_owned(),
        }
    }

    /// What GitHub counts it as, in bytes, without what is in it.
    pub(super) fn weight(&self) -> usize {
        match &self.kind {
            TokenKind::Text(text) | TokenKind::Expression(text) => OBJECT + weight(text),
            _ => OBJECT,
        }
    }

    /// What GitHub counts it as, in bytes, with all that is in it.
    pub(super) fn whole_weight(&self) -> usize {
        self.weight()
            + match &self.kind {
                TokenKind::List(items) => items.iter().map(Token::whole_weight).sum(),
                TokenKind::Mapping(entries) => entries
                    .iter()
                    .map(|(key, value)| key.whole_weight() + value.whole_weight())
                    .sum(),
                _ => 0,
            }
    }
}

/// What GitHub counts any object as.
pub(super) const OBJECT: usize = 24;

/// What GitHub counts a text as: two bytes for each UTF-16 unit and the cost of having it.
pub(super) fn weight(text: &str) -> usize {
    26 + 2 * text.encode_utf16().count()
}
