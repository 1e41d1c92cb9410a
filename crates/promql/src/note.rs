//! What is odd about an answer: warnings and hints that come with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::expr::{AggregateOp, BinaryOp, Span};
use series::histogram::short;

/// A remark about an answer and the part of the question that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
    /// The part of the question.
    pub span: Span,
}

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The answer lacks something or is likely not what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

impl Note {
    /// Returns it as Prometheus tells it, with line and column in the text of the question.
    pub fn told(&self, question: &str) -> String {
        let before = &question[..self.span.start.min(question.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}: {} ({line}:{column})", self.level, self.text)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Warning => "PromQL warning",
            Level::Info => "PromQL info",
        })
    }
}

/// The remarks of one answer, each once.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    all: RefCell<BTreeMap<(Level, String), Span>>,
}

/// The most remarks of one answer; what a thousand series have in common need not be said of each.
const MOST: usize = 100;

fn about(text: impl fmt::Display, metric: &str) -> String {
    if metric.is_empty() { text.to_string() } else { format!("{text} for metric name {metric:?}") }
}

impl Notes {
    fn add(&self, level: Level, span: Span, text: String) {
        let mut all = self.all.borrow_mut();
        if all.len() < MOST {
            all.entry((level, text)).or_insert(span);
        }
    }

    fn warn(&self, span: Span, text: impl Into<String>) {
        self.add(Level::Warning, span, text.into());
    }

    fn info(&self, span: Span, text: impl Into<String>) {
        self.add(Level::Info, span, text.into());
    }

    pub(crate) fn take(&self) -> Vec<Note> {
        let all = std::mem::take(&mut *self.all.borrow_mut());
        all.into_iter().map(|((level, text), span)| Note { level, text, span }).collect()
    }

    pub(crate) fn bad_quantile(&self, span: Span, quantile: f64) {
        let quantile = short(quantile);
        self.warn(span, format!("quantile value should be between 0 and 1, got {quantile}"));
    }

    pub(crate) fn bad_ratio(&self, span: Span, ratio: f64, capped: f64) {
        let (ratio, capped) = (short(ratio), short(capped));
        self.warn(
            span,
            format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}"),
        );
    }

    pub(crate) fn bad_bucket(&self, span: Span, metric: &str, bound: &str) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {bound:?}");
        self.warn(span, about(text, metric));
    }

    pub(crate) fn mixed_floats_histograms(&self, span: Span, metric: &str) {
        self.warn(span, about("encountered a mix of histograms and floats", metric));
    }

    pub(crate) fn mixed_in_aggregation(&self, span: Span) {
        self.warn(span, "encountered a mix of histograms and floats for aggregation");
    }

    pub(crate) fn mixed_classic_native(&self, span: Span, metric: &str) {
        self.warn(span, about("vector contains a mix of classic and native histograms", metric));
    }

    pub(crate) fn mixed_exponential_custom(&self, span: Span, metric: &str) {
        let text =
            "vector contains a mix of histograms with exponential and custom buckets schemas";
        self.warn(span, about(text, metric));
    }

    pub(crate) fn not_a_counter(&self, span: Span, metric: &str) {
        self.warn(span, format!("this native histogram metric is not a counter: {metric:?}"));
    }

    pub(crate) fn not_a_gauge(&self, span: Span, metric: &str) {
        self.warn(span, format!("this native histogram metric is not a gauge: {metric:?}"));
    }

    pub(crate) fn reset_conflict(&self, span: Span, during: &str) {
        self.warn(span, format!("conflicting counter resets during histogram {during}"));
    }

    pub(crate) fn start_overlap(&self, span: Span, metric: &str) {
        self.warn(
            span,
            format!(
                "sample has start time that overlaps with previous sample timestamp for metric {metric:?}"
            ),
        );
    }

    pub(crate) fn incompatible_layout(&self, span: Span, op: BinaryOp) {
        self.warn(
            span,
            format!("incompatible bucket layout encountered for binary operator {}", op.sign()),
        );
    }

    pub(crate) fn sort_in_range(&self, span: Span) {
        self.warn(
            span,
            "sort is ineffective for range queries since results are always ordered by labels",
        );
    }

    pub(crate) fn bounds_reconciled(&self, span: Span, during: &str) {
        self.info(span, format!("mismatched custom buckets were reconciled during {during}"));
    }

    pub(crate) fn maybe_no_counter(&self, span: Span, metric: &str) {
        self.info(
            span,
            format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
            ),
        );
    }

    pub(crate) fn no_counter_type(&self, span: Span, metric: &str, kind: &str) {
        self.info(
            span,
            format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind:?}: {metric:?}"
            ),
        );
    }

    pub(crate) fn forced_monotonic(&self, span: Span, metric: &str) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        self.info(span, about(text, metric));
    }

    pub(crate) fn incompatible_types(&self, span: Span, op: BinaryOp, left: &str, right: &str) {
        let sign = op.sign();
        self.info(
            span,
            format!(
                "incompatible sample types encountered for binary operator {sign:?}: {left} {sign} {right}"
            ),
        );
    }

    pub(crate) fn ignored_in_aggregation(&self, span: Span, op: AggregateOp) {
        self.info(span, format!("ignored histogram in {} aggregation", op.name()));
    }

    pub(crate) fn ignored_in_range(&self, span: Span, metric: &str) {
        let text = "ignored histograms in a range containing both floats and histograms";
        self.info(span, about(text, metric));
    }

    pub(crate) fn ignored_in_sort(&self, span: Span, function: &str) {
        self.info(span, format!("ignored histogram in {function}"));
    }

    pub(crate) fn nan_in_quantile(&self, span: Span, metric: &str, is_nan: bool) {
        let result = if is_nan { "result is NaN" } else { "result is skewed higher" };
        let text = format!("input to histogram_quantile has NaN observations, {result}");
        self.info(span, about(text, metric));
    }

    pub(crate) fn nan_in_fraction(&self, span: Span, metric: &str) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(span, about(text, metric));
    }
}
