//! From a question to an answer.
//!
//! Each part of a question is worked out for all times at once, one series after the other: a part
//! gives [columns](Column), and windows slide over the samples of a series once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use series::histogram::ResetHint;
use series::{
    Histogram, HistogramSample, Labels, Millis, Sample, Select, SelectError, Series, is_stale,
};

use crate::aggregate::{Aggregation, Parameter};
use crate::binary::{self, Operation};
use crate::column::{Cell, Column, Grid, Quantity, final_labels};
use crate::expr::{At, Border, Expr, Kind, Node, Selector, Shift};
use crate::length::{Length, LengthError};
use crate::note::{Note, Notes};
use crate::rate::{Change, between, histogram_between};
use crate::window::{Frame, Track, tell_resets};

pub use crate::print::number as print;

/// How long the last sample stands for "now".
pub const LOOK_BACK: Millis = 300_000;
/// How often a subquery without a step asks.
pub const SUBQUERY_STEP: Millis = 60_000;
/// The most steps of one question.
pub const STEPS: i64 = 11_000;

/// What a question gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(f64),
    /// One text.
    Text(String),
    /// For each series one value, in the order that the question gives.
    Vector(Vec<Point>),
    /// For each series the samples of a window, or of all times that were asked about.
    Matrix(Vec<Series>),
}

/// The value of one series at the time asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What names the series.
    pub labels: Labels,
    /// Its value.
    pub value: Quantity,
}

/// A value and what is odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Remarks on it, warnings first.
    pub notes: Vec<Note>,
}

/// How much a question may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most samples that are read or worked out at once.
    pub samples: usize,
    /// The most series of one selector.
    pub series: usize,
    /// The most times of a range.
    pub steps: i64,
    /// The longest that it may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: 50_000_000, series: 100_000, steps: STEPS, time: Duration::from_secs(30) }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The samples could not be read.
    #[error("read the samples")]
    Select(#[from] SelectError),
    /// Two series of a result have the same labels.
    #[error("vector cannot contain metrics with the same labelset")]
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
        group: String,
        /// The side that must be unique.
        side: &'static str,
        /// One of them.
        one: String,
        /// Another.
        other: String,
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
    /// A duration cannot be calculated.
    #[error("{0}")]
    Length(#[from] LengthError),
    /// A window or step is not longer than nothing at these times.
    #[error("duration must be greater than 0")]
    NoLength,
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
    /// The question would read or work out more than is sensible.
    #[error("{what} is more than {most}: ask for fewer series, a shorter time or longer steps")]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// How much there may be.
        most: usize,
    },
    /// It took too long.
    #[error("the answer takes longer than {} s: ask for less", limit.as_secs_f64())]
    TooLong {
        /// The longest that it may take.
        limit: Duration,
    },
    /// Whoever asked does not want to know any more.
    #[error("the question was cancelled")]
    Cancelled,
}

/// A question to series, with what it may cost.
pub struct Question<'a> {
    source: &'a dyn Select,
    expr: &'a Expr,
    limits: Limits,
    look_back: Millis,
    cancelled: Option<&'a AtomicBool>,
}

impl<'a> Question<'a> {
    /// Returns a question with the usual limits.
    pub fn new(source: &'a dyn Select, expr: &'a Expr) -> Self {
        let limits = Limits::default();
        Self { source, expr, limits, look_back: LOOK_BACK, cancelled: None }
    }

    /// Sets how much it may cost.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how long the last sample stands for "now".
    #[must_use]
    pub fn look_back(self, look_back: Millis) -> Self {
        Self { look_back, ..self }
    }

    /// Ends the evaluation soon after this becomes true.
    #[must_use]
    pub fn until(self, cancelled: &'a AtomicBool) -> Self {
        Self { cancelled: Some(cancelled), ..self }
    }

    /// Answers at one time.
    pub fn at(&self, at: Millis) -> Result<Answer, EvalError> {
        let grid = Grid { from: at, step: 0, count: 1 };
        let expr = self.resolved(grid, 0)?;
        let evaluator = self.evaluator(grid, true);
        evaluator.weigh(&expr, grid)?;
        let value = match expr.kind() {
            Kind::Matrix => Value::Matrix(evaluator.whole_window(&expr)?),
            _ => evaluator.answer(&expr, grid)?.into_value()?,
        };
        Ok(Answer { value, notes: evaluator.notes.take() })
    }

    /// Answers at every step from one time to another; the series are sorted by labels.
    pub fn over(&self, from: Millis, to: Millis, step: Millis) -> Result<Answer, EvalError> {
        let steps = if step > 0 && to >= from { to.saturating_sub(from) / step + 1 } else { 0 };
        if steps == 0 || steps > self.limits.steps {
            return Err(EvalError::Steps { from, to, step });
        }
        if !matches!(self.expr.kind(), Kind::Scalar | Kind::Vector) {
            let reason = format!(
                "only a number or an instant vector can be asked over a range, this is {}",
                self.expr.kind()
            );
            return Err(EvalError::Parameter { reason });
        }
        let grid = Grid { from, step, count: usize::try_from(steps).unwrap_or(1) };
        let expr = self.resolved(grid, to - from)?;
        let evaluator = Evaluator { to, ..self.evaluator(grid, false) };
        evaluator.weigh(&expr, grid)?;
        let series = evaluator.answer(&expr, grid)?.into_series(grid)?;
        Ok(Answer { value: Value::Matrix(series), notes: evaluator.notes.take() })
    }

    /// Works out the durations that depend on the times that are asked about.
    fn resolved(&self, grid: Grid, range: Millis) -> Result<Expr, EvalError> {
        let mut expr = self.expr.clone();
        let mut failed = None;
        let fix = |length: &mut Length| -> Result<Millis, EvalError> {
            let millis = length.millis(grid.step, range)?;
            *length = Length::Fixed(millis);
            Ok(millis)
        };
        let longer = |millis: Millis| if millis > 0 { Ok(()) } else { Err(EvalError::NoLength) };
        expr.walk_mut(&mut |part| {
            let fixed = match &mut part.node {
                Node::Selector(selector) => fix(&mut selector.shift.offset).map(|_| ()),
                Node::Window { selector, range } => {
                    fix(&mut selector.shift.offset).and_then(|_| fix(range)).and_then(longer)
                }
                Node::Subquery { range, step, shift, .. } => fix(&mut shift.offset)
                    .and_then(|_| fix(range))
                    .and_then(longer)
                    .and_then(|()| step.as_mut().map_or(Ok(1), fix))
                    .and_then(longer),
                _ => Ok(()),
            };
            failed = failed.take().or(fixed.err());
            true
        });
        failed.map_or(Ok(expr), Err)
    }

    fn evaluator(&self, grid: Grid, instant: bool) -> Evaluator<'a> {
        Evaluator {
            source: self.source,
            limits: self.limits,
            look_back: self.look_back,
            cancelled: self.cancelled,
            ends: Instant::now().checked_add(self.limits.time),
            from: grid.from,
            to: grid.last(),
            step: grid.step,
            instant,
            notes: Notes::default(),
            cells: AtomicUsize::new(0),
        }
    }
}

/// Answers a question at one time.
pub fn instant(source: &dyn Select, expr: &Expr, at: Millis) -> Result<Value, EvalError> {
    Ok(Question::new(source, expr).at(at)?.value)
}

/// Answers a question at every step from `from` to `to`; the series are sorted by labels.
pub fn range(
    source: &dyn Select,
    expr: &Expr,
    from: Millis,
    to: Millis,
    step: Millis,
) -> Result<Vec<Series>, EvalError> {
    match Question::new(source, expr).over(from, to, step)?.value {
        Value::Matrix(series) => Ok(series),
        _ => Ok(Vec::new()),
    }
}

/// What a part of a question gives at every time.
pub(crate) enum Part {
    Scalars(Vec<f64>),
    Text(String),
    Columns(Vec<Column>),
}

impl Part {
    fn into_value(self) -> Result<Value, EvalError> {
        Ok(match self {
            Part::Scalars(values) => Value::Scalar(values.first().copied().unwrap_or(f64::NAN)),
            Part::Text(text) => Value::Text(text),
            Part::Columns(columns) => {
                let mut points: Vec<Point> = Vec::with_capacity(columns.len());
                let mut seen = std::collections::HashSet::with_capacity(columns.len());
                for column in columns {
                    let Some(value) = column.cells.into_iter().next().flatten() else { continue };
                    let labels = final_labels(&column.labels, column.nameless);
                    if !seen.insert(labels.clone()) {
                        return Err(EvalError::SameLabels { labels });
                    }
                    points.push(Point { labels, value });
                }
                Value::Vector(points)
            }
        })
    }

    fn into_series(self, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let columns = match self {
            Part::Scalars(values) => {
                let cells = values.into_iter().map(|value| Some(Quantity::Number(value)));
                vec![Column::new(Labels::empty(), cells.collect())]
            }
            Part::Text(_) => Vec::new(),
            Part::Columns(columns) => merged(columns, true)?,
        };
        let mut all = Vec::with_capacity(columns.len());
        for column in columns {
            let mut series = Series::new(column.labels, Vec::new());
            for (at, cell) in grid.times().zip(column.cells) {
                match cell {
                    Some(Quantity::Number(value)) => series.samples.push(Sample { at, value }),
                    Some(Quantity::Histogram(value)) => {
                        series.histograms.push(HistogramSample { at, value });
                    }
                    None => {}
                }
            }
            if !series.samples.is_empty() || !series.histograms.is_empty() {
                all.push(series);
            }
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }
}

/// Takes columns with the same labels together; they must not be there at the same time.
pub(crate) fn merged(columns: Vec<Column>, at_the_end: bool) -> Result<Vec<Column>, EvalError> {
    let mut places: HashMap<(Labels, bool), usize> = HashMap::with_capacity(columns.len());
    let mut all: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let nameless = column.nameless && !at_the_end;
        let labels =
            if at_the_end { final_labels(&column.labels, column.nameless) } else { column.labels };
        match places.entry((labels, nameless)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                let labels = entry.key().0.clone();
                entry.insert(all.len());
                all.push(Column { labels, nameless, cells: column.cells });
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                let known = &mut all[*entry.get()];
                for (cell, new) in known.cells.iter_mut().zip(column.cells) {
                    if new.is_some() {
                        if cell.is_some() {
                            return Err(EvalError::SameLabels { labels: known.labels.clone() });
                        }
                        *cell = new;
                    }
                }
            }
        }
    }
    Ok(all)
}

/// Holds what the parts of a question have in common.
pub(crate) struct Evaluator<'a> {
    pub source: &'a dyn Select,
    pub limits: Limits,
    pub look_back: Millis,
    cancelled: Option<&'a AtomicBool>,
    ends: Option<Instant>,
    /// The first time of the whole question.
    pub from: Millis,
    /// The last time of the whole question.
    pub to: Millis,
    /// How far the times of the whole question lie apart.
    pub step: Millis,
    /// Whether one time is asked about.
    pub instant: bool,
    pub notes: Notes,
    /// How many cells were made so far.
    cells: AtomicUsize,
}

impl Evaluator<'_> {
    pub(crate) fn answer(&self, expr: &Expr, grid: Grid) -> Result<Part, EvalError> {
        self.part(expr, grid, false)
    }

    /// Works a part out; `counts_only` says that of histograms only count and sum matter, so that
    /// resets are told sample by sample.
    pub(crate) fn part(
        &self,
        expr: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Part, EvalError> {
        self.check()?;
        let part = match &expr.node {
            Node::Number(value) => Part::Scalars(vec![*value; grid.count]),
            Node::Text(text) => Part::Text(text.clone()),
            Node::Paren(inner) | Node::Positive(inner) => {
                return self.part(inner, grid, counts_only);
            }
            Node::Negative(inner) => match self.part(inner, grid, counts_only)? {
                Part::Scalars(values) => {
                    Part::Scalars(values.into_iter().map(|value| -value).collect())
                }
                Part::Columns(columns) => {
                    Part::Columns(columns.into_iter().map(negative).collect())
                }
                text @ Part::Text(_) => text,
            },
            Node::Selector(selector) => {
                let select = |selector| self.latest(selector, expr, grid, counts_only);
                Part::Columns(select(selector)?.into_iter().map(|(column, _)| column).collect())
            }
            Node::Window { .. } | Node::Subquery { .. } => Part::Columns(Vec::new()),
            Node::Binary { op, left, right, matching, bool } => {
                // A trimmed histogram needs its buckets.
                let counts_only = counts_only && !op.is_trim();
                let operation =
                    Operation { op: *op, bool: *bool, span: expr.span, notes: &self.notes };
                let left = self.part(left, grid, counts_only)?;
                let right = self.part(right, grid, counts_only)?;
                match (left, right) {
                    (Part::Scalars(a), Part::Scalars(b)) => Part::Scalars(
                        a.into_iter().zip(b).map(|(a, b)| binary::arithmetic(*op, a, b)).collect(),
                    ),
                    (Part::Columns(columns), Part::Scalars(scalars)) => {
                        Part::Columns(operation.with_scalar(columns, &scalars, false))
                    }
                    (Part::Scalars(scalars), Part::Columns(columns)) => {
                        Part::Columns(operation.with_scalar(columns, &scalars, true))
                    }
                    (Part::Columns(a), Part::Columns(b)) if op.is_set() => {
                        Part::Columns(binary::sets(*op, a, b, matching, grid.count))
                    }
                    (Part::Columns(a), Part::Columns(b)) => {
                        Part::Columns(operation.vectors(a, b, matching, grid.count)?)
                    }
                    // The reader lets no text stand beside an operator.
                    _ => Part::Columns(Vec::new()),
                }
            }
            Node::Aggregate { op, grouping, parameter, expr: inner } => {
                let parameter_span = parameter.as_ref().map_or(expr.span, |p| p.span);
                let parameter = match parameter {
                    None => Parameter::None,
                    Some(parameter) => match self.part(parameter, grid, false)? {
                        Part::Text(text) => Parameter::Text(text),
                        Part::Scalars(numbers) => Parameter::Numbers(numbers),
                        Part::Columns(_) => Parameter::None,
                    },
                };
                let (op, span, notes) = (*op, inner.span, &self.notes);
                let aggregation =
                    Aggregation { op, grouping, parameter, parameter_span, span, notes };
                let columns = self.columns(inner, grid, counts_only)?;
                Part::Columns(aggregation.of(columns, grid.count)?)
            }
            Node::Call { function, arguments } => {
                self.call(function.name, arguments, expr, grid, counts_only)?
            }
        };
        if let Part::Columns(columns) = &part {
            self.charge(columns.len(), grid.count)?;
        }
        Ok(part)
    }

    pub(crate) fn columns(
        &self,
        expr: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Vec<Column>, EvalError> {
        match self.part(expr, grid, counts_only)? {
            Part::Columns(columns) => Ok(columns),
            _ => Ok(Vec::new()),
        }
    }

    pub(crate) fn scalars(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match self.part(expr, grid, false)? {
            Part::Scalars(values) => Ok(values),
            _ => Ok(vec![f64::NAN; grid.count]),
        }
    }

    pub(crate) fn text(&self, expr: &Expr, grid: Grid) -> Result<String, EvalError> {
        match self.part(expr, grid, false)? {
            Part::Text(text) => Ok(text),
            _ => Ok(String::new()),
        }
    }

    /// Ends what takes too long or is not wanted any more.
    fn check(&self) -> Result<(), EvalError> {
        if self.cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
            return Err(EvalError::Cancelled);
        }
        if self.ends.is_some_and(|ends| Instant::now() > ends) {
            return Err(EvalError::TooLong { limit: self.limits.time });
        }
        Ok(())
    }

    /// Counts what is worked out against the limit.
    fn charge(&self, columns: usize, steps: usize) -> Result<(), EvalError> {
        let cells = columns.saturating_mul(steps);
        let all = self.cells.fetch_add(cells, Ordering::Relaxed).saturating_add(cells);
        // What is given back is not counted back: a question that makes so much in all is too much.
        let most = self.limits.samples;
        if all > most.saturating_mul(4) || cells > most {
            let what = format!("{all} values on the way to the answer");
            return Err(EvalError::TooMuch { what, most });
        }
        Ok(())
    }

    pub(crate) fn shifted(&self, shift: &Shift, now: Millis) -> Millis {
        let at = match shift.at {
            None => now,
            Some(At::Time(at)) => at,
            Some(At::Start) => self.from,
            Some(At::End) => self.to,
        };
        at.saturating_sub(shift.offset.fixed().unwrap_or(0))
    }

    pub(crate) fn select(
        &self,
        matchers: &[series::Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, EvalError> {
        let series = self.source.select(matchers, from, to)?;
        if series.len() > self.limits.series {
            let what = format!("{} series of one selector", series.len());
            return Err(EvalError::TooMuch { what, most: self.limits.series });
        }
        let samples = series.iter().map(|one| one.samples.len() + one.histograms.len()).sum();
        self.charge(samples, 1)?;
        Ok(series)
    }

    /// The last sample of each series at every time, if it is recent enough and the series has
    /// not ended, with the time it was taken.
    pub(crate) fn latest(
        &self,
        selector: &Selector,
        expr: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Vec<(Column, Vec<Millis>)>, EvalError> {
        let times: Vec<Millis> =
            grid.times().map(|now| self.shifted(&selector.shift, now)).collect();
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Ok(Vec::new());
        };
        let after = first.saturating_sub(self.look_back).saturating_add(1);
        let smoothed = selector.border == Border::Smoothed;
        let until = if smoothed { last.saturating_add(self.look_back) } else { *last };
        let mut selected = Vec::new();
        for mut series in self.select(&selector.matchers, after, until)? {
            if counts_only {
                tell_resets(&mut series.histograms);
            }
            let (cells, taken) = if smoothed {
                (self.smoothed(&series, &times, expr), times.clone())
            } else {
                self.latest_of(&series, &times)
            };
            let column = Column::new(series.labels, cells);
            if !column.is_empty() {
                selected.push((column, taken));
            }
        }
        Ok(selected)
    }

    fn latest_of(&self, series: &Series, times: &[Millis]) -> (Vec<Cell>, Vec<Millis>) {
        let (numbers, histograms) = (&series.samples, &series.histograms);
        let (mut n, mut h) = (0, 0);
        let mut taken = Vec::with_capacity(times.len());
        let cells = times
            .iter()
            .map(|now| {
                while numbers.get(n).is_some_and(|sample| sample.at <= *now) {
                    n += 1;
                }
                while histograms.get(h).is_some_and(|sample| sample.at <= *now) {
                    h += 1;
                }
                let number = n.checked_sub(1).map(|last| numbers[last]);
                let histogram = h.checked_sub(1).map(|last| &histograms[last]);
                let is_histogram =
                    histogram.is_some_and(|h| number.is_none_or(|number| h.at > number.at));
                let (at, cell) = match (number, histogram) {
                    (_, Some(sample)) if is_histogram => {
                        let value = Quantity::Histogram(Arc::clone(&sample.value));
                        (sample.at, (!sample.value.is_stale()).then_some(value))
                    }
                    (Some(sample), _) => {
                        let value = Quantity::Number(sample.value);
                        (sample.at, (!is_stale(sample.value)).then_some(value))
                    }
                    _ => (Millis::MIN, None),
                };
                taken.push(at);
                cell.filter(|_| at > now.saturating_sub(self.look_back))
            })
            .collect();
        (cells, taken)
    }

    /// The value of a series at every time, between two samples on a straight line.
    fn smoothed(&self, series: &Series, times: &[Millis], expr: &Expr) -> Vec<Cell> {
        let track = Track::of(series.clone(), false);
        let metric = series.labels.get(series::METRIC_NAME);
        let value = |now: &Millis| -> Cell {
            let after = now.saturating_sub(self.look_back);
            let until = now.saturating_add(self.look_back);
            let numbers = within(&track.numbers, |sample| sample.at, after, until);
            let histograms = within(&track.histograms, |sample| sample.at, after, until);
            if !numbers.is_empty() && !histograms.is_empty() {
                self.notes.mixed_floats_histograms(expr.span, metric);
                return None;
            }
            let next = numbers.partition_point(|sample| sample.at < *now);
            match (next.checked_sub(1).map(|p| numbers[p]), numbers.get(next)) {
                (_, Some(next)) if next.at == *now => return Some(next.value.into()),
                (Some(one), Some(other)) => return Some(between(one, *other, *now, false).into()),
                (Some(one), None) => return Some(one.value.into()),
                _ => {}
            }
            let next = histograms.partition_point(|sample| sample.at < *now);
            let of =
                |sample: &HistogramSample| Some(Quantity::Histogram(Arc::clone(&sample.value)));
            match (next.checked_sub(1).map(|p| &histograms[p]), histograms.get(next)) {
                (_, Some(next)) if next.at == *now => of(next),
                (Some(one), Some(other)) => {
                    let counter = other.value.hint != ResetHint::Gauge;
                    let (span, notes) = (expr.span, &self.notes);
                    let change = Change { counter, per_second: false, span, notes };
                    histogram_between(one, other, *now, change, metric).map(Quantity::histogram)
                }
                (Some(one), None) => of(one),
                _ => None,
            }
        };
        times.iter().map(value).collect()
    }

    /// The samples that the windows of a range vector are cut from, and where those windows are.
    pub(crate) fn tracks(
        &self,
        expr: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<(Vec<Track>, Frame), EvalError> {
        match &expr.node {
            Node::Paren(inner) => self.tracks(inner, grid, counts_only),
            Node::Window { selector, range } => {
                let ends: Vec<Millis> =
                    grid.times().map(|now| self.shifted(&selector.shift, now)).collect();
                let range = range.fixed().unwrap_or(0);
                let (border, look_back) = (selector.border, self.look_back);
                let frame = Frame { range, border, look_back, ends };
                let (Some(first), Some(last)) = (frame.ends.first(), frame.ends.last()) else {
                    return Ok((Vec::new(), frame));
                };
                let mut after = first.saturating_sub(range).saturating_add(1);
                if border != Border::Plain {
                    after = after.saturating_sub(look_back);
                }
                let until =
                    if border == Border::Smoothed { last.saturating_add(look_back) } else { *last };
                let tracks = self
                    .select(&selector.matchers, after, until)?
                    .into_iter()
                    .map(|series| Track::of(series, counts_only))
                    .collect();
                Ok((tracks, frame))
            }
            Node::Subquery { expr: inner, range, step, shift } => {
                let ends: Vec<Millis> = grid.times().map(|now| self.shifted(shift, now)).collect();
                let range = range.fixed().unwrap_or(0);
                let step = step.as_ref().and_then(Length::fixed).unwrap_or(SUBQUERY_STEP);
                let (border, look_back) = (Border::Plain, self.look_back);
                let frame = Frame { range, border, look_back, ends };
                let (Some(first), Some(last)) = (frame.ends.first(), frame.ends.last()) else {
                    return Ok((Vec::new(), frame));
                };
                let after = first.saturating_sub(range);
                // The times are multiples of the step, whatever time is asked about.
                let from = after.div_euclid(step).saturating_add(1).saturating_mul(step);
                if from > *last {
                    return Ok((Vec::new(), frame));
                }
                let count = (last.saturating_sub(from) / step).saturating_add(1);
                if count > self.limits.steps.saturating_mul(100) {
                    return Err(EvalError::Steps { from, to: *last, step });
                }
                let inner_grid = Grid { from, step, count: usize::try_from(count).unwrap_or(1) };
                let columns = self.columns(inner, inner_grid, false)?;
                let tracks = columns
                    .into_iter()
                    .map(|column| Track::of_column(column, inner_grid))
                    .collect();
                Ok((tracks, frame))
            }
            _ => {
                let (border, look_back) = (Border::Plain, self.look_back);
                Ok((Vec::new(), Frame { range: 0, border, look_back, ends: vec![0; grid.count] }))
            }
        }
    }

    /// All samples of a range vector at the one time that is asked about.
    fn whole_window(&self, expr: &Expr) -> Result<Vec<Series>, EvalError> {
        let grid = Grid { from: self.from, step: 0, count: 1 };
        let (tracks, frame) = self.tracks(expr, grid, false)?;
        let mut all = Vec::with_capacity(tracks.len());
        for track in &tracks {
            let window = crate::window::Slide::new(track, &frame).window(0);
            if window.is_empty() {
                continue;
            }
            let labels = final_labels(&track.labels, track.nameless);
            let mut series = Series::new(labels, window.numbers.to_vec());
            series.histograms = window.histograms.to_vec();
            all.push(series);
        }
        Ok(all)
    }
}

fn within<T>(samples: &[T], at: impl Fn(&T) -> Millis, after: Millis, until: Millis) -> &[T] {
    let start = samples.partition_point(|sample| at(sample) <= after);
    let end = samples.partition_point(|sample| at(sample) <= until).max(start);
    &samples[start..end]
}

fn negative(mut column: Column) -> Column {
    for cell in column.cells.iter_mut().flatten() {
        *cell = match cell {
            Quantity::Number(value) => Quantity::Number(-*value),
            Quantity::Histogram(histogram) => Quantity::histogram(histogram.scaled(-1.0)),
        };
    }
    column.nameless = true;
    column
}

/// What is known about a reset holds for the sample before, not for one at an earlier step.
fn without_reset(histogram: Arc<Histogram>) -> Arc<Histogram> {
    match histogram.hint {
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(Histogram { hint: ResetHint::Unknown, ..(*histogram).clone() })
        }
        ResetHint::Unknown | ResetHint::Gauge => histogram,
    }
}

impl Track {
    fn of(mut series: Series, counts_only: bool) -> Self {
        if counts_only {
            tell_resets(&mut series.histograms);
        }
        series.samples.retain(|sample| !is_stale(sample.value));
        series.histograms.retain(|sample| !sample.value.is_stale());
        Self {
            labels: series.labels,
            nameless: false,
            numbers: series.samples,
            histograms: series.histograms,
            starts: series.starts,
        }
    }

    fn of_column(column: Column, grid: Grid) -> Self {
        let (mut numbers, mut histograms) = (Vec::new(), Vec::new());
        for (at, cell) in grid.times().zip(column.cells) {
            match cell {
                Some(Quantity::Number(value)) => numbers.push(Sample { at, value }),
                Some(Quantity::Histogram(value)) => {
                    histograms.push(HistogramSample { at, value: without_reset(value) });
                }
                None => {}
            }
        }
        let (labels, nameless) = (column.labels, column.nameless);
        Self { labels, nameless, numbers, histograms, starts: Vec::new() }
    }
}
