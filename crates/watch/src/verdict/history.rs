//! What a service was like before the release.

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

#[cfg(test)]
mod tests {
    use super::*;

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
