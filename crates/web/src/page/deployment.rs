//! A deployment: where the traffic is, both releases side by side, each verdict with its numbers.

use explain::{Moment, Standing, Subject, words};
use journal::view::{Deployment, DeploymentEnd};
use journal::{ReleaseId, Verdict, Weight};
use maud::{Markup, html};

use super::{Frame, Missing, Page, top};
use crate::component::{
    self, badge, class_of, deployment_state, failed_share, form, heading, icon, latency, moments,
    release_name, requests, subject_of, weights, why,
};
use crate::numbers::{Of, Window};

pub(crate) fn page(frame: &Frame<'_>, deployment: &Deployment) -> Result<Page, Missing> {
    let subject = Subject::Deployment(deployment.id);
    let told = frame.why(&subject)?;
    let state = deployment_state(deployment);
    let id = deployment.id.to_string();
    let actions = html! {
        @if !deployment.is_over() {
            @if deployment.promote_requested { span.faint { "Moving on…" } }
            @else { (form::button(frame, "promote", &[("deployment", &id)], "Promote", form::Tone::Main)) }
            @if deployment.abort_requested { span.faint { "Going back…" } }
            @else { (form::button(frame, "abort", &[("deployment", &id)], "Abort", form::Tone::Careful)) }
        } @else if matches!(deployment.end, Some(DeploymentEnd::Finished { .. })) && deployment.from.is_some() && frame.view.services.get(&deployment.service).is_some_and(|service| service.release.as_ref() == Some(&deployment.to)) {
            (form::button(frame, "rollback", &[("service", deployment.service.as_str())], "Roll back", form::Tone::Careful))
        }
    };
    let sentence = html! {
        @if let Some(told) = &told { (told.sentence) " " }
        span.facts { (words::sentence_case(&deployment.strategy.to_string())) ", began " (component::time(deployment.at, frame.now)) ". " }
    };
    let kicker = html! { a href="/deployments" { "Deployments" } " / " a href=(Subject::Service(deployment.service.clone()).path()) { (deployment.service) } };
    let events = frame.state.journal.of_deployment(deployment.id)?;
    let story: Vec<Moment> = events.iter().rev().map(Moment::of).collect();
    let split = deployment.shifts.last().map(|(_, split)| split.clone()).unwrap_or_default();
    let body = html! {
        (top(kicker, &format!("Deployment {}", deployment.id), Some(state), &sentence, &actions))
        section.card #traffic {
            (heading("Traffic", None))
            @if split.is_empty() { p.faint { "No traffic was moved yet." } }
            @else { (weights::weights(&split, Some(&deployment.to), frame.view)) }
            (stages(deployment))
        }
        div #explanation { @if let Some(told) = told.as_ref().filter(|told| told.standing == Standing::Failed) { (why::card(told)) } }
        section.card #compare {
            (heading("Side by side", None))
            (compare(frame, deployment, &split))
        }
        section.card #verdicts {
            (heading("Verdicts", None))
            @if deployment.verdicts.is_empty() {
                (component::empty("No verdict yet", "After enough requests on both releases, each step is judged here with its numbers."))
            } @else { (verdicts(frame, deployment)) }
        }
        section.card #story {
            (heading("What happened", None))
            (moments::timeline(&story, frame.now))
        }
    };
    Ok(Page {
        title: format!("Deployment {} {}", deployment.id, state.1.to_lowercase()),
        here: "deployments",
        body,
    })
}

/// Returns the steps of the strategy, and how far it came.
fn stages(deployment: &Deployment) -> Markup {
    if deployment.steps.len() < 2 {
        return html! {};
    }
    let reached = deployment
        .shifts
        .iter()
        .flat_map(|(_, split)| split)
        .filter(|weight| weight.release == deployment.to)
        .map(|weight| weight.basis_points)
        .max()
        .unwrap_or(0);
    let now = deployment.share();
    let is_back = matches!(deployment.end, Some(DeploymentEnd::RolledBack { .. }));
    html! {
        ol.stages aria-label="Steps" {
            @for step in &deployment.steps {
                @let (standing, word) = match () {
                    () if is_back && *step == reached => (Standing::Failed, "condemned here"),
                    () if *step < now || (is_back && *step < reached) => (Standing::Ok, "passed"),
                    () if *step == now && deployment.is_over() => (Standing::Ok, "passed"),
                    () if *step == now => (Standing::Running, "being watched"),
                    () => (Standing::Off, "not reached"),
                };
                li.(class_of(standing)) { (icon::of(standing)) b { (words::basis_points(*step)) } span { (word) } }
            }
        }
    }
}

fn compare(frame: &Frame<'_>, deployment: &Deployment, split: &[Weight]) -> Markup {
    let end = match &deployment.end {
        None => frame.now,
        Some(DeploymentEnd::RolledBack { at, .. }) => *at,
        Some(DeploymentEnd::Finished { milliseconds, .. }) => {
            deployment.at
                + jiff::SignedDuration::from_millis(i64::try_from(*milliseconds).unwrap_or(0))
        }
    };
    let window = Window { from: deployment.at.as_millisecond(), to: end.as_millisecond() };
    let verdict = deployment.verdicts.last().map(|verdict| &verdict.evidence);
    let column = |release: &ReleaseId| {
        let share = split.iter().find(|weight| weight.release == *release);
        let mut traffic =
            frame.state.numbers.traffic(&Of::release(&deployment.service, release), window);
        // The series are kept for a while, the numbers of the last verdict for ever.
        if let Some(evidence) = verdict.filter(|_| traffic.requests < 0.5) {
            let (requests, failed) = if *release == deployment.to {
                (evidence.canary_requests, evidence.canary_failed)
            } else {
                (evidence.baseline_requests, evidence.baseline_failed)
            };
            (traffic.requests, traffic.errors) = (requests as f64, failed as f64);
        }
        (share.map_or(0, |weight| weight.basis_points), traffic)
    };
    let old = deployment.from.as_ref().map(|release| (release, column(release)));
    let new = (&deployment.to, column(&deployment.to));
    let is_worse =
        old.is_some_and(|(_, (_, old))| new.1.1.error_share() > old.error_share() + 0.01);
    html! {
        div.sides {
            @if let Some((release, (share, traffic))) = &old { (side(frame, "Present release", release, *share, traffic, false, "old")) }
            @else { div.side.old { p.label { "Present release" } p.faint { "There was none before." } } }
            (side(frame, "New release", new.0, new.1.0, &new.1.1, is_worse, "new"))
        }
        p.faint.note { "Counted from the start of this deployment to " @if deployment.is_over() { "its end" } @else { "now" } "." }
    }
}

fn side(
    frame: &Frame<'_>,
    label: &str,
    release: &ReleaseId,
    share: u32,
    traffic: &crate::Traffic,
    is_worse: bool,
    class: &str,
) -> Markup {
    html! {
        div.side.(class) {
            p.label { span.key.(class) aria-hidden="true" {} (label) }
            p.subject { (release_name(release, frame.view)) @if let Some(subject) = subject_of(release, frame.view) { " " (subject) } }
            dl.stats {
                (component::stat("Share", &words::basis_points(share), None))
                (component::stat("Requests", &requests(traffic.requests), None))
                div.stat.(if is_worse { "is-failed" } else { "" }) { dt { "Failed" } dd { (failed_share(traffic)) " " small { (requests(traffic.errors)) } } }
                (component::stat("Median", &latency(traffic.median_ms), None))
                (component::stat("95 %", &latency(traffic.p95_ms), None))
            }
        }
    }
}

fn verdicts(frame: &Frame<'_>, deployment: &Deployment) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Verdicts" {
            table.wide {
                thead { tr {
                    th scope="col" { "Step" } th scope="col" { "Verdict" } th.num scope="col" { "New release" }
                    th.num scope="col" { "Present release" } th scope="col" { "In words" } th.num scope="col" { "When" }
                } }
                tbody {
                    @for verdict in deployment.verdicts.iter().rev() {
                        @let (standing, word) = match verdict.verdict {
                            Verdict::NotWorse => (Standing::Ok, "Not worse"),
                            Verdict::Worse => (Standing::Failed, "Worse"),
                            Verdict::NotEnough => (Standing::Attention, "Too little traffic"),
                        };
                        @let of = |failed: u64, all: u64| format!("{} of {} failed", words::thousands(failed), words::thousands(all));
                        tr {
                            th scope="row" { (deployment.steps.get(verdict.step as usize).map_or_else(|| "–".to_owned(), |step| words::basis_points(*step))) }
                            td { (badge(standing, word)) }
                            td.num { (of(verdict.evidence.canary_failed, verdict.evidence.canary_requests)) }
                            td.num { (of(verdict.evidence.baseline_failed, verdict.evidence.baseline_requests)) }
                            td.text { (verdict.evidence.summary) }
                            td.num.faint { (component::time(verdict.at, frame.now)) }
                        }
                    }
                }
            }
        }
    }
}
