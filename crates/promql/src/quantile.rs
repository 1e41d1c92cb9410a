//! Quantiles and shares of histograms, classic and native.

use std::collections::HashMap;

use series::histogram::Spread;
use series::{Histogram, Labels};

use crate::column::{Column, Quantity};
use crate::expr::Span;
use crate::note::Notes;

/// What is asked about the distribution at each time.
pub(crate) enum Wanted<'a> {
    /// The value below which this share of the observations lies.
    Quantile(&'a [f64]),
    /// The share of the observations between these values.
    Fraction(&'a [f64], &'a [f64]),
}

/// Series of one distribution: the buckets of a classic histogram, or a native one.
#[derive(Default)]
struct Distribution {
    labels: Option<Labels>,
    metric: String,
    /// Columns of classic buckets with their upper bounds.
    classic: Vec<(f64, usize)>,
    native: Option<usize>,
}

/// Answers for every distribution in the columns.
pub(crate) fn of_columns(
    wanted: &Wanted,
    columns: &[Column],
    count: usize,
    span: Span,
    notes: &Notes,
) -> Vec<Column> {
    let mut order: Vec<Labels> = Vec::new();
    let mut all: HashMap<Labels, Distribution> = HashMap::new();
    for (place, column) in columns.iter().enumerate() {
        let key = column.labels.with("le", "");
        let (mut numbers, mut histograms) = (false, false);
        for cell in column.cells.iter().flatten() {
            match cell {
                Quantity::Number(_) => numbers = true,
                Quantity::Histogram(_) => histograms = true,
            }
        }
        // A native histogram with a label `le` stands for itself.
        for (is_classic, there) in [(true, numbers), (false, histograms)] {
            if !there {
                continue;
            }
            let bound = column.labels.get("le");
            let parsed = parse_bound(bound);
            if is_classic && parsed.is_none() {
                notes.bad_bucket(span, column.metric(), bound);
                continue;
            }
            let key = if is_classic { key.clone() } else { column.labels.clone() };
            let distribution = all.entry(key).or_insert_with_key(|key| {
                order.push(key.clone());
                let (labels, metric) = (Some(key.clone()), column.metric().to_owned());
                Distribution { labels, metric, ..Distribution::default() }
            });
            match parsed {
                Some(bound) if is_classic => distribution.classic.push((bound, place)),
                _ => distribution.native = Some(place),
            }
        }
    }
    let mut answers = Vec::with_capacity(order.len());
    for key in order {
        let Some(distribution) = all.remove(&key) else { continue };
        let cells = (0..count)
            .map(|step| at(wanted, columns, &distribution, step, span, notes).map(Quantity::Number))
            .collect();
        let labels = distribution.labels.unwrap_or_else(Labels::empty);
        answers.push(Column { labels, nameless: true, cells });
    }
    answers
}

fn at(
    wanted: &Wanted,
    columns: &[Column],
    distribution: &Distribution,
    step: usize,
    span: Span,
    notes: &Notes,
) -> Option<f64> {
    let mut buckets: Vec<(f64, f64)> = distribution
        .classic
        .iter()
        .filter_map(|(bound, place)| match columns[*place].cells[step] {
            Some(Quantity::Number(value)) => Some((*bound, value)),
            _ => None,
        })
        .collect();
    let native = distribution.native.and_then(|place| match &columns[place].cells[step] {
        Some(Quantity::Histogram(histogram)) => Some(histogram),
        _ => None,
    });
    let metric = &distribution.metric;
    match (native, buckets.is_empty()) {
        (Some(_), false) => {
            notes.mixed_classic_native(span, metric);
            None
        }
        (Some(histogram), true) => Some(match wanted {
            Wanted::Quantile(wanted) => {
                native_quantile(wanted[step], histogram, metric, span, notes)
            }
            Wanted::Fraction(lower, upper) => {
                if histogram.sum.is_nan() {
                    notes.nan_in_fraction(span, metric);
                }
                native_fraction(lower[step], upper[step], histogram)
            }
        }),
        (None, true) => None,
        (None, false) => Some(match wanted {
            Wanted::Quantile(wanted) => {
                let (value, forced) = classic_quantile(wanted[step], &mut buckets);
                if forced {
                    notes.forced_monotonic(span, metric);
                }
                value
            }
            Wanted::Fraction(lower, upper) => {
                classic_fraction(lower[step], upper[step], &mut buckets)
            }
        }),
    }
}

pub(crate) fn parse_bound(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "+inf" | "inf" | "+infinity" | "infinity" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// Takes buckets with the same bound together and puts them in order; the last one has no bound.
fn ordered(buckets: &mut Vec<(f64, f64)>) -> bool {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    buckets.last().is_some_and(|last| last.0 == f64::INFINITY)
}

/// Differences between buckets that are due to the precision of floats.
const ROUNDING: f64 = 1e-12;

/// The quantile of a classic histogram: upper bounds and counts up to them. Says too whether a
/// bucket held less than the one before.
pub(crate) fn classic_quantile(wanted: f64, buckets: &mut Vec<(f64, f64)>) -> (f64, bool) {
    if let Some(limit) = out_of_bounds(wanted) {
        return (limit, false);
    }
    if !ordered(buckets) {
        return (f64::NAN, false);
    }
    // Buckets are scraped one after the other: a later one may seem to hold less.
    let mut forced = false;
    let mut before = buckets[0].1;
    for bucket in buckets.iter_mut().skip(1) {
        let difference = (before - bucket.1).abs();
        if bucket.1 == before {
        } else if difference <= ROUNDING * (before.abs() + bucket.1.abs()) {
            bucket.1 = before;
        } else if bucket.1 < before {
            bucket.1 = before;
            forced = true;
        } else {
            before = bucket.1;
        }
    }
    if buckets.len() < 2 {
        return (f64::NAN, forced);
    }
    let last = buckets.len() - 1;
    let all = buckets[last].1;
    if all == 0.0 || all.is_nan() {
        return (f64::NAN, forced);
    }
    let mut rank = wanted * all;
    let index = buckets[..last].iter().position(|bucket| bucket.1 >= rank).unwrap_or(last);
    if index == last {
        return (buckets[last - 1].0, forced);
    }
    let end = buckets[index].0;
    if index == 0 && end <= 0.0 {
        return (end, forced);
    }
    let (mut start, mut count) = (0.0, buckets[index].1);
    if index > 0 {
        start = buckets[index - 1].0;
        count -= buckets[index - 1].1;
        rank -= buckets[index - 1].1;
    }
    (start + (end - start) * (rank / count), forced)
}

fn out_of_bounds(quantile: f64) -> Option<f64> {
    match quantile {
        quantile if quantile.is_nan() => Some(f64::NAN),
        quantile if quantile < 0.0 => Some(f64::NEG_INFINITY),
        quantile if quantile > 1.0 => Some(f64::INFINITY),
        _ => None,
    }
}

/// The share of the observations of a classic histogram between two values.
fn classic_fraction(lower: f64, upper: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if !ordered(buckets) {
        return f64::NAN;
    }
    let all = buckets.last().map_or(0.0, |last| last.1);
    if all == 0.0 || all.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let below = |value: f64| {
        let (mut start, mut rank) = (f64::NEG_INFINITY, 0.0);
        for (end, count) in buckets.iter().copied() {
            if start == f64::NEG_INFINITY && end > 0.0 {
                start = 0.0;
            }
            if value <= start {
                return rank;
            }
            if value < end {
                if start == f64::NEG_INFINITY {
                    return count;
                }
                if end == f64::INFINITY {
                    return rank;
                }
                return rank + (count - rank) * (value - start) / (end - start);
            }
            (start, rank) = (end, count);
        }
        all
    };
    (below(upper) - below(lower)) / all
}

fn spread(histogram: &Histogram, is_zero: bool) -> Spread {
    if histogram.is_custom() || is_zero { Spread::Linear } else { Spread::Exponential }
}

/// The quantile of a native histogram.
fn native_quantile(
    wanted: f64,
    histogram: &Histogram,
    metric: &str,
    span: Span,
    notes: &Notes,
) -> f64 {
    if let Some(limit) = out_of_bounds(wanted) {
        return limit;
    }
    let all = histogram.count;
    if all == 0.0 || all.is_nan() {
        return f64::NAN;
    }
    let has_nan = histogram.sum.is_nan();
    // The way from the nearer end is the more precise one; what is not a number lies above.
    let forward = has_nan || wanted < 0.5;
    let ranges = histogram.ranges();
    let mut rank = if forward { wanted * all } else { (1.0 - wanted) * all };
    let mut count = 0.0;
    let mut found = None;
    let mut step = |range: &series::histogram::Range| {
        count += range.count;
        found = Some(*range);
        count >= rank
    };
    let _reached =
        if forward { ranges.iter().any(&mut step) } else { ranges.iter().rev().any(&mut step) };
    count = count.min(all);
    if has_nan && count < rank {
        notes.nan_in_quantile(span, metric, true);
        return f64::NAN;
    }
    let Some(mut range) = found else { return f64::NAN };
    if has_nan {
        notes.nan_in_quantile(span, metric, false);
    }
    if histogram.is_custom() {
        if range.lower == f64::NEG_INFINITY {
            if range.upper <= 0.0 {
                return range.upper;
            }
            range.lower = 0.0;
        }
        if range.upper == f64::INFINITY {
            return range.lower;
        }
    }
    if count < rank {
        return if forward { range.upper } else { range.lower };
    }
    rank = if forward { rank - (count - range.count) } else { count - rank };
    let share = rank / range.count;
    let is_zero = range.lower <= 0.0 && range.upper >= 0.0;
    if spread(histogram, is_zero) == Spread::Linear {
        return range.lower + (range.upper - range.lower) * share;
    }
    let (lower, upper) = (range.lower.abs().log2(), range.upper.abs().log2());
    if range.lower > 0.0 {
        (lower + (upper - lower) * share).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - share)).exp2()
    }
}

/// The share of the observations of a native histogram between two values.
fn native_fraction(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let ranges = histogram.ranges();
    let most = if histogram.sum.is_nan() {
        ranges.iter().map(|range| range.count).sum()
    } else {
        histogram.count
    };
    let below = |value: f64| {
        let mut rank = 0.0;
        for range in &ranges {
            let mut range = *range;
            if histogram.is_custom() && range.lower == f64::NEG_INFINITY && range.upper > 0.0 {
                range.lower = 0.0;
            }
            if value <= range.lower {
                return rank;
            }
            if value < range.upper {
                if range.lower == f64::NEG_INFINITY {
                    return rank + range.count;
                }
                if range.upper == f64::INFINITY {
                    return rank;
                }
                let is_zero = range.lower <= 0.0 && range.upper >= 0.0;
                return rank + range.count * range.share_below(value, spread(histogram, is_zero));
            }
            rank += range.count;
        }
        most
    };
    (below(upper).min(most) - below(lower).min(most)) / histogram.count
}

/// How far the observations of a histogram lie apart: their variance.
pub(crate) fn native_variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut sum = series::histogram::Kahan::default();
    for range in histogram.ranges() {
        let value = if histogram.is_custom() {
            f64::midpoint(range.upper, range.lower)
        } else if range.lower <= 0.0 && range.upper >= 0.0 {
            0.0
        } else {
            range.middle(Spread::Exponential)
        };
        sum.add(range.count * (value - mean) * (value - mean));
    }
    sum.value() / histogram.count
}
