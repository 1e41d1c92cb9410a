//! An instance: how it is, and what it writes.

use explain::{Standing, Subject};
use journal::InstanceId;
use maud::{PreEscaped, html};

use super::{Frame, LOG_GOES_HERE, Missing, Page, nothing, top};
use crate::component::{self, heading, health_state, release_name, why};

pub(crate) fn page(frame: &Frame<'_>, id: &InstanceId, has_log: bool) -> Result<Page, Missing> {
    let found = frame.view.services.iter().find_map(|(name, service)| {
        let past = service.past.iter().rev().find(|past| past.id == *id);
        Some((name, service.instances.get(id).or(past)?, service.instances.contains_key(id)))
    });
    let Some((name, instance, is_running)) = found else {
        return Err(Missing::Nothing(format!("instance {id}")));
    };
    let told = frame.why(&Subject::Instance(id.clone()))?;
    let state = if is_running { health_state(instance.health) } else { (Standing::Off, "Ended") };
    let sentence = html! {
        @if let Some(told) = &told { (told.sentence) " " }
        span.facts { "Release " (release_name(&instance.release, frame.view)) ", port " (instance.port) ", process " (instance.pid) ", started " (component::time(instance.started, frame.now)) "." }
    };
    let kicker = html! { a href=(Subject::Service(name.clone()).path()) { (name) } " / Instances" };
    let path = Subject::Instance(id.clone()).path();
    let body = html! {
        (top(kicker, id.as_str(), Some(state), &sentence, &nothing()))
        div #explanation { @if let Some(told) = told.as_ref().filter(|told| told.cause.is_some()) { (why::card(told)) } }
        section.card {
            (heading("Output", Some((&format!("{path}/raw"), "Raw"))))
            @if has_log { div.log tabindex="0" role="region" aria-label="Output" aria-live="off" data-follow=[is_running.then_some("")] { (PreEscaped(LOG_GOES_HERE)) } }
            @else { (component::empty("No output", "This instance wrote nothing yet, or its log is not kept any more.")) }
        }
    };
    Ok(Page { title: id.to_string(), here: "service", body })
}
