//! What a workflow says, in types.

use serde::Serialize;

use super::{Site, Template, Trigger};
use crate::yaml::Node;
use crate::{Span, Spanned};

/// A value that is written out, or one expression that gives it when the run gets there.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting<T> {
    /// Written out.
    Written(Spanned<T>),
    /// One expression.
    Computed(Template),
}

impl<T> Setting<T> {
    /// The value, if it is written out.
    pub fn written(&self) -> Option<&T> {
        match self {
            Setting::Written(spanned) => Some(&spanned.value),
            Setting::Computed(_) => None,
        }
    }

    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Setting::Written(spanned) => spanned.span,
            Setting::Computed(template) => template.span,
        }
    }
}

/// A workflow file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workflow {
    /// Its path in the repository.
    pub path: String,
    /// `name`.
    pub name: Option<Template>,
    /// `run-name`.
    pub run_name: Option<Template>,
    /// `on`: what starts it, in the order written.
    pub on: Vec<Trigger>,
    /// `env`.
    pub env: Entries,
    /// `defaults.run`.
    pub defaults: Defaults,
    /// `permissions`.
    pub permissions: Option<Permissions>,
    /// `concurrency`.
    pub concurrency: Option<Concurrency>,
    /// `jobs`, in the order written.
    pub jobs: Vec<Job>,
    /// Every place that holds an expression, with what it may use there.
    #[serde(skip)]
    pub expressions: Vec<Site>,
}

impl Workflow {
    /// The job of this id; ids ignore case.
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id.value.eq_ignore_ascii_case(id))
    }

    /// The trigger for an event.
    pub fn trigger(&self, event: &str) -> Option<&Trigger> {
        self.on.iter().find(|trigger| trigger.event.value == event)
    }
}

/// Keys and values, or one expression that gives them all: `env`, `with`, `outputs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entries {
    /// Written one by one.
    Written(Vec<Entry>),
    /// One expression that gives an object.
    Computed(Template),
}

impl Default for Entries {
    fn default() -> Self {
        Entries::Written(Vec::new())
    }
}

impl Entries {
    /// The entries that are written out.
    pub fn written(&self) -> &[Entry] {
        match self {
            Entries::Written(entries) => entries,
            Entries::Computed(_) => &[],
        }
    }

    /// The value written for a key, ignoring case.
    pub fn get(&self, key: &str) -> Option<&Template> {
        let entry = self.written().iter().find(|entry| entry.key.text.eq_ignore_ascii_case(key))?;
        Some(&entry.value)
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        matches!(self, Entries::Written(entries) if entries.is_empty())
    }
}

/// A key and its value. The key `${{ insert }}` puts all entries of the value's object here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The key, which may be an expression.
    pub key: Template,
    /// The value.
    pub value: Template,
}

/// `defaults.run`: what steps use unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Defaults {
    /// `shell`.
    pub shell: Option<Template>,
    /// `working-directory`.
    pub working_directory: Option<Template>,
    /// The expression that gives `run` as a whole, in place of the two.
    pub computed: Option<Template>,
}

/// `permissions`: what the job's token may do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permissions {
    /// `read-all`.
    ReadAll(Span),
    /// `write-all`.
    WriteAll(Span),
    /// Scope by scope; a scope that is not named gets nothing.
    Scopes {
        /// Where the mapping stands.
        span: Span,
        /// The scopes in the order written.
        scopes: Vec<(Spanned<String>, Spanned<Level>)>,
    },
}

/// How much a token may do within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// `concurrency`: what may not run at the same time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Concurrency {
    /// Where it stands.
    pub span: Span,
    /// `group`, or the short form's text.
    pub group: Template,
    /// `cancel-in-progress`.
    pub cancel_in_progress: Option<Setting<bool>>,
    /// `queue`: `single` or `max`.
    pub queue: Option<Template>,
}

/// One entry of `jobs`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its key.
    pub id: Spanned<String>,
    /// Where its mapping stands.
    pub span: Span,
    /// `name`.
    pub name: Option<Template>,
    /// `needs`.
    pub needs: Vec<Spanned<String>>,
    /// `if`.
    pub condition: Option<Template>,
    /// `strategy`.
    pub strategy: Option<Setting<Strategy>>,
    /// `permissions`.
    pub permissions: Option<Permissions>,
    /// `concurrency`.
    pub concurrency: Option<Concurrency>,
    /// What it does: its own steps, or another workflow.
    pub work: Work,
}

impl Job {
    /// The job's own steps and surroundings, unless it calls another workflow.
    pub fn steps(&self) -> Option<&Steps> {
        match &self.work {
            Work::Steps(steps) => Some(steps),
            Work::Call(_) => None,
        }
    }
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Steps of its own.
    Steps(Box<Steps>),
    /// Another workflow.
    Call(Box<Call>),
}

/// The part of a job that only one with steps has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Steps {
    /// `runs-on`; absent only in a file with an error finding.
    pub runs_on: Option<RunsOn>,
    /// `timeout-minutes`.
    pub timeout_minutes: Option<Setting<f64>>,
    /// `cancel-timeout-minutes`.
    pub cancel_timeout_minutes: Option<Setting<f64>>,
    /// `continue-on-error`.
    pub continue_on_error: Option<Setting<bool>>,
    /// `container`.
    pub container: Option<Container>,
    /// `services`.
    pub services: Setting<Vec<Service>>,
    /// `env`.
    pub env: Entries,
    /// `environment`.
    pub environment: Option<Environment>,
    /// `outputs`.
    pub outputs: Entries,
    /// `defaults.run`.
    pub defaults: Defaults,
    /// `snapshot`.
    pub snapshot: Option<Snapshot>,
    /// `steps`.
    pub list: Vec<Step>,
}

/// A job that is another workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// `uses`: which workflow.
    pub uses: Spanned<String>,
    /// `with`: its inputs.
    pub with: Entries,
    /// `secrets`.
    pub secrets: Secrets,
}

/// Which secrets a called workflow gets.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Secrets {
    /// `inherit`: all of the caller's.
    Inherit(Span),
    /// These.
    Named(Entries),
}

/// `runs-on`: which machines may take the job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunsOn {
    /// One text: a label, or an expression that gives a label or a list of them.
    One(Template),
    /// A list of labels.
    Labels(Vec<Template>),
    /// `group` and `labels`.
    Group {
        /// Where the mapping stands.
        span: Span,
        /// `group`.
        group: Option<Template>,
        /// `labels`.
        labels: Vec<Template>,
    },
}

/// `strategy`: how one job becomes several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Strategy {
    /// `matrix` as written: a mapping of lists, with `include` and `exclude`, or an expression.
    pub matrix: Option<Node>,
    /// `fail-fast`.
    pub fail_fast: Option<Setting<bool>>,
    /// `max-parallel`.
    pub max_parallel: Option<Setting<f64>>,
}

/// `container`, or one of `services`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Container {
    /// Where it stands.
    pub span: Span,
    /// `image`, or the short form's text; absent or empty means no container.
    pub image: Option<Template>,
    /// `options` for `docker create`.
    pub options: Option<Template>,
    /// `env`.
    pub env: Entries,
    /// `ports`.
    pub ports: Vec<Template>,
    /// `volumes`.
    pub volumes: Vec<Template>,
    /// `credentials` for the registry.
    pub credentials: Option<Credentials>,
    /// `entrypoint` (services only).
    pub entrypoint: Option<Template>,
    /// `command` (services only).
    pub command: Option<Template>,
}

/// `credentials` for a registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Credentials {
    /// Where they stand.
    pub span: Span,
    /// `username`.
    pub username: Option<Template>,
    /// `password`.
    pub password: Option<Template>,
}

/// One entry of `services`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// Its key, under which the job reaches it.
    pub name: Template,
    /// What runs.
    pub container: Container,
}

/// `environment`: where a job deploys to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Environment {
    /// Where it stands.
    pub span: Span,
    /// `name`, or the short form's text.
    pub name: Option<Template>,
    /// `url`.
    pub url: Option<Template>,
    /// `deployment`: whether a deployment is recorded.
    pub deployment: Option<Setting<bool>>,
}

/// `snapshot`: the image kept of a job's machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Where it stands.
    pub span: Span,
    /// `image-name`, or the short form's text.
    pub image_name: Option<Template>,
    /// `if`.
    pub condition: Option<Template>,
    /// `version`.
    pub version: Option<Template>,
}

/// One entry of `steps`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Where its mapping stands.
    pub span: Span,
    /// Its id: as written, or made from what it does (`__run`, `__actions_checkout_2`).
    pub id: String,
    /// Where the id was written, if it was.
    pub id_span: Option<Span>,
    /// `name`.
    pub name: Option<Template>,
    /// `if`.
    pub condition: Option<Template>,
    /// `env`.
    pub env: Entries,
    /// `continue-on-error`.
    pub continue_on_error: Option<Setting<bool>>,
    /// `timeout-minutes`.
    pub timeout_minutes: Option<Setting<f64>>,
    /// `background`: whether the next step starts before this one ends.
    pub background: bool,
    /// What it does.
    pub kind: StepKind,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Runs a script.
    Run {
        /// `run`.
        script: Template,
        /// `shell`.
        shell: Option<Template>,
        /// `working-directory`.
        working_directory: Option<Template>,
    },
    /// Runs an action.
    Uses {
        /// `uses`: which action.
        action: Spanned<String>,
        /// `with`: its inputs.
        with: Entries,
    },
    /// `wait`: waits for background steps, named by id.
    Wait(Vec<Spanned<String>>),
    /// `wait-all`: waits for all background steps.
    WaitAll(Span),
    /// `cancel`: ends a background step, named by id.
    Cancel(Spanned<String>),
    /// `parallel`: runs steps side by side and waits for them.
    Parallel(Vec<Step>),
}
