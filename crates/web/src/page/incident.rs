//! An incident: the words, who was affected, what happened in order.

use explain::{Audience, Moment, Standing, Subject, words};
use jiff::Timestamp;
use journal::view::{Incident, View};
use journal::{Event, EventId};
use maud::{Markup, html};

use super::{Frame, Missing, Page, nothing, top};
use crate::component::{self, form, heading, moments, release_name, why};

pub(crate) fn page(
    frame: &Frame<'_>,
    incident: &Incident,
    audience: Audience,
) -> Result<Page, Missing> {
    let Some(told) = frame.why(&Subject::Incident(incident.id))? else {
        return Err(Missing::Nothing(format!("incident {}", incident.id)));
    };
    let state = match &incident.resolved {
        Some(_) => (Standing::Ok, "Over"),
        None => (Standing::Failed, "Open"),
    };
    let onset = Timestamp::from_millisecond(incident.onset_ms).unwrap_or(incident.at);
    let sentence = html! {
        @match &incident.resolved {
            Some((_, resolution)) => { (words::full_stop(&words::sentence_case(resolution))) " " }
            None => { "This is not over. " }
        }
        span.facts { a href=(Subject::Service(incident.service.clone()).path()) { (incident.service) } ", began " (component::time(onset, frame.now)) "." }
    };
    let actions = html! {
        @if let Some(deployment) = incident.deployment.filter(|id| frame.view.deployments.get(id).is_some_and(|deployment| !deployment.is_over())) {
            (form::button(frame, "abort", &[("deployment", &deployment.to_string())], "Abort the deployment", form::Tone::Careful))
        }
    };
    let events = events_of(frame, incident)?;
    let story: Vec<Moment> =
        events.iter().map(Moment::of).filter(|moment| !moment.is_minor).collect();
    let path = Subject::Incident(incident.id).path();
    let body = html! {
        (top(html! { a href="/incidents" { "Incidents" } " / " (incident.id) }, &incident.title, Some(state), &sentence, &actions))
        div.words #explanation {
            nav.segments aria-label="For whom" {
                a href=(path) aria-current=[(audience == Audience::Developer).then_some("true")] { "For developers" }
                a href=(format!("{path}?for=manager")) aria-current=[(audience == Audience::Manager).then_some("true")] { "In plain words" }
            }
            @match audience {
                Audience::Developer => { (why::card(&told)) }
                Audience::Manager => { (why::plain(&told)) }
            }
        }
        section.card #affected {
            (heading("Who was affected", None))
            (affected(incident, onset, frame))
        }
        section.card #story {
            (heading("What happened, in order", None))
            (moments::timeline(&story, frame.now))
        }
    };
    Ok(Page {
        title: format!("Incident {} {}", incident.id, state.1.to_lowercase()),
        here: "incidents",
        body,
    })
}

fn affected(incident: &Incident, onset: Timestamp, frame: &Frame<'_>) -> Markup {
    let affected = incident.affected;
    let end = incident.resolved.as_ref().map_or(frame.now, |(end, _)| *end);
    let lasting = (end.as_millisecond() - onset.as_millisecond()).max(0) as u64;
    html! {
        dl.stats {
            (component::stat("Requests failed", &words::thousands(affected.failed), None))
            (component::stat("Of all", &words::share(affected.failed, affected.requests), Some(&format!("of {}", words::thousands(affected.requests)))))
            (component::stat("First to last", &words::duration(affected.milliseconds), None))
            (component::stat(if incident.resolved.is_some() { "Lasted" } else { "Lasts since" }, &words::duration(lasting), None))
            @if let Some(release) = &incident.release {
                div.stat { dt { "Release" } dd { (release_name(release, frame.view)) } }
            }
            @if let Some(deployment) = incident.deployment {
                div.stat { dt { "Deployment" } dd { a href=(Subject::Deployment(deployment).path()) { "#" (deployment) } } }
            }
        }
        @if affected.failed == 0 { p.faint { "No request of a user failed." } } @else { (nothing()) }
    }
}

/// Returns what happened to the incident and to its deployment, oldest first.
fn events_of(frame: &Frame<'_>, incident: &Incident) -> Result<Vec<Event>, Missing> {
    let mut events = frame.state.journal.of_incident(incident.id)?;
    if let Some(deployment) = incident.deployment {
        events.extend(frame.state.journal.of_deployment(deployment)?);
    }
    events.extend(healing(frame, incident, frame.view)?);
    events.sort_by_key(|event| event.id);
    events.dedup_by_key(|event| event.id);
    Ok(events)
}

fn healing(frame: &Frame<'_>, incident: &Incident, view: &View) -> Result<Vec<Event>, Missing> {
    let until = incident.resolved.as_ref().map_or(view.at.unwrap_or(frame.now), |(end, _)| *end);
    let mut events = Vec::new();
    for kind in [
        "HealingStarted",
        "HealingFinished",
        "AlertFired",
        "AlertResolved",
        "InstanceExited",
        "HealthChanged",
    ] {
        let found = frame.state.journal.of_kind(kind, 100)?;
        events.extend(found.into_iter().filter(|event| {
            let of_service =
                event.fact.encode()["service"].as_str() == Some(incident.service.as_str());
            let first = EventId(incident.opened.0.saturating_sub(100));
            of_service
                && event.id > first
                && event.at.as_millisecond() >= incident.onset_ms
                && event.at <= until
        }));
    }
    Ok(events)
}
