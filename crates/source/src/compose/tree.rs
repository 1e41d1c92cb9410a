//! The tree of a Compose file with its variables filled in.

use std::sync::Arc;

use super::Environment;
use super::interpolate::{Room, interpolate};
use crate::yaml::core_schema::{self, Typed};
use crate::yaml::{Node, Style, Value};
use crate::{Finding, Place, Span};

/// Where something stands, cheap to copy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At {
    path: Arc<str>,
    span: Option<Span>,
}

impl At {
    pub(super) fn place(&self) -> Place {
        Place { path: self.path.to_string(), span: self.span }
    }
}

/// A value, where it stands, and how it takes part in a merge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub at: At,
    pub mark: Mark,
    pub content: Content,
}

/// What a tag says about merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The usual rules.
    None,
    /// `!reset`: as if neither this file nor those before had it.
    Reset,
    /// `!override`: in place of what was before.
    Override,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Null,
    /// The flag says that it is a number.
    Number(String),
    Boolean(bool),
    Text(String),
    List(Vec<Item>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: At,
    /// Whether the key is a text and not a number or a truth value.
    pub key_is_text: bool,
    pub value: Item,
}

impl Item {
    pub(super) fn new(at: &At, content: Content) -> Self {
        Self { at: at.clone(), mark: Mark::None, content }
    }

    pub(super) fn text(at: &At, text: impl Into<String>) -> Self {
        Self::new(at, Content::Text(text.into()))
    }

    /// Takes a node over, with the variables of its texts filled in.
    pub(super) fn read(
        path: &str,
        node: &Node,
        environment: &Environment,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let path: Arc<str> = path.into();
        Self::take(&path, node, environment, &mut Room::default(), findings)
    }

    fn take(
        path: &Arc<str>,
        node: &Node,
        environment: &Environment,
        room: &mut Room,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let at = At { path: path.clone(), span: Some(node.span) };
        let mark = match node.tag.as_deref() {
            Some("!reset") => Mark::Reset,
            Some("!override") => Mark::Override,
            _ => Mark::None,
        };
        let content = match &node.value {
            Value::Sequence(items) => Content::List(
                items
                    .iter()
                    .map(|item| Self::take(path, item, environment, room, findings))
                    .collect(),
            ),
            Value::Mapping(entries) => Content::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.as_str().unwrap_or_default().to_owned(),
                        key_at: At { path: path.clone(), span: Some(key.span) },
                        key_is_text: is_text_key(key),
                        value: Self::take(path, value, environment, room, findings),
                    })
                    .collect(),
            ),
            Value::Scalar(scalar) => {
                let filled = interpolate(path, scalar, environment, room, findings);
                match filled {
                    Some(text) => Content::Text(text),
                    None if mark != Mark::None && scalar.style == Style::Plain => {
                        let mut untagged = node.clone();
                        untagged.tag = None;
                        typed(&untagged)
                    }
                    None => typed(node),
                }
            }
        };
        Self { at, mark, content }
    }

    pub(super) fn place(&self) -> Place {
        self.at.place()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Item> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Item> {
        match &mut self.content {
            Content::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
            }
            _ => None,
        }
    }

    /// The entries of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Item] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.content == Content::Null
    }

    /// The text of a scalar as written; `None` for nothing, lists and mappings.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.content {
            Content::Text(text) | Content::Number(text) => Some(text.clone()),
            Content::Boolean(value) => Some(value.to_string()),
            Content::Null | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Number(_) => "a number",
            Content::Boolean(_) => "true or false",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.content {
            Content::Null => Json::Null,
            Content::Boolean(value) => Json::Bool(*value),
            Content::Number(text) => {
                let number = text.strip_prefix('+').unwrap_or(text);
                serde_json::from_str::<serde_json::Number>(number)
                    .map_or_else(|_| Json::String(text.clone()), Json::Number)
            }
            Content::Text(text) => Json::String(text.clone()),
            Content::List(items) => Json::Array(items.iter().map(Item::to_json).collect()),
            Content::Map(entries) => Json::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
        }
    }
}

fn is_text_key(key: &Node) -> bool {
    // `on` and `12:` are keys people write; only what YAML types as a number is none.
    !matches!(core_schema::resolve(key), Ok(Typed::Integer(_) | Typed::Float(_)))
        && key.as_scalar().is_some()
}

fn typed(node: &Node) -> Content {
    let text = node.as_str().unwrap_or_default();
    match core_schema::resolve(node) {
        Ok(Typed::Null) => Content::Null,
        Ok(Typed::Boolean(value)) => Content::Boolean(value),
        Ok(Typed::Integer(_) | Typed::Float(_)) => Content::Number(text.to_owned()),
        Ok(Typed::Text(_)) | Err(_) => Content::Text(text.to_owned()),
    }
}
