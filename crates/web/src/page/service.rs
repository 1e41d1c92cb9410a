//! A service: how healthy, how much traffic, what runs, what may be gone back to.

use explain::{Standing, Subject, words};
use journal::ServiceName;
use journal::view::{DeploymentEnd, Instance, Service};
use maud::{Markup, html};

use super::{Frame, Missing, Page, nothing, top};
use crate::component::{
    self, badge, chart, failed_share, form, heading, health_state, latency, release_name, requests,
    service_state, subject_of, weights, why,
};
use crate::numbers::{Of, Window};

/// How far back the chart goes: an hour.
const HISTORY: i64 = 60 * 60 * 1000;

/// How many ended instances are listed.
const PAST_SHOWN: usize = 5;

/// How many releases may be gone back to from here.
const RELEASES_SHOWN: usize = 8;

pub(crate) fn page(
    frame: &Frame<'_>,
    name: &ServiceName,
    service: &Service,
) -> Result<Page, Missing> {
    let told = frame.why(&Subject::Service(name.clone()))?;
    let state = service_state(service);
    let of = Of::service(name);
    let window = Window::last(HISTORY, frame.now);
    let traffic = frame.state.numbers.traffic(&of, window);
    let points = frame.state.numbers.history(&of, window, 120);
    let markers = markers(frame, name);
    let open = frame.view.open_incidents().find(|incident| incident.service == *name);
    let actions = html! {
        (form::button(frame, "restart", &[("service", name.as_str())], "Restart", form::Tone::Quiet))
        @if service.previous().is_some() {
            (form::button(frame, "rollback", &[("service", name.as_str())], "Roll back", form::Tone::Careful))
        }
    };
    let sentence = html! {
        @if let Some(told) = &told { (told.sentence) " " }
        @if let Some(incident) = open { a href=(Subject::Incident(incident.id).path()) { "Read incident " (incident.id) } "." }
    };
    let explained =
        told.as_ref().filter(|told| told.standing == Standing::Failed && open.is_none());
    let body = html! {
        (top(html! { "Service" }, name.as_str(), Some(state), &sentence, &actions))
        div #explanation { @if let Some(told) = explained { (why::card(told)) } }
        @if let Some(deployment) = frame.view.deployment_of(name) {
            section.card.is-running #moving {
                (heading(&format!("Moving to {}", deployment.to.short()), Some((&Subject::Deployment(deployment.id).path(), "Watch"))))
                (weights::weights(&service.weights, Some(&deployment.to), frame.view))
            }
        }
        section.card #traffic {
            (heading("Traffic in the last hour", None))
            dl.stats {
                (component::stat("Requests", &requests(traffic.requests), None))
                (component::stat("Failed", &failed_share(&traffic), (traffic.errors >= 0.5).then(|| requests(traffic.errors)).as_deref()))
                (component::stat("Median", &latency(traffic.median_ms), None))
                (component::stat("95 %", &latency(traffic.p95_ms), None))
            }
            (chart::traffic(&points, &markers))
        }
        section.card #instances {
            (heading("Instances", None))
            @if service.instances.is_empty() {
                (component::empty("No instance runs", "Scale the service up, or deploy a commit."))
            } @else { (instances(frame, name, service)) }
            (scale(frame, name, service))
        }
        section.card #releases {
            (heading("Releases", None))
            (releases(frame, name, service))
        }
    };
    Ok(Page { title: format!("{name} {}", state.1.to_lowercase()), here: "service", body })
}

fn markers(frame: &Frame<'_>, name: &ServiceName) -> Vec<chart::Marker> {
    frame
        .view
        .deployments
        .values()
        .filter(|deployment| deployment.service == *name)
        .flat_map(|deployment| {
            let began = chart::Marker {
                at: deployment.at.as_millisecond(),
                class: "deployed",
                label: format!("Deployment {} of {}", deployment.id, deployment.to.short()),
            };
            let back = match &deployment.end {
                Some(DeploymentEnd::RolledBack { at, .. }) => Some(chart::Marker {
                    at: at.as_millisecond(),
                    class: "back",
                    label: format!("Deployment {} rolled back", deployment.id),
                }),
                _ => None,
            };
            std::iter::once(began).chain(back)
        })
        .collect()
}

fn instances(frame: &Frame<'_>, name: &ServiceName, service: &Service) -> Markup {
    let window = Window::last(HISTORY, frame.now);
    let row = |instance: &Instance, (standing, word): (Standing, &str)| {
        let traffic = frame.state.numbers.traffic(&Of::instance(name, &instance.id), window);
        html! {
            tr {
                th scope="row" { a href=(Subject::Instance(instance.id.clone()).path()) { (instance.id) } }
                td { (badge(standing, word)) }
                td { (release_name(&instance.release, frame.view)) }
                td.num { (requests(traffic.requests)) }
                td.num { (failed_share(&traffic)) }
                td.num { (latency(traffic.p95_ms)) }
                td.text.faint { (words::shorten(&instance.evidence, 80)) @if let Some(end) = &instance.exit { (end) } @if let Some(diagnosis) = &instance.diagnosis { (words::shorten(&diagnosis.cause, 80)) } }
                td.num.faint { (component::time(instance.started, frame.now)) }
            }
        }
    };
    html! {
        div.scroll tabindex="0" role="region" aria-label="Instances" {
            table.wide {
                thead { tr {
                    th scope="col" { "Instance" } th scope="col" { "Health" } th scope="col" { "Release" } th.num scope="col" { "Requests" }
                    th.num scope="col" { "Failed" } th.num scope="col" { "95 %" } th scope="col" { "Last check" } th.num scope="col" { "Started" }
                } }
                tbody {
                    @for instance in service.instances.values() { (row(instance, health_state(instance.health))) }
                    @for instance in service.past.iter().rev().filter(|past| past.exit.is_some() || past.diagnosis.is_some()).take(PAST_SHOWN) { (row(instance, (Standing::Off, "Ended"))) }
                }
            }
        }
    }
}

fn scale(frame: &Frame<'_>, name: &ServiceName, service: &Service) -> Markup {
    html! {
        form.scale method="post" action="/do/scale" {
            (form::token(frame))
            input type="hidden" name="service" value=(name);
            label for="count" { "Instances" }
            input #count type="number" name="count" min="0" max="64" value=(service.replicas);
            button.quiet type="submit" { "Scale" }
        }
    }
}

fn releases(frame: &Frame<'_>, name: &ServiceName, service: &Service) -> Markup {
    let kept: Vec<_> = frame
        .view
        .releases
        .iter()
        .rev()
        .filter(|(_, release)| release.services.contains(name))
        .take(RELEASES_SHOWN)
        .collect();
    if kept.is_empty() {
        return component::empty("No release yet", "A commit that passes the gate becomes one.");
    }
    html! {
        ul.rows {
            @for (id, release) in kept {
                @let is_present = service.release.as_ref() == Some(id);
                @let ran = service.history.contains(id);
                li.row.(if is_present { "is-ok" } else { "is-off" }) {
                    @if is_present { (component::icon::of(Standing::Ok)) } @else { (component::icon::of(Standing::Off)) }
                    div.what {
                        p { (release_name(id, frame.view)) " " (subject_of(id, frame.view).unwrap_or("")) }
                        p.detail {
                            @if is_present { "Has the traffic" } @else if release.is_removed { "Files removed" } @else if ran { "Ran before" } @else { "Never had all traffic" }
                            ", " (words::count(u64::from(release.files), "file", "files")) ", " (words::bytes(release.bytes))
                        }
                    }
                    div.actions { @if !is_present && ran && !release.is_removed { (form::button(frame, "rollback", &[("service", name.as_str()), ("to", id.as_str())], "Go back to this", form::Tone::Quiet)) } @else { (nothing()) } }
                    span.when { (component::time(release.at, frame.now)) }
                }
            }
        }
    }
}
