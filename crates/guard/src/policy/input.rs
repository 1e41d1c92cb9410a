//! The document that a policy gets as `input`.

use serde::Serialize;
use serde_json::Value;
use source::Finding;

/// The document that a policy gets as `input`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Input {
    /// The commit that is to become a release.
    pub commit: Commit,
    /// How the newest run of each workflow ended.
    pub runs: Vec<Run>,
    /// What was found: `rule`, `severity` (`note`, `warning`, `error`), `message`, `place.path`,
    /// `place.span.start.line`, …
    pub findings: Vec<Finding>,
    /// The release that would be cut; `null` before there is one.
    pub release: Option<Release>,
    /// The Compose project in long forms, variables filled in: `compose.services` is an object by
    /// name. `null` without a Compose file.
    pub compose: Value,
    /// The workflows as written.
    pub workflows: Vec<Workflow>,
}

/// The commit that is to become a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// Its branch; `null` when the head is detached.
    pub branch: Option<String>,
    /// Its author's name.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// How many files it changed.
    pub files_changed: u32,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// The path of its workflow.
    pub workflow: String,
    /// Its name as shown.
    pub name: String,
    /// What triggered it: `push`.
    pub event: String,
    /// `success`, `failure`, `allowed_failure`, `cancelled`, `skipped` or `interrupted`; `null` while
    /// it runs.
    pub conclusion: Option<String>,
    /// How long it took.
    pub milliseconds: Option<u64>,
}

/// The release that would be cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its id.
    pub id: String,
    /// What it is known by to people.
    pub version: Option<String>,
    /// The digests of what it holds, by service.
    pub digests: std::collections::BTreeMap<String, String>,
}

/// A workflow as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Workflow {
    /// Its path.
    pub path: String,
    /// What stands in the file, typed as YAML 1.2 has it: `workflow.document.jobs.test.steps[0].run`.
    pub document: Value,
}
