//! YAML as a tree with positions.
//!
//! [`read`] turns a text into a [`Node`] that remembers where everything stood, in which order,
//! in which style and under which tag. It does not decide what `12` or `yes` means: each format
//! has its own rules, and [`core_schema`] holds those of GitHub and of YAML 1.2. Aliases are
//! expanded; how much a file may grow by them is bounded by [`Options`].

mod expect;
mod layout;
mod line_index;
mod read;

pub mod core_schema;

pub(crate) use expect::listed;
pub use expect::{Findings, did_you_mean};
pub use layout::Layout;
pub use line_index::LineIndex;
pub use read::{DuplicateKeys, Options, decode, read, read_all};

use serde::Serialize;

use crate::Span;

/// A value of a YAML document and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Where it stands. What came from an alias stands where its anchor does.
    pub span: Span,
    /// The tag somebody wrote, in full: `tag:yaml.org,2002:str`, `!local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Where the alias (`*name`) stands that put the value here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<Span>,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A text, a number, a truth value or nothing: only a schema knows.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order they were written.
    Mapping(Vec<(Node, Node)>),
}

/// A scalar as written, before any schema gave it a type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scalar {
    /// The text, unquoted, unescaped and folded.
    pub text: String,
    /// How it was written.
    pub style: Style,
    /// Which character of the text stands where in the file.
    #[serde(skip)]
    pub layout: Layout,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Without quotes: the only style whose text may be a number, a truth value or nothing.
    Plain,
    /// In `'…'`.
    SingleQuoted,
    /// In `"…"`.
    DoubleQuoted,
    /// As a block after `|`.
    Literal,
    /// As a block after `>`.
    Folded,
}

impl Scalar {
    /// Returns where a part of the text, in bytes, stands in the file.
    pub fn span_of(&self, part: std::ops::Range<usize>) -> Span {
        self.layout.span(&self.text, part)
    }
}

impl Node {
    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of the scalar, whatever its type, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        self.as_scalar().map(|scalar| scalar.text.as_str())
    }

    /// The items, if it is a sequence.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub fn as_mapping(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The key node and the value of `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<(&Node, &Node)> {
        let entries = self.as_mapping()?;
        let (key, value) = entries.iter().find(|(name, _)| name.as_str() == Some(key))?;
        Some((key, value))
    }

    /// Whether nothing was written, or one of the words for nothing (`null`, `~`).
    pub fn is_null(&self) -> bool {
        core_schema::resolve(self).is_ok_and(|typed| typed == core_schema::Typed::Null)
    }

    /// What it is, in words: `a mapping`, `a list`, `a text`, `a number`, `true or false`, `nothing`.
    pub fn kind(&self) -> &'static str {
        use core_schema::Typed;
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(_) => match core_schema::resolve(self) {
                Ok(Typed::Null) => "nothing",
                Ok(Typed::Boolean(_)) => "true or false",
                Ok(Typed::Integer(_) | Typed::Float(_)) => "a number",
                Ok(Typed::Text(_)) | Err(_) => "a text",
            },
        }
    }

    /// How many nodes the tree has, itself included.
    pub fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Node::size).sum(),
            Value::Mapping(entries) => {
                entries.iter().map(|(key, value)| key.size() + value.size()).sum()
            }
        }
    }

    /// How many levels the tree has; a scalar has one.
    pub fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Mapping(entries) => {
                entries.iter().map(|(key, value)| key.depth().max(value.depth())).max().unwrap_or(0)
            }
        }
    }
}
