//! One job with one combination of its matrix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use journal::{Conclusion, Fact, JobKey};
use sandbox::{BoxSpec, Sandbox};
use source::workflow::{Defaults, Steps};
use tokio::sync::watch;

use super::action::{Frame, Post};
use super::background::Written;
use super::disk::Disk;
use super::output::now;
use super::process::Running;
use super::replayed::{self, JobReplay};
use super::scope::{Status, StepScope};
use super::slot::Coming;
use super::spare::Spares;
use super::{Answered, Denied, Engine, Question, milliseconds};
use crate::concurrency::Turn;
use crate::expression::{Contexts, Object, Value};
use crate::log::{self, Kind, Line, Log};
use crate::matcher::Matchers;
use crate::plan::{Instance, setting};
use crate::report::Tests;
use crate::subject::Subjects;
use crate::template::{self, TemplateError};
use crate::way;

/// How long a job may take when it does not say.
const TIMEOUT: Duration = Duration::from_hours(6);

/// How long the steps that clean up after a cancellation may take when the job does not say.
const CANCEL_TIMEOUT: Duration = Duration::from_mins(5);

/// How many bytes all outputs of a job may have, in UTF-16 as GitHub counts.
const MAX_OUTPUTS: usize = 1024 * 1024;

/// How a job ended, for the entry of `jobs:` that it is part of.
pub(super) struct Done {
    pub conclusion: Conclusion,
    pub outputs: Vec<(String, String)>,
    /// Keeps its slot from others until those that need it have lined up.
    pub after: Option<Coming>,
}

/// Why a job stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The run was cancelled.
    Run,
    /// Another combination of the matrix failed.
    FailFast,
    /// The job took too long.
    Timeout,
    /// A newer one of its concurrency group cancels what runs.
    Superseded,
    /// A `cancel` step ends a background step; the job goes on.
    Asked,
}

impl Stop {
    pub fn words(self) -> &'static str {
        match self {
            Stop::Run => "the run was cancelled",
            Stop::FailFast => "another job of the matrix failed, and `fail-fast` is on",
            Stop::Timeout => "the job took longer than its `timeout-minutes`",
            Stop::Superseded => "a newer one of its concurrency group takes its place",
            Stop::Asked => "a later step cancels this one",
        }
    }
}

/// What may stop a job.
#[derive(Debug, Clone)]
pub(super) struct Stops {
    /// None for a job that began when the run was cancelled already.
    run: Option<watch::Receiver<bool>>,
    fail_fast: watch::Receiver<bool>,
    deadline: tokio::time::Instant,
    /// Becomes true when a background step is cancelled on purpose.
    pub asked: Option<watch::Receiver<bool>>,
    /// Becomes true when a newer one of its concurrency group takes its place.
    group: Option<watch::Receiver<bool>>,
}

impl Stops {
    pub fn new(engine: &Engine, fail_fast: watch::Receiver<bool>, began_cancelled: bool) -> Self {
        Self {
            run: (!began_cancelled).then(|| engine.cancel.clone()),
            fail_fast,
            deadline: tokio::time::Instant::now() + Duration::from_hours(365 * 24),
            asked: None,
            group: None,
        }
    }

    /// Gives the job more time.
    pub fn postpone(&mut self, time: Duration) {
        self.deadline += time;
    }

    pub fn now(&self) -> Option<Stop> {
        if self.asked.as_ref().is_some_and(|asked| *asked.borrow()) {
            Some(Stop::Asked)
        } else if self.run.as_ref().is_some_and(|run| *run.borrow()) {
            Some(Stop::Run)
        } else if *self.fail_fast.borrow() {
            Some(Stop::FailFast)
        } else if self.group.as_ref().is_some_and(|group| *group.borrow()) {
            Some(Stop::Superseded)
        } else if tokio::time::Instant::now() >= self.deadline {
            Some(Stop::Timeout)
        } else {
            None
        }
    }

    pub async fn wait(&mut self) -> Stop {
        async fn is_true(receiver: &mut watch::Receiver<bool>) {
            if receiver.wait_for(|value| *value).await.is_err() {
                // Nobody is left who could stop anything.
                std::future::pending::<()>().await;
            }
        }
        async fn may_be_true(receiver: &mut Option<watch::Receiver<bool>>) {
            match receiver {
                Some(receiver) => is_true(receiver).await,
                None => std::future::pending().await,
            }
        }
        let (run, asked) = (may_be_true(&mut self.run), may_be_true(&mut self.asked));
        let group = may_be_true(&mut self.group);
        tokio::select! {
            () = asked => Stop::Asked,
            () = run => Stop::Run,
            () = is_true(&mut self.fail_fast) => Stop::FailFast,
            () = group => Stop::Superseded,
            () = tokio::time::sleep_until(self.deadline) => Stop::Timeout,
        }
    }
}

/// The directories of a job.
#[derive(Debug, Clone)]
pub(super) struct Dirs {
    pub root: PathBuf,
    pub workspace: PathBuf,
    pub temp: PathBuf,
    /// Files that the job writes and Marline reads; a mount of its own inside the box.
    pub commands: PathBuf,
    pub tools: PathBuf,
    /// Held while nobody else may use the place, which is the same in each run.
    pub lock: Option<Arc<nix::fcntl::Flock<std::fs::File>>>,
}

impl Dirs {
    fn make(engine: &Engine, key: &JobKey) -> std::io::Result<Self> {
        let log = log::path(Path::new(""), key);
        let name = log.file_stem().unwrap_or(log.as_os_str()).to_owned();
        let (root, lock) = match replayed::place(engine, &name) {
            Some((root, lock)) => (root, Some(lock)),
            None => {
                let jobs = std::path::absolute(&engine.surroundings.dir)?.join("jobs");
                (jobs.join(name), None)
            }
        };
        let repository = engine.plan.event.repository.rsplit('/').next().unwrap_or_default();
        let is_plain = !repository.is_empty()
            && !repository.starts_with('.')
            && !repository.contains(|c: char| c.is_control());
        let repository = if is_plain { repository } else { "repository" };
        if root.exists() {
            std::fs::remove_dir_all(&root)?;
        }
        let dirs = Self {
            workspace: root.join("work").join(repository),
            temp: root.join("temp"),
            commands: root.join("commands"),
            tools: root.join("tools"),
            root,
            lock,
        };
        let home = &engine.surroundings.home;
        for dir in [&dirs.workspace, &dirs.temp, &dirs.commands, &dirs.tools, home] {
            std::fs::create_dir_all(dir)?;
        }
        Ok(dirs)
    }
}

/// When a job was stopped, how long what is left may take; shared by all its steps.
#[derive(Debug)]
pub(super) struct Ending {
    until: OnceLock<tokio::time::Instant>,
    patience: Duration,
}

impl Ending {
    /// Until when the steps that clean up may run; none while the job was not stopped.
    pub fn until(&self) -> Option<tokio::time::Instant> {
        self.until.get().copied()
    }

    /// Notes that the job is stopped; false if it was already.
    fn begin(&self) -> bool {
        self.until.set(tokio::time::Instant::now() + self.patience).is_ok()
    }
}

/// A job while it runs; a clone is what a background step runs in.
#[derive(Clone)]
pub(super) struct JobRun {
    pub engine: Arc<Engine>,
    pub key: JobKey,
    pub dirs: Arc<Dirs>,
    pub sandbox: Arc<Sandbox>,
    /// The contexts that steps see, without those that change from step to step.
    pub contexts: Object,
    pub github: Object,
    /// Variables of the workflow and the job, and what steps wrote to `GITHUB_ENV`.
    pub env: IndexMap<String, String>,
    /// Directories that steps put before `PATH`; the last one is looked at first.
    pub path: Vec<String>,
    /// The job itself, or the action whose steps run.
    pub frame: Frame,
    /// How the job has gone so far.
    pub status: Status,
    pub stops: Stops,
    pub ending: Arc<Ending>,
    /// The step of the job that runs.
    pub running: Running,
    /// What is to be done when all steps have run, the last first.
    pub posts: Vec<Post>,
    /// What actions keep for their clean-up, by the place of their step.
    pub states: BTreeMap<String, Vec<(String, String)>>,
    /// What a background step changed, until somebody waits for it.
    pub written: Vec<Written>,
    pub shell: Option<String>,
    pub working_directory: Option<String>,
    pub has_bash: bool,
    pub log: Arc<Mutex<Log>>,
    pub summary: String,
    /// What looks for problems in the output of steps; shared with background steps.
    pub matchers: Matchers,
    /// What steps said they made.
    pub subjects: Subjects,
    /// What tests said so far, with the steps that ran them; shared with background steps.
    pub tests: Arc<Mutex<Vec<(u32, Tests)>>>,
    /// Caches to save when the job has ended well.
    pub saves: Vec<crate::built_in::cache::Save>,
    pub replay: Option<JobReplay>,
    pub spares: Arc<Spares>,
}

/// Runs a job from its queue to its end.
pub(super) async fn run(
    engine: Arc<Engine>,
    at: usize,
    instance: Instance,
    mut contexts: Object,
    fail_fast: watch::Receiver<bool>,
    began_cancelled: bool,
    coming: Coming,
) -> Done {
    contexts.insert("matrix", instance.matrix.clone());
    contexts.insert("strategy", instance.strategy.clone());
    let mut stops = Stops::new(&engine, fail_fast, began_cancelled);
    let key = instance.key.clone();
    // Whoever waits for a turn or for leave keeps nobody from running.
    let coming = (!engine.waits_for_others(at)).then_some(coming);
    let turn = match enter_group(&engine, at, &key, &contexts, &mut stops).await {
        Ok(turn) => turn,
        Err(denied) => return engine.denied(at, &key, &denied),
    };
    stops.group = turn.as_ref().map(Turn::superseded);
    let environment = match approved(&engine, at, &key, &contexts, &mut stops).await {
        Ok(environment) => environment,
        Err(denied) => return engine.denied(at, &key, &denied),
    };
    if let Some(environment) = &environment {
        contexts.insert("environment", environment.as_str());
    }
    let way = way::of_instance(&instance, &engine.surroundings.durations) + engine.behind[at];
    let slot = engine.slots.line_up(way);
    drop(coming);
    let slot = tokio::select! {
        slot = slot => slot.ok(),
        _ = stops.wait() => return never_began(&engine, &key, Conclusion::Cancelled),
    };
    if stops.now().is_some() {
        return never_began(&engine, &key, Conclusion::Cancelled);
    }
    let started = Instant::now();
    let steps = engine.plan.workflow.jobs[at].steps();
    let (conclusion, outputs, summary) = match steps {
        None => (Conclusion::Failure, Vec::new(), String::new()),
        Some(steps) => match JobRun::open(&engine, &key, steps, contexts, stops, at).await {
            Ok(job) => job.run(steps).await,
            Err(message) => {
                begin(&engine, &key, "");
                annotate(&engine, &key, &message);
                (Conclusion::Failure, Vec::new(), String::new())
            }
        },
    };
    engine.recorder.record(Fact::JobFinished {
        run: engine.surroundings.run,
        job: key,
        conclusion,
        milliseconds: milliseconds(started.elapsed()),
        outputs: outputs.iter().cloned().collect::<BTreeMap<_, _>>(),
        summary,
    });
    let after = slot.is_some().then(|| engine.slots.announce());
    Done { conclusion, outputs, after }
}

impl Engine {
    /// Whether a job waits for others before it wants to run.
    fn waits_for_others(&self, at: usize) -> bool {
        let job = &self.plan.workflow.jobs[at];
        job.concurrency.is_some() || job.steps().is_some_and(|steps| steps.environment.is_some())
    }
}

pub(super) async fn enter_group(
    engine: &Arc<Engine>,
    at: usize,
    key: &JobKey,
    contexts: &Object,
    stops: &mut Stops,
) -> Result<Option<Turn>, Denied> {
    let Some(concurrency) = &engine.plan.workflow.jobs[at].concurrency else {
        return Ok(None);
    };
    let scope = Contexts(contexts.clone());
    tokio::select! {
        turn = engine.take_turn(concurrency, &scope, Some(key)) => turn.map(Some),
        _ = stops.wait() => Err(Denied::Cancelled),
    }
}

/// Asks for leave to go to the job's environment; gives its name, if it has one.
async fn approved(
    engine: &Arc<Engine>,
    at: usize,
    key: &JobKey,
    contexts: &Object,
    stops: &mut Stops,
) -> Result<Option<String>, Denied> {
    let Some(steps) = engine.plan.workflow.jobs[at].steps() else { return Ok(None) };
    let Some(name) = steps.environment.as_ref().and_then(|one| one.name.as_ref()) else {
        return Ok(None);
    };
    let environment = template::text(name, &Contexts(contexts.clone())).map_err(Denied::Failed)?;
    if environment.trim().is_empty() {
        return Ok(None);
    }
    let environment = engine.masker.mask(&environment);
    if let Some(approvals) = &engine.surroundings.approvals {
        let question = Question {
            run: engine.surroundings.run,
            job: key.clone(),
            environment: environment.clone(),
            steps: engine.step_names(&steps.list),
        };
        let answer = tokio::select! {
            answer = approvals.ask(question) => answer,
            _ = stops.wait() => return Err(Denied::Cancelled),
        };
        let error = |message: String| TemplateError { span: name.span, message };
        match answer {
            Answered::Yes => {}
            Answered::No(why) => {
                let message = format!("environment `{environment}`: {why}");
                return Err(Denied::Failed(error(message)));
            }
            Answered::Nobody(mend) => {
                let message = format!("environment `{environment}` waits for approval: {mend}");
                return Err(Denied::Unanswered(error(message)));
            }
        }
    }
    Ok(Some(environment))
}

fn never_began(engine: &Engine, key: &JobKey, conclusion: Conclusion) -> Done {
    engine.recorder.record(Fact::JobFinished {
        run: engine.surroundings.run,
        job: key.clone(),
        conclusion,
        milliseconds: 0,
        outputs: BTreeMap::new(),
        summary: String::new(),
    });
    Done { conclusion, outputs: Vec::new(), after: None }
}

fn begin(engine: &Engine, key: &JobKey, protection: &str) {
    engine.recorder.record(Fact::JobStarted {
        run: engine.surroundings.run,
        job: key.clone(),
        protection: protection.to_owned(),
    });
}

fn annotate(engine: &Engine, key: &JobKey, message: &str) {
    engine.recorder.record(Fact::AnnotationMade {
        run: engine.surroundings.run,
        job: key.clone(),
        step: 0,
        level: journal::AnnotationLevel::Error,
        message: engine.masker.mask(message),
        title: None,
        place: None,
    });
}

/// Minutes as GitHub takes them; none if they are not a number of minutes.
pub(super) fn minutes(value: &Value) -> Option<Duration> {
    let minutes = value.to_number();
    (0.0..1e9).contains(&minutes).then(|| Duration::from_secs_f64(minutes * 60.0))
}

impl JobRun {
    async fn open(
        engine: &Arc<Engine>,
        key: &JobKey,
        steps: &Steps,
        mut contexts: Object,
        mut stops: Stops,
        at: usize,
    ) -> Result<Self, String> {
        let said = |error: TemplateError| error.to_string();
        let surroundings = &engine.surroundings;
        let (engine_, key_) = (Arc::clone(engine), key.clone());
        let dirs = tokio::task::spawn_blocking(move || Dirs::make(&engine_, &key_))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("could not make the directories of the job: {error}"))?;

        contexts.insert("secrets", secrets(engine, at));
        let mut github = engine.github.clone();
        let event_path = dirs.commands.join("event.json");
        let payload = engine.plan.event.payload(&engine.plan.inputs);
        std::fs::write(&event_path, payload.to_string())
            .map_err(|error| format!("could not write {}: {error}", event_path.display()))?;
        github.insert("job", engine.plan.jobs[at].id.as_str());
        github.insert("workspace", text_of(&dirs.workspace));
        github.insert("event_path", text_of(&event_path));
        contexts.insert("github", github.clone());
        contexts.insert("runner", runner(&dirs));

        let scope = Contexts(contexts.clone());
        let timeout = setting(steps.timeout_minutes.as_ref(), &scope).map_err(said)?;
        let cancel_timeout =
            setting(steps.cancel_timeout_minutes.as_ref(), &scope).map_err(said)?;
        let timeout = timeout.as_ref().and_then(minutes).unwrap_or(TIMEOUT);
        stops.deadline = tokio::time::Instant::now() + timeout;

        let mut env = IndexMap::new();
        for entries in [&engine.plan.workflow.env, &steps.env] {
            for (name, value) in template::entries(entries, &scope).map_err(said)? {
                env.insert(name, value.to_text());
            }
        }
        contexts.insert("env", env_context(&env));
        let scope = Contexts(contexts.clone());
        let defaults = |pick: fn(&Defaults) -> Option<&source::workflow::Template>, key: &str| {
            for defaults in [&steps.defaults, &engine.plan.workflow.defaults] {
                if let Some(template) = pick(defaults) {
                    return template::text(template, &scope).map(Some);
                }
                if let Some(computed) = &defaults.computed
                    && let Some(value) = template::value(computed, &scope)?.get(key)
                {
                    return Ok(Some(value.to_text()));
                }
            }
            Ok(None)
        };
        let shell = defaults(|one| one.shell.as_ref(), "shell").map_err(said)?;
        let working_directory =
            defaults(|one| one.working_directory.as_ref(), "working-directory").map_err(said)?;

        let home = std::path::absolute(&surroundings.home)
            .map_err(|error| format!("could not find the home directory of jobs: {error}"))?;
        let mut spec = BoxSpec::new(&dirs.workspace)
            .layers_dir(dirs.root.join("layers"))
            .writable(&dirs.temp)
            .writable(&dirs.commands)
            .writable(&dirs.tools)
            .writable(home)
            .level(surroundings.level)
            .network(surroundings.network)
            .limits(surroundings.limits);
        spec = surroundings.hidden.iter().fold(spec, BoxSpec::hidden);
        spec = engine.checkout.readable().into_iter().fold(spec, BoxSpec::readable);
        let actions = engine.actions.dir();
        if actions.is_dir() {
            spec = spec.readable(actions);
        }
        std::fs::create_dir_all(dirs.root.join("layers"))
            .map_err(|error| format!("could not make the directories of the job: {error}"))?;
        let sandbox = Sandbox::open(&spec).await.map_err(|error| {
            let cause = std::error::Error::source(&error);
            cause.map_or_else(
                || format!("could not {error}"),
                |cause| format!("could not {error}: {cause}"),
            )
        })?;
        begin(engine, key, &sandbox.protection().to_string());
        let (log, lost) = Log::create(&log::path(&surroundings.logs, key));
        if let Some(error) = lost {
            tracing::warn!("the log of `{key}` cannot be kept: {error}");
        }
        let path = surroundings
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map_or("", |(_, path)| path.as_str());
        let has_bash = std::env::split_paths(path).any(|dir| dir.join("bash").is_file());
        let replay = JobReplay::open(engine, at, key, &dirs, &sandbox)?;
        let spares = Arc::new(Spares::new(dirs.root.join("spare")));
        Ok(Self {
            engine: Arc::clone(engine),
            key: key.clone(),
            dirs: Arc::new(dirs),
            sandbox: Arc::new(sandbox),
            contexts,
            github,
            env,
            path: Vec::new(),
            frame: Frame::default(),
            status: Status::Success,
            stops,
            ending: Arc::new(Ending {
                until: OnceLock::new(),
                patience: cancel_timeout.as_ref().and_then(minutes).unwrap_or(CANCEL_TIMEOUT),
            }),
            running: Running::default(),
            posts: Vec::new(),
            states: BTreeMap::new(),
            written: Vec::new(),
            shell,
            working_directory,
            has_bash,
            log: Arc::new(Mutex::new(log)),
            summary: String::new(),
            matchers: Matchers::default(),
            subjects: Subjects::default(),
            tests: Arc::default(),
            saves: Vec::new(),
            replay,
            spares,
        })
    }

    async fn run(mut self, steps: &Steps) -> (Conclusion, Vec<(String, String)>, String) {
        self.run_steps(&steps.list).await;
        self.save_caches().await;
        self.say_address(steps);
        let (outputs, bad) = self.outputs(steps);
        if bad.is_some() && self.status == Status::Success {
            self.status = Status::Failure;
        }
        if let Some(message) = bad {
            annotate(&self.engine, &self.key, &message);
            self.say(Kind::Error, &message);
        }
        let allowed =
            match setting(steps.continue_on_error.as_ref(), &Contexts(self.contexts.clone())) {
                Ok(value) => value.is_some_and(|value| value.is_truthy()),
                Err(error) => {
                    annotate(&self.engine, &self.key, &error.to_string());
                    false
                }
            };
        let conclusion = match self.status {
            Status::Success | Status::Incomplete => Conclusion::Success,
            Status::Failure if allowed => Conclusion::AllowedFailure,
            Status::Failure => Conclusion::Failure,
            Status::Cancelled => Conclusion::Cancelled,
        };
        self.report_tests();
        if let Some(replay) = self.replay {
            replay.close().await;
        }
        // Every background step has ended, so nobody else holds the box.
        if let Some(sandbox) = Arc::into_inner(self.sandbox) {
            sandbox.close().await;
        }
        if self.dirs.lock.is_some() && !self.engine.surroundings.keep {
            let root = self.dirs.root.clone();
            let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(root)).await;
        }
        (conclusion, outputs, self.summary)
    }

    /// Says where what the job deployed is, if it says so.
    fn say_address(&mut self, steps: &Steps) {
        let Some(environment) = &steps.environment else { return };
        let name = self.contexts.get("environment").map(Value::to_text).unwrap_or_default();
        if name.is_empty() || self.status != Status::Success {
            return;
        }
        self.see();
        match environment.url.as_ref().map(|url| template::text(url, &self.scope())).transpose() {
            Ok(Some(url)) if !url.is_empty() => {
                self.say(Kind::Notice, &format!("environment {name}: {url}"));
            }
            Ok(_) => self.say(Kind::Notice, &format!("environment {name}")),
            Err(error) => self.say(Kind::Warning, &error.to_string()),
        }
    }

    /// The files of the job as its steps see them.
    pub fn disk(&self) -> Disk {
        let mut others = vec![self.dirs.temp.clone(), self.dirs.commands.clone()];
        others.push(self.dirs.tools.clone());
        others.push(self.engine.actions.dir().to_owned());
        others.extend(std::path::absolute(&self.engine.surroundings.home));
        Disk {
            workspace: self.dirs.workspace.clone(),
            layers: self.dirs.root.join("layers"),
            others,
            process: None,
        }
    }

    /// Looks whether the job was stopped since the last look.
    pub fn heed_stops(&mut self) {
        if self.ending.until().is_some() {
            self.status = Status::Cancelled;
        } else if let Some(stop) = self.stops.now() {
            self.stopped(stop);
        }
    }

    /// Notes that the job was stopped; the steps that are left see it.
    pub fn stopped(&mut self, stop: Stop) {
        self.status = Status::Cancelled;
        if self.ending.begin() {
            self.say(Kind::Error, &format!("The job is stopped: {}.", stop.words()));
        }
    }

    /// Writes a line that belongs to the job itself.
    pub fn say(&self, kind: Kind, text: &str) {
        let line = Line { at: now(), step: 0, kind, text: self.engine.masker.mask(text) };
        self.show(std::slice::from_ref(&line));
    }

    pub fn show(&self, lines: &[Line]) {
        if !lines.is_empty() {
            // Held over both, so that the log and what is shown have one order.
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.write(lines);
            self.engine.recorder.lines(&self.key, lines);
        }
    }

    /// The job's outputs; one that holds a secret is left out.
    fn outputs(&mut self, steps: &Steps) -> (Vec<(String, String)>, Option<String>) {
        self.contexts.insert("steps", self.frame.steps.clone());
        self.contexts.insert("env", env_context(&self.env));
        let job: Object = [("status", self.status.text())].into_iter().collect();
        self.contexts.insert("job", job);
        let evaluated = match template::entries(&steps.outputs, &self.scope()) {
            Ok(evaluated) => evaluated,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let mut outputs = Vec::new();
        let mut size = 0;
        for (name, value) in evaluated {
            let text = value.to_text();
            if self.engine.masker.finds_in(&text) {
                self.say(
                    Kind::Warning,
                    &format!("Skip output '{name}' since it may contain secret."),
                );
                continue;
            }
            size += text.encode_utf16().count() * 2;
            if size > MAX_OUTPUTS {
                let why = format!(
                    "The outputs of the job have more than 1 MB with '{name}', and GitHub allows 1 MB; \
                     keep what is large as an artifact"
                );
                return (Vec::new(), Some(why));
            }
            outputs.push((name, text));
        }
        (outputs, None)
    }

    /// What conditions and settings of a step see.
    pub fn scope(&self) -> StepScope<'_> {
        StepScope {
            contexts: &self.contexts,
            status: self.frame.status.unwrap_or(self.status),
            is_cancelled: self.status == Status::Cancelled,
            workspace: self.dirs.workspace.clone(),
        }
    }
}

/// The secrets that the job's text names.
pub(super) fn secrets(engine: &Engine, at: usize) -> Object {
    let named = &engine.plan.jobs[at].secrets;
    let all = named.iter().any(|name| name == "*");
    let mut secrets: Object = engine
        .surroundings
        .secrets
        .iter()
        .filter(|(name, _)| all || named.iter().any(|known| known.eq_ignore_ascii_case(name)))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    if secrets.get("GITHUB_TOKEN").is_none() {
        secrets.insert("GITHUB_TOKEN", "");
    }
    secrets
}

fn runner(dirs: &Dirs) -> Object {
    [
        ("os", "Linux".to_owned()),
        ("arch", arch().to_owned()),
        ("name", "marline".to_owned()),
        ("environment", "self-hosted".to_owned()),
        ("temp", text_of(&dirs.temp)),
        ("tool_cache", text_of(&dirs.tools)),
        ("workspace", text_of(dirs.workspace.parent().unwrap_or(&dirs.workspace))),
    ]
    .into_iter()
    .collect()
}

pub(super) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "ARM64",
        "arm" => "ARM",
        "x86" => "X86",
        _ => "X64",
    }
}

pub(super) fn env_context(env: &IndexMap<String, String>) -> Object {
    let mut context = Object::case_sensitive();
    for (name, value) in env {
        context.insert(name.as_str(), value.as_str());
    }
    context
}

pub(super) fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
