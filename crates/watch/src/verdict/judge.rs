//! The judge: hears of every request, has an answer after each.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::alone::{Alone, upper_rate};
use super::{
    Arm, Evidence, History, Lane, Outcome, PER_CLIENT, Settings, Signal, Tally, Verdict,
    log_mean_exp, words,
};

/// The suspicions: the canary fails this many times as often.
const RATIOS: [f64; 8] = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// The claims turned round: the canary fails at least this many times as often.
const BOUNDS: [f64; 10] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];
/// What stands against such a claim: this part of it is true.
const PARTS: [f64; 5] = [0.5, 0.25, 0.125, 0.0625, 0.0];
/// "Not worse" means: less than this many times as often.
const NOT_WORSE: f64 = 2.0;
/// How many requests the weight that the proxy was told counts as, against the share measured.
const TRUST: f64 = 100.0;

/// Compares a canary with its baseline, request by request.
///
/// ```
/// use watch::verdict::{Arm, History, Judge, Outcome, Settings};
/// let start = "2026-01-01T00:00:00Z".parse().unwrap();
/// let past = History::of_seconds((0..3600).map(|_| watch::verdict::Tally::new(10, 0)));
/// let mut judge = Judge::new(Settings::default(), past, 0.1, start);
/// for _ in 0..40 {
///     judge.observe(Arm::Baseline, Outcome::good(), start);
/// }
/// for _ in 0..5 {
///     judge.observe(Arm::Canary, Outcome::bad(), start);
/// }
/// assert!(judge.verdict(start).is_worse());
/// ```
#[derive(Debug, Clone)]
pub struct Judge {
    settings: Settings,
    history: History,
    weight: f64,
    since: Timestamp,
    until: Timestamp,
    step_since: Timestamp,
    canary: Tally,
    baseline: Tally,
    step: Tally,
    share: Share,
    recent: VecDeque<Second>,
    clients: HashMap<u64, u32>,
    errors: Comparison,
    slow: Comparison,
    restarts: Comparison,
    restarted: [u64; 2],
    first_failed: Option<Timestamp>,
    condemned: Option<Evidence>,
}

/// Requests of the finished seconds of this step, from which the share of the canary is measured.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    canary: u64,
    all: u64,
}

/// What happened in one second.
#[derive(Debug, Clone, Copy)]
struct Second {
    at: i64,
    canary: Tally,
    baseline: Tally,
}

/// How far back the hard-fail lane looks, and how far at most to gather enough requests.
const HARD_FAIL_SECONDS: i64 = 10;
const HARD_FAIL_AT_MOST: i64 = 60;
const HARD_FAIL_REQUESTS: u64 = 10;

impl Judge {
    /// Returns a judge of a canary that gets this share of the traffic, from 0 to 1, from now on.
    /// A share of 1 has no baseline: the canary is compared with the service's own past.
    pub fn new(settings: Settings, history: History, weight: f64, now: Timestamp) -> Self {
        let errors = Comparison::new(history.dispersion(|tally| tally.failed), settings.tolerated);
        let slow = Comparison::new(history.dispersion(|tally| tally.slow), SLOW_TOLERATED);
        let mut judge = Self {
            settings,
            history,
            weight: 0.0,
            since: now,
            until: now,
            step_since: now,
            canary: Tally::default(),
            baseline: Tally::default(),
            step: Tally::default(),
            share: Share::default(),
            recent: VecDeque::new(),
            clients: HashMap::new(),
            errors,
            slow,
            restarts: Comparison::new(1.0, SLOW_TOLERATED),
            restarted: [0, 0],
            first_failed: None,
            condemned: None,
        };
        judge.shift(weight, now);
        judge
    }

    /// Says that the canary gets another share of the traffic from now on.
    ///
    /// Evidence against the canary is kept, evidence for it as far as it would hide a fault that
    /// only shows under more load is forgotten.
    pub fn shift(&mut self, weight: f64, now: Timestamp) {
        self.weight = if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 };
        self.step_since = now;
        self.step = Tally::default();
        self.share = Share::default();
        for comparison in [&mut self.errors, &mut self.slow, &mut self.restarts] {
            comparison.forget_comfort();
            comparison.alone = None;
        }
        if self.is_alone() {
            let mut past = self.history.total();
            past.add(self.baseline);
            let usual = |events: u64, tolerated: f64| {
                let upper = upper_rate(events, past.requests);
                if past.requests < 100 { tolerated } else { upper.max(tolerated) }
            };
            let (errors, slow) =
                (usual(past.failed, self.settings.tolerated), usual(past.slow, SLOW_TOLERATED));
            self.errors.alone = Some(Alone::new(errors, self.errors.dispersion));
            self.slow.alone = Some(Alone::new(slow, self.slow.dispersion));
        }
    }

    /// Hears how one request ended, and returns whether the canary is condemned by now: cheap
    /// enough to be asked after each request, where [`verdict`](Self::verdict) finds words.
    pub fn observe(&mut self, arm: Arm, outcome: Outcome, at: Timestamp) -> bool {
        self.begin_second(at);
        let mut failed = outcome.failed;
        if failed && let Some(client) = outcome.client {
            // Over both arms together: capping each arm apart would shift the shares.
            let seen = self.clients.entry(client).or_default();
            *seen += 1;
            failed = *seen <= PER_CLIENT;
        }
        let slow =
            !outcome.failed && self.settings.slow_over.is_some_and(|limit| outcome.took > limit);
        let counted =
            Tally { requests: 1, failed: u64::from(outcome.failed), slow: u64::from(slow) };
        self.count(arm, counted, Tally { failed: u64::from(failed), ..counted }, at);
        self.condemned.is_some()
    }

    /// Hears of many requests of one second at once, and returns whether the canary is condemned.
    pub fn observe_tally(&mut self, arm: Arm, tally: Tally, at: Timestamp) -> bool {
        self.begin_second(at);
        self.count(arm, tally, tally, at);
        self.condemned.is_some()
    }

    /// Hears that an instance ended by itself while so many of each arm should have been running,
    /// and returns whether the canary is condemned.
    pub fn observe_restart(
        &mut self,
        arm: Arm,
        canaries: u32,
        baselines: u32,
        at: Timestamp,
    ) -> bool {
        self.until = self.until.max(at);
        self.restarted[arm as usize] += 1;
        if canaries == 0 || baselines == 0 {
            return self.condemned.is_some();
        }
        let share = f64::from(canaries) / f64::from(canaries + baselines);
        self.restarts.events(arm, 1, share, share);
        if arm == Arm::Canary {
            self.judge(Signal::Restarts);
        }
        self.condemned.is_some()
    }

    fn begin_second(&mut self, at: Timestamp) {
        self.until = self.until.max(at);
        let second = at.as_second();
        if let Some(last) = self.recent.back() {
            if last.at >= second {
                // A request that is told late counts for the second in which it is told.
                return;
            }
            self.share.canary += last.canary.requests;
            self.share.all += last.canary.requests + last.baseline.requests;
            self.clients.clear();
        }
        let (canary, baseline) = (Tally::default(), Tally::default());
        self.recent.push_back(Second { at: second, canary, baseline });
        while self.recent.front().is_some_and(|old| old.at <= second - HARD_FAIL_AT_MOST) {
            self.recent.pop_front();
        }
    }

    /// Counts what was seen, and tests what of it is evidence.
    fn count(&mut self, arm: Arm, seen: Tally, evidence: Tally, at: Timestamp) {
        let (above, below) = self.shares();
        if let Some(second) = self.recent.back_mut() {
            match arm {
                Arm::Canary => second.canary.add(seen),
                Arm::Baseline => second.baseline.add(seen),
            }
        }
        let alone = self.is_alone();
        match arm {
            Arm::Canary => {
                self.canary.add(seen);
                self.step.add(seen);
                if seen.failed > 0 && self.first_failed.is_none() {
                    self.first_failed = Some(at);
                }
                self.errors.requests(seen.requests, evidence.failed);
                self.slow.requests(seen.requests, evidence.slow);
            }
            Arm::Baseline => self.baseline.add(seen),
        }
        if !alone {
            self.errors.events(arm, evidence.failed, above, below);
            self.slow.events(arm, evidence.slow, above, below);
        }
        if arm == Arm::Canary && self.condemned.is_none() {
            if evidence.failed > 0 {
                self.judge(Signal::Errors);
                self.judge_hard_fail();
            }
            if evidence.slow > 0 {
                self.judge(Signal::Latency);
            }
        }
    }

    fn is_alone(&self) -> bool {
        self.weight >= 1.0
    }

    /// The canary's share of the traffic, over- and underestimated.
    fn shares(&self) -> (f64, f64) {
        let trusted = self.share.canary as f64 + self.weight * TRUST;
        let measured = trusted / (self.share.all as f64 + TRUST);
        let sensible = |share: f64| share.clamp(1e-4, 0.999);
        (sensible(self.weight.max(measured)), sensible(self.weight.min(measured)))
    }

    /// The E-value that condemns, as a logarithm. The signals share the chance of a false alarm;
    /// half of it goes to errors, which hurt most and must be found first.
    fn limit(&self, signal: Signal) -> f64 {
        let share = match signal {
            Signal::Errors => 0.5,
            Signal::Latency | Signal::Restarts => 0.25,
        };
        -(self.settings.false_alarm * share).ln()
    }

    fn comparison(&self, signal: Signal) -> &Comparison {
        match signal {
            Signal::Errors => &self.errors,
            Signal::Latency => &self.slow,
            Signal::Restarts => &self.restarts,
        }
    }

    /// Condemns when the evidence suffices; what was once enough stays enough.
    fn judge(&mut self, signal: Signal) {
        let comparison = self.comparison(signal);
        let lane = if comparison.alone.is_some() { Lane::Alone } else { Lane::Compared };
        if self.condemned.is_none() && comparison.log_odds() >= self.limit(signal) {
            let mut evidence = self.evidence(signal, lane);
            evidence.words = words::worse(&evidence, self.restarted, self.usual(signal));
            self.condemned = Some(evidence);
        }
    }

    fn usual(&self, signal: Signal) -> f64 {
        self.comparison(signal).alone.as_ref().map_or(0.0, |alone| alone.usual)
    }

    fn judge_hard_fail(&mut self) {
        if self.condemned.is_some() {
            return;
        }
        let now = self.recent.back().map_or(0, |second| second.at);
        let (mut canary, mut baseline) = (Tally::default(), Tally::default());
        for second in self.recent.iter().rev() {
            let enough = canary.requests >= HARD_FAIL_REQUESTS;
            if enough && second.at <= now - HARD_FAIL_SECONDS {
                break;
            }
            canary.add(second.canary);
            baseline.add(second.baseline);
        }
        if self.is_alone() {
            baseline = self.history.total();
            baseline.add(self.baseline);
        }
        let failing = canary.requests >= HARD_FAIL_REQUESTS
            && canary.failed as f64 >= 0.95 * canary.requests as f64;
        let well = baseline.failed as f64 <= 0.05 * baseline.requests.max(1) as f64;
        if failing && well {
            let mut evidence = self.evidence(Signal::Errors, Lane::HardFail);
            evidence.canary = canary;
            evidence.baseline = baseline;
            evidence.words = words::hard_fail(&evidence, self.is_alone());
            self.condemned = Some(evidence);
        }
    }

    fn evidence(&self, signal: Signal, lane: Lane) -> Evidence {
        let comparison = self.comparison(signal);
        Evidence {
            signal,
            lane,
            canary: self.canary,
            baseline: self.baseline,
            since: self.since,
            until: self.until,
            odds: comparison.log_odds().exp(),
            ratio_below: comparison.ratio_below(self.settings.false_comfort),
            dispersion: comparison.dispersion,
            words: String::new(),
        }
    }

    /// Returns the answer as of now. "Worse" stays, whatever comes after it.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        if let Some(evidence) = &self.condemned {
            return Verdict::Worse { evidence: evidence.clone() };
        }
        let lane = if self.is_alone() { Lane::Alone } else { Lane::Compared };
        let mut evidence = self.evidence(Signal::Errors, lane);
        evidence.until = self.until.max(now);
        let comfort = -self.settings.false_comfort.ln();
        let fails_no_more = self.errors.is_no_worse(comfort);
        let is_no_slower = self.settings.slow_over.is_none() || self.slow.is_no_worse(comfort);
        if fails_no_more && is_no_slower {
            evidence.words = words::not_worse(&evidence, self.settings.tolerated);
            return Verdict::NotWorse { evidence };
        }
        if fails_no_more {
            evidence.signal = Signal::Latency;
        }
        let open = if fails_no_more { &self.slow } else { &self.errors };
        let missing = open.requests_missing(comfort);
        let rate = self.step.requests as f64 / self.step_for(now).as_secs_f64().max(1.0);
        evidence.words = words::not_enough(&evidence);
        let would_help = words::would_help(missing, rate, self.weight);
        Verdict::NotEnough { evidence, would_help }
    }

    /// Returns for how long the present step has lasted.
    pub fn step_for(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.step_since)).unwrap_or_default()
    }

    /// Returns what the canary was asked and how that ended since the present step began.
    pub fn step_tally(&self) -> Tally {
        self.step
    }

    /// Returns what the arm was asked and how that ended since the judge began.
    pub fn tally(&self, arm: Arm) -> Tally {
        match arm {
            Arm::Canary => self.canary,
            Arm::Baseline => self.baseline,
        }
    }

    /// Returns when the canary failed a request for the first time.
    pub fn first_failed(&self) -> Option<Timestamp> {
        self.first_failed
    }

    /// Returns the answer as the journal keeps it.
    pub fn recorded(&self, now: Timestamp) -> (journal::Verdict, journal::Evidence) {
        let verdict = self.verdict(now);
        let evidence = verdict.evidence();
        let after = self.first_failed.filter(|_| verdict.is_worse()).map(|first| {
            u64::try_from(evidence.until.duration_since(first).as_millis()).unwrap_or_default()
        });
        let recorded = journal::Evidence {
            summary: match &verdict {
                Verdict::NotEnough { would_help, .. } => {
                    format!("{}; {would_help}", evidence.words)
                }
                _ => evidence.words.clone(),
            },
            canary_requests: self.canary.requests,
            canary_failed: self.canary.failed,
            baseline_requests: self.baseline.requests,
            baseline_failed: self.baseline.failed,
            paths: Vec::new(),
            after_ms: after,
        };
        let verdict = match verdict {
            Verdict::Worse { .. } => journal::Verdict::Worse,
            Verdict::NotWorse { .. } => journal::Verdict::NotWorse,
            Verdict::NotEnough { .. } => journal::Verdict::NotEnough,
        };
        (verdict, recorded)
    }
}

/// The share of slow requests, and of restarts, that is no reason to go back by itself.
const SLOW_TOLERATED: f64 = 0.05;

/// Odds for "worse" above which nothing is said to be not worse.
const SUSPICION: f64 = 10.0;

/// One signal: how strongly what was seen speaks for "worse" and for "not worse".
#[derive(Debug, Clone)]
struct Comparison {
    dispersion: f64,
    tolerated: f64,
    /// The logarithm of the weight of each suspicion.
    worse: [f64; RATIOS.len()],
    /// For each claim "at least r times as often": the logarithms of what stands against it.
    better: [[f64; PARTS.len()]; BOUNDS.len()],
    /// Against "fails at least as often as is tolerated".
    rare: [f64; PARTS.len()],
    alone: Option<Alone>,
}

impl Comparison {
    fn new(dispersion: f64, tolerated: f64) -> Self {
        Self {
            dispersion,
            tolerated: tolerated.clamp(1e-6, 0.9),
            worse: [0.0; RATIOS.len()],
            better: [[0.0; PARTS.len()]; BOUNDS.len()],
            rare: [0.0; PARTS.len()],
            alone: None,
        }
    }

    /// Counts events of one arm, of which the canary is expected to have this share.
    fn events(&mut self, arm: Arm, events: u64, above: f64, below: f64) {
        if events == 0 {
            return;
        }
        let power = events as f64 / self.dispersion;
        for (log, ratio) in self.worse.iter_mut().zip(RATIOS) {
            *log += power * (likelihood(arm, above, ratio) - likelihood(arm, above, 1.0));
        }
        for (logs, bound) in self.better.iter_mut().zip(BOUNDS) {
            for (log, part) in logs.iter_mut().zip(PARTS) {
                let seen = likelihood(arm, below, bound * part.max(1e-3));
                *log += power * (seen - likelihood(arm, below, bound));
            }
        }
    }

    /// Counts requests of the canary.
    fn requests(&mut self, requests: u64, events: u64) {
        if let Some(alone) = &mut self.alone {
            alone.observe(requests, events);
        }
        let (events, others) = (events as f64, requests.saturating_sub(events) as f64);
        for (log, part) in self.rare.iter_mut().zip(PARTS) {
            let part = part.max(1e-2);
            let rate = self.tolerated * part;
            let likelihood =
                events * part.ln() + others * ((1.0 - rate) / (1.0 - self.tolerated)).ln();
            *log += likelihood / self.dispersion;
        }
    }

    fn forget_comfort(&mut self) {
        for log in &mut self.worse {
            *log = log.max(0.0);
        }
    }

    fn log_odds(&self) -> f64 {
        self.alone.as_ref().map_or_else(|| log_mean_exp(&self.worse), Alone::log_odds)
    }

    /// The smallest ratio that the canary is known to stay below.
    fn ratio_below(&self, risk: f64) -> Option<f64> {
        let refuted = |logs: &[f64; PARTS.len()]| log_mean_exp(logs) >= -risk.ln();
        BOUNDS.iter().zip(&self.better).find(|(_, logs)| refuted(logs)).map(|(bound, _)| *bound)
    }

    fn is_no_worse(&self, comfort: f64) -> bool {
        // What fails more often than the baseline is not cleared by failing rarely.
        if self.log_odds() > SUSPICION.ln() {
            return false;
        }
        let by_ratio = BOUNDS
            .iter()
            .zip(&self.better)
            .any(|(bound, logs)| *bound <= NOT_WORSE && log_mean_exp(logs) >= comfort);
        by_ratio || log_mean_exp(&self.rare) >= comfort
    }

    /// About how many more good requests it takes to say "not worse".
    fn requests_missing(&self, comfort: f64) -> u64 {
        let mut grown = self.clone();
        grown.alone = None;
        let mut missing = 0;
        for doubling in 4..24 {
            let more = 1 << doubling;
            grown.requests(more, 0);
            missing += more;
            if log_mean_exp(&grown.rare) >= comfort {
                return missing;
            }
        }
        missing
    }
}

/// The logarithm of the chance that an event is of this arm when the canary has `ratio` times the
/// risk and this share of the traffic.
fn likelihood(arm: Arm, share: f64, ratio: f64) -> f64 {
    let canary = ratio * share / (ratio * share + 1.0 - share);
    match arm {
        Arm::Canary => canary.ln(),
        Arm::Baseline => (1.0 - canary).ln(),
    }
}
