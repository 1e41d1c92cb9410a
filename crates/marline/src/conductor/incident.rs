//! What went wrong for users is opened, watched and closed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use journal::view::{Deployment, Incident};
use journal::{
    Affected, DeploymentId, EventId, Fact, IncidentId, ServiceName, Suspect, Verdict, View,
};
use watch::incident::{Change, ChangeKind, Proof, Topology};

use super::Conductor;
use super::action::Trouble;

/// How long users must be well for an incident about a release to be over.
const CALM: Duration = Duration::from_secs(3);

/// How long nothing may end for a crash loop to be over: longer than what crashes takes to do so
/// again after a start.
const CALM_AFTER_CRASHES: Duration = Duration::from_secs(20);

/// How long an incident is watched before somebody must look.
const WATCHED: Duration = Duration::from_mins(10);

/// More than this share of failed requests is not well, whatever it was before.
const STILL_BAD: f64 = 0.05;

impl Conductor {
    /// Opens an incident, once.
    pub(super) async fn open_incident(
        self: &Arc<Self>,
        about: &Trouble,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let fact = match about {
            Trouble::Deployment(id) => {
                let affected = self.traffic.affected(*id);
                incident(&self.view(), *id, self.traffic.first_bad(*id), affected)
            }
            Trouble::CrashLoop { found, service } => self.crash_incident(*found, service)?,
        };
        let Some(fact) = fact else { return Ok(()) };
        self.journal
            .append_with(journal::Actor::Conductor, cause, move |numbers| {
                let mut fact = fact;
                if let Fact::IncidentOpened { incident, .. } = &mut fact {
                    *incident = numbers.incident()?;
                }
                Ok(fact)
            })
            .await?;
        Ok(())
    }

    /// Returns the fact that opens an incident about a crash loop, unless there is one.
    fn crash_incident(
        &self,
        found: EventId,
        service: &ServiceName,
    ) -> anyhow::Result<Option<Fact>> {
        let Some(event) = self.journal.event(found)? else { return Ok(None) };
        let Fact::CrashLoopFound { release, exits, milliseconds, .. } = event.fact else {
            return Ok(None);
        };
        let lasted = jiff::SignedDuration::from_millis(milliseconds as i64);
        let onset = event.at.saturating_sub(lasted).unwrap_or(event.at);
        let view = self.view();
        if view.open_incidents().any(|incident| incident.service == *service) {
            return Ok(None);
        }
        let topology = self.topology(&view);
        Ok(Some(Fact::IncidentOpened {
            incident: IncidentId(0),
            service: service.clone(),
            title: format!(
                "{service} crashes again and again: {exits} exits in {} s",
                milliseconds.div_ceil(1000)
            ),
            deployment: None,
            release: Some(release),
            onset_ms: onset.as_millisecond(),
            suspects: watch::incident::suspects(service, onset, &changes(&view), &topology),
            affected: self.traffic.affected_since(service, onset),
        }))
    }

    /// Returns which service needs which, by the releases that have the traffic.
    fn topology(&self, view: &View) -> Topology {
        let mut topology = Topology::default();
        for (name, service) in &view.services {
            let Some(release) = &service.release else { continue };
            let Some(spec) = self.specs.get(release, name) else { continue };
            for (needed, _) in &spec.plan.depends_on {
                topology.needs(name.clone(), needed.clone());
            }
        }
        topology
    }

    /// Watches until users are well again, then closes an incident.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        id: IncidentId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let incident = self.view().incidents.get(&id).cloned();
        let Some(incident) = incident.filter(|incident| incident.resolved.is_none()) else {
            return Ok(());
        };
        let calm = if incident.deployment.is_some() { CALM } else { CALM_AFTER_CRASHES };
        let begun = tokio::time::Instant::now();
        let mut calm_since = begun;
        let mut seen = self.troubles(&incident);
        while calm_since.elapsed() < calm && begun.elapsed() < WATCHED {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.troubles(&incident);
            let (requests, failed) = self.traffic.recent(&incident.service, 1);
            let is_bad = requests > 0 && failed as f64 / requests as f64 > STILL_BAD;
            if is_bad || now != seen || now.1 > 0 {
                calm_since = tokio::time::Instant::now();
            }
            seen = now;
        }
        let affected = self.affected(&incident);
        if calm_since.elapsed() < calm {
            let note = match incident.deployment {
                Some(_) => "users still get errors after the roll-back; somebody must look",
                None => "its instances still end again and again; somebody must look",
            };
            let fact = Fact::IncidentUpdated { incident: id, note: note.to_owned(), affected };
            return self.append(cause, fact).await.map(drop);
        }
        let resolution = match incident.deployment {
            Some(deployment) => resolution(&self.view(), deployment),
            None => format!(
                "all instances answer, and none has ended for {} s",
                CALM_AFTER_CRASHES.as_secs()
            ),
        };
        let fact = Fact::IncidentResolved { incident: id, resolution, affected };
        self.append(cause, fact).await?;
        if let Some(deployment) = incident.deployment {
            self.traffic.forget(deployment);
        }
        Ok(())
    }

    /// Returns who was affected by an incident so far.
    fn affected(&self, incident: &Incident) -> Affected {
        let onset = Timestamp::from_millisecond(incident.onset_ms).unwrap_or(incident.at);
        match incident.deployment {
            Some(deployment) => self.traffic.affected(deployment),
            None => self.traffic.affected_since(&incident.service, onset),
        }
    }

    /// Returns what must not change for an incident to be over: failed requests of its release, or
    /// how many instances ended and how many are still to come up.
    fn troubles(&self, incident: &Incident) -> (u64, usize) {
        if let Some(deployment) = incident.deployment {
            return (self.traffic.affected(deployment).failed, 0);
        }
        let view = self.view();
        let Some(service) = view.services.get(&incident.service) else { return (0, 0) };
        let ready = service.release.as_ref().map_or(0, |release| service.ready(release).count());
        (service.exits, (service.replicas as usize).saturating_sub(ready))
    }
}

/// Returns the fact that opens an incident about a deployment, unless there is one.
fn incident(
    view: &View,
    id: DeploymentId,
    first_bad: Option<Timestamp>,
    affected: journal::Affected,
) -> Option<Fact> {
    let deployment = view.deployments.get(&id)?;
    if view.incidents.values().any(|incident| incident.deployment == Some(id)) {
        return None;
    }
    let onset = first_bad.unwrap_or(deployment.at);
    Some(Fact::IncidentOpened {
        incident: IncidentId(0),
        service: deployment.service.clone(),
        title: title(deployment),
        deployment: Some(id),
        release: Some(deployment.to.clone()),
        onset_ms: onset.as_millisecond(),
        suspects: suspects(view, deployment),
        affected,
    })
}

fn title(deployment: &Deployment) -> String {
    let (service, release) = (&deployment.service, deployment.to.short());
    let worse = deployment.verdicts.iter().find(|verdict| verdict.verdict == Verdict::Worse);
    match worse {
        Some(verdict) => {
            let evidence = &verdict.evidence;
            format!(
                "{service} failed {} of {} requests at release {release}",
                evidence.canary_failed, evidence.canary_requests
            )
        }
        None => format!("release {release} of {service} did not start"),
    }
}

/// Returns what changed: the release itself, and how sure that is.
fn suspects(view: &View, deployment: &Deployment) -> Vec<Suspect> {
    let release = view.releases.get(&deployment.to);
    let worse = deployment.verdicts.iter().find(|verdict| verdict.verdict == Verdict::Worse);
    let because = match worse {
        Some(verdict) => verdict.evidence.summary.clone(),
        None => "its instances failed, and those of the release before run".to_owned(),
    };
    vec![Suspect {
        what: release_words(view, &deployment.to),
        event: release.map_or(deployment.started, |release| release.cut),
        score: 1_000,
        because,
    }]
}

/// Returns the releases that got the traffic of a service, as changes.
fn changes(view: &View) -> Vec<Change> {
    let finished = view.deployments.values().filter(|deployment| !deployment.shifts.is_empty());
    finished
        .map(|deployment| Change {
            event: deployment.started,
            kind: ChangeKind::Release,
            service: deployment.service.clone(),
            at: deployment.at,
            what: format!("{} of {}", release_words(view, &deployment.to), deployment.service),
            proof: Proof::None,
        })
        .collect()
}

/// Names a release with its commit.
fn release_words(view: &View, id: &journal::ReleaseId) -> String {
    let commit = view.releases.get(id).and_then(|release| {
        let commit = view.commits.get(&release.commit)?;
        Some(format!(" (commit {} “{}”)", release.commit.short(), commit.subject))
    });
    format!("release {}{}", id.short(), commit.unwrap_or_default())
}

fn resolution(view: &View, deployment: DeploymentId) -> String {
    let back = view.deployments.get(&deployment).and_then(|deployment| deployment.from.clone());
    match back {
        Some(release) => format!(
            "release {} has all traffic again, and no request has failed for {} s",
            release.short(),
            CALM.as_secs()
        ),
        None => "the release was taken back".to_owned(),
    }
}
