//! GitHub Actions workflows, read whole and with positions.
//!
//! A [`Workflow`] is what somebody wrote, in types: nothing is evaluated and nothing is left out.
//! Every value that may hold `${{ … }}` is a [`Template`], which knows where each of its parts
//! stands; every value that GitHub also takes as one expression is a [`Setting`]. Expressions are
//! not parsed here: [`Workflow::expressions`] lists them with the contexts each may use.
//!
//! What the language allows is the table in `schema`, held against the file by `shape`; what
//! must hold beyond that (who needs whom, whether ids are unique) is in `check`; the words for
//! what is wrong are in `message`.

pub mod action;
mod build;
mod check;
mod cron;
mod event;
mod id;
mod message;
mod model;
mod number;
mod pattern;
mod schema;
mod shape;
mod template;
mod trigger;

pub use model::{
    Call, Concurrency, Container, Credentials, Defaults, Entries, Entry, Environment, Job, Level,
    Permissions, RunsOn, Secrets, Service, Setting, Snapshot, Step, StepKind, Steps, Strategy,
    Work, Workflow,
};
pub use template::{Literal, Part, Template, Unclosed};
pub use trigger::{CallOutput, CallSecret, Filters, Input, InputKind, Schedule, Trigger};

pub use crate::Spanned;
use crate::yaml::{self, DuplicateKeys, Findings};
use crate::{Finding, Position, Span};

/// A place of a workflow that holds an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// What is written there.
    pub template: Template,
    /// The contexts (`github`) and functions with their argument counts (`hashFiles(1,255)`,
    /// `success(0,MAX)`) that may be used there.
    pub contexts: Vec<&'static str>,
    /// Whether it is the value of an `if`, which is an expression even without `${{ }}`.
    pub condition: bool,
}

/// How large a workflow may be; GitHub's own limits unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub bytes: usize,
    /// The deepest nesting.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, depth: 50 }
    }
}

/// Reads a workflow: what could be read, and everything that is wrong with it.
///
/// With an error among the findings the workflow is not to be run. It is `None` only if the file
/// is not well-formed YAML or holds no mapping.
pub fn read(path: &str, text: &str) -> (Option<Workflow>, Vec<Finding>) {
    read_within(path, text, Limits::default())
}

/// Reads a workflow within other limits than GitHub's.
pub fn read_within(path: &str, text: &str, limits: Limits) -> (Option<Workflow>, Vec<Finding>) {
    let options = yaml::Options {
        max_bytes: limits.bytes,
        max_depth: limits.depth,
        duplicate_keys: DuplicateKeys::RefuseIgnoringCase,
        glued_comments: true,
        ..yaml::Options::default()
    };
    let (root, faults) = yaml::read(path, text, &options);
    let is_whole = faults.is_empty();
    let mut findings = Findings::new(path);
    findings.extend(faults);
    let Some(root) = root else {
        if is_whole {
            let start = Position::new(1, 1);
            message::empty_file(&mut findings, Span::new(start, start));
        }
        return (None, findings.into_sorted());
    };
    let expressions = shape::check(&root, &schema::WORKFLOW, &mut findings);
    if root.as_mapping().is_none() {
        return (None, findings.into_sorted());
    }
    let mut workflow = build::workflow(path, &root);
    workflow.expressions = expressions;
    match root.get("on") {
        Some(on) => workflow.on = trigger::read(on, &mut findings),
        None => message::no_trigger(&mut findings, &root),
    }
    if let Some(jobs) = root.get("jobs").filter(|jobs| jobs.as_mapping().is_some()) {
        check::check(&workflow, jobs.span, &mut findings);
    }
    (Some(workflow), findings.into_sorted())
}
