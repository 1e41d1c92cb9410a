//! Running workflows for a commit or for the work tree; the same for `marline run` and the
//! conductor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use journal::{
    Actor, Conclusion, EventId, Fact, JobKey, Journal, JournalError, NotTriggered, RunId, View,
};
use pipeline::action::{Actions, Library, prepare};
use pipeline::calls::Reference;
use pipeline::event::Event;
use pipeline::execute::{
    Approvals, Debugger, Groups, Recorder, RepositoryCheckout, Surroundings, execute,
};
use pipeline::expression::Value;
use pipeline::log::Line;
use pipeline::plan::{Plan, Planned, Wish, plan};
use pipeline::replay::Verdict;
use pipeline::trigger::Judgement;
use pipeline::way::Durations;
use sha2::{Digest as _, Sha256};
use source::Finding;
use source::git::{CommitId, Repository};
use source::workflow::Workflow;
use tokio::sync::watch;

use crate::state::State;
use crate::tree::{Tree, Written};

/// What a run is for: a commit, or the work tree on top of one.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The repository.
    pub repository: Repository,
    /// The commit.
    pub commit: CommitId,
    /// The branch; none when HEAD is detached.
    pub branch: Option<String>,
    /// The commit that was the tip before, if it is known.
    pub before: Option<CommitId>,
    /// Whether what is not committed counts too.
    pub dirty: bool,
}

/// What an event starts.
#[derive(Debug, Default)]
pub struct Started {
    /// Workflows that start, in order of their paths.
    pub plans: Vec<Plan>,
    /// Those that do not, and why.
    pub not_triggered: Vec<NotTriggered>,
    /// What is wrong in the files; with an error nothing starts.
    pub findings: Vec<Finding>,
    /// What happened.
    pub event: Event,
    /// What each workflow's filter looked at, by path.
    pub judged: BTreeMap<String, Judgement>,
}

impl Started {
    /// Whether something is so wrong that nothing may start.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

/// What an event brings with it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Its name, as in `push`, or with its activity, as in `pull_request.labeled`.
    pub event: String,
    /// What of `github.event` is known better than Git does.
    pub payload: Option<serde_json::Value>,
    /// A workflow or a folder of them, in place of those in `.github/workflows`.
    pub workflows: Option<PathBuf>,
    /// Inputs of `workflow_dispatch`; the payload of `repository_dispatch`.
    pub inputs: BTreeMap<String, String>,
    /// Configuration variables.
    pub vars: BTreeMap<String, String>,
    /// Names of the secrets there are.
    pub secrets: BTreeSet<String>,
    /// Only combinations with these matrix values.
    pub matrix: BTreeMap<String, BTreeSet<String>>,
    /// Where actions of other repositories are kept.
    pub actions: PathBuf,
}

impl Subject {
    /// Returns the files.
    pub fn tree(&self) -> Tree {
        if self.dirty {
            Tree::of_work_tree(&self.repository)
        } else {
            Tree::of_commit(&self.repository, self.commit.clone())
        }
    }

    /// Returns the branch as Git names it in full.
    pub fn git_ref(&self) -> String {
        match &self.branch {
            Some(branch) => format!("refs/heads/{branch}"),
            None => self.commit.as_str().to_owned(),
        }
    }

    /// Returns everything a run depends on beside its workflow, in one text: the commit and what is
    /// not committed, the event, inputs and variables. None if a changed file cannot be read.
    fn inputs(&self, plan: &Plan) -> Option<String> {
        let mut hash = Sha256::new();
        let event = &plan.event;
        for part in [self.commit.as_str(), &event.name, &event.git_ref, &plan.workflow.path] {
            hash.update(part);
            hash.update([0]);
        }
        for values in [&plan.inputs, &plan.vars] {
            hash.update(Value::from(values.clone()).to_json());
            hash.update([0]);
        }
        if self.dirty {
            for changed in self.repository.uncommitted().ok()? {
                let path = self.repository.root().join(&changed.path);
                hash.update(changed.path.as_os_str().as_encoded_bytes());
                hash.update([0]);
                match std::fs::symlink_metadata(&path) {
                    Err(_) => hash.update("gone"),
                    Ok(found) if found.is_file() => {
                        hash.update(Sha256::digest(std::fs::read(&path).ok()?));
                    }
                    Ok(found) if found.is_symlink() => {
                        let target = std::fs::read_link(&path).ok()?;
                        hash.update(target.as_os_str().as_encoded_bytes());
                    }
                    // A repository inside this one is not looked through.
                    Ok(_) => return None,
                }
                hash.update([0]);
            }
        }
        let half = hash.finalize().first_chunk().copied().map(u128::from_be_bytes)?;
        Some(format!("{half:032x}"))
    }

    /// Reads all workflows and plans those that the event starts.
    pub fn plan(&self, given: &Given) -> anyhow::Result<Started> {
        let files = match &given.workflows {
            None => self.tree().workflows().context("read the workflows")?,
            Some(path) => self.workflows_at(path)?,
        };
        let mut event = self.event(given)?;
        let mut inputs = BTreeMap::new();
        if let Some(payload) = &given.payload {
            inputs = event.overlay(payload.clone());
        }
        if event.name != "repository_dispatch" {
            inputs.extend(given.inputs.clone());
        }
        let mut started = Started::default();
        let actions = Actions::new(Library::new(&given.actions));
        for file in &files {
            self.plan_one(file, &event, &inputs, given, &actions, &mut started);
        }
        for plan in &mut started.plans {
            let mut found = self.prepare(&plan.workflow, &actions);
            found.extend(self.prepare_called(&plan.calls, &actions));
            plan.actions = Some(actions.clone());
            started.findings.extend(found);
        }
        started.event = event;
        Ok(started)
    }

    /// Reads a workflow, with those it calls, and plans it if the event starts it.
    fn plan_one(
        &self,
        file: &Written,
        event: &Event,
        inputs: &BTreeMap<String, String>,
        given: &Given,
        actions: &Actions,
        started: &mut Started,
    ) {
        let (workflow, findings) = source::workflow::read(&file.path, &file.text);
        let is_broken = findings.iter().any(Finding::is_error);
        started.findings.extend(findings);
        let Some(workflow) = workflow.filter(|_| !is_broken) else { return };
        let workflow: Arc<Workflow> = Arc::new(workflow);
        if let Ok(judgement) = pipeline::trigger::judge(&workflow, event) {
            started.judged.insert(file.path.clone(), judgement);
        }
        let (calls, findings) = pipeline::calls::gather(&workflow, &CalledFiles(self, actions));
        let is_broken = findings.iter().any(Finding::is_error);
        started.findings.extend(findings);
        if is_broken {
            return;
        }
        let wish = Wish {
            calls: &calls,
            workflow: &workflow,
            event,
            inputs,
            vars: &given.vars,
            secrets: &given.secrets,
            matrix: &given.matrix,
        };
        match plan(&wish) {
            Planned::Run(plan) => {
                started.findings.extend(plan.findings.iter().cloned());
                started.plans.push(*plan);
            }
            Planned::NotTriggered(why) => started.not_triggered.push(why),
            Planned::Refused(findings) => started.findings.extend(findings),
        }
    }

    /// Reads a workflow, or those of a folder, wherever they lie.
    fn workflows_at(&self, path: &Path) -> anyhow::Result<Vec<Written>> {
        let read_error = || format!("read the workflows in {}", path.display());
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(read_error)?;
            paths = entries.flatten().map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml"));
            paths.sort();
        }
        let root = self.repository.root().canonicalize().with_context(read_error)?;
        let mut files = Vec::new();
        for path in paths {
            let found = path.canonicalize().with_context(read_error)?;
            let bytes = std::fs::read(&found).with_context(read_error)?;
            let shown = found.strip_prefix(&root).unwrap_or(&path);
            files.push(Written {
                path: shown.to_string_lossy().into_owned(),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            });
        }
        Ok(files)
    }

    /// Does the same for the workflows that are called.
    fn prepare_called(&self, calls: &pipeline::calls::Calls, actions: &Actions) -> Vec<Finding> {
        let mut found = Vec::new();
        for called in calls.values() {
            found.extend(self.prepare(&called.workflow, actions));
            found.extend(self.prepare_called(&called.calls, actions));
        }
        found
    }

    /// Fetches the actions a workflow uses, and says what of them is not to be had.
    fn prepare(&self, workflow: &Workflow, actions: &Actions) -> Vec<Finding> {
        let tree = self.tree();
        let files = |path: &str| tree.text(path).ok().flatten();
        let path = std::env::var("PATH").unwrap_or_default();
        prepare(workflow, &files, actions, &path)
    }
}

/// The workflows that those of a subject call: its own, as they are in its files, and those of
/// other repositories, which are fetched as actions are.
struct CalledFiles<'a>(&'a Subject, &'a Actions);

impl pipeline::calls::Files for CalledFiles<'_> {
    fn text(&self, reference: &Reference) -> Result<String, String> {
        if let (Some(repository), Some(git_ref)) = (&reference.repository, &reference.git_ref) {
            return self.fetch(reference, repository, git_ref);
        }
        match self.0.tree().text(&reference.path) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(format!("there is no file `{reference}`")),
            Err(error) => Err(format!("could not read `{reference}`: {error}")),
        }
    }
}

impl CalledFiles<'_> {
    fn fetch(&self, of: &Reference, repository: &str, git_ref: &str) -> Result<String, String> {
        let remote = pipeline::action::Remote {
            repository: repository.to_owned(),
            path: String::new(),
            git_ref: git_ref.to_owned(),
        };
        let fetched = self.1.fetch(&remote).map_err(|error| error.to_string())?;
        let missing = || format!("there is no file `{of}`");
        // What is fetched may hold links; none of them leads out of its repository.
        let root = fetched.dir.canonicalize().map_err(|_| missing())?;
        let path = root.join(&of.path).canonicalize().map_err(|_| missing())?;
        if !path.starts_with(&root) {
            return Err(missing());
        }
        let bytes = std::fs::read(&path).map_err(|_| missing())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Where the facts and lines of runs go besides the journal; for a screen.
pub trait Audience: Send + Sync {
    /// Hears a fact after it was noted.
    fn fact(&self, fact: &Fact);
    /// Hears lines of a job.
    fn lines(&self, job: &JobKey, lines: &[Line]);
    /// Hears whether a step was replayed, or why not.
    fn replay(&self, job: &JobKey, step: u32, verdict: &Verdict) {
        let _ = (job, step, verdict);
    }
}

/// Returns how long the jobs of a workflow took when they last succeeded, what was replayed included.
pub fn durations(view: &View, workflow: &str) -> Durations {
    let mut durations = Durations::new();
    for run in view.runs.values().rev().filter(|run| run.workflow == workflow) {
        for (key, job) in &run.jobs {
            if let (Some(Conclusion::Success), Some(took)) = (job.conclusion, job.milliseconds) {
                let saved: u64 = job.steps.values().filter_map(|step| step.cached).sum();
                durations.entry(key.clone()).or_insert(took + saved);
            }
        }
    }
    durations
}

/// Returns how long the jobs of a plan took in the last runs of its workflow. One job alone has
/// nothing to come before.
pub fn last_durations(journal: &Journal, plan: &Plan) -> Result<Durations, JournalError> {
    /// Of how many runs, and among how many it is looked for them.
    const RUNS: usize = 5;
    const AMONG: usize = 50;
    if let [job] = plan.jobs.as_slice()
        && let Some([instance]) = job.instances.as_deref()
        && instance.called.is_none()
    {
        return Ok(Durations::new());
    }
    let path = &plan.workflow.path;
    let mut view = View::default();
    let runs = journal.of_kind("RunStarted", AMONG)?.into_iter().filter_map(|event| {
        let Fact::RunStarted { run, workflow, .. } = event.fact else { return None };
        (workflow == *path).then_some(run)
    });
    for run in runs.take(RUNS) {
        journal.of_run(run)?.iter().for_each(|event| view.apply(event));
    }
    Ok(durations(&view, path))
}

/// Runs plans and keeps what happens in the journal.
#[derive(Clone)]
pub struct Runner {
    /// The journal.
    pub journal: Journal,
    /// Where runs are kept.
    pub state: State,
    /// Who asked.
    pub actor: Actor,
    /// Values of secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Who waits for whom across runs.
    pub groups: Groups,
    /// Who is asked before jobs go to their environments.
    pub approvals: Arc<dyn Approvals>,
    /// Who listens besides the journal.
    pub audience: Option<Arc<dyn Audience>>,
}

/// One run to do.
pub struct Order {
    /// What it is for.
    pub subject: Subject,
    /// What it does.
    pub plan: Plan,
    /// The event that led to it.
    pub cause: Option<EventId>,
    /// The interrupted run that it does again.
    pub again: Option<RunId>,
    /// Only these jobs, and what they need.
    pub only: Option<BTreeSet<String>>,
    /// The step that it goes on from.
    pub from: Option<pipeline::retry::From>,
    /// How long its jobs took in earlier runs.
    pub durations: Durations,
    /// Whether every step runs, and none is recorded to be replayed.
    pub fresh: bool,
    /// Who is shown the boxes of steps that fail.
    pub debug: Option<Arc<dyn Debugger>>,
    /// Becoming true stops it.
    pub cancel: watch::Receiver<bool>,
}

impl Runner {
    /// Runs a plan to its end.
    pub async fn run(&self, order: Order, number: RunId) -> anyhow::Result<Conclusion> {
        let directory = self.state.run(number);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("make the directory {}", directory.display()))?;
        // Held as long as the run lives, so that nobody takes it for one that was interrupted.
        let _lock = crate::lock::take(&directory.join("lock")).context("lock the run")?;
        let mut surroundings = Surroundings::new(number, &directory);
        surroundings.artifacts = self.state.artifacts();
        surroundings.tests = self.state.tests(number);
        surroundings.inputs = order.subject.inputs(&order.plan);
        surroundings.home = self.state.root().join("home");
        surroundings.hidden = vec![self.state.root().to_owned()];
        surroundings.secrets.clone_from(&self.secrets);
        surroundings.dirty = order.subject.dirty;
        surroundings.only = order.only;
        surroundings.replay = (!order.fresh).then(|| self.state.replay());
        surroundings.durations = order.durations;
        surroundings.from = order.from;
        surroundings.again = order.again;
        surroundings.debug = order.debug;
        surroundings.groups = self.groups.clone();
        surroundings.approvals = Some(Arc::clone(&self.approvals));
        let checkout = RepositoryCheckout {
            repository: order.subject.repository.clone(),
            commit: order.subject.commit.clone(),
            branch: order.subject.branch.clone(),
            include_uncommitted: order.subject.dirty,
        };
        let recorder = Arc::new(ToJournal {
            journal: self.journal.clone(),
            actor: self.actor.clone(),
            cause: order.cause,
            state: self.state.clone(),
            audience: self.audience.clone(),
        });
        let conclusion = execute(
            Arc::new(order.plan),
            Arc::new(surroundings),
            Arc::new(checkout),
            recorder,
            order.cancel,
        )
        .await;
        Ok(conclusion)
    }
}

struct ToJournal {
    journal: Journal,
    actor: Actor,
    cause: Option<EventId>,
    state: State,
    audience: Option<Arc<dyn Audience>>,
}

impl Recorder for ToJournal {
    fn record(&self, fact: Fact) {
        let tested = match &fact {
            Fact::TestsReported { run, job, .. } => Some((*run, job.clone())),
            _ => None,
        };
        self.note(fact);
        // What earlier runs of the same inputs said makes it a proof.
        if let Some((run, job)) = tested {
            for (test, proof) in crate::command::report::flaky(&self.state, run, &job) {
                let (passed, failed) = (proof.passed, proof.failed);
                self.note(Fact::TestFoundFlaky { run, job: job.clone(), test, passed, failed });
            }
        }
    }

    fn lines(&self, job: &JobKey, lines: &[Line]) {
        if let Some(audience) = &self.audience {
            audience.lines(job, lines);
        }
    }

    fn replay(&self, job: &JobKey, step: u32, verdict: &Verdict) {
        if let Some(audience) = &self.audience {
            audience.replay(job, step, verdict);
        }
    }
}

impl ToJournal {
    fn note(&self, fact: Fact) {
        if let Some(audience) = &self.audience {
            audience.fact(&fact);
        }
        // Facts of steps set the pace of a pipeline: they are synced in groups, in order.
        if let Err(error) = self.journal.note(self.actor.clone(), self.cause, fact) {
            tracing::error!(%error, "could not note a fact of a run");
        }
    }
}
