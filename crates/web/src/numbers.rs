//! Requests, errors and latency out of the series.

use journal::{InstanceId, ReleaseId, ServiceName};
use series::{Labels, Matcher, Millis, Sample, Series, Store};

/// Counts requests. Labels: `service`, `release`, `instance`, `class` (as in `2xx`).
pub const REQUESTS: &str = "marline_requests_total";
/// Counts requests that failed. Labels: `service`, `release`, `instance`.
pub const ERRORS: &str = "marline_request_errors_total";
/// Counts requests by how long they took. Labels: `service`, `release`, `instance`, `le` in seconds.
pub const DURATIONS: &str = "marline_request_duration_seconds_bucket";

/// How far before a window a counter's value is looked for.
const LOOK_BACK: Millis = 5 * 60 * 1000;

/// Whose traffic is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    /// The service.
    pub service: ServiceName,
    /// Only what this release answered.
    pub release: Option<ReleaseId>,
    /// Only what this instance answered.
    pub instance: Option<InstanceId>,
}

impl Of {
    /// All traffic of a service.
    pub fn service(service: &ServiceName) -> Self {
        Self { service: service.clone(), release: None, instance: None }
    }

    /// What one release answered.
    pub fn release(service: &ServiceName, release: &ReleaseId) -> Self {
        Self { release: Some(release.clone()), ..Self::service(service) }
    }

    /// What one instance answered.
    pub fn instance(service: &ServiceName, instance: &InstanceId) -> Self {
        Self { instance: Some(instance.clone()), ..Self::service(service) }
    }

    fn matchers(&self, metric: &str) -> Vec<Matcher> {
        let mut matchers = vec![
            Matcher::equal(series::METRIC_NAME, metric),
            Matcher::equal("service", self.service.as_str()),
        ];
        matchers.extend(
            self.release.as_ref().map(|release| Matcher::equal("release", release.as_str())),
        );
        matchers.extend(
            self.instance.as_ref().map(|instance| Matcher::equal("instance", instance.as_str())),
        );
        matchers
    }
}

/// From when to when, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: Millis,
    /// The last moment.
    pub to: Millis,
}

impl Window {
    /// The last `milliseconds` before `now`.
    pub fn last(milliseconds: Millis, now: jiff::Timestamp) -> Self {
        let to = now.as_millisecond();
        Self { from: to - milliseconds, to }
    }

    /// Returns its length in seconds.
    pub fn seconds(self) -> f64 {
        (self.to - self.from).max(1) as f64 / 1000.0
    }
}

/// The numbers of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Traffic {
    /// Requests answered.
    pub requests: f64,
    /// Of these, how many failed.
    pub errors: f64,
    /// The time that half of them took at most, in milliseconds.
    pub median_ms: Option<f64>,
    /// The time that 95 in 100 took at most, in milliseconds.
    pub p95_ms: Option<f64>,
}

impl Traffic {
    /// Returns the share that failed, from 0 to 1.
    pub fn error_share(&self) -> f64 {
        if self.requests > 0.0 { (self.errors / self.requests).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The numbers at one moment of a history.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Point {
    /// The end of the time it covers, in milliseconds since 1970.
    pub at: Millis,
    /// Requests a second.
    pub requests: f64,
    /// Failed requests a second.
    pub errors: f64,
}

/// Gives the numbers of the traffic.
pub trait Numbers: Send + Sync {
    /// Returns the numbers of a window.
    fn traffic(&self, of: &Of, window: Window) -> Traffic;
    /// Returns a window in `points` equal parts, oldest first.
    fn history(&self, of: &Of, window: Window, points: usize) -> Vec<Point>;
}

impl Numbers for Store {
    fn traffic(&self, of: &Of, window: Window) -> Traffic {
        let buckets = read(self, &of.matchers(DURATIONS), window);
        Traffic {
            requests: total(&read(self, &of.matchers(REQUESTS), window), window),
            errors: total(&read(self, &of.matchers(ERRORS), window), window),
            median_ms: quantile(0.5, &buckets, window).map(|seconds| seconds * 1000.0),
            p95_ms: quantile(0.95, &buckets, window).map(|seconds| seconds * 1000.0),
        }
    }

    fn history(&self, of: &Of, window: Window, points: usize) -> Vec<Point> {
        let requests = read(self, &of.matchers(REQUESTS), window);
        let errors = read(self, &of.matchers(ERRORS), window);
        let points = points.max(1) as Millis;
        let width = ((window.to - window.from) / points).max(1);
        (0..points)
            .map(|part| {
                let part = Window {
                    from: window.from + part * width,
                    to: window.from + (part + 1) * width,
                };
                Point {
                    at: part.to,
                    requests: total(&requests, part) / part.seconds(),
                    errors: total(&errors, part) / part.seconds(),
                }
            })
            .collect()
    }
}

/// Reads series of counters with some time before the window, so that its start has a value.
fn read(store: &Store, matchers: &[Matcher], window: Window) -> Vec<Series> {
    match store.select(matchers, window.from - LOOK_BACK, window.to) {
        Ok(series) => series,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not read the numbers");
            Vec::new()
        }
    }
}

fn total(series: &[Series], window: Window) -> f64 {
    series.iter().fold(0.0, |sum, series| sum + increase(&series.samples, window))
}

/// Returns by how much a counter grew within a window; a fall is a counter that began anew.
fn increase(samples: &[Sample], window: Window) -> f64 {
    let mut grown = 0.0;
    let mut before: Option<f64> = None;
    for sample in samples {
        if series::is_stale(sample.value) || sample.value.is_nan() {
            before = None;
            continue;
        }
        if sample.at > window.to {
            break;
        }
        if sample.at > window.from
            && let Some(before) = before
        {
            grown += if sample.value >= before { sample.value - before } else { sample.value };
        }
        before = Some(sample.value);
    }
    grown
}

/// Returns the value below which a share of the observations lie, between the bounds of its bucket.
fn quantile(share: f64, buckets: &[Series], window: Window) -> Option<f64> {
    let mut by_bound: Vec<(f64, f64)> = Vec::new();
    for series in buckets {
        let Some(bound) = bound_of(&series.labels) else {
            continue;
        };
        let count = increase(&series.samples, window);
        match by_bound.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, known)) => *known += count,
            None => by_bound.push((bound, count)),
        }
    }
    by_bound.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = by_bound.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let wanted = share * all;
    let mut lower = (0.0, 0.0);
    for (bound, count) in &by_bound {
        if *count >= wanted {
            if bound.is_infinite() {
                // Above the last finite bound nothing is known but that bound.
                return Some(lower.0);
            }
            let within = count - lower.1;
            let part = if within > 0.0 { (wanted - lower.1) / within } else { 1.0 };
            return Some(lower.0 + (bound - lower.0) * part);
        }
        lower = (*bound, *count);
    }
    None
}

fn bound_of(labels: &Labels) -> Option<f64> {
    match labels.get("le") {
        "" => None,
        "+Inf" => Some(f64::INFINITY),
        bound => bound.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use series::{Limits, Row};

    use super::*;

    type Told<'a> = (&'a str, &'a [(&'a str, &'a str)], Millis, f64);

    fn store(rows: &[Told<'_>]) -> Store {
        let store = Store::new(Limits::default());
        let rows = rows.iter().map(|(metric, labels, at, value)| {
            Row::new(Labels::metric(metric, labels.iter().copied()), *at, *value)
        });
        store.append(rows).expect("the store is open");
        store
    }

    #[test]
    fn a_counter_that_began_anew_still_counts() {
        let web = [("service", "web"), ("release", "a")];
        let store = store(&[
            (REQUESTS, &web, 1_000, 100.0),
            (REQUESTS, &web, 2_000, 150.0),
            (REQUESTS, &web, 3_000, 20.0),
        ]);
        let window = Window { from: 1_000, to: 3_000 };
        let traffic = store.traffic(&Of::service(&"web".into()), window);
        assert!((traffic.requests - 70.0).abs() < 1e-9, "{traffic:?}");
    }

    #[test]
    fn releases_are_told_apart() {
        let store = store(&[
            (REQUESTS, &[("service", "web"), ("release", "a")], 1_000, 0.0),
            (REQUESTS, &[("service", "web"), ("release", "a")], 2_000, 90.0),
            (REQUESTS, &[("service", "web"), ("release", "b")], 1_000, 0.0),
            (REQUESTS, &[("service", "web"), ("release", "b")], 2_000, 10.0),
            (ERRORS, &[("service", "web"), ("release", "b")], 1_000, 0.0),
            (ERRORS, &[("service", "web"), ("release", "b")], 2_000, 5.0),
        ]);
        let window = Window { from: 1_000, to: 2_000 };
        let canary = store.traffic(&Of::release(&"web".into(), &"b".into()), window);
        assert!((canary.requests - 10.0).abs() < 1e-9);
        assert!((canary.error_share() - 0.5).abs() < 1e-9);
        let history = store.history(&Of::service(&"web".into()), window, 1);
        assert!((history[0].requests - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let bucket = |le: &'static str| [("service", "web"), ("le", le)];
        let store = store(&[
            (DURATIONS, &bucket("0.1"), 1_000, 0.0),
            (DURATIONS, &bucket("0.1"), 2_000, 50.0),
            (DURATIONS, &bucket("0.2"), 1_000, 0.0),
            (DURATIONS, &bucket("0.2"), 2_000, 100.0),
            (DURATIONS, &bucket("+Inf"), 1_000, 0.0),
            (DURATIONS, &bucket("+Inf"), 2_000, 100.0),
        ]);
        let traffic = store.traffic(&Of::service(&"web".into()), Window { from: 1_000, to: 2_000 });
        assert!((traffic.median_ms.expect("a median") - 100.0).abs() < 1e-6);
        assert!((traffic.p95_ms.expect("a quantile") - 190.0).abs() < 1e-6);
    }
}
