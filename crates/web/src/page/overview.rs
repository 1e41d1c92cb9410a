//! Everything at a glance, and what needs somebody.

use explain::{Moment, Standing, Subject, words};
use journal::view::{DeploymentEnd, Gate};
use journal::{Conclusion, EventId};
use maud::{Markup, html};

use super::{Frame, Missing, Page, nothing};
use crate::component::{
    self, badge, chart, failed_share, form, heading, latency, moments, release_name, requests,
    service_state, way, weights,
};
use crate::numbers::{Of, Window};

/// How far back the numbers of the overview go: half an hour.
const NUMBERS: i64 = 30 * 60 * 1000;

/// How many events are read to find the lines of the feed.
const EVENTS_READ: usize = 200;

/// How many lines the feed has.
const FEED: usize = 10;

/// Something that needs somebody.
struct Attention {
    standing: Standing,
    text: String,
    detail: String,
    subject: Subject,
    at: jiff::Timestamp,
    actions: Markup,
}

pub(crate) fn page(frame: &Frame<'_>) -> Result<Page, Missing> {
    let view = frame.view;
    let Some(told) = frame.why(&Subject::Everything)? else {
        return Err(Missing::Nothing("overview".to_owned()));
    };
    let attention = attention(frame);
    let feed: Vec<Moment> = frame
        .state
        .journal
        .newest(EVENTS_READ)?
        .iter()
        .rev()
        .map(Moment::of)
        .filter(|moment| !moment.is_minor)
        .take(FEED)
        .collect();
    let body = html! {
        div.top #top {
            div.title.big.(component::class_of(told.standing)) {
                (component::icon::of(told.standing))
                h1 { (told.sentence) }
            }
            p.sentence { (summary(frame)) }
        }
        @if let Some((id, commit)) = view.newest_commit() {
            section.card #way {
                (heading("The way of the newest commit", Some((&Subject::Commit(id.clone()).path(), "Details"))))
                p.subject { (commit.subject) span.faint { " by " (commit.author) ", " (component::time(commit.at, frame.now)) } }
                (way::way(id, commit, view))
            }
        }
        section.card #attention {
            (heading("Needs attention", None))
            @if attention.is_empty() {
                p.calm { (component::icon::of(Standing::Ok)) "Nothing needs you right now." }
            } @else {
                ul.rows {
                    @for item in &attention {
                        li.row.(component::class_of(item.standing)) {
                            (component::icon::of(item.standing))
                            div.what { p { a href=(item.subject.path()) { (item.text) } } p.detail { (item.detail) } }
                            div.actions { (item.actions) }
                            span.when { (component::time(item.at, frame.now)) }
                        }
                    }
                }
            }
        }
        (moving(frame))
        section.card #services {
            (heading("Services", None))
            @if view.services.is_empty() {
                (component::empty("No service runs yet", "When a commit passed its tests and the gate, its services start and show here."))
            } @else { (services(frame)) }
        }
        section.card #activity {
            (heading("What happened", Some(("/timeline", "Whole timeline"))))
            @if feed.is_empty() {
                (component::empty("Nothing has happened yet", "Commit something: everything that follows from it shows here."))
            } @else { (moments::timeline(&feed, frame.now)) }
        }
    };
    Ok(Page { title: "Overview".to_owned(), here: "overview", body })
}

/// Says when the last deployment was, and how much traffic there is.
fn summary(frame: &Frame<'_>) -> Markup {
    let window = Window::last(NUMBERS, frame.now);
    let (mut all, mut failed) = (0.0, 0.0);
    for name in frame.view.services.keys() {
        let traffic = frame.state.numbers.traffic(&Of::service(name), window);
        all += traffic.requests;
        failed += traffic.errors;
    }
    let last = frame.view.deployments.values().next_back();
    html! {
        @match last {
            Some(deployment) => {
                @let how = match &deployment.end {
                    None => "is under way since",
                    Some(DeploymentEnd::Finished { .. }) => "finished; it began",
                    Some(DeploymentEnd::RolledBack { .. }) => "was rolled back; it began",
                };
                a href=(Subject::Deployment(deployment.id).path()) { "Deployment " (deployment.id) } " " (how) " " (component::time(deployment.at, frame.now)) ". "
            }
            None => { "Nothing was deployed yet. " }
        }
        @if all > 0.0 {
            (requests(all)) " requests in the last 30 minutes, "
            (words::share(failed.round() as u64, all.round() as u64).replace(' ', "\u{a0}")) " failed."
        } @else if last.is_some() { "No requests in the last 30 minutes." }
    }
}

/// Returns a card for each deployment that is under way.
fn moving(frame: &Frame<'_>) -> Markup {
    html! {
        @for deployment in frame.view.deployments.values().filter(|deployment| !deployment.is_over()) {
            section.card.is-running id=(format!("moving-{}", deployment.id)) {
                (heading(&format!("{} is moving", deployment.service), Some((&Subject::Deployment(deployment.id).path(), "Watch"))))
                @if let Some((_, split)) = deployment.shifts.last() {
                    (weights::weights(split, Some(&deployment.to), frame.view))
                }
            }
        }
    }
}

fn services(frame: &Frame<'_>) -> Markup {
    let window = Window::last(NUMBERS, frame.now);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Services" {
            table {
                thead { tr {
                    th scope="col" { "Service" } th scope="col" { "State" } th scope="col" { "Release" }
                    th scope="col" { "Requests, 30 min" } th.num scope="col" { "Failed" }
                    th.num scope="col" { "Median" } th.num scope="col" { "95 %" } th.num scope="col" { "Instances" }
                } }
                tbody {
                    @for (name, service) in &frame.view.services {
                        @let (standing, word) = service_state(service);
                        @let of = Of::service(name);
                        @let traffic = frame.state.numbers.traffic(&of, window);
                        @let history = frame.state.numbers.history(&of, window, 60);
                        @let ready = service.release.as_ref().map_or(0, |release| service.ready(release).count());
                        tr {
                            th scope="row" { a href=(Subject::Service(name.clone()).path()) { (name) } }
                            td { (badge(standing, word)) }
                            td { @match &service.release { Some(release) => { (release_name(release, frame.view)) } None => { span.faint { "none" } } } }
                            td { div.sparkle { (chart::sparkline(&history)) span.num { (requests(traffic.requests)) } } }
                            td.num.(if traffic.error_share() > 0.01 { "is-failed" } else { "" }) { (failed_share(&traffic)) }
                            td.num { (latency(traffic.median_ms)) }
                            td.num { (latency(traffic.p95_ms)) }
                            td.num { (ready) " of " (service.replicas) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns what needs somebody, worst first.
fn attention(frame: &Frame<'_>) -> Vec<Attention> {
    let view = frame.view;
    let mut items = Vec::new();
    for incident in view.open_incidents() {
        items.push(Attention {
            standing: Standing::Failed,
            text: incident.title.clone(),
            detail: format!(
                "Incident {}, {} failed so far",
                incident.id,
                words::count(incident.affected.failed, "request", "requests")
            ),
            subject: Subject::Incident(incident.id),
            at: incident.at,
            actions: nothing(),
        });
    }
    for ((name, _), alert) in &view.alerts {
        items.push(Attention {
            standing: Standing::Failed,
            text: format!("Alert {name}"),
            detail: alert
                .annotations
                .get("summary")
                .cloned()
                .unwrap_or_else(|| format!("value {}", alert.value)),
            subject: Subject::Everything,
            at: alert.since,
            actions: nothing(),
        });
    }
    if let Some((id, commit)) = view.newest_commit() {
        if let Gate::Held { event, reasons } = &commit.gate {
            items.push(Attention {
                standing: Standing::Failed,
                text: format!("Commit {} is held at the gate", id.short()),
                detail: reasons
                    .first()
                    .map(|reason| words::sentence_case(&reason.message))
                    .unwrap_or_default(),
                subject: Subject::Commit(id.clone()),
                at: at_of(frame, *event).unwrap_or(commit.at),
                actions: nothing(),
            });
        }
        let failed = commit
            .runs
            .values()
            .filter_map(|run| view.runs.get(run))
            .filter(|run| run.conclusion == Some(Conclusion::Failure));
        for run in failed {
            items.push(Attention {
                standing: Standing::Failed,
                text: format!("Run {} of {} failed", run.id, run.name),
                detail: commit.subject.clone(),
                subject: Subject::Run(run.id),
                at: run.at,
                actions: form::button(
                    frame,
                    "run",
                    &[
                        ("commit", run.commit.as_str()),
                        ("workflow", &run.workflow),
                        ("event", &run.event),
                    ],
                    "Run again",
                    form::Tone::Quiet,
                ),
            });
        }
    }
    for deployment in view.deployments.values().filter(|deployment| !deployment.is_over()) {
        let id = deployment.id.to_string();
        items.push(Attention {
            standing: Standing::Running,
            text: format!("{} is moving to {}", deployment.service, deployment.to.short()),
            detail: format!("{} of the traffic is on the new release", words::basis_points(deployment.share())),
            subject: Subject::Deployment(deployment.id),
            at: deployment.at,
            actions: html! {
                (form::button(frame, "promote", &[("deployment", &id)], "Promote", form::Tone::Quiet))
                (form::button(frame, "abort", &[("deployment", &id)], "Abort", form::Tone::Careful))
            },
        });
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.standing));
    items
}

fn at_of(frame: &Frame<'_>, event: EventId) -> Option<jiff::Timestamp> {
    frame.state.journal.event(event).ok().flatten().map(|event| event.at)
}
