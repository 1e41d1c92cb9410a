//! Functions of windows that move with the time asked about: every sample comes in once and goes
//! once, however many windows it lies in.
//!
//! What is let go is never subtracted, so that a sum forgets a huge value that has left its
//! window: a [`Queue`] holds summaries of what is left and joins two of them.

use series::Sample;
use series::histogram::Kahan;

use crate::column::{Cell, Quantity};
use crate::expr::Border;
use crate::over_time::{mean, order, quantile_of_sorted, sum, variance};
use crate::window::{Frame, Slide, Track, Window};

/// Returns the value of a function at every time, or nothing when it must be worked out window by
/// window: for histograms, for windows that look over their borders, for other functions.
///
/// `wanted` are the quantiles that are asked for, one for each time.
pub(crate) fn column(
    function: &str,
    track: &Track,
    frame: &Frame,
    wanted: Option<&[f64]>,
) -> Option<Vec<Cell>> {
    if !track.histograms.is_empty() || frame.border != Border::Plain {
        return None;
    }
    let values = |window: &Window| -> Vec<f64> {
        window.numbers.iter().map(|sample| sample.value).collect()
    };
    Some(match function {
        "sum_over_time" => summaries::<Sum>(track, frame, |all, window| {
            let total = all.0.value();
            if total.is_finite() { total } else { sum(&values(window)) }
        }),
        "avg_over_time" => summaries::<Sum>(track, frame, |all, window| {
            let total = all.0.value();
            if total.is_finite() { total / window.len() as f64 } else { mean(&values(window)) }
        }),
        "min_over_time" => summaries::<Least>(track, frame, |all, _| all.0),
        "max_over_time" => summaries::<Most>(track, frame, |all, _| all.0),
        "stdvar_over_time" => summaries::<Spread>(track, frame, |all, window| {
            all.variance().unwrap_or_else(|| variance(&values(window)))
        }),
        "stddev_over_time" => summaries::<Spread>(track, frame, |all, window| {
            all.variance().unwrap_or_else(|| variance(&values(window))).sqrt()
        }),
        "quantile_over_time" => quantiles(track, frame, wanted?),
        "changes" => pairs(track, frame, |before, now| {
            before.value != now.value && !(before.value.is_nan() && now.value.is_nan())
        }),
        "resets" => {
            let whole = Window::whole(track);
            pairs(track, frame, |before, now| {
                now.value < before.value || whole.starts_again(before.at, now.at)
            })
        }
        _ => return None,
    })
}

/// Gives what `value` says of each window that is not empty.
fn each_window(
    track: &Track,
    frame: &Frame,
    mut value: impl FnMut(usize, &Window) -> f64,
) -> Vec<Cell> {
    let mut slide = Slide::new(track, frame);
    let cell = |step: usize| {
        let window = slide.window(step);
        (!window.is_empty()).then(|| Quantity::Number(value(step, &window)))
    };
    (0..frame.ends.len()).map(cell).collect()
}

fn summaries<S: Summary>(
    track: &Track,
    frame: &Frame,
    value: impl Fn(S, &Window) -> f64,
) -> Vec<Cell> {
    let mut queue = Queue::<S>::default();
    each_window(track, frame, |_, window| {
        let start = window.first_number;
        let all = queue.over(&track.numbers, start, start + window.numbers.len());
        all.map_or(f64::NAN, |all| value(all, window))
    })
}

/// For each window how many samples follow one for which the answer is yes.
fn pairs(track: &Track, frame: &Frame, counts: impl Fn(&Sample, &Sample) -> bool) -> Vec<Cell> {
    let mut count = 0.0;
    let mut up_to = Vec::with_capacity(track.numbers.len());
    up_to.extend(track.numbers.first().map(|_| 0.0));
    for pair in track.numbers.windows(2) {
        count += f64::from(u8::from(counts(&pair[0], &pair[1])));
        up_to.push(count);
    }
    each_window(track, frame, |_, window| {
        let first = window.first_number;
        up_to[first + window.numbers.len() - 1] - up_to[first]
    })
}

/// What is known of samples that follow each other.
trait Summary: Copy {
    /// Returns what is known of one sample.
    fn of(value: f64) -> Self;

    /// Returns what is known of some samples and those that follow them.
    fn join(self, later: Self) -> Self;
}

/// Their sum.
#[derive(Clone, Copy)]
struct Sum(Kahan);

impl Summary for Sum {
    fn of(value: f64) -> Self {
        let mut sum = Kahan::default();
        sum.add(value);
        Self(sum)
    }

    fn join(self, later: Self) -> Self {
        Self(self.0.plus(later.0))
    }
}

/// The least of them; a number beats what is not a number.
#[derive(Clone, Copy)]
struct Least(f64);

impl Summary for Least {
    fn of(value: f64) -> Self {
        Self(value)
    }

    fn join(self, later: Self) -> Self {
        if later.0 < self.0 || self.0.is_nan() { later } else { self }
    }
}

/// The most of them; a number beats what is not a number.
#[derive(Clone, Copy)]
struct Most(f64);

impl Summary for Most {
    fn of(value: f64) -> Self {
        Self(value)
    }

    fn join(self, later: Self) -> Self {
        if later.0 > self.0 || self.0.is_nan() { later } else { self }
    }
}

/// How far they lie apart: count, mean, and the sum of the squares of the distances to it, which
/// can be joined (Chan, Golub and `LeVeque`, 1979).
#[derive(Clone, Copy)]
struct Spread {
    count: f64,
    mean: Kahan,
    squares: Kahan,
}

impl Spread {
    /// Returns the variance, unless some value has none.
    fn variance(self) -> Option<f64> {
        let variance = self.squares.value() / self.count;
        variance.is_finite().then_some(variance)
    }
}

impl Summary for Spread {
    fn of(value: f64) -> Self {
        let mut mean = Kahan::default();
        mean.add(value);
        Self { count: 1.0, mean, squares: Kahan::default() }
    }

    fn join(self, later: Self) -> Self {
        let count = self.count + later.count;
        let apart = later.mean.value() - self.mean.value();
        let (mut mean, mut squares) = (self.mean, self.squares.plus(later.squares));
        mean.add(apart * (later.count / count));
        let left = if later.count == 1.0 {
            // As one value after the other is added, to the last bit.
            later.mean.value() - mean.value()
        } else {
            apart * (self.count / count)
        };
        squares.add(apart * left * later.count);
        Self { count, mean, squares }
    }
}

/// The summary of the samples between two places that only move forward.
///
/// Of the samples before `middle` it knows for each place what follows up to `middle`, of those
/// from there on it knows all together. When the first are used up, the others take their place.
struct Queue<S> {
    /// Ends with what is known of all samples from some place to `middle`.
    before: Vec<S>,
    middle: usize,
    after: Option<S>,
    end: usize,
}

impl<S> Default for Queue<S> {
    fn default() -> Self {
        Self { before: Vec::new(), middle: 0, after: None, end: 0 }
    }
}

impl<S: Summary> Queue<S> {
    fn over(&mut self, samples: &[Sample], start: usize, end: usize) -> Option<S> {
        if start >= self.end {
            (self.middle, self.end, self.after) = (start, start, None);
            self.before.clear();
        }
        for sample in &samples[self.end..end.max(self.end)] {
            let one = S::of(sample.value);
            self.after = Some(self.after.map_or(one, |known| known.join(one)));
        }
        self.end = end.max(self.end);
        if start > self.middle {
            self.before.clear();
            for sample in samples[start..self.end].iter().rev() {
                let one = S::of(sample.value);
                self.before.push(self.before.last().map_or(one, |later| one.join(*later)));
            }
            (self.middle, self.after) = (self.end, None);
        }
        self.before.truncate(self.middle - start);
        match (self.before.last().copied(), self.after) {
            (Some(before), Some(after)) => Some(before.join(after)),
            (before, after) => before.or(after),
        }
    }
}

fn quantiles(track: &Track, frame: &Frame, wanted: &[f64]) -> Vec<Cell> {
    let mut sorted = Sorted::default();
    each_window(track, frame, |step, window| {
        let start = window.first_number;
        let values = sorted.over(&track.numbers, start, start + window.numbers.len());
        quantile_of_sorted(wanted.get(step).copied().unwrap_or(f64::NAN), values)
    })
}

/// The values between two places that only move forward, least first.
#[derive(Default)]
struct Sorted {
    values: Vec<f64>,
    start: usize,
    end: usize,
}

impl Sorted {
    fn over(&mut self, samples: &[Sample], start: usize, end: usize) -> &[f64] {
        let moved = (start - self.start) + (end - self.end);
        // Some values are moved in place; when most change, sorting again is faster.
        if moved * 8 > end - start {
            self.values.clear();
            self.values.extend(samples[start..end].iter().map(|sample| sample.value));
            self.values.sort_by(|a, b| order(*a, *b));
        } else {
            for sample in &samples[self.start..start] {
                let place = self.place(sample.value);
                self.values.remove(place);
            }
            for sample in &samples[self.end..end] {
                let place = self.place(sample.value);
                self.values.insert(place, sample.value);
            }
        }
        (self.start, self.end) = (start, end);
        &self.values
    }

    fn place(&self, value: f64) -> usize {
        self.values.partition_point(|own| order(*own, value).is_lt())
    }
}
