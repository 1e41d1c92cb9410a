//! Why a deployment went as it did.

use journal::view::{Deployment, DeploymentEnd, VerdictOnStep};
use journal::{Certainty, Event, EventId, Fact, Verdict, View};

use super::{WhyError, affected_line, changed_between, explanation, plainly_affected};
use crate::explanation::{Cause, Explanation, Line, Next, Standing};
use crate::story::shares;
use crate::words::{basis_points, clock, duration, full_stop, share, thousands};
use crate::{Lookup, Subject};

pub(super) fn explain(
    deployment: &Deployment,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let log = events.of_deployment(deployment.id)?;
    let mut told = match &deployment.end {
        Some(DeploymentEnd::RolledBack { event, .. }) => {
            rolled_back(deployment, *event, &log, view)
        }
        Some(DeploymentEnd::Finished { event, milliseconds }) => {
            let mut told = explanation(
                Subject::Deployment(deployment.id),
                Standing::Ok,
                format!(
                    "{} runs release {}: deployment {} finished in {}.",
                    deployment.service,
                    deployment.to.short(),
                    deployment.id,
                    duration(*milliseconds)
                ),
            );
            if let Some(verdict) = deployment.verdicts.last() {
                told.evidence = verdict_lines(verdict);
            }
            told.for_manager = vec![Line::new(
                if deployment.is_rollback {
                    "The version before is back in use. Nothing for you to do."
                } else {
                    "The new version is in use and works as well as the one before. Nothing for you to do."
                },
                [*event],
            )];
            told
        }
        None => under_way(deployment),
    };
    told.changed = changed_between(view, deployment.from.as_ref(), &deployment.to);
    told.done.splice(0..0, shifts(&log));
    Ok(told)
}

fn rolled_back(
    deployment: &Deployment,
    at_end: EventId,
    log: &[Event],
    view: &View,
) -> Explanation {
    let Some(DeploymentEnd::RolledBack { reason, affected, .. }) = &deployment.end else {
        unreachable!("only deployments that were rolled back are told here");
    };
    let back_on = match &deployment.from {
        Some(from) => format!("{} is on release {} again", deployment.service, from.short()),
        None => format!("{} has no release before it to go back to", deployment.service),
    };
    let mut told = explanation(
        Subject::Deployment(deployment.id),
        Standing::Failed,
        format!("Deployment {} was rolled back; {back_on}.", deployment.id),
    );
    let worse = deployment.verdicts.iter().rev().find(|verdict| verdict.verdict == Verdict::Worse);
    let plain_cause;
    if let Some(worse) = worse {
        told.cause = Some(Cause {
            text: full_stop(&format!(
                "Release {} is worse than the one before: {}",
                deployment.to.short(),
                reason.trim_end_matches('.'),
            )),
            certainty: Certainty::Certain,
        });
        told.evidence = verdict_lines(worse);
        plain_cause = "The new version failed more often than the one before.";
    } else if let Some((instance, diagnosis)) = deployment.failures.first() {
        let at = log.iter().find(|event| matches!(&event.fact, Fact::InstanceFailed { instance: failed, .. } if failed == instance));
        let at: Vec<EventId> = at.map(|event| event.id).into_iter().chain([at_end]).collect();
        told.cause =
            Some(Cause { text: full_stop(&diagnosis.cause), certainty: diagnosis.certainty });
        told.evidence.push(Line::new(
            format!(
                "{} of its instances did not become ready, first {instance}",
                deployment.failures.len()
            ),
            at.clone(),
        ));
        told.evidence.extend(super::instance::quoted(&diagnosis.last_lines, &at));
        told.next.extend(diagnosis.help.as_deref().map(Next::new));
        plain_cause = "The new version did not start.";
    } else if deployment.abort_requested {
        told.cause = Some(Cause {
            text: "Somebody asked to stop it and go back.".to_owned(),
            certainty: Certainty::Certain,
        });
        plain_cause = "Somebody on the team asked for it.";
    } else {
        told.cause = Some(Cause { text: full_stop(reason), certainty: Certainty::Likely });
        plain_cause = "The new version did not work as it should.";
    }
    told.affected = vec![affected_line(*affected, [at_end])];
    let who = if worse.is_some() || !deployment.failures.is_empty() { "Marline" } else { "it" };
    told.done.push(Line::new(
        match &deployment.from {
            Some(from) => format!("{who} gave all traffic back to release {}", from.short()),
            None => format!("{who} took all traffic away from release {}", deployment.to.short()),
        },
        [at_end],
    ));
    if let Some(incident) =
        view.incidents.values().rev().find(|incident| incident.deployment == Some(deployment.id))
    {
        told.done.push(Line::new(
            format!("opened incident {}: {}", incident.id, incident.title),
            [incident.opened],
        ));
    }
    let commits = (
        deployment.from.as_ref().and_then(|from| view.releases.get(from)),
        view.releases.get(&deployment.to),
    );
    if let (Some(from), Some(to)) = commits {
        told.next.push(Next::command(
            "See what is different",
            format!("git diff {} {}", from.commit.short(), to.commit.short()),
        ));
    }
    told.next.push(Next::new("Mend it and push: the next commit goes the same way"));
    told.for_manager = vec![
        Line::new("The new version was taken back.", [at_end]),
        Line::new(plain_cause, [at_end]),
        Line::new(plainly_affected(*affected), [at_end]),
        Line::new(
            if deployment.from.is_some() {
                "Everybody uses the version before again, and it works."
            } else {
                "There was no version before it, so the service is not running."
            },
            [at_end],
        ),
        Line::new("A developer needs to mend the change.", [at_end]),
    ];
    told
}

fn under_way(deployment: &Deployment) -> Explanation {
    let mut told = explanation(
        Subject::Deployment(deployment.id),
        Standing::Running,
        format!(
            "{} is moving to release {}: {} of its traffic is there.",
            deployment.service,
            deployment.to.short(),
            basis_points(deployment.share())
        ),
    );
    match deployment.verdicts.last() {
        Some(verdict) => told.evidence = verdict_lines(verdict),
        None => {
            told.evidence.push(Line::new("there is no verdict on it yet", [deployment.started]));
        }
    }
    told.next = vec![
        Next::command("Move on without waiting", format!("marline promote {}", deployment.id)),
        Next::command("Stop and go back", format!("marline abort {}", deployment.id)),
    ];
    told.for_manager = vec![Line::new(
        "A new version is being brought in step by step. Each step is compared with the version before.",
        [deployment.started],
    )];
    told
}

/// Returns the numbers behind a verdict.
pub(super) fn verdict_lines(verdict: &VerdictOnStep) -> Vec<Line> {
    let evidence = &verdict.evidence;
    let at = [verdict.event];
    let mut lines = Vec::new();
    if !evidence.summary.is_empty() {
        lines.push(Line::new(evidence.summary.trim_end_matches('.'), at));
    }
    let side = |name: &str, failed: u64, requests: u64| {
        format!(
            "{name}: {} of {} failed ({})",
            thousands(failed),
            crate::words::count(requests, "request", "requests"),
            share(failed, requests)
        )
    };
    if evidence.canary_requests > 0 || evidence.baseline_requests > 0 {
        lines.push(Line::new(
            side("new release", evidence.canary_failed, evidence.canary_requests),
            at,
        ));
        lines.push(Line::new(
            side("old release, meanwhile", evidence.baseline_failed, evidence.baseline_requests),
            at,
        ));
    }
    if !evidence.paths.is_empty() {
        lines.push(Line::new(format!("failing paths: {}", evidence.paths.join(", ")), at));
    }
    if let Some(after) = evidence.after_ms {
        lines.push(Line::new(format!("found {} after the first bad answer", duration(after)), at));
    }
    lines
}

fn shifts(log: &[Event]) -> Vec<Line> {
    log.iter()
        .filter_map(|event| match &event.fact {
            Fact::TrafficShifted { weights, .. } => Some(Line::new(
                format!("{}  traffic: {}", clock(event.at), shares(weights)),
                [event.id],
            )),
            _ => None,
        })
        .collect()
}
