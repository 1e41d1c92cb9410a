//! `marline silence`: alerts muted for a while, as amtool does it.

use std::time::Duration;

use explain::{Standing, words};
use jiff::Timestamp;
use journal::view::Silence;
use journal::{EventId, Fact, Labels};
use serde_json::json;
use source::alertmanager::matcher::{self, Matcher, Op};
use source::rules::parse_duration;

use super::timeline::{clean, paint, sign, tell};
use crate::cli::{Global, SilenceAddArgs, SilenceCommand};
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Adds, lists or ends silences.
pub async fn run(command: &SilenceCommand, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    match command {
        SilenceCommand::Add(args) => add(args, &here).await,
        SilenceCommand::List { expired } => list(&here, *expired),
        SilenceCommand::Expire { silences } => expire(&here, silences).await,
    }
}

async fn add(args: &SilenceAddArgs, here: &Here) -> Outcome {
    let (matchers, more) = matchers(&args.matchers)?;
    let now = Timestamp::now();
    let from = args.start.as_deref().map(|text| moment("--start", text)).transpose()?;
    let until = match (&args.end, &args.duration) {
        (Some(end), _) => moment("--end", end)?,
        (None, duration) => {
            let from = from.unwrap_or(now);
            from.saturating_add(duration_of(duration)?).unwrap_or(Timestamp::MAX)
        }
    };
    if until <= now {
        return Err(Failure::new(Exit::Usage, "the silence would be over already")
            .help("choose a later --end, or a longer --duration"));
    }
    let wish = Fact::SilenceSet {
        matchers,
        more,
        reason: args.comment.clone(),
        from_ms: from.map(Timestamp::as_millisecond),
        until_ms: until.as_millisecond(),
    };
    let event = client::request(here.state.root(), &wish).await?;
    let (id, until) = (event.id, words::exact(until));
    if here.json {
        tell(&format!("{}\n", json!({"silence": id, "until": until})))?;
    } else {
        tell(&format!("  {} silence {id} until {until}\n", sign(here.colour, Standing::Off)))?;
        eprintln!("  undo: marline silence expire {id}");
    }
    Ok(Exit::Done)
}

/// Reads what an alert must fulfil; a word alone is the name of an alert, as for amtool.
fn matchers(written: &[String]) -> Result<(Labels, Vec<String>), Failure> {
    let (mut equal, mut more) = (Labels::new(), Vec::new());
    for (at, text) in written.iter().enumerate() {
        let is_name = at == 0 && !text.contains(['=', '!', '~', '{']);
        let read = if is_name {
            Matcher::new("alertname", Op::Equal, text).map(|matcher| vec![matcher])
        } else {
            matcher::parse(text).map_err(|error| error.to_string())
        };
        let read = read.map_err(|why| {
            Failure::new(Exit::Usage, format!("`{text}` is no matcher: {why}")).help(
                "write it as name=value, with =, !=, =~ or !~: service=web 'severity=~\"a|b\"'",
            )
        })?;
        for matcher in read {
            if matcher.op == Op::Equal && !equal.contains_key(&matcher.name) {
                equal.insert(matcher.name, matcher.value);
            } else {
                more.push(matcher.to_string());
            }
        }
    }
    Ok((equal, more))
}

fn duration_of(text: &str) -> Result<Duration, Failure> {
    parse_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is not a duration"))
            .help("write a number and a unit: 30m, 2h, 1d")
    })
}

fn moment(option: &str, text: &str) -> Result<Timestamp, Failure> {
    text.parse().map_err(|_| {
        Failure::new(Exit::Usage, format!("{option} `{text}` is not a time"))
            .help("write it as 2027-01-31T09:00:00Z")
    })
}

fn list(here: &Here, expired: bool) -> Outcome {
    let view = if here.state.exists() { here.journal()?.view()? } else { journal::View::default() };
    let now = Timestamp::now();
    let shown = view.silences.iter().filter(|(_, silence)| expired || silence.until > now);
    if here.json {
        let all: Vec<_> = shown.map(|(id, silence)| told_json(*id, silence, now)).collect();
        tell(&format!("{}\n", serde_json::Value::from(all)))?;
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for (id, silence) in shown {
        let when = match state(silence, now) {
            "pending" => {
                format!("from {} until {}", words::exact(silence.from), words::exact(silence.until))
            }
            "active" => format!("until {}", words::exact(silence.until)),
            _ => format!("over since {}", words::exact(silence.until)),
        };
        let said = format!("{}: {}", silence.by, silence.reason);
        out += &format!("  {id:<5} {}  {when}\n", clean(&fulfil(silence).join(", ")));
        out += &format!("        {}\n", paint(here.colour, "2", &clean(&said)));
    }
    if out.is_empty() {
        out.push_str("  no alert is silenced\n");
    }
    tell(&out)?;
    Ok(Exit::Done)
}

fn state(silence: &Silence, now: Timestamp) -> &'static str {
    if silence.until <= now {
        "expired"
    } else if silence.from > now {
        "pending"
    } else {
        "active"
    }
}

fn fulfil(silence: &Silence) -> Vec<String> {
    silence.matchers.iter().map(ToString::to_string).collect()
}

fn told_json(id: EventId, silence: &Silence, now: Timestamp) -> serde_json::Value {
    json!({
        "silence": id,
        "state": state(silence, now),
        "matchers": fulfil(silence),
        "comment": silence.reason,
        "created_by": silence.by.to_string(),
        "starts_at": silence.from,
        "ends_at": silence.until,
    })
}

async fn expire(here: &Here, silences: &[u64]) -> Outcome {
    for silence in silences {
        let wish = Fact::SilenceExpired { silence: EventId(*silence) };
        client::request(here.state.root(), &wish).await?;
        if !here.json {
            tell(&format!("  {} silence {silence} is over\n", sign(here.colour, Standing::Ok)))?;
        }
    }
    if here.json {
        tell(&format!("{}\n", json!({"expired": silences})))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_amtool_reads_them() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            matchers(&words).map_err(|failure| failure.exit)
        };
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let (equal, more) = read(&["Errors", "service=web", "severity=~a|b"]).expect("matchers");
        assert_eq!(equal, labels(&[("alertname", "Errors"), ("service", "web")]));
        assert_eq!(more, [r#"severity=~"a|b""#]);
        // The same label twice is two conditions, not one in the place of the other.
        let (equal, more) = read(&["a=1", "a=2"]).expect("matchers");
        assert_eq!((equal, more), (labels(&[("a", "1")]), vec![r#"a="2""#.to_owned()]));
        assert_eq!(read(&["a=1", "b"]).unwrap_err(), Exit::Usage);
        assert_eq!(read(&["a=~("]).unwrap_err(), Exit::Usage);
    }
}
