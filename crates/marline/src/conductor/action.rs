//! What the conductor can do.

use jiff::Timestamp;
use journal::{
    CommitId, DeploymentId, EventId, IncidentId, InstanceId, ReleaseId, RunId, ServiceName,
    StrategyKind, Weight,
};

/// Why services are moved to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeployReason {
    /// It was cut; services that have gone to it, or back from it, are left alone.
    Cut,
    /// Somebody asked for it.
    Asked,
    /// To go back to it: at once, without steps.
    GoBack,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The new release has all traffic.
    Finished,
    /// The old release has it again, or nothing has.
    RolledBack {
        /// Why.
        reason: String,
    },
}

/// What an incident is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// A release that was taken back.
    Deployment(DeploymentId),
    /// Instances that end again and again while nothing is deployed.
    CrashLoop {
        /// The event in which it was found.
        found: EventId,
        /// The service.
        service: ServiceName,
    },
}

/// What triggers workflows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Occasion {
    /// The event, as in `push` or `workflow_run.completed`.
    pub event: String,
    /// Inputs of `workflow_dispatch`.
    pub inputs: Vec<(String, String)>,
    /// What of `github.event` is known besides, as JSON.
    pub payload: Option<String>,
}

impl Occasion {
    /// Returns an event about which nothing else is known.
    pub fn plain(event: &str) -> Self {
        Self { event: event.to_owned(), inputs: vec![], payload: None }
    }

    /// Returns what is known besides, read again.
    pub fn payload(&self) -> serde_json::Result<Option<serde_json::Value>> {
        self.payload.as_deref().map(serde_json::from_str).transpose()
    }
}

/// Something to do. Each is safe to repeat: after a crash it is taken again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// See that a proxy runs.
    StartProxy,
    /// Settle which workflows a commit starts.
    Plan {
        /// The commit.
        commit: CommitId,
    },
    /// Look through a commit for findings.
    Inspect {
        /// The commit.
        commit: CommitId,
    },
    /// Run a workflow for a commit.
    Run {
        /// The commit.
        commit: CommitId,
        /// Path of the workflow.
        workflow: String,
        /// What triggers it.
        occasion: Occasion,
        /// The interrupted run that this one does again.
        again: Option<RunId>,
    },
    /// Ask for a run of each workflow that an event starts.
    Start {
        /// The commit.
        commit: CommitId,
        /// What triggers them.
        occasion: Occasion,
    },
    /// Say that a run was interrupted.
    EndInterrupted {
        /// The run.
        run: RunId,
    },
    /// Stop a run.
    Cancel {
        /// The run.
        run: RunId,
    },
    /// Ask the gate about a commit.
    DecideGate {
        /// The commit.
        commit: CommitId,
    },
    /// Make a release of a commit.
    CutRelease {
        /// The commit.
        commit: CommitId,
    },
    /// Begin to move services to a release, as far as what they depend on is there.
    Deploy {
        /// The release.
        release: ReleaseId,
        /// The services; empty is all.
        services: Vec<ServiceName>,
        /// The strategy; none is what Compose says.
        strategy: Option<StrategyKind>,
        /// Why.
        reason: DeployReason,
    },
    /// Refuse a wish.
    Refuse {
        /// The event of the wish.
        request: EventId,
        /// Why.
        why: String,
    },
    /// Make so many instances of a release run.
    Scale {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
        /// How many.
        count: u32,
    },
    /// Split a service's traffic for a deployment.
    Shift {
        /// The deployment.
        deployment: DeploymentId,
        /// The service.
        service: ServiceName,
        /// The shares; empty holds requests.
        weights: Vec<Weight>,
    },
    /// Judge the new release at its present share until there is a verdict.
    Judge {
        /// The deployment.
        deployment: DeploymentId,
        /// Which step, from 0.
        step: u32,
    },
    /// Look at a deployment again at a time, even if nothing happens until then.
    LookAgain {
        /// The deployment.
        deployment: DeploymentId,
        /// When.
        at: Timestamp,
    },
    /// Give the traffic back and end a deployment.
    RollBack {
        /// The deployment.
        deployment: DeploymentId,
        /// Why, in one sentence.
        reason: String,
        /// The shares after it; empty when there is nothing to go back to.
        weights: Vec<Weight>,
    },
    /// Say that a deployment is over.
    Finish {
        /// The deployment.
        deployment: DeploymentId,
        /// How it ended.
        ending: Ending,
    },
    /// Bring instances and routes of a service to what is wanted.
    Reconcile {
        /// The service.
        service: ServiceName,
    },
    /// Start a service's instances again, one by one.
    Restart {
        /// The service.
        service: ServiceName,
    },
    /// Make a service well after an instance ended, by cause and with brakes.
    Heal {
        /// The service.
        service: ServiceName,
        /// The instance that ended.
        instance: InstanceId,
        /// Its release.
        release: ReleaseId,
    },
    /// Open an incident.
    OpenIncident {
        /// What about.
        about: Trouble,
    },
    /// Watch until users are well again, then close an incident.
    Resolve {
        /// The incident.
        incident: IncidentId,
    },
    /// Remove old releases and ended instances that nobody needs.
    CleanUp,
    /// Stop all instances and the proxy, and go.
    StopAll,
}

impl Action {
    /// Says what it does, to complete "could not …".
    pub fn words(&self) -> String {
        match self {
            Action::StartProxy => "start the proxy".to_owned(),
            Action::Plan { commit } => format!("plan the workflows of {}", commit.short()),
            Action::Inspect { commit } => format!("look through {}", commit.short()),
            Action::Run { workflow, commit, .. } => {
                format!("run {workflow} for {}", commit.short())
            }
            Action::Start { occasion, commit } => {
                format!("start workflows for `{}` at {}", occasion.event, commit.short())
            }
            Action::EndInterrupted { run } => format!("end the interrupted run {run}"),
            Action::Cancel { run } => format!("cancel run {run}"),
            Action::DecideGate { commit } => format!("ask the gate about {}", commit.short()),
            Action::CutRelease { commit } => format!("cut a release from {}", commit.short()),
            Action::Deploy { release, .. } => format!("deploy release {}", release.short()),
            Action::Refuse { request, .. } => format!("refuse request {request}"),
            Action::Scale { service, release, count } => {
                format!("run {count} instances of {service} at release {}", release.short())
            }
            Action::Shift { service, .. } => format!("shift the traffic of {service}"),
            Action::Judge { deployment, .. } => format!("judge deployment {deployment}"),
            Action::LookAgain { deployment, .. } => {
                format!("look at deployment {deployment} again")
            }
            Action::RollBack { deployment, .. } => format!("roll deployment {deployment} back"),
            Action::Finish { deployment, .. } => format!("finish deployment {deployment}"),
            Action::Reconcile { service } => format!("bring {service} to what is wanted"),
            Action::Restart { service } => format!("restart {service}"),
            Action::Heal { service, .. } => format!("heal {service}"),
            Action::OpenIncident { about: Trouble::Deployment(deployment) } => {
                format!("open an incident about deployment {deployment}")
            }
            Action::OpenIncident { about: Trouble::CrashLoop { service, .. } } => {
                format!("open an incident about {service}, which crashes again and again")
            }
            Action::Resolve { incident } => format!("close incident {incident}"),
            Action::CleanUp => "remove old releases".to_owned(),
            Action::StopAll => "stop everything".to_owned(),
        }
    }
}
