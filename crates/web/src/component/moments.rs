//! What happened, as a timeline.

use explain::{Moment, Standing, words};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{class_of, icon};

/// Returns moments newest or oldest first, as given; minor ones are marked as such.
pub(crate) fn timeline(moments: &[Moment], now: Timestamp) -> Markup {
    html! {
        ol.timeline {
            @for moment in moments {
                li.(class_of(moment.standing)) .minor[moment.is_minor] id=(format!("e{}", moment.event)) {
                    @if moment.standing == Standing::Running { (icon::dot()) } @else { (icon::of(moment.standing)) }
                    div.what {
                        p {
                            @if let Some(subject) = &moment.subject {
                                a href=(subject.path()) { (moment.text) }
                            } @else { (moment.text) }
                        }
                        @if let Some(detail) = &moment.detail { p.detail { (words::shorten(detail, 300)) } }
                    }
                    div.when {
                        (super::time(moment.at, now))
                        span.by {
                            @if moment.by_person { "by " (moment.actor) " " }
                            a href=(format!("/timeline/{}", moment.event)) title="This event in the journal" { "#" (moment.event) }
                        }
                    }
                }
            }
        }
    }
}
