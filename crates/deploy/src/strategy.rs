//! What to do next in a deployment, given what is seen.
//!
//! A strategy is a pure function from a [`Plan`] and a [`Progress`] to a [`Step`]. The caller
//! performs the step, notes it with [`Progress::took`], looks again and asks again. Nothing is
//! remembered anywhere else, so a conductor that was killed goes on from what the journal says.
//!
//! What all strategies share stands here: going back, the warm time after the last shift, and the
//! rule that a release without a ready instance never gets traffic.

mod blue_green;
mod canary;
mod rolling;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use journal::{ReleaseId, StrategyKind, Verdict, Weight};
use serde::{Deserialize, Serialize};

/// All of a service's traffic, in basis points.
pub const WHOLE: u32 = 10_000;

/// A strategy by its kind.
pub struct Strategy {
    /// Which one.
    pub kind: StrategyKind,
    /// One sentence about it.
    pub summary: &'static str,
    /// What to do next while nothing speaks against the new release.
    forward: fn(&Plan, &Progress) -> Step,
}

/// All strategies, the default one first.
pub const STRATEGIES: &[Strategy] = &[canary::STRATEGY, blue_green::STRATEGY, rolling::STRATEGY];

/// How a deployment shall go; decided once, at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How traffic moves.
    pub strategy: StrategyKind,
    /// The release that has the traffic; none at the first deployment.
    pub from: Option<ReleaseId>,
    /// The release that shall have it.
    pub to: ReleaseId,
    /// How many instances the service has.
    pub replicas: u32,
    /// Whether an old instance stops before a new one starts, because two must not run together.
    pub order: Order,
    /// Instances replaced at a time by the rolling strategy.
    pub parallelism: u32,
    /// Pause between two batches of the rolling strategy.
    pub delay: Duration,
    /// Shares of the new release at each step, in basis points; the last is [`WHOLE`].
    pub steps: Vec<u32>,
    /// How long a step lasts at least before it is left.
    pub step_time: Duration,
    /// How long a step may wait for enough traffic before it is left without a verdict.
    pub patience: Duration,
    /// How long new instances may take to become ready.
    pub start_time: Duration,
    /// How long the old release stays warm once the new one has all traffic.
    pub monitor: Duration,
    /// What to do when the new release is worse.
    pub on_worse: OnWorse,
    /// Whether the last step waits for a person when there was not enough traffic to tell.
    pub hold_when_unsure: bool,
}

/// Which of two instances goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The new one starts, then the old one stops: no request is lost.
    StartFirst,
    /// The old one stops, then the new one starts: for data that only one may hold.
    StopFirst,
}

/// What to do when the new release is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnWorse {
    /// Give the traffic back.
    RollBack,
    /// Stay where it is until somebody promotes or aborts.
    Hold,
    /// Go on regardless.
    GoOn,
}

/// What is asked of a release's instances, and what is seen of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// How many shall run.
    pub asked: u32,
    /// How many are ready.
    pub ready: u32,
    /// How many ended or gave up since they were asked for, if that speaks against the release.
    ///
    /// Any end before ready does; later the caller counts what its rule for crash loops counts.
    pub failed: u32,
}

/// How far a deployment has come, and what is seen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The time.
    pub now: Timestamp,
    /// When the last step that changed something was taken.
    pub since: Timestamp,
    /// When traffic was shifted last.
    pub shifted: Timestamp,
    /// The instances of the release that had the traffic.
    pub old: Side,
    /// The instances of the release that shall have it.
    pub new: Side,
    /// The share of the old release in basis points.
    pub old_weight: u32,
    /// The share of the new release; both are 0 while requests are held.
    pub new_weight: u32,
    /// What the numbers say since the last shift.
    pub verdict: Verdict,
    /// Whether the new release was promoted.
    pub promoted: bool,
    /// Why it goes back, once that was decided.
    pub rolling_back: Option<Reason>,
    /// What a person asked for.
    pub wish: Option<Wish>,
}

/// What a person may ask of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Move on without waiting for a verdict.
    Promote,
    /// Go back.
    Abort,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Make so many instances of the release run.
    Scale {
        /// The release.
        release: ReleaseId,
        /// How many.
        count: u32,
    },
    /// Split the traffic so; empty holds requests.
    Shift {
        /// The shares.
        weights: Vec<Weight>,
    },
    /// Look again when something changed, and at the latest at this time.
    Wait {
        /// What is awaited.
        awaited: Awaited,
        /// When to look again even if nothing changed.
        until: Option<Timestamp>,
    },
    /// The new release is the service's release from now on; the old one stays warm.
    Promote {
        /// Whether the numbers showed that it is not worse.
        proven: bool,
    },
    /// Give the traffic back with one route change.
    RollBack {
        /// Why.
        reason: Reason,
        /// The shares; empty when there is nothing to go back to.
        weights: Vec<Weight>,
    },
    /// The deployment is over.
    Finish {
        /// How it ended.
        outcome: Outcome,
    },
}

/// What a deployment waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// Instances to become ready.
    Ready,
    /// A verdict on the step.
    Verdict,
    /// The pause between two batches.
    Delay,
    /// The end of the warm time.
    Monitor,
    /// A person, who promotes or aborts.
    Person,
}

/// Why a deployment goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The new release answers worse than the old one.
    Worse,
    /// New instances ended.
    Crashed,
    /// New instances were not ready in time.
    NotReady,
    /// Somebody asked for it.
    Asked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worse => "the new release is worse than the old one",
            Self::Crashed => "instances of the new release ended",
            Self::NotReady => "instances of the new release were not ready in time",
            Self::Asked => "somebody asked to go back",
        })
    }
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new release has all traffic.
    Promoted,
    /// The old release has all traffic again.
    RolledBack(Reason),
    /// There is no older release that answers; what still answers keeps the traffic.
    Failed(Reason),
}

impl Plan {
    /// What to do next.
    pub fn next(&self, progress: &Progress) -> Step {
        if let Some(reason) = progress.rolling_back {
            return self.back(progress, reason);
        }
        if let Some(reason) = self.against(progress) {
            return self.back(progress, reason);
        }
        if progress.promoted {
            return self.after_promotion(progress);
        }
        if Self::baseline_is_gone(progress) {
            return self.shift(WHOLE);
        }
        let strategy = STRATEGIES.iter().find(|strategy| strategy.kind == self.strategy);
        (strategy.expect("every kind is listed").forward)(self, progress)
    }

    /// What speaks against going on, if anything does.
    fn against(&self, progress: &Progress) -> Option<Reason> {
        if progress.wish == Some(Wish::Abort) {
            return Some(Reason::Asked);
        }
        let holds = self.on_worse != OnWorse::RollBack && progress.new.ready > 0;
        if progress.new.failed > 0 && !holds && progress.new.asked > 0 {
            return Some(Reason::Crashed);
        }
        if progress.new_weight > 0 && progress.new.ready == 0 {
            return Some(Reason::Crashed);
        }
        if progress.verdict == Verdict::Worse
            && progress.new_weight > 0
            && self.on_worse == OnWorse::RollBack
            && progress.wish != Some(Wish::Promote)
        {
            return Some(Reason::Worse);
        }
        let late = progress.now >= later(progress.since, self.start_time);
        (progress.new.ready < progress.new.asked && late).then_some(Reason::NotReady)
    }

    /// Whether the old release lost its last instance while the new one answers.
    fn baseline_is_gone(progress: &Progress) -> bool {
        progress.old_weight > 0 && progress.old.ready == 0 && progress.new.ready > 0
    }

    /// Gives the traffic back with one route change where the old release is warm.
    ///
    /// Where it is not, it is started first; a new release that still answers keeps the traffic
    /// until then, unless the two must not run together.
    fn back(&self, progress: &Progress, reason: Reason) -> Step {
        let Some(old) = self.older() else {
            return match () {
                () if progress.rolling_back.is_none() => {
                    Step::RollBack { reason, weights: Vec::new() }
                }
                () if progress.new.asked > 0 => self.scale_new(0),
                () => Step::Finish { outcome: Outcome::Failed(reason) },
            };
        };
        let to_old = vec![weight(old, WHOLE)];
        if progress.rolling_back.is_none() {
            let keeps = progress.new.ready > 0 && progress.new_weight > 0;
            let weights = match () {
                () if progress.old.ready > 0 => to_old,
                () if keeps && self.order == Order::StartFirst => vec![weight(&self.to, WHOLE)],
                () => Vec::new(),
            };
            return Step::RollBack { reason, weights };
        }
        if progress.old_weight == WHOLE && progress.old.ready > 0 {
            return match () {
                () if progress.new.asked > 0 => self.scale_new(0),
                () => Step::Finish { outcome: Outcome::RolledBack(reason) },
            };
        }
        if progress.old.ready > 0 {
            return Step::Shift { weights: to_old };
        }
        let of_no_use = progress.new.ready == 0 || self.order == Order::StopFirst;
        if progress.new.asked > 0 && of_no_use {
            return match () {
                () if progress.new_weight > 0 => Step::Shift { weights: Vec::new() },
                () => self.scale_new(0),
            };
        }
        if progress.old.asked < self.replicas.max(1) {
            return Step::Scale { release: old.clone(), count: self.replicas.max(1) };
        }
        let until = later(progress.since, self.start_time);
        if progress.now < until {
            return Step::Wait { awaited: Awaited::Ready, until: Some(until) };
        }
        Step::Finish { outcome: Outcome::Failed(reason) }
    }

    /// The release to go back to.
    fn older(&self) -> Option<&ReleaseId> {
        self.from.as_ref().filter(|old| **old != self.to)
    }

    /// Whether the old release answers, so that the new one can be compared with it.
    fn has_baseline(&self, progress: &Progress) -> bool {
        self.older().is_some() && progress.old.ready > 0
    }

    /// Keeps the old release warm, then lets it go.
    fn after_promotion(&self, progress: &Progress) -> Step {
        let until = later(progress.shifted, self.monitor);
        match self.older() {
            Some(old) if progress.old.asked > 0 => {
                if progress.now < until && progress.wish != Some(Wish::Promote) {
                    return Step::Wait { awaited: Awaited::Monitor, until: Some(until) };
                }
                Step::Scale { release: old.clone(), count: 0 }
            }
            _ => Step::Finish { outcome: Outcome::Promoted },
        }
    }

    /// Asks for so many new instances.
    fn scale_new(&self, count: u32) -> Step {
        Step::Scale { release: self.to.clone(), count }
    }

    /// Gives the new release this share and the old one the rest.
    fn shift(&self, share: u32) -> Step {
        let rest = self.older().filter(|_| share < WHOLE).map(|old| weight(old, WHOLE - share));
        let new = weight(&self.to, if rest.is_some() { share } else { WHOLE });
        Step::Shift { weights: [new].into_iter().chain(rest).collect() }
    }

    /// Waits until all new instances that were asked for are ready.
    fn wait_ready(&self, progress: &Progress) -> Step {
        Step::Wait { awaited: Awaited::Ready, until: Some(later(progress.since, self.start_time)) }
    }

    /// How many instances the new release needs for a share of the traffic.
    fn instances_for(&self, share: u32) -> u32 {
        let needed = u64::from(self.replicas.max(1)) * u64::from(share);
        needed.div_ceil(u64::from(WHOLE)).max(1) as u32
    }

    /// Judges a step that has its traffic: go on (`Ok`, proven or not), or what to do meanwhile.
    fn judged(&self, progress: &Progress, may_leave_unproven: bool) -> Result<bool, Step> {
        if progress.wish == Some(Wish::Promote) {
            return Ok(false);
        }
        if progress.verdict == Verdict::Worse && self.on_worse == OnWorse::Hold {
            return Err(Step::Wait { awaited: Awaited::Person, until: None });
        }
        let least = later(progress.shifted, self.step_time);
        if progress.now < least {
            return Err(Step::Wait { awaited: Awaited::Verdict, until: Some(least) });
        }
        let most = later(progress.shifted, self.step_time.max(self.patience));
        match progress.verdict {
            Verdict::NotWorse => Ok(true),
            _ if may_leave_unproven => Ok(false),
            _ if progress.now >= most && !self.hold_when_unsure => Ok(false),
            _ if progress.now >= most => Err(Step::Wait { awaited: Awaited::Person, until: None }),
            _ => Err(Step::Wait { awaited: Awaited::Verdict, until: Some(most) }),
        }
    }
}

impl Progress {
    /// The start of a deployment, with `old_ready` instances of the old release at work.
    pub fn start(plan: &Plan, old_ready: u32, now: Timestamp) -> Self {
        let has_old = plan.older().is_some() && old_ready > 0;
        Self {
            now,
            since: now,
            shifted: now,
            old: Side {
                asked: if has_old { plan.replicas.max(1) } else { 0 },
                ready: old_ready,
                failed: 0,
            },
            new: Side::default(),
            old_weight: if has_old { WHOLE } else { 0 },
            new_weight: 0,
            verdict: Verdict::NotEnough,
            promoted: false,
            rolling_back: None,
            wish: None,
        }
    }

    /// Notes that a step was taken.
    ///
    /// What is only seen (`ready`, `failed`, `verdict`) is the caller's to keep up to date; a
    /// shift begins a new verdict.
    pub fn took(&mut self, plan: &Plan, step: &Step, now: Timestamp) {
        self.now = now;
        match step {
            Step::Scale { release, count } => {
                let side = if *release == plan.to { &mut self.new } else { &mut self.old };
                side.asked = *count;
                side.failed = 0;
                side.ready = side.ready.min(*count);
            }
            Step::Shift { weights } => {
                self.weigh(plan, weights);
                self.verdict = Verdict::NotEnough;
                self.shifted = now;
            }
            Step::Promote { .. } => self.promoted = true,
            Step::RollBack { reason, weights } => {
                self.rolling_back = Some(*reason);
                self.promoted = false;
                self.weigh(plan, weights);
            }
            Step::Wait { .. } | Step::Finish { .. } => return,
        }
        self.since = now;
    }

    fn weigh(&mut self, plan: &Plan, weights: &[Weight]) {
        self.new_weight = share_of(weights, &plan.to);
        self.old_weight = plan.older().map_or(0, |old| share_of(weights, old));
    }
}

fn share_of(weights: &[Weight], release: &ReleaseId) -> u32 {
    weights.iter().filter(|weight| weight.release == *release).map(|w| w.basis_points).sum()
}

fn weight(release: &ReleaseId, basis_points: u32) -> Weight {
    Weight { release: release.clone(), basis_points }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
