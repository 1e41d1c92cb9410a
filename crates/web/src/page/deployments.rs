//! Deployments, newest first.

use explain::{Subject, words};
use journal::view::DeploymentEnd;
use maud::html;

use super::{Frame, Page, nothing, top};
use crate::component::{self, badge, deployment_state, release_name, subject_of};

/// How many deployments a page has.
const SHOWN: usize = 50;

pub(crate) fn page(frame: &Frame<'_>, before: Option<u64>) -> Page {
    let view = frame.view;
    let before = journal::DeploymentId(before.unwrap_or(u64::MAX));
    let deployments: Vec<_> = view
        .deployments
        .range(..before)
        .rev()
        .map(|(_, deployment)| deployment)
        .take(SHOWN)
        .collect();
    let older = deployments
        .last()
        .map(|last| last.id)
        .filter(|last| view.deployments.range(..*last).next().is_some());
    let back = view
        .deployments
        .values()
        .filter(|deployment| matches!(deployment.end, Some(DeploymentEnd::RolledBack { .. })))
        .count() as u64;
    let moving =
        view.deployments.values().filter(|deployment| !deployment.is_over()).count() as u64;
    let sentence = html! {
        (words::sentence_case(&words::count(view.deployments.len() as u64, "deployment", "deployments")))
        ", " (back) " rolled back"
        @if moving > 0 { ", " (moving) " under way" } "."
    };
    let body = html! {
        (top(nothing(), "Deployments", None, &sentence, &nothing()))
        section.card #deployments {
            @if deployments.is_empty() {
                (component::empty("Nothing was deployed yet", "A commit that passes its tests and the gate becomes a release and is deployed."))
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Deployments" {
                    table.wide {
                        thead { tr {
                            th scope="col" { "Deployment" } th scope="col" { "State" } th scope="col" { "Release" }
                            th scope="col" { "How" } th.num scope="col" { "Took" } th.num scope="col" { "Began" }
                        } }
                        tbody {
                            @for deployment in &deployments {
                                @let (standing, word) = deployment_state(deployment);
                                tr {
                                    th scope="row" { a href=(Subject::Deployment(deployment.id).path()) { "#" (deployment.id) " " (deployment.service) } }
                                    td { (badge(standing, word)) }
                                    td.text {
                                        (release_name(&deployment.to, view))
                                        @if let Some(subject) = subject_of(&deployment.to, view) { " " (words::shorten(subject, 60)) }
                                        @if deployment.is_rollback { " " span.faint { "asked for by hand" } }
                                    }
                                    td.faint { (deployment.strategy) }
                                    td.num { @match &deployment.end {
                                        Some(DeploymentEnd::Finished { milliseconds, .. }) => { (words::duration(*milliseconds)) }
                                        Some(DeploymentEnd::RolledBack { at, .. }) => { (words::duration((at.as_millisecond() - deployment.at.as_millisecond()).max(0) as u64)) }
                                        None => { (words::basis_points(deployment.share())) }
                                    } }
                                    td.num.faint { (component::time(deployment.at, frame.now)) }
                                }
                            }
                        }
                    }
                }
                @if let Some(older) = older { p.pager { a href=(format!("/deployments?before={older}")) { "Older deployments" } } }
            }
        }
    };
    Page { title: "Deployments".to_owned(), here: "deployments", body }
}
