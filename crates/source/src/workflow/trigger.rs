//! What starts a workflow: the entries of `on`.

use serde::Serialize;

use super::{Spanned, Template};
use crate::Span;

/// One entry of `on`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trigger {
    /// The event: `push`, `pull_request`, `schedule`.
    pub event: Spanned<String>,
    /// `types`; `None` leaves the event's own default.
    pub types: Option<Vec<Spanned<String>>>,
    /// `branches`, `tags` and `paths`.
    pub filters: Filters,
    /// `workflows` of `workflow_run`.
    pub workflows: Vec<Spanned<String>>,
    /// `names` of `image_version`.
    pub names: Vec<Spanned<String>>,
    /// `versions` of `image_version`.
    pub versions: Vec<Spanned<String>>,
    /// The entries of `schedule`.
    pub schedules: Vec<Schedule>,
    /// `inputs` of `workflow_dispatch` and `workflow_call`.
    pub inputs: Vec<Input>,
    /// `secrets` of `workflow_call`.
    pub secrets: Vec<CallSecret>,
    /// `outputs` of `workflow_call`.
    pub outputs: Vec<CallOutput>,
}

impl Trigger {
    /// A trigger on an event with nothing else said.
    pub fn on(event: Spanned<String>) -> Self {
        Self {
            event,
            types: None,
            filters: Filters::default(),
            workflows: Vec::new(),
            names: Vec::new(),
            versions: Vec::new(),
            schedules: Vec::new(),
            inputs: Vec::new(),
            secrets: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

/// Patterns an event must pass. `None` is no filter; an empty list lets nothing pass.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Filters {
    /// `branches`.
    pub branches: Option<Vec<Spanned<String>>>,
    /// `branches-ignore`.
    pub branches_ignore: Option<Vec<Spanned<String>>>,
    /// `tags`.
    pub tags: Option<Vec<Spanned<String>>>,
    /// `tags-ignore`.
    pub tags_ignore: Option<Vec<Spanned<String>>>,
    /// `paths`.
    pub paths: Option<Vec<Spanned<String>>>,
    /// `paths-ignore`.
    pub paths_ignore: Option<Vec<Spanned<String>>>,
}

/// One entry of `schedule`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schedule {
    /// `cron`: minute, hour, day of month, month, day of week.
    pub cron: Spanned<String>,
    /// `timezone` by IANA name; UTC unless given.
    pub timezone: Option<Spanned<String>>,
}

/// One entry of `inputs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Input {
    /// Its key.
    pub name: Spanned<String>,
    /// `description`.
    pub description: Option<String>,
    /// `type`.
    pub kind: InputKind,
    /// `required`.
    pub required: bool,
    /// `default`, with the type it was written in; may be an expression in `workflow_call`.
    pub default: Option<Template>,
    /// `options` of a choice.
    pub options: Vec<Spanned<String>>,
}

/// What an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// One of `options`.
    Choice,
    /// The name of an environment.
    Environment,
}

/// One entry of `workflow_call.secrets`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSecret {
    /// Its key.
    pub name: Spanned<String>,
    /// `required`.
    pub required: bool,
}

/// One entry of `workflow_call.outputs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallOutput {
    /// Its key.
    pub name: Spanned<String>,
    /// `value`; absent only in a file with an error finding.
    pub value: Option<Template>,
}

impl Trigger {
    /// Where the event's name stands.
    pub fn span(&self) -> Span {
        self.event.span
    }
}
