//! `marline alerts`: what fires, and whom Alertmanager's configuration would tell.

use std::path::PathBuf;

use explain::words;
use jiff::Timestamp;
use journal::{Labels, View};
use serde_json::json;
use source::Finding;
use source::alertmanager::{self, Config, GroupBy, Route, matcher};
use source::render::{self, Look};
use watch::dispatch::{ALERT_NAME, Alert, Dispatcher, Muted, Present};

use super::timeline::{clean, paint, tell};
use crate::cli::{AlertsArgs, AlertsCheckArgs, AlertsCommand, AlertsRouteArgs, Global};
use crate::conductor::notify::{self, CONFIGURATION};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Lists alerts, or asks the configuration.
pub fn run(args: &AlertsArgs, global: &Global) -> Outcome {
    match &args.command {
        None => list(global),
        Some(AlertsCommand::Check(args)) => check(args, global),
        Some(AlertsCommand::Route(args)) => route(args, global),
    }
}

fn list(global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let view = if here.state.exists() { here.journal()?.view()? } else { journal::View::default() };
    let now = Timestamp::now();
    let present = Present::of(&view, now);
    let dispatcher = dispatcher(&here, &view)?;
    let firing: Vec<Listed> = (present.alerts.values())
        .filter(|alert| alert.ended.is_none())
        .map(|alert| Listed::new(alert, dispatcher.as_ref(), &present, &view, now))
        .collect();
    if global.json {
        let all: Vec<_> = firing.iter().map(Listed::json).collect();
        tell(&format!("{}\n", serde_json::Value::from(all)))?;
        return Ok(Exit::Done);
    }
    let mut out: String = firing.iter().map(|alert| alert.line(global.colour(), now)).collect();
    if out.is_empty() {
        out.push_str("no alert fires\n");
    }
    tell(&out)?;
    if dispatcher.is_none() && !firing.is_empty() {
        eprintln!("nobody is told: the newest release has no {CONFIGURATION}");
    }
    Ok(Exit::Done)
}

/// Returns whom the newest release would tell; nothing if it says nothing about that.
fn dispatcher(here: &Here, view: &View) -> Result<Option<Dispatcher>, Failure> {
    let Some((release, _)) = view.newest_release() else { return Ok(None) };
    let path = deploy::ReleaseStore::open(here.state.releases())?.files(release);
    let Ok(text) = std::fs::read_to_string(path.join(CONFIGURATION)) else { return Ok(None) };
    Ok(alertmanager::read(CONFIGURATION, &text).0.map(Dispatcher::new))
}

/// An alert that fires, and what became of it.
struct Listed<'a> {
    alert: &'a Alert,
    receivers: Vec<String>,
    muted: Vec<Muted>,
    /// The channels that were told, and when.
    told: Vec<(&'a str, Timestamp)>,
}

impl<'a> Listed<'a> {
    fn new(
        alert: &'a Alert,
        dispatcher: Option<&Dispatcher>,
        present: &Present,
        view: &'a View,
        now: Timestamp,
    ) -> Self {
        let fingerprint = alert.fingerprint();
        let told = view.notified.iter().filter(|(_, told)| told.firing.contains(&fingerprint));
        let mut told: Vec<_> =
            told.map(|((channel, _), told)| (channel.as_str(), told.at)).collect();
        told.sort_by_key(|(_, at)| *at);
        let receivers = dispatcher.map(|dispatcher| dispatcher.receivers(alert));
        let receivers = receivers.unwrap_or_default().into_iter().map(str::to_owned).collect();
        let muted = match dispatcher {
            Some(dispatcher) => dispatcher.muted(alert, now, present),
            None => Vec::new(),
        };
        Self { alert, receivers, muted, told }
    }

    fn labels(&self) -> impl Iterator<Item = (&String, &String)> {
        self.alert.labels.iter().filter(|(name, _)| *name != ALERT_NAME)
    }

    fn line(&self, colour: bool, now: Timestamp) -> String {
        let pairs: Vec<String> =
            self.labels().map(|(name, value)| format!("{name}={value:?}")).collect();
        let (sign, shade) = if self.muted.is_empty() { ("✗", "31") } else { ("–", "2") };
        let sign = paint(colour, shade, sign);
        let since = words::relative(self.alert.started, now);
        let name = clean(self.alert.name());
        let mut out = format!("{sign} {name}  {}  {since}\n", clean(&pairs.join(", ")));
        let mut add = |text: String| out += &format!("    {}\n", paint(colour, "2", &clean(&text)));
        if let Some(summary) = self.alert.annotations.get("summary") {
            add(summary.clone());
        }
        if self.alert.is_flapping {
            add("comes and goes; its end is told once it has been calm for a while".to_owned());
        }
        for muted in &self.muted {
            add(muted.to_string());
        }
        if let Some((_, at)) = self.told.last() {
            let mut channels: Vec<&str> = self.told.iter().map(|(channel, _)| *channel).collect();
            channels.dedup();
            add(format!("told {} to {}", words::relative(*at, now), channels.join(", ")));
        } else if self.muted.is_empty() && !self.receivers.is_empty() {
            add(format!("goes to {}", self.receivers.join(", ")));
        }
        out
    }

    fn json(&self) -> serde_json::Value {
        let labels: Labels = self.labels().map(|(n, v)| (n.clone(), v.clone())).collect();
        let told = self.told.iter().map(|(channel, at)| json!({"channel": channel, "at": at}));
        let muted =
            self.muted.iter().map(|muted| json!({"by": by(muted), "why": muted.to_string()}));
        json!({
            "alert": self.alert.name(),
            "labels": labels,
            "annotations": self.alert.annotations,
            "value": self.alert.value,
            "since": self.alert.started,
            "fingerprint": self.alert.fingerprint(),
            "flapping": self.alert.is_flapping,
            "state": if self.muted.is_empty() { "active" } else { "suppressed" },
            "muted": muted.collect::<Vec<_>>(),
            "receivers": self.receivers,
            "told": told.collect::<Vec<_>>(),
        })
    }
}

fn by(muted: &Muted) -> &'static str {
    match muted {
        Muted::Silenced(_) => "silence",
        Muted::Inhibited { .. } => "inhibition",
        Muted::PartOf(_) => "incident",
        Muted::OutOfTime(_) | Muted::NotActive(_) => "time",
    }
}

/// A file as it was read.
struct Text {
    path: String,
    text: String,
}

fn read(path: Option<&PathBuf>, global: &Global) -> Result<Text, Failure> {
    let path = match path {
        Some(path) => global.directory.join(path),
        None => Here::find(global)?.repository.root().join(CONFIGURATION),
    };
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let exit = if is_missing { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, format!("could not read {shown}: {error}"))
            .help("name the file: marline alerts check FILE, marline alerts route --file FILE")
    })?;
    Ok(Text { path: shown, text })
}

/// Prints findings; the values of settings are secrets more often than not, so that the lines of
/// the file are shown without what stands behind a key.
fn told(findings: &[Finding], text: &Text, global: &Global) -> String {
    let look = if global.colour() { Look::Colour } else { Look::Plain };
    render::text(findings, look, |path| (path == text.path).then(|| without_values(&text.text)))
}

/// Puts dots in place of what keys with the words of secrets hold, and of what goes on below them.
pub fn without_values(text: &str) -> String {
    const SECRET: [&str; 7] = ["key", "token", "secret", "password", "url", "credentials", "auth"];
    let mut out = String::with_capacity(text.len());
    let mut hidden_below = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start_matches([' ', '-']);
        let depth = line.len() - trimmed.len();
        let is_blank = trimmed.trim().is_empty();
        let dots = |out: &mut String, part: &str| {
            out.extend(part.chars().map(|c| if c.is_whitespace() { c } else { '•' }));
        };
        if hidden_below.is_some_and(|below| depth > below) || (hidden_below.is_some() && is_blank) {
            dots(&mut out, line);
            continue;
        }
        hidden_below = None;
        let has_word = |text: &str| SECRET.iter().any(|word| text.to_lowercase().contains(word));
        match line.split_once(':') {
            // A line in braces may hold the key anywhere, so that all of it is hidden.
            Some((key, value)) if has_word(line) => {
                out.push_str(key);
                out.push(':');
                dots(&mut out, value);
                hidden_below = has_word(key).then_some(depth);
            }
            _ => out.push_str(line),
        }
    }
    out
}

fn check(args: &AlertsCheckArgs, global: &Global) -> Outcome {
    let files: Vec<Option<&PathBuf>> =
        if args.files.is_empty() { vec![None] } else { args.files.iter().map(Some).collect() };
    let mut is_wrong = false;
    let mut all = Vec::new();
    for file in files {
        let text = read(file, global)?;
        let (config, mut findings) = alertmanager::read(&text.path, &text.text);
        if let Some(config) = &config {
            let path = std::path::Path::new(&text.path);
            let folder = path.parent().unwrap_or(path);
            findings.extend(notify::findings(&text.path, config, folder));
        }
        let is_bad = findings.iter().any(Finding::is_error);
        is_wrong |= is_bad;
        if global.json {
            all.push(json!({"path": text.path, "findings": findings}));
            continue;
        }
        let mut out = told(&findings, &text, global);
        if !out.is_empty() {
            out.push('\n');
        }
        let (sign, colour) = if is_bad { ("✗", "31") } else { ("✓", "32") };
        out += &format!("{} {}", paint(global.colour(), colour, sign), clean(&text.path));
        if let (false, Some(config)) = (is_bad, &config) {
            let routes = count(&config.route);
            let parts = [
                (routes, "route"),
                (config.receivers.len(), "receiver"),
                (config.inhibitions.len(), "inhibition"),
                (config.intervals.len(), "time interval"),
            ];
            let parts: Vec<String> = (parts.iter())
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| {
                    format!("{count} {what}{}", if *count == 1 { "" } else { "s" })
                })
                .collect();
            out += &format!("  {}", parts.join(", "));
        }
        out.push('\n');
        tell(&out)?;
    }
    if global.json {
        tell(&format!("{}\n", serde_json::Value::from(all)))?;
    }
    Ok(if is_wrong { Exit::Failed } else { Exit::Done })
}

fn count(route: &Route) -> usize {
    1 + route.routes.iter().map(count).sum::<usize>()
}

fn route(args: &AlertsRouteArgs, global: &Global) -> Outcome {
    let text = read(args.file.as_ref(), global)?;
    let (config, findings) = alertmanager::read(&text.path, &text.text);
    if findings.iter().any(Finding::is_error) {
        eprint!("{}", told(&findings, &text, global));
    }
    let is_whole = !findings.iter().any(Finding::is_error);
    let Some(config) = config.filter(|_| is_whole) else {
        return Err(Failure::new(Exit::Failed, format!("{} cannot be used", text.path)));
    };
    if args.labels.is_empty() {
        tell(&tree(&config.route, ""))?;
        return Ok(Exit::Done);
    }
    let mut labels = Vec::new();
    for written in &args.labels {
        let read = matcher::parse(written).map_err(|error| {
            Failure::new(Exit::Usage, format!("`{written}` is no label: {error}"))
                .help("marline alerts route severity=page service=web")
        })?;
        if let Some(other) = read.iter().find(|label| label.op != matcher::Op::Equal) {
            return Err(Failure::new(Exit::Usage, format!("`{other}` is not a value of a label"))
                .help("write it as name=value"));
        }
        labels.extend(read);
    }
    let get = |name: &str| {
        let own = labels.iter().find(|label| label.name == name);
        own.map(|label| label.value.clone()).unwrap_or_default()
    };
    let routes = config.routes_of(&get);
    let receivers: Vec<&str> = routes.iter().map(|route| route.receiver.as_str()).collect();
    if global.json {
        let routes: Vec<_> = routes.iter().map(|route| told_json(route, &config)).collect();
        tell(&format!("{}\n", serde_json::Value::from(routes)))?;
    } else {
        tell(&format!("{}\n", clean(&receivers.join(","))))?;
    }
    match &args.expect {
        Some(wanted) if *wanted != receivers.join(",") => Err(Failure::new(
            Exit::Failed,
            format!("expected {wanted}, and it would go to {}", receivers.join(",")),
        )),
        _ => Ok(Exit::Done),
    }
}

fn told_json(route: &Route, config: &Config) -> serde_json::Value {
    let by = match &route.group_by {
        GroupBy::Each => json!(["..."]),
        GroupBy::Labels(labels) => json!(labels),
    };
    let receiver = config.receiver(&route.receiver);
    let ways: Vec<&str> = receiver
        .iter()
        .flat_map(|receiver| &receiver.integrations)
        .map(|integration| integration.kind.name)
        .collect();
    json!({
        "receiver": route.receiver,
        "integrations": ways,
        "group_by": by,
        "group_wait_seconds": route.group_wait.as_secs_f64(),
        "group_interval_seconds": route.group_interval.as_secs_f64(),
        "repeat_interval_seconds": route.repeat_interval.as_secs_f64(),
        "muted": route.muted,
        "active": route.active,
        "line": route.span.start.line,
    })
}

/// Draws the tree of routes.
fn tree(route: &Route, indent: &str) -> String {
    let matchers: Vec<String> = route.matchers.iter().map(ToString::to_string).collect();
    let what = if indent.is_empty() { "everything".to_owned() } else { matchers.join(", ") };
    let more = if route.goes_on { ", and goes on" } else { "" };
    let mut out = format!("{indent}{}  → {}{more}\n", clean(&what), clean(&route.receiver));
    let deeper = format!("{indent}  ");
    for child in &route.routes {
        out += &tree(child, &deeper);
    }
    out
}
