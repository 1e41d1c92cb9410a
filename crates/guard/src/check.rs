//! Looks through a work tree or a commit, area by area.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;
use source::Finding;
use source::git::{CommitId, GitError, Repository};
use thiserror::Error;

use crate::policy;

/// What is looked through.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The files of a directory that Git does not ignore, as they lie there.
    Directory(&'a Path),
    /// The files of a commit.
    Commit {
        /// The repository.
        repository: &'a Repository,
        /// The commit.
        commit: &'a CommitId,
    },
}

/// A part of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Secrets in files.
    Secrets,
    /// `.github/workflows`.
    Workflows,
    /// The Compose file.
    Compose,
    /// Prometheus rule files.
    Rules,
    /// `policy/*.rego`.
    Policy,
    /// Known weaknesses of dependencies.
    Dependencies,
}

impl Area {
    /// Every area, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::Secrets,
        Self::Workflows,
        Self::Compose,
        Self::Rules,
        Self::Policy,
        Self::Dependencies,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Workflows => "workflows",
            Self::Compose => "compose",
            Self::Rules => "rules",
            Self::Policy => "policy",
            Self::Dependencies => "dependencies",
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no such area.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "there is no area `{name}`; there are secrets, workflows, compose, rules, policy and dependencies"
)]
pub struct UnknownArea {
    /// What was asked for.
    pub name: String,
}

impl FromStr for Area {
    type Err = UnknownArea;

    fn from_str(name: &str) -> Result<Self, UnknownArea> {
        let found = Self::ALL.into_iter().find(|area| area.name() == name);
        found.ok_or_else(|| UnknownArea { name: name.to_owned() })
    }
}

/// How to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// The areas.
    pub areas: Vec<Area>,
    /// What the policies are asked about; without it they are read but not asked.
    ///
    /// What the check itself learns is filled in: `findings`, `compose` and `workflows`.
    pub policy: Option<policy::Input>,
    /// How far a policy may go.
    pub fence: policy::Fence,
}

impl Default for Options {
    fn default() -> Self {
        Self { areas: Area::ALL.to_vec(), policy: None, fence: policy::Fence::default() }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What was found, by path and place, each once.
    pub findings: Vec<Finding>,
    /// What could not be checked.
    pub not_checked: Vec<NotChecked>,
    /// Number of files read.
    pub files: u32,
    /// How long it took.
    pub milliseconds: u64,
}

/// Something that could not be checked, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NotChecked {
    /// The area.
    pub area: Area,
    /// The file, if it is about one.
    pub path: Option<String>,
    /// Why.
    pub why: String,
}

impl fmt::Display for NotChecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {path}: {}", self.area, self.why),
            None => write!(f, "{}: {}", self.area, self.why),
        }
    }
}

impl Report {
    /// What could not be checked, in words: `dependencies: no advisory data`.
    pub fn not_checked_lines(&self) -> Vec<String> {
        self.not_checked.iter().map(NotChecked::to_string).collect()
    }

    /// Returns at most `most` findings, errors first: what fits into an event.
    pub fn worst(&self, most: usize) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings.truncate(most);
        findings
    }
}

/// Why nothing could be checked.
#[derive(Debug, Error)]
pub enum CheckError {
    /// The commit could not be read.
    #[error("could not read the commit")]
    Git(#[source] GitError),
    /// The directory is not there or cannot be read.
    #[error("could not read `{path}`")]
    Directory {
        /// The directory.
        path: std::path::PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Looks through a subject.
pub fn check(_subject: Subject<'_>, options: &Options) -> Result<Report, CheckError> {
    let not_checked = options.areas.iter().map(|area| NotChecked {
        area: *area,
        path: None,
        why: "nothing checks it yet".to_owned(),
    });
    Ok(Report { not_checked: not_checked.collect(), ..Report::default() })
}

/// Returns the policies of a subject: every `policy/**/*.rego` but tests (`*_test.rego`).
pub fn policies(_subject: Subject<'_>) -> Result<Vec<policy::PolicyFile>, CheckError> {
    Ok(Vec::new())
}
