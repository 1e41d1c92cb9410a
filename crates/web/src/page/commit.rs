//! A commit: its runs, what was found in it, the gate, its release.

use explain::story::standing_of;
use explain::{Standing, Subject, words};
use journal::view::{Commit, Gate, View};
use journal::{CommitId, HoldReason};
use maud::{Markup, html};
use source::{Finding, Place, Severity};

use super::{Frame, Missing, Page, nothing, top};
use crate::component::{self, badge, form, gate_state, heading, way, why, word_of};

/// How many findings are listed.
const SHOWN: usize = 200;

pub(crate) fn page(frame: &Frame<'_>, id: &CommitId, commit: &Commit) -> Result<Page, Missing> {
    let view = frame.view;
    let told = frame.why(&Subject::Commit(id.clone()))?;
    let state = gate_state(commit);
    let sentence = html! {
        @if let Some(told) = &told { (told.sentence) " " }
        span.facts {
            "By " (commit.author) ", " (words::count(u64::from(commit.files_changed), "file changed", "files changed"))
            @if let Some(branch) = &commit.branch { " on " code { (branch) } }
            ", seen " (component::time(commit.at, frame.now)) "."
        }
    };
    let body = html! {
        (top(html! { "Commit " code { (id.short()) } }, &commit.subject, None, &sentence, &nothing()))
        section.card #way { (heading("Its way", None)) (way::way(id, commit, view)) }
        section.card #gate {
            div.head { h2 { "Gate" } (badge(state.0, state.1)) }
            (gate(frame, id, commit))
        }
        section.card #findings {
            (heading("Findings", None))
            (findings(frame, commit))
        }
        section.card #runs {
            (heading("Runs", None))
            (runs(frame, id, commit, view))
        }
    };
    Ok(Page { title: format!("Commit {}", id.short()), here: "commits", body })
}

fn gate(frame: &Frame<'_>, id: &CommitId, commit: &Commit) -> Markup {
    match &commit.gate {
        Gate::Open => {
            html! { p.faint { "The gate decides when its runs have ended and its files were looked through." } }
        }
        Gate::Passed { event } => html! {
            p { "It may become a release. " a.source href=(format!("/timeline/{event}")) { "#" (event) } }
        },
        Gate::Held { event, reasons } => html! {
            ul.rows {
                @for reason in reasons { (held(reason)) }
            }
            p.faint { "Decided in " a href=(format!("/timeline/{event}")) { "event " (event) } ". Mend it and push, allow the finding below, or let this one commit pass." }
            (form::with_reason(frame, "override", &[("commit", id.as_str())], "Let this commit pass", "override-reason"))
        },
    }
}

fn held(reason: &HoldReason) -> Markup {
    html! {
        li.row.is-failed {
            (component::icon::of(Standing::Failed))
            div.what {
                p { (why::ticks(&words::sentence_case(&reason.message))) " " code.rule { (reason.rule) } }
                p.detail {
                    @if let Some(place) = &reason.place { span.place { (place) } " " }
                    @if let Some(help) = &reason.help { (why::ticks(&words::sentence_case(help))) }
                }
            }
        }
    }
}

fn findings(frame: &Frame<'_>, commit: &Commit) -> Markup {
    let of_plan = commit.plan.iter().flat_map(|plan| &plan.findings);
    let reported = commit.findings.iter().flat_map(|of| &of.findings);
    let mut all: Vec<&Finding> = of_plan.chain(reported).collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let not_checked = commit.findings.iter().flat_map(|of| &of.not_checked);
    if all.is_empty() && commit.findings.is_none() {
        return html! { p.faint { "Its files were not looked through yet." } };
    }
    html! {
        @if all.is_empty() { p.calm { (component::icon::of(Standing::Ok)) "Nothing was found." } }
        @else {
            ul.rows {
                @for (index, finding) in all.iter().take(SHOWN).enumerate() { (one(frame, finding, index)) }
            }
            @if all.len() > SHOWN { p.faint { "and " (all.len() - SHOWN) " more; `marline check` lists all." } }
        }
        @for left in not_checked { p.faint { (component::icon::of(Standing::Attention)) " Not checked: " (left) } }
    }
}

fn one(frame: &Frame<'_>, finding: &Finding, index: usize) -> Markup {
    let standing = match finding.severity {
        Severity::Error => Standing::Failed,
        Severity::Warning => Standing::Attention,
        Severity::Note => Standing::Off,
    };
    let is_allowed = frame.view.allowed.iter().any(|allowed| {
        allowed.rule == finding.rule
            && allowed.path == finding.place.path
            && allowed.line.is_none_or(|line| Some(line) == line_of(&finding.place))
    });
    let line = line_of(&finding.place).map(|line| line.to_string()).unwrap_or_default();
    html! {
        li.row.(component::class_of(standing)) {
            (component::icon::of(standing))
            div.what {
                p { (why::ticks(&words::sentence_case(&finding.message))) " " code.rule { (finding.rule) } }
                p.detail { span.place { (finding.place) } @if let Some(why) = &finding.why { " " (why::ticks(&words::sentence_case(why))) } }
                @if let Some(help) = &finding.help { p.detail { (why::ticks(&words::sentence_case(help))) } }
                @if is_allowed { p.detail { "Allowed with a reason." } }
                @else if finding.is_error() {
                    (form::with_reason(frame, "allow", &[("rule", &finding.rule), ("path", &finding.place.path), ("line", &line)], "Allow this finding", &format!("allow-{index}")))
                }
            }
        }
    }
}

fn line_of(place: &Place) -> Option<u32> {
    place.span.map(|span| span.start.line)
}

fn runs(frame: &Frame<'_>, id: &CommitId, commit: &Commit, view: &View) -> Markup {
    let not_triggered = commit.plan.iter().flat_map(|plan| &plan.not_triggered);
    let of_commit: Vec<_> = view.runs.values().rev().filter(|run| run.commit == *id).collect();
    html! {
        @if of_commit.is_empty() { p.faint { "No run started for it." } }
        @else {
            ul.rows {
                @for run in of_commit {
                    li.row.(component::class_of(standing_of(run.conclusion))) {
                        (component::icon::of(standing_of(run.conclusion)))
                        div.what {
                            p { a href=(Subject::Run(run.id).path()) { "Run " (run.id) " of " (run.name) } }
                            p.detail { (word_of(run.conclusion)) @if let Some(ms) = run.milliseconds { " after " (words::duration(ms)) } ", " (run.workflow) }
                        }
                        div.actions {}
                        span.when { (component::time(run.at, frame.now)) }
                    }
                }
            }
        }
        @for other in not_triggered { p.faint { (other.workflow) " did not start: " (why::ticks(&other.reason)) } }
    }
}
