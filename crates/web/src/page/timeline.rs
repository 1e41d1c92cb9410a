//! Everything that happened, in order; what an audit reads.

use explain::{Moment, words};
use journal::EventId;
use maud::html;

use super::{Frame, Missing, Page, nothing, top};
use crate::component::{self, moments};

/// How many events are read for a page.
const READ: u64 = 200;

/// Which events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// What matters to most.
    Important,
    /// Only what people asked for.
    People,
    /// Every one.
    All,
}

impl Who {
    const ALL: [(Who, &str, &str); 3] = [
        (Who::Important, "important", "Important"),
        (Who::People, "people", "By people"),
        (Who::All, "all", "Everything"),
    ];

    pub(crate) fn of_name(name: &str) -> Self {
        Self::ALL
            .iter()
            .find(|(_, known, _)| *known == name)
            .map_or(Who::Important, |(who, ..)| *who)
    }

    fn shows(self, moment: &Moment) -> bool {
        match self {
            Who::Important => !moment.is_minor,
            Who::People => moment.by_person,
            Who::All => true,
        }
    }
}

pub(crate) fn page(frame: &Frame<'_>, before: Option<u64>, who: Who) -> Result<Page, Missing> {
    let newest = frame.view.newest.map_or(0, |newest| newest.0);
    let end = before.unwrap_or(newest + 1).min(newest + 1);
    let start = end.saturating_sub(READ + 1);
    let mut events = frame.state.journal.read(
        EventId(start),
        (end.saturating_sub(1) - start.min(end.saturating_sub(1))) as usize,
    )?;
    events.reverse();
    let moments: Vec<Moment> =
        events.iter().map(Moment::of).filter(|moment| who.shows(moment)).collect();
    let name =
        Who::ALL.iter().find(|(known, ..)| *known == who).map_or("important", |(_, name, _)| *name);
    let sentence = html! {
        (words::sentence_case(&words::count(newest, "event", "events"))) " in the journal, each bound to the one before it. "
        span.facts { code { "marline audit --verify" } " proves that none was changed." }
    };
    let body = html! {
        (top(nothing(), "Timeline", None, &sentence, &nothing()))
        nav.segments aria-label="Which events" {
            @for (known, name, text) in Who::ALL { a href=(format!("/timeline?show={name}")) aria-current=[(known == who).then_some("true")] { (text) } }
        }
        section.card #timeline {
            @if moments.is_empty() {
                (component::empty("Nothing here", "No event of this kind among those of this page."))
            } @else { (moments::timeline(&moments, frame.now)) }
            @if start > 0 { p.pager { a href=(format!("/timeline?show={name}&before={}", start + 1)) { "Older events" } } }
        }
    };
    Ok(Page { title: "Timeline".to_owned(), here: "timeline", body })
}
