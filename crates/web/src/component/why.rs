//! The card that says why, on top of what it is about.

use explain::{Explanation, Line, Standing, words};
use journal::{Certainty, EventId};
use maud::{Markup, html};

use super::{badge, class_of};

/// Returns an explanation for developers.
pub(crate) fn card(explanation: &Explanation) -> Markup {
    html! {
        section.card.why.(class_of(explanation.standing)) id="why" aria-label="Why" {
            @if let Some(cause) = &explanation.cause {
                div.cause {
                    h2 { (ticks(&words::sentence_case(&cause.text))) }
                    (certainty(cause.certainty))
                }
            } @else {
                h2 { (explanation.sentence) }
            }
            dl.parts {
                (part("Evidence", &explanation.evidence))
                (part("Also possible", &explanation.also_possible))
                (part("What changed", &explanation.changed))
                (part("Who is affected", &explanation.affected))
                (part("What was done", &explanation.done))
                @if !explanation.next.is_empty() {
                    div.part {
                        dt { "What to do" }
                        dd {
                            ul.next {
                                @for next in &explanation.next {
                                    li {
                                        span { (ticks(&words::full_stop(&words::sentence_case(&next.text)))) }
                                        @if let Some(command) = &next.command { code.command { (command) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns how sure a cause is, as a badge.
fn certainty(certainty: Certainty) -> Markup {
    let (standing, word) = match certainty {
        Certainty::Certain => (Standing::Ok, "certain"),
        Certainty::Likely => (Standing::Attention, "likely"),
        Certainty::Unsure => (Standing::Off, "unsure"),
    };
    badge(standing, word)
}

fn part(name: &str, lines: &[Line]) -> Markup {
    if lines.is_empty() {
        return html! {};
    }
    let quotes: Vec<&Line> = lines.iter().filter(|line| line.is_quote).collect();
    let said: Vec<&Line> = lines.iter().filter(|line| !line.is_quote).collect();
    html! {
        div.part {
            dt { (name) }
            dd {
                @if !quotes.is_empty() {
                    pre.quote tabindex="0" { @for line in &quotes { (line.text) "\n" } }
                }
                @if !said.is_empty() {
                    ul {
                        @for line in &said {
                            li {
                                @if let Some(text) = line.text.strip_prefix("  ") {
                                    span.indent { (ticks(text)) }
                                } @else { (ticks(&words::sentence_case(&line.text))) }
                                @if let Some(place) = &line.place { " " span.place { (place) } }
                                (source_of(&line.events))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns links to the events a sentence rests on.
fn source_of(events: &[EventId]) -> Markup {
    html! {
        @if let Some(first) = events.first() {
            " " a.source href=(format!("/timeline/{first}")) title="The event this rests on" aria-label=(format!("Event {first}")) { "#" (first) }
        }
    }
}

/// Returns text in which what stands between back ticks is code.
pub(crate) fn ticks(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Returns an explanation for people who do not read logs.
pub(crate) fn plain(explanation: &Explanation) -> Markup {
    html! {
        section.card.why.plain.(class_of(explanation.standing)) id="why" aria-label="Why" {
            @for line in &explanation.for_manager { p { (line.text) } }
        }
    }
}
