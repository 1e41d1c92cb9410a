//! Why a run, a job or a step ended as it did.

use journal::view::{Job, Run, Step};
use journal::{
    Certainty, Conclusion, Event, EventId, Explained, Fact, JobKey, RunId, StepFailure, View,
};

use super::{WhyError, commits_between, explanation, production_untouched};
use crate::explanation::{Cause, Explanation, Line, Next, Standing};
use crate::novelty::{self, NewLine};
use crate::signature::{self, Match, Owner};
use crate::story::standing_of;
use crate::subject::quote;
use crate::words::{count, duration, full_stop, shorten};
use crate::{Lookup, Subject, exit};

/// How many lines of a log are quoted.
const LINES_QUOTED: usize = 5;

/// The longest line that is quoted in full.
const LONGEST_QUOTE: usize = 160;

pub(super) fn explain_run(
    run: &Run,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let subject = Subject::Run(run.id);
    let place = format!("Run {} of {} for {}", run.id, run.name, run.commit.short());
    let at_end: Vec<EventId> = run.finished.into_iter().collect();
    match run.conclusion {
        Some(Conclusion::Failure) => {
            let Some((job, step)) = first_failure(run) else {
                return explain_failure_without_step(run, events);
            };
            let mut told = explain_step(run, &job, step, view, events)?;
            let failed =
                run.jobs.values().filter(|job| job.conclusion == Some(Conclusion::Failure));
            let failed = failed.count();
            if failed > 1 {
                told.sentence = format!(
                    "{} {} of its {} jobs failed.",
                    full_stop(&told.sentence),
                    failed,
                    run.jobs.len()
                );
            }
            told.subject = subject;
            Ok(told)
        }
        Some(conclusion) => {
            let lasting = duration(run.milliseconds.unwrap_or(0));
            let sentence = match conclusion {
                Conclusion::Success => format!("{place} passed in {lasting}."),
                Conclusion::Cancelled if run.cancel_requested => {
                    format!("{place} was stopped because somebody asked for it.")
                }
                Conclusion::Cancelled => format!("{place} was stopped after {lasting}."),
                Conclusion::Interrupted => {
                    format!(
                        "{place} was interrupted: Marline was stopped meanwhile. It is run again."
                    )
                }
                Conclusion::Skipped => format!("{place} was skipped: none of its jobs had to run."),
                _ => format!("{place} ended after {lasting}: {conclusion}."),
            };
            let mut told = explanation(subject, standing_of(Some(conclusion)), sentence);
            told.evidence.push(Line::new(jobs_in_words(run), at_end.clone()));
            told.for_manager = vec![Line::new(
                match conclusion {
                    Conclusion::Success => {
                        "The automatic checks of this change passed. Nothing for you to do."
                    }
                    Conclusion::Cancelled => {
                        "The automatic checks of this change were stopped before they ended."
                    }
                    Conclusion::Interrupted => {
                        "The automatic checks were cut short and are run again. Nothing for you to do."
                    }
                    _ => "The automatic checks of this change have ended. Nothing for you to do.",
                },
                at_end,
            )];
            if conclusion == Conclusion::Cancelled {
                told.next.push(Next::command(
                    "Run it again",
                    format!("marline run {}", quote(&run.workflow)),
                ));
            }
            Ok(told)
        }
        None => {
            let ended = run.jobs.values().filter(|job| job.conclusion.is_some()).count();
            let mut told = explanation(
                subject,
                Standing::Running,
                format!(
                    "{place} is under way: {ended} of {} ended.",
                    count(run.jobs.len() as u64, "job", "jobs")
                ),
            );
            told.evidence.push(Line::new(jobs_in_words(run), [run.started]));
            told.for_manager = vec![Line::new(
                "The automatic checks of this change are still running.",
                [run.started],
            )];
            Ok(told)
        }
    }
}

fn explain_failure_without_step(
    run: &Run,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let subject = Subject::Run(run.id);
    if run.jobs.is_empty() {
        // The view forgets the jobs of old runs; the journal does not.
        let log = events.of_run(run.id)?;
        let failed = log.iter().find_map(|event| match &event.fact {
            Fact::StepFinished {
                job,
                name,
                failure: Some(failure),
                conclusion: Conclusion::Failure,
                ..
            } => Some((event.id, job, name, failure)),
            _ => None,
        });
        let Some((event, job, name, failure)) = failed else {
            return Err(WhyError::Forgotten(subject));
        };
        let mut told = explanation(
            subject,
            Standing::Failed,
            format!(
                "Run {} of {} failed at step \u{201c}{name}\u{201d} of job {job}.",
                run.id, run.name
            ),
        );
        told.cause = Some(cause_of_exit(failure));
        told.evidence = last_lines(failure, [event]);
        told.for_manager = vec![Line::new("An automatic check did not pass.", [event])];
        return Ok(told);
    }
    let mut told = explanation(
        subject,
        Standing::Failed,
        format!("Run {} of {} failed, though no step did.", run.id, run.name),
    );
    told.evidence.push(Line::new(jobs_in_words(run), run.finished));
    told.for_manager =
        vec![Line::new("An automatic check could not be carried out.", run.finished)];
    Ok(told)
}

pub(super) fn explain_job(
    run: &Run,
    key: &JobKey,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let subject = Subject::Job(run.id, key.clone());
    let Some(job) = run.jobs.get(key) else {
        let gone = run.jobs.is_empty();
        return Err(if gone { WhyError::Forgotten(subject) } else { WhyError::Unknown(subject) });
    };
    if job.conclusion == Some(Conclusion::Skipped) {
        return explain_skipped_job(run, key, job, events);
    }
    if let Some(step) = failed_step(job) {
        let mut told = explain_step(run, key, step, view, events)?;
        told.subject = subject;
        return Ok(told);
    }
    let log = events.of_run(run.id)?;
    let at = log.iter().filter(|event| is_about_job(event, key)).map(|event| event.id).next_back();
    let lasting = duration(job.milliseconds.unwrap_or(0));
    let sentence = match job.conclusion {
        None if job.started.is_some() => format!("Job {key} of run {} is under way.", run.id),
        None => format!("Job {key} of run {} waits: {}.", run.id, waits_for(run, job)),
        Some(Conclusion::Success) => format!("Job {key} of run {} passed in {lasting}.", run.id),
        Some(Conclusion::Failure) => {
            format!("Job {key} of run {} failed before any step did.", run.id)
        }
        Some(other) => format!("Job {key} of run {} ended after {lasting}: {other}.", run.id),
    };
    let mut told = explanation(subject, standing_of(job.conclusion), sentence);
    told.evidence.extend(at.map(|at| Line::new(steps_in_words(job), [at])));
    told.for_manager = vec![Line::new(
        match job.conclusion {
            Some(Conclusion::Success) => "This automatic check passed.",
            Some(Conclusion::Failure) => "This automatic check did not pass.",
            Some(_) => "This automatic check has ended.",
            None => "This automatic check has not ended yet.",
        },
        at,
    )];
    Ok(told)
}

fn explain_skipped_job(
    run: &Run,
    key: &JobKey,
    job: &Job,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let log = events.of_run(run.id)?;
    let at = log
        .iter()
        .find(|event| matches!(&event.fact, Fact::JobSkipped { job, .. } if job == key))
        .map(|event| event.id);
    let mut told = explanation(
        Subject::Job(run.id, key.clone()),
        Standing::Off,
        format!("Job {key} of run {} was skipped.", run.id),
    );
    let skipped = job.skipped.as_ref();
    if let Some(skipped) = skipped {
        told.cause =
            Some(Cause { text: full_stop(&skipped.reason), certainty: Certainty::Certain });
        if let Some(condition) = &skipped.condition {
            told.evidence = condition_in_words(condition, at);
        }
    }
    let needed = run
        .jobs
        .iter()
        .filter(|(_, other)| job.planned.needs.contains(&other.planned.id))
        .filter(|(_, other)| other.conclusion.is_some_and(|end| end != Conclusion::Success));
    for (needed, other) in needed {
        let end = other.conclusion.map(|end| end.to_string()).unwrap_or_default();
        told.evidence.push(Line::new(format!("it needs {needed}, which ended with {end}"), at));
        told.next.push(Next::command(
            format!("See why {needed} ended like that"),
            Subject::Job(run.id, needed.clone()).command(),
        ));
    }
    if told.next.is_empty() {
        told.next.push(Next::new(match job.planned.place.as_ref() {
            Some(place) => format!("Nothing, if that is meant; else change its `if` at {place}"),
            None => "Nothing, if that is meant; else change its `if`".to_owned(),
        }));
    }
    told.for_manager = vec![Line::new(
        if told.next.iter().any(|next| next.command.is_some()) {
            "This part was left out because an earlier part did not pass."
        } else {
            "This part was left out because its rules say so. Nothing is wrong."
        },
        at,
    )];
    Ok(told)
}

pub(super) fn explain_step(
    run: &Run,
    key: &JobKey,
    number: u32,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let subject = Subject::Step(run.id, key.clone(), number);
    let Some(job) = run.jobs.get(key) else {
        let gone = run.jobs.is_empty();
        return Err(if gone { WhyError::Forgotten(subject) } else { WhyError::Unknown(subject) });
    };
    let log = events.of_run(run.id)?;
    let planned = job.planned.steps.get(number.saturating_sub(1) as usize);
    let Some(step) = job.steps.get(&number) else {
        let Some(name) = planned else {
            return Err(WhyError::Unknown(subject));
        };
        let standing = if job.conclusion.is_some() { Standing::Off } else { Standing::Running };
        let sentence = format!("Step \u{201c}{name}\u{201d} of job {key} did not begin.");
        let mut told = explanation(subject, standing, sentence);
        let about = log.iter().rfind(|event| is_about_job(event, key)).or(log.first());
        told.for_manager = vec![Line::new(
            "This part of an automatic check did not begin.",
            about.map(|event| event.id),
        )];
        return Ok(told);
    };
    let at = log
        .iter()
        .find(|event| matches!(&event.fact, Fact::StepFinished { job, step, .. } if job == key && *step == number))
        .map(|event| event.id);
    match &step.failure {
        Some(failure) => {
            Ok(explain_failed_step(subject, run, key, number, step, failure, at, view, events))
        }
        None => Ok(explain_other_step(subject, run, key, step, at)),
    }
}

fn explain_other_step(
    subject: Subject,
    run: &Run,
    key: &JobKey,
    step: &Step,
    at: Option<EventId>,
) -> Explanation {
    let name = &step.name;
    let lasting = duration(step.milliseconds.unwrap_or(0));
    let sentence = match step.conclusion {
        None => format!("Step \u{201c}{name}\u{201d} of job {key} of run {} is under way.", run.id),
        Some(Conclusion::Success) => {
            format!("Step \u{201c}{name}\u{201d} of job {key} passed in {lasting}.")
        }
        Some(Conclusion::Skipped) => {
            format!("Step \u{201c}{name}\u{201d} of job {key} was skipped.")
        }
        Some(other) => {
            format!("Step \u{201c}{name}\u{201d} of job {key}: {other} after {lasting}.")
        }
    };
    let mut told = explanation(subject, standing_of(step.conclusion), sentence);
    told.for_manager = vec![Line::new(
        match step.conclusion {
            Some(Conclusion::Success) => "This part of an automatic check passed.",
            Some(Conclusion::Skipped) => "This part of an automatic check was left out.",
            Some(_) => "This part of an automatic check has ended.",
            None => "This part of an automatic check has not ended yet.",
        },
        at,
    )];
    if let Some(condition) = &step.condition {
        told.cause = Some(Cause {
            text: format!("Its condition `{}` gave {}.", condition.expression, condition.value),
            certainty: Certainty::Certain,
        });
        told.evidence = condition_in_words(condition, at);
    }
    told
}

/// What is known about a failed step besides its end.
struct Reading {
    log: String,
    green: Option<RunId>,
    new: Vec<NewLine>,
    matches: Vec<Match>,
}

#[expect(clippy::too_many_arguments, reason = "one straight story about one step")]
fn explain_failed_step(
    subject: Subject,
    run: &Run,
    key: &JobKey,
    number: u32,
    step: &Step,
    failure: &StepFailure,
    at: Option<EventId>,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Explanation {
    let standing = standing_of(step.conclusion);
    let mut told = explanation(
        subject,
        standing,
        format!(
            "Job {key} failed at step \u{201c}{}\u{201d} in run {} of {}.",
            step.name, run.id, run.name
        ),
    );
    let reading = read(run, key, number, &step.name, failure, view, events);
    let best = reading.matches.first();

    told.cause = Some(match best {
        Some(best) => Cause { text: tidy(&best.cause), certainty: best.certainty() },
        None => cause_without_signature(&reading, failure),
    });
    if let Some(best) = best {
        told.evidence.push(
            Line::quote(shorten(best.text.trim(), LONGEST_QUOTE), at).at(failure.place.clone()),
        );
        let context = following_lines(&reading.log, best.line);
        told.evidence.extend(context.into_iter().map(|line| Line::quote(line, at)));
    } else {
        let quoted: Vec<&NewLine> = reading.new.iter().take(LINES_QUOTED).collect();
        if quoted.is_empty() {
            told.evidence = last_lines(failure, at);
        } else {
            told.evidence = quoted
                .into_iter()
                .map(|line| Line::quote(shorten(line.text.trim(), LONGEST_QUOTE), at))
                .collect();
        }
    }
    told.evidence
        .push(Line::new(failure.message.trim_end_matches('.'), at).at(failure.place.clone()));
    if let Some(green) = reading.green {
        let new = count(reading.new.len() as u64, "line is", "lines are");
        told.evidence
            .push(Line::new(format!("{new} new since run {green}, the last green one"), at));
    }
    told.also_possible = reading
        .matches
        .iter()
        .skip(1)
        .take(2)
        .map(|other| Line::new(format!("{} ({})", tidy(&other.cause), other.certainty()), at))
        .collect();

    let green = last_green(run, view);
    told.changed = commits_between(view, green.map(|green| &green.commit), &run.commit);
    if let Some(green) = green
        && green.commit == run.commit
    {
        told.changed.push(Line::new(
            format!(
                "nothing: run {} passed with the same commit, so it may not be this change",
                green.id
            ),
            green.finished,
        ));
    }
    told.affected = vec![production_untouched(view)];
    told.next = next_steps(best, run, key, failure);
    told.for_manager = for_manager(best, at, run);
    told
}

fn read(
    run: &Run,
    key: &JobKey,
    number: u32,
    name: &str,
    failure: &StepFailure,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Reading {
    let log = events.step_log(run.id, key, number).unwrap_or_else(|| failure.last_lines.join("\n"));
    let green = last_green(run, view).and_then(|green| {
        let job = green.jobs.get(key)?;
        let (number, _) = job.steps.iter().find(|(_, step)| step.name == name)?;
        Some((green.id, events.step_log(green.id, key, *number)?))
    });
    let new = green.as_ref().map(|(_, green)| novelty::new_lines(&log, green)).unwrap_or_default();
    let numbers: Vec<usize> = new.iter().map(|line| line.number).collect();
    let matches = signature::matches(&log, &numbers);
    Reading { log, green: green.map(|(run, _)| run), new, matches }
}

/// Returns the newest run of the same workflow before this one that passed.
fn last_green<'v>(run: &Run, view: &'v View) -> Option<&'v Run> {
    view.runs.range(..run.id).rev().map(|(_, other)| other).find(|other| {
        other.workflow == run.workflow && other.conclusion == Some(Conclusion::Success)
    })
}

fn cause_without_signature(reading: &Reading, failure: &StepFailure) -> Cause {
    let by_exit = cause_of_exit(failure);
    if by_exit.certainty > Certainty::Unsure {
        return by_exit;
    }
    let last_new = reading.new.iter().rev().find(|line| looks_like_error(&line.text));
    match last_new {
        Some(line) => Cause {
            text: format!(
                "A line that no green run had: {}",
                full_stop(&shorten(line.text.trim(), LONGEST_QUOTE))
            ),
            certainty: Certainty::Unsure,
        },
        None => by_exit,
    }
}

/// Returns what the end of the process alone says.
fn cause_of_exit(failure: &StepFailure) -> Cause {
    let meaning = failure
        .signal
        .and_then(exit::meaning_of_signal)
        .or_else(|| failure.exit_code.and_then(exit::meaning_of_code));
    match meaning {
        Some(meaning) => Cause {
            text: format!("Its end says that {}.", meaning.text),
            certainty: meaning.certainty,
        },
        None => Cause {
            text: match failure.exit_code {
                Some(code) => format!(
                    "Its command ended with exit code {code}; no known pattern fits its output."
                ),
                None => full_stop(&failure.message),
            },
            certainty: Certainty::Unsure,
        },
    }
}

fn looks_like_error(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["error", "fail", "fatal", "panic", "exception", "denied", "cannot"]
        .iter()
        .any(|word| text.contains(word))
}

/// Returns the lines after the culprit that belong to it: indented, or with a place.
fn following_lines(log: &str, line: usize) -> Vec<String> {
    log.lines()
        .skip(line)
        .take(3)
        .map(novelty::plain)
        .take_while(|text| text.starts_with([' ', '\t']) && !text.trim().is_empty())
        .map(|text| shorten(text.trim_end(), LONGEST_QUOTE))
        .collect()
}

fn last_lines(failure: &StepFailure, at: impl IntoIterator<Item = EventId>) -> Vec<Line> {
    let at: Vec<EventId> = at.into_iter().collect();
    let lines: Vec<String> = failure.last_lines.iter().map(|line| novelty::plain(line)).collect();
    let told: Vec<&String> = lines.iter().filter(|line| !line.trim().is_empty()).collect();
    told.iter()
        .skip(told.len().saturating_sub(LINES_QUOTED))
        .map(|line| Line::quote(shorten(line.trim_end(), LONGEST_QUOTE), at.clone()))
        .collect()
}

fn next_steps(best: Option<&Match>, run: &Run, key: &JobKey, failure: &StepFailure) -> Vec<Next> {
    let mut next = Vec::new();
    match best {
        Some(best) => {
            next.push(match &best.command {
                Some(command) => Next::command(tidy(&best.help), command.clone()),
                None => Next::new(tidy(&best.help)),
            });
            if best.signature.transient {
                next.push(Next::new("It may pass when it is tried again"));
            }
        }
        None => {
            let meaning = failure
                .signal
                .and_then(exit::meaning_of_signal)
                .or_else(|| failure.exit_code.and_then(exit::meaning_of_code));
            next.extend(meaning.map(|meaning| Next::new(meaning.help)));
        }
    }
    let job = run.jobs.get(key).map_or(key.as_str(), |job| job.planned.id.as_str());
    next.push(Next::command("Run only this job here", format!("marline run {}", quote(job))));
    next.push(Next::command(
        "See what the commit changed",
        format!("git show {}", run.commit.short()),
    ));
    next
}

fn for_manager(best: Option<&Match>, at: Option<EventId>, run: &Run) -> Vec<Line> {
    let at: Vec<EventId> = at.into_iter().chain([run.started]).collect();
    let plain = best
        .map_or("An automatic check of this change did not pass.", |best| &best.signature.plain);
    let who = match best.map(|best| best.signature.owner) {
        Some(Owner::Code) => "Whoever made the change needs to mend it.",
        Some(Owner::Dependencies) => "A developer needs to update the list of building blocks.",
        Some(Owner::Configuration) => "A developer needs to mend the set-up.",
        Some(Owner::Machine) => "Whoever looks after the machine needs to help.",
        Some(Owner::Network) => "Trying again may be enough.",
        None => "A developer needs to look at it.",
    };
    vec![
        Line::new("The latest change did not pass its checks, so it was not released.", at.clone()),
        Line::new(plain, at.clone()),
        Line::new("Users are not affected.", at.clone()),
        Line::new(who, at),
    ]
}

/// Returns each part of a condition with its value.
fn condition_in_words(condition: &Explained, at: Option<EventId>) -> Vec<Line> {
    let mut lines = vec![
        Line::new(format!("`{}` gave {}", condition.expression, condition.value), at)
            .at(condition.place.clone()),
    ];
    let parts = condition.parts.iter().filter(|part| part.expression != condition.expression);
    lines.extend(
        parts.map(|part| Line::new(format!("  `{}` is {}", part.expression, part.value), at)),
    );
    lines
}

fn first_failure(run: &Run) -> Option<(JobKey, u32)> {
    run.jobs.iter().find_map(|(key, job)| {
        let failed = job.conclusion == Some(Conclusion::Failure);
        failed.then(|| failed_step(job).map(|step| (key.clone(), step))).flatten()
    })
}

/// Returns the step that failed its job: what is allowed to fail comes second.
fn failed_step(job: &Job) -> Option<u32> {
    let failed = |conclusion| {
        job.steps
            .iter()
            .find(|(_, step)| step.failure.is_some() && step.conclusion == Some(conclusion))
            .map(|(number, _)| *number)
    };
    failed(Conclusion::Failure).or_else(|| failed(Conclusion::Cancelled))
}

fn waits_for(run: &Run, job: &Job) -> String {
    let needed: Vec<&str> = run
        .jobs
        .iter()
        .filter(|(_, other)| {
            job.planned.needs.contains(&other.planned.id) && other.conclusion.is_none()
        })
        .map(|(key, _)| key.as_str())
        .collect();
    match needed.as_slice() {
        [] => "it starts when there is room for it".to_owned(),
        needed => format!("it needs {}", crate::words::list(needed)),
    }
}

fn jobs_in_words(run: &Run) -> String {
    let jobs: Vec<String> = run
        .jobs
        .iter()
        .map(|(key, job)| match (job.conclusion, job.started) {
            (Some(end), _) => format!("{key}: {end}"),
            (None, Some(_)) => format!("{key}: running"),
            (None, None) => format!("{key}: waiting"),
        })
        .collect();
    if jobs.is_empty() { "its jobs are too old to be kept".to_owned() } else { jobs.join(", ") }
}

fn steps_in_words(job: &Job) -> String {
    let passed =
        job.steps.values().filter(|step| step.conclusion == Some(Conclusion::Success)).count();
    format!("{} of {} passed", passed, count(job.planned.steps.len() as u64, "step", "steps"))
}

fn is_about_job(event: &Event, key: &JobKey) -> bool {
    match &event.fact {
        Fact::JobStarted { job, .. }
        | Fact::JobFinished { job, .. }
        | Fact::JobSkipped { job, .. } => job == key,
        _ => false,
    }
}

/// Takes away the gaps that groups without a value leave in a sentence.
fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace(" .", ".").replace(" ,", ",").trim_end_matches([':', ' ']).to_owned()
}
