//! Functions of the samples of one window, and the sums they share with aggregation.

use series::Sample;
use series::histogram::{Kahan, Total};

use crate::column::Quantity;
use crate::expr::{Border, Span};
use crate::note::Notes;
use crate::rate::{self, Change, seconds};
use crate::window::{Either, Window};

/// A function of the samples of a window, and what it is given besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTime<'a> {
    pub name: &'a str,
    /// Where the window stands in the question.
    pub span: Span,
    pub notes: &'a Notes,
    /// What the counters had reached before their falls; only for `rate` and `increase`.
    pub falls: &'a [f64],
    /// The numbers that are given besides the window.
    pub numbers: &'a [f64],
    /// The time that is asked about.
    pub now: series::Millis,
}

impl OverTime<'_> {
    /// Returns the value of the function over a window, or nothing when there are too few samples.
    pub(crate) fn of(&self, window: &Window) -> Option<Quantity> {
        if window.is_empty() {
            return None;
        }
        let change = |counter: bool, per_second: bool| Change {
            counter,
            per_second,
            span: self.span,
            notes: self.notes,
        };
        match self.name {
            "rate" => return rate::change(window, self.falls, change(true, true)),
            "increase" => return rate::change(window, self.falls, change(true, false)),
            "delta" => return rate::change(window, self.falls, change(false, false)),
            "irate" => return rate::last_change(window, change(true, true)),
            "idelta" => return rate::last_change(window, change(false, false)),
            "sum_over_time" | "avg_over_time" => return self.sum_or_mean(window),
            "last_over_time" | "first_over_time" => return end(window, self.name),
            _ => {}
        }
        let of_all = match self.name {
            "count_over_time" => Some(window.len() as f64),
            "present_over_time" => Some(1.0),
            "changes" => return pairs(window, is_other).map(Quantity::Number),
            "resets" => return pairs(window, falls).map(Quantity::Number),
            "ts_of_first_over_time" => {
                let (number, histogram) = (window.numbers.first(), window.histograms.first());
                let times = number.map(|n| n.at).into_iter().chain(histogram.map(|h| h.at));
                times.min().map(seconds)
            }
            "ts_of_last_over_time" => {
                let (number, histogram) = (window.numbers.last(), window.histograms.last());
                let times = number.map(|n| n.at).into_iter().chain(histogram.map(|h| h.at));
                times.max().map(seconds)
            }
            _ => None,
        };
        if let Some(value) = of_all {
            return Some(Quantity::Number(value));
        }
        // The rest knows numbers only.
        if window.numbers.is_empty() {
            return None;
        }
        if !window.histograms.is_empty() {
            self.notes.ignored_in_range(self.span, window.metric());
        }
        self.of_numbers(window.numbers).map(Quantity::Number)
    }

    fn of_numbers(&self, samples: &[Sample]) -> Option<f64> {
        let values = || -> Vec<f64> { samples.iter().map(|sample| sample.value).collect() };
        let first = samples.first()?;
        Some(match self.name {
            "deriv" => slope(samples, first.at)?.0,
            "predict_linear" => {
                let (slope, intercept) = slope(samples, self.now)?;
                intercept + slope * self.numbers.first()?
            }
            "double_exponential_smoothing" => smoothed(samples, self.numbers)?,
            "min_over_time" => crate::aggregate::extreme(&values(), |new, old| new < old),
            "max_over_time" => crate::aggregate::extreme(&values(), |new, old| new > old),
            "stddev_over_time" => variance(&values()).sqrt(),
            "stdvar_over_time" => variance(&values()),
            "quantile_over_time" => quantile(*self.numbers.first()?, &mut values()),
            "mad_over_time" => {
                let mut all = values();
                if all.iter().any(|value| value.is_nan()) {
                    return Some(f64::NAN);
                }
                let median = quantile(0.5, &mut all);
                let mut distances: Vec<f64> =
                    all.iter().map(|value| (value - median).abs()).collect();
                quantile(0.5, &mut distances)
            }
            "ts_of_max_over_time" => seconds(time_of(samples, |new, old| new >= old)),
            "ts_of_min_over_time" => seconds(time_of(samples, |new, old| new <= old)),
            _ => return None,
        })
    }

    fn sum_or_mean(&self, window: &Window) -> Option<Quantity> {
        let is_mean = self.name == "avg_over_time";
        if window.histograms.is_empty() {
            let values: Vec<f64> = window.numbers.iter().map(|sample| sample.value).collect();
            return Some(Quantity::Number(if is_mean { mean(&values) } else { sum(&values) }));
        }
        if !window.numbers.is_empty() {
            self.notes.mixed_floats_histograms(self.span, window.metric());
            return None;
        }
        let histograms: Vec<&series::Histogram> =
            window.histograms.iter().map(|sample| &*sample.value).collect();
        let total = histogram_sum(&histograms, is_mean, self.span, self.notes, window.metric())?;
        Some(Quantity::histogram(total))
    }
}

/// Adds histograms up, or takes their mean, and says what was odd about it.
pub(crate) fn histogram_sum(
    histograms: &[&series::Histogram],
    is_mean: bool,
    span: Span,
    notes: &Notes,
    metric: &str,
) -> Option<series::Histogram> {
    let (first, rest) = histograms.split_first()?;
    let added = |weight: f64| {
        let first = if weight == 1.0 { (*first).clone() } else { first.scaled(weight) };
        let mut total = Total::of(&first);
        for histogram in rest {
            total.add_weighted(histogram, weight)?;
        }
        Ok::<_, series::histogram::Incompatible>(total.finish())
    };
    let Ok((total, merged)) = added(1.0) else {
        notes.mixed_exponential_custom(span, metric);
        return None;
    };
    if merged.conflicting_resets {
        notes.reset_conflict(span, "aggregation");
    }
    if merged.bounds_reconciled {
        notes.bounds_reconciled(span, "aggregation");
    }
    if !is_mean {
        return Some(total);
    }
    let count = histograms.len() as f64;
    let is_finite = |total: &series::Histogram| {
        total.count.is_finite()
            && total.sum.is_finite()
            && total.zero_count.is_finite()
            && total.positive.iter().chain(&total.negative).all(|b| b.count.is_finite())
    };
    if is_finite(&total) {
        return Some(total.divided(count));
    }
    // The sum overflows although the mean may not: weigh each before adding.
    added(1.0 / count).ok().map(|(mean, _)| mean)
}

fn end(window: &Window, name: &str) -> Option<Quantity> {
    let is_last = name == "last_over_time";
    let (number, histogram) = if is_last {
        (window.numbers.last(), window.histograms.last())
    } else {
        (window.numbers.first(), window.histograms.first())
    };
    let of_histogram = |sample: &series::HistogramSample| {
        Quantity::Histogram(std::sync::Arc::clone(&sample.value))
    };
    match (number, histogram) {
        (Some(number), Some(histogram)) if (number.at < histogram.at) == is_last => {
            Some(of_histogram(histogram))
        }
        (Some(number), _) => Some(Quantity::Number(number.value)),
        (None, histogram) => histogram.map(of_histogram),
    }
}

fn time_of(samples: &[Sample], beats: impl Fn(f64, f64) -> bool) -> series::Millis {
    let mut best = samples[0];
    for sample in samples {
        if beats(sample.value, best.value) || best.value.is_nan() {
            best = *sample;
        }
    }
    best.at
}

/// How many samples follow one for which the answer is yes.
fn pairs(
    window: &Window,
    counts: impl Fn(&Window, (series::Millis, Either), (series::Millis, Either)) -> bool,
) -> Option<f64> {
    let mut all = window.all();
    if window.border == Border::Anchored {
        // Of what came before the window only the last sample counts.
        let within = all.partition_point(|(at, _)| *at <= window.from);
        if within == all.len() {
            return None;
        }
        all.drain(..within.saturating_sub(1));
    }
    let count = all.windows(2).filter(|pair| counts(window, pair[0], pair[1])).count();
    Some(count as f64)
}

fn is_other(
    _: &Window,
    (_, before): (series::Millis, Either),
    (_, now): (series::Millis, Either),
) -> bool {
    match (before, now) {
        (Either::Number(before), Either::Number(now)) => {
            before != now && !(before.is_nan() && now.is_nan())
        }
        (Either::Histogram(before), Either::Histogram(now)) => !before.is_same(now),
        _ => true,
    }
}

fn falls(
    window: &Window,
    (before_at, before): (series::Millis, Either),
    (at, now): (series::Millis, Either),
) -> bool {
    match (before, now) {
        (Either::Number(before), Either::Number(now)) => {
            now < before || window.starts_again(before_at, at)
        }
        (Either::Histogram(before), Either::Histogram(now)) => {
            now.is_reset_after(before) || window.starts_again(before_at, at)
        }
        _ => true,
    }
}

/// Slope per second and value at a time of the least-squares line.
fn slope(samples: &[Sample], at: series::Millis) -> Option<(f64, f64)> {
    if samples.len() < 2 {
        return None;
    }
    let first = samples[0].value;
    if samples.iter().all(|sample| sample.value == first) {
        return if first.is_infinite() { Some((f64::NAN, f64::NAN)) } else { Some((0.0, first)) };
    }
    let count = samples.len() as f64;
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Kahan::default(), Kahan::default(), Kahan::default(), Kahan::default());
    for sample in samples {
        let x = seconds(sample.at - at);
        x_sum.add(x);
        y_sum.add(sample.value);
        xy_sum.add(x * sample.value);
        xx_sum.add(x * x);
    }
    let (x, y) = (x_sum.value(), y_sum.value());
    let covariance = xy_sum.value() - x * y / count;
    let variance = xx_sum.value() - x * x / count;
    let slope = covariance / variance;
    Some((slope, y / count - slope * x / count))
}

fn smoothed(samples: &[Sample], numbers: &[f64]) -> Option<f64> {
    let [level, trend] = numbers else { return None };
    if samples.len() < 2 {
        return None;
    }
    let mut value = samples[0].value;
    let mut slope = samples[1].value - samples[0].value;
    let mut before = 0.0;
    for (index, sample) in samples.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (value - before) + (1.0 - trend) * slope;
        }
        let smooth = level * sample.value + (1.0 - level) * (value + slope);
        before = value;
        value = smooth;
    }
    Some(value)
}

pub(crate) fn sum(values: &[f64]) -> f64 {
    let mut sum = Kahan::default();
    for value in values {
        sum.add(*value);
    }
    sum.value()
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let sum = sum(values);
    if sum.is_finite() || values.iter().any(|value| !value.is_finite()) {
        return sum / count;
    }
    // The sum overflows although the mean does not: weigh each value before adding.
    let mut mean = Kahan::default();
    for value in values {
        mean.add(value / count);
    }
    mean.value()
}

pub(crate) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (Kahan::default(), Kahan::default());
    for (index, value) in values.iter().enumerate() {
        let delta = value - mean.value();
        mean.add(delta / (index + 1) as f64);
        squares.add(delta * (value - mean.value()));
    }
    squares.value() / values.len() as f64
}

/// The order of values for quantiles: what is not a number comes first.
pub(crate) fn order(a: f64, b: f64) -> std::cmp::Ordering {
    b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(&b))
}

/// The quantile of some values; between two of them by a straight line.
pub(crate) fn quantile(wanted: f64, values: &mut [f64]) -> f64 {
    values.sort_by(|a, b| order(*a, *b));
    quantile_of_sorted(wanted, values)
}

/// The quantile of values that are in order.
pub(crate) fn quantile_of_sorted(wanted: f64, values: &[f64]) -> f64 {
    if values.is_empty() || wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    let rank = wanted * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}
