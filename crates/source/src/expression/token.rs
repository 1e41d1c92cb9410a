//! The symbols of an expression, and which may follow which.

use std::ops::Range;

use super::{Comparison, ErrorKind, ExpressionError, Symbol};

/// A symbol.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub range: Range<usize>,
}

/// What a symbol is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    StartGroup,
    EndGroup,
    StartIndex,
    EndIndex,
    StartParameters,
    EndParameters,
    Separator,
    Dereference,
    Wildcard,
    Not,
    Compare(Comparison),
    And,
    Or,
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    Property,
    Function,
    Context,
}

/// What a symbol is to the one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A value may begin: at the start, after an opening bracket, a comma or an operator.
    Open,
    /// A value has ended that has no parts of its own.
    Literal,
    /// A value has ended that may have parts: a name, a property, `*` or a closing bracket.
    Value,
    Dereference,
    Function,
}

pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    last: Option<TokenKind>,
    open: Vec<TokenKind>,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, last: None, open: Vec::new() }
    }

    pub fn has_unclosed(&self) -> bool {
        !self.open.is_empty()
    }

    /// Returns the next symbol, none at the end.
    pub fn next(&mut self) -> Result<Option<Token>, ExpressionError> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        let Some(first) = self.text[self.at..].chars().next() else {
            return Ok(None);
        };
        let start = self.at;
        let kind = match first {
            '(' if self.last == Some(TokenKind::Function) => self.one(TokenKind::StartParameters),
            '(' => self.one(TokenKind::StartGroup),
            ')' if self.open.last() == Some(&TokenKind::StartParameters) => {
                self.one(TokenKind::EndParameters)
            }
            ')' => self.one(TokenKind::EndGroup),
            '[' => self.one(TokenKind::StartIndex),
            ']' => self.one(TokenKind::EndIndex),
            ',' => self.one(TokenKind::Separator),
            '*' => self.one(TokenKind::Wildcard),
            '\'' => self.quoted(),
            '!' | '<' | '>' | '=' | '&' | '|' => self.operator(),
            '.' if self.before() != Before::Open => self.one(TokenKind::Dereference),
            '.' | '-' | '+' | '0'..='9' => self.number(),
            _ => self.word(),
        };
        let range = start..self.at;
        match kind {
            Some(kind) if self.is_legal(&kind) => {
                self.track(&kind);
                self.last = Some(kind.clone());
                Ok(Some(Token { kind, range }))
            }
            _ => Err(ExpressionError {
                kind: ErrorKind::UnexpectedSymbol,
                symbol: Some(Symbol { text: self.text[range.clone()].to_owned(), range }),
                expression: self.text.to_owned(),
            }),
        }
    }

    fn one(&mut self, kind: TokenKind) -> Option<TokenKind> {
        self.at += 1;
        Some(kind)
    }

    fn skip_to_boundary(&mut self, is_end: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(is_end).unwrap_or(rest.len());
    }

    fn quoted(&mut self) -> Option<TokenKind> {
        let mut text = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let Some(quote) = rest.find('\'') else {
                self.at = self.text.len();
                return None;
            };
            text.push_str(&rest[..quote]);
            self.at += quote + 1;
            if !self.text[self.at..].starts_with('\'') {
                return Some(TokenKind::Text(text));
            }
            text.push('\'');
            self.at += 1;
        }
    }

    fn operator(&mut self) -> Option<TokenKind> {
        let rest = &self.text[self.at..];
        let two = [
            ("!=", TokenKind::Compare(Comparison::NotEqual)),
            (">=", TokenKind::Compare(Comparison::GreaterOrEqual)),
            ("<=", TokenKind::Compare(Comparison::LessOrEqual)),
            ("==", TokenKind::Compare(Comparison::Equal)),
            ("&&", TokenKind::And),
            ("||", TokenKind::Or),
        ];
        for (sign, kind) in two {
            if rest.starts_with(sign) {
                self.at += 2;
                return Some(kind);
            }
        }
        self.at += 1;
        match rest.as_bytes()[0] {
            b'!' => Some(TokenKind::Not),
            b'>' => Some(TokenKind::Compare(Comparison::Greater)),
            b'<' => Some(TokenKind::Compare(Comparison::Less)),
            _ => {
                self.skip_to_boundary(is_boundary);
                None
            }
        }
    }

    fn number(&mut self) -> Option<TokenKind> {
        let start = self.at;
        self.at += 1;
        self.skip_to_boundary(|c| c != '.' && is_boundary(c));
        let value = number(&self.text[start..self.at]);
        (!value.is_nan()).then_some(TokenKind::Number(value))
    }

    fn word(&mut self) -> Option<TokenKind> {
        let start = self.at;
        let first = self.text[start..].chars().next()?;
        self.at += first.len_utf8();
        self.skip_to_boundary(is_boundary);
        let word = &self.text[start..self.at];
        if !is_name(word) {
            return None;
        }
        if self.last == Some(TokenKind::Dereference) {
            return Some(TokenKind::Property);
        }
        Some(match word {
            "null" => TokenKind::Null,
            "true" => TokenKind::Boolean(true),
            "false" => TokenKind::Boolean(false),
            "NaN" => TokenKind::Number(f64::NAN),
            "Infinity" => TokenKind::Number(f64::INFINITY),
            _ if self.text[self.at..].trim_start().starts_with('(') => TokenKind::Function,
            _ => TokenKind::Context,
        })
    }

    fn before(&self) -> Before {
        match &self.last {
            None
            | Some(
                TokenKind::StartGroup
                | TokenKind::StartIndex
                | TokenKind::StartParameters
                | TokenKind::Separator
                | TokenKind::Not
                | TokenKind::Compare(_)
                | TokenKind::And
                | TokenKind::Or,
            ) => Before::Open,
            Some(
                TokenKind::Null | TokenKind::Boolean(_) | TokenKind::Number(_) | TokenKind::Text(_),
            ) => Before::Literal,
            Some(
                TokenKind::EndGroup
                | TokenKind::EndIndex
                | TokenKind::EndParameters
                | TokenKind::Wildcard
                | TokenKind::Property
                | TokenKind::Context,
            ) => Before::Value,
            Some(TokenKind::Dereference) => Before::Dereference,
            Some(TokenKind::Function) => Before::Function,
        }
    }

    fn is_legal(&self, kind: &TokenKind) -> bool {
        let before = self.before();
        let ends_value = matches!(before, Before::Value | Before::Literal);
        let innermost = self.open.last();
        match kind {
            TokenKind::StartGroup
            | TokenKind::Not
            | TokenKind::Null
            | TokenKind::Boolean(_)
            | TokenKind::Number(_)
            | TokenKind::Text(_)
            | TokenKind::Function
            | TokenKind::Context => before == Before::Open,
            TokenKind::StartIndex | TokenKind::Dereference => before == Before::Value,
            TokenKind::StartParameters => before == Before::Function,
            TokenKind::EndGroup => ends_value && innermost == Some(&TokenKind::StartGroup),
            TokenKind::EndIndex => ends_value && innermost == Some(&TokenKind::StartIndex),
            TokenKind::EndParameters => {
                (ends_value || self.last == Some(TokenKind::StartParameters))
                    && innermost == Some(&TokenKind::StartParameters)
            }
            TokenKind::Separator => ends_value && innermost == Some(&TokenKind::StartParameters),
            TokenKind::Wildcard => {
                before == Before::Dereference || self.last == Some(TokenKind::StartIndex)
            }
            TokenKind::Property => before == Before::Dereference,
            TokenKind::Compare(_) | TokenKind::And | TokenKind::Or => ends_value,
        }
    }

    fn track(&mut self, kind: &TokenKind) {
        match kind {
            TokenKind::StartGroup | TokenKind::StartIndex | TokenKind::StartParameters => {
                self.open.push(kind.clone());
            }
            TokenKind::EndGroup | TokenKind::EndIndex | TokenKind::EndParameters => {
                self.open.pop();
            }
            _ => {}
        }
    }
}

fn is_boundary(c: char) -> bool {
    matches!(c, '(' | '[' | ')' | ']' | ',' | '.' | '!' | '>' | '<' | '=' | '&' | '|')
        || c.is_whitespace()
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Returns the number a text is, by the rules of expressions; NaN if it is none.
///
/// Blanks around it do not matter and the empty text is zero, as in JavaScript.
pub fn number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    if let Some(value) = decimal(text) {
        return value;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        // Hexadecimal digits are the bits of a signed 32-bit number.
        return match u32::from_str_radix(digits, 16) {
            Ok(bits) if !digits.starts_with('+') => f64::from(bits.cast_signed()),
            _ => f64::NAN,
        };
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return match u32::from_str_radix(digits, 8) {
            Ok(bits) if !digits.starts_with('+') => f64::from(bits.cast_signed()),
            _ => f64::NAN,
        };
    }
    match text {
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => f64::NAN,
    }
}

/// A sign, digits with a point, an exponent; nothing else that Rust would take.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let plain = unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if starts && plain { text.parse().ok() } else { None }
}
