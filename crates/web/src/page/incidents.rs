//! Incidents, newest first.

use explain::{Standing, Subject, words};
use maud::html;

use super::{Frame, Page, nothing, top};
use crate::component::{self, badge};

pub(crate) fn page(frame: &Frame<'_>) -> Page {
    let view = frame.view;
    let open = view.open_incidents().count() as u64;
    let sentence = match (open, view.incidents.len()) {
        (0, 0) => html! { "Nothing went wrong for users so far." },
        (0, _) => html! { "No incident is open." },
        (open, _) => {
            html! { (words::sentence_case(&words::count(open, "incident is open", "incidents are open"))) "." }
        }
    };
    let body = html! {
        (top(nothing(), "Incidents", None, &sentence, &nothing()))
        section.card #incidents {
            @if view.incidents.is_empty() {
                (component::empty("No incident yet", "When users notice something, its cause, its timeline and what was done show here."))
            } @else {
                ul.rows {
                    @for incident in view.incidents.values().rev() {
                        @let (standing, word) = match &incident.resolved { Some(_) => (Standing::Ok, "Over"), None => (Standing::Failed, "Open") };
                        li.row {
                            (badge(standing, word))
                            div.what {
                                p { a href=(Subject::Incident(incident.id).path()) { "#" (incident.id) " " (incident.title) } }
                                p.detail {
                                    (incident.service) ", " (words::count(incident.affected.failed, "failed request", "failed requests"))
                                    @if let Some((end, _)) = &incident.resolved { ", lasted " (words::duration((end.as_millisecond() - incident.onset_ms).max(0) as u64)) }
                                }
                            }
                            div.actions {}
                            span.when { (component::time(incident.at, frame.now)) }
                        }
                    }
                }
            }
        }
    };
    Page { title: "Incidents".to_owned(), here: "incidents", body }
}
