//! Prometheus rule files at work: recording rules write series, alerting rules fire and resolve.
//!
//! [`Rules::new`] takes what `source::rules` read and finds what is wrong in queries and templates;
//! [`Rules::evaluate`] is called with the time and evaluates the groups that are due. Between two
//! calls the state of the alerts is in the value.

mod template;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use promql::{EvalError, Expr, Quantity, Value};
use series::{AppendError, Labels, METRIC_NAME, Row, STALE, Store};
use source::rules::{Query, RuleFile, RuleKind};
use source::{Finding, Place};

use crate::restart::between;
use template::Template;

/// The rules of some files, ready to be evaluated.
#[derive(Debug, Default)]
pub struct Rules {
    groups: Vec<Group>,
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
    /// When the condition was last seen to hold.
    pub held: Timestamp,
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

    /// Evaluates the groups that are due and says what changed.
    pub fn evaluate(&mut self, store: &Store, now: Timestamp) -> Evaluated {
        let mut evaluated = Evaluated::default();
        for group in &mut self.groups {
            if group.evaluated.is_some_and(|last| between(last, now) < group.interval) {
                continue;
            }
            group.evaluated = Some(now);
            let asked = now.as_millisecond() - group.query_offset.as_millis() as i64;
            for rule in &mut group.rules {
                if let Err(source) =
                    rule.evaluate(store, asked, now, group.limit, &mut evaluated.changes)
                {
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
            .filter_map(|label| match Template::parse(&label.value.value) {
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

impl Rule {
    fn evaluate(
        &mut self,
        store: &Store,
        asked: series::Millis,
        now: Timestamp,
        limit: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), Fault> {
        let points = match promql::instant(store, &self.expr, asked).map_err(Fault::Query)? {
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
            let scope = template::Scope { labels: &labels.clone(), value };
            for (name, template) in &self.labels {
                labels = labels.with(name, &template.fill(&scope));
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
                let at = now.as_millisecond();
                let ended = written.iter().filter(|labels| !named.contains_key(labels));
                let mut rows: Vec<Row> =
                    ended.map(|labels| Row::new(labels.clone(), at, STALE)).collect();
                rows.extend(
                    order.iter().map(|labels| Row::new(labels.clone(), at, named[labels].0)),
                );
                *written = order.into_iter().collect();
                store.append(rows).map_err(Fault::Write)?;
            }
            Kind::Alert { hold, keep_firing, annotations, active } => {
                for labels in order {
                    let (value, own) = &named[&labels];
                    let scope = template::Scope { labels: own, value: *value };
                    let annotations = annotations
                        .iter()
                        .map(|(name, template)| (name.clone(), template.fill(&scope)));
                    let alert = active.entry(labels.clone()).or_insert_with(|| Active {
                        alert: self.name.clone(),
                        labels,
                        annotations: Vec::new(),
                        value: *value,
                        since: now,
                        fires_since: None,
                        held: now,
                    });
                    alert.value = *value;
                    alert.held = now;
                    alert.annotations = annotations.collect();
                    if alert.fires_since.is_none() && between(alert.since, now) >= *hold {
                        alert.fires_since = Some(now);
                        changes.push(Change::Fired(alert.clone()));
                    }
                }
                let mut over: Vec<Active> = active
                    .values()
                    .filter(|alert| !named.contains_key(&alert.labels))
                    .filter(|alert| {
                        alert.fires_since.is_none() || between(alert.held, now) >= *keep_firing
                    })
                    .cloned()
                    .collect();
                over.sort_by(|a, b| a.labels.cmp(&b.labels));
                for alert in over {
                    active.remove(&alert.labels);
                    if alert.fires_since.is_some() {
                        changes.push(Change::Resolved(alert));
                    }
                }
            }
        }
        Ok(())
    }
}
