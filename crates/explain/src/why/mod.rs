//! Cause, evidence, what changed, who was affected, what was done, what to do next.

mod deployment;
mod everything;
mod gate;
mod incident;
mod instance;
mod run;
mod service;

use journal::{Affected, CommitId, EventId, JournalError, ReleaseId, View};

use crate::words::{count, duration, plain_duration, share};
use crate::{Explanation, Line, Lookup, Next, Standing, Subject};

/// Why something could not be explained.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// There is no such thing.
    #[error("explain {0}: the journal knows no such thing")]
    Unknown(Subject),
    /// It is too old: the journal still has its events, but its jobs are not kept in the view.
    #[error("explain {0}: it is too old, only how it ended is kept")]
    Forgotten(Subject),
    /// The events could not be read.
    #[error("read the events that explain it")]
    Journal(#[from] JournalError),
}

/// Explains why something is as it is.
///
/// Pure but for what `events` looks up; the same journal gives the same words.
pub fn why(
    subject: &Subject,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let unknown = || WhyError::Unknown(subject.clone());
    match subject {
        Subject::Everything => Ok(everything::explain(view)),
        Subject::Run(run) => {
            run::explain_run(view.runs.get(run).ok_or_else(unknown)?, view, events)
        }
        Subject::Job(run, job) => {
            run::explain_job(view.runs.get(run).ok_or_else(unknown)?, job, view, events)
        }
        Subject::Step(run, job, step) => {
            let run = view.runs.get(run).ok_or_else(unknown)?;
            run::explain_step(run, job, *step, view, events)
        }
        Subject::Commit(id) => {
            let commit = view.commits.get(id).ok_or_else(unknown)?;
            Ok(gate::explain(id, commit, view))
        }
        Subject::Deployment(id) => {
            let deployment = view.deployments.get(id).ok_or_else(unknown)?;
            deployment::explain(deployment, view, events)
        }
        Subject::Service(name) => {
            let service = view.services.get(name).ok_or_else(unknown)?;
            service::explain(name, service, view, events)
        }
        Subject::Instance(id) => instance::explain(id, view, events),
        Subject::Incident(id) => {
            let incident = view.incidents.get(id).ok_or_else(unknown)?;
            incident::explain(incident, view, events)
        }
    }
}

/// Begins an explanation with its first sentence.
fn explanation(subject: Subject, standing: Standing, sentence: impl Into<String>) -> Explanation {
    Explanation {
        subject,
        standing,
        sentence: sentence.into(),
        cause: None,
        evidence: Vec::new(),
        also_possible: Vec::new(),
        changed: Vec::new(),
        affected: Vec::new(),
        done: Vec::new(),
        next: Vec::new(),
        for_manager: Vec::new(),
    }
}

/// How many commits are named one by one.
const COMMITS_NAMED: usize = 5;

/// Returns the commits after `from` up to `to` as lines, newest first.
fn commits_between(view: &View, from: Option<&CommitId>, to: &CommitId) -> Vec<Line> {
    let Some(end) = view.commits.get_index_of(to) else {
        return Vec::new();
    };
    let start = match from {
        Some(from) if from == to => return Vec::new(),
        Some(from) => view.commits.get_index_of(from).map_or(end, |index| index + 1),
        None => end,
    };
    // Going back is a change too: then what was left out is what the newer one had.
    let (start, end) = if start <= end { (start, end) } else { (end + 1, start - 1) };
    let mut lines = Vec::new();
    for index in (start..=end).rev() {
        let Some((id, commit)) = view.commits.get_index(index) else {
            continue;
        };
        if lines.len() == COMMITS_NAMED {
            lines.push(Line::new(
                format!(
                    "and {}",
                    count((index + 1 - start) as u64, "older commit", "older commits")
                ),
                [],
            ));
            break;
        }
        lines.push(Line::new(
            format!(
                "commit {} \u{201c}{}\u{201d} by {} ({})",
                id.short(),
                commit.subject,
                commit.author,
                count(u64::from(commit.files_changed), "file", "files"),
            ),
            [commit.seen],
        ));
    }
    lines
}

/// Returns what is different between two releases: their commits.
fn changed_between(view: &View, from: Option<&ReleaseId>, to: &ReleaseId) -> Vec<Line> {
    let commit_of = |release: &ReleaseId| view.releases.get(release).map(|release| &release.commit);
    match commit_of(to) {
        Some(new) => commits_between(view, from.and_then(commit_of), new),
        None => Vec::new(),
    }
}

/// Says who was affected, exactly.
fn affected_line(affected: Affected, events: impl IntoIterator<Item = EventId>) -> Line {
    let text = if affected.failed == 0 {
        "no request failed".to_owned()
    } else {
        let mut text = format!(
            "{} of {} failed ({})",
            crate::words::thousands(affected.failed),
            count(affected.requests, "request", "requests"),
            share(affected.failed, affected.requests),
        );
        if affected.milliseconds > 0 {
            text.push_str(&format!(" within {}", duration(affected.milliseconds)));
        }
        text
    };
    Line::new(text, events)
}

/// Says who was affected in plain words.
fn plainly_affected(affected: Affected) -> String {
    if affected.failed == 0 {
        return "No user was affected.".to_owned();
    }
    let requests = count(affected.failed, "request", "requests");
    match affected.milliseconds {
        0..1000 => format!("{requests} failed."),
        lasting => format!("{requests} failed over {}.", plain_duration(lasting)),
    }
}

/// Says that users see nothing of a failure before a release.
fn production_untouched(view: &View) -> Line {
    let running: Vec<String> = view
        .services
        .iter()
        .filter_map(|(name, service)| {
            Some(format!("{name} stays on {}", service.release.as_ref()?.short()))
        })
        .collect();
    match running.as_slice() {
        [] => Line::new("nothing runs yet, so no user is affected", []),
        running => {
            Line::new(format!("users are not affected: {}", crate::words::list(running)), [])
        }
    }
}

/// Says where to read more.
fn read_more(subject: &Subject) -> Next {
    Next::command("Read the whole explanation", subject.command())
}
