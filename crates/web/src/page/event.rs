//! One event: what led to it, what it led to, and how it is stored.

use explain::{Moment, words};
use journal::{Event, EventId};
use maud::html;

use super::{Frame, Missing, Page, nothing, top};
use crate::component::{heading, moments};

pub(crate) fn page(frame: &Frame<'_>, id: EventId) -> Result<Page, Missing> {
    let journal = &frame.state.journal;
    let Some(event) = journal.event(id)? else {
        return Err(Missing::Nothing(format!("event {id}")));
    };
    let told = |events: &[Event]| events.iter().map(Moment::of).collect::<Vec<_>>();
    let mut causes = journal.causes(id)?;
    causes.reverse();
    let effects = journal.effects(id)?;
    let moment = Moment::of(&event);
    let sentence = html! { (moment.text) ". " span.facts { "By " (event.actor) ", " (words::exact(event.at)) "." } };
    let stored = serde_json::to_string_pretty(&event.fact.encode())
        .expect("facts hold only what JSON can say");
    let body = html! {
        (top(html! { a href="/timeline" { "Timeline" } }, &format!("Event {id}"), None, &sentence, &nothing()))
        section.card #causes {
            (heading("What led to it", None))
            @if causes.len() < 2 { p.faint { "Nothing: it began here." } } @else { (moments::timeline(&told(&causes), frame.now)) }
        }
        section.card #effects {
            (heading("What it led to", None))
            @if effects.is_empty() { p.faint { "Nothing so far." } } @else { (moments::timeline(&told(&effects), frame.now)) }
        }
        section.card #stored {
            (heading(&format!("As it is stored: {} {}", event.fact.kind(), event.fact.version()), None))
            pre.quote tabindex="0" { (stored) }
        }
    };
    Ok(Page { title: format!("Event {id}"), here: "timeline", body })
}
