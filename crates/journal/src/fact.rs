//! The closed list of things that can happen.
//!
//! A variant is past tense; `…Requested` is what somebody asked for. Each carries the version of
//! its stored form: a field may be added with a default without a new version; anything else needs
//! one and a branch in [`Fact::decode`]. A kind from a newer Marline is kept as
//! [`Fact::Unknown`], never dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use source::{Finding, Place};

use crate::{
    Affected, AnnotationLevel, CommitId, Conclusion, DeploymentId, Diagnosis, EventId, Evidence,
    Exit, Explained, Healing, Health, HoldReason, IncidentId, InstanceId, JobKey, Labels,
    NotTriggered, ReleaseId, RunId, ServiceName, StepFailure, StrategyKind, Suspect, Verdict,
    Weight,
};

macro_rules! facts {
    ($($(#[$doc:meta])* $kind:ident $version:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        /// What happened, typed.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", content = "content")]
        pub enum Fact {
            $($(#[$doc])* $kind { $($(#[$field_doc])* $field: $type,)* },)*
            /// Something that a newer Marline wrote; kept as it is.
            Unknown {
                /// Its kind.
                kind: String,
                /// The version of its stored form.
                version: u16,
                /// Its stored form.
                body: serde_json::Value,
            },
        }

        impl Fact {
            /// Every kind with the version of its stored form, in the order of declaration.
            pub const KINDS: &[(&str, u16)] = &[$((stringify!($kind), $version),)*];

            /// Returns the name of the kind, as in `RunStarted`.
            pub fn kind(&self) -> &str {
                match self {
                    $(Fact::$kind { .. } => stringify!($kind),)*
                    Fact::Unknown { kind, .. } => kind,
                }
            }

            /// Returns the version of the stored form.
            pub fn version(&self) -> u16 {
                match self {
                    $(Fact::$kind { .. } => $version,)*
                    Fact::Unknown { version, .. } => *version,
                }
            }
        }
    };
}

facts! {
    // ── the conductor ────────────────────────────────────────────────────────────────────────
    /// A conductor took over this repository.
    ConductorStarted 1 {
        /// Marline's version.
        version: String,
        /// Its process.
        pid: u32,
        /// Walls of the box that are missing on this machine, in words.
        #[serde(default)]
        missing_walls: Vec<String>,
    }
    /// The conductor went away in good order; services go on.
    ConductorStopped 1 {
        /// Why, in words.
        reason: String,
    }
    /// An action did not work; it is taken again, or people are told.
    ActionFailed 1 {
        /// The action, in words.
        action: String,
        /// Why it failed, with its chain of causes.
        error: String,
        /// Whether it is taken again.
        again: bool,
    }
    /// The proxy process is there and serves.
    ProxyStarted 1 {
        /// Its process.
        pid: u32,
        /// Where it listens.
        addresses: Vec<String>,
    }
    /// The proxy process was found dead; a new one is started.
    ProxyLost 1 {
        /// Its process.
        pid: u32,
    }
    /// A wish could not be granted.
    RequestRefused 1 {
        /// The event of the wish.
        request: EventId,
        /// Why not, and how to mend it.
        why: String,
    }
    /// Somebody asked to stop everything.
    DownRequested 1 {}

    // ── commits ──────────────────────────────────────────────────────────────────────────────
    /// A commit appeared on a branch that Marline follows.
    CommitSeen 1 {
        /// The commit.
        commit: CommitId,
        /// Its branch; none when HEAD is detached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// The commit that was the tip before, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<CommitId>,
        /// Its author's name.
        author: String,
        /// The first line of its message.
        subject: String,
        /// How many files differ from the tip before.
        files_changed: u32,
    }
    /// It is settled which workflows a commit starts.
    CommitPlanned 1 {
        /// The commit.
        commit: CommitId,
        /// Paths of the workflows that start.
        workflows: Vec<String>,
        /// Those that do not, and why.
        not_triggered: Vec<NotTriggered>,
        /// What is wrong in the files that were read; with an error nothing starts.
        findings: Vec<Finding>,
    }

    // ── pipeline ─────────────────────────────────────────────────────────────────────────────
    /// Somebody asked for a run.
    RunRequested 1 {
        /// The commit; none is the work tree as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<CommitId>,
        /// Path of the workflow; none is all that the event starts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workflow: Option<String>,
        /// The event, as in `push`.
        event: String,
        /// Inputs of `workflow_dispatch`.
        #[serde(default)]
        inputs: BTreeMap<String, String>,
        /// What of `github.event` is known besides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<serde_json::Value>,
    }
    /// Somebody asked to stop a run.
    CancelRequested 1 {
        /// The run.
        run: RunId,
    }
    /// A run of one workflow began.
    RunStarted 1 {
        /// The run.
        run: RunId,
        /// Path of the workflow.
        workflow: String,
        /// Its name as shown.
        name: String,
        /// The event, as in `push`.
        event: String,
        /// The commit.
        commit: CommitId,
        /// The branch or tag, as in `refs/heads/main`.
        git_ref: String,
        /// Whether the work tree's uncommitted changes are included.
        #[serde(default)]
        dirty: bool,
        /// Every job it has, in the order of the file.
        jobs: Vec<PlannedJob>,
        /// The run that was interrupted and is run again by this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<RunId>,
    }
    /// A job began.
    JobStarted 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// How its steps are boxed, in words.
        #[serde(default)]
        protection: String,
    }
    /// A job was not run.
    JobSkipped 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// Why, in words.
        reason: String,
        /// Its condition with the value of each part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<Explained>,
    }
    /// A step began.
    StepStarted 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// Its number in the job, from 1.
        step: u32,
        /// Its name as shown.
        name: String,
    }
    /// A step ended.
    StepFinished 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// Its number in the job, from 1.
        step: u32,
        /// Its name as shown.
        name: String,
        /// How it ended before `continue-on-error` was applied.
        outcome: Conclusion,
        /// How it counts.
        conclusion: Conclusion,
        /// How long it took.
        milliseconds: u64,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<StepFailure>,
        /// Its condition when it was skipped by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<Explained>,
        /// Files that it wrote in the workspace, if the box knows; at most a hundred.
        #[serde(default)]
        files_changed: Vec<String>,
        /// How many milliseconds were saved because it was replayed; none if it ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cached: Option<u64>,
    }
    /// A step said something about a file.
    AnnotationMade 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// The step, from 1.
        step: u32,
        /// How loud.
        level: AnnotationLevel,
        /// What.
        message: String,
        /// A title, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    }
    /// The tests of a job gave these results; all of them are kept beside the journal.
    TestsReported 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// How many passed.
        passed: u32,
        /// How many failed.
        failed: u32,
        /// How many were left out.
        skipped: u32,
        /// Those that did not pass, or not at once; at most a hundred.
        tests: Vec<TestResult>,
    }
    /// A test passed and failed on the same inputs.
    TestFoundFlaky 1 {
        /// The run that shows it.
        run: RunId,
        /// The job.
        job: JobKey,
        /// The test, with what it is part of.
        test: String,
        /// A run in which it passed.
        passed: RunId,
        /// A run in which it failed.
        failed: RunId,
    }
    /// A job ended.
    JobFinished 1 {
        /// The run.
        run: RunId,
        /// The job.
        job: JobKey,
        /// How.
        conclusion: Conclusion,
        /// How long it took.
        milliseconds: u64,
        /// Its outputs, secrets left out.
        #[serde(default)]
        outputs: BTreeMap<String, String>,
        /// What its steps wrote to the step summary, masked.
        #[serde(default)]
        summary: String,
    }
    /// A run ended.
    RunFinished 1 {
        /// The run.
        run: RunId,
        /// How.
        conclusion: Conclusion,
        /// How long it took.
        milliseconds: u64,
    }
    /// A run kept files under a name.
    ArtifactStored 1 {
        /// The run.
        run: RunId,
        /// The name.
        name: String,
        /// SHA-256 of its content, in hexadecimal.
        digest: String,
        /// Number of files.
        files: u32,
        /// Size in bytes.
        bytes: u64,
    }
    /// Somebody removed files that a run kept.
    ArtifactRemoved 1 {
        /// The run.
        run: RunId,
        /// The name.
        name: String,
    }
    /// Somebody removed cached files.
    CacheRemoved 1 {
        /// Their key.
        key: String,
        /// The branch they were saved on, as Git names it in full.
        scope: String,
    }

    // ── guard ────────────────────────────────────────────────────────────────────────────────
    /// A commit was looked through.
    FindingsReported 1 {
        /// The commit.
        commit: CommitId,
        /// What was found; at most a thousand, errors first.
        findings: Vec<Finding>,
        /// What could not be checked, and why.
        not_checked: Vec<String>,
        /// Number of files read.
        files: u32,
        /// How long it took.
        milliseconds: u64,
    }
    /// Somebody allowed a finding, with a reason.
    FindingAllowed 1 {
        /// The rule.
        rule: String,
        /// The path it is allowed in.
        path: String,
        /// The line, if only there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
        /// Why.
        reason: String,
        /// The day after which it counts again, as in `2027-01-31`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    }
    /// A commit may become a release.
    GatePassed 1 {
        /// The commit.
        commit: CommitId,
        /// Findings that were allowed, with the reason given.
        allowed: Vec<HoldReason>,
        /// What could not be checked and does not hold the gate.
        #[serde(default)]
        not_checked: Vec<String>,
    }
    /// A commit may not become a release.
    GateHeld 1 {
        /// The commit.
        commit: CommitId,
        /// Every reason.
        reasons: Vec<HoldReason>,
    }
    /// Somebody let a held commit pass, with a reason.
    GateOverridden 1 {
        /// The commit.
        commit: CommitId,
        /// Why.
        reason: String,
    }
    /// A secret got a value; the value is in no event.
    SecretSet 1 {
        /// Its name.
        name: String,
        /// The services and jobs it is for; empty is all that name it.
        #[serde(default)]
        scope: Vec<String>,
    }
    /// A secret was removed.
    SecretRemoved 1 {
        /// Its name.
        name: String,
    }

    // ── release and deployment ───────────────────────────────────────────────────────────────
    /// A commit became something that can run.
    ReleaseCut 1 {
        /// The release.
        release: ReleaseId,
        /// The commit.
        commit: CommitId,
        /// The runs that it passed.
        runs: Vec<RunId>,
        /// The services it holds.
        services: Vec<ServiceName>,
        /// Number of files.
        files: u32,
        /// Size in bytes.
        bytes: u64,
    }
    /// The files of an old release were removed.
    ReleaseRemoved 1 {
        /// The release.
        release: ReleaseId,
    }
    /// Somebody asked to deploy.
    DeployRequested 1 {
        /// The release; none is the newest one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        /// The commit, when a release must be cut from it first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<CommitId>,
        /// The services; empty is all.
        #[serde(default)]
        services: Vec<ServiceName>,
        /// The strategy; none is what Compose says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strategy: Option<StrategyKind>,
    }
    /// Somebody asked to go back.
    RollbackRequested 1 {
        /// The service; none is all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        /// The release; none is the one before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
    }
    /// Somebody asked to move a deployment on without waiting.
    PromoteRequested 1 {
        /// The deployment.
        deployment: DeploymentId,
    }
    /// Somebody asked to stop a deployment and go back.
    AbortRequested 1 {
        /// The deployment.
        deployment: DeploymentId,
    }
    /// Somebody asked for another number of instances.
    ScaleRequested 1 {
        /// The service.
        service: ServiceName,
        /// How many.
        count: u32,
    }
    /// Somebody asked that a service's requests are answered by the proxy, or by instances again.
    MaintenanceRequested 1 {
        /// The service.
        service: ServiceName,
        /// Whether it shall be maintained.
        is_on: bool,
    }
    /// Somebody asked to start a service's instances again, one by one.
    RestartRequested 1 {
        /// The service.
        service: ServiceName,
    }
    /// Moving a service's traffic to a release began.
    DeploymentStarted 1 {
        /// The deployment.
        deployment: DeploymentId,
        /// The service.
        service: ServiceName,
        /// The release that has the traffic; none at the first deployment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
        /// The release that shall have it.
        to: ReleaseId,
        /// How.
        strategy: StrategyKind,
        /// Shares of the new release at each step, in basis points; the last is 10,000.
        steps: Vec<u32>,
        /// How many instances.
        replicas: u32,
        /// How long the new release is watched with all traffic before the old one goes.
        monitor_ms: u64,
        /// Whether a verdict of worse rolls back by itself.
        automatic: bool,
        /// Whether a verdict of worse changes nothing, because Compose says `continue`.
        #[serde(default)]
        goes_on: bool,
        /// Whether the last step waits for people when there was not enough traffic to tell.
        #[serde(default)]
        hold_when_unsure: bool,
        /// Whether an old instance stops before a new one starts.
        #[serde(default)]
        stop_first: bool,
        /// Instances replaced at a time by the rolling strategy.
        #[serde(default)]
        parallelism: u32,
        /// Pause between two batches of the rolling strategy.
        #[serde(default)]
        delay_ms: u64,
        /// How long a step lasts at least.
        #[serde(default)]
        step_ms: u64,
        /// How long a step waits for enough traffic at most.
        #[serde(default)]
        patience_ms: u64,
        /// How long an instance may take to become ready.
        #[serde(default)]
        start_ms: u64,
        /// Whether somebody asked to go back, so that this deployment is itself a roll-back.
        #[serde(default)]
        is_rollback: bool,
    }
    /// An instance was started.
    InstanceStarted 1 {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// Its release.
        release: ReleaseId,
        /// The deployment that wanted it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentId>,
        /// The loopback port it was given.
        port: u16,
        /// Its process.
        pid: u32,
    }
    /// An instance may get traffic.
    InstanceReady 1 {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// Milliseconds since it was started.
        after_ms: u64,
    }
    /// An instance did not become ready.
    InstanceFailed 1 {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// Its release.
        release: ReleaseId,
        /// Why.
        diagnosis: Diagnosis,
    }
    /// An instance ended without being asked to.
    InstanceExited 1 {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// Its release.
        release: ReleaseId,
        /// How it ended.
        exit: Exit,
        /// How long it ran.
        ran_ms: u64,
        /// The last lines of its output.
        last_lines: Vec<String>,
    }
    /// An instance was stopped in good order.
    InstanceStopped 1 {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// Why, in words.
        reason: String,
    }
    /// The proxy splits a service's traffic anew.
    TrafficShifted 1 {
        /// The service.
        service: ServiceName,
        /// The deployment, if one moves it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentId>,
        /// The shares.
        weights: Vec<Weight>,
    }
    /// The numbers told enough, or the time of a step was over.
    VerdictReached 1 {
        /// The deployment.
        deployment: DeploymentId,
        /// The service.
        service: ServiceName,
        /// Which step it is about, from 0.
        step: u32,
        /// What they say.
        verdict: Verdict,
        /// The numbers.
        evidence: Evidence,
    }
    /// The new release has all traffic and the old one is gone.
    DeploymentFinished 1 {
        /// The deployment.
        deployment: DeploymentId,
        /// The service.
        service: ServiceName,
        /// How long it took.
        milliseconds: u64,
    }
    /// The old release has all traffic again.
    DeploymentRolledBack 1 {
        /// The deployment.
        deployment: DeploymentId,
        /// The service.
        service: ServiceName,
        /// The release that was taken back.
        from: ReleaseId,
        /// The release that has the traffic; none when there was none before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
        /// Why, in one sentence.
        reason: String,
        /// Who was affected.
        affected: Affected,
    }

    // ── watch ────────────────────────────────────────────────────────────────────────────────
    /// What is known about an instance's health changed.
    HealthChanged 1 {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// What it was.
        from: Health,
        /// What it is.
        to: Health,
        /// What the probe said.
        evidence: String,
    }
    /// A service's instances end again and again.
    CrashLoopFound 1 {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
        /// How many exits.
        exits: u32,
        /// Within how long.
        milliseconds: u64,
        /// The likely cause, in words.
        cause: String,
    }
    /// Marline began to make something well.
    HealingStarted 1 {
        /// The service.
        service: ServiceName,
        /// What it does.
        healing: Healing,
        /// What triggered it, in words.
        trigger: String,
        /// How to undo it.
        undo: String,
        /// Whether it is only said, not done.
        #[serde(default)]
        dry_run: bool,
    }
    /// It worked, or it did not.
    HealingFinished 1 {
        /// The service.
        service: ServiceName,
        /// The event in which it began.
        started: EventId,
        /// Whether the service is well.
        worked: bool,
        /// What was seen, in words.
        outcome: String,
    }
    /// A rule's condition holds.
    AlertFired 1 {
        /// The rule's name.
        alert: String,
        /// Its labels.
        labels: Labels,
        /// Its annotations with their values.
        annotations: Labels,
        /// The value, as PromQL prints it.
        value: String,
    }
    /// A rule's condition does not hold any more.
    AlertResolved 1 {
        /// The rule's name.
        alert: String,
        /// Its labels.
        labels: Labels,
    }
    /// Something is wrong for users, or nearly was.
    IncidentOpened 1 {
        /// The incident.
        incident: IncidentId,
        /// The service.
        service: ServiceName,
        /// What is wrong, in one line.
        title: String,
        /// The deployment that is suspected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentId>,
        /// The release that is suspected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        /// When it began, in milliseconds since 1970: the first failed request or exit.
        onset_ms: i64,
        /// What changed before, best suspect first.
        suspects: Vec<Suspect>,
        /// Who is affected so far.
        affected: Affected,
    }
    /// More is known about an incident.
    IncidentUpdated 1 {
        /// The incident.
        incident: IncidentId,
        /// What, in words.
        note: String,
        /// Who is affected so far.
        affected: Affected,
    }
    /// An incident is over.
    IncidentResolved 1 {
        /// The incident.
        incident: IncidentId,
        /// How, in words.
        resolution: String,
        /// Who was affected.
        affected: Affected,
    }
    /// Somebody was told.
    NotificationSent 1 {
        /// The channel.
        channel: String,
        /// What it was about.
        subject: String,
        /// The group of alerts; empty when it was about none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        group: String,
        /// Fingerprints of the alerts that were told to fire.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        firing: Vec<String>,
        /// Fingerprints of the alerts that were told to have ended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        resolved: Vec<String>,
        /// What the other side gave for it, such as the number of a message; never a secret.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        receipt: String,
    }
    /// Somebody could not be told.
    NotificationFailed 1 {
        /// The channel.
        channel: String,
        /// What it was about.
        subject: String,
        /// Why not.
        error: String,
        /// The group of alerts; empty when it was about none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        group: String,
    }
    /// A notification was due and was not sent, on purpose.
    NotificationSkipped 1 {
        /// The channel.
        channel: String,
        /// What it would have been about.
        subject: String,
        /// Why not.
        why: String,
        /// The group of alerts.
        group: String,
        /// Fingerprints of the alerts that fired.
        firing: Vec<String>,
        /// Fingerprints of the alerts that had ended.
        resolved: Vec<String>,
    }
    /// Somebody muted alerts for a while; the number of this event names the silence.
    SilenceSet 1 {
        /// Labels that must be equal.
        matchers: Labels,
        /// What else must hold, as Alertmanager writes it: `severity=~"page|ticket"`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<String>,
        /// Why.
        reason: String,
        /// From when, in milliseconds since 1970; at once if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_ms: Option<i64>,
        /// Until when, in milliseconds since 1970.
        until_ms: i64,
    }
    /// Somebody ended a silence before its time.
    SilenceExpired 1 {
        /// The event that set it.
        silence: EventId,
    }

    // ── people ───────────────────────────────────────────────────────────────────────────────
    /// A link to sign in once was made.
    LoginLinkMade 1 {
        /// Until when it works, in milliseconds since 1970.
        until_ms: i64,
    }
    /// Somebody signed in.
    SignedIn 1 {
        /// From where.
        address: String,
    }
    /// Something waits for somebody's yes.
    ApprovalRequested 1 {
        /// What it is for, as in `environment production`.
        subject: String,
        /// What would happen.
        effect: String,
        /// The run that waits, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// The job that waits, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<JobKey>,
    }
    /// Somebody said yes.
    Approved 1 {
        /// The event that asked.
        request: EventId,
        /// A note.
        #[serde(default)]
        note: String,
    }
    /// Somebody said no.
    Rejected 1 {
        /// The event that asked.
        request: EventId,
        /// Why.
        #[serde(default)]
        note: String,
    }
}

/// A test that did not pass, or not at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// The test, with what it is part of.
    pub test: String,
    /// The step that ran it.
    pub step: u32,
    /// Whether it failed first and passed when it was tried again.
    #[serde(default)]
    pub flaky: bool,
    /// Why it failed, masked.
    #[serde(default)]
    pub message: String,
}

/// A job that a run has, before anything ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// The job as shown, with its matrix values.
    pub job: JobKey,
    /// Its key under `jobs:`.
    pub id: String,
    /// The keys under `jobs:` that it needs.
    pub needs: Vec<String>,
    /// Names of its steps.
    pub steps: Vec<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Fact {
    /// Returns the stored form: the content of the variant as JSON, without its kind.
    pub fn encode(&self) -> serde_json::Value {
        if let Fact::Unknown { body, .. } = self {
            return body.clone();
        }
        match serde_json::to_value(self).expect("facts hold only values that JSON can say") {
            serde_json::Value::Object(mut tagged) => {
                tagged.remove("content").unwrap_or(serde_json::Value::Null)
            }
            other => other,
        }
    }

    /// Reads a stored form back; what this version does not know is kept as [`Fact::Unknown`].
    pub fn decode(kind: &str, version: u16, body: serde_json::Value) -> Self {
        let unknown = |body| Fact::Unknown { kind: kind.to_owned(), version, body };
        let known = Self::KINDS.iter().any(|(name, newest)| *name == kind && version <= *newest);
        if !known {
            return unknown(body);
        }
        let tagged = serde_json::json!({ "kind": kind, "content": body.clone() });
        serde_json::from_value(tagged).unwrap_or_else(|_| unknown(body))
    }
}
