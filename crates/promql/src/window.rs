//! The samples of a series within a window that moves with the time asked about.

use std::sync::Arc;

use series::histogram::ResetHint;
use series::{Histogram, HistogramSample, Labels, METRIC_NAME, Millis, Sample, Start};

use crate::expr::Border;

/// All samples of a series that some window needs, without the markers of its end.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub labels: Labels,
    pub nameless: bool,
    pub numbers: Vec<Sample>,
    pub histograms: Vec<HistogramSample>,
    pub starts: Vec<Start>,
}

/// Where a window begins and ends for each time that is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub range: Millis,
    pub border: Border,
    /// How far beyond its borders a window may look, when it does.
    pub look_back: Millis,
    /// The end of each window; they never go back.
    pub ends: Vec<Millis>,
}

/// The samples of one window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    pub track: &'a Track,
    pub numbers: &'a [Sample],
    pub histograms: &'a [HistogramSample],
    /// Where the first number stands in the track.
    pub first_number: usize,
    pub from: Millis,
    pub to: Millis,
    pub border: Border,
}

/// Finds the window for each time after the other, going through the samples once.
pub(crate) struct Slide<'a> {
    track: &'a Track,
    frame: &'a Frame,
    numbers: (usize, usize),
    histograms: (usize, usize),
}

impl<'a> Slide<'a> {
    pub(crate) fn new(track: &'a Track, frame: &'a Frame) -> Self {
        Self { track, frame, numbers: (0, 0), histograms: (0, 0) }
    }

    pub(crate) fn window(&mut self, index: usize) -> Window<'a> {
        let to = self.frame.ends[index];
        let from = to.saturating_sub(self.frame.range);
        let (mut after, mut until) = (from, to);
        if self.frame.border != Border::Plain {
            after = after.saturating_sub(self.frame.look_back);
        }
        if self.frame.border == Border::Smoothed {
            until = until.saturating_add(self.frame.look_back);
        }
        let (start, end) = &mut self.numbers;
        advance(&self.track.numbers, |sample| sample.at, after, start);
        *end = (*end).max(*start);
        advance(&self.track.numbers, |sample| sample.at, until, end);
        let numbers = &self.track.numbers[*start..*end];
        let first_number = *start;
        let (start, end) = &mut self.histograms;
        advance(&self.track.histograms, |sample| sample.at, after, start);
        *end = (*end).max(*start);
        advance(&self.track.histograms, |sample| sample.at, until, end);
        let histograms = &self.track.histograms[*start..*end];
        let (track, border) = (self.track, self.frame.border);
        Window { track, numbers, histograms, first_number, from, to, border }
    }
}

/// Moves a place on to the first sample after a time.
fn advance<T>(samples: &[T], at: impl Fn(&T) -> Millis, time: Millis, place: &mut usize) {
    while samples.get(*place).is_some_and(|sample| at(sample) <= time) {
        *place += 1;
    }
}

/// A sample of either kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Either<'a> {
    Number(f64),
    Histogram(&'a Arc<Histogram>),
}

impl<'a> Window<'a> {
    /// Returns the window that has all samples.
    pub(crate) fn whole(track: &'a Track) -> Self {
        Self {
            track,
            numbers: &track.numbers,
            histograms: &track.histograms,
            first_number: 0,
            from: Millis::MIN,
            to: Millis::MAX,
            border: Border::Plain,
        }
    }

    /// The last two samples, whatever kind they are.
    pub(crate) fn last_two(&self) -> Vec<(Millis, Either<'a>)> {
        let numbers = &self.numbers[self.numbers.len().saturating_sub(2)..];
        let histograms = &self.histograms[self.histograms.len().saturating_sub(2)..];
        let mut all = Window { numbers, histograms, ..*self }.all();
        all.drain(..all.len().saturating_sub(2));
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.histograms.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len() + self.histograms.len()
    }

    pub(crate) fn metric(&self) -> &'a str {
        self.track.labels.get(METRIC_NAME)
    }

    /// The samples of both kinds in order of time.
    pub(crate) fn all(&self) -> Vec<(Millis, Either<'a>)> {
        let (mut numbers, mut histograms) =
            (self.numbers.iter().peekable(), self.histograms.iter().peekable());
        let mut all = Vec::with_capacity(self.len());
        loop {
            match (numbers.peek(), histograms.peek()) {
                (Some(number), Some(histogram)) if number.at > histogram.at => {
                    all.push((histogram.at, Either::Histogram(&histogram.value)));
                    histograms.next();
                }
                (Some(number), _) => {
                    all.push((number.at, Either::Number(number.value)));
                    numbers.next();
                }
                (None, Some(histogram)) => {
                    all.push((histogram.at, Either::Histogram(&histogram.value)));
                    histograms.next();
                }
                (None, None) => return all,
            }
        }
    }

    /// When the counter of the sample at a time began, if that is known.
    pub(crate) fn start_of(&self, at: Millis) -> Option<Millis> {
        let starts = &self.track.starts;
        let place = starts.binary_search_by_key(&at, |start| start.at).ok()?;
        Some(starts[place].start)
    }

    /// Whether the counter began again between two samples, by what is known of its start.
    pub(crate) fn starts_again(&self, before: Millis, now: Millis) -> bool {
        if self.track.starts.is_empty() {
            return false;
        }
        let Some(start) = self.start_of(now).filter(|start| *start < now && *start >= before)
        else {
            return false;
        };
        // A start at the sample before is a new interval, unless the start there was unknown too.
        start > before || self.start_of(before).is_some_and(|earlier| earlier < before)
    }

    /// Whether the start of a counter contradicts the sample before.
    pub(crate) fn start_overlaps(&self, before: Millis, now: Millis) -> bool {
        !self.track.starts.is_empty()
            && self
                .start_of(now)
                .is_some_and(|start| start < before && self.start_of(before) != Some(start))
    }
}

/// Says of each histogram whether the counter began again, as far as that can be told.
pub(crate) fn tell_resets(histograms: &mut [HistogramSample]) {
    for place in (1..histograms.len()).rev() {
        if histograms[place].value.hint != ResetHint::Unknown {
            continue;
        }
        let (before, now) = (&histograms[place - 1].value, &histograms[place].value);
        let hint = if now.is_reset_after(before) { ResetHint::Reset } else { ResetHint::NotReset };
        histograms[place].value = Arc::new(Histogram { hint, ..(**now).clone() });
    }
}
