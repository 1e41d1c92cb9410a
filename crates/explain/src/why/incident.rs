//! Why an incident happened, and how it went.

use jiff::Timestamp;
use journal::view::{DeploymentEnd, Incident};
use journal::{Certainty, Event, EventId, Fact, Healing, Verdict, View};

use super::{WhyError, affected_line, changed_between, explanation, plainly_affected};
use crate::explanation::{Cause, Explanation, Line, Next, Standing};
use crate::words::{clock, duration, full_stop, plain_duration};
use crate::{Lookup, Subject};

/// A suspect with a score from here on is called likely; it is in thousandths.
const LIKELY: u32 = 500;

/// A suspect below this score explains nothing.
const NO_SUSPECT: u32 = 200;

/// How many healing actions are searched.
const ACTIONS_SEARCHED: usize = 200;

pub(super) fn explain(
    incident: &Incident,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let log = events.of_incident(incident.id)?;
    let at: Vec<EventId> = log.iter().map(|event| event.id).take(1).collect();
    let onset = Timestamp::from_millisecond(incident.onset_ms).unwrap_or(incident.at);
    let (standing, state) = match &incident.resolved {
        Some((end, _)) => {
            let lasting = end.as_millisecond().saturating_sub(onset.as_millisecond()).max(0);
            (Standing::Ok, format!("is over; it lasted {}", duration(lasting as u64)))
        }
        None => (Standing::Failed, format!("is open since {} UTC", clock(onset))),
    };
    let mut told = explanation(
        Subject::Incident(incident.id),
        standing,
        format!("{}. Incident {} {state}.", incident.title.trim_end_matches('.'), incident.id),
    );

    let deployment = incident.deployment.and_then(|id| view.deployments.get(&id));
    let worse = deployment.and_then(|deployment| {
        deployment.verdicts.iter().rev().find(|verdict| verdict.verdict == Verdict::Worse)
    });
    let best = incident.suspects.first().filter(|best| best.score >= NO_SUSPECT);
    told.cause = match (worse, best) {
        (Some(worse), _) => {
            told.evidence = super::deployment::verdict_lines(worse);
            let release = incident.release.as_ref().or(deployment.map(|deployment| &deployment.to));
            Some(Cause {
                text: match release {
                    Some(release) => format!(
                        "Release {} fails more often than the one before it, at the same time and for the same kind of requests.",
                        release.short()
                    ),
                    None => "The new release fails more often than the one before it.".to_owned(),
                },
                certainty: Certainty::Certain,
            })
        }
        (None, Some(best)) => {
            told.evidence.push(Line::new(best.because.trim_end_matches('.'), [best.event]));
            Some(Cause {
                text: full_stop(&crate::words::sentence_case(&best.what)),
                certainty: if best.score >= LIKELY { Certainty::Likely } else { Certainty::Unsure },
            })
        }
        (None, None) => Some(Cause {
            text: "No recent change explains this.".to_owned(),
            certainty: Certainty::Unsure,
        }),
    };
    told.also_possible = incident
        .suspects
        .iter()
        .skip(usize::from(best.is_some()))
        .take(2)
        .map(|suspect| Line::new(format!("{}: {}", suspect.what, suspect.because), [suspect.event]))
        .collect();
    if let Some(deployment) = deployment {
        told.changed = changed_between(view, deployment.from.as_ref(), &deployment.to);
    }
    told.affected = vec![affected_line(incident.affected, at.clone())];

    let rolled_back = deployment.and_then(|deployment| match &deployment.end {
        Some(DeploymentEnd::RolledBack { event, at, .. }) => Some((deployment, *event, *at)),
        _ => None,
    });
    let mut healed = false;
    for event in healing(incident, events)? {
        if let Fact::HealingStarted { healing, trigger, undo, dry_run: false, .. } = &event.fact {
            healed |= matches!(healing, Healing::Restart { .. });
            let what = match healing {
                Healing::Restart { instance, .. } => format!("started {instance} again"),
                Healing::RollBack { to } => {
                    format!("gave the traffic back to release {}", to.short())
                }
                Healing::Page { brake } => format!("left it to people: {brake}"),
                Healing::WaitFor { dependency } => format!("waited for {dependency}"),
            };
            let undo = if undo.is_empty() { String::new() } else { format!("; undo: {undo}") };
            told.done.push(Line::new(
                format!("{}  {what} because {trigger}{undo}", clock(event.at)),
                [event.id],
            ));
        }
    }
    if let Some((deployment, event, when)) = rolled_back {
        let after = when.as_millisecond().saturating_sub(incident.onset_ms).max(0) as u64;
        told.done.push(Line::new(
            match &deployment.from {
                Some(from) => format!(
                    "{}  rolled back to release {}, {} after it began",
                    clock(when),
                    from.short(),
                    duration(after)
                ),
                None => format!(
                    "{}  took all traffic away from release {}",
                    clock(when),
                    deployment.to.short()
                ),
            },
            [event],
        ));
    }
    for (when, note) in &incident.notes {
        told.done.push(Line::new(format!("{}  {note}", clock(*when)), at.clone()));
    }

    if let Some(deployment) = deployment {
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
        if rolled_back.is_none() && deployment.end.is_none() {
            told.next.push(Next::command(
                "Stop the deployment and go back",
                format!("marline abort {}", deployment.id),
            ));
        }
        told.next.push(Next::new("Mend it and push: the next commit goes the same way"));
    } else {
        told.next.push(Next::command(
            "Read the output of the service",
            format!("marline logs {}", crate::subject::quote(incident.service.as_str())),
        ));
        if view.services.get(&incident.service).and_then(|service| service.previous()).is_some()
            && incident.resolved.is_none()
        {
            told.next.push(Next::command(
                "Go back to the release before",
                format!("marline rollback {}", crate::subject::quote(incident.service.as_str())),
            ));
        }
    }
    told.for_manager =
        for_manager(incident, onset, rolled_back.is_some(), worse.is_some(), healed, &log);
    Ok(told)
}

fn for_manager(
    incident: &Incident,
    onset: Timestamp,
    is_rolled_back: bool,
    is_by_release: bool,
    is_restarted: bool,
    log: &[Event],
) -> Vec<Line> {
    let at: Vec<EventId> = log.iter().map(|event| event.id).collect();
    let affected = incident.affected;
    let mut sentences = Vec::new();
    sentences.push(match (&incident.resolved, affected.failed) {
        (Some(_), 0) => {
            format!("{} had a problem at {}.", incident.service, onset.strftime("%H:%M"))
        }
        (Some((end, _)), _) => {
            let lasting = end.as_millisecond().saturating_sub(onset.as_millisecond()).max(0) as u64;
            format!(
                "{} failed for some users at {} for {}.",
                incident.service,
                onset.strftime("%H:%M"),
                plain_duration(lasting)
            )
        }
        (None, _) => format!(
            "{} does not work for some users since {}.",
            incident.service,
            onset.strftime("%H:%M")
        ),
    });
    sentences.push(plainly_affected(affected));
    if is_by_release {
        sentences.push("It began with a new version.".to_owned());
    }
    if is_rolled_back {
        sentences.push("I brought the version before back by myself.".to_owned());
    } else if is_restarted {
        sentences.push("I started the service again by myself.".to_owned());
    }
    match &incident.resolved {
        Some(_) => sentences.push("The service works again.".to_owned()),
        None => sentences.push("A developer needs to look at it now.".to_owned()),
    }
    if is_by_release {
        sentences.push("A developer needs to mend the change before it is tried again.".to_owned());
    }
    sentences.into_iter().map(|sentence| Line::new(sentence, at.clone())).collect()
}

/// Returns what Marline did for the service while the incident was open, oldest first.
fn healing(incident: &Incident, events: &(impl Lookup + ?Sized)) -> Result<Vec<Event>, WhyError> {
    let mut actions = events.of_kind("HealingStarted", ACTIONS_SEARCHED)?;
    let until = incident.resolved.as_ref().map(|(end, _)| *end);
    actions.retain(|event| {
        let of_service = matches!(&event.fact, Fact::HealingStarted { service, .. } if *service == incident.service);
        of_service
            && event.at.as_millisecond() >= incident.onset_ms
            && until.is_none_or(|until| event.at <= until)
    });
    actions.reverse();
    Ok(actions)
}
