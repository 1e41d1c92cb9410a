//! From a question to an answer.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use series::{Labels, METRIC_NAME, Millis, Op, Sample, SelectError, Series, Store, is_stale};

use crate::aggregate::{self, Parameter, by_value};
use crate::binary;
use crate::expr::{AggregateOp, At, Expr, Kind, Node, Selector, Shift, Span};
use crate::over_time::{Window, histogram_quantile, over_time, seconds};

/// How long the last sample stands for "now".
pub const LOOK_BACK: Millis = 300_000;
/// How often a subquery without a step asks.
pub const SUBQUERY_STEP: Millis = 60_000;
/// The most steps of one question.
pub const STEPS: i64 = 11_000;

/// What a question gives at one time.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(f64),
    /// One text.
    Text(String),
    /// For each series one value, in the order that the question gives.
    Vector(Vec<Point>),
    /// For each series the samples of a window.
    Matrix(Vec<Series>),
}

/// The value of one series at the time asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What names the series.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The samples could not be read.
    #[error("read the samples")]
    Select(#[from] SelectError),
    /// Two series of a result have the same labels.
    #[error("vector cannot contain metrics with the same labelset: {labels}")]
    SameLabels {
        /// The labels.
        labels: Labels,
    },
    /// Both sides of an operator have several series for one group.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
         [{one}, {other}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    ManyToMany {
        /// What they have in common.
        group: Labels,
        /// The side that must be unique.
        side: &'static str,
        /// One of them.
        one: Labels,
        /// Another.
        other: Labels,
    },
    /// The left side has several series for one of the right.
    #[error(
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    )]
    ManyToOne,
    /// `group_left` and `group_right` gave the same series twice.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupNotUnique,
    /// A number or text given to a function or aggregation cannot be used.
    #[error("{reason}")]
    Parameter {
        /// Why.
        reason: String,
    },
    /// The times asked about make no sense.
    #[error("ask from {from} to {to} every {step} ms: a question has 1 to {STEPS} steps")]
    Steps {
        /// The first time.
        from: Millis,
        /// The last time.
        to: Millis,
        /// The distance.
        step: Millis,
    },
}

/// One series of an instant vector on the way through a question.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub labels: Labels,
    pub value: f64,
    /// Whether the name of the metric goes away at the end.
    pub nameless: bool,
    /// When the sample was taken, if this comes straight from a selector.
    pub at: Option<Millis>,
}

/// One series of a range vector on the way through a question.
#[derive(Debug, Clone)]
struct Run {
    labels: Labels,
    nameless: bool,
    samples: Vec<Sample>,
}

enum Answer {
    Scalar(f64),
    Text(String),
    Vector(Vec<Item>),
}

/// Answers a question at one time.
pub fn instant(store: &Store, expr: &Expr, at: Millis) -> Result<Value, EvalError> {
    let evaluator = Evaluator::new(store, expr, at, at)?;
    if expr.kind() == Kind::Matrix {
        let runs = evaluator.runs(expr, at)?.0;
        let series = runs
            .iter()
            .map(|run| Series::new(name(run.labels.clone(), run.nameless), run.samples.clone()));
        return Ok(Value::Matrix(series.filter(|series| !series.samples.is_empty()).collect()));
    }
    Ok(match evaluator.answer(expr, at)? {
        Answer::Scalar(value) => Value::Scalar(value),
        Answer::Text(text) => Value::Text(text),
        Answer::Vector(items) => {
            let points = items
                .into_iter()
                .map(|item| Point { labels: name(item.labels, item.nameless), value: item.value });
            let points: Vec<Point> = points.collect();
            unique(points.iter().map(|point| &point.labels))?;
            Value::Vector(points)
        }
    })
}

/// Answers a question at every step from `from` to `to`; the series are sorted by labels.
pub fn range(
    store: &Store,
    expr: &Expr,
    from: Millis,
    to: Millis,
    step: Millis,
) -> Result<Vec<Series>, EvalError> {
    let steps = if step > 0 && to >= from { (to - from) / step + 1 } else { 0 };
    if steps == 0 || steps > STEPS {
        return Err(EvalError::Steps { from, to, step });
    }
    if !matches!(expr.kind(), Kind::Scalar | Kind::Vector) {
        let reason = format!(
            "only a number or an instant vector can be asked over a range, this is {}",
            expr.kind()
        );
        return Err(EvalError::Parameter { reason });
    }
    let evaluator = Evaluator::new(store, expr, from, to)?;
    let mut all: HashMap<Labels, Vec<Sample>> = HashMap::new();
    for at in (0..steps).map(|index| from + index * step) {
        match evaluator.answer(expr, at)? {
            Answer::Scalar(value) => {
                all.entry(Labels::empty()).or_default().push(Sample { at, value });
            }
            Answer::Text(_) => {}
            Answer::Vector(items) => {
                for item in items {
                    let labels = name(item.labels, item.nameless);
                    let samples = all.entry(labels.clone()).or_default();
                    if samples.last().is_some_and(|last| last.at == at) {
                        return Err(EvalError::SameLabels { labels });
                    }
                    samples.push(Sample { at, value: item.value });
                }
            }
        }
    }
    let mut series: Vec<Series> =
        all.into_iter().map(|(labels, samples)| Series::new(labels, samples)).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(series)
}

fn name(labels: Labels, nameless: bool) -> Labels {
    if nameless { labels.with(METRIC_NAME, "") } else { labels }
}

fn unique<'a>(labels: impl Iterator<Item = &'a Labels>) -> Result<(), EvalError> {
    let mut seen = HashSet::new();
    for labels in labels {
        if !seen.insert(labels) {
            return Err(EvalError::SameLabels { labels: labels.clone() });
        }
    }
    Ok(())
}

/// Holds what a question reads, and what it has worked out already.
struct Evaluator {
    from: Millis,
    to: Millis,
    /// The samples of each selector, by where it stands in the text.
    selected: HashMap<Span, Vec<Series>>,
    /// The answers to the questions inside subqueries, which overlapping windows share.
    asked: RefCell<Asked>,
    /// The group of each series, for each aggregation.
    groups: RefCell<HashMap<Span, HashMap<Labels, Labels>>>,
}

/// Answers by the question and the time they are for.
type Asked = HashMap<(Span, Millis), Rc<[Item]>>;

impl Evaluator {
    fn new(store: &Store, expr: &Expr, from: Millis, to: Millis) -> Result<Self, EvalError> {
        let mut evaluator = Self {
            from,
            to,
            selected: HashMap::new(),
            asked: RefCell::default(),
            groups: RefCell::default(),
        };
        evaluator.select(store, expr, from, to)?;
        Ok(evaluator)
    }

    /// Reads what every selector in a question needs when it is asked from one time to another.
    fn select(
        &mut self,
        store: &Store,
        expr: &Expr,
        from: Millis,
        to: Millis,
    ) -> Result<(), EvalError> {
        match &expr.node {
            Node::Number(_) | Node::Text(_) => {}
            Node::Selector(selector) => {
                let (from, to) =
                    (self.shifted(selector.shift, from), self.shifted(selector.shift, to));
                let series =
                    store.select(&selector.matchers, from.saturating_sub(LOOK_BACK), to)?;
                self.selected.insert(expr.span, series);
            }
            Node::Window { selector, range } => {
                let (from, to) =
                    (self.shifted(selector.shift, from), self.shifted(selector.shift, to));
                let series = store.select(&selector.matchers, from.saturating_sub(*range), to)?;
                self.selected.insert(expr.span, series);
            }
            Node::Subquery { expr, range, shift, .. } => {
                let (from, to) = (self.shifted(*shift, from), self.shifted(*shift, to));
                self.select(store, expr, from.saturating_sub(*range), to)?;
            }
            Node::Negative(expr) | Node::Paren(expr) => self.select(store, expr, from, to)?,
            Node::Binary { left, right, .. } => {
                self.select(store, left, from, to)?;
                self.select(store, right, from, to)?;
            }
            Node::Aggregate { parameter, expr, .. } => {
                if let Some(parameter) = parameter {
                    self.select(store, parameter, from, to)?;
                }
                self.select(store, expr, from, to)?;
            }
            Node::Call { arguments, .. } => {
                for argument in arguments {
                    self.select(store, argument, from, to)?;
                }
            }
        }
        Ok(())
    }

    fn shifted(&self, shift: Shift, now: Millis) -> Millis {
        let at = match shift.at {
            None => now,
            Some(At::Time(at)) => at,
            Some(At::Start) => self.from,
            Some(At::End) => self.to,
        };
        at.saturating_sub(shift.offset)
    }

    fn answer(&self, expr: &Expr, now: Millis) -> Result<Answer, EvalError> {
        Ok(match &expr.node {
            Node::Number(value) => Answer::Scalar(*value),
            Node::Text(text) => Answer::Text(text.clone()),
            Node::Paren(inner) => self.answer(inner, now)?,
            Node::Negative(inner) => match self.answer(inner, now)? {
                Answer::Scalar(value) => Answer::Scalar(-value),
                Answer::Vector(items) => Answer::Vector(map(items, |value| -value)),
                text @ Answer::Text(_) => text,
            },
            Node::Selector(selector) => Answer::Vector(self.latest(expr.span, selector, now)),
            Node::Window { .. } | Node::Subquery { .. } => Answer::Vector(Vec::new()),
            Node::Binary { op, left, right, matching, bool } => {
                match (self.answer(left, now)?, self.answer(right, now)?) {
                    (Answer::Scalar(a), Answer::Scalar(b)) => {
                        Answer::Scalar(binary::arithmetic(*op, a, b))
                    }
                    (Answer::Vector(items), Answer::Scalar(b)) => {
                        Answer::Vector(binary::with_scalar(*op, *bool, items, b, false))
                    }
                    (Answer::Scalar(a), Answer::Vector(items)) => {
                        Answer::Vector(binary::with_scalar(*op, *bool, items, a, true))
                    }
                    (Answer::Vector(a), Answer::Vector(b)) if op.is_set() => {
                        Answer::Vector(binary::sets(*op, a, b, matching))
                    }
                    (Answer::Vector(a), Answer::Vector(b)) => {
                        Answer::Vector(binary::vectors(*op, *bool, a, b, matching)?)
                    }
                    // The reader lets no text stand beside an operator.
                    _ => Answer::Vector(Vec::new()),
                }
            }
            Node::Aggregate { op, grouping, parameter, expr: inner } => {
                let parameter = match parameter {
                    None => Parameter::None,
                    Some(parameter) => match self.answer(parameter, now)? {
                        Answer::Text(text) => Parameter::Text(text),
                        Answer::Scalar(number) => Parameter::Number(number),
                        Answer::Vector(_) => Parameter::None,
                    },
                };
                if let (AggregateOp::CountValues, Parameter::Text(label)) = (op, &parameter)
                    && label.is_empty()
                {
                    return Err(EvalError::Parameter {
                        reason: "invalid label name \"\"".to_owned(),
                    });
                }
                let items = self.vector(inner, now)?;
                let mut groups = self.groups.borrow_mut();
                let memo = groups.entry(expr.span).or_default();
                Answer::Vector(aggregate::aggregate(*op, grouping, &parameter, items, memo)?)
            }
            Node::Call { function, arguments } => self.call(function.name, arguments, now)?,
        })
    }

    fn vector(&self, expr: &Expr, now: Millis) -> Result<Vec<Item>, EvalError> {
        match self.answer(expr, now)? {
            Answer::Vector(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    fn scalar(&self, expr: &Expr, now: Millis) -> Result<f64, EvalError> {
        match self.answer(expr, now)? {
            Answer::Scalar(value) => Ok(value),
            _ => Ok(f64::NAN),
        }
    }

    fn text(&self, expr: &Expr, now: Millis) -> Result<String, EvalError> {
        match self.answer(expr, now)? {
            Answer::Text(text) => Ok(text),
            _ => Ok(String::new()),
        }
    }

    /// The last sample of each series, if it is recent enough and the series has not ended.
    fn latest(&self, span: Span, selector: &Selector, now: Millis) -> Vec<Item> {
        let at = self.shifted(selector.shift, now);
        let series = self.selected.get(&span).map(Vec::as_slice).unwrap_or_default();
        series
            .iter()
            .filter_map(|series| {
                let end = series.samples.partition_point(|sample| sample.at <= at);
                let last = series.samples[..end].last()?;
                let fresh = last.at > at.saturating_sub(LOOK_BACK) && !is_stale(last.value);
                fresh.then(|| Item {
                    labels: series.labels.clone(),
                    value: last.value,
                    nameless: false,
                    at: Some(last.at),
                })
            })
            .collect()
    }

    /// The samples of a range vector, with where its window starts and ends.
    fn runs(&self, expr: &Expr, now: Millis) -> Result<(Vec<Run>, Millis, Millis), EvalError> {
        match &expr.node {
            Node::Paren(inner) => self.runs(inner, now),
            Node::Window { selector, range } => {
                let to = self.shifted(selector.shift, now);
                let from = to.saturating_sub(*range);
                let series = self.selected.get(&expr.span).map(Vec::as_slice).unwrap_or_default();
                let runs = series.iter().map(|series| {
                    let start = series.samples.partition_point(|sample| sample.at <= from);
                    let end = series.samples.partition_point(|sample| sample.at <= to).max(start);
                    let samples = series.samples[start..end].iter().filter(|s| !is_stale(s.value));
                    Run {
                        labels: series.labels.clone(),
                        nameless: false,
                        samples: samples.copied().collect(),
                    }
                });
                Ok((runs.filter(|run| !run.samples.is_empty()).collect(), from, to))
            }
            Node::Subquery { expr: inner, range, step, shift } => {
                let to = self.shifted(*shift, now);
                let from = to.saturating_sub(*range);
                let step = step.unwrap_or(SUBQUERY_STEP);
                let mut at = (from / step) * step;
                while at <= from {
                    at += step;
                }
                if (to - at) / step > 10 * STEPS {
                    return Err(EvalError::Steps { from, to, step });
                }
                let mut order: HashMap<(Labels, bool), usize> = HashMap::new();
                let mut runs: Vec<Run> = Vec::new();
                while at <= to {
                    for item in self.asked(inner, at)?.iter() {
                        let key = (item.labels.clone(), item.nameless);
                        let index = *order.entry(key).or_insert_with(|| {
                            let (labels, nameless) = (item.labels.clone(), item.nameless);
                            runs.push(Run { labels, nameless, samples: Vec::new() });
                            runs.len() - 1
                        });
                        runs[index].samples.push(Sample { at, value: item.value });
                    }
                    at += step;
                }
                Ok((runs, from, to))
            }
            _ => Ok((Vec::new(), now, now)),
        }
    }

    fn asked(&self, expr: &Expr, at: Millis) -> Result<Rc<[Item]>, EvalError> {
        let key = (expr.span, at);
        if let Some(known) = self.asked.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let items = Rc::from(self.vector(expr, at)?);
        self.asked.borrow_mut().insert(key, Rc::clone(&items));
        Ok(items)
    }

    fn call(&self, function: &str, arguments: &[Expr], now: Millis) -> Result<Answer, EvalError> {
        if let Some(window) = arguments.iter().find(|argument| argument.kind() == Kind::Matrix) {
            return self.call_over_time(function, arguments, window, now).map(Answer::Vector);
        }
        let first = arguments.first();
        let vector = || first.map_or(Ok(Vec::new()), |first| self.vector(first, now));
        Ok(match function {
            "time" => Answer::Scalar(seconds(now)),
            "pi" => Answer::Scalar(std::f64::consts::PI),
            "vector" => {
                let value = first.map_or(Ok(f64::NAN), |first| self.scalar(first, now))?;
                Answer::Vector(vec![Item {
                    labels: Labels::empty(),
                    value,
                    nameless: false,
                    at: None,
                }])
            }
            "scalar" => match vector()?.as_slice() {
                [one] => Answer::Scalar(one.value),
                _ => Answer::Scalar(f64::NAN),
            },
            "absent" => {
                Answer::Vector(if vector()?.is_empty() { vec![absent(first)] } else { Vec::new() })
            }
            "timestamp" => Answer::Vector(
                vector()?
                    .into_iter()
                    .map(|item| Item {
                        value: seconds(item.at.unwrap_or(now)),
                        nameless: true,
                        at: None,
                        ..item
                    })
                    .collect(),
            ),
            "sort" | "sort_desc" => {
                let mut items = vector()?;
                items.sort_by(|a, b| by_value(a.value, b.value, function == "sort_desc"));
                Answer::Vector(items)
            }
            "clamp" | "clamp_min" | "clamp_max" => {
                let number = |place: usize| {
                    arguments.get(place).map_or(Ok(f64::NAN), |a| self.scalar(a, now))
                };
                let (least, most) = match function {
                    "clamp" => (number(1)?, number(2)?),
                    "clamp_min" => (number(1)?, f64::INFINITY),
                    _ => (f64::NEG_INFINITY, number(1)?),
                };
                if least > most {
                    return Ok(Answer::Vector(Vec::new()));
                }
                let clamp = |value: f64| {
                    if value.is_nan() || least.is_nan() || most.is_nan() {
                        f64::NAN
                    } else {
                        value.max(least).min(most)
                    }
                };
                Answer::Vector(map(vector()?, clamp))
            }
            "round" => {
                let to = arguments.get(1).map_or(Ok(1.0), |a| self.scalar(a, now))?;
                // The inverse first: tenths are exact as tens.
                let inverse = 1.0 / to;
                Answer::Vector(map(vector()?, |value| (value * inverse + 0.5).floor() / inverse))
            }
            "histogram_quantile" => {
                let wanted = first.map_or(Ok(f64::NAN), |first| self.scalar(first, now))?;
                let buckets = arguments.get(1).map_or(Ok(Vec::new()), |a| self.vector(a, now))?;
                Answer::Vector(quantiles(wanted, buckets))
            }
            "label_replace" | "label_join" => {
                Answer::Vector(self.relabel(function, arguments, now)?)
            }
            "day_of_month" | "day_of_week" | "day_of_year" | "days_in_month" | "hour"
            | "minute" | "month" | "year" => {
                let items = match first {
                    Some(first) => self.vector(first, now)?,
                    None => vec![Item {
                        labels: Labels::empty(),
                        value: seconds(now),
                        nameless: false,
                        at: None,
                    }],
                };
                Answer::Vector(map(items, |value| date_part(function, value)))
            }
            _ => Answer::Vector(map(vector()?, |value| of_number(function, value))),
        })
    }

    fn call_over_time(
        &self,
        function: &str,
        arguments: &[Expr],
        window: &Expr,
        now: Millis,
    ) -> Result<Vec<Item>, EvalError> {
        let (runs, from, to) = self.runs(window, now)?;
        if function == "absent_over_time" {
            return Ok(if runs.is_empty() { vec![absent(Some(window))] } else { Vec::new() });
        }
        let mut numbers = Vec::new();
        for argument in arguments.iter().filter(|argument| argument.kind() == Kind::Scalar) {
            numbers.push(self.scalar(argument, now)?);
        }
        if function == "double_exponential_smoothing" {
            for (name, factor) in ["smoothing", "trend"].iter().zip(&numbers) {
                if !(*factor > 0.0 && *factor < 1.0) {
                    let reason = format!(
                        "invalid {name} factor. Expected: 0 < {name} factor < 1, got: {factor}"
                    );
                    return Err(EvalError::Parameter { reason });
                }
            }
        }
        let keeps_name = matches!(function, "last_over_time" | "first_over_time");
        let mut items = Vec::with_capacity(runs.len());
        for run in runs {
            let window = Window { samples: &run.samples, from, to };
            if let Some(value) = over_time(function, &window, &numbers, now) {
                items.push(Item {
                    labels: run.labels,
                    value,
                    nameless: run.nameless || !keeps_name,
                    at: None,
                });
            }
        }
        Ok(items)
    }

    fn relabel(
        &self,
        function: &str,
        arguments: &[Expr],
        now: Millis,
    ) -> Result<Vec<Item>, EvalError> {
        let [vector, rest @ ..] = arguments else { return Ok(Vec::new()) };
        let mut items = self.vector(vector, now)?;
        let mut texts = Vec::new();
        for argument in rest {
            texts.push(self.text(argument, now)?);
        }
        let Some(target) = texts.first().cloned() else { return Ok(items) };
        if target.is_empty() {
            let reason = format!("invalid destination label name in {function}(): {target}");
            return Err(EvalError::Parameter { reason });
        }
        let set = |item: &mut Item, value: &str| {
            item.labels = item.labels.with(&target, value);
            if target == METRIC_NAME {
                item.nameless = false;
            }
        };
        match (function, texts.as_slice()) {
            ("label_replace", [_, replacement, source, pattern]) => {
                let regex = regex::Regex::new(&format!("^(?s:{pattern})$")).map_err(|_| {
                    let reason =
                        format!("invalid regular expression in label_replace(): {pattern}");
                    EvalError::Parameter { reason }
                })?;
                for item in &mut items {
                    let value = item.labels.get(source).to_owned();
                    if let Some(captures) = regex.captures(&value) {
                        let mut new = String::new();
                        captures.expand(replacement, &mut new);
                        set(item, &new);
                    }
                }
            }
            (_, [_, separator, sources @ ..]) => {
                for item in &mut items {
                    let values: Vec<&str> =
                        sources.iter().map(|source| item.labels.get(source)).collect();
                    let joined = values.join(separator);
                    set(item, &joined);
                }
            }
            _ => {}
        }
        unique(items.iter().map(|item| &item.labels))?;
        Ok(items)
    }
}

/// Changes each value; the result is no longer the metric it was.
fn map(items: Vec<Item>, change: impl Fn(f64) -> f64) -> Vec<Item> {
    let changed = |item: Item| Item { value: change(item.value), nameless: true, at: None, ..item };
    items.into_iter().map(changed).collect()
}

/// What says that something is not there: 1, with the labels that the selector fixes.
fn absent(argument: Option<&Expr>) -> Item {
    let mut labels = Labels::empty();
    if let Some(Node::Selector(selector) | Node::Window { selector, .. }) =
        argument.map(|a| &a.bare().node)
    {
        for matcher in selector.matchers.iter().filter(|m| m.name() != METRIC_NAME) {
            let alone =
                selector.matchers.iter().filter(|other| other.name() == matcher.name()).count()
                    == 1;
            if matcher.op() == Op::Equal && alone {
                labels = labels.with(matcher.name(), matcher.value());
            }
        }
    }
    Item { labels, value: 1.0, nameless: false, at: None }
}

fn quantiles(wanted: f64, buckets: Vec<Item>) -> Vec<Item> {
    let mut order: Vec<Labels> = Vec::new();
    let mut histograms: HashMap<Labels, Vec<(f64, f64)>> = HashMap::new();
    for bucket in buckets {
        let Some(bound) = parse_number(bucket.labels.get("le")) else { continue };
        let key = bucket.labels.with("le", "");
        histograms
            .entry(key)
            .or_insert_with_key(|key| {
                order.push(key.clone());
                Vec::new()
            })
            .push((bound, bucket.value));
    }
    order
        .into_iter()
        .filter_map(|labels| {
            let mut buckets = histograms.remove(&labels)?;
            let value = histogram_quantile(wanted, &mut buckets);
            Some(Item { labels, value, nameless: true, at: None })
        })
        .collect()
}

fn parse_number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" | "inf" | "+inf" => Some(f64::INFINITY),
        "-Inf" | "-inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

fn of_number(function: &str, x: f64) -> f64 {
    match function {
        "abs" => x.abs(),
        "acos" => x.acos(),
        "acosh" => x.acosh(),
        "asin" => x.asin(),
        "asinh" => x.asinh(),
        "atan" => x.atan(),
        "atanh" => x.atanh(),
        "ceil" => x.ceil(),
        "cos" => x.cos(),
        "cosh" => x.cosh(),
        "deg" => x.to_degrees(),
        "exp" => x.exp(),
        "floor" => x.floor(),
        "ln" => x.ln(),
        "log10" => x.log10(),
        "log2" => x.log2(),
        "rad" => x.to_radians(),
        "sgn" if x == 0.0 || x.is_nan() => x,
        "sgn" => x.signum(),
        "sin" => x.sin(),
        "sinh" => x.sinh(),
        "sqrt" => x.sqrt(),
        "tan" => x.tan(),
        "tanh" => x.tanh(),
        _ => f64::NAN,
    }
}

/// A part of the UTC date of a time in seconds.
fn date_part(function: &str, at: f64) -> f64 {
    if !at.is_finite() || at.abs() > 1e14 {
        return f64::NAN;
    }
    let at = at.floor() as i64;
    let days = at.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let part = match function {
        "minute" => at.rem_euclid(3600) / 60,
        "hour" => at.rem_euclid(86_400) / 3600,
        "day_of_week" => (days + 4).rem_euclid(7),
        "day_of_month" => day,
        "day_of_year" => days - days_to(year) + 1,
        "days_in_month" => match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        },
        "month" => month,
        _ => year,
    };
    part as f64
}

/// Year, month and day of a day counted from 1970, by counting from the first of March of the
/// year 0, where leap days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The first day of a year, counted from 1970.
fn days_to(year: i64) -> i64 {
    let before = year - 1;
    365 * before + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// Prints a number as PromQL does, without an exponent.
pub fn print(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}
