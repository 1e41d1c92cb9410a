//! `marline rules backtest`: how often alerts would have fired over the numbers that are stored,
//! and how that meets the incidents that really happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use source::Finding;
use source::rules::{Rule, RuleKind};
use watch::rule::backtest::{Firing, Happening, earlier, firings, is_about};

use super::rules::{Text, files, read, told};
use super::timeline::{clean, tell};
use crate::cli::{Global, RulesBacktestArgs};
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// How often a group is evaluated that does not say it, as the conductor does it.
const INTERVAL: Duration = Duration::from_secs(15);

/// The most steps that are asked for at once; Prometheus gives 11,000.
const MOST_STEPS: i64 = 10_000;

/// What an alert would have done.
struct Replayed {
    alert: String,
    place: String,
    series: usize,
    firings: Vec<Firing>,
}

pub(super) async fn run(args: &RulesBacktestArgs, global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let since = source::rules::parse_duration(&args.since).filter(|since| !since.is_zero());
    let Some(since) = since else {
        return Err(Failure::new(Exit::Usage, "`--since` must be a time such as 6h or 30d"));
    };
    let mut texts = Vec::new();
    for path in files(&args.files, global)? {
        texts.push(Text::read(&path)?);
    }
    let now = here.journal()?.now();
    let mut replayed = Vec::new();
    for text in &texts {
        let (file, findings) = read(text);
        if findings.iter().any(Finding::is_error) {
            eprint!("{}", told(&findings, &texts, global));
            return Err(Failure::new(Exit::Failed, format!("{} cannot be used", text.path)));
        }
        for group in file.iter().flat_map(|file| &file.groups) {
            let step = group.interval.as_ref().map_or(INTERVAL, |interval| interval.value);
            let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1000);
            let end = now.as_millisecond() / step * step;
            let span = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
            let times = (end.saturating_sub(span) / step * step, end, step);
            for rule in &group.rules {
                let RuleKind::Alert { name, .. } = &rule.kind else { continue };
                if args.alert.as_ref().is_some_and(|wanted| *wanted != name.value) {
                    continue;
                }
                eprintln!("  asking for {}", clean(&name.value));
                replayed.push(replay(&here, &text.path, rule, times).await?);
            }
        }
    }
    if replayed.is_empty() {
        return Err(Failure::new(Exit::NotFound, "there is no such alert in these files"));
    }
    let from = now.saturating_sub(SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX));
    let view = here.journal()?.view()?;
    let incidents: Vec<(u64, String, Happening)> = (view.incidents.values())
        .filter(|incident| from.as_ref().is_ok_and(|from| incident.at >= *from))
        .map(|incident| {
            let happening = Happening {
                onset: incident.onset_ms,
                noticed: incident.at.as_millisecond(),
                over: incident.resolved.as_ref().map(|(at, _)| at.as_millisecond()),
            };
            (incident.id.0, incident.title.clone(), happening)
        })
        .collect();
    if global.json {
        let alerts: Vec<Value> =
            replayed.iter().map(|replayed| replayed.json(&incidents)).collect();
        tell(&format!("{}\n", json!({"since": args.since, "alerts": alerts})))?;
    } else {
        let mut out = String::new();
        for replayed in &replayed {
            out += &replayed.text(&incidents, now.as_millisecond());
        }
        tell(&out)?;
    }
    Ok(Exit::Done)
}

/// Asks for the condition of a rule, piece by piece, and replays the alert over it.
async fn replay(
    here: &Here,
    path: &str,
    rule: &Rule,
    (start, end, step): (i64, i64, i64),
) -> Result<Replayed, Failure> {
    let RuleKind::Alert { name, hold, keep_firing, .. } = &rule.kind else {
        return Err(Failure::new(Exit::Bug, "a record is not replayed"));
    };
    let query = utf8_percent_encode(&rule.query.text, NON_ALPHANUMERIC).to_string();
    let mut held: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut from = start;
    while from <= end {
        let to = end.min(from.saturating_add(step * (MOST_STEPS - 1)));
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let path = format!(
            "/api/v1/query_range?query={query}&start={}&end={}&step={}",
            seconds(from),
            seconds(to),
            seconds(step)
        );
        let (status, answer) = client::get(here.state.root(), &path).await?;
        let answer: Value =
            serde_json::from_slice(&answer).context("read the conductor's answer")?;
        if !status.is_success() {
            let why = answer["error"].as_str().unwrap_or("the conductor did not answer");
            return Err(Failure::new(Exit::Failed, format!("{}: {why}", name.value)));
        }
        for series in answer["data"]["result"].as_array().into_iter().flatten() {
            let times = held.entry(series["metric"].to_string()).or_default();
            for key in ["values", "histograms"] {
                let points = series[key].as_array().into_iter().flatten();
                let at = |point: &Value| Some((point[0].as_f64()? * 1000.0).round() as i64);
                times.extend(points.filter_map(at));
            }
        }
        from = to + step;
    }
    let millis = |duration: &Option<source::Spanned<Duration>>| {
        duration.as_ref().map_or(0, |duration| duration.value.as_millis() as i64)
    };
    let mut all: Vec<Firing> = held
        .values()
        .flat_map(|held| firings(held, (start, end, step), millis(hold), millis(keep_firing)))
        .collect();
    all.sort_by_key(|firing| firing.from);
    Ok(Replayed {
        alert: name.value.clone(),
        place: format!("{path}:{}", rule.span.start),
        series: held.len(),
        firings: all,
    })
}

impl Replayed {
    /// How many firings are about none of the incidents.
    fn alone(&self, incidents: &[(u64, String, Happening)]) -> usize {
        let about = |firing: &&Firing| incidents.iter().any(|(_, _, it)| is_about(firing, it));
        self.firings.len() - self.firings.iter().filter(about).count()
    }

    fn text(&self, incidents: &[(u64, String, Happening)], now: i64) -> String {
        let mut out = format!("{}  {}\n", clean(&self.alert), clean(&self.place));
        match self.firings.len() {
            0 if self.series == 0 => out += "  would not have fired; its condition never held\n",
            0 => out += "  would not have fired; its condition never held for long enough\n",
            count => {
                let firing: i64 =
                    self.firings.iter().map(|firing| firing.to.unwrap_or(now) - firing.from).sum();
                let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
                let long = lasting(firing);
                out += &format!("  would have fired {times}, for {long} in all\n");
            }
        }
        for (id, title, happening) in incidents {
            let told = match earlier(&self.firings, happening) {
                Some(early) if early >= 0 => format!("met, {} earlier", lasting(early)),
                Some(late) => format!("met, {} later", lasting(-late)),
                None => "not met".to_owned(),
            };
            out += &format!("  incident {id}, {}: {told}\n", clean(title));
        }
        let alone = self.alone(incidents);
        if alone > 0 && !incidents.is_empty() {
            out += &format!("  {alone} of these met no incident\n");
        }
        out
    }

    fn json(&self, incidents: &[(u64, String, Happening)]) -> Value {
        let time = |millis: i64| {
            Timestamp::from_millisecond(millis).map(|time| time.to_string()).unwrap_or_default()
        };
        let firings: Vec<Value> = (self.firings.iter())
            .map(|firing| json!({"from": time(firing.from), "to": firing.to.map(time)}))
            .collect();
        let met: Vec<Value> = (incidents.iter())
            .map(|(id, title, happening)| {
                let early = earlier(&self.firings, happening);
                json!({
                    "incident": id,
                    "title": title,
                    "earlier_seconds": early.map(|early| early as f64 / 1000.0),
                })
            })
            .collect();
        json!({
            "alert": self.alert,
            "place": self.place,
            "firings": firings,
            "met_no_incident": self.alone(incidents),
            "incidents": met,
        })
    }
}

/// Writes how long something lasted.
fn lasting(millis: i64) -> String {
    let seconds = millis / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
