//! Compose files as a typed model in which every field knows where it stands.
//!
//! [`read`] takes all files of a project at once: each is read as YAML, its variables are filled
//! in, its keys and types are checked, and it is laid over the files before it; what comes out is
//! typed and checked as a whole. The result is what could be read plus every finding of every file.
//!
//! What an engine cannot honour is not decided here: [`Service::fields`] lists what somebody set.
//!
//! # Glossary
//!
//! - **project**: the services of one or more Compose files that belong together.
//! - **service**: one entry under `services:`.
//! - **short form, long form**: `"8080:80"` against `{target: 80, published: 8080}`; the model
//!   holds only the long one.

mod check;
mod environment;
mod interpolate;
mod load;
mod merge;
mod model;
mod shape;
mod tree;
mod typed;
mod units;

pub use environment::{Environment, read_env_file};
pub use model::{
    AccessLog, Build, CircuitBreakers, Condition, Config, Dependency, Deploy, EngineName, EnvFile,
    FailureAction, FileGrant, HealthTest, Healthcheck, Hook, LogFormat, Marline, Mount, MountKind,
    Network, NetworkUse, Order, OutlierDetection, Port, PortRange, Project, Protocol, RateLimit,
    ResourceLimits, Resources, Restart, RestartCondition, RestartPolicy, RetryBudget, SelectError,
    Service, Spanned, Strategy, Tls, Ulimit, UpdateConfig, Volume,
};
pub use units::{parse_bytes, parse_duration, shell_words};

use std::collections::HashSet;

use crate::project::{Detection, suggested_compose};
use crate::{Finding, Severity};

/// The names of Compose files in the order they are looked for, and of the file laid over each.
pub const FILE_NAMES: [(&str, &str); 4] = [
    ("compose.yaml", "compose.override.yaml"),
    ("compose.yml", "compose.override.yml"),
    ("docker-compose.yaml", "docker-compose.override.yaml"),
    ("docker-compose.yml", "docker-compose.override.yml"),
];

/// Returns the files that make up the project when nobody names any; none when there is none.
pub fn default_files(exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let Some((base, _)) = FILE_NAMES.into_iter().find(|(base, _)| exists(base)) else {
        return Vec::new();
    };
    let laid_over = FILE_NAMES.into_iter().map(|(_, over)| over).find(|over| exists(over));
    std::iter::once(base).chain(laid_over).collect()
}

/// A Compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeFile {
    /// Its path relative to the repository.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

impl ComposeFile {
    /// Returns the file at `path` with the text in it.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// Reads files that belong together, each laid over the ones before it, and need no others.
///
/// What they include, or extend from other files, is told as missing; see [`read_with`].
pub fn read(files: &[ComposeFile], environment: &Environment) -> (Option<Project>, Vec<Finding>) {
    read_with(files, environment, &|_| None)
}

/// Reads files that belong together, each laid over the ones before it, with the files that they
/// include and those that they extend services from.
///
/// `other` gives the text of a file by its path relative to the repository. The paths of a file are
/// relative to where the first one lies; in the project they are relative to the repository.
///
/// The project is there whenever enough could be read to say what is in it; it must not be started
/// when one of the findings is an error.
pub fn read_with(
    files: &[ComposeFile],
    environment: &Environment,
    other: &dyn Fn(&str) -> Option<String>,
) -> (Option<Project>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut documents = Vec::new();
    for file in files {
        let nodes = load::documents_of(file, &mut findings);
        documents.extend(nodes.into_iter().map(|node| (file, node)));
    }
    let (name, given) = environment::project_name(&documents, environment, &mut findings);
    let directory = files.first().map_or("", |file| load::folder_of(&file.path));
    let whole = load::Loader::new(other, &mut findings).whole(
        &documents,
        &given,
        directory,
        &mut Vec::new(),
    );
    let project = whole.map(|whole| typed::project(name, &whole, &mut findings));
    if let Some(project) = &project {
        check::check(project, &mut findings);
    } else if findings.is_empty() {
        let path = files.first().map_or("compose.yaml", |file| file.path.as_str());
        findings.push(
            Finding::error(
                "compose-empty",
                "there is nothing in the file",
                crate::Place::file(path),
            )
            .help("describe at least one service under `services:`"),
        );
    }
    findings.sort_by_cached_key(|finding| {
        let file = files.iter().position(|file| file.path == finding.place.path);
        (file, finding.place.span.map(|span| span.start))
    });
    findings.dedup();
    // A value that is of the wrong type for its place is often found wrong again when it is typed.
    let wrong: HashSet<_> = findings
        .iter()
        .filter(|f| f.rule == "compose-type" || f.rule == "compose-variable")
        .map(|f| f.place.clone())
        .collect();
    findings.retain(|f| f.rule != "compose-value" || !wrong.contains(&f.place));
    (project, findings)
}

/// Builds the same model for a repository without a Compose file, from what was detected in it;
/// `None` when nothing in it can be started.
///
/// The places point into the Compose file that is returned with it: the one to show, or to save.
pub fn from_detection(
    detection: &Detection,
    environment: &Environment,
) -> Option<(Project, ComposeFile)> {
    let file = ComposeFile::new(FILE_NAMES[0].0, suggested_compose(detection)?);
    let (project, _) = read(std::slice::from_ref(&file), environment);
    Some((project?, file))
}

/// Whether nothing in the findings keeps a project from starting.
pub fn is_usable(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity < Severity::Error)
}
