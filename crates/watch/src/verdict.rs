//! Is the new release worse than the old one?
//!
//! A [`Judge`] hears of every request as it ends, and has an answer after each: there is no
//! timer, and looking often costs nothing, because the test is *anytime-valid*.
//!
//! # The test
//!
//! Let a share θ₀ of the requests go to the canary. If both releases are equally good, then of the
//! requests that *failed* a share θ₀ belongs to the canary too, whatever the load does and
//! however bad the day is for both. Against that stand eight suspicions: "the canary fails ρ times
//! as often", ρ = 2, 4, … 256; under one of them a failed request belongs to the canary with
//! probability θ_ρ = ρθ₀ / (ρθ₀ + 1 − θ₀). Each failed request multiplies the weight of a
//! suspicion by θ_ρ/θ₀ (canary) or (1−θ_ρ)/(1−θ₀) (baseline). The mean weight E is a martingale
//! when the canary is no worse, so the chance that E *ever* reaches 1/α is at most α (Ville). The
//! canary is condemned when it does. Requests that went well need no bookkeeping at all.
//!
//! Three signals are tested and share α: half for errors, a quarter each for latency and restarts.
//! Services that fail in
//! bursts would feign certainty: a weight is therefore raised to the power 1/φ, where φ says how
//! much more the failures of the past hour varied than independent ones do ([`History`]).
//!
//! # What θ₀ is before a second is over
//!
//! θ₀ must not depend on the requests it judges. It is the larger of the weight that the proxy was
//! told, known before any request, and the share that the canary really got in the *finished*
//! seconds of this step. For any true share θ ≤ θ₀ the expected factor of a failed request is
//! (ρθ+1−θ)/(ρθ₀+1−θ₀) ≤ 1, so an overestimate only costs speed, never truth: the bound holds
//! after each single request, in the middle of a second, also when sticky sessions send the canary
//! more than its weight. (For the opposite claim, "not worse", the smaller of the two is used.)
//! A proxy that deals requests out in turn instead of by lot keeps to the bound as well: over one
//! turn the expected product is at most 1, because the geometric mean is at most the arithmetic.
//!
//! Evidence *for* the canary is forgotten when it is given more traffic: a weight below 1 starts
//! again at 1, so that a release which turns bad under load is caught as fast as a bad one at the
//! start. α is therefore the bound per step.
//!
//! # Beside it
//!
//! - **Hard fail**: nearly every canary request failed while the baseline was well.
//! - **Alone**: with no baseline left, the release is compared with the service's own past.
//! - **Not worse**: the test turned round shows that the canary fails less than twice as often, or
//!   that it fails less than is tolerated anyway.

mod alone;
mod history;
mod judge;
mod step;
mod words;

pub use history::History;
pub use judge::Judge;
pub use step::{NextStep, StepPolicy, WhenUnsure};

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One of the two releases under comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The release that is new.
    Canary,
    /// The release that served before.
    Baseline,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it failed: a 5xx answer, a reset, a timeout, no answer.
    pub failed: bool,
    /// How long it took.
    pub took: Duration,
    /// Who asked, when the caller wants one client in a retry loop to count as few: at most
    /// [`PER_CLIENT`] failures of one client count in one second.
    pub client: Option<u64>,
}

/// The most failures of one client that count in one second.
pub const PER_CLIENT: u32 = 10;

impl Outcome {
    /// Returns a request that went well in no time.
    pub fn good() -> Self {
        Self { failed: false, took: Duration::ZERO, client: None }
    }

    /// Returns a request that failed.
    pub fn bad() -> Self {
        Self { failed: true, ..Self::good() }
    }

    /// Says how long it took.
    pub fn took(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }
}

/// Requests counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All of them.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that did not fail and took longer than the limit.
    pub slow: u64,
}

impl Tally {
    /// Returns so many requests of which so many failed, none slow.
    pub fn new(requests: u64, failed: u64) -> Self {
        Self { requests, failed, slow: 0 }
    }

    fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.slow += other.slow;
    }
}

/// What a release is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Requests that failed.
    Errors,
    /// Requests that took longer than the limit.
    Latency,
    /// Instances that ended by themselves.
    Restarts,
}

/// Which comparison the answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Canary against baseline at the same time.
    Compared,
    /// Nearly every canary request failed while the baseline was well.
    HardFail,
    /// The release against the service's own past, with no baseline left.
    Alone,
}

/// How strict a judge is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The chance per step that a release which is no worse is condemned; α.
    pub false_alarm: f64,
    /// The chance that "not worse" is said of a release that fails twice as often.
    pub false_comfort: f64,
    /// The share of failed requests that nobody minds, such as the error budget.
    pub tolerated: f64,
    /// From how long on a request is slow; `None` leaves latency out.
    pub slow_over: Option<Duration>,
}

impl Default for Settings {
    /// One false alarm in 1,000 steps, 5 % false comfort, 1 % tolerated, no latency limit.
    fn default() -> Self {
        Self { false_alarm: 0.001, false_comfort: 0.05, tolerated: 0.01, slow_over: None }
    }
}

/// The numbers behind an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What the answer is about.
    pub signal: Signal,
    /// Which comparison it rests on.
    pub lane: Lane,
    /// What the canary was seen to do.
    pub canary: Tally,
    /// What the baseline was seen to do at the same time.
    pub baseline: Tally,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How many times better "worse" explains what was seen than "no worse" does; E.
    pub odds: f64,
    /// The canary fails at most this many times as often as the baseline, if that is known.
    pub ratio_below: Option<f64>,
    /// How bursty the service was taken to be; φ.
    pub dispersion: f64,
    /// The same for people.
    pub words: String,
}

/// Canary against baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// The canary is worse.
    Worse {
        /// Why.
        evidence: Evidence,
    },
    /// The canary is not worse.
    NotWorse {
        /// Why.
        evidence: Evidence,
    },
    /// There is not enough traffic to tell. This is not "passed".
    NotEnough {
        /// What is known so far.
        evidence: Evidence,
        /// What would help to tell, as a sentence.
        would_help: String,
    },
}

impl Verdict {
    /// Whether the canary is worse.
    pub fn is_worse(&self) -> bool {
        matches!(self, Verdict::Worse { .. })
    }

    /// Returns the numbers behind it.
    pub fn evidence(&self) -> &Evidence {
        match self {
            Verdict::Worse { evidence }
            | Verdict::NotWorse { evidence }
            | Verdict::NotEnough { evidence, .. } => evidence,
        }
    }
}

/// Returns the logarithm of the mean of what these are logarithms of.
fn log_mean_exp(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !most.is_finite() {
        return most;
    }
    let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    most + (sum / logs.len() as f64).ln()
}
