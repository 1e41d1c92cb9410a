//! Prometheus rule files at work: recording rules write series, alerting rules fire and resolve.
//!
//! [`Rules::new`] takes what `source::rules` read and finds what is wrong in queries and templates;
//! [`Rules::evaluate`] is called with the time and evaluates the groups that are due. Between two
//! calls the state of the alerts is in the value, and in the series `ALERTS` and
//! `ALERTS_FOR_STATE` as Prometheus writes them, from which [`Rules::resuming`] takes it up again.

pub mod automatic;
pub mod backtest;
pub mod unit_test;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use promql::{EvalError, Expr, Quantity, Value};
use series::{
    AppendError, Labels, METRIC_NAME, Matcher, Millis, Row, STALE, Select, Store, is_stale,
};
use source::rules::{Query, RuleFile, RuleKind};
use source::{Finding, Place};

use crate::restart::between;
use crate::template::{Scope, Template, Value as Filling};

/// The rules of some files, ready to be evaluated.
#[derive(Debug, Default)]
pub struct Rules {
    groups: Vec<Group>,
    /// Whether groups take their alerts up from the series when they are first evaluated.
    resumes: bool,
    outside: Outside,
}

/// What rules know of the world around them.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Where people reach the pages: `$externalURL`.
    pub url: String,
    /// `$externalLabels`.
    pub labels: Labels,
}

impl Default for Outside {
    fn default() -> Self {
        Self { url: String::new(), labels: Labels::empty() }
    }
}

#[derive(Debug)]
struct Group {
    name: String,
    interval: Duration,
    query_offset: Duration,
    limit: u64,
    evaluated: Option<Timestamp>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    expr: Expr,
    labels: Vec<(String, Template)>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Record {
        /// What was written the last time; what is missing the next time ends.
        written: HashSet<Labels>,
    },
    Alert {
        hold: Duration,
        keep_firing: Duration,
        annotations: Vec<(String, Template)>,
        active: HashMap<Labels, Active>,
        /// What was written the last time of `ALERTS` and `ALERTS_FOR_STATE`.
        written: HashSet<Labels>,
    },
}

/// An alert whose condition holds, or held until lately.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// The name of the rule.
    pub alert: String,
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations with their values.
    pub annotations: Vec<(String, String)>,
    /// The value of its expression when the condition last held.
    pub value: f64,
    /// Since when the condition holds.
    pub since: Timestamp,
    /// Since when it fires; before that it is pending.
    pub fires_since: Option<Timestamp>,
    /// Since when the condition does not hold any more, while `keep_firing_for` keeps it.
    pub ended: Option<Timestamp>,
    /// Until when it stays although nobody saw its condition: an earlier process did, and the
    /// numbers of this one are not back.
    pub kept_until: Option<Timestamp>,
}

/// What an evaluation changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The condition has held for long enough.
    Fired(Active),
    /// It does not hold any more.
    Resolved(Active),
}

impl Change {
    /// Returns the change as the journal keeps it.
    pub fn recorded(&self) -> journal::Fact {
        let labels = |active: &Active| {
            let others = active.labels.iter().filter(|(name, _)| *name != ALERT_NAME);
            others.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        match self {
            Change::Fired(active) => journal::Fact::AlertFired {
                alert: active.alert.clone(),
                labels: labels(active),
                annotations: active.annotations.iter().cloned().collect(),
                value: promql::evaluate::print(active.value),
            },
            Change::Resolved(active) => {
                journal::Fact::AlertResolved { alert: active.alert.clone(), labels: labels(active) }
            }
        }
    }
}

/// Why a rule could not be evaluated. Its alerts stay as they are: what cannot be asked is
/// unknown, not resolved.
#[derive(Debug, thiserror::Error)]
#[error("evaluate the rule `{rule}` of group `{group}`")]
pub struct RuleError {
    /// The group.
    pub group: String,
    /// The rule.
    pub rule: String,
    /// Why.
    #[source]
    pub source: Fault,
}

/// What stood in the way of a rule.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The query has no answer.
    #[error("ask the series")]
    Query(#[source] EvalError),
    /// The result could not be written.
    #[error("write the result")]
    Write(#[source] AppendError),
    /// Two series of the result became one by the labels of the rule.
    #[error("two series of the result have the same labels after the rule's own: {labels}")]
    SameLabels {
        /// The labels.
        labels: Labels,
    },
    /// There are more than the group allows.
    #[error("the rule gives {count}, and its group allows {limit}")]
    Limit {
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: u64,
    },
    /// The result is a distribution, which rules cannot keep.
    #[error("the rule gives a histogram for {labels}, not a number")]
    Histogram {
        /// Of which series.
        labels: Labels,
    },
    /// The result is a text.
    #[error("the rule gives a text, not numbers")]
    Text,
}

/// What one evaluation gave.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// What changed, in the order of the rules.
    pub changes: Vec<Change>,
    /// Rules that could not be evaluated.
    pub errors: Vec<RuleError>,
}

const ALERT_NAME: &str = "alertname";
const ALERT_STATE: &str = "alertstate";

/// What templates of rules may name.
const VARIABLES: [&str; 4] = ["labels", "value", "externalLabels", "externalURL"];

/// How far back the state of an alert is taken up, as Prometheus' `--rules.alert.for-outage-tolerance`.
const OUTAGE: Duration = Duration::from_hours(1);

/// How long an alert that fired stays after a start when its numbers are missing: as long as a
/// number stands for "now".
const NUMBERS_BACK_AFTER: Duration = Duration::from_mins(5);

impl Rules {
    /// Adds the rules of a file, with everything that is wrong in its queries and templates.
    /// A rule with an error is left out. `interval` is for groups that name none.
    pub fn add(&mut self, path: &str, file: &RuleFile, interval: Duration) -> Vec<Finding> {
        let mut findings = Vec::new();
        for group in &file.groups {
            let rules =
                group.rules.iter().filter_map(|rule| compile(path, group, rule, &mut findings));
            self.groups.push(Group {
                rules: rules.collect(),
                name: group.name.value.clone(),
                interval: group.interval.as_ref().map_or(interval, |interval| interval.value),
                query_offset: group
                    .query_offset
                    .as_ref()
                    .map_or(Duration::ZERO, |offset| offset.value),
                limit: group.limit.as_ref().map_or(0, |limit| limit.value),
                evaluated: None,
            });
        }
        findings
    }

    /// Returns the rules of one file, with everything that is wrong in its queries and templates.
    pub fn new(path: &str, file: &RuleFile, interval: Duration) -> (Self, Vec<Finding>) {
        let mut rules = Self::default();
        let findings = rules.add(path, file, interval);
        (rules, findings)
    }

    /// Takes alerts up from the series when a group is first evaluated, as an earlier process left
    /// them.
    #[must_use]
    pub fn resuming(self) -> Self {
        Self { resumes: true, ..self }
    }

    /// Says what `$externalURL` and `$externalLabels` are.
    #[must_use]
    pub fn outside(self, outside: Outside) -> Self {
        Self { outside, ..self }
    }

    /// Evaluates the groups that are due and says what changed.
    pub fn evaluate(&mut self, store: &Store, now: Timestamp) -> Evaluated {
        self.evaluate_if(store, store, now, |group| {
            group.evaluated.is_none_or(|last| between(last, now) >= group.interval)
        })
    }

    /// Asks a source that shows what is written to the store, and perhaps more.
    fn evaluate_if(
        &mut self,
        source: &dyn Select,
        store: &Store,
        now: Timestamp,
        is_due: impl Fn(&Group) -> bool,
    ) -> Evaluated {
        let mut evaluated = Evaluated::default();
        for group in self.groups.iter_mut().filter(|group| is_due(group)) {
            let is_first = group.evaluated.is_none();
            group.evaluated = Some(now);
            let asked = now.as_millisecond().saturating_sub(group.query_offset.as_millis() as i64);
            for rule in &mut group.rules {
                if is_first && self.resumes {
                    rule.resume(store, now);
                }
                let moment = Moment { source, store, asked, now, outside: &self.outside };
                if let Err(source) = rule.evaluate(&moment, group.limit, &mut evaluated.changes) {
                    let (group, rule) = (group.name.clone(), rule.name.clone());
                    evaluated.errors.push(RuleError { group, rule, source });
                }
            }
        }
        evaluated
    }

    /// Returns when the next group is due; nothing without a group.
    pub fn due(&self) -> Option<Timestamp> {
        let next = |group: &Group| match group.evaluated {
            Some(last) => last.saturating_add(group.interval).unwrap_or(Timestamp::MAX),
            None => Timestamp::MIN,
        };
        self.groups.iter().map(next).min()
    }

    /// Gives the names of the alerting rules.
    pub fn alerts(&self) -> impl Iterator<Item = &str> {
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        rules.filter(|rule| matches!(rule.kind, Kind::Alert { .. })).map(|rule| rule.name.as_str())
    }

    /// Gives every alert that is pending or fires.
    pub fn active(&self) -> impl Iterator<Item = &Active> {
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        rules
            .filter_map(|rule| match &rule.kind {
                Kind::Alert { active, .. } => Some(active.values()),
                Kind::Record { .. } => None,
            })
            .flatten()
    }
}

fn compile(
    path: &str,
    group: &source::rules::Group,
    rule: &source::rules::Rule,
    findings: &mut Vec<Finding>,
) -> Option<Rule> {
    let before = findings.len();
    let expr = parse(path, &rule.query, findings);
    let mut templates = |labels: &[source::rules::Label]| -> Vec<(String, Template)> {
        labels
            .iter()
            .filter_map(|label| match Template::parse(&label.value.value, &VARIABLES) {
                Ok(template) => Some((label.name.value.clone(), template)),
                Err(error) => {
                    let place = Place::at(path, label.value.span);
                    let message = format!(
                        "the template of `{}` cannot be used: {}",
                        label.name.value, error.message
                    );
                    let mut finding = Finding::error("rule-template", message, place);
                    finding.help = error.help;
                    findings.push(finding);
                    None
                }
            })
            .collect()
    };
    // A label of the rule wins over one of its group.
    let mut labels = templates(&group.labels);
    for (name, template) in templates(&rule.labels) {
        labels.retain(|(own, _)| *own != name);
        labels.push((name, template));
    }
    let kind = match &rule.kind {
        RuleKind::Record(_) => Kind::Record { written: HashSet::new() },
        RuleKind::Alert { hold, keep_firing, annotations, .. } => Kind::Alert {
            hold: hold.as_ref().map_or(Duration::ZERO, |hold| hold.value),
            keep_firing: keep_firing.as_ref().map_or(Duration::ZERO, |keep| keep.value),
            annotations: templates(annotations),
            active: HashMap::new(),
            written: HashSet::new(),
        },
    };
    let name = rule.name().value.clone();
    let expr = expr?;
    (findings.len() == before).then_some(Rule { name, expr, labels, kind })
}

fn parse(path: &str, query: &Query, findings: &mut Vec<Finding>) -> Option<Expr> {
    match promql::parse(&query.text) {
        Ok(expr) if matches!(expr.kind(), promql::Kind::Scalar | promql::Kind::Vector) => {
            Some(expr)
        }
        Ok(expr) => {
            let message =
                format!("a rule needs a number or an instant vector, this is {}", expr.kind());
            findings.push(Finding::error("rule-query", message, Place::at(path, query.span)));
            None
        }
        Err(error) => {
            let span = query.span_of(error.span.start..error.span.end);
            let mut finding = Finding::error("rule-query", error.message, Place::at(path, span));
            finding.help = error.help;
            findings.push(finding);
            None
        }
    }
}

/// When and of what a rule is asked.
struct Moment<'a> {
    source: &'a dyn Select,
    store: &'a Store,
    /// The time that queries look at, and that results are written at.
    asked: Millis,
    now: Timestamp,
    outside: &'a Outside,
}

impl Moment<'_> {
    /// Fills a template; what goes wrong stands in its place, as in Prometheus.
    fn fill(&self, template: &Template, labels: &Labels, value: f64) -> String {
        let ask = |query: &str| self.ask(query);
        let (labels, value) = (Filling::from(labels), Filling::Number(value));
        let outer = Filling::from(&self.outside.labels);
        let url = self.outside.url.as_str();
        let dot = [
            ("Labels", labels.clone()),
            ("Value", value.clone()),
            ("ExternalLabels", outer.clone()),
            ("ExternalURL", url.into()),
        ];
        let scope = Scope {
            dot: dot.into_iter().collect(),
            variables: vec![
                ("labels", labels),
                ("value", value),
                ("externalLabels", outer),
                ("externalURL", url.into()),
            ],
            ask: Some(&ask),
            external_url: url,
            now: self.now,
            ..Scope::default()
        };
        template.fill(&scope).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    }

    /// Answers `query` in a template.
    fn ask(&self, query: &str) -> Result<Vec<Filling>, String> {
        let expr = promql::parse(query).map_err(|error| error.to_string())?;
        let value = promql::instant(self.source, &expr, self.asked);
        match value.map_err(|error| error.to_string())? {
            Value::Scalar(value) => Ok(vec![Filling::sample(&Labels::empty(), value)]),
            Value::Vector(points) => Ok(points
                .into_iter()
                .filter_map(|point| Some(Filling::sample(&point.labels, point.value.number()?)))
                .collect()),
            Value::Text(text) => {
                let labels = Labels::new([("__value__", text.as_str())]);
                Ok(vec![Filling::sample(&labels, 0.0)])
            }
            Value::Matrix(_) => Err("a range vector has no single value".to_owned()),
        }
    }
}

impl Rule {
    fn evaluate(
        &mut self,
        moment: &Moment,
        limit: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), Fault> {
        let Moment { source, store, asked, now, .. } = *moment;
        let points = match promql::instant(source, &self.expr, asked).map_err(Fault::Query)? {
            Value::Scalar(value) => vec![(Labels::empty(), value)],
            Value::Vector(points) => {
                let number = |point: promql::Point| match point.value {
                    Quantity::Number(value) => Ok((point.labels, value)),
                    Quantity::Histogram(_) => Err(Fault::Histogram { labels: point.labels }),
                };
                points.into_iter().map(number).collect::<Result<Vec<_>, Fault>>()?
            }
            Value::Text(_) | Value::Matrix(_) => return Err(Fault::Text),
        };
        let mut named: HashMap<Labels, (f64, Labels)> = HashMap::with_capacity(points.len());
        let count = points.len();
        if limit > 0 && count as u64 > limit {
            return Err(Fault::Limit { count, limit });
        }
        let mut order = Vec::with_capacity(count);
        for (own, value) in points {
            let mut labels = own.with(METRIC_NAME, "");
            let plain = labels.clone();
            for (name, template) in &self.labels {
                labels = labels.with(name, &moment.fill(template, &plain, value));
            }
            let kind_label =
                if matches!(self.kind, Kind::Alert { .. }) { ALERT_NAME } else { METRIC_NAME };
            labels = labels.with(kind_label, &self.name);
            if named.insert(labels.clone(), (value, own.with(METRIC_NAME, ""))).is_some() {
                return Err(Fault::SameLabels { labels });
            }
            order.push(labels);
        }
        match &mut self.kind {
            Kind::Record { written } => {
                let rows =
                    order.iter().map(|labels| Row::new(labels.clone(), asked, named[labels].0));
                write(store, asked, rows.collect(), written)
            }
            Kind::Alert { hold, keep_firing, annotations, active, written } => {
                for labels in order {
                    let (value, own) = &named[&labels];
                    let annotations = annotations
                        .iter()
                        .map(|(name, template)| (name.clone(), moment.fill(template, own, *value)));
                    let alert = active
                        .entry(labels.clone())
                        .or_insert_with(|| Active::new(&self.name, labels, now));
                    alert.value = *value;
                    alert.ended = None;
                    alert.kept_until = None;
                    alert.annotations = annotations.collect();
                    if alert.fires_since.is_none() && between(alert.since, now) >= *hold {
                        alert.fires_since = Some(now);
                        changes.push(Change::Fired(alert.clone()));
                    }
                }
                let mut over = Vec::new();
                for alert in active.values_mut() {
                    if named.contains_key(&alert.labels) {
                        continue;
                    }
                    let ended = *alert.ended.get_or_insert(now);
                    let is_kept = alert.kept_until.is_some_and(|until| now < until)
                        || between(ended, now) < *keep_firing;
                    if alert.fires_since.is_none() || !is_kept {
                        over.push(alert.clone());
                    }
                }
                over.sort_by(|a, b| a.labels.cmp(&b.labels));
                for alert in over {
                    active.remove(&alert.labels);
                    if alert.fires_since.is_some() {
                        changes.push(Change::Resolved(alert));
                    }
                }
                let rows = active.values().flat_map(|alert| alert.rows(asked)).collect();
                write(store, asked, rows, written)
            }
        }
    }

    /// Takes up the alerts that the series say were pending or fired when they were last evaluated.
    /// The time that nobody looked does not count as time that the condition held.
    fn resume(&mut self, store: &Store, now: Timestamp) {
        let Kind::Alert { active, .. } = &mut self.kind else { return };
        let to = now.as_millisecond();
        let from = to.saturating_sub(OUTAGE.as_millis() as i64);
        let select = |metric: &str, more: Option<Matcher>| {
            let mut matchers =
                vec![Matcher::equal(METRIC_NAME, metric), Matcher::equal(ALERT_NAME, &self.name)];
            matchers.extend(more);
            store.select(&matchers, from, to).unwrap_or_default()
        };
        let firing = select("ALERTS", Some(Matcher::equal(ALERT_STATE, "firing")));
        for series in select("ALERTS_FOR_STATE", None) {
            let Some(last) = series.samples.last().filter(|last| !is_stale(last.value)) else {
                continue;
            };
            let labels = series.labels.with(METRIC_NAME, "");
            let is_ours = self.labels.iter().all(|(name, template)| {
                let fixed = template.is_plain().then(|| template.fill(&Scope::default()).ok());
                fixed.flatten().is_none_or(|value| labels.get(name) == value)
            });
            let began = (last.value * 1000.0) as Millis;
            let (Ok(since), true) = (Timestamp::from_millisecond(began), is_ours) else { continue };
            let fired = firing.iter().any(|other| {
                let is_same = other.labels.with(METRIC_NAME, "").with(ALERT_STATE, "") == labels;
                is_same
                    && other
                        .samples
                        .last()
                        .is_some_and(|end| end.at == last.at && !is_stale(end.value))
            });
            let unseen = Duration::from_millis((to - last.at).max(0).unsigned_abs());
            let mut alert = Active::new(&self.name, labels, since);
            if fired {
                alert.fires_since = Some(since);
                alert.kept_until = now.checked_add(NUMBERS_BACK_AFTER).ok();
            } else {
                alert.since = since.checked_add(unseen).unwrap_or(now).min(now);
            }
            active.insert(alert.labels.clone(), alert);
        }
    }
}

/// Writes what a rule gave, and ends the series that it does not give any more.
fn write(
    store: &Store,
    at: Millis,
    mut rows: Vec<Row>,
    written: &mut HashSet<Labels>,
) -> Result<(), Fault> {
    let now: HashSet<Labels> = rows.iter().map(|row| row.labels.clone()).collect();
    let ended = written.iter().filter(|labels| !now.contains(labels));
    rows.extend(ended.map(|labels| Row::new(labels.clone(), at, STALE)));
    *written = now;
    store.append(rows).map_err(Fault::Write)?;
    Ok(())
}

impl Active {
    fn new(alert: &str, labels: Labels, since: Timestamp) -> Self {
        Self {
            alert: alert.to_owned(),
            labels,
            annotations: Vec::new(),
            value: 0.0,
            since,
            fires_since: None,
            ended: None,
            kept_until: None,
        }
    }

    /// Returns `ALERTS` and `ALERTS_FOR_STATE` of this alert.
    fn rows(&self, at: Millis) -> [Row; 2] {
        let state = if self.fires_since.is_some() { "firing" } else { "pending" };
        let alerts = self.labels.with(METRIC_NAME, "ALERTS").with(ALERT_STATE, state);
        let since = self.since.as_millisecond().div_euclid(1000) as f64;
        let for_state = self.labels.with(METRIC_NAME, "ALERTS_FOR_STATE");
        [Row::new(alerts, at, 1.0), Row::new(for_state, at, since)]
    }
}
