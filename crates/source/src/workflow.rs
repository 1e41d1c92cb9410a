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
mod fault;
mod id;
mod load;
mod message;
mod model;
mod number;
mod pattern;
mod permission;
mod schema;
mod shape;
mod summary;
mod template;
mod token;
mod trigger;

pub use cron::Cron;
pub use load::{Called, Files, Loaded, Part as LoadedPart, Reference, load};
pub use model::{
    Call, Concurrency, Container, Credentials, Defaults, Entries, Entry, Environment, Job, Level,
    Permissions, RunsOn, Secrets, Service, Setting, Snapshot, Step, StepKind, Steps, Strategy,
    Work, Workflow,
};
pub use permission::{Grants, Policy};
pub use summary::Telling;
pub use template::{Literal, Part, Template, Unclosed};
pub use token::{Token, TokenKind};
pub use trigger::{CallOutput, CallSecret, Filters, Input, InputKind, Schedule, Trigger};

use fault::Faults;

pub use crate::Spanned;
use crate::yaml::{self, DuplicateKeys, Node};
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

/// How large a workflow may be; GitHub's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in UTF-16 units.
    pub bytes: usize,
    /// The deepest nesting.
    pub depth: usize,
    /// The most YAML nodes of a file, with aliases written out and ends counted.
    pub nodes: usize,
    /// The most that all files of a run weigh in memory, by GitHub's own count.
    pub result: usize,
    /// The most jobs of all files together, if there is a limit.
    pub jobs: Option<usize>,
    /// How deep workflows may call each other.
    pub call_depth: usize,
    /// The most files.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            depth: 50,
            nodes: 50_000,
            result: 10 << 20,
            jobs: None,
            call_depth: 9,
            files: 51,
        }
    }
}

/// How workflows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How large they may be.
    pub limits: Limits,
    /// What a token may do when no file says so.
    pub policy: Policy,
    /// Whether YAML anchors are allowed.
    pub anchors: bool,
    /// Whether steps may run beside others: `background`, `wait`, `cancel`, `parallel`.
    pub background_steps: bool,
    /// Whether called workflows are read as well.
    pub calls: bool,
    /// Whether unknown keys, events and activities under `on` are errors, as for GitHub's language
    /// server; its runner passes over most of them.
    pub strict_events: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            policy: Policy::default(),
            anchors: true,
            background_steps: true,
            calls: true,
            strict_events: false,
        }
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
    let options = Options { limits, ..Options::default() };
    let mut weight = shape::Weight::new(&limits);
    let reading = reading(path, text, &options, &mut weight);
    (reading.workflow, reading.faults.into_findings())
}

/// What was made of one file.
struct Reading {
    workflow: Option<Workflow>,
    root: Option<Token>,
    faults: Faults,
    /// Whether the table had nothing against it.
    is_shaped: bool,
}

fn reading(path: &str, text: &str, options: &Options, weight: &mut shape::Weight) -> Reading {
    let mut faults = Faults::new(path);
    let Some(root) = tree(path, text, options, &mut faults) else {
        return Reading { workflow: None, root: None, faults, is_shaped: false };
    };
    let shaped = shape::check(&root, &schema::WORKFLOW, options, weight, &mut faults);
    let is_shaped = faults.said.is_empty();
    if root.as_mapping().is_none() {
        return Reading { workflow: None, root: None, faults, is_shaped };
    }
    let mut workflow = build::workflow(path, &root);
    workflow.expressions = shaped.sites;
    match root.get("on") {
        Some(on) => workflow.on = trigger::read(on, &mut faults.own),
        None => message::no_trigger(&mut faults.own, &root),
    }
    if let Some(root) = &shaped.root {
        let mut later = Faults::new(path);
        check::check(root, weight, &mut later);
        if options.strict_events {
            trigger::check_strictly(&workflow.on, &mut later);
        }
        faults.append(later);
    }
    for job in &workflow.jobs {
        if let Work::Call(call) = &job.work {
            check::called(&call.uses, &mut faults.own);
        }
    }
    Reading { workflow: Some(workflow), root: shaped.root, faults, is_shaped }
}

/// The tree of a file.
fn tree(path: &str, text: &str, options: &Options, faults: &mut Faults) -> Option<Node> {
    /// How much deeper than allowed the YAML is read, so that what is wrong before that is told.
    const SLACK: usize = 50;
    let limits = &options.limits;
    if text.len() > limits.bytes && text.encode_utf16().count() > limits.bytes {
        message::file_too_large(faults, limits.bytes);
        return None;
    }
    let yaml_options = yaml::Options {
        max_bytes: text.len(),
        max_depth: limits.depth + SLACK,
        max_nodes: limits.nodes,
        duplicate_keys: DuplicateKeys::Keep,
        glued_comments: true,
        anchors: options.anchors,
        ..yaml::Options::default()
    };
    let (root, found) = yaml::read(path, text, &yaml_options);
    let is_whole = found.is_empty();
    for finding in found {
        message::yaml(faults, finding);
    }
    if root.is_none() && is_whole {
        let start = Position::new(1, 1);
        message::empty_file(faults, Span::new(start, start));
    }
    root.filter(|_| is_whole)
}
