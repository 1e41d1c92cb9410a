//! How fast something changes within a window.

use std::sync::Arc;

use series::histogram::{Incompatible, ResetHint};
use series::{Histogram, HistogramSample, Millis, Sample};

use crate::column::Quantity;
use crate::expr::{Border, Span};
use crate::note::Notes;
use crate::window::{Either, Track, Window};

/// What is asked about the change within a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    /// Whether a fall means that the counter began again at zero.
    pub counter: bool,
    pub per_second: bool,
    pub span: Span,
    pub notes: &'a Notes,
}

pub(crate) fn seconds(at: Millis) -> f64 {
    at as f64 / 1000.0
}

/// For each number of a track what the counter had reached before all falls up to it.
///
/// The falls within a window are then the difference of two of them.
pub(crate) fn falls(track: &Track) -> Vec<f64> {
    let whole = Window::whole(track);
    let mut reached = 0.0;
    let mut falls = Vec::with_capacity(track.numbers.len());
    falls.extend(track.numbers.first().map(|_| 0.0));
    for pair in track.numbers.windows(2) {
        if pair[1].value < pair[0].value || whole.starts_again(pair[0].at, pair[1].at) {
            reached += pair[0].value;
        }
        falls.push(reached);
    }
    falls
}

/// The change over the window, extended to its borders where the samples come close to them.
pub(crate) fn change(window: &Window, falls: &[f64], change: Change) -> Option<Quantity> {
    let (numbers, histograms) = (window.numbers, window.histograms);
    let metric = window.metric();
    if !numbers.is_empty() && !histograms.is_empty() {
        change.notes.mixed_floats_histograms(change.span, metric);
        return None;
    }
    if window.border != Border::Plain {
        return match (numbers.is_empty(), histograms.is_empty()) {
            (false, _) => bordered(window, change).map(Quantity::Number),
            (_, false) => bordered_histogram(window, change).map(Quantity::histogram),
            _ => None,
        };
    }
    let times: (Millis, Millis) = match (numbers, histograms) {
        ([first, .., last], _) => (first.at, last.at),
        (_, [first, .., last]) => (first.at, last.at),
        ([one], _) => (one.at, one.at),
        (_, [one]) => (one.at, one.at),
        _ => return None,
    };
    let (first_at, last_at) = times;
    let between = window.len() - 1;
    let mut number = 0.0;
    let mut histogram = None;
    match (numbers, histograms) {
        ([first, .., last], _) => {
            number = last.value - first.value;
            if change.counter {
                let (from, to) = (window.first_number, window.first_number + between);
                let fallen = falls[to] - falls[from];
                number += if fallen.is_nan() { falls_within(window) } else { fallen };
                let overlaps = |pair: &[Sample]| window.start_overlaps(pair[0].at, pair[1].at);
                if !window.track.starts.is_empty() && numbers.windows(2).any(overlaps) {
                    change.notes.start_overlap(change.span, metric);
                }
            }
        }
        (_, [_, _, ..]) => histogram = Some(histogram_change(window, change)?),
        _ => {}
    }
    let mut to_start = seconds(first_at - window.from);
    let mut to_end = seconds(window.to - last_at);
    let mut covered = seconds(last_at - first_at);
    let distance = if between > 0 { covered / between as f64 } else { 0.0 };
    // A border within 1.1 of the usual distance is where the next sample would be; a further one
    // means that the series began or ended inside the window, half a distance away at a guess.
    let near = distance * 1.1;
    let start = window
        .start_of(first_at)
        .filter(|start| change.counter && *start > window.from && *start < first_at);
    if let Some(start) = start {
        // The counter was zero when it began: nothing is to be guessed on that side.
        to_start = 0.0;
        covered = seconds(last_at - start);
        if let Some(first) = numbers.first() {
            number += first.value;
        } else if let Some(first) = histograms.first() {
            histogram = Some(match histogram {
                None => (*first.value).clone(),
                Some(change_so_far) => add(&change_so_far, &first.value, change, metric)?,
            });
        }
    } else if between == 0 {
        return None;
    } else {
        if to_start >= near {
            to_start = distance / 2.0;
        }
        if change.counter {
            // A counter is never below zero: the line goes back to its zero point at most.
            let first = histograms.first().map_or(f64::NAN, |first| first.value.count);
            let to_zero = match (numbers.first(), &histogram) {
                (Some(first), _) if number > 0.0 && first.value >= 0.0 => {
                    covered * (first.value / number)
                }
                (_, Some(change)) if change.count > 0.0 && first >= 0.0 => {
                    covered * (first / change.count)
                }
                _ => to_start,
            };
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
    }
    if to_end >= near {
        to_end = distance / 2.0;
    }
    let mut factor = if covered == 0.0 { 1.0 } else { (covered + to_start + to_end) / covered };
    if change.per_second {
        factor /= seconds(window.to - window.from);
    }
    Some(match histogram {
        Some(change) => {
            Quantity::histogram(Histogram { hint: ResetHint::Gauge, ..change.scaled(factor) })
        }
        None => Quantity::Number(number * factor),
    })
}

fn falls_within(window: &Window) -> f64 {
    let falls = |pair: &[Sample]| {
        let falls = pair[1].value < pair[0].value || window.starts_again(pair[0].at, pair[1].at);
        if falls { pair[0].value } else { 0.0 }
    };
    window.numbers.windows(2).map(falls).sum()
}

/// Adds two histograms and says what was odd about it.
fn add(one: &Histogram, other: &Histogram, change: Change, metric: &str) -> Option<Histogram> {
    match one.plus(other) {
        Ok((sum, merged)) => {
            if merged.bounds_reconciled {
                change.notes.bounds_reconciled(change.span, "addition");
            }
            Some(sum)
        }
        Err(Incompatible) => {
            change.notes.mixed_exponential_custom(change.span, metric);
            None
        }
    }
}

fn subtract(one: &Histogram, other: &Histogram, change: Change, metric: &str) -> Option<Histogram> {
    match one.minus(other) {
        Ok((difference, merged)) => {
            if merged.bounds_reconciled {
                change.notes.bounds_reconciled(change.span, "subtraction");
            }
            Some(difference)
        }
        Err(Incompatible) => {
            change.notes.mixed_exponential_custom(change.span, metric);
            None
        }
    }
}

fn histogram_change(window: &Window, change: Change) -> Option<Histogram> {
    let samples = window.histograms;
    let metric = window.metric();
    let [first, second, ..] = samples else { return None };
    let last = &samples.last()?.value;
    let is_gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    let mut before = Arc::clone(&first.value);
    if change.counter {
        if is_gauge(&before) || is_gauge(last) {
            change.notes.not_a_counter(change.span, metric);
        }
        // What the first sample looks like does not matter when the counter began again after it.
        if window.starts_again(first.at, second.at) || second.value.is_reset_after(&before) {
            let second = &second.value;
            let bounds = Arc::clone(&second.bounds);
            before = Arc::new(Histogram { bounds, ..Histogram::empty(second.schema) });
        }
    }
    let custom = before.is_custom();
    if last.is_custom() != custom {
        change.notes.mixed_exponential_custom(change.span, metric);
        return None;
    }
    let mut schema = last.schema.min(before.schema);
    if change.counter {
        for sample in &samples[1..samples.len() - 1] {
            if is_gauge(&sample.value) {
                change.notes.not_a_counter(change.span, metric);
            }
            if sample.value.is_custom() != custom {
                change.notes.mixed_exponential_custom(change.span, metric);
                return None;
            }
            schema = schema.min(sample.value.schema);
        }
    }
    let mut coarse = (**last).clone();
    coarse.coarsen(schema);
    let mut total = subtract(&coarse, &before, change, metric)?;
    if change.counter {
        let mut before_at = first.at;
        let mut overlaps = false;
        for sample in &samples[1..] {
            overlaps |= window.start_overlaps(before_at, sample.at);
            if window.starts_again(before_at, sample.at) || sample.value.is_reset_after(&before) {
                total = add(&total, &before, change, metric)?;
            }
            before = Arc::clone(&sample.value);
            before_at = sample.at;
        }
        if overlaps {
            change.notes.start_overlap(change.span, metric);
        }
    } else if !is_gauge(&first.value) || !is_gauge(last) {
        change.notes.not_a_gauge(change.span, metric);
    }
    total.hint = ResetHint::Gauge;
    Some(total)
}

/// The places of the samples that stand at the borders, or nothing when the window has none.
fn borders<T>(samples: &[T], at: impl Fn(&T) -> Millis, window: &Window) -> Option<(usize, usize)> {
    let mut last = samples.len().checked_sub(1)?;
    let first = samples[..last].partition_point(|sample| at(sample) <= window.from);
    let first = first.saturating_sub(1);
    let smoothed = window.border == Border::Smoothed;
    if smoothed {
        last = samples[..last].partition_point(|sample| at(sample) < window.to);
    }
    let outside =
        at(&samples[last]) <= window.from || (smoothed && at(&samples[first]) > window.to);
    (!outside).then_some((first, last))
}

fn bordered(window: &Window, change: Change) -> Option<f64> {
    let samples = window.numbers;
    let (mut first, last) = borders(samples, |sample| sample.at, window)?;
    let smoothed = window.border == Border::Smoothed;
    let left = if smoothed && samples[first].at < window.from && first + 1 < samples.len() {
        between(samples[first], samples[first + 1], window.from, change.counter)
    } else {
        samples[first].value
    };
    let right = if smoothed && last > 0 && samples[last].at > window.to {
        between(samples[last - 1], samples[last], window.to, change.counter)
    } else {
        samples[last].value
    };
    let mut result = right - left;
    if change.counter {
        // The values at the borders have taken resets next to them into account.
        if samples[first].at <= window.from {
            first += 1;
        }
        let end = if samples[last].at >= window.to { last } else { last + 1 };
        let mut before = left;
        for value in samples[first.min(end)..end].iter().map(|sample| sample.value).chain([right]) {
            if value < before {
                result += before;
            }
            before = value;
        }
    }
    if change.per_second {
        result /= seconds(window.to - window.from);
    }
    Some(result)
}

/// The value at a time between two samples, on a straight line.
pub(crate) fn between(one: Sample, other: Sample, at: Millis, counter: bool) -> f64 {
    let from = if counter && other.value < one.value { 0.0 } else { one.value };
    from + (other.value - from) * (at - one.at) as f64 / (other.at - one.at) as f64
}

/// The histogram at a time between two samples.
pub(crate) fn histogram_between(
    one: &HistogramSample,
    other: &HistogramSample,
    at: Millis,
    change: Change,
    metric: &str,
) -> Option<Histogram> {
    if at == one.at {
        return Some((*one.value).clone());
    }
    if at == other.at {
        return Some((*other.value).clone());
    }
    if one.value.is_custom() != other.value.is_custom() {
        change.notes.mixed_exponential_custom(change.span, metric);
        return None;
    }
    let share = (at - one.at) as f64 / (other.at - one.at) as f64;
    if change.counter && other.value.is_reset_after(&one.value) {
        return Some(other.value.scaled(share));
    }
    let hint = other.value.hint;
    let rise = subtract(&other.value, &one.value, change, metric)?.scaled(share);
    let sum = add(&rise, &one.value, change, metric)?;
    // What lies between two counters is a counter as well.
    Some(Histogram { hint: if hint == ResetHint::Gauge { sum.hint } else { hint }, ..sum })
}

fn bordered_histogram(window: &Window, change: Change) -> Option<Histogram> {
    let samples = window.histograms;
    let metric = window.metric();
    let (first, last) = borders(samples, |sample| sample.at, window)?;
    let custom = samples[first].value.is_custom();
    for sample in &samples[first..=last.max(first)] {
        if sample.value.is_custom() != custom {
            change.notes.mixed_exponential_custom(change.span, metric);
            return None;
        }
        if change.counter && sample.value.hint == ResetHint::Gauge {
            change.notes.not_a_counter(change.span, metric);
        }
    }
    let smoothed = window.border == Border::Smoothed;
    let left_between = smoothed && samples[first].at < window.from && first + 1 < samples.len();
    let left = if left_between {
        histogram_between(&samples[first], &samples[first + 1], window.from, change, metric)?
    } else {
        (*samples[first].value).clone()
    };
    let right = if smoothed && last > 0 && samples[last].at > window.to {
        histogram_between(&samples[last - 1], &samples[last], window.to, change, metric)?
    } else {
        (*samples[last].value).clone()
    };
    let gauges = left.hint == ResetHint::Gauge && right.hint == ResetHint::Gauge;
    if !change.counter && !gauges {
        change.notes.not_a_gauge(change.span, metric);
    }
    let mut result = subtract(&right, &left, change, metric)?;
    if change.counter {
        let mut next = first + 1;
        let mut before = &left;
        if left_between && samples[next].value.is_reset_after(&samples[first].value) {
            // The value at the border has taken this reset into account.
            before = &samples[next].value;
            next += 1;
        }
        if next <= last {
            for sample in &samples[next..last] {
                if sample.value.is_reset_after(before) {
                    result = add(&result, before, change, metric)?;
                }
                before = &sample.value;
            }
            if right.is_reset_after(before) {
                result = add(&result, before, change, metric)?;
            }
        }
    }
    if change.per_second {
        result = result.divided(seconds(window.to - window.from));
    }
    result.hint = ResetHint::Gauge;
    Some(result)
}

/// The change between the last two samples.
pub(crate) fn last_change(window: &Window, change: Change) -> Option<Quantity> {
    let all = window.last_two();
    let [.., (before_at, before), (last_at, last)] = all.as_slice() else { return None };
    let apart = seconds(last_at - before_at);
    if apart == 0.0 {
        return None;
    }
    let metric = window.metric();
    let again = window.starts_again(*before_at, *last_at);
    match (before, last) {
        (Either::Number(before), Either::Number(last)) => {
            let reset = change.per_second && (last < before || again);
            let rise = if reset { *last } else { last - before };
            Some(Quantity::Number(if change.per_second { rise / apart } else { rise }))
        }
        (Either::Histogram(before), Either::Histogram(last)) => {
            let is_gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
            let (any, both) =
                (is_gauge(before) || is_gauge(last), is_gauge(before) && is_gauge(last));
            match change.per_second {
                true if any => change.notes.not_a_counter(change.span, metric),
                false if !both => change.notes.not_a_gauge(change.span, metric),
                _ => {}
            }
            let reset = change.per_second && (again || last.is_reset_after(before));
            let mut rise =
                if reset { (***last).clone() } else { subtract(last, before, change, metric)? };
            if change.per_second {
                rise = rise.divided(apart);
            }
            Some(Quantity::histogram(Histogram { hint: ResetHint::Gauge, ..rise }))
        }
        _ => {
            change.notes.mixed_floats_histograms(change.span, metric);
            None
        }
    }
}
