//! What went wrong for users is opened, watched and closed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use journal::view::Deployment;
use journal::{DeploymentId, EventId, Fact, IncidentId, Suspect, Verdict, View};

use super::Conductor;

/// How long users must be well for an incident to be over.
const CALM: Duration = Duration::from_secs(3);

/// How long an incident is watched before somebody must look.
const WATCHED: Duration = Duration::from_mins(10);

/// More than this share of failed requests is not well, whatever it was before.
const STILL_BAD: f64 = 0.05;

impl Conductor {
    /// Opens an incident about a deployment, once.
    pub(super) async fn open_incident(
        self: &Arc<Self>,
        id: DeploymentId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let affected = self.traffic.affected(id);
        let first_bad = self.traffic.first_bad(id);
        let Some(fact) = incident(&self.view(), id, first_bad, affected) else { return Ok(()) };
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

    /// Watches until users are well again, then closes an incident.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        id: IncidentId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let Some((service, deployment)) = self.view().incidents.get(&id).and_then(|incident| {
            let is_open = incident.resolved.is_none();
            is_open.then(|| (incident.service.clone(), incident.deployment))
        }) else {
            return Ok(());
        };
        let affected = |this: &Self| match deployment {
            Some(deployment) => this.traffic.affected(deployment),
            None => journal::Affected::default(),
        };
        let begun = tokio::time::Instant::now();
        let mut calm_since = begun;
        let mut seen = affected(self);
        while calm_since.elapsed() < CALM && begun.elapsed() < WATCHED {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = affected(self);
            let (requests, failed) = self.traffic.recent(&service, 1);
            let is_bad = requests > 0 && failed as f64 / requests as f64 > STILL_BAD;
            if is_bad || now.failed != seen.failed {
                calm_since = tokio::time::Instant::now();
            }
            seen = now;
        }
        let is_over = calm_since.elapsed() >= CALM;
        let fact = if is_over {
            Fact::IncidentResolved {
                incident: id,
                resolution: resolution(&self.view(), deployment),
                affected: affected(self),
            }
        } else {
            let note = "users still get errors after the roll-back; somebody must look".to_owned();
            Fact::IncidentUpdated { incident: id, note, affected: affected(self) }
        };
        self.append(cause, fact).await?;
        if let Some(deployment) = deployment.filter(|_| is_over) {
            self.traffic.forget(deployment);
        }
        Ok(())
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
    let commit = release.and_then(|release| {
        let commit = view.commits.get(&release.commit)?;
        Some(format!(" (commit {} “{}”)", release.commit.short(), commit.subject))
    });
    let worse = deployment.verdicts.iter().find(|verdict| verdict.verdict == Verdict::Worse);
    let because = match worse {
        Some(verdict) => verdict.evidence.summary.clone(),
        None => "its instances failed, and those of the release before run".to_owned(),
    };
    vec![Suspect {
        what: format!("release {}{}", deployment.to.short(), commit.unwrap_or_default()),
        event: release.map_or(deployment.started, |release| release.cut),
        score: 1_000,
        because,
    }]
}

fn resolution(view: &View, deployment: Option<DeploymentId>) -> String {
    let back = deployment.and_then(|id| view.deployments.get(&id)?.from.clone());
    match back {
        Some(release) => format!(
            "release {} has all traffic again, and no request has failed for {} s",
            release.short(),
            CALM.as_secs()
        ),
        None => "the release was taken back".to_owned(),
    }
}
