//! The golden signals: rate, errors and latency of each instance, as counters.
//!
//! Whoever serves requests calls [`Signals::observe`] for each, and appends
//! [`Signals::rows`] to the store about once a second:
//!
//! | series | labels besides `service`, `release`, `instance` |
//! |---|---|
//! | [`REQUESTS`] | `code`: `2xx` … `5xx`, or `none` when nobody answered |
//! | [`DURATION`]`_bucket` | `le`: upper bound in seconds |
//! | [`DURATION`]`_sum`, [`DURATION`]`_count` | |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{Labels, Millis, Row, STALE};

/// The counter of requests.
pub const REQUESTS: &str = "service_requests_total";
/// The histogram of how long they took, in seconds.
pub const DURATION: &str = "service_request_duration_seconds";

/// Upper bounds of the buckets in seconds, but for the last one, which has none.
pub const BOUNDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const CODES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Whom a request was for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The service.
    pub service: Arc<str>,
    /// The release.
    pub release: Arc<str>,
    /// The instance.
    pub instance: Arc<str>,
}

impl Instance {
    /// Returns an instance of a release of a service.
    pub fn new(service: &str, release: &str, instance: &str) -> Self {
        Self { service: service.into(), release: release.into(), instance: instance.into() }
    }

    fn labels(&self, metric: &str, extra: Option<(&str, &str)>) -> Labels {
        let own =
            [("service", &self.service), ("release", &self.release), ("instance", &self.instance)];
        let own = own.map(|(name, value)| (Arc::from(name), Arc::clone(value)));
        let extra = extra.map(|(name, value)| (Arc::from(name), Arc::from(value)));
        Labels::metric::<Arc<str>, Arc<str>>(metric, own.into_iter().chain(extra))
    }
}

/// Counts requests of instances; cheap enough to be called for each.
#[derive(Debug, Default)]
pub struct Signals {
    instances: Mutex<HashMap<Instance, Counters>>,
}

/// The counters of one instance and the labels they are written under, made once.
#[derive(Debug)]
struct Counters {
    codes: [u64; CODES.len()],
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
    labels: Vec<Labels>,
}

impl Counters {
    fn new(instance: &Instance) -> Self {
        let bucket = format!("{DURATION}_bucket");
        let codes = CODES.iter().map(|code| instance.labels(REQUESTS, Some(("code", code))));
        let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let buckets = bounds.map(|bound| instance.labels(&bucket, Some(("le", &bound))));
        let totals =
            ["sum", "count"].map(|part| instance.labels(&format!("{DURATION}_{part}"), None));
        let labels = codes.chain(buckets).chain(totals).collect();
        Self { codes: [0; CODES.len()], buckets: [0; BOUNDS.len() + 1], seconds: 0.0, labels }
    }

    /// The values, in the order of the labels.
    fn values(&self) -> Vec<f64> {
        let mut up_to = 0;
        let mut cumulative = |count: &u64| {
            up_to += count;
            up_to as f64
        };
        let buckets: Vec<f64> = self.buckets.iter().map(&mut cumulative).collect();
        let all = buckets.last().copied().unwrap_or_default();
        let codes = self.codes.iter().map(|count| *count as f64);
        codes.chain(buckets).chain([self.seconds, all]).collect()
    }
}

impl Signals {
    /// Counts a request that ended with this status, or without an answer, after so long.
    pub fn observe(&self, instance: &Instance, status: Option<u16>, took: Duration) {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = match instances.get_mut(instance) {
            Some(counters) => counters,
            None => instances.entry(instance.clone()).or_insert_with(|| Counters::new(instance)),
        };
        let code = status.map_or(0, |status| usize::from(status / 100).min(5));
        counters.codes[code] += 1;
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        counters.buckets[bucket] += 1;
        counters.seconds += seconds;
    }

    /// Returns every counter as of now, to be appended to a store.
    pub fn rows(&self, at: Millis) -> Vec<Row> {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = instances.values().flat_map(|counters| {
            let values = counters.values();
            counters
                .labels
                .iter()
                .cloned()
                .zip(values)
                .map(move |(labels, value)| Row::new(labels, at, value))
        });
        rows.collect()
    }

    /// Forgets an instance that is gone and returns the rows that end its series.
    pub fn end(&self, instance: &Instance, at: Millis) -> Vec<Row> {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = instances.remove(instance).map(|counters| counters.labels).unwrap_or_default();
        labels.into_iter().map(|labels| Row::new(labels, at, STALE)).collect()
    }
}
