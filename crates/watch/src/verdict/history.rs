//! What a service was like before the release.

use std::time::Duration;

use jiff::Timestamp;
use series::signal::{BOUNDS, DURATION, REQUESTS};
use series::{METRIC_NAME, Matcher, SelectError, Series, Store, is_stale};

use super::Tally;

/// What a service was like before the release: how often it failed and how bursty that was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    total: Tally,
    /// Per block: all tallies of 30 s, or of 10 s when the past is shorter than five minutes.
    blocks: Vec<Tally>,
}

/// φ of a service of which nothing is known.
const UNKNOWN: f64 = 4.0;
/// How many blocks the unknown φ weighs at first.
const DOUBT: f64 = 2.0;
/// From how many blocks on the past speaks for itself.
const CERTAIN: f64 = 20.0;

impl History {
    /// Returns nothing known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Returns the past of these seconds, oldest first, one tally each; an hour is plenty.
    pub fn of_seconds(seconds: impl IntoIterator<Item = Tally>) -> Self {
        let seconds: Vec<Tally> = seconds.into_iter().collect();
        let block = if seconds.len() >= 300 { 30 } else { 10 };
        let mut total = Tally::default();
        let blocks = seconds
            .chunks_exact(block)
            .map(|chunk| {
                let mut tally = Tally::default();
                for second in chunk {
                    tally.add(*second);
                }
                tally
            })
            .filter(|tally| tally.requests > 0)
            .collect();
        for second in &seconds {
            total.add(*second);
        }
        Self { total, blocks }
    }

    /// Returns the past of a service out of its golden signals, all releases together.
    pub fn of_service(
        store: &Store,
        service: &str,
        past: Duration,
        slow_over: Option<Duration>,
        now: Timestamp,
    ) -> Result<Self, SelectError> {
        let to = now.as_millisecond();
        let from = to.saturating_sub(i64::try_from(past.as_millis()).unwrap_or(i64::MAX));
        let select = |metric: &str| {
            let matchers =
                [Matcher::equal(METRIC_NAME, metric), Matcher::equal("service", service)];
            store.select(&matchers, from, to)
        };
        let mut seconds: Vec<Tally> = Vec::new();
        let first = from.div_euclid(1000);
        let mut add = |series: &[Series], count: &mut dyn FnMut(&mut Tally, &Series, u64)| {
            for one in series {
                for (at, rise) in rises(one) {
                    let second = usize::try_from(at.div_euclid(1000) - first).unwrap_or_default();
                    if seconds.len() <= second {
                        seconds.resize(second + 1, Tally::default());
                    }
                    count(&mut seconds[second], one, rise);
                }
            }
        };
        add(&select(REQUESTS)?, &mut |tally, series, rise| {
            tally.requests += rise;
            if matches!(series.labels.get("code"), "5xx" | "none") {
                tally.failed += rise;
            }
        });
        if let Some(limit) = slow_over {
            // What is over the limit is what no bucket up to it holds.
            let bound = BOUNDS.iter().find(|bound| **bound >= limit.as_secs_f64());
            let bound = bound.map_or("+Inf".to_owned(), ToString::to_string);
            add(&select(&format!("{DURATION}_count"))?, &mut |tally, _, rise| tally.slow += rise);
            add(&select(&format!("{DURATION}_bucket"))?, &mut |tally, series, rise| {
                if series.labels.get("le") == bound {
                    tally.slow = tally.slow.saturating_sub(rise);
                }
            });
        }
        // The time before the first request is not known to have been good.
        let known = seconds.iter().position(|tally| tally.requests > 0).unwrap_or(seconds.len());
        Ok(Self::of_seconds(seconds.split_off(known)))
    }

    /// Returns all requests of the past.
    pub fn total(&self) -> Tally {
        self.total
    }

    /// Returns φ: how many times more the events of a block vary than independent ones would.
    ///
    /// A short past is not trusted alone: 4, which is a rather bursty service, counts as up to two
    /// blocks beside it.
    pub fn dispersion(&self, events: impl Fn(&Tally) -> u64) -> f64 {
        let count = self.blocks.len() as f64;
        let seen = if count < 2.0 {
            1.0
        } else {
            let counts: Vec<f64> = self.blocks.iter().map(|block| events(block) as f64).collect();
            let mean = counts.iter().sum::<f64>() / count;
            let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (count - 1.0);
            if mean > 0.0 { (variance / mean).max(1.0) } else { 1.0 }
        };
        let doubt = DOUBT * (1.0 - count / CERTAIN).max(0.0);
        (doubt * UNKNOWN + count * seen) / (doubt + count)
    }
}

/// By how much a counter rose, and when; a counter that fell began again at nothing.
fn rises(series: &Series) -> impl Iterator<Item = (series::Millis, u64)> {
    let pairs = series.samples.windows(2).filter(|pair| !pair.iter().any(|s| is_stale(s.value)));
    pairs.map(|pair| {
        let (before, after) = (pair[0].value, pair[1].value);
        let rise = if after < before { after } else { after - before };
        (pair[1].at, rise as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use series::signal::{Instance, Signals};

    #[test]
    fn the_past_of_a_service_is_read_from_its_golden_signals() {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        let (store, signals) = (Store::default(), Signals::default());
        let instances = ["web-1", "web-2"].map(|instance| Instance::new("web", "v1", instance));
        let other = Instance::new("mail", "v1", "mail-1");
        let append = |second: i64| {
            let at = start.as_millisecond() + second * 1000;
            store.append(signals.rows(at)).expect("a write");
        };
        for second in 0..120 {
            for instance in &instances {
                signals.observe(
                    instance,
                    Some(200),
                    Duration::from_millis(if second % 4 == 0 { 400 } else { 20 }),
                );
                signals.observe(&other, Some(500), Duration::from_millis(1));
            }
            if second % 10 == 5 {
                signals.observe(&instances[0], None, Duration::from_millis(1));
            }
            append(second);
        }
        let past = |slow| {
            let now = start + Duration::from_mins(2);
            History::of_service(&store, "web", Duration::from_hours(1), slow, now).expect("a past")
        };
        // What happened before the first look at a counter is not known: one second less.
        assert_eq!(past(None).total(), Tally { requests: 238 + 12, failed: 12, slow: 0 });
        assert_eq!(past(Some(Duration::from_millis(250))).total().slow, 58);
        assert!(past(None).dispersion(failed) < 2.0);
        assert_eq!(past(None).blocks.len(), 11);
    }

    fn failed(tally: &Tally) -> u64 {
        tally.failed
    }

    #[test]
    fn a_service_of_which_nothing_is_known_is_taken_for_bursty() {
        assert!((History::unknown().dispersion(failed) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_long_clean_past_is_certain() {
        let clean = History::of_seconds((0..3600).map(|_| Tally::new(10, 0)));
        assert!((clean.dispersion(failed) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn failures_in_bursts_show() {
        let bursts = (0..3600).map(|s| Tally::new(10, if s % 300 < 10 { 5 } else { 0 }));
        assert!(History::of_seconds(bursts).dispersion(failed) > 20.0);
    }

    #[test]
    fn seconds_without_a_request_say_nothing() {
        let idle = History::of_seconds((0..3600).map(|_| Tally::default()));
        assert!((idle.dispersion(failed) - 4.0).abs() < 1e-9);
    }
}
