//! Looks through a work tree or a commit, area by area.

mod tree;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use source::compose::Environment;
use source::git::{CommitId, GitError, Repository};
use source::yaml::{self, LineIndex};
use source::{Finding, Place};
use thiserror::Error;

use crate::policy::{self, PolicyFile};
use crate::rule;
use crate::secret::{NotScanned, RuleSet, Scanner};
use tree::{Tree, shown};

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
    /// The variables that the Compose file may name.
    pub environment: Environment,
    /// How far a policy may go.
    pub fence: policy::Fence,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            areas: Area::ALL.to_vec(),
            policy: None,
            environment: Environment::default(),
            fence: policy::Fence::default(),
        }
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
    /// Where the secrets stand.
    #[serde(skip)]
    secrets: Vec<Place>,
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

    /// Returns a text of a file with the secrets in it covered, as it may be shown beside findings.
    pub fn without_secrets(&self, path: &str, text: &str) -> String {
        // As the finding itself shows it.
        let shown = |range: &std::ops::Range<usize>| if range.len() >= 20 { 4 } else { 0 };
        let lines = LineIndex::new(text);
        let here = self.secrets.iter().filter(|place| place.path == path);
        let ranges: Vec<_> =
            here.filter_map(|place| Some(lines.range(text, place.span?))).collect();
        let covered = |at: usize| {
            ranges.iter().any(|range| range.contains(&at) && at >= range.start + shown(range))
        };
        text.char_indices().map(|(at, c)| if covered(at) { '•' } else { c }).collect()
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
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Looks through a subject.
pub fn check(subject: Subject<'_>, options: &Options) -> Result<Report, CheckError> {
    let started = Instant::now();
    let tree = Tree::of(subject)?;
    let mut look = Look { tree: &tree, options, report: Report::default(), read: BTreeSet::new() };
    for area in Area::ALL.into_iter().filter(|area| options.areas.contains(area)) {
        match area {
            Area::Secrets => look.secrets()?,
            Area::Workflows => look.workflows()?,
            Area::Compose => look.compose()?,
            Area::Rules => look.rules()?,
            Area::Policy => look.policy()?,
            Area::Dependencies => look.not_checked(area, None, "no advisory data"),
        }
    }
    let Look { mut report, read, .. } = look;
    report
        .findings
        .sort_by(|a, b| (&a.place, &a.rule, &a.message).cmp(&(&b.place, &b.rule, &b.message)));
    report.findings.dedup();
    report.not_checked.sort();
    report.not_checked.dedup();
    report.files = u32::try_from(read.len()).unwrap_or(u32::MAX);
    report.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Returns the policies of a subject: every `policy/**/*.rego` but tests (`*_test.rego`).
pub fn policies(subject: Subject<'_>) -> Result<Vec<PolicyFile>, CheckError> {
    Tree::of(subject)?.policies().map(|(files, _)| files)
}

/// Fills into the input of policies what stands in the files: `compose` and `workflows`.
pub fn complete(
    subject: Subject<'_>,
    environment: &Environment,
    input: policy::Input,
) -> Result<policy::Input, CheckError> {
    Tree::of(subject)?.complete(environment, input)
}

/// A check on its way.
struct Look<'a> {
    tree: &'a Tree<'a>,
    options: &'a Options,
    report: Report,
    /// The files that were read, each counted once.
    read: BTreeSet<PathBuf>,
}

impl Look<'_> {
    fn not_checked(&mut self, area: Area, path: Option<String>, why: &str) {
        self.report.not_checked.push(NotChecked { area, path, why: why.to_owned() });
    }

    /// The text of a file; a finding if it is not UTF-8, nothing if it is not there.
    fn text(&mut self, path: &Path) -> Result<Option<String>, CheckError> {
        let Some(content) = self.tree.read(path)? else { return Ok(None) };
        self.read.insert(path.to_owned());
        match yaml::decode(&shown(path), &content) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(finding) => {
                self.report.findings.push(finding);
                Ok(None)
            }
        }
    }

    fn secrets(&mut self) -> Result<(), CheckError> {
        let rules = match self.text(Path::new(".gitleaks.toml"))? {
            None => RuleSet::built_in(),
            Some(text) => {
                let load = |path: &str| {
                    let content = self.tree.read(Path::new(path)).ok()??;
                    String::from_utf8(content).ok()
                };
                let (rules, findings) = RuleSet::read(".gitleaks.toml", &text, &load);
                self.report.findings.extend(findings);
                let Some(rules) = rules else {
                    let why = "`.gitleaks.toml` cannot be read";
                    self.not_checked(Area::Secrets, None, why);
                    return Ok(());
                };
                Arc::new(rules)
            }
        };
        let ignored = self.text(Path::new(".gitleaksignore"))?.unwrap_or_default();
        let ignored: BTreeSet<&str> =
            ignored.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
        let mut scanner = Scanner::new(rules);
        if let Subject::Commit { commit, .. } = self.tree.subject {
            scanner = scanner.of_commit(commit.as_str());
        }
        let scanned = self.tree.scan(&scanner)?;
        let mut binary = 0;
        for (path, outcome) in scanned {
            let name = shown(&path);
            match outcome {
                Ok(scan) => {
                    self.read.insert(path);
                    let is_ignored = |finding: &Finding| {
                        let line = finding.place.span.map_or(0, |span| span.start.line);
                        ignored.contains(format!("{name}:{}:{line}", finding.rule).as_str())
                    };
                    let kept = scan.findings.into_iter().filter(|finding| !is_ignored(finding));
                    for finding in kept {
                        self.report.secrets.push(finding.place.clone());
                        self.report.findings.push(finding);
                    }
                    match scan.not_checked {
                        None => {}
                        Some(NotScanned::Binary) => binary += 1,
                        Some(NotScanned::TooLarge { bytes }) => {
                            let why = format!("too large to be looked through ({bytes} bytes)");
                            self.not_checked(Area::Secrets, Some(name), &why);
                        }
                    }
                }
                Err(why) => self.not_checked(Area::Secrets, Some(name), &why),
            }
        }
        if binary > 0 {
            let s = if binary == 1 { "" } else { "s" };
            self.not_checked(Area::Secrets, None, &format!("{binary} binary file{s}"));
        }
        Ok(())
    }

    fn workflows(&mut self) -> Result<(), CheckError> {
        for path in self.tree.in_folder(".github/workflows", &["yml", "yaml"], false) {
            let Some(text) = self.text(&path)? else { continue };
            let (workflow, findings) = source::workflow::read(&shown(&path), &text);
            self.report.findings.extend(findings);
            if let Some(workflow) = workflow {
                self.report.findings.extend(rule::look_at_workflow(&workflow));
            }
        }
        Ok(())
    }

    fn compose(&mut self) -> Result<(), CheckError> {
        let (project, findings, files) = self.tree.compose(&self.options.environment)?;
        self.read.extend(files.iter().map(|file| PathBuf::from(&file.path)));
        self.report.findings.extend(findings);
        if let Some(project) = project {
            self.report.findings.extend(rule::look_at_compose(&project, &files));
        }
        Ok(())
    }

    fn rules(&mut self) -> Result<(), CheckError> {
        let paths = self.tree.in_folder("rules", &["yml", "yaml"], true);
        if !paths.is_empty() {
            let why = "whether their queries are PromQL";
            self.not_checked(Area::Rules, None, why);
        }
        for path in paths {
            if let Some(text) = self.text(&path)? {
                let (_, findings) = source::rules::read(&shown(&path), &text);
                self.report.findings.extend(findings);
            }
        }
        Ok(())
    }

    fn policy(&mut self) -> Result<(), CheckError> {
        let (files, unreadable) = self.tree.policies()?;
        self.report.findings.extend(unreadable);
        self.read.extend(files.iter().map(|file| PathBuf::from(&file.path)));
        let fence = &self.options.fence;
        let evaluation = match &self.options.policy {
            _ if files.is_empty() => policy::Evaluation::default(),
            None => {
                self.not_checked(Area::Policy, None, "the policies are asked at the gate");
                policy::read(&files, fence)
            }
            Some(input) => {
                let mut input = self.tree.complete(&self.options.environment, input.clone())?;
                input.findings.extend(self.report.findings.iter().cloned());
                policy::evaluate(&files, &input, fence)
            }
        };
        self.report.findings.extend(evaluation.findings);
        for what in evaluation.not_checked {
            self.not_checked(Area::Policy, Some(what.place.to_string()), &what.why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
