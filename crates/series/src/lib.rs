//! Numbers over time.
//!
//! A [`Store`] keeps labelled samples: the golden signals of every service, release and instance,
//! and whatever is scraped. Writers [`append`](Store::append) rows, readers
//! [`select`](Store::select) series by matchers; the crate `promql` answers questions on top.
//!
//! A store is in memory and bounded by [`Limits`], or [on disk](disk) with a log, blocks and
//! retention. Callers see only rows, matchers and series, and need not know which it is.
//!
//! | module | is |
//! |---|---|
//! | [`labels`] | what names a series |
//! | [`matcher`] | which series are meant |
//! | [`store`] | where the samples are |
//! | [`exposition`] | what services tell: OpenMetrics and the text format of Prometheus |
//! | [`histogram`] | a distribution as one sample |
//! | [`memory`] | samples held as they are, without limits |
//! | [`disk`] | samples that outlive the process |
//! | [`signal`] | rate, errors and latency of instances on their way in |
//!
//! # Glossary
//!
//! - **sample**: a value at a time: a number, or a native histogram.
//! - **labels**: names and values that identify a series; the metric's name is the label
//!   `__name__`.
//! - **series**: all samples with the same labels, in order of time.
//! - **row**: one sample on its way in, with the labels of its series.
//! - **counter, gauge, bucket**: ordinary series; what they mean is for the question to know.
//! - **head**: the newest hours, in memory and in the log.
//! - **block**: a range of time that does not change any more, in files.
//! - **chunk**: samples of one series packed together.
//! - **checkpoint**: the head written down, so that the log before it is not needed.
//! - **coarse numbers**: what is kept of five minutes of samples for long times.
//! - **stale marker**: the value that says that a series ended here ([`STALE`]).

pub mod disk;
pub mod exposition;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod memory;
pub mod signal;
pub mod store;

pub use histogram::Histogram;
pub use labels::{Labels, METRIC_NAME};
pub use matcher::{Matcher, MatcherError, Op};
pub use memory::Memory;
pub use store::{
    Amount, AppendError, Appended, HistogramSample, Limits, Millis, Row, Sample, Select,
    SelectError, Series, Start, Stats, Store,
};

/// The value that says that a series ended here: a NaN with a bit pattern of its own.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is the stale marker and not just any NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}
