//! Looks at every action a workflow uses before it runs.

use std::collections::HashSet;

use source::workflow::action::{self, Action, Runs};
use source::workflow::{Step, StepKind, Workflow};
use source::{Finding, Place, Span, Spanned};

use super::{Actions, MAX_DEPTH, Reference, Remote};
use crate::built_in::BuiltIn;
use crate::plan::expressions_of;

/// The files of the repository a workflow belongs to, at its commit.
pub trait OwnFiles {
    /// The text of a file; none if it is not there.
    fn text(&self, path: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> OwnFiles for F {
    fn text(&self, path: &str) -> Option<String> {
        self(path)
    }
}

/// Fetches what a workflow uses and returns what keeps it from running.
///
/// `path` is the `PATH` of jobs, in which `node` must be when a JavaScript action is used. An
/// action `./x` that the repository does not hold may be made by a step; it is looked at when its
/// turn comes.
pub fn prepare(
    workflow: &Workflow,
    files: &dyn OwnFiles,
    actions: &Actions,
    path: &str,
) -> Vec<Finding> {
    let has_node = std::env::split_paths(path).any(|dir| dir.join("node").is_file());
    let mut walk = Walk {
        files,
        actions,
        has_node,
        seen: HashSet::new(),
        open: Vec::new(),
        findings: Vec::new(),
    };
    for job in &workflow.jobs {
        let steps = job.steps().map(|steps| steps.list.as_slice()).unwrap_or_default();
        walk.steps(&workflow.path, steps, None, 1);
    }
    walk.findings
}

struct Walk<'a> {
    files: &'a dyn OwnFiles,
    actions: &'a Actions,
    has_node: bool,
    seen: HashSet<String>,
    /// The actions on the way to the one that is looked at.
    open: Vec<String>,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    /// `home` is the repository of the file, when it is another one.
    fn steps(&mut self, file: &str, steps: &[Step], home: Option<&Remote>, depth: usize) {
        for step in steps {
            match &step.kind {
                StepKind::Uses { action, with } => {
                    let is_own =
                        matches!(Reference::parse(&action.value), Some(Reference::Remote(_)));
                    if is_own && BuiltIn::is_named(&action.value) {
                        if home.is_some() || depth > 1 {
                            self.built_in(file, action, with);
                        }
                        continue;
                    }
                    self.uses(file, action, home, depth);
                }
                StepKind::Parallel(inner) => self.steps(file, inner, home, depth),
                _ => {}
            }
        }
    }

    fn built_in(&mut self, file: &str, action: &Spanned<String>, with: &source::workflow::Entries) {
        if let Err(refusal) = BuiltIn::find(&action.value, with) {
            let message = format!("{} is not supported yet", refusal.what);
            let span = refusal.span.unwrap_or(action.span);
            self.refuse(file, span, "workflow-unsupported", message, &refusal.help);
        }
    }

    fn refuse(&mut self, file: &str, span: Span, rule: &str, message: String, help: &str) {
        self.findings.push(Finding::error(rule, message, Place::at(file, span)).help(help));
    }

    fn too_deep(&mut self, file: &str, span: Span) {
        let message = format!("actions use each other more than {MAX_DEPTH} deep");
        self.refuse(file, span, "action-depth", message, "unfold one of them");
    }

    fn uses(&mut self, file: &str, uses: &Spanned<String>, home: Option<&Remote>, depth: usize) {
        let Some(reference) = Reference::parse(&uses.value) else {
            let message = format!("`{}` names no action", uses.value);
            let help = "write `owner/name@ref`, `owner/name/path@ref`, `./path` or `$/path`";
            return self.refuse(file, uses.span, "action-uses", message, help);
        };
        if depth > MAX_DEPTH {
            return self.too_deep(file, uses.span);
        }
        match reference {
            Reference::Docker(_) => {
                self.refuse(
                    file,
                    uses.span,
                    "workflow-unsupported",
                    "a Docker action is not supported yet".to_owned(),
                    DOCKER_HELP,
                );
            }
            Reference::Workspace(path) => {
                // What a remote action's `./` is depends on what was checked out.
                if home.is_none() {
                    self.own(file, uses, &path, false, depth);
                }
            }
            Reference::Own(path) => match home {
                None => self.own(file, uses, &path, true, depth),
                Some(home) => {
                    let remote = Remote { path, ..home.clone() };
                    self.remote(file, uses, &remote, depth);
                }
            },
            Reference::Remote(remote) => self.remote(file, uses, &remote, depth),
        }
    }

    fn own(&mut self, file: &str, uses: &Spanned<String>, path: &str, must: bool, depth: usize) {
        let Some(path) = super::inner_path(path) else { return };
        let at =
            |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        for name in action::FILE_NAMES {
            if let Some(text) = self.files.text(&at(name)) {
                return self.look(file, uses, &at(name), &text, None, depth);
            }
        }
        if self.files.text(&at("Dockerfile")).is_some() {
            let message = format!("`{}` runs in Docker, which is not supported yet", uses.value);
            self.refuse(file, uses.span, "workflow-unsupported", message, DOCKER_HELP);
        } else if must {
            let message = format!("there is no action in `{}`", uses.value);
            let help = "add an `action.yml` there and commit it";
            self.refuse(file, uses.span, "action-missing", message, help);
        }
    }

    fn remote(&mut self, file: &str, uses: &Spanned<String>, remote: &Remote, depth: usize) {
        let fetched = match self.actions.fetch(remote) {
            Ok(fetched) => fetched,
            Err(error) => {
                let mut message =
                    format!("the action `{}` could not be fetched: {error}", uses.value);
                let mut cause = std::error::Error::source(&error);
                while let Some(inner) = cause {
                    message.push_str(&format!(": {inner}"));
                    cause = inner.source();
                }
                let help = format!(
                    "check its name and the network, or name a mirror in {}",
                    super::MIRROR
                );
                return self.refuse(file, uses.span, "action-fetch", message, &help);
            }
        };
        if let Some(why) = fetched.stale {
            let message = format!(
                "`{}` is used as it was fetched before, at {}: {why}",
                uses.value, fetched.commit
            );
            self.findings.push(Finding::warning(
                "action-stale",
                message,
                Place::at(file, uses.span),
            ));
        }
        let dir = fetched.dir.join(&remote.path);
        for name in action::FILE_NAMES {
            let Ok(bytes) = std::fs::read(dir.join(name)) else { continue };
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let shown = format!("{}/{name}", uses.value);
            return self.look(file, uses, &shown, &text, Some(remote), depth);
        }
        if dir.join("Dockerfile").is_file() {
            let message = format!("`{}` runs in Docker, which is not supported yet", uses.value);
            return self.refuse(file, uses.span, "workflow-unsupported", message, DOCKER_HELP);
        }
        let message = format!("there is no action in `{}` at {}", uses.value, fetched.commit);
        self.refuse(file, uses.span, "action-missing", message, "check the path and the version");
    }

    /// Looks at an action's own file and at what that uses.
    fn look(
        &mut self,
        file: &str,
        uses: &Spanned<String>,
        shown: &str,
        text: &str,
        home: Option<&Remote>,
        depth: usize,
    ) {
        let (action, findings) = action::read(shown, text);
        let is_new = self.seen.insert(shown.to_owned());
        if is_new {
            self.findings.extend(findings);
        }
        let Some(action) = action else { return };
        if is_new {
            self.findings.extend(expression_findings(&action));
        }
        match &action.runs {
            Runs::Docker { span, .. } => {
                let message =
                    format!("`{}` runs in Docker, which is not supported yet", uses.value);
                let place = Place::at(file, uses.span);
                let finding = Finding::error("workflow-unsupported", message, place)
                    .why(format!("`using: docker` stands at {}", Place::at(shown, *span)))
                    .help(DOCKER_HELP);
                self.findings.push(finding);
            }
            Runs::JavaScript(_) if !self.has_node => {
                let message =
                    format!("`{}` needs Node.js, and no `node` is in the PATH", uses.value);
                self.refuse(file, uses.span, "action-node", message, "install Node.js");
            }
            Runs::JavaScript(_) => {}
            Runs::Composite(_) if self.open.iter().any(|open| open == shown) => {
                self.too_deep(file, uses.span);
            }
            Runs::Composite(_) if !is_new => {}
            Runs::Composite(steps) => {
                self.open.push(shown.to_owned());
                self.steps(shown, steps, home, depth + 1);
                self.open.pop();
            }
        }
    }
}

const DOCKER_HELP: &str = "run its program in a `run` step";

/// What is wrong with the expressions of an action.
pub(crate) fn expression_findings(action: &Action) -> Vec<Finding> {
    let sites = action.expressions.iter();
    sites
        .flat_map(expressions_of)
        .filter_map(|(parsed, span, _)| {
            let error = parsed.err()?;
            let place = Place::at(&action.path, span);
            Some(Finding::error("workflow-expression", error.to_string(), place))
        })
        .collect()
}
