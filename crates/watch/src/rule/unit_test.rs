//! Unit tests of rules, run as promtool runs them.
//!
//! Time begins at 0. At each `evaluation_interval` every group is evaluated, whatever its own
//! interval; alerts are compared as they are at the last evaluation not after `eval_time`, queries
//! are asked of everything that was written. (Prometheus, `cmd/promtool/unittest.go`.)

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use promql::sequence::{self, Item};
use promql::{Expr, Quantity, Question, Value};
use series::{
    Histogram, Labels, Limits, Matcher, Memory, Millis, Row, Select, SelectError, Series, Store,
};
use source::rules::unit_test::{AlertTest, QueryTest, TestFile, UnitTest};
use source::rules::{Query, RuleFile};
use source::{Finding, Place, Span};

use super::{ALERT_NAME, Outside, Rules};

/// How often rules are evaluated, and how far samples are apart, if a file does not say it.
const INTERVAL: Duration = Duration::from_mins(1);

/// The most evaluations and samples that one test may take.
const MOST_EVALUATIONS: u128 = 1_000_000;

/// What one test gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its name, or which of the file's tests it is.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// What was not as expected; empty for a test that passed.
    pub failures: Vec<Failure>,
}

/// One thing that was not as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Where the expectation stands.
    pub span: Span,
    /// What was asked and when, or what could not be evaluated.
    pub about: String,
    /// What was expected, a line each.
    pub expected: Vec<String>,
    /// What came, a line each.
    pub got: Vec<String>,
}

/// Runs the tests of a file over rules, each by itself.
///
/// Findings say what in the tests cannot be read; a test with one is not run. `wanted` says which
/// tests to run by their names.
pub fn run(
    path: &str,
    file: &TestFile,
    rules: &[(String, RuleFile)],
    wanted: impl Fn(&str) -> bool,
) -> (Vec<Outcome>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut outcomes = Vec::new();
    for (index, test) in file.tests.iter().enumerate() {
        let name = test.name.as_ref().map(|name| name.value.clone());
        if !wanted(name.as_deref().unwrap_or_default()) {
            continue;
        }
        let before = findings.len();
        let prepared = Prepared::new(path, test, &mut findings);
        if findings.len() > before {
            continue;
        }
        let interval = file.evaluation_interval.unwrap_or(INTERVAL);
        let mut own = Rules::default();
        for (path, file) in rules {
            findings.extend(own.add(path, file, interval));
        }
        if findings.len() > before {
            break;
        }
        let order: Vec<&str> = file.group_order.iter().map(|name| name.value.as_str()).collect();
        let place = |name: &str| order.iter().position(|other| *other == name);
        // Groups that are not named come after those that are, in their own order.
        own.groups.sort_by_key(|group| place(&group.name).unwrap_or(usize::MAX));
        own = own.outside(prepared.outside.clone());
        let name = name.unwrap_or_else(|| format!("test {}", index + 1));
        let failures = prepared.run(test, own, interval, file.fuzzy);
        outcomes.push(Outcome { name, span: test.span, failures });
    }
    (outcomes, findings)
}

/// The texts of a test, read.
struct Prepared {
    rows: Vec<Row>,
    /// The series with histograms, which the store does not keep.
    memory: Memory,
    queries: Vec<(Expr, Vec<Sample>)>,
    outside: Outside,
}

#[derive(Debug, Clone)]
struct Sample {
    labels: Labels,
    value: Quantity,
}

/// What rules write and what they cannot write, as one.
struct Both<'a>(&'a Store, &'a Memory);

impl Select for Both<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        let mut selected = self.0.select(matchers, from, to)?;
        selected.extend(self.1.select(matchers, from, to)?);
        selected.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(selected)
    }
}

fn refused(path: &str, query: &Query, error: promql::ParseError) -> Finding {
    let span = query.span_of(error.span.start..error.span.end);
    let mut finding = Finding::error("unit-test", error.message, Place::at(path, span));
    finding.help = error.help;
    finding
}

impl Prepared {
    fn new(path: &str, test: &UnitTest, findings: &mut Vec<Finding>) -> Self {
        let (mut rows, mut memory) = (Vec::new(), Memory::default());
        let step = test.interval.unwrap_or(INTERVAL).as_millis() as Millis;
        for input in &test.series {
            let labels = sequence::labels(&input.series.text)
                .map_err(|error| findings.push(refused(path, &input.series, error)));
            let items = sequence::items(&input.values.text, 0)
                .map_err(|error| findings.push(refused(path, &input.values, error)));
            let (Ok(labels), Ok(items)) = (labels, items) else { continue };
            let has_histograms = items.iter().any(|item| matches!(item, Item::Histogram { .. }));
            for (place, item) in items.into_iter().enumerate() {
                let at = step.saturating_mul(place as Millis);
                match item {
                    Item::Missing => {}
                    Item::Number(value) if has_histograms => memory.number(&labels, at, value),
                    Item::Number(value) => rows.push(Row::new(labels.clone(), at, value)),
                    Item::Histogram { value, .. } => memory.histogram(&labels, at, *value),
                }
            }
        }
        rows.sort_by_key(|row| row.at);
        let mut queries = Vec::new();
        for query in &test.queries {
            let expr = promql::parse(&query.query.text)
                .map_err(|error| findings.push(refused(path, &query.query, error)));
            let mut samples = Vec::new();
            for expected in &query.expected {
                let labels = match &expected.labels {
                    Some(text) => sequence::labels(&text.text)
                        .map_err(|error| findings.push(refused(path, text, error))),
                    None => Ok(Labels::empty()),
                };
                let value = match &expected.histogram {
                    None => Ok(Quantity::Number(expected.value)),
                    Some(text) => {
                        histogram(text).map_err(|error| findings.push(refused(path, text, error)))
                    }
                };
                if let (Ok(labels), Ok(value)) = (labels, value) {
                    samples.push(Sample { labels, value });
                }
            }
            if let Ok(expr) = expr {
                queries.push((expr, samples));
            }
        }
        let labels = test.external_labels.iter();
        let labels = labels.map(|label| (label.name.value.as_str(), label.value.value.as_str()));
        let url = test.external_url.as_ref().map(|url| url.value.clone()).unwrap_or_default();
        Self { rows, memory, queries, outside: Outside { url, labels: Labels::new(labels) } }
    }

    fn run(
        self,
        test: &UnitTest,
        mut rules: Rules,
        interval: Duration,
        fuzzy: bool,
    ) -> Vec<Failure> {
        let failure = |about: String| Failure {
            span: test.span,
            about,
            expected: Vec::new(),
            got: Vec::new(),
        };
        let last = test.alerts.iter().map(|test| test.at);
        let last = last.chain(test.queries.iter().map(|test| test.at)).max().unwrap_or_default();
        let evaluations = last.as_millis() / interval.as_millis().max(1);
        if evaluations > MOST_EVALUATIONS {
            return vec![failure(format!(
                "{evaluations} evaluations are more than {MOST_EVALUATIONS}: make \
                 `evaluation_interval` longer"
            ))];
        }
        let store = Store::new(Limits {
            retention: Duration::MAX,
            samples: usize::MAX,
            series: usize::MAX,
            ahead: Duration::MAX,
        });
        let both = Both(&store, &self.memory);
        let mut failures = Vec::new();
        let mut rows = self.rows.into_iter().peekable();
        let mut pending: Vec<&AlertTest> = test.alerts.iter().collect();
        pending.sort_by_key(|test| test.at);
        let mut pending = pending.into_iter().peekable();
        for step in 0..=evaluations as u64 {
            let at = interval.as_millis() as Millis * step as Millis;
            let mut batch = Vec::new();
            while let Some(row) = rows.next_if(|row| row.at <= at) {
                batch.push(row);
            }
            if let Err(error) = store.append(batch) {
                failures.push(failure(error.to_string()));
                return failures;
            }
            let Ok(now) = Timestamp::from_millisecond(at) else {
                failures.push(failure("time goes no further than the year 9999".to_owned()));
                return failures;
            };
            for error in rules.evaluate_if(&both, &store, now, |_| true).errors {
                let mut about = format!("at {}: could not {error}", span_text(at));
                let mut cause = std::error::Error::source(&error);
                while let Some(next) = cause {
                    let _ = write!(about, ": {next}");
                    cause = next.source();
                }
                failures.push(failure(about));
            }
            let next = at + interval.as_millis() as Millis;
            while let Some(test) = pending.next_if(|test| (test.at.as_millis() as Millis) < next) {
                failures.extend(compare_alerts(test, &rules));
            }
        }
        let _ = store.append(rows.take_while(|row| row.at <= last.as_millis() as Millis));
        for (query, (expr, expected)) in test.queries.iter().zip(&self.queries) {
            failures.extend(compare_samples(query, expr, expected, &both, fuzzy));
        }
        failures
    }
}

fn histogram(text: &Query) -> Result<Quantity, promql::ParseError> {
    match sequence::items(&text.text, 0)?.into_iter().next() {
        Some(Item::Histogram { value, .. }) => Ok(Quantity::Histogram(std::sync::Arc::new(*value))),
        _ => Err(promql::ParseError {
            span: promql::Span { start: 0, end: text.text.len() },
            message: "this is not a histogram".to_owned(),
            help: Some("write it as `{{schema:0 sum:1 count:1 buckets:[1]}}`".to_owned()),
        }),
    }
}

fn compare_alerts(test: &AlertTest, rules: &Rules) -> Option<Failure> {
    let firing = rules
        .active()
        .filter(|active| active.alert == test.alert.value && active.fires_since.is_some());
    let line = |labels: &Labels, annotations: &BTreeMap<&str, &str>| {
        let annotations: Vec<String> =
            annotations.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let labels = labels.with(ALERT_NAME, &test.alert.value);
        if annotations.is_empty() {
            labels.to_string()
        } else {
            format!("{labels} with {}", annotations.join(", "))
        }
    };
    let mut got: Vec<String> = firing
        .map(|active| {
            let annotations = active.annotations.iter();
            line(&active.labels, &annotations.map(|(n, v)| (n.as_str(), v.as_str())).collect())
        })
        .collect();
    let mut expected: Vec<String> = (test.expected.iter())
        .map(|alert| {
            fn pairs(labels: &[source::rules::Label]) -> impl Iterator<Item = (&str, &str)> {
                labels.iter().map(|label| (label.name.value.as_str(), label.value.value.as_str()))
            }
            line(&Labels::new(pairs(&alert.labels)), &pairs(&alert.annotations).collect())
        })
        .collect();
    got.sort();
    expected.sort();
    if got == expected {
        return None;
    }
    let about = format!("alert {} at {}", test.alert.value, span_text(test.at.as_millis() as i64));
    Some(Failure { span: test.span, about, expected, got })
}

fn compare_samples(
    test: &QueryTest,
    expr: &Expr,
    expected: &[Sample],
    source: &dyn Select,
    fuzzy: bool,
) -> Option<Failure> {
    let at = test.at.as_millis() as Millis;
    let about = format!("{} at {}", test.query.text.trim(), span_text(at));
    let failure = |about: String, got: Vec<String>| {
        let expected = expected.iter().map(Sample::to_string).collect();
        Some(Failure { span: test.span, about, expected, got })
    };
    let answer = match Question::new(source, expr).at(at) {
        Ok(answer) => answer.value,
        Err(error) => return failure(format!("{about}: {error}"), Vec::new()),
    };
    let mut got: Vec<Sample> = match answer {
        Value::Scalar(value) => {
            vec![Sample { labels: Labels::empty(), value: Quantity::Number(value) }]
        }
        Value::Vector(points) => (points.into_iter())
            .map(|point| Sample { labels: point.labels, value: point.value })
            .collect(),
        Value::Text(_) | Value::Matrix(_) => {
            return failure(format!("{about}: a test needs a number or an instant vector"), vec![]);
        }
    };
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut wanted = expected.to_vec();
    wanted.sort_by(|a, b| a.labels.cmp(&b.labels));
    let is_same = got.len() == wanted.len()
        && got.iter().zip(&wanted).all(|(got, wanted)| {
            got.labels == wanted.labels && is_same(&got.value, &wanted.value, fuzzy)
        });
    if is_same { None } else { failure(about, got.iter().map(Sample::to_string).collect()) }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Quantity::Number(value) => {
                write!(f, "{} {}", self.labels, promql::evaluate::print(*value))
            }
            Quantity::Histogram(histogram) => write!(f, "{} {histogram:?}", self.labels),
        }
    }
}

#[allow(clippy::float_cmp, reason = "a test says how near a number must be")]
fn is_same(a: &Quantity, b: &Quantity, fuzzy: bool) -> bool {
    match (a, b) {
        (Quantity::Number(a), Quantity::Number(b)) => {
            let is_near = fuzzy && (a.next_up() == *b || a.next_down() == *b);
            a == b || (a.is_nan() && b.is_nan()) || is_near
        }
        (Quantity::Histogram(a), Quantity::Histogram(b)) => same_shape(a, b),
        _ => false,
    }
}

fn same_shape(a: &Histogram, b: &Histogram) -> bool {
    a.is_same(b) && a.hint == b.hint
}

/// Writes a time since the start as a duration.
fn span_text(millis: Millis) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = millis;
    let mut out = String::new();
    for (unit, size) in units {
        if rest >= size {
            let _ = write!(out, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    out
}
