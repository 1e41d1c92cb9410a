//! Running workflows for a commit or for the work tree; the same for `marline run` and the
//! conductor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use journal::{Actor, Conclusion, EventId, Fact, JobKey, Journal, NotTriggered, RunId};
use pipeline::event::Event;
use pipeline::execute::{Groups, Recorder, RepositoryCheckout, Surroundings, execute};
use pipeline::log::Line;
use pipeline::plan::{Plan, Planned, Wish, plan};
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
    /// Its name, as in `push`.
    pub event: String,
    /// Inputs of `workflow_dispatch`.
    pub inputs: BTreeMap<String, String>,
    /// Configuration variables.
    pub vars: BTreeMap<String, String>,
    /// Names of the secrets there are.
    pub secrets: BTreeSet<String>,
    /// Only combinations with these matrix values.
    pub matrix: BTreeMap<String, BTreeSet<String>>,
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

    /// Returns the event as workflows see it.
    pub fn event(&self, name: &str) -> anyhow::Result<Event> {
        let commit = self.repository.commit(&self.commit)?;
        let changed_files = match &self.before {
            Some(before) => {
                let changes = self.repository.changed_files(Some(before), &self.commit)?;
                let bytes = |path: PathBuf| {
                    std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string())
                };
                Some(changes.into_iter().map(|change| bytes(change.path)).collect())
            }
            None => None,
        };
        let message = if commit.body.is_empty() {
            commit.subject.clone()
        } else {
            format!("{}\n\n{}", commit.subject, commit.body)
        };
        Ok(Event {
            name: name.to_owned(),
            git_ref: self.git_ref(),
            commit: self.commit.as_str().to_owned(),
            before: self.before.as_ref().map(|before| before.as_str().to_owned()),
            message,
            actor: commit.author_name,
            repository: self.name(),
            default_branch: self.branch.clone().unwrap_or_else(|| "main".to_owned()),
            changed_files,
            payload: None,
        })
    }

    /// Returns the branch as Git names it in full.
    pub fn git_ref(&self) -> String {
        match &self.branch {
            Some(branch) => format!("refs/heads/{branch}"),
            None => self.commit.as_str().to_owned(),
        }
    }

    /// Returns `owner/name`, from the remote `origin` or from the directory.
    fn name(&self) -> String {
        let origin = self.repository.remotes().ok().and_then(|remotes| {
            let origin = remotes.iter().find(|remote| remote.name == "origin")?;
            let url = origin.shown_url();
            let path = url.trim_end_matches('/').trim_end_matches(".git");
            let mut parts = path.rsplit(['/', ':']);
            let (name, owner) = (parts.next()?, parts.next()?);
            (!name.is_empty() && !owner.is_empty()).then(|| format!("{owner}/{name}"))
        });
        origin.unwrap_or_else(|| {
            let directory = self.repository.root().file_name().map(|name| name.to_string_lossy());
            format!("local/{}", directory.unwrap_or("repository".into()))
        })
    }

    /// Reads all workflows and plans those that the event starts.
    pub fn plan(&self, given: &Given) -> anyhow::Result<Started> {
        let files = self.tree().workflows().context("read the workflows")?;
        let event = self.event(&given.event)?;
        let mut started = Started::default();
        for file in &files {
            plan_one(file, &event, given, &mut started);
        }
        Ok(started)
    }
}

fn plan_one(file: &Written, event: &Event, given: &Given, started: &mut Started) {
    let (workflow, findings) = source::workflow::read(&file.path, &file.text);
    let is_broken = findings.iter().any(Finding::is_error);
    started.findings.extend(findings);
    let Some(workflow) = workflow.filter(|_| !is_broken) else { return };
    let workflow: Arc<Workflow> = Arc::new(workflow);
    let wish = Wish {
        workflow: &workflow,
        event,
        inputs: &given.inputs,
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

/// Where the facts and lines of runs go besides the journal; for a screen.
pub trait Audience: Send + Sync {
    /// Hears a fact after it was noted.
    fn fact(&self, fact: &Fact);
    /// Hears lines of a job.
    fn lines(&self, job: &JobKey, lines: &[Line]);
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
        surroundings.artifacts = self.state.artifacts().join(number.to_string());
        surroundings.home = self.state.root().join("home");
        surroundings.hidden = vec![self.state.root().to_owned()];
        surroundings.secrets.clone_from(&self.secrets);
        surroundings.dirty = order.subject.dirty;
        surroundings.only = order.only;
        surroundings.again = order.again;
        surroundings.groups = self.groups.clone();
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
    audience: Option<Arc<dyn Audience>>,
}

impl Recorder for ToJournal {
    fn record(&self, fact: Fact) {
        if let Some(audience) = &self.audience {
            audience.fact(&fact);
        }
        // Facts of steps set the pace of a pipeline: they are synced in groups, in order.
        if let Err(error) = self.journal.note(self.actor.clone(), self.cause, fact) {
            tracing::error!(%error, "could not note a fact of a run");
        }
    }

    fn lines(&self, job: &JobKey, lines: &[Line]) {
        if let Some(audience) = &self.audience {
            audience.lines(job, lines);
        }
    }
}
