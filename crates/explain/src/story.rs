//! One line of prose for each event.

use jiff::Timestamp;
use journal::{Actor, Conclusion, Event, EventId, Fact, Healing, Health, Verdict, Weight};
use serde::Serialize;

use crate::words::{self, count, duration};
use crate::{Standing, Subject};

/// An event as a line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The event.
    pub event: EventId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Whether a person, and not Marline, did it.
    pub by_person: bool,
    /// How things stood by it.
    pub standing: Standing,
    /// What happened, in one sentence without a full stop.
    pub text: String,
    /// Words that add to it, such as a reason or the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Whether only those who look closely want to see it.
    pub is_minor: bool,
}

/// Returns the events as lines of a timeline, in the same order.
pub fn story(events: &[Event]) -> Vec<Moment> {
    events.iter().map(Moment::of).collect()
}

impl Moment {
    /// Returns an event as a line of a timeline.
    pub fn of(event: &Event) -> Self {
        let told = tell(&event.fact);
        Self {
            event: event.id,
            at: event.at,
            actor: event.actor.to_string(),
            by_person: event.actor != Actor::Conductor,
            standing: told.standing,
            text: told.text,
            detail: told.detail.filter(|detail| !detail.trim().is_empty()),
            subject: told.subject,
            is_minor: told.is_minor,
        }
    }
}

struct Told {
    standing: Standing,
    text: String,
    detail: Option<String>,
    subject: Option<Subject>,
    is_minor: bool,
}

impl Told {
    fn new(standing: Standing, text: impl Into<String>) -> Self {
        Self { standing, text: text.into(), detail: None, subject: None, is_minor: false }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    fn minor(mut self) -> Self {
        self.is_minor = true;
        self
    }
}

/// Returns how a conclusion stands.
pub fn standing_of(conclusion: Option<Conclusion>) -> Standing {
    match conclusion {
        None => Standing::Running,
        Some(Conclusion::Success) => Standing::Ok,
        Some(Conclusion::Failure) => Standing::Failed,
        Some(Conclusion::AllowedFailure | Conclusion::Interrupted) => Standing::Attention,
        Some(Conclusion::Cancelled | Conclusion::Skipped) => Standing::Off,
    }
}

fn tell(fact: &Fact) -> Told {
    use Standing::{Attention, Failed, Off, Ok, Running};
    match fact {
        Fact::ConductorStarted { version, missing_walls, .. } => {
            let told = Told::new(Ok, format!("Marline {version} took over"));
            match missing_walls.as_slice() {
                [] => told,
                walls => told.detail(format!("Missing walls: {}", walls.join("; "))),
            }
        }
        Fact::ConductorStopped { reason } => {
            Told::new(Off, "Marline stopped; services go on").detail(reason)
        }
        Fact::ActionFailed { action, error, again } => {
            let then = if *again { "it is tried again" } else { "it needs somebody" };
            Told::new(Attention, format!("Could not {action}; {then}")).detail(error)
        }
        Fact::ProxyStarted { addresses, .. } => {
            Told::new(Ok, "The proxy serves").detail(addresses.join(", ")).minor()
        }
        Fact::ProxyLost { .. } => {
            Told::new(Failed, "The proxy ended by itself; a new one is started")
        }
        Fact::RequestRefused { why, .. } => {
            Told::new(Attention, "A wish could not be granted").detail(why)
        }
        Fact::DownRequested {} => Told::new(Off, "Asked to stop everything"),

        Fact::CommitSeen { commit, branch, author, subject, files_changed, .. } => {
            let place = branch.as_deref().unwrap_or("a detached HEAD");
            Told::new(Ok, format!("Commit {} on {place}: {subject}", commit.short()))
                .detail(format!(
                    "by {author}, {}",
                    count(u64::from(*files_changed), "file changed", "files changed")
                ))
                .about(Subject::Commit(commit.clone()))
        }
        Fact::CommitPlanned { commit, workflows, findings, .. } => {
            let wrong = findings.iter().filter(|finding| finding.is_error()).count() as u64;
            let told = match wrong {
                0 => Told::new(Ok, format!("{} for {}", starts(workflows), commit.short())),
                _ => Told::new(
                    Failed,
                    format!(
                        "Nothing starts for {}: {} in its files",
                        commit.short(),
                        count(wrong, "error", "errors")
                    ),
                ),
            };
            told.about(Subject::Commit(commit.clone())).minor()
        }

        Fact::RunRequested { workflow, event, .. } => {
            let what = workflow.as_deref().unwrap_or("all workflows");
            Told::new(Running, format!("Asked to run {what}")).detail(format!("as {event}"))
        }
        Fact::CancelRequested { run } => {
            Told::new(Off, format!("Asked to stop run {run}")).about(Subject::Run(*run))
        }
        Fact::RunStarted { run, name, commit, again, .. } => {
            let told =
                Told::new(Running, format!("Run {run} of {name} began for {}", commit.short()));
            let told = match again {
                Some(before) => told.detail(format!("run {before} was interrupted")),
                None => told,
            };
            told.about(Subject::Run(*run))
        }
        Fact::JobStarted { run, job, protection } => Told::new(Running, format!("Job {job} began"))
            .detail(protection)
            .about(Subject::Job(*run, job.clone()))
            .minor(),
        Fact::JobSkipped { run, job, reason, .. } => {
            Told::new(Off, format!("Job {job} was skipped"))
                .detail(reason)
                .about(Subject::Job(*run, job.clone()))
        }
        Fact::StepStarted { run, job, step, name } => {
            Told::new(Running, format!("Step {name} of {job} began"))
                .about(Subject::Step(*run, job.clone(), *step))
                .minor()
        }
        Fact::StepFinished {
            run,
            job,
            step,
            name,
            conclusion,
            milliseconds,
            failure,
            cached,
            ..
        } => {
            let saved = cached
                .map_or_else(String::new, |saved| format!(" (cached, {} saved)", duration(saved)));
            let after = duration(*milliseconds);
            let told = Told::new(
                standing_of(Some(*conclusion)),
                format!("Step {name} of {job}: {conclusion} after {after}{saved}"),
            )
            .about(Subject::Step(*run, job.clone(), *step));
            match failure {
                Some(failure) => told.detail(&failure.message),
                None => told.minor(),
            }
        }
        Fact::AnnotationMade { run, job, step, message, title, .. } => {
            Told::new(Attention, title.clone().unwrap_or_else(|| format!("Job {job} remarked")))
                .detail(message)
                .about(Subject::Step(*run, job.clone(), *step))
                .minor()
        }
        Fact::TestsReported { run, job, passed, failed, skipped, tests } => {
            let standing = if *failed > 0 { Failed } else { Ok };
            let told = Told::new(
                standing,
                format!("The tests of {job}: {}", words::tests(*passed, *failed, *skipped)),
            )
            .about(Subject::Job(*run, job.clone()));
            match tests.first() {
                Some(first) if *failed > 0 => told.detail(&first.test),
                _ => told.minor(),
            }
        }
        Fact::TestFoundFlaky { run, job, test, passed, failed } => {
            let told = Told::new(Attention, format!("{test} is flaky"));
            let told = if passed == failed {
                told.detail(format!("it failed and passed when it was tried again in run {run}"))
            } else {
                told.detail(format!(
                    "on the same inputs it passed in run {passed} and failed in run {failed}"
                ))
            };
            told.about(Subject::Job(*run, job.clone()))
        }
        Fact::JobFinished { run, job, conclusion, milliseconds, .. } => Told::new(
            standing_of(Some(*conclusion)),
            format!("Job {job}: {conclusion} after {}", duration(*milliseconds)),
        )
        .about(Subject::Job(*run, job.clone()))
        .minor(),
        Fact::RunFinished { run, conclusion, milliseconds } => {
            let how = match conclusion {
                Conclusion::Success => "passed",
                Conclusion::Failure => "failed",
                Conclusion::Cancelled => "was cancelled",
                Conclusion::Skipped => "was skipped",
                Conclusion::AllowedFailure => "failed, which is allowed",
                Conclusion::Interrupted => "was interrupted and is run again",
            };
            Told::new(
                standing_of(Some(*conclusion)),
                format!("Run {run} {how} after {}", duration(*milliseconds)),
            )
            .about(Subject::Run(*run))
        }
        Fact::ArtifactStored { run, name, files, bytes, .. } => Told::new(
            Ok,
            format!(
                "Run {run} kept {name} ({}, {})",
                count(u64::from(*files), "file", "files"),
                words::bytes(*bytes)
            ),
        )
        .about(Subject::Run(*run))
        .minor(),
        Fact::ArtifactRemoved { run, name } => {
            Told::new(Ok, format!("{name}, which run {run} kept, was removed"))
                .about(Subject::Run(*run))
        }
        Fact::CacheRemoved { key, .. } => Told::new(Ok, format!("The cache {key} was removed")),

        Fact::FindingsReported { commit, findings, files, milliseconds, .. } => {
            let errors = findings.iter().filter(|finding| finding.is_error()).count() as u64;
            let standing = match (errors, findings.len()) {
                (0, 0) => Ok,
                (0, _) => Attention,
                _ => Failed,
            };
            Told::new(
                standing,
                format!(
                    "Looked through {}: {}",
                    commit.short(),
                    count(findings.len() as u64, "finding", "findings")
                ),
            )
            .detail(format!(
                "{} of {} in {}",
                count(errors, "error", "errors"),
                count(u64::from(*files), "file", "files"),
                duration(*milliseconds)
            ))
            .about(Subject::Commit(commit.clone()))
        }
        Fact::FindingAllowed { rule, path, reason, .. } => {
            Told::new(Attention, format!("Allowed {rule} in {path}")).detail(reason)
        }
        Fact::GatePassed { commit, allowed, .. } => {
            let told = Told::new(Ok, format!("The gate let {} pass", commit.short()))
                .about(Subject::Commit(commit.clone()));
            match allowed.len() as u64 {
                0 => told,
                many => told.detail(format!(
                    "{} allowed with a reason",
                    count(many, "finding", "findings")
                )),
            }
        }
        Fact::GateHeld { commit, reasons } => {
            let told = Told::new(Failed, format!("The gate held {}", commit.short()))
                .about(Subject::Commit(commit.clone()));
            match reasons.first() {
                Some(first) if reasons.len() == 1 => told.detail(&first.message),
                Some(first) => {
                    told.detail(format!("{}, and {} more", first.message, reasons.len() - 1))
                }
                None => told,
            }
        }
        Fact::GateOverridden { commit, reason } => {
            Told::new(Attention, format!("Let {} pass the gate by hand", commit.short()))
                .detail(reason)
                .about(Subject::Commit(commit.clone()))
        }
        Fact::SecretSet { name, scope } => {
            let told = Told::new(Ok, format!("Secret {name} got a value"));
            match scope.as_slice() {
                [] => told,
                scope => told.detail(format!("for {}", words::list(scope))),
            }
        }
        Fact::SecretRemoved { name } => Told::new(Off, format!("Secret {name} was removed")),

        Fact::ReleaseCut { release, commit, services, .. } => {
            let services: Vec<&str> = services.iter().map(journal::ServiceName::as_str).collect();
            Told::new(Ok, format!("Release {} was cut from {}", release.short(), commit.short()))
                .detail(words::list(&services))
                .about(Subject::Commit(commit.clone()))
        }
        Fact::ReleaseRemoved { release } => {
            Told::new(Off, format!("Files of release {} were removed", release.short())).minor()
        }
        Fact::DeployRequested { release, .. } => Told::new(
            Running,
            match release {
                Some(release) => format!("Asked to deploy {}", release.short()),
                None => "Asked to deploy".to_owned(),
            },
        ),
        Fact::RollbackRequested { service, .. } => Told::new(
            Attention,
            match service {
                Some(service) => format!("Asked to roll {service} back"),
                None => "Asked to roll back".to_owned(),
            },
        ),
        Fact::PromoteRequested { deployment } => {
            Told::new(Running, format!("Asked to move deployment {deployment} on"))
                .about(Subject::Deployment(*deployment))
        }
        Fact::AbortRequested { deployment } => {
            Told::new(Attention, format!("Asked to stop deployment {deployment} and go back"))
                .about(Subject::Deployment(*deployment))
        }
        Fact::ScaleRequested { service, count } => Told::new(
            Running,
            format!(
                "Asked for {} of {service}",
                words::count(u64::from(*count), "instance", "instances")
            ),
        )
        .about(Subject::Service(service.clone())),
        Fact::MaintenanceRequested { service, is_on } => {
            let text = if *is_on {
                format!("{service} is being maintained: the proxy answers its requests with 503")
            } else {
                format!("The maintenance of {service} is over")
            };
            Told::new(if *is_on { Attention } else { Ok }, text)
                .about(Subject::Service(service.clone()))
        }
        Fact::RestartRequested { service } => {
            Told::new(Running, format!("Asked to restart {service}"))
                .about(Subject::Service(service.clone()))
        }
        Fact::DeploymentStarted {
            deployment, service, from, to, strategy, is_rollback, ..
        } => {
            let verb = if *is_rollback { "goes back" } else { "moves" };
            let from =
                from.as_ref().map_or(String::new(), |from| format!(" from {}", from.short()));
            Told::new(
                Running,
                format!("Deployment {deployment}: {service} {verb}{from} to {}", to.short()),
            )
            .detail(strategy.to_string())
            .about(Subject::Deployment(*deployment))
        }
        Fact::InstanceStarted { instance, port, .. } => {
            Told::new(Running, format!("Instance {instance} was started"))
                .detail(format!("port {port}"))
                .about(Subject::Instance(instance.clone()))
                .minor()
        }
        Fact::InstanceReady { instance, after_ms, .. } => {
            Told::new(Ok, format!("Instance {instance} was ready after {}", duration(*after_ms)))
                .about(Subject::Instance(instance.clone()))
                .minor()
        }
        Fact::InstanceFailed { instance, diagnosis, .. } => {
            Told::new(Failed, format!("Instance {instance} did not become ready"))
                .detail(&diagnosis.cause)
                .about(Subject::Instance(instance.clone()))
        }
        Fact::InstanceExited { instance, exit, ran_ms, .. } => Told::new(
            Failed,
            format!("Instance {instance} ended by itself after {}", duration(*ran_ms)),
        )
        .detail(exit.to_string())
        .about(Subject::Instance(instance.clone())),
        Fact::InstanceStopped { instance, reason, .. } => {
            Told::new(Off, format!("Instance {instance} was stopped"))
                .detail(reason)
                .about(Subject::Instance(instance.clone()))
                .minor()
        }
        Fact::TrafficShifted { service, deployment, weights } => {
            let told = Told::new(Running, format!("Traffic of {service}: {}", shares(weights)));
            match deployment {
                Some(deployment) => told.about(Subject::Deployment(*deployment)),
                None => told.about(Subject::Service(service.clone())),
            }
        }
        Fact::VerdictReached { deployment, verdict, evidence, .. } => {
            let (standing, text) = match verdict {
                Verdict::NotWorse => (Ok, "The new release is not worse"),
                Verdict::Worse => (Failed, "The new release is worse"),
                Verdict::NotEnough => (Attention, "Not enough traffic to tell"),
            };
            Told::new(standing, text)
                .detail(&evidence.summary)
                .about(Subject::Deployment(*deployment))
        }
        Fact::DeploymentFinished { deployment, service, milliseconds } => Told::new(
            Ok,
            format!(
                "Deployment {deployment} of {service} finished after {}",
                duration(*milliseconds)
            ),
        )
        .about(Subject::Deployment(*deployment)),
        Fact::DeploymentRolledBack { deployment, service, to, reason, .. } => {
            let to = to.as_ref().map_or_else(|| "nothing".to_owned(), |to| to.short().to_owned());
            Told::new(
                Failed,
                format!("Deployment {deployment} was rolled back: {service} is on {to} again"),
            )
            .detail(reason)
            .about(Subject::Deployment(*deployment))
        }

        Fact::HealthChanged { instance, from, to, evidence, .. } => {
            let standing = match to {
                Health::Healthy => Ok,
                Health::Starting => Running,
                Health::Unhealthy => Failed,
                Health::Unknown => Attention,
            };
            Told::new(standing, format!("Instance {instance} went from {from} to {to}"))
                .detail(evidence)
                .about(Subject::Instance(instance.clone()))
        }
        Fact::CrashLoopFound { service, exits, milliseconds, cause, .. } => Told::new(
            Failed,
            format!(
                "{service} ended {} in {}",
                count(u64::from(*exits), "time", "times"),
                duration(*milliseconds)
            ),
        )
        .detail(cause)
        .about(Subject::Service(service.clone())),
        Fact::HealingStarted { service, healing, trigger, dry_run, .. } => {
            let does = match healing {
                Healing::Restart { instance, .. } => format!("starts {instance} again"),
                Healing::RollBack { to } => {
                    format!("gives {service} back to release {}", to.short())
                }
                Healing::Page { .. } => format!("leaves {service} to people"),
                Healing::WaitFor { dependency } => format!("waits for {dependency}"),
            };
            let told = match healing {
                Healing::Page { brake } => {
                    Told::new(Attention, format!("Marline {does}")).detail(brake)
                }
                _ => Told::new(Running, format!("Marline {does}")).detail(trigger),
            };
            let told = told.about(Subject::Service(service.clone()));
            match dry_run {
                true => Told { text: format!("Dry run: {}", told.text), ..told },
                false => told,
            }
        }
        Fact::HealingFinished { service, worked, outcome, .. } => {
            let told = if *worked {
                Told::new(Ok, format!("{service} is well again"))
            } else {
                Told::new(Failed, format!("{service} is still not well"))
            };
            told.detail(outcome).about(Subject::Service(service.clone()))
        }
        Fact::AlertFired { alert, annotations, value, .. } => {
            let told = Told::new(Failed, format!("Alert {alert} holds"));
            match annotations.get("summary").or_else(|| annotations.get("description")) {
                Some(summary) => told.detail(summary),
                None => told.detail(format!("value {value}")),
            }
        }
        Fact::AlertResolved { alert, .. } => Told::new(Ok, format!("Alert {alert} is over")),
        Fact::IncidentOpened { incident, title, .. } => {
            Told::new(Failed, format!("Incident {incident} opened: {title}"))
                .about(Subject::Incident(*incident))
        }
        Fact::IncidentUpdated { incident, note, .. } => {
            Told::new(Attention, format!("Incident {incident}: {note}"))
                .about(Subject::Incident(*incident))
        }
        Fact::IncidentResolved { incident, resolution, .. } => {
            Told::new(Ok, format!("Incident {incident} is over"))
                .detail(resolution)
                .about(Subject::Incident(*incident))
        }
        Fact::NotificationSent { channel, subject, .. } => {
            Told::new(Ok, format!("Told {channel}")).detail(subject).minor()
        }
        Fact::NotificationFailed { channel, subject, error, .. } => {
            Told::new(Attention, format!("Could not tell {channel}: {subject}")).detail(error)
        }
        Fact::NotificationSkipped { channel, subject, why, .. } => {
            Told::new(Off, format!("Did not tell {channel}: {subject}")).detail(why).minor()
        }
        Fact::SilenceSet { reason, .. } => {
            Told::new(Off, "Muted alerts for a while").detail(reason)
        }
        Fact::SilenceExpired { silence } => Told::new(Ok, format!("Ended silence {silence}")),

        Fact::LoginLinkMade { .. } => Told::new(Ok, "Made a link to sign in").minor(),
        Fact::SignedIn { address } => {
            Told::new(Ok, "Signed in").detail(format!("from {address}")).minor()
        }
        Fact::ApprovalRequested { subject, effect, .. } => {
            Told::new(Attention, format!("Waits for a yes: {subject}")).detail(effect)
        }
        Fact::Approved { note, .. } => Told::new(Ok, "Said yes").detail(note),
        Fact::Rejected { note, .. } => Told::new(Off, "Said no").detail(note),
        Fact::Unknown { kind, .. } => {
            Told::new(Off, format!("{kind}, which only a newer Marline understands")).minor()
        }
    }
}

fn starts(workflows: &[String]) -> String {
    match workflows {
        [] => "No workflow starts".to_owned(),
        [one] => format!("{one} starts"),
        many => format!("{} start", count(many.len() as u64, "workflow", "workflows")),
    }
}

/// Says a split of traffic: `90 % on 3f9a2c1b, 10 % on 77ab01cd`.
pub fn shares(weights: &[Weight]) -> String {
    let shares: Vec<String> = weights
        .iter()
        .filter(|weight| weight.basis_points > 0)
        .map(|weight| {
            format!("{} on {}", words::basis_points(weight.basis_points), weight.release.short())
        })
        .collect();
    if shares.is_empty() {
        return "none".to_owned();
    }
    shares.join(", ")
}
