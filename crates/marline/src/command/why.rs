//! `marline why`: cause, evidence, what changed, who was affected, what was done, what to do next.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use anyhow::Context as _;
use explain::{Explanation, Line, Lookup, Moment, Subject, WhyError, render, signature};
use journal::{
    DeploymentId, Event, EventId, IncidentId, JobKey, Journal, JournalError, RunId, View,
};
use pipeline::log::Kind;
use serde_json::json;

use super::timeline::{clean, moment, one_line, paint, sign, tell};
use crate::cli::{Audience, Global, WhyArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;
use crate::state::State;

/// The most of a log that is read from standard input.
const LARGEST_LOG: u64 = 64 << 20;

/// How many other causes of a log are named.
const OTHER_CAUSES: usize = 3;

/// Explains something, or what went wrong last.
pub fn run(args: &WhyArgs, global: &Global) -> Outcome {
    if args.subject == ["-"] {
        return explain_input(args, global);
    }
    let here = Here::find(global)?;
    let (journal, view) = here.known()?;
    let subject = find(&args.subject, &view)?;
    let events = Events { journal: &journal, state: &here.state };
    let told = explain::why(&subject, &view, &events).map_err(why_failure)?;
    if here.json {
        let mut value = render::json(&told);
        if args.evidence {
            let events: Result<Vec<_>, _> =
                ids(&told).into_iter().map(|id| journal.event(id)).collect();
            value["events"] = json!(events?.into_iter().flatten().collect::<Vec<_>>());
        }
        tell(&format!("{value}\n"))?;
        return Ok(Exit::Done);
    }
    tell(&text(&told, args.audience, here.colour))?;
    if args.evidence {
        tell(&behind(&told, args.audience, &journal, here.colour)?)?;
    } else if args.audience == Audience::Dev && !ids(&told).is_empty() {
        eprintln!("  the events behind it: {} --evidence", clean(&told.subject.command()));
    }
    Ok(Exit::Done)
}

/// Returns the words for somebody, the first line with the sign of how it stands.
fn text(told: &Explanation, audience: Audience, colour: bool) -> String {
    let audience = match audience {
        Audience::Dev => render::Audience::Developer,
        Audience::Manager => return format!("{}\n", clean(&render::for_manager(told))),
    };
    let words = render::text(told, audience);
    let mut lines = words.lines();
    let first = clean(lines.next().unwrap_or_default());
    let mut text = format!("{} {}\n", sign(colour, told.standing), paint(colour, "1", &first));
    for line in lines {
        text += &clean(line);
        text.push('\n');
    }
    text
}

/// Returns each sentence with the events it rests on.
fn behind(
    told: &Explanation,
    audience: Audience,
    journal: &Journal,
    colour: bool,
) -> Result<String, Failure> {
    let mut text = String::from("\n  Events behind it\n");
    for line in lines(told, audience).filter(|line| !line.events.is_empty()) {
        text += &format!("  {}\n", paint(colour, "1", &one_line(&line.text, 120)));
        for id in &line.events {
            let Some(event) = journal.event(*id)? else { continue };
            let moment_of = Moment::of(&event);
            let when = paint(colour, "2", &moment(event.at));
            let actor = clean(&event.actor.to_string());
            let words = one_line(&moment_of.text, 100);
            text += &format!("    {:>6}  {when}  {actor}  {words}\n", format!("#{id}"));
        }
    }
    Ok(text)
}

fn lines(told: &Explanation, audience: Audience) -> Box<dyn Iterator<Item = &Line> + '_> {
    match audience {
        Audience::Manager => Box::new(told.for_manager.iter()),
        Audience::Dev => Box::new(
            [&told.evidence, &told.also_possible, &told.changed, &told.affected, &told.done]
                .into_iter()
                .flatten(),
        ),
    }
}

/// Returns the events that an explanation rests on, each once.
fn ids(told: &Explanation) -> BTreeSet<EventId> {
    lines(told, Audience::Dev)
        .chain(lines(told, Audience::Manager))
        .flat_map(|line| line.events.iter().copied())
        .collect()
}

/// Returns what an incident was, in one plain sentence.
pub fn sentence(journal: &Journal, view: &View, incident: IncidentId) -> String {
    let told = explain::why(&Subject::Incident(incident), view, journal);
    let title = || view.incidents.get(&incident).map(|incident| incident.title.clone());
    match told {
        Ok(told) if !told.for_manager.is_empty() => clean(&render::for_manager(&told)),
        Ok(told) => clean(&told.sentence),
        Err(_) => clean(&title().unwrap_or_default()),
    }
}

/// Finds what the words of the command line mean.
pub(super) fn find(words: &[String], view: &View) -> Result<Subject, Failure> {
    let typed = words.join(" ");
    Subject::find(&as_path(words), view)
        .or_else(|| Subject::find(&typed, view))
        .ok_or_else(|| unknown(&typed, view))
}

/// Writes `job 7 test`, `run 7 test` and `step 7 test 3` as paths: `7/test`, `7/test/3`.
fn as_path(words: &[String]) -> String {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    match words.as_slice() {
        ["run" | "job", run, job @ ..] if !job.is_empty() => format!("{run}/{}", job.join(" ")),
        ["step", run, job @ .., step] if !job.is_empty() => {
            format!("{run}/{}/{step}", job.join(" "))
        }
        ["job" | "step" | "instance", rest @ ..] => rest.join(" "),
        words => words.join(" "),
    }
}

fn unknown(typed: &str, view: &View) -> Failure {
    let shown = clean(typed);
    let names: Vec<&str> = view
        .services
        .keys()
        .map(journal::ServiceName::as_str)
        .chain(
            view.runs.values().rev().take(10).flat_map(|run| run.jobs.keys().map(JobKey::as_str)),
        )
        .collect();
    let near = names
        .iter()
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .max_by(|one, two| one.0.total_cmp(&two.0))
        .filter(|(likeness, _)| *likeness > 0.8);
    let help = match near {
        Some((_, name)) => format!("did you mean `{}`?", clean(name)),
        None => there_is(view),
    };
    Failure::new(Exit::NotFound, format!("nothing here is called `{shown}`")).help(help)
}

/// Says what could be asked about.
fn there_is(view: &View) -> String {
    let mut there = Vec::new();
    let mut numbered = |noun: &str, first: Option<u64>, last: Option<u64>| {
        if let (Some(first), Some(last)) = (first, last) {
            there.push(if first == last {
                format!("{noun} {last}")
            } else {
                format!("{noun} {first} to {last}")
            });
        }
    };
    let runs = &view.runs;
    numbered("run", runs.keys().next().map(|id| id.0), runs.keys().next_back().map(|id| id.0));
    let all = &view.deployments;
    numbered("deployment", all.keys().next().map(|id| id.0), all.keys().next_back().map(|id| id.0));
    let all = &view.incidents;
    numbered("incident", all.keys().next().map(|id| id.0), all.keys().next_back().map(|id| id.0));
    there.extend(view.services.keys().take(5).map(|name| format!("service {name}")));
    if there.is_empty() {
        return "nothing has happened yet; begin with `marline run` or `marline up`".to_owned();
    }
    clean(&format!("there is {}; `marline why` alone says what went wrong last", there.join(", ")))
}

fn why_failure(error: WhyError) -> Failure {
    let (exit, help) = match &error {
        WhyError::Unknown(_) => (Exit::NotFound, Some("`marline timeline` lists what happened")),
        WhyError::Forgotten(_) => {
            (Exit::NotFound, Some("`marline timeline -n 1000` still lists its events"))
        }
        WhyError::Journal(_) => (Exit::Failed, None),
    };
    Failure { exit, error: error.into(), help: help.map(str::to_owned) }
}

/// The journal, and the logs of steps as they are kept.
pub(super) struct Events<'a> {
    /// The journal.
    pub journal: &'a Journal,
    /// Where logs are kept.
    pub state: &'a State,
}

impl Lookup for Events<'_> {
    fn event(&self, id: EventId) -> Result<Option<Event>, JournalError> {
        self.journal.event(id)
    }

    fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError> {
        self.journal.of_run(run)
    }

    fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError> {
        self.journal.of_deployment(deployment)
    }

    fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError> {
        self.journal.of_incident(incident)
    }

    fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.journal.of_kind(kind, limit)
    }

    fn step_log(&self, run: RunId, job: &JobKey, step: u32) -> Option<String> {
        let path = pipeline::log::path(&self.state.run(run).join("logs"), job);
        let bytes = std::fs::read(path).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text
            .lines()
            .filter_map(pipeline::log::Line::parse)
            .filter(|line| line.step == step && line.kind != Kind::Debug)
            .map(|line| line.text)
            .collect();
        Some(lines.join("\n"))
    }
}

/// Explains a log from standard input by what known failures look like.
fn explain_input(args: &WhyArgs, global: &Global) -> Outcome {
    let mut bytes = Vec::new();
    let mut input = io::stdin().lock().take(LARGEST_LOG + 1);
    input.read_to_end(&mut bytes).context("read the log from standard input")?;
    if bytes.len() as u64 > LARGEST_LOG {
        let size = explain::words::bytes(LARGEST_LOG);
        return Err(Failure::new(Exit::Usage, format!("the log is larger than {size}"))
            .help("give only its end: `tail -c 10M LOG | marline why -`"));
    }
    let log = String::from_utf8_lossy(&bytes);
    let matches = signature::matches(&log, &[]);
    let Some(best) = matches.first() else {
        let help = if log.trim().is_empty() {
            "standard input was empty: `COMMAND 2>&1 | marline why -`"
        } else {
            "let it write more, for example with `-v`, and try again"
        };
        let lines = explain::words::count(log.lines().count() as u64, "line", "lines");
        let failure = format!("no known failure in {lines}");
        return Err(Failure::new(Exit::NotFound, failure).help(help));
    };
    if global.json {
        let all: Vec<_> = matches.iter().map(match_json).collect();
        tell(&format!("{}\n", json!({ "causes": all })))?;
        return Ok(Exit::Done);
    }
    let colour = global.colour();
    if args.audience == Audience::Manager {
        tell(&format!("{}\n", explain::words::full_stop(&clean(&best.signature.plain))))?;
        return Ok(Exit::Done);
    }
    let sign = sign(colour, explain::Standing::Failed);
    let mut text = format!("{sign} {}\n", paint(colour, "1", &clean(&best.cause)));
    let mut section = |name: &str, words: &str| text += &format!("  {name:<9} {words}\n");
    section("Sure", &best.certainty().to_string());
    let count = log.lines().count();
    section("Evidence", &format!("│ {}", one_line(&best.text, 160)));
    section("", &format!("line {} of {count}", best.line));
    for other in matches.iter().skip(1).take(OTHER_CAUSES) {
        section("Also", &format!("line {}: {}", other.line, one_line(&other.cause, 120)));
    }
    section("Next", &explain::words::full_stop(&one_line(&best.help, 200)));
    if let Some(command) = &best.command {
        section("", &clean(command));
    }
    if best.signature.transient {
        section("", "It may go away when tried again.");
    }
    tell(&text)?;
    Ok(Exit::Done)
}

fn match_json(found: &signature::Match) -> serde_json::Value {
    json!({
        "signature": found.signature.id,
        "cause": found.cause,
        "certainty": found.certainty(),
        "line": found.line,
        "text": found.text,
        "help": found.help,
        "command": found.command,
        "plain": found.signature.plain,
        "transient": found.signature.transient,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_may_write_jobs_and_steps_as_words() {
        let path = |typed: &str| as_path(&typed.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(path("job 7 test (3.12, linux)"), "7/test (3.12, linux)");
        assert_eq!(path("step 7 test 3"), "7/test/3");
        assert_eq!(path("run 7 test"), "7/test");
        assert_eq!(path("run 7"), "run 7");
        assert_eq!(path("incident 1"), "incident 1");
        assert_eq!(path("job test"), "test");
        assert_eq!(as_path(&["job 7 test".to_owned()]), "7/test");
    }
}
