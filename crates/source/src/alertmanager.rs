//! Alertmanager's configuration, read with positions.
//!
//! [`read`] checks what Alertmanager checks when it loads a file: keys, receivers that routes name,
//! intervals, matchers, and what each integration must have. Values of secrets are never part of a
//! finding.
//!
//! | module | is |
//! |---|---|
//! | [`matcher`] | `severity=~"page|ticket"` |
//! | [`times`] | when a route is muted or active |
//! | [`forward`] | to which real Alertmanagers alerts are sent |
//! | [`integration`] | what each kind of receiver takes |

pub mod forward;
mod integration;
pub mod matcher;
pub mod times;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rules::parse_duration;
use crate::yaml::{self, Findings, Node};
use crate::{Finding, Span, Spanned};

pub use integration::{Integration, Kind};
pub use matcher::Matcher;
pub use times::Interval;

/// A configuration of Alertmanager.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `global`: the settings that integrations fall back to.
    pub global: BTreeMap<String, Node>,
    /// `route`: the root, which every alert fits.
    pub route: Route,
    /// `receivers`, in the order written.
    pub receivers: Vec<Receiver>,
    /// `inhibit_rules`.
    pub inhibitions: Vec<Inhibition>,
    /// `time_intervals` and `mute_time_intervals`.
    pub intervals: Vec<Interval>,
    /// `templates`: paths and patterns.
    pub templates: Vec<Spanned<String>>,
}

/// A node of the tree that alerts go down.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Where it stands.
    pub span: Span,
    /// `receiver`, its own or that of the nearest above.
    pub receiver: String,
    /// What an alert must fulfil: `matchers`, `match` and `match_re` together.
    pub matchers: Vec<Matcher>,
    /// `continue`: whether an alert that fits goes on to the next.
    pub goes_on: bool,
    /// `group_by`.
    pub group_by: GroupBy,
    /// `group_wait`: before the first notification of a group.
    pub group_wait: Duration,
    /// `group_interval`: before a notification about what changed in a group.
    pub group_interval: Duration,
    /// `repeat_interval`: before the same is said again.
    pub repeat_interval: Duration,
    /// `mute_time_intervals`.
    pub muted: Vec<String>,
    /// `active_time_intervals`.
    pub active: Vec<String>,
    /// `routes` below it.
    pub routes: Vec<Route>,
}

/// By what alerts are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// Each alert by itself: `['...']`.
    Each,
    /// Alerts with the same values of these labels.
    Labels(Vec<String>),
}

/// Who is told, by which ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiver {
    /// `name`, unique.
    pub name: Spanned<String>,
    /// Its integrations, in the order written.
    pub integrations: Vec<Integration>,
}

/// Alerts that keep others quiet.
#[derive(Debug, Clone, PartialEq)]
pub struct Inhibition {
    /// Where it stands.
    pub span: Span,
    /// What the alert that fires must fulfil.
    pub source: Vec<Matcher>,
    /// What the alert that is kept quiet must fulfil.
    pub target: Vec<Matcher>,
    /// The labels that both must have alike.
    pub equal: Vec<String>,
}

const FILE_KEYS: &[&str] = &[
    "global",
    "templates",
    "route",
    "receivers",
    "inhibit_rules",
    "mute_time_intervals",
    "time_intervals",
    "tracing",
];
const ROUTE_KEYS: &[&str] = &[
    "receiver",
    "group_by",
    "continue",
    "match",
    "match_re",
    "matchers",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
    "routes",
];

impl Config {
    /// Returns the routes that an alert takes, as indices from the root down; never none.
    pub fn routes_of(&self, get: &dyn Fn(&str) -> String) -> Vec<&Route> {
        let mut found = Vec::new();
        descend(&self.route, get, &mut found);
        found
    }

    /// Returns a receiver by its name.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name.value == name)
    }
}

/// As Alertmanager's `Route.Match`: the deepest that fit; the node itself if none below does.
fn descend<'a>(route: &'a Route, get: &dyn Fn(&str) -> String, found: &mut Vec<&'a Route>) -> bool {
    if !route.matchers.iter().all(|matcher| matcher.fits(&get(&matcher.name))) {
        return false;
    }
    let mut is_below = false;
    for child in &route.routes {
        let fits = descend(child, get, found);
        is_below |= fits;
        if fits && !child.goes_on {
            break;
        }
    }
    if !is_below {
        found.push(route);
    }
    true
}

/// Reads a configuration: what could be read, and everything that is wrong with it.
///
/// There is none without a route, for nothing would be told to anybody.
pub fn read(path: &str, text: &str) -> (Option<Config>, Vec<Finding>) {
    let options = yaml::Options { merge_keys: true, ..yaml::Options::default() };
    let (root, faults) = yaml::read(path, text, &options);
    let mut findings = Findings::new(path);
    let is_broken = !faults.is_empty();
    findings.extend(faults);
    let config = match &root {
        Some(root) => config(root, &mut findings),
        None if is_broken => None,
        None => {
            let start = crate::Position::new(1, 1);
            findings.error("alertmanager-route", "there is no `route`", Span::at(start)).help =
                Some("add `route: {receiver: NAME}` and `receivers`".to_owned());
            None
        }
    };
    (config, findings.into_sorted())
}

fn config(root: &Node, findings: &mut Findings) -> Option<Config> {
    known(root, FILE_KEYS, findings)?;
    let global = optional(root, "global").map(|node| integration::global(node, findings));
    let global = global.unwrap_or_default();
    let mut intervals: Vec<Interval> = Vec::new();
    for key in ["mute_time_intervals", "time_intervals"] {
        for node in items(root, key, findings) {
            let Some(interval) = times::interval(node, findings) else { continue };
            if intervals.iter().any(|other| other.name.value == interval.name.value) {
                let message = format!("the interval `{}` is there already", interval.name.value);
                findings.error("alertmanager-interval", message, interval.name.span);
            }
            intervals.push(interval);
        }
    }
    let mut receivers: Vec<Receiver> = Vec::new();
    for node in items(root, "receivers", findings) {
        let Some(receiver) = integration::receiver(node, &global, findings) else { continue };
        if receivers.iter().any(|other| other.name.value == receiver.name.value) {
            let message = format!("the receiver `{}` is there already", receiver.name.value);
            findings.error("alertmanager-receiver", message, receiver.name.span);
        }
        receivers.push(receiver);
    }
    let inhibitions = items(root, "inhibit_rules", findings);
    let inhibitions = inhibitions.iter().filter_map(|node| inhibition(node, findings)).collect();
    let templates = items(root, "templates", findings);
    let templates = templates
        .iter()
        .filter_map(|node| Some(Spanned::new(node.expect_scalar(findings)?.to_owned(), node.span)))
        .collect();
    let Some(node) = optional(root, "route") else {
        findings.error("alertmanager-route", "there is no `route`", root.span.first()).help =
            Some("add `route: {receiver: NAME}`".to_owned());
        return None;
    };
    let names = Names { receivers: &receivers, intervals: &intervals };
    let top = Inherited {
        receiver: None,
        group_by: GroupBy::Labels(Vec::new()),
        group_wait: Duration::from_secs(30),
        group_interval: Duration::from_mins(5),
        repeat_interval: Duration::from_hours(4),
    };
    let route = route(node, &top, &names, true, findings)?;
    Some(Config { global, route, receivers, inhibitions, intervals, templates })
}

struct Names<'a> {
    receivers: &'a [Receiver],
    intervals: &'a [Interval],
}

/// What a route takes from the one above where it says nothing.
#[derive(Clone)]
struct Inherited {
    receiver: Option<String>,
    group_by: GroupBy,
    group_wait: Duration,
    group_interval: Duration,
    repeat_interval: Duration,
}

fn route(
    node: &Node,
    above: &Inherited,
    names: &Names,
    is_root: bool,
    findings: &mut Findings,
) -> Option<Route> {
    known(node, ROUTE_KEYS, findings)?;
    let mut own = above.clone();
    if let Some(receiver) = optional(node, "receiver") {
        let name = receiver.expect_scalar(findings)?;
        if !names.receivers.iter().any(|known| known.name.value == name) {
            let known = names.receivers.iter().map(|known| known.name.value.as_str());
            let message = format!("no receiver is called `{name}`");
            findings.error("alertmanager-receiver", message, receiver.span).help =
                yaml::did_you_mean(name, known).map(|near| format!("did you mean `{near}`?"));
        }
        own.receiver = Some(name.to_owned());
    }
    if optional(node, "group_by").is_some() {
        own.group_by = group_by(node, findings);
    }
    let matchers = matchers(node, "matchers", "match", "match_re", findings);
    let goes_on = optional(node, "continue").and_then(|node| node.expect_boolean(findings));
    for (key, value, least) in [
        ("group_wait", &mut own.group_wait, Duration::ZERO),
        ("group_interval", &mut own.group_interval, Duration::from_millis(1)),
        ("repeat_interval", &mut own.repeat_interval, Duration::from_millis(1)),
    ] {
        let Some(given) = duration(node, key, findings) else { continue };
        if given.value < least {
            let message = format!("`{key}` must be longer than nothing");
            findings.error("alertmanager-interval", message, given.span);
        }
        *value = given.value;
    }
    let intervals = |key: &str, findings: &mut Findings| {
        let mut found = Vec::new();
        for node in items(node, key, findings) {
            let Some(name) = node.expect_scalar(findings) else { continue };
            if !names.intervals.iter().any(|known| known.name.value == name) {
                let message = format!("no time interval is called `{name}`");
                let known = names.intervals.iter().map(|known| known.name.value.as_str());
                findings.error("alertmanager-interval", message, node.span).help =
                    yaml::did_you_mean(name, known).map(|near| format!("did you mean `{near}`?"));
            }
            found.push(name.to_owned());
        }
        found
    };
    let muted = intervals("mute_time_intervals", findings);
    let active = intervals("active_time_intervals", findings);
    if is_root {
        for key in ["match", "match_re", "matchers", "mute_time_intervals", "active_time_intervals"]
        {
            if let Some((key, value)) = node.entry(key)
                && value.size() > 1
            {
                let message =
                    format!("the root route has no `{}`", key.as_str().unwrap_or_default());
                findings.error("alertmanager-root", message, key.span).help =
                    Some("every alert must fit the root; put it on a route below".to_owned());
            }
        }
        if goes_on == Some(true)
            && let Some((key, _)) = node.entry("continue")
        {
            let message = "the root route has nothing to continue to";
            findings.error("alertmanager-root", message, key.span);
        }
        if own.receiver.as_deref().is_none_or(str::is_empty) {
            let message = "the root route must have a `receiver`";
            findings.error("alertmanager-root", message, node.span.first()).help =
                Some("it gets what no other route takes".to_owned());
        }
    }
    let routes = items(node, "routes", findings);
    let routes: Vec<Route> =
        routes.iter().filter_map(|node| route(node, &own, names, false, findings)).collect();
    Some(Route {
        span: node.span,
        receiver: own.receiver.unwrap_or_default(),
        matchers,
        goes_on: goes_on.unwrap_or(false),
        group_by: own.group_by,
        group_wait: own.group_wait,
        group_interval: own.group_interval,
        repeat_interval: own.repeat_interval,
        muted,
        active,
        routes,
    })
}

fn group_by(node: &Node, findings: &mut Findings) -> GroupBy {
    let mut labels: Vec<String> = Vec::new();
    let mut each = None;
    for node in items(node, "group_by", findings) {
        let Some(name) = node.expect_scalar(findings) else { continue };
        if name == "..." {
            each = Some(node.span);
        } else if labels.iter().any(|other| other == name) {
            let message = format!("`{name}` is in `group_by` already");
            findings.error("alertmanager-group-by", message, node.span);
        } else if name.is_empty() {
            findings.error("alertmanager-group-by", "a label has a name", node.span);
        } else {
            labels.push(name.to_owned());
        }
    }
    match each {
        Some(span) if !labels.is_empty() => {
            let message = "`...` stands alone: with it each alert is a group of its own";
            findings.error("alertmanager-group-by", message, span);
            GroupBy::Each
        }
        Some(_) => GroupBy::Each,
        None => GroupBy::Labels(labels),
    }
}

fn inhibition(node: &Node, findings: &mut Findings) -> Option<Inhibition> {
    const KEYS: &[&str] = &[
        "name",
        "source_match",
        "source_match_re",
        "source_matchers",
        "target_match",
        "target_match_re",
        "target_matchers",
        "equal",
        "sources",
    ];
    known(node, KEYS, findings)?;
    if let Some((key, _)) = node.entry("sources") {
        findings.error("alertmanager-inhibit", "`sources` is not supported", key.span).help =
            Some("write a rule for each with `source_matchers`".to_owned());
    }
    let source = matchers(node, "source_matchers", "source_match", "source_match_re", findings);
    let target = matchers(node, "target_matchers", "target_match", "target_match_re", findings);
    let equal = items(node, "equal", findings);
    let equal = equal.iter().filter_map(|node| node.expect_scalar(findings).map(str::to_owned));
    let equal = equal.collect();
    Some(Inhibition { span: node.span, source, target, equal })
}

/// Reads the three ways to write what an alert must fulfil.
fn matchers(
    node: &Node,
    list: &str,
    equal: &str,
    regex: &str,
    findings: &mut Findings,
) -> Vec<Matcher> {
    let mut found = Vec::new();
    for (key, op) in [(equal, matcher::Op::Equal), (regex, matcher::Op::Regex)] {
        let entries = optional(node, key).and_then(|node| node.expect_mapping(findings));
        for (name, value) in entries.unwrap_or_default() {
            let name = name.expect_scalar(findings);
            let text = if value.is_null() { Some("") } else { value.expect_scalar(findings) };
            let (Some(name), Some(text)) = (name, text) else { continue };
            match Matcher::new(name, op, text) {
                Ok(matcher) => found.push(matcher),
                Err(why) => drop(findings.error("alertmanager-matcher", why, value.span)),
            }
        }
    }
    for item in items(node, list, findings) {
        let Some(text) = item.expect_scalar(findings) else { continue };
        match matcher::parse(text) {
            Ok(more) => found.extend(more),
            Err(error) => {
                let scalar = item.as_scalar();
                let span = scalar.map_or(item.span, |scalar| scalar.span_of(error.at..text.len()));
                findings.error("alertmanager-matcher", error.message, span).help =
                    Some("write it as `name=\"value\"`, with `=`, `!=`, `=~` or `!~`".to_owned());
            }
        }
    }
    found
}

/// The items of a list that may be left out.
fn items<'a>(node: &'a Node, key: &str, findings: &mut Findings) -> &'a [Node] {
    optional(node, key).and_then(|items| items.expect_sequence(findings)).unwrap_or_default()
}

fn optional<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !value.is_null())
}

fn known(node: &Node, keys: &[&str], findings: &mut Findings) -> Option<()> {
    for (key, _) in node.expect_mapping(findings)? {
        if !key.as_str().is_some_and(|name| keys.contains(&name)) {
            findings.unknown_key(key, keys);
        }
    }
    Some(())
}

fn duration(node: &Node, key: &str, findings: &mut Findings) -> Option<Spanned<Duration>> {
    let value = optional(node, key)?;
    let text = value.expect_scalar(findings)?;
    let duration = parse_duration(text);
    if duration.is_none() {
        let message = format!("`{text}` is not a duration");
        findings.error("alertmanager-duration", message, value.span).help =
            Some("write a number and a unit: `30s`, `5m`, `1h30m`".to_owned());
    }
    Some(Spanned::new(duration?, value.span))
}
