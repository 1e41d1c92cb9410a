//! The present: a fold of all events, rebuilt at any time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use indexmap::IndexMap;
use jiff::Timestamp;
use source::Finding;
use source::alertmanager::matcher::{self, Matcher, Op};

use crate::fact::{PlannedJob, TestResult};
use crate::{
    Actor, Affected, CommitId, Conclusion, DeploymentId, Diagnosis, Event, EventId, Evidence, Exit,
    Explained, Fact, Health, HoldReason, IncidentId, InstanceId, JobKey, Labels, NotTriggered,
    ReleaseId, RunId, ServiceName, StepFailure, StrategyKind, Suspect, Verdict, Weight,
};

/// How many runs keep their jobs and steps in memory; older ones keep how they ended.
const RUNS_IN_FULL: usize = 50;

/// How many ended instances are remembered for each service.
const PAST_INSTANCES: usize = 50;

/// How many alerts that ended are remembered.
const ENDED_ALERTS: usize = 500;

/// How many groups of alerts are remembered as told and over.
const GROUPS_OVER: usize = 1_000;

/// The present, as the journal tells it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The newest event that is folded in.
    pub newest: Option<EventId>,
    /// When that was.
    pub at: Option<Timestamp>,
    /// The conductor that runs, or ran last.
    pub conductor: Option<Conductor>,
    /// The proxy that runs, or ran last.
    pub proxy: Option<Proxy>,
    /// Commits in the order in which they were seen.
    pub commits: IndexMap<CommitId, Commit>,
    /// Runs by number.
    pub runs: BTreeMap<RunId, Run>,
    /// Releases in the order in which they were cut.
    pub releases: IndexMap<ReleaseId, Release>,
    /// Services by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Deployments by number.
    pub deployments: BTreeMap<DeploymentId, Deployment>,
    /// Incidents by number.
    pub incidents: BTreeMap<IncidentId, Incident>,
    /// Alerts that hold, by rule and labels.
    pub alerts: BTreeMap<(String, Labels), Alert>,
    /// Alerts that ended, oldest first, so that people can still be told; not all of them are kept.
    pub ended: VecDeque<EndedAlert>,
    /// How often alerts came and went lately, by rule and labels.
    pub flaps: BTreeMap<(String, Labels), Flap>,
    /// Silences by the event that set them.
    pub silences: BTreeMap<EventId, Silence>,
    /// What was last told, by channel and group of alerts.
    pub notified: BTreeMap<(String, String), Notified>,
    /// Findings that somebody allowed.
    pub allowed: Vec<Allowed>,
    /// What waits for somebody's yes or got an answer, by the event that asked.
    pub asked: BTreeMap<EventId, Asked>,
    /// Names of the secrets that have a value.
    pub secrets: BTreeMap<String, Vec<String>>,
}

/// The process that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conductor {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// Whether it said goodbye.
    pub has_stopped: bool,
    /// Walls of the box that are missing here.
    pub missing_walls: Vec<String>,
}

/// The process that has the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Whether it was found dead.
    pub is_lost: bool,
}

/// A commit and how far it came.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The event in which it was seen.
    pub seen: EventId,
    /// When it was seen.
    pub at: Timestamp,
    /// Its branch.
    pub branch: Option<String>,
    /// The commit before.
    pub before: Option<CommitId>,
    /// Its author's name.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// How many files it changed.
    pub files_changed: u32,
    /// What it starts, once that is settled.
    pub plan: Option<CommitPlan>,
    /// Its newest run for each workflow.
    pub runs: BTreeMap<String, RunId>,
    /// What was found in it, once it was looked through.
    pub findings: Option<FindingsOfCommit>,
    /// What the gate said.
    pub gate: Gate,
    /// The release that was cut from it.
    pub release: Option<ReleaseId>,
}

/// What a commit starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPlan {
    /// The workflows that start.
    pub workflows: Vec<String>,
    /// Those that do not, and why.
    pub not_triggered: Vec<NotTriggered>,
    /// What is wrong in the files.
    pub findings: Vec<Finding>,
}

/// What was found in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingsOfCommit {
    /// The event that reported them.
    pub event: EventId,
    /// The findings.
    pub findings: Vec<Finding>,
    /// What could not be checked.
    pub not_checked: Vec<String>,
}

/// What the gate said about a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Gate {
    /// Nothing yet.
    #[default]
    Open,
    /// It may become a release.
    Passed {
        /// The event.
        event: EventId,
    },
    /// It may not.
    Held {
        /// The event.
        event: EventId,
        /// Every reason.
        reasons: Vec<HoldReason>,
    },
}

/// One execution of one workflow.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// The event in which it began.
    pub started: EventId,
    /// When it began.
    pub at: Timestamp,
    /// Path of the workflow.
    pub workflow: String,
    /// Its name as shown.
    pub name: String,
    /// What triggered it.
    pub event: String,
    /// The commit.
    pub commit: CommitId,
    /// The branch or tag.
    pub git_ref: String,
    /// Whether uncommitted changes were included.
    pub dirty: bool,
    /// Its jobs in the order of the file; empty for old runs.
    pub jobs: IndexMap<JobKey, Job>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// How long it took.
    pub milliseconds: Option<u64>,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// The event in which it ended.
    pub finished: Option<EventId>,
}

/// A job of a run.
#[derive(Debug, Clone)]
pub struct Job {
    /// What was planned.
    pub planned: PlannedJob,
    /// When it began.
    pub started: Option<Timestamp>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// How long it took.
    pub milliseconds: Option<u64>,
    /// Why it was skipped.
    pub skipped: Option<Skipped>,
    /// Steps that began, by number.
    pub steps: BTreeMap<u32, Step>,
    /// What it wrote to the step summary.
    pub summary: String,
    /// What its tests said.
    pub tests: Option<JobTests>,
}

/// What waits for somebody's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Since when.
    pub at: Timestamp,
    /// What it is for, as in `environment production`.
    pub subject: String,
    /// What would happen.
    pub effect: String,
    /// The run that waits, if one does.
    pub run: Option<RunId>,
    /// The job that waits, if one does.
    pub job: Option<JobKey>,
    /// What somebody said, once somebody has.
    pub answer: Option<bool>,
}

/// What the tests of a job said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTests {
    /// How many passed.
    pub passed: u32,
    /// How many failed.
    pub failed: u32,
    /// How many were left out.
    pub skipped: u32,
    /// Those that did not pass, or not at once.
    pub listed: Vec<TestResult>,
    /// Those that are flaky by proof.
    pub flaky: Vec<FlakyTest>,
}

/// A test that passed and failed on the same inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlakyTest {
    /// The test.
    pub test: String,
    /// A run in which it passed.
    pub passed: RunId,
    /// A run in which it failed.
    pub failed: RunId,
}

/// Why a job was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// In words.
    pub reason: String,
    /// Its condition with the value of each part.
    pub condition: Option<Explained>,
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name as shown.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// How it counts.
    pub conclusion: Option<Conclusion>,
    /// How long it took.
    pub milliseconds: Option<u64>,
    /// How many milliseconds were saved because it was replayed.
    pub cached: Option<u64>,
    /// Why it failed.
    pub failure: Option<StepFailure>,
    /// Its condition when it was skipped by it.
    pub condition: Option<Explained>,
}

/// What exactly will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The event in which it was cut.
    pub cut: EventId,
    /// When it was cut.
    pub at: Timestamp,
    /// The commit.
    pub commit: CommitId,
    /// The services it holds.
    pub services: Vec<ServiceName>,
    /// Number of files.
    pub files: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether its files are gone.
    pub is_removed: bool,
}

/// A service and what runs of it.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// The release that has the traffic.
    pub release: Option<ReleaseId>,
    /// Releases that had all of its traffic, oldest first, the present one last.
    pub history: Vec<ReleaseId>,
    /// How traffic is split.
    pub weights: Vec<Weight>,
    /// How many instances are wanted.
    pub replicas: u32,
    /// The deployment that moves it now.
    pub deployment: Option<DeploymentId>,
    /// Instances that run.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Instances that ended, oldest first.
    pub past: VecDeque<Instance>,
    /// How many instances ended without being asked to, ever.
    pub exits: u64,
    /// Whether its requests are answered by the proxy while people work on it.
    pub is_in_maintenance: bool,
}

/// One running copy of a service for one release.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseId,
    /// When it was started.
    pub started: Timestamp,
    /// Its port on loopback.
    pub port: u16,
    /// Its process.
    pub pid: u32,
    /// Whether it may get traffic.
    pub is_ready: bool,
    /// What is known about its health.
    pub health: Health,
    /// What the last probe that changed it said.
    pub evidence: String,
    /// Why it did not become ready.
    pub diagnosis: Option<Diagnosis>,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// Moving a service's traffic from one release to another.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its number.
    pub id: DeploymentId,
    /// The event in which it began.
    pub started: EventId,
    /// When it began.
    pub at: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// The release that had the traffic.
    pub from: Option<ReleaseId>,
    /// The release that shall have it.
    pub to: ReleaseId,
    /// How.
    pub strategy: StrategyKind,
    /// Shares of the new release at each step, in basis points.
    pub steps: Vec<u32>,
    /// How many instances.
    pub replicas: u32,
    /// How long the new release is watched with all traffic.
    pub monitor_ms: u64,
    /// Whether a verdict of worse rolls back by itself.
    pub automatic: bool,
    /// Whether a verdict of worse changes nothing.
    pub goes_on: bool,
    /// Whether the last step waits for people when there was not enough traffic to tell.
    pub hold_when_unsure: bool,
    /// Whether an old instance stops before a new one starts.
    pub stop_first: bool,
    /// Instances replaced at a time by the rolling strategy.
    pub parallelism: u32,
    /// Pause between two batches of the rolling strategy.
    pub delay_ms: u64,
    /// How long a step lasts at least.
    pub step_ms: u64,
    /// How long a step waits for enough traffic at most.
    pub patience_ms: u64,
    /// How long an instance may take to become ready.
    pub start_ms: u64,
    /// Whether somebody asked to go back.
    pub is_rollback: bool,
    /// Every split of traffic it made, with its time.
    pub shifts: Vec<(Timestamp, Vec<Weight>)>,
    /// Every verdict on it.
    pub verdicts: Vec<VerdictOnStep>,
    /// Failed starts of its release.
    pub failures: Vec<(InstanceId, Diagnosis)>,
    /// Whether somebody asked to move on.
    pub promote_requested: bool,
    /// Whether somebody asked to go back.
    pub abort_requested: bool,
    /// How it ended.
    pub end: Option<DeploymentEnd>,
}

/// A verdict and the step it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictOnStep {
    /// The event.
    pub event: EventId,
    /// When.
    pub at: Timestamp,
    /// The step, from 0.
    pub step: u32,
    /// What the numbers say.
    pub verdict: Verdict,
    /// The numbers.
    pub evidence: Evidence,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentEnd {
    /// The new release has all traffic.
    Finished {
        /// The event.
        event: EventId,
        /// How long it took.
        milliseconds: u64,
    },
    /// The old release has all traffic again.
    RolledBack {
        /// The event.
        event: EventId,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
        /// Who was affected.
        affected: Affected,
    },
}

/// One cause, its alerts, its timeline.
#[derive(Debug, Clone)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// The event in which it was opened.
    pub opened: EventId,
    /// When it was opened.
    pub at: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// What is wrong, in one line.
    pub title: String,
    /// The deployment that is suspected.
    pub deployment: Option<DeploymentId>,
    /// The release that is suspected.
    pub release: Option<ReleaseId>,
    /// When it began, in milliseconds since 1970.
    pub onset_ms: i64,
    /// What changed before, best suspect first.
    pub suspects: Vec<Suspect>,
    /// Who was affected so far.
    pub affected: Affected,
    /// What became known since, with its time.
    pub notes: Vec<(Timestamp, String)>,
    /// How and when it ended.
    pub resolved: Option<(Timestamp, String)>,
}

/// A rule whose condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The event in which it fired.
    pub fired: EventId,
    /// Since when.
    pub since: Timestamp,
    /// Its annotations.
    pub annotations: Labels,
    /// The value.
    pub value: String,
}

/// An alert that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAlert {
    /// The rule's name.
    pub alert: String,
    /// Its labels.
    pub labels: Labels,
    /// What it was while it held.
    pub was: Alert,
    /// When it ended.
    pub at: Timestamp,
}

/// How often an alert came and went lately: each change counts one, and half of it after half an
/// hour. More than three is *flapping*, until it is below one again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flap {
    score: f64,
    at: Timestamp,
    flaps: bool,
}

impl Flap {
    /// In how many seconds a change counts half.
    const HALF_LIFE: f64 = 1800.0;

    fn calm(at: Timestamp) -> Self {
        Self { score: 0.0, at, flaps: false }
    }

    fn change(&mut self, at: Timestamp) {
        let score = self.score(at);
        self.flaps = score + 1.0 > 3.0 || (self.flaps && score >= 1.0);
        (self.score, self.at) = (score + 1.0, at);
    }

    fn score(&self, now: Timestamp) -> f64 {
        let seconds = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.score * (-seconds / Self::HALF_LIFE).exp2()
    }

    /// Whether it comes and goes so often that only its being so is worth telling.
    pub fn is_flapping(&self, now: Timestamp) -> bool {
        self.flaps && self.score(now) >= 1.0
    }
}

/// Alerts that somebody muted for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    /// Who.
    pub by: Actor,
    /// What an alert must fulfil; nothing when it could not be read, and then no alert does.
    pub matchers: Vec<Matcher>,
    /// Why.
    pub reason: String,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Silence {
    /// Whether it holds at a time.
    pub fn is_active(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    /// Whether an alert fulfils all of it; `get` gives a label's value, empty if there is none.
    pub fn fits(&self, get: &dyn Fn(&str) -> String) -> bool {
        !self.matchers.is_empty()
            && self.matchers.iter().all(|matcher| matcher.fits(&get(&matcher.name)))
    }
}

/// What somebody was last told about a group of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// When.
    pub at: Timestamp,
    /// Fingerprints of the alerts that were told to fire.
    pub firing: BTreeSet<String>,
    /// Fingerprints of the alerts that were told to have ended.
    pub resolved: BTreeSet<String>,
    /// What the other side gave for it.
    pub receipt: String,
}

impl Notified {
    fn new(at: Timestamp, firing: &[String], resolved: &[String], receipt: &str) -> Self {
        Self {
            at,
            firing: firing.iter().cloned().collect(),
            resolved: resolved.iter().cloned().collect(),
            receipt: receipt.to_owned(),
        }
    }
}

/// A finding that somebody allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The event.
    pub event: EventId,
    /// The rule.
    pub rule: String,
    /// The path it is allowed in.
    pub path: String,
    /// The line, if only there.
    pub line: Option<u32>,
    /// Why.
    pub reason: String,
    /// The day after which it counts again.
    pub until: Option<String>,
}

impl View {
    /// Folds one more event in.
    pub fn apply(&mut self, event: &Event) {
        self.newest = Some(event.id);
        self.at = Some(event.at);
        match &event.fact {
            Fact::ConductorStarted { version, pid, missing_walls } => {
                self.conductor = Some(Conductor {
                    version: version.clone(),
                    pid: *pid,
                    since: event.at,
                    has_stopped: false,
                    missing_walls: missing_walls.clone(),
                });
            }
            Fact::ConductorStopped { .. } => {
                if let Some(conductor) = &mut self.conductor {
                    conductor.has_stopped = true;
                }
            }
            Fact::ProxyStarted { pid, addresses } => {
                self.proxy =
                    Some(Proxy { pid: *pid, addresses: addresses.clone(), is_lost: false });
            }
            Fact::ProxyLost { pid } => {
                if let Some(proxy) = self.proxy.as_mut().filter(|proxy| proxy.pid == *pid) {
                    proxy.is_lost = true;
                }
            }

            Fact::CommitSeen { commit, branch, before, author, subject, files_changed } => {
                let entry = self.commits.entry(commit.clone()).or_insert_with(|| Commit {
                    seen: event.id,
                    at: event.at,
                    branch: branch.clone(),
                    before: before.clone(),
                    author: author.clone(),
                    subject: subject.clone(),
                    files_changed: *files_changed,
                    plan: None,
                    runs: BTreeMap::new(),
                    findings: None,
                    gate: Gate::Open,
                    release: None,
                });
                entry.branch.clone_from(branch);
            }
            Fact::CommitPlanned { commit, workflows, not_triggered, findings } => {
                if let Some(commit) = self.commits.get_mut(commit) {
                    commit.plan = Some(CommitPlan {
                        workflows: workflows.clone(),
                        not_triggered: not_triggered.clone(),
                        findings: findings.clone(),
                    });
                }
            }

            Fact::CancelRequested { run } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.cancel_requested = true;
                }
            }
            Fact::RunStarted {
                run,
                workflow,
                name,
                event: trigger,
                commit,
                git_ref,
                dirty,
                jobs,
                again: _,
            } => {
                if let Some(commit) = self.commits.get_mut(commit).filter(|_| !dirty) {
                    commit.runs.insert(workflow.clone(), *run);
                }
                let jobs = jobs.iter().map(|job| (job.job.clone(), Job::planned(job))).collect();
                self.runs.insert(
                    *run,
                    Run {
                        id: *run,
                        started: event.id,
                        at: event.at,
                        workflow: workflow.clone(),
                        name: name.clone(),
                        event: trigger.clone(),
                        commit: commit.clone(),
                        git_ref: git_ref.clone(),
                        dirty: *dirty,
                        jobs,
                        conclusion: None,
                        milliseconds: None,
                        cancel_requested: false,
                        finished: None,
                    },
                );
                self.forget_old_jobs();
            }
            Fact::JobStarted { run, job, .. } => {
                if let Some(job) = self.job(*run, job) {
                    job.started = Some(event.at);
                }
            }
            Fact::JobSkipped { run, job, reason, condition } => {
                if let Some(job) = self.job(*run, job) {
                    job.conclusion = Some(Conclusion::Skipped);
                    job.skipped =
                        Some(Skipped { reason: reason.clone(), condition: condition.clone() });
                }
            }
            Fact::StepStarted { run, job, step, name } => {
                if let Some(job) = self.job(*run, job) {
                    job.steps.insert(*step, Step::started(name, event.at));
                }
            }
            Fact::StepFinished {
                run,
                job,
                step,
                name,
                conclusion,
                milliseconds,
                failure,
                condition,
                cached,
                ..
            } => {
                if let Some(job) = self.job(*run, job) {
                    let step =
                        job.steps.entry(*step).or_insert_with(|| Step::started(name, event.at));
                    step.name.clone_from(name);
                    step.conclusion = Some(*conclusion);
                    step.cached = *cached;
                    step.milliseconds = Some(*milliseconds);
                    step.failure.clone_from(failure);
                    step.condition.clone_from(condition);
                }
            }
            Fact::JobFinished { run, job, conclusion, milliseconds, summary, .. } => {
                if let Some(job) = self.job(*run, job) {
                    job.conclusion = Some(*conclusion);
                    job.milliseconds = Some(*milliseconds);
                    job.summary.clone_from(summary);
                }
            }
            Fact::RunFinished { run, conclusion, milliseconds } => {
                if let Some(run) = self.runs.get_mut(run) {
                    run.conclusion = Some(*conclusion);
                    run.milliseconds = Some(*milliseconds);
                    run.finished = Some(event.id);
                }
            }

            Fact::FindingsReported { commit, findings, not_checked, .. } => {
                if let Some(commit) = self.commits.get_mut(commit) {
                    commit.findings = Some(FindingsOfCommit {
                        event: event.id,
                        findings: findings.clone(),
                        not_checked: not_checked.clone(),
                    });
                }
            }
            Fact::FindingAllowed { rule, path, line, reason, until } => {
                self.allowed.push(Allowed {
                    event: event.id,
                    rule: rule.clone(),
                    path: path.clone(),
                    line: *line,
                    reason: reason.clone(),
                    until: until.clone(),
                });
            }
            Fact::GatePassed { commit, .. } | Fact::GateOverridden { commit, .. } => {
                if let Some(commit) = self.commits.get_mut(commit) {
                    commit.gate = Gate::Passed { event: event.id };
                }
            }
            Fact::GateHeld { commit, reasons } => {
                if let Some(commit) = self.commits.get_mut(commit) {
                    commit.gate = Gate::Held { event: event.id, reasons: reasons.clone() };
                }
            }
            Fact::SecretSet { name, scope } => {
                self.secrets.insert(name.clone(), scope.clone());
            }
            Fact::SecretRemoved { name } => {
                self.secrets.remove(name);
            }

            Fact::ReleaseCut { release, commit, services, files, bytes, .. } => {
                if let Some(commit) = self.commits.get_mut(commit) {
                    commit.release = Some(release.clone());
                }
                // Cutting the same content again gives the same release: the newest cut counts.
                self.releases.shift_remove(release);
                self.releases.insert(
                    release.clone(),
                    Release {
                        cut: event.id,
                        at: event.at,
                        commit: commit.clone(),
                        services: services.clone(),
                        files: *files,
                        bytes: *bytes,
                        is_removed: false,
                    },
                );
            }
            Fact::ReleaseRemoved { release } => {
                if let Some(release) = self.releases.get_mut(release) {
                    release.is_removed = true;
                }
            }
            Fact::PromoteRequested { deployment } => {
                if let Some(deployment) = self.deployments.get_mut(deployment) {
                    deployment.promote_requested = true;
                }
            }
            Fact::AbortRequested { deployment } => {
                if let Some(deployment) = self.deployments.get_mut(deployment) {
                    deployment.abort_requested = true;
                }
            }
            Fact::RollbackRequested { service, to: None } => {
                // Going back while something moves is going back from that.
                for deployment in self.deployments.values_mut().filter(|one| !one.is_over()) {
                    let is_meant = service.as_ref().is_none_or(|name| *name == deployment.service);
                    deployment.abort_requested |= is_meant;
                }
            }
            Fact::ScaleRequested { service, count } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.replicas = *count;
                }
            }
            Fact::MaintenanceRequested { service, is_on } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.is_in_maintenance = *is_on;
                }
            }
            Fact::DeploymentStarted {
                deployment,
                service,
                from,
                to,
                strategy,
                steps,
                replicas,
                monitor_ms,
                automatic,
                goes_on,
                hold_when_unsure,
                stop_first,
                parallelism,
                delay_ms,
                step_ms,
                patience_ms,
                start_ms,
                is_rollback,
            } => {
                let entry = self.services.entry(service.clone()).or_default();
                entry.deployment = Some(*deployment);
                entry.replicas = *replicas;
                self.deployments.insert(
                    *deployment,
                    Deployment {
                        id: *deployment,
                        started: event.id,
                        at: event.at,
                        service: service.clone(),
                        from: from.clone(),
                        to: to.clone(),
                        strategy: *strategy,
                        steps: steps.clone(),
                        replicas: *replicas,
                        monitor_ms: *monitor_ms,
                        automatic: *automatic,
                        goes_on: *goes_on,
                        hold_when_unsure: *hold_when_unsure,
                        stop_first: *stop_first,
                        parallelism: *parallelism,
                        delay_ms: *delay_ms,
                        step_ms: *step_ms,
                        patience_ms: *patience_ms,
                        start_ms: *start_ms,
                        is_rollback: *is_rollback,
                        shifts: Vec::new(),
                        verdicts: Vec::new(),
                        failures: Vec::new(),
                        promote_requested: false,
                        abort_requested: false,
                        end: None,
                    },
                );
            }
            Fact::InstanceStarted { instance, service, release, port, pid, .. } => {
                self.services.entry(service.clone()).or_default().instances.insert(
                    instance.clone(),
                    Instance {
                        id: instance.clone(),
                        release: release.clone(),
                        started: event.at,
                        port: *port,
                        pid: *pid,
                        is_ready: false,
                        health: Health::Starting,
                        evidence: String::new(),
                        diagnosis: None,
                        exit: None,
                    },
                );
            }
            Fact::InstanceReady { instance, service, .. } => {
                if let Some(instance) = self.instance(service, instance) {
                    instance.is_ready = true;
                    instance.health = Health::Healthy;
                }
            }
            Fact::InstanceFailed { instance, service, release, diagnosis } => {
                if let Some(instance) = self.instance(service, instance) {
                    instance.diagnosis = Some(diagnosis.clone());
                }
                let moving = self.services.get(service).and_then(|service| service.deployment);
                if let Some(deployment) = moving
                    .and_then(|deployment| self.deployments.get_mut(&deployment))
                    .filter(|deployment| deployment.to == *release)
                {
                    deployment.failures.push((instance.clone(), diagnosis.clone()));
                }
                self.end_instance(service, instance, None);
            }
            Fact::InstanceExited { instance, service, exit, .. } => {
                if let Some(service) = self.services.get_mut(service) {
                    service.exits += 1;
                }
                self.end_instance(service, instance, Some(exit));
            }
            Fact::InstanceStopped { instance, service, .. } => {
                self.end_instance(service, instance, None);
            }
            Fact::TrafficShifted { service, deployment, weights } => {
                let service = self.services.entry(service.clone()).or_default();
                service.weights.clone_from(weights);
                if let Some(all) = weights.iter().find(|weight| weight.basis_points == 10_000) {
                    service.release = Some(all.release.clone());
                }
                if let Some(deployment) = deployment.and_then(|id| self.deployments.get_mut(&id)) {
                    deployment.shifts.push((event.at, weights.clone()));
                }
            }
            Fact::VerdictReached { deployment, step, verdict, evidence, .. } => {
                if let Some(deployment) = self.deployments.get_mut(deployment) {
                    deployment.verdicts.push(VerdictOnStep {
                        event: event.id,
                        at: event.at,
                        step: *step,
                        verdict: *verdict,
                        evidence: evidence.clone(),
                    });
                }
            }
            Fact::DeploymentFinished { deployment, service, milliseconds } => {
                self.end_deployment(
                    *deployment,
                    DeploymentEnd::Finished { event: event.id, milliseconds: *milliseconds },
                );
                let to = self.deployments.get(deployment).map(|deployment| deployment.to.clone());
                if let (Some(service), Some(to)) = (self.services.get_mut(service), to) {
                    service.release = Some(to.clone());
                    service.history.retain(|release| *release != to);
                    service.history.push(to);
                }
            }
            Fact::DeploymentRolledBack { deployment, reason, affected, .. } => {
                self.end_deployment(
                    *deployment,
                    DeploymentEnd::RolledBack {
                        event: event.id,
                        at: event.at,
                        reason: reason.clone(),
                        affected: *affected,
                    },
                );
            }

            Fact::HealthChanged { instance, service, to, evidence, .. } => {
                if let Some(instance) = self.instance(service, instance) {
                    instance.health = *to;
                    instance.evidence.clone_from(evidence);
                }
            }
            Fact::AlertFired { alert, labels, annotations, value } => {
                self.note_change(alert, labels, event.at);
                self.alerts.insert(
                    (alert.clone(), labels.clone()),
                    Alert {
                        fired: event.id,
                        since: event.at,
                        annotations: annotations.clone(),
                        value: value.clone(),
                    },
                );
            }
            Fact::AlertResolved { alert, labels } => {
                if let Some(was) = self.alerts.remove(&(alert.clone(), labels.clone())) {
                    self.note_change(alert, labels, event.at);
                    let (alert, labels) = (alert.clone(), labels.clone());
                    self.ended.push_back(EndedAlert { alert, labels, was, at: event.at });
                    if self.ended.len() > ENDED_ALERTS {
                        self.ended.pop_front();
                    }
                }
            }
            Fact::SilenceSet { matchers, more, reason, from_ms, until_ms } => {
                let from = from_ms.map(Timestamp::from_millisecond);
                let silence = Silence {
                    by: event.actor.clone(),
                    matchers: silence_matchers(matchers, more).unwrap_or_default(),
                    reason: reason.clone(),
                    from: from.and_then(Result::ok).unwrap_or(event.at),
                    until: Timestamp::from_millisecond(*until_ms).unwrap_or(event.at),
                };
                self.silences.insert(event.id, silence);
            }
            Fact::SilenceExpired { silence } => {
                if let Some(silence) = self.silences.get_mut(silence) {
                    silence.until = silence.until.min(event.at);
                }
            }
            Fact::NotificationSent { channel, group, firing, resolved, receipt, .. } => {
                let told = Notified::new(event.at, firing, resolved, receipt);
                self.note_told(channel, group, told);
            }
            Fact::NotificationSkipped { channel, group, firing, resolved, .. } => {
                let key = (channel.clone(), group.clone());
                let receipt = self.notified.get(&key).map(|told| told.receipt.clone());
                let receipt = receipt.unwrap_or_default();
                let told = Notified::new(event.at, firing, resolved, &receipt);
                self.note_told(channel, group, told);
            }
            Fact::IncidentOpened {
                incident,
                service,
                title,
                deployment,
                release,
                onset_ms,
                suspects,
                affected,
            } => {
                self.incidents.insert(
                    *incident,
                    Incident {
                        id: *incident,
                        opened: event.id,
                        at: event.at,
                        service: service.clone(),
                        title: title.clone(),
                        deployment: *deployment,
                        release: release.clone(),
                        onset_ms: *onset_ms,
                        suspects: suspects.clone(),
                        affected: *affected,
                        notes: Vec::new(),
                        resolved: None,
                    },
                );
            }
            Fact::IncidentUpdated { incident, note, affected } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    incident.notes.push((event.at, note.clone()));
                    incident.affected = *affected;
                }
            }
            Fact::IncidentResolved { incident, resolution, affected } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    incident.resolved = Some((event.at, resolution.clone()));
                    incident.affected = *affected;
                }
            }

            Fact::ApprovalRequested { subject, effect, run, job } => {
                let asked = Asked {
                    at: event.at,
                    subject: subject.clone(),
                    effect: effect.clone(),
                    run: *run,
                    job: job.clone(),
                    answer: None,
                };
                self.asked.insert(event.id, asked);
            }
            Fact::Approved { request, .. } => self.answer(*request, true),
            Fact::Rejected { request, .. } => self.answer(*request, false),
            Fact::TestsReported { run, job, passed, failed, skipped, tests } => {
                if let Some(job) = self.job(*run, job) {
                    job.tests = Some(JobTests {
                        passed: *passed,
                        failed: *failed,
                        skipped: *skipped,
                        listed: tests.clone(),
                        flaky: Vec::new(),
                    });
                }
            }
            Fact::TestFoundFlaky { run, job, test, passed, failed } => {
                if let Some(tests) = self.job(*run, job).and_then(|job| job.tests.as_mut()) {
                    tests.flaky.push(FlakyTest {
                        test: test.clone(),
                        passed: *passed,
                        failed: *failed,
                    });
                }
            }

            // These are read from the journal by those who need them; the present does not
            // change by them.
            Fact::ActionFailed { .. }
            | Fact::RequestRefused { .. }
            | Fact::DownRequested {}
            | Fact::RunRequested { .. }
            | Fact::AnnotationMade { .. }
            | Fact::ArtifactStored { .. }
            | Fact::ArtifactRemoved { .. }
            | Fact::CacheRemoved { .. }
            | Fact::DeployRequested { .. }
            | Fact::RollbackRequested { .. }
            | Fact::RestartRequested { .. }
            | Fact::CrashLoopFound { .. }
            | Fact::HealingStarted { .. }
            | Fact::HealingFinished { .. }
            | Fact::NotificationFailed { .. }
            | Fact::LoginLinkMade { .. }
            | Fact::SignedIn { .. }
            | Fact::Unknown { .. } => {}
        }
    }

    /// Returns the commit that was seen last.
    pub fn newest_commit(&self) -> Option<(&CommitId, &Commit)> {
        self.commits.last()
    }

    /// Returns the release that was cut last and whose files are there.
    pub fn newest_release(&self) -> Option<(&ReleaseId, &Release)> {
        self.releases.iter().rev().find(|(_, release)| !release.is_removed)
    }

    /// Returns the deployment that moves a service now.
    pub fn deployment_of(&self, service: &ServiceName) -> Option<&Deployment> {
        self.deployments.get(&self.services.get(service)?.deployment?)
    }

    /// Returns incidents that are not over.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values().filter(|incident| incident.resolved.is_none())
    }

    /// Returns what of a run waits for somebody's yes.
    pub fn asked_by(&self, run: RunId) -> impl Iterator<Item = (EventId, &Asked)> {
        let open = self.asked.iter().filter(|(_, asked)| asked.answer.is_none());
        open.filter(move |(_, asked)| asked.run == Some(run)).map(|(id, one)| (*id, one))
    }

    /// Returns the question to which somebody said yes for the same job of a commit in another run.
    pub fn approval_of(&self, commit: &CommitId, job: &JobKey, subject: &str) -> Option<EventId> {
        let is_it = |asked: &Asked| {
            let run = asked.run.and_then(|run| self.runs.get(&run));
            run.is_some_and(|run| run.commit == *commit && !run.dirty)
                && asked.job.as_ref() == Some(job)
                && asked.subject == subject
        };
        let mut newest = self.asked.iter().rev().filter(|(_, asked)| asked.answer.is_some());
        let (id, asked) = newest.find(|(_, asked)| is_it(asked))?;
        (asked.answer == Some(true)).then_some(*id)
    }

    fn answer(&mut self, request: EventId, is_yes: bool) {
        // The first answer counts.
        if let Some(asked) = self.asked.get_mut(&request) {
            asked.answer.get_or_insert(is_yes);
        }
    }

    /// Returns runs that have not ended.
    pub fn running(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(|run| run.conclusion.is_none())
    }

    fn job(&mut self, run: RunId, job: &JobKey) -> Option<&mut Job> {
        self.runs.get_mut(&run)?.jobs.get_mut(job)
    }

    fn instance(&mut self, service: &ServiceName, id: &InstanceId) -> Option<&mut Instance> {
        self.services.get_mut(service)?.instances.get_mut(id)
    }

    fn end_instance(&mut self, service: &ServiceName, id: &InstanceId, exit: Option<&Exit>) {
        let Some(service) = self.services.get_mut(service) else {
            return;
        };
        let Some(mut instance) = service.instances.remove(id) else {
            return;
        };
        instance.exit = exit.cloned();
        instance.is_ready = false;
        service.past.push_back(instance);
        while service.past.len() > PAST_INSTANCES {
            service.past.pop_front();
        }
    }

    fn end_deployment(&mut self, id: DeploymentId, end: DeploymentEnd) {
        let Some(deployment) = self.deployments.get_mut(&id) else {
            return;
        };
        deployment.end = Some(end);
        if let Some(service) = self.services.get_mut(&deployment.service)
            && service.deployment == Some(id)
        {
            service.deployment = None;
        }
    }

    /// Counts that an alert came or went, and forgets those that have been calm for long.
    fn note_change(&mut self, alert: &str, labels: &Labels, at: Timestamp) {
        self.flaps.retain(|_, flap| flap.score(at) > 0.1);
        let flap = self.flaps.entry((alert.to_owned(), labels.clone()));
        flap.or_insert_with(|| Flap::calm(at)).change(at);
    }

    /// Keeps what a channel was told, and forgets the oldest group of which nothing fires any more.
    fn note_told(&mut self, channel: &str, group: &str, told: Notified) {
        if group.is_empty() {
            return;
        }
        self.notified.insert((channel.to_owned(), group.to_owned()), told);
        let over = self.notified.iter().filter(|(_, told)| told.firing.is_empty());
        if over.clone().count() <= GROUPS_OVER {
            return;
        }
        if let Some((key, _)) = over.min_by_key(|(_, told)| told.at) {
            let key = key.clone();
            self.notified.remove(&key);
        }
    }

    fn forget_old_jobs(&mut self) {
        let Some(oldest_in_full) = self.runs.keys().rev().nth(RUNS_IN_FULL).copied() else {
            return;
        };
        for (_, run) in self.runs.range_mut(..=oldest_in_full).rev() {
            if run.jobs.is_empty() {
                return;
            }
            if run.conclusion.is_some() {
                run.jobs = IndexMap::new();
            }
        }
    }
}

impl Run {
    /// Returns steps that failed, with the job each belongs to.
    pub fn failed_steps(&self) -> impl Iterator<Item = (&JobKey, u32, &Step)> {
        self.jobs.iter().flat_map(|(key, job)| {
            job.steps
                .iter()
                .filter(|(_, step)| step.failure.is_some())
                .map(move |(number, step)| (key, *number, step))
        })
    }
}

impl Job {
    fn planned(planned: &PlannedJob) -> Self {
        Self {
            planned: planned.clone(),
            started: None,
            conclusion: None,
            milliseconds: None,
            skipped: None,
            steps: BTreeMap::new(),
            summary: String::new(),
            tests: None,
        }
    }
}

impl Step {
    fn started(name: &str, at: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            started: at,
            conclusion: None,
            milliseconds: None,
            cached: None,
            failure: None,
            condition: None,
        }
    }
}

impl Service {
    /// Returns the release that had all traffic before the present one.
    pub fn previous(&self) -> Option<&ReleaseId> {
        self.history.iter().rev().find(|release| Some(*release) != self.release.as_ref())
    }

    /// Returns the instances of a release that may get traffic.
    pub fn ready(&self, release: &ReleaseId) -> impl Iterator<Item = &Instance> {
        let release = release.clone();
        self.instances
            .values()
            .filter(move |instance| instance.is_ready && instance.release == release)
    }
}

impl Deployment {
    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Returns the share that its release got last, in basis points.
    pub fn share(&self) -> u32 {
        self.shifts.last().map_or(0, |(_, weights)| {
            weights
                .iter()
                .find(|weight| weight.release == self.to)
                .map_or(0, |weight| weight.basis_points)
        })
    }
}

/// Reads what an alert must fulfil to be muted; nothing if a part of it cannot be read, for a
/// silence that says less than was meant mutes too much.
fn silence_matchers(equal: &Labels, more: &[String]) -> Option<Vec<Matcher>> {
    let equal = equal.iter().map(|(name, value)| Matcher::new(name, Op::Equal, value).ok());
    let mut all = equal.collect::<Option<Vec<_>>>()?;
    for text in more {
        all.extend(matcher::parse(text).ok()?);
    }
    Some(all)
}
