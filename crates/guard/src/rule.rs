//! The rules for workflows and Compose files: one file each, and one line in [`RULES`].
//!
//! Each rule brings its reason, its remedy, and a bad and a good example; the tests run the
//! examples, and the documentation is made from them.

use source::compose::Project;
use source::workflow::Workflow;
use source::{Finding, Place, Severity};

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
    Workflow(fn(&Workflow, &mut Raised)),
    /// A Compose project.
    Compose(fn(&Project, &mut Raised)),
}

/// What one rule found so far.
#[derive(Debug)]
pub struct Raised {
    rule: &'static Rule,
    findings: Vec<Finding>,
}

impl Raised {
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
pub const RULES: &[&Rule] = &[];

/// Looks through a workflow with every rule for workflows.
pub fn look_at_workflow(workflow: &Workflow) -> Vec<Finding> {
    apply(|look, raised| {
        if let Look::Workflow(look) = look {
            look(workflow, raised);
        }
    })
}

/// Looks through a Compose project with every rule for Compose files.
pub fn look_at_compose(project: &Project) -> Vec<Finding> {
    apply(|look, raised| {
        if let Look::Compose(look) = look {
            look(project, raised);
        }
    })
}

fn apply(look: impl Fn(Look, &mut Raised)) -> Vec<Finding> {
    let found = RULES.iter().flat_map(|rule| {
        let mut raised = Raised { rule, findings: Vec::new() };
        look(rule.look, &mut raised);
        raised.findings
    });
    found.collect()
}
