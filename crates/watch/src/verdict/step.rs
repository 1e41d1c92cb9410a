//! When the canary gets more traffic.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Judge, Verdict, words};

/// How long one step of a canary lasts, and what happens when nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPolicy {
    /// How many requests the canary answers before it gets more, in this step.
    pub at_least_requests: u64,
    /// How long a step lasts at least, however good it looks.
    pub at_least: Duration,
    /// How long a step waits for an answer at most.
    pub at_most: Duration,
    /// What happens when the time is over and there were too few requests.
    pub when_unsure: WhenUnsure,
}

/// What happens when a step's time is over and there were too few requests to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnsure {
    /// Stay at this step until there are enough requests, or until somebody decides.
    Hold,
    /// Go on, and say that nothing was proven.
    Continue,
}

impl Default for StepPolicy {
    /// At least 20 requests and 5 s, at most a minute, then on: a service that nobody calls must
    /// not wait for ever, and the judge goes on watching at the next step.
    fn default() -> Self {
        Self {
            at_least_requests: 20,
            at_least: Duration::from_secs(5),
            at_most: Duration::from_mins(1),
            when_unsure: WhenUnsure::Continue,
        }
    }
}

/// What becomes of a canary now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "next")]
pub enum NextStep {
    /// It keeps its share; ask again after the next request, and at this time at the latest.
    Stay {
        /// When the step's time runs out.
        until: Timestamp,
    },
    /// It gets more.
    Promote {
        /// Whether "not worse" is shown, not only not refuted.
        proven: bool,
        /// Why, in words.
        because: String,
    },
    /// It keeps its share until there are more requests or somebody decides.
    Hold {
        /// Why, in words.
        because: String,
        /// What would help, in words.
        would_help: String,
    },
    /// All traffic goes back.
    RollBack {
        /// Why, in words.
        because: String,
    },
}

impl StepPolicy {
    /// Says what becomes of the canary now.
    pub fn next(&self, judge: &Judge, now: Timestamp) -> NextStep {
        let passed = judge.step_for(now);
        let requests = judge.step_tally().requests;
        let enough = requests >= self.at_least_requests;
        let over = passed >= self.at_most.max(self.at_least);
        match judge.verdict(now) {
            Verdict::Worse { evidence } => NextStep::RollBack { because: evidence.words },
            Verdict::NotWorse { evidence } if enough && passed >= self.at_least => {
                NextStep::Promote { proven: true, because: evidence.words }
            }
            _ if !over => {
                let left = self.at_most.max(self.at_least).saturating_sub(passed);
                NextStep::Stay { until: now.saturating_add(left).unwrap_or(Timestamp::MAX) }
            }
            Verdict::NotWorse { evidence } => {
                NextStep::Promote { proven: true, because: evidence.words }
            }
            Verdict::NotEnough { evidence, .. } if enough => NextStep::Promote {
                proven: false,
                because: format!(
                    "{} requests in {} and nothing that speaks against it; {}",
                    requests,
                    words::duration(passed),
                    evidence.words
                ),
            },
            Verdict::NotEnough { evidence, would_help } => match self.when_unsure {
                WhenUnsure::Hold => NextStep::Hold { because: evidence.words, would_help },
                WhenUnsure::Continue => NextStep::Promote {
                    proven: false,
                    because: format!(
                        "{}; went on after {} because the step's time was over",
                        evidence.words,
                        words::duration(passed)
                    ),
                },
            },
        }
    }
}
