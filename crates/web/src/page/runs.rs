//! Runs, newest first.

use explain::story::standing_of;
use explain::{Subject, words};
use journal::Conclusion;
use maud::html;

use super::{Frame, Page, nothing, top};
use crate::component::{self, badge, commit_link, word_of};

/// How many runs a page has.
const SHOWN: usize = 50;

pub(crate) fn page(frame: &Frame<'_>, before: Option<u64>) -> Page {
    let view = frame.view;
    let before = journal::RunId(before.unwrap_or(u64::MAX));
    let runs: Vec<_> = view.runs.range(..before).rev().map(|(_, run)| run).take(SHOWN).collect();
    let older =
        runs.last().map(|run| run.id).filter(|last| view.runs.range(..*last).next().is_some());
    let of =
        |conclusion| view.runs.values().filter(|run| run.conclusion == conclusion).count() as u64;
    let running = of(None);
    let sentence = html! {
        (words::sentence_case(&words::count(view.runs.len() as u64, "run", "runs"))) ": "
        (of(Some(Conclusion::Success))) " passed, " (of(Some(Conclusion::Failure))) " failed"
        @if running > 0 { ", " (running) " under way" } "."
    };
    let body = html! {
        (top(nothing(), "Runs", None, &sentence, &nothing()))
        section.card #runs {
            @if runs.is_empty() {
                (component::empty("No run yet", "Each commit starts the workflows that its push triggers."))
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Runs" {
                    table.wide {
                        thead { tr {
                            th scope="col" { "Run" } th scope="col" { "State" } th scope="col" { "Commit" }
                            th scope="col" { "Trigger" } th.num scope="col" { "Took" } th.num scope="col" { "Began" }
                        } }
                        tbody {
                            @for run in &runs {
                                @let commit = view.commits.get(&run.commit);
                                tr {
                                    th scope="row" { a href=(Subject::Run(run.id).path()) { "#" (run.id) " " (run.name) } }
                                    td { (badge(standing_of(run.conclusion), word_of(run.conclusion))) }
                                    td.text {
                                        (commit_link(&run.commit))
                                        @if let Some(commit) = commit { " " (words::shorten(&commit.subject, 60)) }
                                        @if run.dirty { " " span.faint { "with uncommitted changes" } }
                                    }
                                    td.faint { (run.event) }
                                    td.num { @match run.milliseconds { Some(ms) => { (words::duration(ms)) } None => { "–" } } }
                                    td.num.faint { (component::time(run.at, frame.now)) }
                                }
                            }
                        }
                    }
                }
                @if let Some(older) = older { p.pager { a href=(format!("/runs?before={older}")) { "Older runs" } } }
            }
        }
    };
    Page { title: "Runs".to_owned(), here: "runs", body }
}
