//! The rules for workflows and Compose files: one file each, and one line in [`RULES`].
//!
//! Each rule brings its reason, its remedy, and a bad and a good example; the tests run the
//! examples, and the documentation is made from them.

mod always_true_condition;
mod docker_socket;
mod floating_image;
mod hardcoded_credentials;
mod privileged_service;
mod script_injection;
mod secret_in_environment;
mod secret_in_log;
mod self_hosted_runner;
mod unpinned_action;
mod unsecure_commands;
mod untrusted_checkout;
mod value;
mod write_all_permissions;

#[cfg(test)]
mod tests;

use source::compose::{ComposeFile, Project};
use source::workflow::{Step, StepKind, Workflow};
use source::yaml::LineIndex;
use source::{Finding, Place, Severity, Span};

/// What raises findings in a kind of file.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its id, in kebab case.
    pub id: &'static str,
    /// How bad what it finds is; some findings of a rule may be milder.
    pub severity: Severity,
    /// What it finds, in one line.
    pub what: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// How to mend it.
    pub mend: &'static str,
    /// A file in which it finds something.
    pub bad: &'static str,
    /// The same file, mended.
    pub good: &'static str,
    /// What it looks at.
    pub look: Look,
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    /// A workflow.
    Workflow(fn(&Workflow, &mut Raised<'_>)),
    /// A Compose project.
    Compose(fn(&Project, &mut Raised<'_>)),
}

/// What one rule found so far.
#[derive(Debug)]
pub struct Raised<'a> {
    rule: &'static Rule,
    path: &'a str,
    files: &'a [ComposeFile],
    findings: Vec<Finding>,
}

impl Raised<'_> {
    /// Adds a finding of the rule at a part of the workflow and returns it.
    pub fn here(&mut self, span: Span, message: impl Into<String>) -> &mut Finding {
        self.at(Place::at(self.path, span), message)
    }

    /// The line of a Compose file at which a place begins, before variables were filled in.
    pub fn line_of(&self, place: &Place) -> Option<&str> {
        let file = self.files.iter().find(|file| file.path == place.path)?;
        LineIndex::new(&file.text).line(&file.text, place.span?.start.line)
    }

    /// Adds a finding of the rule at a place and returns it, so that more can be said.
    pub fn at(&mut self, place: Place, message: impl Into<String>) -> &mut Finding {
        let mut finding = Finding::error(self.rule.id, message, place);
        finding.severity = self.rule.severity;
        finding.why = Some(self.rule.why.to_owned());
        finding.help = Some(self.rule.mend.to_owned());
        self.findings.push(finding);
        self.findings.last_mut().expect("it was pushed on the line above")
    }
}

/// Every rule, in reading order.
pub const RULES: &[&Rule] = &[
    &untrusted_checkout::RULE,
    &script_injection::RULE,
    &unpinned_action::RULE,
    &always_true_condition::RULE,
    &secret_in_log::RULE,
    &write_all_permissions::RULE,
    &self_hosted_runner::RULE,
    &unsecure_commands::RULE,
    &hardcoded_credentials::RULE,
    &secret_in_environment::RULE,
    &privileged_service::RULE,
    &docker_socket::RULE,
    &floating_image::RULE,
];

/// Looks through a workflow with every rule for workflows.
pub fn look_at_workflow(workflow: &Workflow) -> Vec<Finding> {
    apply(&workflow.path, &[], |look, raised| {
        if let Look::Workflow(look) = look {
            look(workflow, raised);
        }
    })
}

/// Looks through a Compose project, made of these files, with every rule for Compose files.
pub fn look_at_compose(project: &Project, files: &[ComposeFile]) -> Vec<Finding> {
    apply("", files, |look, raised| {
        if let Look::Compose(look) = look {
            look(project, raised);
        }
    })
}

fn apply<'a>(
    path: &'a str,
    files: &'a [ComposeFile],
    look: impl Fn(Look, &mut Raised<'a>),
) -> Vec<Finding> {
    let found = RULES.iter().flat_map(|rule| {
        let mut raised = Raised { rule, path, files, findings: Vec::new() };
        look(rule.look, &mut raised);
        raised.findings
    });
    found.collect()
}

/// Every step of a workflow, also those side by side, with the steps around it.
fn steps(workflow: &Workflow) -> Vec<(&source::workflow::Steps, &Step)> {
    fn flatten<'a>(list: &'a [Step], out: &mut Vec<&'a Step>) {
        for step in list {
            out.push(step);
            if let StepKind::Parallel(inner) = &step.kind {
                flatten(inner, out);
            }
        }
    }
    let mut all = Vec::new();
    for steps in workflow.jobs.iter().filter_map(|job| job.steps()) {
        let mut flat = Vec::new();
        flatten(&steps.list, &mut flat);
        all.extend(flat.into_iter().map(|step| (steps, step)));
    }
    all
}

/// The action of a step, without its version, if it is this one.
fn uses<'a>(step: &'a Step, name: &str) -> Option<&'a source::workflow::Entries> {
    let StepKind::Uses { action, with } = &step.kind else { return None };
    let (used, _) = action.value.split_once('@').unwrap_or((&action.value, ""));
    used.eq_ignore_ascii_case(name).then_some(with)
}
