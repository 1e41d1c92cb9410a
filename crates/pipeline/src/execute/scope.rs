//! What expressions see while a run takes place.

use std::path::PathBuf;

use source::expression::Function;

use crate::expression::{Object, Scope, Value};
use crate::hash_files;

/// How things have gone so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    Failure,
    Cancelled,
    /// Nothing failed, but something that is needed was skipped or cancelled.
    Incomplete,
}

impl Status {
    pub fn text(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failure => "failure",
            Status::Cancelled | Status::Incomplete => "cancelled",
        }
    }

    fn answer(self, function: Function) -> bool {
        match function {
            Function::Success => self == Status::Success,
            Function::Failure => self == Status::Failure,
            Function::Cancelled => self == Status::Cancelled,
            _ => true,
        }
    }
}

/// The scope of what is decided about a job as a whole.
pub(super) struct JobScope {
    pub contexts: Object,
    pub status: Status,
    /// Results of all jobs it depends on.
    pub results: Vec<(String, &'static str)>,
}

impl Scope for JobScope {
    fn context(&self, name: &str) -> Option<Value> {
        self.contexts.get(name).cloned()
    }

    fn status(&self, function: Function, arguments: &[Value]) -> bool {
        if arguments.is_empty() {
            return self.status.answer(function);
        }
        let results = arguments.iter().map(|argument| {
            let name = argument.to_text();
            let found = self.results.iter().find(|(id, _)| id.eq_ignore_ascii_case(&name));
            found.map(|(_, result)| *result)
        });
        match function {
            Function::Success => results.into_iter().all(|result| result == Some("success")),
            Function::Failure => results.into_iter().any(|result| result == Some("failure")),
            _ => self.status.answer(function),
        }
    }
}

/// The scope of a step.
pub(super) struct StepScope<'a> {
    pub contexts: &'a Object,
    /// How things have gone in the job, or in the action that the step is part of.
    pub status: Status,
    /// Whether the job was stopped.
    pub is_cancelled: bool,
    pub workspace: PathBuf,
}

impl Scope for StepScope<'_> {
    fn context(&self, name: &str) -> Option<Value> {
        self.contexts.get(name).cloned()
    }

    fn status(&self, function: Function, _: &[Value]) -> bool {
        match function {
            Function::Cancelled => self.is_cancelled,
            _ => self.status.answer(function),
        }
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        hash_files::hash_files(&self.workspace, patterns)
    }
}
