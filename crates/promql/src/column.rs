//! The values of one series at every time that is asked about.

use std::sync::Arc;

use series::{Histogram, Labels, METRIC_NAME, Millis};

/// What a series is at one time.
#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    /// A number.
    Number(f64),
    /// A distribution.
    Histogram(Arc<Histogram>),
}

impl Quantity {
    /// Returns the number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    pub(crate) fn histogram(value: Histogram) -> Self {
        Self::Histogram(Arc::new(value))
    }
}

impl From<f64> for Quantity {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

/// What a series is at one time, if it is there.
pub(crate) type Cell = Option<Quantity>;

/// The values of one series at every time that is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub labels: Labels,
    /// Whether the name of the metric goes away at the end.
    pub nameless: bool,
    pub cells: Vec<Cell>,
}

impl Column {
    pub(crate) fn new(labels: Labels, cells: Vec<Cell>) -> Self {
        Self { labels, nameless: false, cells }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cells.iter().all(Option::is_none)
    }

    pub(crate) fn metric(&self) -> &str {
        self.labels.get(METRIC_NAME)
    }

    /// Changes each number; histograms go away, and the result is no longer the metric it was.
    pub(crate) fn map_numbers(mut self, change: impl Fn(f64) -> f64) -> Self {
        for cell in &mut self.cells {
            *cell = match cell {
                Some(Quantity::Number(value)) => Some(Quantity::Number(change(*value))),
                _ => None,
            };
        }
        self.nameless = true;
        self
    }
}

/// Labels that say what a metric is, and go away with its name.
pub(crate) fn is_of_metric(label: &str) -> bool {
    matches!(label, METRIC_NAME | "__type__" | "__unit__")
}

/// Returns the labels as they are at the end of the evaluation.
pub(crate) fn final_labels(labels: &Labels, nameless: bool) -> Labels {
    if nameless { labels.keep(|label| !is_of_metric(label)) } else { labels.clone() }
}

/// The times that are asked about: from one on, at equal distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub from: Millis,
    pub step: Millis,
    pub count: usize,
}

impl Grid {
    pub(crate) fn at(&self, index: usize) -> Millis {
        self.from.saturating_add(self.step.saturating_mul(index as i64))
    }

    pub(crate) fn last(&self) -> Millis {
        self.at(self.count.saturating_sub(1))
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = Millis> + '_ {
        (0..self.count).map(|index| self.at(index))
    }
}
