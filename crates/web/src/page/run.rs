//! A run: why first, then its jobs as a graph, its steps, and the log of one of them.

use explain::story::standing_of;
use explain::{Standing, Subject, words};
use journal::view::{Job, Run, Step};
use journal::{Conclusion, JobKey, RunId};
use maud::{Markup, PreEscaped, html};

use super::{Frame, LOG_GOES_HERE, Missing, Page, top};
use crate::component::{self, class_of, commit_link, form, graph, heading, icon, why, word_of};

/// Which step's log is open.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) run: RunId,
    pub(crate) job: JobKey,
    pub(crate) step: u32,
}

/// What the log part of the page shows.
pub(crate) struct LogView {
    /// The text that is searched for.
    pub(crate) query: Option<String>,
    /// The lines found, when something is searched for.
    pub(crate) found: Option<(usize, PreEscaped<String>)>,
    /// The first line that looks like an error.
    pub(crate) first_error: Option<usize>,
    /// Whether there is a log at all.
    pub(crate) is_there: bool,
}

/// Returns which step is shown when only a run or a job was asked for: what failed, else what
/// runs, else what ran last.
pub(crate) fn open(run: &Run, job: Option<&JobKey>, step: Option<u32>) -> Option<Opened> {
    let chosen = match job {
        Some(key) => run.jobs.get_key_value(key),
        None => run
            .jobs
            .iter()
            .find(|(_, job)| job.conclusion == Some(Conclusion::Failure))
            .or_else(|| {
                run.jobs.iter().find(|(_, job)| job.started.is_some() && job.conclusion.is_none())
            })
            .or_else(|| run.jobs.iter().rev().find(|(_, job)| !job.steps.is_empty())),
    };
    let (key, job) = chosen?;
    let step = step.or_else(|| {
        let failed = job.steps.iter().find(|(_, step)| step.failure.is_some());
        let running = job.steps.iter().find(|(_, step)| step.conclusion.is_none());
        let last =
            job.steps.iter().rev().find(|(_, step)| step.conclusion != Some(Conclusion::Skipped));
        failed.or(running).or(last).map(|(number, _)| *number)
    })?;
    Some(Opened { run: run.id, job: key.clone(), step })
}

pub(crate) fn page(
    frame: &Frame<'_>,
    run: &Run,
    job: Option<&JobKey>,
    opened: Option<&Opened>,
    log: &LogView,
) -> Result<Page, Missing> {
    let commit = frame.view.commits.get(&run.commit);
    let subject = match job {
        Some(key) => Subject::Job(run.id, key.clone()),
        None => Subject::Run(run.id),
    };
    let told = frame.why(&subject)?;
    let is_unwell = told.as_ref().is_some_and(|told| {
        matches!(told.standing, Standing::Failed | Standing::Attention)
            || (job.is_some() && told.cause.is_some())
    });
    let actions = html! {
        @if run.conclusion.is_none() {
            @if run.cancel_requested { span.faint { "Stopping…" } }
            @else { (form::button(frame, "cancel", &[("run", &run.id.to_string())], "Cancel", form::Tone::Careful)) }
        } @else {
            (form::button(frame, "run", &[("commit", run.commit.as_str()), ("workflow", &run.workflow), ("event", &run.event)], "Run again", form::Tone::Quiet))
        }
    };
    let sentence = html! {
        @if let Some(told) = &told { (told.sentence) " " }
        span.facts {
            "Commit " (commit_link(&run.commit))
            @if let Some(commit) = commit { " \u{201c}" (commit.subject) "\u{201d} by " (commit.author) }
            ", began " (component::time(run.at, frame.now))
            @if let Some(ms) = run.milliseconds { ", took " (words::duration(ms)) }
            "."
        }
    };
    let kicker = html! { a href="/runs" { "Runs" } @if job.is_some() { " / " a href=(Subject::Run(run.id).path()) { "Run " (run.id) } } };
    let title = match job {
        Some(key) => format!("Job {key}"),
        None => format!("Run {} · {}", run.id, run.name),
    };
    let conclusion = match job.and_then(|key| run.jobs.get(key)) {
        Some(job) => (job_standing(job), job_word(job)),
        None => (standing_of(run.conclusion), word_of(run.conclusion)),
    };
    let body = html! {
        (top(kicker, &title, Some(conclusion), &sentence, &actions))
        div #explanation { @if let Some(told) = told.as_ref().filter(|_| is_unwell) { (why::card(told)) } }
        @for (request, asked) in frame.view.asked_by(run.id) {
            section.card.asked {
                (heading("Somebody must say yes", None))
                p { (words::sentence_case(&asked.subject)) " waits since " (component::time(asked.at, frame.now)) ": " (asked.effect) "." }
                (form::button(frame, "approve", &[("request", &request.to_string())], "Approve", form::Tone::Main))
                (form::button(frame, "deny", &[("request", &request.to_string())], "Deny", form::Tone::Careful))
            }
        }
        section.card #graph {
            (heading("Jobs", None))
            @if run.jobs.is_empty() {
                (component::empty("The jobs of this run are not kept any more", "Only the newest fifty runs keep them; the timeline has every event."))
            } @else { (graph::graph(run)) }
        }
        (tests(run, job))
        @if !run.jobs.is_empty() {
            section.card.log-card aria-label="Steps and log" {
                div.steps #steps { (jobs(run, opened)) }
                div.log-side { (log_side(run, opened, log)) }
            }
        }
    };
    Ok(Page {
        title: format!("{title} {}", word_of(run.conclusion).to_lowercase()),
        here: "runs",
        body,
    })
}

fn jobs(run: &Run, opened: Option<&Opened>) -> Markup {
    html! {
        @for (key, job) in &run.jobs {
            @let is_open = opened.is_some_and(|opened| opened.job == *key);
            details.job.(class_of(job_standing(job))) open[is_open] id=(format!("j-{}", key_id(key))) {
                summary { (icon::of(job_standing(job))) span.name { (key) } span.took { @match job.milliseconds { Some(ms) => { (words::duration(ms)) } None => { (job_word(job)) } } } }
                @if let Some(skipped) = &job.skipped { p.detail { (words::sentence_case(&skipped.reason)) " " a href=(Subject::Job(run.id, key.clone()).path()) { "Why?" } } }
                ol {
                    @for (index, name) in job.planned.steps.iter().enumerate() {
                        @let number = index as u32 + 1;
                        @let step = job.steps.get(&number);
                        @let here = opened.is_some_and(|opened| opened.job == *key && opened.step == number);
                        li.(class_of(step_standing(step))) {
                            @let inner = html! {
                                (icon::of(step_standing(step)))
                                span.name { (step.map_or(name.as_str(), |step| step.name.as_str())) }
                                span.took { @if let Some(saved) = step.and_then(|step| step.cached) { "cached, " (words::duration(saved)) " saved" } @else if let Some(ms) = step.and_then(|step| step.milliseconds) { (words::duration(ms)) } }
                            };
                            @if step.is_some() {
                                a href=(format!("{}#log", Subject::Step(run.id, key.clone(), number).path())) aria-current=[here.then_some("true")] { (inner) }
                            } @else { span.stop { (inner) } }
                        }
                    }
                }
            }
        }
    }
}

/// What tests said: how many, which did not pass and why, and which are flaky by proof.
fn tests(run: &Run, only: Option<&JobKey>) -> Markup {
    let wanted = run.jobs.iter().filter(|(key, _)| only.is_none_or(|only| only == *key));
    let found: Vec<_> = wanted.filter_map(|(key, job)| Some((key, job.tests.as_ref()?))).collect();
    if found.is_empty() {
        return html! {};
    }
    html! {
        section.card #tests {
            (heading("Tests", None))
            @for (key, tests) in found {
                p { a href=(Subject::Job(run.id, key.clone()).path()) { (key) } ": " (words::tests(tests.passed, tests.failed, tests.skipped)) }
                @if !tests.listed.is_empty() {
                    ul {
                        @for one in &tests.listed {
                            li {
                                (icon::of(if one.flaky { Standing::Attention } else { Standing::Failed })) " "
                                a href=(format!("{}#log", Subject::Step(run.id, key.clone(), one.step).path())) { (one.test) }
                                @if let Some(line) = one.message.lines().next() { " " span.faint { (words::shorten(line, 160)) } }
                            }
                        }
                    }
                }
                @if !tests.flaky.is_empty() {
                    ul {
                        @for one in &tests.flaky {
                            li {
                                (icon::of(Standing::Attention)) " " (one.test) " is flaky: "
                                @if one.passed == one.failed { "it failed and passed when it was tried again." }
                                @else {
                                    "on the same inputs it passed in " a href=(Subject::Run(one.passed).path()) { "run " (one.passed) }
                                    " and failed in " a href=(Subject::Run(one.failed).path()) { "run " (one.failed) } "."
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn log_side(run: &Run, opened: Option<&Opened>, log: &LogView) -> Markup {
    let Some(opened) = opened else {
        return component::empty(
            "No step has begun yet",
            "Its output shows here as it is written.",
        );
    };
    let step = run.jobs.get(&opened.job).and_then(|job| job.steps.get(&opened.step));
    let path = Subject::Step(run.id, opened.job.clone(), opened.step).path();
    let is_running = step.is_some_and(|step| step.conclusion.is_none());
    html! {
        div.log-head #log {
            h2 #log-title { (step.map_or("Log", |step| step.name.as_str())) span.faint { " of " (opened.job) } }
            div.tools {
                @if let Some(line) = log.first_error.filter(|_| log.query.is_none()) { a.button.quiet href=(format!("#L{line}")) { "First error" } }
                a.button.quiet href=(format!("{path}/raw")) { "Raw" }
                form.search method="get" action=(path) role="search" {
                    input type="search" name="q" value=[log.query.as_deref()] placeholder="Search the log" aria-label="Search the log" autocomplete="off";
                }
            }
        }
        @match (&log.found, log.is_there) {
            (Some((found, lines)), _) => {
                p.found { (words::sentence_case(&words::count(*found as u64, "line", "lines"))) " with \u{201c}" (log.query.as_deref().unwrap_or_default()) "\u{201d}. " a href=(path) { "Show the whole log" } }
                div.log tabindex="0" role="region" aria-label="Lines found" { (lines) }
            }
            (None, true) => {
                div.log tabindex="0" role=(if is_running { "log" } else { "region" }) aria-labelledby="log-title" aria-live="off" data-follow=[is_running.then_some("")] { (PreEscaped(LOG_GOES_HERE)) }
                @if is_running { p.found { "This log is still being written; it follows by itself." } }
            }
            (None, false) => { (missing_log(step)) }
        }
    }
}

fn missing_log(step: Option<&Step>) -> Markup {
    match step.and_then(|step| step.failure.as_ref()) {
        Some(failure) if !failure.last_lines.is_empty() => html! {
            p.found { "The whole log is not kept any more; these are its last lines." }
            div.log tabindex="0" role="region" aria-label="Last lines" { div.block {
                @for line in &failure.last_lines { div.ln { span.no {} span.tx { (crate::ansi::Ansi::default().line(line)) } } }
            } }
        },
        _ => component::empty(
            "No output",
            "This step wrote nothing, or its log is not kept any more.",
        ),
    }
}

fn job_standing(job: &Job) -> Standing {
    if job.conclusion.is_none() && job.started.is_none() {
        return Standing::Off;
    }
    standing_of(job.conclusion)
}

fn job_word(job: &Job) -> &'static str {
    if job.conclusion.is_none() && job.started.is_none() {
        return "Waiting";
    }
    word_of(job.conclusion)
}

fn step_standing(step: Option<&Step>) -> Standing {
    step.map_or(Standing::Off, |step| standing_of(step.conclusion))
}

/// Returns a name that may stand in an id.
fn key_id(key: &JobKey) -> String {
    key.as_str()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect()
}

/// Returns an empty log part, for what is made again without its log.
pub(crate) fn no_log() -> LogView {
    LogView { query: None, found: None, first_error: None, is_there: true }
}
