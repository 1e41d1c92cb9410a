//! Something wrong in a file, with its place, why it matters and how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something wrong in a file, with its place, why it matters and how to mend it.
///
/// The one type for what a reader, a rule or a policy has to say. Tellers (text, JSON, SARIF,
/// GitHub annotations) are functions of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// The rule that raised it, in kebab case: `job-needs-unknown`.
    pub rule: String,
    /// How bad it is; only errors hold a gate.
    pub severity: Severity,
    /// What is wrong, as a lower-case sentence fragment without its place.
    pub message: String,
    /// Where it is.
    pub place: Place,
    /// What stands at the place, said beside the underline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Why it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// Returns an error of `rule` at `place`.
    pub fn error(rule: impl Into<String>, message: impl Into<String>, place: Place) -> Self {
        Self::new(Severity::Error, rule, message, place)
    }

    /// Returns a warning of `rule` at `place`.
    pub fn warning(rule: impl Into<String>, message: impl Into<String>, place: Place) -> Self {
        Self::new(Severity::Warning, rule, message, place)
    }

    /// Returns a note of `rule` at `place`.
    pub fn note(rule: impl Into<String>, message: impl Into<String>, place: Place) -> Self {
        Self::new(Severity::Note, rule, message, place)
    }

    fn new(
        severity: Severity,
        rule: impl Into<String>,
        message: impl Into<String>,
        place: Place,
    ) -> Self {
        Self {
            rule: rule.into(),
            severity,
            message: message.into(),
            place,
            label: None,
            why: None,
            help: None,
        }
    }

    /// Says what stands at the place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says why it matters.
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Says how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether this alone keeps something from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Works today and may hurt tomorrow.
    Warning,
    /// Wrong: nothing starts, and the gate holds.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A path relative to the repository and, where known, a span in that file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The path with `/` between its parts; bytes that are not UTF-8 are shown as `\xNN`.
    pub path: String,
    /// The part of the file that is meant; `None` is the file as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Place {
    /// The file as a whole.
    pub fn file(path: impl Into<String>) -> Self {
        Self { path: path.into(), span: None }
    }

    /// A part of a file.
    pub fn at(path: impl Into<String>, span: Span) -> Self {
        Self { path: path.into(), span: Some(span) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.span {
            Some(span) => write!(f, "{}:{}", self.path, span.start),
            None => f.write_str(&self.path),
        }
    }
}

/// From one position up to, not including, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// The character after the last one.
    pub end: Position,
}

impl Span {
    /// Returns the span between two positions.
    pub fn new(start: Position, end: Position) -> Self {
        Self { start, end }
    }

    /// Returns the span of one character at a position.
    pub fn at(start: Position) -> Self {
        Self { start, end: Position::new(start.line, start.column + 1) }
    }

    /// Returns the first character of the span: enough to point at a block of many lines.
    pub fn first(self) -> Self {
        Self::at(self.start)
    }
}

/// A line and a column in a text, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// Returns the position at a line and column, both from 1.
    pub fn new(line: u32, column: u32) -> Self {
        Self { line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Returns a value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}
