//! What an explanation is about.

use std::fmt;

use journal::view::{DeploymentEnd, Gate};
use journal::{
    CommitId, Conclusion, DeploymentId, IncidentId, InstanceId, JobKey, RunId, ServiceName, View,
};
use serde::Serialize;

/// What an explanation is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Everything at once: how the repository stands.
    Everything,
    /// A run.
    Run(RunId),
    /// A job of a run.
    Job(RunId, JobKey),
    /// A step of a job, from 1.
    Step(RunId, JobKey, u32),
    /// A commit at the gate.
    Commit(CommitId),
    /// A deployment.
    Deployment(DeploymentId),
    /// A service.
    Service(ServiceName),
    /// An instance.
    Instance(InstanceId),
    /// An incident.
    Incident(IncidentId),
}

impl Subject {
    /// Reads what a person typed: `12` or `run 12`, `12/test`, `12/test/3`, `deployment 4`,
    /// `incident 2`, the beginning of a commit, a service, an instance, or the path of a page.
    ///
    /// Returns nothing when there is no such thing.
    pub fn find(text: &str, view: &View) -> Option<Self> {
        let text = text.trim().trim_matches('/');
        if text.is_empty() {
            return Some(Self::most_urgent(view));
        }
        let (noun, rest) = split_noun(text);
        match noun {
            Noun::Run => find_in_run(rest, view),
            Noun::Deployment => {
                let id = DeploymentId(rest.parse().ok()?);
                view.deployments.contains_key(&id).then_some(Self::Deployment(id))
            }
            Noun::Incident => {
                let id = IncidentId(rest.parse().ok()?);
                view.incidents.contains_key(&id).then_some(Self::Incident(id))
            }
            Noun::Service => {
                let name = ServiceName::from(rest);
                view.services.contains_key(&name).then_some(Self::Service(name))
            }
            Noun::Commit => find_commit(rest, view),
            Noun::None => find_in_run(rest, view)
                .or_else(|| Self::find(&format!("service {rest}"), view))
                .or_else(|| find_instance(rest, view))
                .or_else(|| find_newest_job(rest, view))
                .or_else(|| find_commit(rest, view)),
        }
    }

    /// Returns what people should hear about first: an open incident, else what failed last, else
    /// how everything stands.
    pub fn most_urgent(view: &View) -> Self {
        if let Some(incident) = view.open_incidents().last() {
            return Self::Incident(incident.id);
        }
        let failed = view
            .runs
            .values()
            .next_back()
            .filter(|run| run.conclusion == Some(Conclusion::Failure))
            .map(|run| (run.finished, Self::Run(run.id)));
        let held = view.newest_commit().and_then(|(id, commit)| match &commit.gate {
            Gate::Held { event, .. } => Some((Some(*event), Self::Commit(id.clone()))),
            _ => None,
        });
        let rolled_back =
            view.deployments.values().next_back().and_then(|deployment| match &deployment.end {
                Some(DeploymentEnd::RolledBack { event, .. }) => {
                    Some((Some(*event), Self::Deployment(deployment.id)))
                }
                _ => None,
            });
        [failed, held, rolled_back]
            .into_iter()
            .flatten()
            .max_by_key(|(event, _)| *event)
            .map_or(Self::Everything, |(_, subject)| subject)
    }

    /// Returns the path of the page about it.
    pub fn path(&self) -> String {
        match self {
            Self::Everything => "/".to_owned(),
            Self::Run(run) => format!("/runs/{run}"),
            Self::Job(run, job) => format!("/runs/{run}/{}", encode(job.as_str())),
            Self::Step(run, job, step) => format!("/runs/{run}/{}/{step}", encode(job.as_str())),
            Self::Commit(commit) => format!("/commits/{}", encode(commit.as_str())),
            Self::Deployment(deployment) => format!("/deployments/{deployment}"),
            Self::Service(service) => format!("/services/{}", encode(service.as_str())),
            Self::Instance(instance) => format!("/instances/{}", encode(instance.as_str())),
            Self::Incident(incident) => format!("/incidents/{incident}"),
        }
    }

    /// Returns what `marline why` is asked with to get here.
    pub fn command(&self) -> String {
        match self {
            Self::Everything => "marline why".to_owned(),
            Self::Run(run) => format!("marline why {run}"),
            Self::Job(run, job) => format!("marline why {}", quote(&format!("{run}/{job}"))),
            Self::Step(run, job, step) => {
                format!("marline why {}", quote(&format!("{run}/{job}/{step}")))
            }
            Self::Commit(commit) => format!("marline why {}", commit.short()),
            Self::Deployment(deployment) => format!("marline why deployment-{deployment}"),
            Self::Service(service) => format!("marline why {}", quote(service.as_str())),
            Self::Instance(instance) => format!("marline why {}", quote(instance.as_str())),
            Self::Incident(incident) => format!("marline why incident-{incident}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Run(run) => write!(f, "run {run}"),
            Self::Job(run, job) => write!(f, "job {job} of run {run}"),
            Self::Step(run, job, step) => write!(f, "step {step} of job {job} of run {run}"),
            Self::Commit(commit) => write!(f, "commit {}", commit.short()),
            Self::Deployment(deployment) => write!(f, "deployment {deployment}"),
            Self::Service(service) => write!(f, "service {service}"),
            Self::Instance(instance) => write!(f, "instance {instance}"),
            Self::Incident(incident) => write!(f, "incident {incident}"),
        }
    }
}

enum Noun {
    Run,
    Deployment,
    Incident,
    Service,
    Commit,
    None,
}

/// Splits `incident-3`, `incident 3` or `incidents/3` into the noun and the rest.
fn split_noun(text: &str) -> (Noun, &str) {
    let nouns = [
        ("runs", Noun::Run),
        ("run", Noun::Run),
        ("deployments", Noun::Deployment),
        ("deployment", Noun::Deployment),
        ("incidents", Noun::Incident),
        ("incident", Noun::Incident),
        ("services", Noun::Service),
        ("service", Noun::Service),
        ("commits", Noun::Commit),
        ("commit", Noun::Commit),
    ];
    for (word, noun) in nouns {
        if let Some(rest) = text.strip_prefix(word)
            && let Some(rest) = rest.strip_prefix(['/', '-', ' ', '#'])
        {
            return (noun, rest.trim());
        }
    }
    (Noun::None, text)
}

fn find_in_run(text: &str, view: &View) -> Option<Subject> {
    let mut parts = text.trim_start_matches('#').splitn(2, '/');
    let run = view.runs.get(&RunId(parts.next()?.parse().ok()?))?;
    let Some(job) = parts.next() else {
        return Some(Subject::Run(run.id));
    };
    let key = JobKey::from(job);
    if run.jobs.contains_key(&key) {
        return Some(Subject::Job(run.id, key));
    }
    let (job, step) = job.rsplit_once('/')?;
    let key = JobKey::from(job);
    let number: u32 = step.parse().ok()?;
    let known = run.jobs.get(&key)?.planned.steps.len();
    (number >= 1 && number as usize <= known).then_some(Subject::Step(run.id, key, number))
}

fn find_newest_job(text: &str, view: &View) -> Option<Subject> {
    let key = JobKey::from(text);
    let mut runs = view.runs.values().rev();
    let run = runs.find(|run| run.jobs.contains_key(&key))?;
    Some(Subject::Job(run.id, key))
}

fn find_instance(text: &str, view: &View) -> Option<Subject> {
    let id = InstanceId::from(text);
    let is_known = view.services.values().any(|service| {
        service.instances.contains_key(&id) || service.past.iter().any(|past| past.id == id)
    });
    is_known.then_some(Subject::Instance(id))
}

fn find_commit(text: &str, view: &View) -> Option<Subject> {
    if text.len() < 4 {
        return None;
    }
    let mut fitting = view.commits.keys().filter(|id| id.as_str().starts_with(text));
    let commit = fitting.next()?;
    fitting.next().is_none().then(|| Subject::Commit(commit.clone()))
}

/// Encodes one part of a path.
fn encode(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Quotes for a POSIX shell where that is needed.
pub(crate) fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
