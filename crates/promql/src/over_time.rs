//! Functions of the samples of one window, and the sums they share with aggregation.

use series::{Millis, Sample};

/// The samples of one series in a window that is open on the left.
pub(crate) struct Window<'a> {
    pub samples: &'a [Sample],
    pub from: Millis,
    pub to: Millis,
}

/// Returns the value of a function over a window, or nothing when there are too few samples.
pub(crate) fn over_time(name: &str, window: &Window, numbers: &[f64], now: Millis) -> Option<f64> {
    let samples = window.samples;
    let values = || -> Vec<f64> { samples.iter().map(|sample| sample.value).collect() };
    let (first, last) = (samples.first()?, samples.last()?);
    Some(match name {
        "rate" => extrapolated(window, true, true)?,
        "increase" => extrapolated(window, true, false)?,
        "delta" => extrapolated(window, false, false)?,
        "irate" => instant_change(samples, true)?,
        "idelta" => instant_change(samples, false)?,
        "deriv" => slope(samples, first.at)?.0,
        "predict_linear" => {
            let (slope, intercept) = slope(samples, now)?;
            intercept + slope * numbers.first()?
        }
        "double_exponential_smoothing" => smoothed(samples, numbers)?,
        "changes" => pairs(samples, |a, b| {
            a.to_bits() != b.to_bits() && a != b && !(a.is_nan() && b.is_nan())
        }),
        "resets" => pairs(samples, |a, b| b < a),
        "avg_over_time" => mean(&values()),
        "sum_over_time" => sum(&values()),
        "count_over_time" => samples.len() as f64,
        "min_over_time" => crate::aggregate::extreme(&values(), |new, old| new < old),
        "max_over_time" => crate::aggregate::extreme(&values(), |new, old| new > old),
        "last_over_time" => last.value,
        "first_over_time" => first.value,
        "present_over_time" => 1.0,
        "stddev_over_time" => variance(&values()).sqrt(),
        "stdvar_over_time" => variance(&values()),
        "quantile_over_time" => quantile(*numbers.first()?, &mut values()),
        "mad_over_time" => {
            let mut all = values();
            if all.iter().any(|value| value.is_nan()) {
                return Some(f64::NAN);
            }
            let median = quantile(0.5, &mut all);
            let mut distances: Vec<f64> = all.iter().map(|value| (value - median).abs()).collect();
            quantile(0.5, &mut distances)
        }
        "ts_of_first_over_time" => seconds(first.at),
        "ts_of_last_over_time" => seconds(last.at),
        "ts_of_max_over_time" => seconds(time_of(samples, |new, old| new >= old)),
        "ts_of_min_over_time" => seconds(time_of(samples, |new, old| new <= old)),
        _ => return None,
    })
}

pub(crate) fn seconds(at: Millis) -> f64 {
    at as f64 / 1000.0
}

fn time_of(samples: &[Sample], beats: impl Fn(f64, f64) -> bool) -> Millis {
    let mut best = samples[0];
    for sample in samples {
        if beats(sample.value, best.value) || best.value.is_nan() {
            best = *sample;
        }
    }
    best.at
}

fn pairs(samples: &[Sample], counts: impl Fn(f64, f64) -> bool) -> f64 {
    samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count() as f64
}

/// The change over the window, extended to its borders where the samples come close to them.
fn extrapolated(window: &Window, counter: bool, per_second: bool) -> Option<f64> {
    let samples = window.samples;
    let (first, last) = (samples.first()?, samples.last()?);
    if samples.len() < 2 {
        return None;
    }
    let mut change = last.value - first.value;
    if counter {
        // A counter that fell began again at zero.
        for pair in samples.windows(2) {
            if pair[1].value < pair[0].value {
                change += pair[0].value;
            }
        }
    }
    let mut to_start = seconds(first.at - window.from);
    let mut to_end = seconds(window.to - last.at);
    let covered = seconds(last.at - first.at);
    let between = covered / (samples.len() - 1) as f64;
    // A border within 1.1 of the usual distance is where the next sample would be; a further one
    // means that the series began or ended inside the window, half a distance away at a guess.
    let near = between * 1.1;
    if to_start >= near {
        to_start = between / 2.0;
    }
    if counter && change > 0.0 && first.value >= 0.0 {
        // A counter is never below zero, so the line goes back to its zero point at most.
        to_start = to_start.min(covered * (first.value / change));
    }
    if to_end >= near {
        to_end = between / 2.0;
    }
    let mut factor = (covered + to_start + to_end) / covered;
    if per_second {
        factor /= seconds(window.to - window.from);
    }
    Some(change * factor)
}

fn instant_change(samples: &[Sample], per_second: bool) -> Option<f64> {
    let [.., before, last] = samples else { return None };
    let mut change = last.value - before.value;
    if per_second {
        if last.value < before.value {
            change = last.value;
        }
        change /= seconds(last.at - before.at);
    }
    Some(change)
}

/// Slope per second and value at a time of the least-squares line.
fn slope(samples: &[Sample], at: Millis) -> Option<(f64, f64)> {
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

/// A sum that keeps what rounding would lose (Kahan and Neumaier).
#[derive(Default)]
struct Kahan {
    sum: f64,
    rest: f64,
}

impl Kahan {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.rest = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.rest += (self.sum - sum) + value;
        } else {
            self.rest += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    fn value(&self) -> f64 {
        self.sum + self.rest
    }
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

/// The quantile of some values; between two of them by a straight line.
pub(crate) fn quantile(wanted: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = wanted * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// The quantile of a classic histogram: upper bounds and counts up to them.
pub(crate) fn histogram_quantile(wanted: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return f64::NAN;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    // Buckets are scraped one after the other: a later one may seem to hold less.
    let mut most = f64::NEG_INFINITY;
    for bucket in buckets.iter_mut() {
        most = most.max(bucket.1);
        bucket.1 = most;
    }
    let Some(all) = buckets.last().map(|last| last.1).filter(|_| buckets.len() >= 2) else {
        return f64::NAN;
    };
    if all == 0.0 || all.is_nan() {
        return f64::NAN;
    }
    let mut rank = wanted * all;
    let last = buckets.len() - 1;
    let index = buckets[..last].iter().position(|bucket| bucket.1 >= rank).unwrap_or(last);
    if index == last {
        return buckets[last - 1].0;
    }
    let end = buckets[index].0;
    if index == 0 && end <= 0.0 {
        return end;
    }
    let (mut start, mut count) = (0.0, buckets[index].1);
    if index > 0 {
        start = buckets[index - 1].0;
        count -= buckets[index - 1].1;
        rank -= buckets[index - 1].1;
    }
    start + (end - start) * (rank / count)
}
