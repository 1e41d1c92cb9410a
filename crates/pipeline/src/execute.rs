//! A plan becomes what happened.
//!
//! [`execute`] starts each job as soon as its own `needs` have ended, keeps to the limits of
//! matrices and of the machine, and tells everything in one ordered stream to a [`Recorder`].
//! Whoever runs a plan again after a crash does so with the jobs that had not ended, in
//! [`Surroundings::only`].

mod action;
mod background;
mod call;
mod debug;
mod disk;
mod job;
mod output;
mod process;
mod replayed;
mod results;
mod scope;
mod slot;
mod spare;
mod step;
mod tested;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::{CommitId, Conclusion, Explained, ExplainedPart, Fact, JobKey, RunId};
use sandbox::{Level, Limits, Network};
use source::workflow::Step;
use source::{Place, Span};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::action::{Actions, Library};
pub use crate::built_in::checkout::{CheckedOut, Checkout, RepositoryCheckout};
pub use crate::concurrency::Groups;
use crate::concurrency::{MAX_NAME, Manners, Turn};
use crate::expression::{Object, Value};
use crate::log;
use crate::mask::Masker;
use crate::plan::{self, Instance, Plan};
use crate::replay::Verdict;
use crate::template::{self, Answer, Condition};
use crate::way::{self, Durations};
pub(crate) use action::numbered;
pub use debug::{Debugger, FailedStep, Visit};
use scope::{JobScope, Status};
use slot::{Coming, Slots};
pub(crate) use step::written_name;

/// Where a run's facts and lines go, in the order they happen in each job.
pub trait Recorder: Send + Sync {
    /// Takes a fact.
    fn record(&self, fact: Fact);

    /// Takes lines of a job's log as they come, masked.
    fn lines(&self, job: &JobKey, lines: &[log::Line]) {
        let _ = (job, lines);
    }

    /// Hears whether a step was replayed, or why not.
    fn replay(&self, job: &JobKey, step: u32, verdict: &Verdict) {
        let _ = (job, step, verdict);
    }
}

/// What a run takes place in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The run.
    pub run: RunId,
    /// Where jobs get their directories; what is left there of an earlier try is removed.
    pub dir: PathBuf,
    /// Where the logs of jobs go, see [`log::path`].
    pub logs: PathBuf,
    /// Where results of tests go, see [`crate::history`].
    pub tests: PathBuf,
    /// What the run depends on, beside the workflow; none if that is not known. Two runs with the same
    /// text ran the same tests on the same files.
    pub inputs: Option<String>,
    /// Where artifacts and caches are kept, see [`crate::results::Store`].
    pub artifacts: PathBuf,
    /// The home directory of jobs; it lasts, so that tools find their caches.
    pub home: PathBuf,
    /// Every secret by name.
    pub secrets: BTreeMap<String, String>,
    /// Variables that jobs get from outside, as `PATH`.
    pub env: Vec<(String, String)>,
    /// How many jobs run at once.
    pub parallel: usize,
    /// How long jobs took in earlier runs: who waits longest for the end begins first.
    pub durations: Durations,
    /// Paths that jobs must not see.
    pub hidden: Vec<PathBuf>,
    /// How strong the box should be.
    pub level: Level,
    /// What jobs may reach.
    pub network: Network,
    /// How much a job may use.
    pub limits: Limits,
    /// The keys under `jobs:` to run, with all they need; none is every job.
    pub only: Option<BTreeSet<String>>,
    /// Where steps are recorded to be replayed, and where jobs then have their directories; none is
    /// that every step runs.
    pub replay: Option<PathBuf>,
    /// The step that the run goes on from; what is before it in its job is as it was recorded.
    pub from: Option<crate::retry::From>,
    /// Who is shown the box of a step that failed, before the job goes on.
    pub debug: Option<Arc<dyn Debugger>>,
    /// Whether the directories of jobs stay when the run has ended.
    pub keep: bool,
    /// Whether uncommitted changes are part of what runs.
    pub dirty: bool,
    /// The interrupted run that this one runs again.
    pub again: Option<RunId>,
    /// Who waits for whom across runs.
    pub groups: Groups,
    /// Actions of other repositories.
    pub actions: Actions,
    /// Who says whether jobs may go to their environments; none is that nobody needs to.
    pub approvals: Option<Arc<dyn Approvals>>,
}

/// Who says whether a job may go to its environment.
///
/// What must be asked is not written in the workflow: on GitHub it is a setting of the repository,
/// which is not known here. So every environment is asked for, unless whoever runs says otherwise.
pub trait Approvals: std::fmt::Debug + Send + Sync {
    /// Asks, and answers as soon as somebody has.
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Answered> + Send>>;
}

/// A job that wants to go to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The run.
    pub run: RunId,
    /// The job.
    pub job: JobKey,
    /// The name of the environment.
    pub environment: String,
    /// The names of the steps that wait.
    pub steps: Vec<String>,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// The job may run.
    Yes,
    /// It may not, and by whom and why.
    No(String),
    /// Nobody is there who could be asked; what to do about it.
    Nobody(String),
}

impl Surroundings {
    /// Returns surroundings below one directory, with what else is usual.
    pub fn new(run: RunId, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let actions = dir.join("actions");
        let groups = Groups::new(dir.join("concurrency"));
        Self {
            run,
            logs: dir.join("logs"),
            tests: dir.join("tests"),
            inputs: None,
            artifacts: dir.join("artifacts"),
            home: dir.join("home"),
            dir,
            secrets: BTreeMap::new(),
            env: usual_env(),
            parallel: std::thread::available_parallelism().map_or(2, usize::from),
            durations: Durations::new(),
            hidden: Vec::new(),
            level: Level::Namespaces,
            network: Network::Open,
            limits: Limits::default(),
            only: None,
            replay: None,
            from: None,
            debug: None,
            keep: false,
            dirty: false,
            again: None,
            groups,
            actions: Actions::new(Library::new(actions)),
            approvals: None,
        }
    }
}

/// What of Marline's own variables a job may see: none that could hold a secret.
fn usual_env() -> Vec<(String, String)> {
    const NAMES: &[&str] =
        &["PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "RUSTUP_HOME"];
    let mut env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| NAMES.contains(&name.as_str()) || name.starts_with("LC_"))
        .collect();
    let has = |env: &[(String, String)], name: &str| env.iter().any(|(known, _)| known == name);
    if !has(&env, "PATH") {
        env.push(("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()));
    }
    // The home of a job is its own, but the toolchains of the machine stay in use.
    if let Some(rustup) = std::env::home_dir().map(|home| home.join(".rustup"))
        && rustup.is_dir()
        && !has(&env, "RUSTUP_HOME")
        && let Some(rustup) = rustup.to_str()
    {
        env.push(("RUSTUP_HOME".to_owned(), rustup.to_owned()));
    }
    env
}

/// Runs a plan and returns how it ended; never before all its processes have.
///
/// `cancel` becoming true stops it: steps that run are asked to end, and those that run
/// `always()` or when `cancelled()` still do.
pub async fn execute(
    plan: Arc<Plan>,
    surroundings: Arc<Surroundings>,
    checkout: Arc<dyn Checkout>,
    recorder: Arc<dyn Recorder>,
    cancel: watch::Receiver<bool>,
) -> Conclusion {
    let started = Instant::now();
    let engine = Arc::new(Engine::new(plan, surroundings, checkout, recorder, cancel));
    engine.recorder.record(engine.run_started());
    let (conclusion, _) = engine.run(None).await;
    if !engine.surroundings.keep {
        let dir = engine.surroundings.dir.join("jobs");
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir)).await;
    }
    if engine.surroundings.replay.is_some() {
        let engine = Arc::clone(&engine);
        let _ = tokio::task::spawn_blocking(move || replayed::tidy(&engine)).await;
    }
    engine.recorder.record(Fact::RunFinished {
        run: engine.surroundings.run,
        conclusion,
        milliseconds: milliseconds(started.elapsed()),
    });
    conclusion
}

struct Engine {
    plan: Arc<Plan>,
    surroundings: Arc<Surroundings>,
    checkout: Arc<dyn Checkout>,
    recorder: Arc<dyn Recorder>,
    /// Becomes true when somebody outside stops this.
    outside: watch::Receiver<bool>,
    /// Stops this, from inside or outside.
    stop: watch::Sender<bool>,
    cancel: watch::Receiver<bool>,
    /// The concurrency groups that this run, or a workflow that called this one, is in.
    held: Mutex<Vec<String>>,
    masker: Masker,
    slots: Arc<Slots>,
    /// The longest way behind each job, and behind what called this workflow, in milliseconds.
    behind: Vec<u64>,
    github: Object,
    /// The services that JavaScript actions talk to; started for the first of them.
    service: tokio::sync::OnceCell<crate::results::Service>,
    /// Names of jobs that are taken.
    keys: Mutex<BTreeSet<String>>,
    /// Actions of other repositories: those the plan was made with, if it knows.
    actions: Actions,
    /// Held while somebody looks into a box: there is one terminal.
    visited: Arc<tokio::sync::Mutex<()>>,
}

/// Why there was no turn in a concurrency group.
#[derive(Debug)]
enum Denied {
    /// A newer one took its place.
    Superseded(String),
    /// Somebody stopped it while it waited.
    Cancelled,
    /// It could not ask.
    Failed(template::TemplateError),
    /// Somebody would have to say yes, and nobody is there.
    Unanswered(template::TemplateError),
}

impl Denied {
    fn conclusion(&self) -> Conclusion {
        match self {
            Denied::Superseded(_) | Denied::Cancelled | Denied::Unanswered(_) => {
                Conclusion::Cancelled
            }
            Denied::Failed(_) => Conclusion::Failure,
        }
    }

    fn error(&self, span: Span) -> template::TemplateError {
        let message = match self {
            Denied::Superseded(name) => {
                format!("Canceling since a higher priority waiting request for '{name}' exists")
            }
            Denied::Cancelled => "it was cancelled while it waited for its turn".to_owned(),
            Denied::Failed(error) | Denied::Unanswered(error) => return error.clone(),
        };
        template::TemplateError { span, message }
    }
}

/// How an entry of `jobs:` ended, for those that need it.
#[derive(Debug, Clone)]
struct JobResult {
    result: &'static str,
    outputs: Object,
    conclusion: Conclusion,
}

impl JobResult {
    fn of(conclusion: Conclusion, outputs: Object) -> Self {
        let result = match conclusion {
            Conclusion::Success | Conclusion::AllowedFailure => "success",
            Conclusion::Failure | Conclusion::Interrupted => "failure",
            Conclusion::Cancelled => "cancelled",
            Conclusion::Skipped => "skipped",
        };
        Self { result, outputs, conclusion }
    }
}

impl Engine {
    fn new(
        plan: Arc<Plan>,
        surroundings: Arc<Surroundings>,
        checkout: Arc<dyn Checkout>,
        recorder: Arc<dyn Recorder>,
        outside: watch::Receiver<bool>,
    ) -> Self {
        let (stop, cancel) = watch::channel(*outside.borrow());
        let mut github = plan::github(&plan.workflow, &plan.event, &plan.inputs);
        github.insert("workflow", plan.name.as_str());
        github.insert("run_id", surroundings.run.0.to_string());
        github.insert("run_number", surroundings.run.0.to_string());
        let keys = plan.keys();
        Self {
            masker: Masker::new(surroundings.secrets.values()),
            slots: Slots::new(surroundings.parallel.max(1)),
            behind: way::behind(&plan, &surroundings.durations),
            service: tokio::sync::OnceCell::new(),
            keys: Mutex::new(keys),
            github,
            actions: plan.actions.clone().unwrap_or_else(|| surroundings.actions.clone()),
            plan,
            surroundings,
            checkout,
            recorder,
            outside,
            stop,
            cancel,
            held: Mutex::default(),
            visited: Arc::default(),
        }
    }

    fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }

    fn wanted(&self) -> Vec<bool> {
        self.plan.wanted(self.surroundings.only.as_ref())
    }

    /// The names of steps in the order of their numbers, as far as they are known before the run.
    fn step_names(&self, steps: &[Step]) -> Vec<String> {
        let pre = action::with_pre(&self.actions, steps)
            .into_iter()
            .map(|step| format!("Pre {}", step::written_name(step)));
        pre.chain(background::numbered(steps).map(|(_, step)| step::written_name(step))).collect()
    }

    fn run_started(&self) -> Fact {
        let path = &self.plan.workflow.path;
        let jobs = self.planned(&self.plan, &self.wanted(), "", &[]);
        Fact::RunStarted {
            run: self.surroundings.run,
            workflow: path.clone(),
            name: self.plan.name.clone(),
            event: self.plan.event.name.clone(),
            commit: CommitId(self.plan.event.commit.clone()),
            git_ref: self.plan.event.git_ref.clone(),
            dirty: self.surroundings.dirty,
            jobs,
            again: self.surroundings.again,
        }
    }

    /// Every job of a plan as it is known before anything runs, those of called workflows included.
    fn planned(
        &self,
        plan: &Plan,
        wanted: &[bool],
        outer: &str,
        outer_needs: &[String],
    ) -> Vec<journal::fact::PlannedJob> {
        let ids = |at: usize| -> Vec<String> {
            let job = &plan.jobs[at];
            let called = job.instances.iter().flatten().find_map(|one| one.called.as_ref());
            let own = format!("{outer}{}", job.id);
            match called {
                Some(inner) => inner.jobs.iter().map(|one| format!("{own} / {}", one.id)).collect(),
                None => vec![own],
            }
        };
        let mut jobs = Vec::new();
        for (at, job) in plan.jobs.iter().enumerate().filter(|(at, _)| wanted[*at]) {
            let written = &plan.workflow.jobs[at];
            let mut needs: Vec<String> = job.needs.iter().flat_map(|need| ids(*need)).collect();
            if needs.is_empty() {
                needs.extend_from_slice(outer_needs);
            }
            let steps: Vec<String> =
                written.steps().map(|steps| self.step_names(&steps.list)).unwrap_or_default();
            let one = |key: JobKey| journal::fact::PlannedJob {
                job: key,
                id: format!("{outer}{}", job.id),
                needs: needs.clone(),
                steps: steps.clone(),
                place: Some(Place::at(&plan.workflow.path, written.id.span)),
            };
            let Some(instances) = &job.instances else {
                jobs.extend(job.keys(&plan.prefix).into_iter().map(one));
                continue;
            };
            for instance in instances {
                match &instance.called {
                    Some(inner) => {
                        let all = vec![true; inner.jobs.len()];
                        let outer = format!("{outer}{} / ", job.id);
                        jobs.extend(self.planned(inner, &all, &outer, &needs));
                    }
                    None => jobs.push(one(instance.key.clone())),
                }
            }
        }
        jobs
    }

    /// Runs all jobs, within the concurrency group of the workflow.
    ///
    /// `coming` is who announced the caller, if another workflow called this one.
    async fn run(self: &Arc<Self>, coming: Option<Coming>) -> (Conclusion, Vec<Option<JobResult>>) {
        let mut outside = self.outside.clone();
        let forwarded = async {
            if outside.wait_for(|value| *value).await.is_ok() {
                self.stop.send_replace(true);
            }
            std::future::pending().await
        };
        let turn = async {
            let Some(concurrency) = &self.plan.workflow.concurrency else { return Ok(None) };
            let scope = self.scope(&[], Status::Success);
            let mut cancel = self.cancel.clone();
            tokio::select! {
                turn = self.take_turn(concurrency, &scope, None) => turn.map(Some),
                Ok(_) = cancel.wait_for(|value| *value) => Err(Denied::Cancelled),
            }
        };
        let all = async {
            // Whoever waits for a turn keeps nobody from running.
            let coming = coming.filter(|_| self.plan.workflow.concurrency.is_none());
            let turn = match turn.await {
                Ok(turn) => turn,
                Err(denied) => return self.never_ran(&denied),
            };
            let superseded = async {
                if let Some(turn) = &turn
                    && turn.superseded().wait_for(|value| *value).await.is_ok()
                {
                    self.stop.send_replace(true);
                }
                std::future::pending().await
            };
            tokio::select! {
                results = self.run_jobs(coming) => results,
                results = superseded => results,
            }
        };
        tokio::select! {
            results = all => results,
            results = forwarded => results,
        }
    }

    /// Waits for a turn in a concurrency group; `job` is the job that asks, if not the workflow.
    async fn take_turn(
        &self,
        concurrency: &source::workflow::Concurrency,
        scope: &(dyn crate::expression::Scope + Sync),
        job: Option<&JobKey>,
    ) -> Result<Turn, Denied> {
        let failed = |message: String| {
            Denied::Failed(template::TemplateError { span: concurrency.span, message })
        };
        let name = template::text(&concurrency.group, scope).map_err(Denied::Failed)?;
        let length = name.encode_utf16().count();
        if length > MAX_NAME {
            return Err(failed(format!(
                "the name of a concurrency group has at most {MAX_NAME} characters, and this one has {length}"
            )));
        }
        let lower = name.to_lowercase();
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.contains(&lower) {
                let inner = job.map_or("the called workflow", |job| job.0.as_str());
                return Err(failed(format!(
                    "Canceling since a deadlock for concurrency group '{name}' was detected between 'top level workflow' and '{inner}'"
                )));
            }
            if job.is_none() {
                held.push(lower);
            }
        }
        let cancels = plan::setting(concurrency.cancel_in_progress.as_ref(), scope)
            .map_err(Denied::Failed)?
            .is_some_and(|value| value.is_truthy());
        let queue = concurrency.queue.as_ref().map(|queue| template::text(queue, scope));
        let queues = queue.transpose().map_err(Denied::Failed)?.is_some_and(|queue| queue == "max");
        match self.surroundings.groups.enter(&name, Manners { cancels, queues }).await {
            Ok(Some(turn)) => Ok(turn),
            Ok(None) => Err(Denied::Superseded(name)),
            Err(error) => Err(failed(format!("the concurrency group could not be kept: {error}"))),
        }
    }

    /// Says of all jobs why they never ran.
    fn never_ran(&self, denied: &Denied) -> (Conclusion, Vec<Option<JobResult>>) {
        let wanted = self.wanted();
        for (at, job) in self.plan.jobs.iter().enumerate().filter(|(at, _)| wanted[*at]) {
            let span = self.plan.workflow.jobs[at].id.span;
            self.end(&job.keys(&self.plan.prefix), denied.conclusion(), &denied.error(span));
        }
        let result = JobResult::of(denied.conclusion(), Object::default());
        (denied.conclusion(), vec![Some(result); self.plan.jobs.len()])
    }

    async fn run_jobs(
        self: &Arc<Self>,
        mut coming: Option<Coming>,
    ) -> (Conclusion, Vec<Option<JobResult>>) {
        let wanted = self.wanted();
        let mut results: Vec<Option<JobResult>> = vec![None; self.plan.jobs.len()];
        let mut started: Vec<bool> = wanted.iter().map(|wanted| !wanted).collect();
        let mut running = JoinSet::new();
        let mut after = None;
        loop {
            // Held over the loop, so that none of those that are ready now begins before all are known.
            let all = self.slots.announce();
            drop(after.take());
            for (at, (job, started)) in self.plan.jobs.iter().zip(&mut started).enumerate() {
                if *started || !job.needs.iter().all(|need| results[*need].is_some()) {
                    continue;
                }
                *started = true;
                let engine = Arc::clone(self);
                let (results, coming) = (results.clone(), self.slots.announce());
                running.spawn(async move {
                    let (result, after) = engine.run_job(at, &results, coming).await;
                    (at, result, after)
                });
            }
            drop(all);
            drop(coming.take());
            match running.join_next().await {
                None => break,
                Some(Ok((at, result, ended))) => {
                    results[at] = Some(result);
                    after = ended;
                }
                Some(Err(error)) => {
                    // A job that panics is our bug; the run must not look green for it.
                    tracing::error!("a job ended in a panic: {error}");
                    running.shutdown().await;
                    return (Conclusion::Failure, results);
                }
            }
        }
        let conclusions: Vec<Conclusion> =
            results.iter().flatten().map(|result| result.conclusion).collect();
        let has = |conclusion| conclusions.contains(&conclusion);
        let conclusion = if has(Conclusion::Failure) {
            Conclusion::Failure
        } else if self.is_cancelled() || has(Conclusion::Cancelled) {
            Conclusion::Cancelled
        } else if has(Conclusion::AllowedFailure) {
            Conclusion::AllowedFailure
        } else {
            Conclusion::Success
        };
        (conclusion, results)
    }

    /// Every job that a job needs, directly or not.
    fn ancestors(&self, at: usize) -> BTreeSet<usize> {
        let mut ancestors = BTreeSet::new();
        let mut open = self.plan.jobs[at].needs.clone();
        while let Some(need) = open.pop() {
            if ancestors.insert(need) {
                open.extend(&self.plan.jobs[need].needs);
            }
        }
        ancestors
    }

    /// The scope of what is decided before a job starts.
    fn scope(&self, needs: &[(&str, &JobResult)], status: Status) -> JobScope {
        let mut contexts = Object::default();
        contexts.insert("github", self.github.clone());
        contexts.insert("inputs", self.plan.inputs.clone());
        contexts.insert("vars", self.plan.vars.clone());
        let needs: Object = needs
            .iter()
            .map(|(id, result)| {
                let need: Object = [
                    ("result", Value::from(result.result)),
                    ("outputs", Value::from(result.outputs.clone())),
                ]
                .into_iter()
                .collect();
                (*id, need)
            })
            .collect();
        contexts.insert("needs", needs);
        JobScope { contexts, status, results: Vec::new() }
    }

    async fn run_job(
        self: &Arc<Self>,
        at: usize,
        results: &[Option<JobResult>],
        coming: Coming,
    ) -> (JobResult, Option<Coming>) {
        let job = &self.plan.jobs[at];
        let written = &self.plan.workflow.jobs[at];
        let needs: Vec<(&str, &JobResult)> = job
            .needs
            .iter()
            .filter_map(|need| Some((self.plan.jobs[*need].id.as_str(), results[*need].as_ref()?)))
            .collect();
        let ancestors: Vec<(String, &'static str)> = self
            .ancestors(at)
            .iter()
            .filter_map(|need| {
                Some((self.plan.jobs[*need].id.clone(), results[*need].as_ref()?.result))
            })
            .collect();
        let status = if self.is_cancelled() {
            Status::Cancelled
        } else if ancestors.iter().any(|(_, result)| *result == "failure") {
            Status::Failure
        } else if ancestors.iter().any(|(_, result)| *result != "success") {
            Status::Incomplete
        } else {
            Status::Success
        };
        let mut scope = self.scope(&needs, status);
        scope.results = ancestors;

        let answer = Condition::parse(written.condition.as_ref())
            .and_then(|condition| Ok((condition.answer(&scope)?, condition)));
        match answer {
            Ok((answer, _)) if answer.holds => {}
            Ok((answer, condition)) => {
                let reason = Self::why_skipped(&condition, &needs, status);
                let explained = self.explained(&condition, &answer);
                return (self.skip(at, &reason, Some(explained)), None);
            }
            Err(error) => return (self.refuse(at, &error), None),
        }
        let instances = match &job.instances {
            Some(instances) => Ok(instances.clone()),
            None => {
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                plan::expand(
                    written,
                    &scope.contexts,
                    &self.plan.matrix,
                    &self.plan.prefix,
                    &mut keys,
                )
            }
        };
        let instances = instances.and_then(|instances| {
            for instance in &instances {
                plan::labels(written, &scope.contexts, instance)?;
            }
            Ok(instances)
        });
        match instances {
            Ok(instances) => {
                self.run_instances(at, instances, &scope.contexts, status, coming).await
            }
            Err(error) => (self.refuse(at, &error), None),
        }
    }

    fn why_skipped(condition: &Condition, needs: &[(&str, &JobResult)], status: Status) -> String {
        if !condition.asks_for_status() && status != Status::Success {
            if status == Status::Cancelled {
                return "the run was cancelled".to_owned();
            }
            if let Some((id, need)) = needs.iter().find(|(_, need)| need.result != "success") {
                return format!("needs.{id}.result is '{}' (wanted success)", need.result);
            }
            return "a job that it depends on did not succeed".to_owned();
        }
        format!("its condition `{}` does not hold", condition.text)
    }

    fn explained(&self, condition: &Condition, answer: &Answer) -> Explained {
        Explained {
            expression: self.masker.mask(&condition.text),
            value: answer.holds.to_string(),
            parts: answer
                .parts
                .iter()
                .map(|(expression, value)| ExplainedPart {
                    expression: expression.clone(),
                    value: self.masker.mask(value),
                })
                .collect(),
            place: condition.span.map(|span| self.place(span)),
        }
    }

    fn place(&self, span: Span) -> Place {
        Place::at(&self.plan.workflow.path, span)
    }

    fn skip(&self, at: usize, reason: &str, condition: Option<Explained>) -> JobResult {
        for job in self.plan.jobs[at].keys(&self.plan.prefix) {
            self.recorder.record(Fact::JobSkipped {
                run: self.surroundings.run,
                job,
                reason: reason.to_owned(),
                condition: condition.clone(),
            });
        }
        JobResult::of(Conclusion::Skipped, Object::default())
    }

    /// Fails a job that cannot start.
    fn refuse(&self, at: usize, error: &template::TemplateError) -> JobResult {
        self.fail(&self.plan.jobs[at].keys(&self.plan.prefix), error);
        JobResult::of(Conclusion::Failure, Object::default())
    }

    fn fail(&self, jobs: &[JobKey], error: &template::TemplateError) {
        self.end(jobs, Conclusion::Failure, error);
    }

    /// Ends jobs before they began, and says why.
    fn end(&self, jobs: &[JobKey], conclusion: Conclusion, error: &template::TemplateError) {
        for job in jobs {
            let message = self.masker.mask(&error.message);
            self.recorder.record(Fact::AnnotationMade {
                run: self.surroundings.run,
                job: job.clone(),
                step: 0,
                level: journal::AnnotationLevel::Error,
                message,
                title: None,
                place: Some(self.place(error.span)),
            });
            self.recorder.record(Fact::JobFinished {
                run: self.surroundings.run,
                job: job.clone(),
                conclusion,
                milliseconds: 0,
                outputs: BTreeMap::new(),
                summary: String::new(),
            });
        }
    }

    async fn run_instances(
        self: &Arc<Self>,
        at: usize,
        instances: Vec<Instance>,
        contexts: &Object,
        status: Status,
        coming: Coming,
    ) -> (JobResult, Option<Coming>) {
        let mut coming = Some(coming);
        let mut after = None;
        let began_cancelled = status == Status::Cancelled;
        let (fail, failed) = watch::channel(false);
        let side_by_side = instances.first().and_then(|instance| instance.max_parallel);
        let mut queue = instances.into_iter();
        let mut running = JoinSet::new();
        let mut outputs = Object::default();
        let mut conclusions = Vec::new();
        loop {
            while side_by_side.is_none_or(|most| running.len() < most)
                && let Some(instance) = queue.next()
            {
                let engine = Arc::clone(self);
                let (failed, contexts) = (failed.clone(), contexts.clone());
                let is_call = self.plan.call(at).is_some();
                let coming = self.slots.announce();
                running.spawn(async move {
                    let fail_fast = instance.fail_fast;
                    let done = if is_call {
                        call::run(engine, at, instance, contexts, failed, began_cancelled, coming)
                            .await
                    } else {
                        job::run(engine, at, instance, contexts, failed, began_cancelled, coming)
                            .await
                    };
                    (fail_fast, done)
                });
            }
            drop(coming.take());
            let Some(ended) = running.join_next().await else {
                break;
            };
            let Ok((fail_fast, done)) = ended else {
                conclusions.push(Conclusion::Failure);
                continue;
            };
            if done.conclusion == Conclusion::Failure && fail_fast {
                fail.send_replace(true);
            }
            // The last combination to give a text wins.
            for (name, value) in done.outputs {
                if !value.is_empty() || outputs.get(&name).is_none() {
                    outputs.insert(name, value);
                }
            }
            conclusions.push(done.conclusion);
            // What needs the job waits for the last of its combinations.
            after = done.after.filter(|_| running.is_empty() && queue.len() == 0);
        }
        let has = |conclusion| conclusions.contains(&conclusion);
        let conclusion = [Conclusion::Failure, Conclusion::Cancelled, Conclusion::AllowedFailure]
            .into_iter()
            .find(|conclusion| has(*conclusion))
            .unwrap_or(Conclusion::Success);
        (JobResult::of(conclusion, outputs), after)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
