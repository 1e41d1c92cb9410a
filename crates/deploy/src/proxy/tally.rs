//! What became of the requests: counters that only grow, per service, release and instance.

use jiff::Timestamp;
use journal::{InstanceId, ReleaseId, ServiceName};
use serde::{Deserialize, Serialize};

/// What became of the requests of one instance since its proxy started.
///
/// Counters only grow within one [`TallyReport::epoch`]; a newer tally replaces an older one of the
/// same service, release and instance. A request counts once, when the head of its answer is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The service that was asked.
    pub service: ServiceName,
    /// The release that answered; nothing where no instance could be chosen.
    pub release: Option<ReleaseId>,
    /// The instance that answered; nothing where no instance could be chosen.
    pub instance: Option<InstanceId>,
    /// Requests with a known end: answered by the instance, or by us in its place.
    pub requests: u64,
    /// Answers by the first digit of their status: `classes[1]` counts 2xx, `classes[4]` 5xx.
    pub classes: [u64; 5],
    /// What went wrong, by kind.
    pub errors: Errors,
    /// Requests whose client went away before the head of the answer.
    pub cancelled: u64,
    /// Attempts that failed before anything was lost and were made again.
    pub retries: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// Body bytes from clients.
    pub bytes_in: u64,
    /// Body bytes to clients.
    pub bytes_out: u64,
    /// How long the head of each answer took.
    pub latency: Histogram,
    /// When the first bad answer was given.
    pub first_bad: Option<Timestamp>,
    /// When the newest bad answer was given.
    pub last_bad: Option<Timestamp>,
    /// The newest bad answers, oldest first.
    pub failing: Vec<Failing>,
}

/// Bad answers by kind. A request counts in one of them at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// The instance answered 5xx.
    pub status: u64,
    /// The instance could not be connected to, or there was none.
    pub connect: u64,
    /// The instance broke off before or within its answer.
    pub reset: u64,
    /// The instance did not answer in time.
    pub timeout: u64,
}

impl Errors {
    /// Returns the number of bad answers of any kind.
    pub fn total(&self) -> u64 {
        self.status + self.connect + self.reset + self.timeout
    }
}

/// One bad answer, for the explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// When it was given.
    pub at: Timestamp,
    /// The method asked with.
    pub method: String,
    /// The path asked for, without query, cut after 200 bytes.
    pub path: String,
    /// What went wrong.
    pub kind: ErrorKind,
    /// The status the client got; nothing where the answer broke off half way.
    pub status: Option<u16>,
}

/// How a request can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The instance answered 5xx.
    Status,
    /// The instance could not be connected to, or there was none.
    Connect,
    /// The instance broke off before or within its answer.
    Reset,
    /// The instance did not answer in time.
    Timeout,
}

/// A message of a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TallyReport {
    /// Which life of the proxy counted this. Another epoch starts again from nothing: totals over
    /// restarts and hand-overs are sums over epochs.
    pub epoch: String,
    /// Whether this is everything (the first message) or only what changed since the last message.
    pub full: bool,
    /// When this was read.
    pub at: Timestamp,
    /// The tallies as they now stand.
    pub tallies: Vec<Tally>,
}

/// How often each duration occurred, in fixed buckets of a quarter octave (at most 19 % wide).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// Bucket number and count, ascending, empty buckets left out.
    pub buckets: Vec<(u8, u64)>,
}

impl Histogram {
    /// How many buckets there are; the last one also takes everything longer.
    pub const BUCKETS: usize = 112;

    /// Returns the bucket of a duration.
    pub fn bucket(micros: u64) -> u8 {
        if micros < 8 {
            return micros as u8;
        }
        let octave = micros.ilog2();
        let quarter = (micros >> (octave - 2)) & 3;
        let bucket = u64::from(octave - 1) * 4 + quarter;
        bucket.min(Self::BUCKETS as u64 - 1) as u8
    }

    /// Returns the shortest duration, in microseconds, that is too long for the bucket.
    pub fn upper_micros(bucket: u8) -> u64 {
        if bucket < 8 {
            return u64::from(bucket) + 1;
        }
        let octave = u32::from(bucket) / 4 + 1;
        let quarter = u64::from(bucket) % 4;
        (4 + quarter + 1) << (octave - 2)
    }

    /// Returns how many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Returns an upper bound of the given quantile (0 to 1) in microseconds, or nothing if empty.
    pub fn quantile_micros(&self, quantile: f64) -> Option<u64> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets.iter().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| Self::upper_micros(*bucket))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_below_the_upper_bound_of_its_bucket_and_above_the_one_before() {
        for micros in (0..5_000).chain((5_000..200_000_000).step_by(7_919)) {
            let bucket = Histogram::bucket(micros);
            if usize::from(bucket) < Histogram::BUCKETS - 1 {
                assert!(micros < Histogram::upper_micros(bucket), "{micros} in {bucket}");
            }
            if bucket > 0 {
                assert!(micros >= Histogram::upper_micros(bucket - 1), "{micros} in {bucket}");
            }
        }
    }

    #[test]
    fn a_quantile_is_read_from_the_bucket_it_falls_in() {
        let histogram = Histogram {
            buckets: vec![(Histogram::bucket(100), 99), (Histogram::bucket(9_000), 1)],
        };
        let near = |quantile, micros: u64| {
            let read = histogram.quantile_micros(quantile).expect("not empty");
            assert!(read > micros && read <= micros * 5 / 4 + 1, "{read} for {micros}");
        };
        near(0.5, 100);
        near(0.99, 100);
        near(1.0, 9_000);
        assert_eq!(Histogram::default().quantile_micros(0.5), None);
    }
}
