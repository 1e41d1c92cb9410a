//! The answer to `why`, in parts, each with its evidence.

use journal::{Certainty, EventId};
use serde::Serialize;
use source::Place;

use crate::Subject;

/// Why something is as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// What it is about.
    pub subject: Subject,
    /// How the subject stands.
    pub standing: Standing,
    /// One line that says what is going on.
    pub sentence: String,
    /// What led to it, if that is known at all.
    pub cause: Option<Cause>,
    /// What the cause rests on, strongest first.
    pub evidence: Vec<Line>,
    /// What else it may be, best first.
    pub also_possible: Vec<Line>,
    /// What changed since it was last well.
    pub changed: Vec<Line>,
    /// Who was affected, and for how long.
    pub affected: Vec<Line>,
    /// What Marline did about it.
    pub done: Vec<Line>,
    /// What to do now, best first.
    pub next: Vec<Next>,
    /// The same in plain words: at most eighty, for people who do not read logs.
    pub for_manager: Vec<Line>,
}

/// What led to something, and how sure that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// In one sentence.
    pub text: String,
    /// How sure it is.
    pub certainty: Certainty,
}

/// A sentence and the events it rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The sentence.
    pub text: String,
    /// The events it rests on.
    pub events: Vec<EventId>,
    /// The file it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Whether it is quoted from a log and not said by Marline.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_quote: bool,
}

impl Line {
    /// Returns a sentence that rests on these events.
    pub fn new(text: impl Into<String>, events: impl IntoIterator<Item = EventId>) -> Self {
        Self {
            text: text.into(),
            events: events.into_iter().collect(),
            place: None,
            is_quote: false,
        }
    }

    /// Returns a line of a log.
    pub fn quote(text: impl Into<String>, events: impl IntoIterator<Item = EventId>) -> Self {
        Self { is_quote: true, ..Self::new(text, events) }
    }

    /// Says which file it speaks of.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }
}

/// Something to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    /// What, in words.
    pub text: String,
    /// The command that does it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Next {
    /// Returns something to do without a command.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None }
    }

    /// Returns something to do and the command that does it.
    pub fn command(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self { text: text.into(), command: Some(command.into()) }
    }
}

/// How something stands: five states for everything, on every screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is not there, was skipped or was stopped.
    Off,
    /// It is as it should be.
    Ok,
    /// It is on its way.
    Running,
    /// Somebody should look at it.
    Attention,
    /// It went wrong.
    Failed,
}
