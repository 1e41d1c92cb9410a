//! A fact with its place in the journal, its time, its actor and its cause.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{EventId, Fact};

/// One thing that happened, who did it, and what led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the journal; it only grows.
    pub id: EventId,
    /// When it was appended.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventId>,
    /// What happened.
    pub fact: Fact,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Actor {
    /// Marline itself, acting on its own rules.
    Conductor,
    /// Somebody at this machine, by the name of their account.
    Person(String),
    /// A machine account, by the name of its token.
    Token(String),
    /// A program that acts for somebody, by its name.
    Agent(String),
    /// Somebody or something elsewhere, such as a forge's webhook.
    Remote(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Conductor => f.write_str("marline"),
            Actor::Person(name) => f.write_str(name),
            Actor::Token(name) => write!(f, "token {name}"),
            Actor::Agent(name) => write!(f, "agent {name}"),
            Actor::Remote(name) => write!(f, "remote {name}"),
        }
    }
}
