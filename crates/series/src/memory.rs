//! Samples held as they are, without limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::histogram::ResetHint;
use crate::store::Start;
use crate::{
    Histogram, HistogramSample, Labels, Matcher, Millis, Sample, Select, SelectError, Series,
};

/// Series in memory: for tests of rules, and to ask a file a question.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    series: BTreeMap<Labels, BTreeMap<Millis, Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    value: Value,
    start: Option<Millis>,
}

#[derive(Debug, Clone)]
enum Value {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl Memory {
    /// Keeps a number; one that was there at this time is replaced.
    pub fn number(&mut self, labels: &Labels, at: Millis, value: f64) {
        self.keep(labels, at, Value::Number(value));
    }

    /// Keeps a histogram; what was there at this time is replaced.
    pub fn histogram(&mut self, labels: &Labels, at: Millis, value: Histogram) {
        self.keep(labels, at, Value::Histogram(Arc::new(value)));
    }

    /// Says when the counter of a sample began.
    pub fn start(&mut self, labels: &Labels, at: Millis, start: Millis) {
        if let Some(held) = self.series.get_mut(labels).and_then(|all| all.get_mut(&at)) {
            held.start = Some(start);
        }
    }

    fn keep(&mut self, labels: &Labels, at: Millis, value: Value) {
        let held = Held { value, start: None };
        match self.series.get_mut(labels) {
            Some(samples) => drop(samples.insert(at, held)),
            None => drop(self.series.insert(labels.clone(), BTreeMap::from([(at, held)]))),
        }
    }
}

impl Select for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        if from > to {
            return Ok(Vec::new());
        }
        let fits = |labels: &Labels| matchers.iter().all(|matcher| matcher.fits(labels));
        let mut selected = Vec::new();
        for (labels, samples) in self.series.iter().filter(|(labels, _)| fits(labels)) {
            let mut series = Series::new(labels.clone(), Vec::new());
            // What is known about a histogram depends on the one before it, selected or not.
            let mut before =
                samples.range(..from).next_back().and_then(|(_, held)| of(&held.value));
            for (at, held) in samples.range(from..=to) {
                match &held.value {
                    Value::Number(value) => series.samples.push(Sample { at: *at, value: *value }),
                    Value::Histogram(value) => {
                        let value = hinted(value, before);
                        series.histograms.push(HistogramSample { at: *at, value });
                    }
                }
                before = of(&held.value);
                series.starts.extend(held.start.map(|start| Start { at: *at, start }));
            }
            if !series.samples.is_empty() || !series.histograms.is_empty() {
                selected.push(series);
            }
        }
        Ok(selected)
    }
}

fn of(value: &Value) -> Option<&Arc<Histogram>> {
    match value {
        Value::Histogram(histogram) => Some(histogram),
        Value::Number(_) => None,
    }
}

/// A histogram that follows another counter without a reset says so; otherwise nothing is known.
fn hinted(value: &Arc<Histogram>, before: Option<&Arc<Histogram>>) -> Arc<Histogram> {
    let hint = match (value.hint, before) {
        (ResetHint::Gauge, _) => ResetHint::Gauge,
        (ResetHint::Reset, _) | (_, None) => ResetHint::Unknown,
        (_, Some(before)) => {
            let plain = Histogram { hint: ResetHint::Unknown, ..(**value).clone() };
            let follows = before.hint != ResetHint::Gauge
                && !before.is_stale()
                && !plain.is_reset_after(before);
            if follows { ResetHint::NotReset } else { ResetHint::Unknown }
        }
    };
    if hint == value.hint {
        return Arc::clone(value);
    }
    Arc::new(Histogram { hint, ..(**value).clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_histograms_of_a_series_are_selected_together() {
        let labels = Labels::metric("took", [("job", "web")]);
        let mut memory = Memory::default();
        memory.number(&labels, 0, 1.0);
        memory.histogram(&labels, 10, Histogram { count: 2.0, ..Histogram::default() });
        memory.histogram(&labels, 20, Histogram { count: 3.0, ..Histogram::default() });
        memory.histogram(&labels, 30, Histogram { count: 1.0, ..Histogram::default() });
        let series = memory.select(&[Matcher::equal("job", "web")], 0, 30).expect("series");
        let hints: Vec<_> = series[0].histograms.iter().map(|sample| sample.value.hint).collect();
        assert_eq!(series[0].samples, [Sample { at: 0, value: 1.0 }]);
        assert_eq!(hints, [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Unknown]);
    }
}
