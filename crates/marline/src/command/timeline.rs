//! `marline timeline`, `incidents` and `audit`: what happened, and who did it.
//!
//! What every listing needs is here too: [`tell`], [`clean`], [`paint`], [`sign`], [`moment`].

use std::io::{self, Write as _};

use explain::{Moment, Standing, words};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use journal::view::Incident;
use journal::{Actor, Event, EventId, Journal, View};
use serde_json::json;

use crate::cli::{AuditArgs, Global, TimelineArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Prints what happened, in order; with `--json` every event as a line.
pub async fn run(args: &TimelineArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (journal, _) = here.known()?;
    let newest = journal.newest(1)?.last().map_or(EventId(0), |event| event.id);
    let (events, is_cut) = matter(&journal, args.lines, here.json)?;
    tell(&events.iter().map(|event| line(&here, event)).collect::<String>())?;
    if !args.follow {
        if is_cut && !here.json {
            eprintln!("  older ones: marline timeline -n {}", args.lines.saturating_mul(4).max(1));
        }
        return Ok(Exit::Done);
    }
    let mut follower = journal.follow(newest);
    loop {
        let event = follower.next().await?;
        let matters = here.json || !Moment::of(&event).is_minor;
        if matters && !is_read(&line(&here, &event))? {
            return Ok(Exit::Done);
        }
    }
}

/// Returns the newest events that matter, or with `all` simply the newest, oldest first; and
/// whether there are older ones.
fn matter(journal: &Journal, count: usize, all: bool) -> Result<(Vec<Event>, bool), Failure> {
    let mut looked_at = count.saturating_mul(4).max(200);
    loop {
        let newest = journal.newest(looked_at)?;
        let is_everything = newest.len() < looked_at;
        let mut events = newest;
        events.retain(|event| all || !Moment::of(event).is_minor);
        if events.len() >= count || is_everything {
            let older = events.len().saturating_sub(count);
            let is_cut = older > 0 || !is_everything;
            return Ok((events.split_off(older), is_cut));
        }
        looked_at = looked_at.saturating_mul(4);
    }
}

fn line(here: &Here, event: &Event) -> String {
    let told = Moment::of(event);
    if here.json {
        return format!("{}\n", with_words(event, &told));
    }
    let actor = match &event.actor {
        Actor::Conductor => String::new(),
        someone => format!("  {}", clean(&someone.to_string())),
    };
    let detail = match &told.detail {
        Some(detail) => paint(here.colour, "2", &format!("  {}", one_line(detail, 120))),
        None => String::new(),
    };
    format!(
        "  {} {}  {}{detail}{}\n",
        paint(here.colour, "2", &moment(event.at)),
        sign(here.colour, told.standing),
        one_line(&told.text, 160),
        paint(here.colour, "36", &actor)
    )
}

/// Returns an event as JSON, with its words beside what it holds.
fn with_words(event: &Event, told: &Moment) -> serde_json::Value {
    let mut value = serde_json::to_value(event).expect("events hold only what JSON can say");
    value["text"] = json!(told.text);
    value["detail"] = json!(told.detail);
    value["standing"] = json!(told.standing);
    value["page"] = json!(told.subject.as_ref().map(explain::Subject::path));
    value
}

/// Prints what went wrong so far, what is open last.
pub fn incidents(global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let (_, view) = here.known()?;
    let mut incidents: Vec<&Incident> = view.incidents.values().collect();
    incidents.sort_by_key(|incident| (incident.resolved.is_none(), incident.id));
    if here.json {
        let all: Vec<_> = incidents.iter().map(|incident| incident_json(incident)).collect();
        tell(&format!("{}\n", json!(all)))?;
        return Ok(Exit::Done);
    }
    if incidents.is_empty() {
        tell("  no incident so far\n")?;
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let width = incidents.iter().map(|one| one.service.as_str().chars().count()).max();
    let width = width.unwrap_or(0);
    let mut told = String::new();
    for incident in &incidents {
        told += &incident_line(incident, width, now, here.colour);
    }
    tell(&told)?;
    if let Some(last) = incidents.last() {
        eprintln!("  why: marline why incident {}", last.id);
    }
    Ok(Exit::Done)
}

fn incident_line(incident: &Incident, width: usize, now: Timestamp, colour: bool) -> String {
    let (standing, state) = match &incident.resolved {
        None => (Standing::Failed, format!("open since {}", moment(incident.at))),
        Some((end, how)) => {
            let lasted = end.as_millisecond().saturating_sub(incident.onset_ms).max(0);
            let lasted = words::duration(lasted.unsigned_abs());
            (Standing::Off, format!("over after {lasted}: {}", one_line(how, 80)))
        }
    };
    let affected = incident.affected;
    let affected = if affected.failed == 0 {
        "no request failed".to_owned()
    } else {
        format!(
            "{} of {} failed",
            words::thousands(affected.failed),
            words::count(affected.requests, "request", "requests"),
        )
    };
    format!(
        "  {} {:>3}  {:<width$}  {}\n         {}\n",
        sign(colour, standing),
        incident.id.to_string(),
        clean(incident.service.as_str()),
        one_line(&incident.title, 120),
        paint(colour, "2", &format!("{}; {affected}; {state}", words::relative(incident.at, now))),
    )
}

/// Returns an incident as JSON.
pub(super) fn incident_json(incident: &Incident) -> serde_json::Value {
    json!({
        "incident": incident.id,
        "service": incident.service,
        "title": incident.title,
        "opened": incident.at,
        "onset_ms": incident.onset_ms,
        "deployment": incident.deployment,
        "release": incident.release,
        "suspects": incident.suspects,
        "affected": incident.affected,
        "notes": incident.notes.iter().map(|(at, note)| json!({ "at": at, "note": note })).collect::<Vec<_>>(),
        "resolved": incident.resolved.as_ref().map(|(at, how)| json!({ "at": at, "how": how })),
    })
}

/// Prints who did what, or proves that nothing was edited.
pub fn audit(args: &AuditArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    if args.verify {
        return verify(&here);
    }
    let (journal, _) = here.known()?;
    let events = journal.newest(args.lines)?;
    let mut told = String::new();
    let actors = events.iter().map(|event| event.actor.to_string().chars().count());
    let width = actors.max().unwrap_or(0).min(24);
    for event in &events {
        let moment_of = Moment::of(event);
        if here.json {
            told += &format!("{}\n", with_words(event, &moment_of));
            continue;
        }
        let cause = event.cause.map(|cause| format!("  because of #{cause}")).unwrap_or_default();
        told += &format!(
            "  {:>6}  {}  {}  {}{}\n",
            format!("#{}", event.id),
            paint(here.colour, "2", &moment(event.at)),
            paint(here.colour, "36", &format!("{:<width$}", clean(&event.actor.to_string()))),
            one_line(&moment_of.text, 120),
            paint(here.colour, "2", &format!("  {}{cause}", event.fact.kind())),
        );
    }
    tell(&told)?;
    if !here.json {
        eprintln!("  nothing edited? marline audit --verify");
    }
    Ok(Exit::Done)
}

fn verify(here: &Here) -> Outcome {
    if !here.state.exists() {
        return Err(Failure::new(Exit::NotFound, "there is no journal to verify")
            .help("one is begun by `marline run` and `marline up`"));
    }
    let journal = here.journal()?;
    let path = journal.path().display().to_string();
    match journal.verify()? {
        Ok(events) => {
            if here.json {
                tell(&format!("{}\n", json!({ "intact": true, "events": events })))?;
            } else {
                let count = words::count(events, "event", "events");
                let sign = sign(here.colour, Standing::Ok);
                tell(&format!("  {sign} {count}: none was edited, removed or put in between\n"))?;
            }
            Ok(Exit::Done)
        }
        Err(broken) => {
            if here.json {
                let value = json!({ "intact": false, "event": broken.event, "why": broken.why });
                tell(&format!("{value}\n"))?;
            } else {
                let sign = sign(here.colour, Standing::Failed);
                let why = clean(&broken.why);
                tell(&format!(
                    "  {sign} the journal is broken at event {}: {why}\n",
                    broken.event
                ))?;
                eprintln!("  where: {}", clean(&path));
                eprintln!("  what came before it is as it was written; compare with a backup");
            }
            Ok(Exit::Failed)
        }
    }
}

/// Returns what somebody sees first of a release: its short name and its commit's subject.
pub(super) fn release_words(release: &journal::ReleaseId, view: &View) -> String {
    let short = clean(release.short());
    let commit = view.releases.get(release).and_then(|known| view.commits.get(&known.commit));
    match commit {
        Some(commit) => format!("{short} “{}”", one_line(&commit.subject, 50)),
        None => short,
    }
}

/// Writes to standard output. That nobody reads any more is no failure.
pub(super) fn tell(text: &str) -> Result<(), Failure> {
    is_read(text).map(|_| ())
}

/// Writes to standard output and says whether anybody still reads: what follows ends when not.
pub(super) fn is_read(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns a text that cannot command the terminal: colour codes and control characters are gone,
/// and so are marks that turn its direction.
pub(super) fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut clean = explain::novelty::plain(text);
    clean.retain(|c| c == '\t' || !(c.is_control() || turns(c)));
    clean
}

/// Returns a clean text on one line, cut where it is too long.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| clean(line.trim())).collect();
    words::shorten(lines.join(" ").trim(), limit)
}

/// Returns a text in a colour of the terminal, if that is wanted.
pub(super) fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.into() }
}

/// Returns the sign of a standing.
pub(super) fn sign(colour: bool, standing: Standing) -> String {
    let (sign, code) = match standing {
        Standing::Ok => ("✓", "32"),
        Standing::Failed => ("✗", "31"),
        Standing::Attention => ("!", "33"),
        Standing::Running => ("•", "36"),
        Standing::Off => ("–", "2"),
    };
    paint(colour, code, sign)
}

/// Says a moment in the time zone of this machine: of today the time, before that the day too.
pub(super) fn moment(at: Timestamp) -> String {
    let zone = TimeZone::system();
    let (at, now) = (at.to_zoned(zone.clone()), Timestamp::now().to_zoned(zone));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_cannot_command_the_terminal() {
        let nasty = "\u{1b}[2Ja\u{7}b\u{9b}31mc\u{202e}d\u{1b}]0;title\u{7}e";
        assert_eq!(clean(nasty), "ab31mcde");
        assert_eq!(one_line("two\n  lines\r\n", 80), "two lines");
        assert_eq!(one_line("a long sentence", 7), "a long…");
    }

    #[test]
    fn a_moment_of_another_day_has_its_day() {
        assert_eq!(moment(Timestamp::UNIX_EPOCH).len(), "1970-01-01 00:00:00".len());
        // The same day but for the second in which it ends.
        assert!(moment(Timestamp::now()).ends_with(|c: char| c.is_ascii_digit()));
    }
}
