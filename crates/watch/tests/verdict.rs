//! How fast a judge condemns a bad release, and how rarely a good one; on simulated traffic with
//! fixed seeds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use watch::verdict::{
    Arm, History, Judge, Lane, NextStep, Outcome, Settings, Signal, StepPolicy, Tally, Verdict,
    WhenUnsure,
};

/// A small random generator (splitmix64), so that a run is the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        self.next() < share
    }

    /// The time to the next of so many independent arrivals per second.
    fn gap(&mut self, per_second: f64) -> f64 {
        -(1.0 - self.next()).ln() / per_second
    }
}

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

fn after(seconds: f64) -> Timestamp {
    start() + SignedDuration::from_secs_f64(seconds)
}

/// How a service behaves, and how a canary of it does.
#[derive(Clone, Copy)]
struct World {
    per_second: f64,
    weight: f64,
    baseline: f64,
    canary: f64,
    /// Errors are so many times as frequent in bursts of 5 to 20 s, in each arm by itself.
    bursts: Option<f64>,
}

const WELL: World =
    World { per_second: 100.0, weight: 0.1, baseline: 0.01, canary: 0.01, bursts: None };

struct Bursts {
    times: f64,
    from: f64,
    to: f64,
}

impl Bursts {
    fn new(times: Option<f64>, dice: &mut Dice) -> Self {
        let from = if times.is_some() { dice.gap(1.0 / 150.0) } else { f64::INFINITY };
        Self { times: times.unwrap_or(1.0), from, to: from + 12.0 }
    }

    fn at(&mut self, time: f64, dice: &mut Dice) -> f64 {
        if time > self.to {
            self.from = time + dice.gap(1.0 / 150.0);
            self.to = self.from + 5.0 + 15.0 * dice.next();
        }
        if time >= self.from { self.times } else { 1.0 }
    }
}

impl World {
    /// An hour of the old release alone.
    fn past(&self, dice: &mut Dice) -> History {
        let mut bursts = Bursts::new(self.bursts, dice);
        let seconds = (0..3600).map(|second| {
            let rate = (self.baseline * bursts.at(f64::from(second), dice)).min(1.0);
            let requests = self.per_second;
            // Enough of a Poisson count for what the past is used for.
            let mut failed = 0;
            let mut spent = dice.gap(requests * rate);
            while spent < 1.0 {
                failed += 1;
                spent += dice.gap(requests * rate);
            }
            Tally::new((requests as u64).max(failed), failed)
        });
        History::of_seconds(seconds.collect::<Vec<_>>())
    }

    /// Runs until the judge condemns or the time is over; gives when, and how many canary
    /// requests had failed by then.
    fn run(&self, dice: &mut Dice, seconds: f64) -> (Option<f64>, u64, Judge) {
        let mut judge = Judge::new(Settings::default(), self.past(dice), self.weight, start());
        let mut ours = Bursts::new(self.bursts, dice);
        let mut theirs = Bursts::new(self.bursts, dice);
        let mut time = dice.gap(self.per_second);
        while time < seconds {
            let (arm, rate) = if dice.chance(self.weight) {
                (Arm::Canary, self.canary * ours.at(time, dice))
            } else {
                (Arm::Baseline, self.baseline * theirs.at(time, dice))
            };
            let failed = dice.chance(rate);
            let outcome = if failed { Outcome::bad() } else { Outcome::good() };
            if judge.observe(arm, outcome, after(time)) {
                return (Some(time), judge.tally(Arm::Canary).failed, judge);
            }
            time += dice.gap(self.per_second);
        }
        (None, judge.tally(Arm::Canary).failed, judge)
    }
}

fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    values[values.len() / 2]
}

#[test]
fn a_release_that_fails_every_request_is_condemned_within_the_bar() {
    for (per_second, bar) in [(10.0, 6.0), (100.0, 2.0), (500.0, 1.0)] {
        let world = World { per_second, baseline: 0.001, canary: 1.0, ..WELL };
        let runs: Vec<(f64, u64)> = (0..20)
            .map(|seed| {
                let (found, failed, _) = world.run(&mut Dice(seed), 60.0);
                (found.expect("condemned within a minute"), failed)
            })
            .collect();
        let mut times: Vec<f64> = runs.iter().map(|run| run.0).collect();
        let mut failed: Vec<u64> = runs.iter().map(|run| run.1).collect();
        let (time, worst) = (median(&mut times), times[19]);
        let (failed, most) = (median(&mut failed), failed[19]);
        println!(
            "{per_second} requests/s: {time:.2} s (at most {worst:.2}), {failed} failed (at most {most})"
        );
        assert!(time <= bar, "{per_second} requests/s took {time} s");
        assert!(failed <= 8, "{per_second} requests/s failed {failed}");
    }
}

#[test]
fn a_release_that_fails_every_request_is_condemned_without_any_history() {
    for per_second in [10.0, 100.0, 500.0] {
        let mut failures: Vec<u64> = (0..20)
            .map(|seed| {
                let mut dice = Dice(seed);
                let mut judge = Judge::new(Settings::default(), History::unknown(), 0.1, start());
                let mut time = 0.0;
                while !judge.verdict(after(time)).is_worse() {
                    time += dice.gap(per_second);
                    let canary = dice.chance(0.1);
                    let outcome = if canary { Outcome::bad() } else { Outcome::good() };
                    let arm = if canary { Arm::Canary } else { Arm::Baseline };
                    judge.observe(arm, outcome, after(time));
                }
                judge.tally(Arm::Canary).failed
            })
            .collect();
        assert!(median(&mut failures) <= 10, "{failures:?}");
    }
}

#[test]
fn none_of_a_hundred_good_canaries_is_condemned_at_one_percent_errors() {
    for seed in 0..100 {
        let (found, ..) = WELL.run(&mut Dice(1_000 + seed), 60.0);
        assert_eq!(found, None, "seed {seed}");
    }
}

#[test]
fn good_canaries_of_bursty_services_are_let_live() {
    let mut wrong = 0;
    for (bursts, rate) in [(10.0, 0.001), (50.0, 0.001), (10.0, 0.01), (50.0, 0.01)] {
        let world =
            World { per_second: 20.0, baseline: rate, canary: rate, bursts: Some(bursts), ..WELL };
        for seed in 0..25 {
            wrong += usize::from(world.run(&mut Dice(seed), 120.0).0.is_some());
        }
    }
    println!("{wrong} of 100 good canaries of bursty services condemned");
    assert!(wrong <= 1, "{wrong} of 100");
}

#[test]
fn a_fifth_of_the_requests_failing_is_found_in_seconds() {
    let world = World { baseline: 0.001, canary: 0.2, ..WELL };
    let mut times: Vec<f64> = (0..20)
        .map(|seed| world.run(&mut Dice(seed), 120.0).0.expect("condemned within two minutes"))
        .collect();
    let time = median(&mut times);
    println!("20 % errors at 100 requests/s: {time:.1} s, at most {:.1}", times[19]);
    assert!(time < 6.0, "{time}");
}

#[test]
fn an_outage_of_both_releases_condemns_neither() {
    let world = World { baseline: 0.9, canary: 0.9, ..WELL };
    let calm = World { baseline: 0.001, ..WELL };
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let past = calm.past(&mut dice);
        let mut judge = Judge::new(Settings::default(), past, 0.1, start());
        for request in 0..3_000 {
            let arm = if dice.chance(world.weight) { Arm::Canary } else { Arm::Baseline };
            let outcome = if dice.chance(0.9) { Outcome::bad() } else { Outcome::good() };
            judge.observe(arm, outcome, after(f64::from(request) / 100.0));
        }
        assert!(!judge.verdict(after(30.0)).is_worse(), "seed {seed}");
    }
}

#[test]
fn sticky_sessions_that_send_the_canary_more_than_its_weight_condemn_nobody() {
    // The proxy was told 10 %, but the canary really gets 40 % and is exactly as good.
    let mut wrong = 0;
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let past = WELL.past(&mut dice);
        let mut judge = Judge::new(Settings::default(), past, 0.1, start());
        for request in 0..6_000 {
            let arm = if dice.chance(0.4) { Arm::Canary } else { Arm::Baseline };
            let outcome = if dice.chance(0.01) { Outcome::bad() } else { Outcome::good() };
            judge.observe(arm, outcome, after(f64::from(request) / 100.0));
        }
        wrong += usize::from(judge.verdict(after(60.0)).is_worse());
    }
    assert_eq!(wrong, 0);
}

#[test]
fn a_release_alone_is_compared_with_the_past_of_the_service() {
    let mut dice = Dice(1);
    let past = World { baseline: 0.001, ..WELL }.past(&mut dice);
    let mut judge = Judge::new(Settings::default(), past, 1.0, start());
    for request in 0..200 {
        let failed = dice.chance(0.005);
        let outcome = if failed { Outcome::bad() } else { Outcome::good() };
        judge.observe(Arm::Canary, outcome, after(f64::from(request) / 100.0));
    }
    assert!(!judge.verdict(after(2.0)).is_worse());
    for request in 0..8 {
        judge.observe(Arm::Canary, Outcome::bad(), after(2.0 + f64::from(request) / 100.0));
    }
    let verdict = judge.verdict(after(3.0));
    assert!(verdict.is_worse(), "{verdict:?}");
    assert_eq!(verdict.evidence().lane, Lane::Alone);
}

#[test]
fn slow_answers_condemn_like_failed_ones() {
    let settings = Settings { slow_over: Some(Duration::from_millis(300)), ..Settings::default() };
    let past = History::of_seconds((0..3600).map(|_| Tally::new(10, 0)));
    let mut judge = Judge::new(settings, past, 0.1, start());
    for request in 0..200 {
        let (arm, took) = if request % 10 == 0 { (Arm::Canary, 500) } else { (Arm::Baseline, 50) };
        let outcome = Outcome::good().took(Duration::from_millis(took));
        judge.observe(arm, outcome, after(f64::from(request) / 10.0));
    }
    let verdict = judge.verdict(after(20.0));
    assert!(verdict.is_worse());
    assert_eq!(verdict.evidence().signal, Signal::Latency);
}

#[test]
fn instances_that_keep_ending_condemn_without_a_failed_request() {
    let mut judge = Judge::new(Settings::default(), History::unknown(), 0.1, start());
    for restart in 0..3 {
        assert!(!judge.verdict(after(f64::from(restart))).is_worse());
        judge.observe_restart(Arm::Canary, 1, 9, after(f64::from(restart)));
    }
    for restart in 3..6 {
        judge.observe_restart(Arm::Canary, 1, 9, after(f64::from(restart)));
    }
    assert_eq!(judge.verdict(after(4.0)).evidence().signal, Signal::Restarts);
    assert!(judge.verdict(after(4.0)).is_worse());
}

#[test]
fn one_client_in_a_retry_loop_counts_as_few() {
    let mut judge = Judge::new(Settings::default(), History::unknown(), 0.5, start());
    let stuck = Outcome { client: Some(7), ..Outcome::bad() };
    let free = Outcome { client: None, ..Outcome::bad() };
    let mut uncapped = judge.clone();
    for request in 0..30 {
        // All of them hit the canary by sticky routing; others find both releases well.
        let at = after(f64::from(request) / 100.0);
        for _ in 0..20 {
            for judge in [&mut judge, &mut uncapped] {
                judge.observe(Arm::Baseline, Outcome::good(), at);
                judge.observe(Arm::Canary, Outcome::good(), at);
            }
        }
        judge.observe(Arm::Canary, stuck, at);
        uncapped.observe(Arm::Canary, free, at);
    }
    // Thirty failures of one client within a second count as ten: not enough to condemn.
    assert!(!judge.verdict(after(1.0)).is_worse());
    assert!(
        judge.verdict(after(1.0)).evidence().odds < uncapped.verdict(after(1.0)).evidence().odds
    );
}

#[test]
fn failing_rarely_is_no_excuse_for_failing_more_often() {
    let past = History::of_seconds((0..3600).map(|_| Tally::new(100, 0)));
    let mut judge = Judge::new(Settings::default(), past, 0.1, start());
    judge.observe_tally(Arm::Baseline, Tally::new(9_000, 0), start());
    judge.observe_tally(Arm::Canary, Tally::new(997, 0), start());
    assert!(matches!(judge.verdict(after(1.0)), Verdict::NotWorse { .. }));
    // Three of a thousand are well below the 1 % that is tolerated, but the baseline has none.
    judge.observe_tally(Arm::Canary, Tally::new(3, 3), start());
    assert!(matches!(judge.verdict(after(1.0)), Verdict::NotEnough { .. }));
}

#[test]
fn worse_stays_worse() {
    let past = History::of_seconds((0..3600).map(|_| Tally::new(10, 0)));
    let mut judge = Judge::new(Settings::default(), past, 0.1, start());
    for _ in 0..6 {
        judge.observe(Arm::Canary, Outcome::bad(), start());
    }
    for _ in 0..10_000 {
        judge.observe(Arm::Baseline, Outcome::bad(), start());
    }
    assert!(judge.verdict(start()).is_worse());
}

#[test]
fn a_release_that_turns_bad_after_a_long_good_step_is_found_as_fast() {
    let world = World { baseline: 0.001, canary: 0.001, ..WELL };
    let mut dice = Dice(3);
    let (found, _, mut judge) = world.run(&mut dice, 120.0);
    assert_eq!(found, None);
    judge.shift(0.5, after(120.0));
    let mut failed = 0;
    while !judge.verdict(after(121.0)).is_worse() {
        judge.observe(Arm::Baseline, Outcome::good(), after(121.0));
        judge.observe(Arm::Canary, Outcome::bad(), after(121.0));
        failed += 1;
        assert!(failed < 20, "{:?}", judge.verdict(after(121.0)));
    }
}

#[test]
fn a_verdict_says_its_numbers_in_words() {
    let past = History::of_seconds((0..3600).map(|_| Tally::new(10, 0)));
    let mut judge = Judge::new(Settings::default(), past, 0.1, start());
    judge.observe_tally(Arm::Baseline, Tally::new(36, 0), start());
    insta::assert_snapshot!(judge.verdict(after(2.0)).evidence().words, @"0 of 0 requests to the new release failed, and 0 of 36 to the old one: not enough to tell whether it fails more often");
    let Verdict::NotEnough { would_help, .. } = judge.verdict(after(2.0)) else {
        panic!("too few to tell")
    };
    insta::assert_snapshot!(would_help, @"about 496 good requests to the new release would tell, but it gets none");
    for _ in 0..5 {
        judge.observe(Arm::Canary, Outcome::bad(), start());
    }
    insta::assert_snapshot!(judge.verdict(start()).evidence().words, @"4 of 4 requests to the new release failed, and 0 of 36 to the old one at the same time; that is 3,527 times likelier if the new one is worse than if both are equal");
}

#[test]
fn a_hard_failure_needs_no_history_and_says_so() {
    let mut judge = Judge::new(Settings::default(), History::unknown(), 0.1, start());
    for request in 0..10 {
        judge.observe_tally(Arm::Baseline, Tally::new(9, 0), after(f64::from(request)));
        judge.observe(Arm::Canary, Outcome::bad(), after(f64::from(request)));
    }
    let verdict = judge.verdict(after(10.0));
    assert_eq!(verdict.evidence().lane, Lane::HardFail);
    insta::assert_snapshot!(verdict.evidence().words, @"10 of the last 10 requests to the new release failed, and 0 of 90 to the old one at the same time");
}

fn judge_with(requests: u64, failed: u64) -> Judge {
    let past = History::of_seconds((0..3600).map(|_| Tally::new(10, 0)));
    let mut judge = Judge::new(Settings::default(), past, 0.1, start());
    judge.observe_tally(Arm::Baseline, Tally::new(requests * 9, 0), start());
    judge.observe_tally(Arm::Canary, Tally::new(requests, failed), start());
    judge
}

#[test]
fn a_step_ends_by_proof_by_time_or_by_going_back() {
    let policy = StepPolicy::default();
    // Proof: enough good requests, after the least time.
    let good = judge_with(1_000, 0);
    assert!(matches!(policy.next(&good, after(1.0)), NextStep::Stay { .. }));
    assert!(matches!(policy.next(&good, after(6.0)), NextStep::Promote { proven: true, .. }));
    // Time: some good requests, no proof.
    let some = judge_with(30, 0);
    assert!(
        matches!(policy.next(&some, after(6.0)), NextStep::Stay { until } if until == after(60.0))
    );
    assert!(matches!(policy.next(&some, after(60.0)), NextStep::Promote { proven: false, .. }));
    // Too few to say anything: as configured.
    let few = judge_with(3, 0);
    assert!(matches!(policy.next(&few, after(61.0)), NextStep::Promote { proven: false, .. }));
    let hold = StepPolicy { when_unsure: WhenUnsure::Hold, ..policy };
    assert!(matches!(hold.next(&few, after(61.0)), NextStep::Hold { .. }));
    // Going back does not wait for anything.
    let bad = judge_with(5, 5);
    assert!(matches!(hold.next(&bad, after(0.1)), NextStep::RollBack { .. }));
}

/// How a release went through all steps by the default policy.
struct Rollout {
    /// Whether it went back.
    rolled_back: bool,
    /// After how many seconds it had all traffic, or none.
    seconds: f64,
    /// How many requests it failed.
    failed: u64,
}

fn roll_out(world: World, seed: u64) -> Rollout {
    let mut dice = Dice(seed);
    let policy = StepPolicy::default();
    let past = world.past(&mut dice);
    let mut weights = [0.01, 0.1, 0.5].into_iter();
    let first = weights.next().expect("a first step");
    let (mut weight, mut time, mut failed) = (first, 0.0, 0);
    let mut judge = Judge::new(Settings::default(), past, weight, start());
    let mut asked = 0.0;
    loop {
        time += dice.gap(world.per_second);
        let arm = if dice.chance(weight) { Arm::Canary } else { Arm::Baseline };
        let bad = dice.chance(if arm == Arm::Canary { world.canary } else { world.baseline });
        let outcome = if bad { Outcome::bad() } else { Outcome::good() };
        let condemned = judge.observe(arm, outcome, after(time));
        failed += u64::from(bad && arm == Arm::Canary);
        if !condemned && time < asked + 0.5 {
            continue;
        }
        asked = time;
        match policy.next(&judge, after(time)) {
            NextStep::RollBack { .. } => {
                return Rollout { rolled_back: true, seconds: time, failed };
            }
            NextStep::Promote { .. } => match weights.next() {
                Some(next) => {
                    weight = next;
                    judge.shift(next, after(time));
                }
                None => return Rollout { rolled_back: false, seconds: time, failed },
            },
            NextStep::Stay { .. } | NextStep::Hold { .. } => {}
        }
    }
}

#[test]
fn a_bad_release_fails_about_ten_requests_on_its_way_through_the_steps() {
    for per_second in [1.0, 10.0, 100.0] {
        let world = World { per_second, baseline: 0.001, canary: 1.0, ..WELL };
        let rollouts: Vec<Rollout> = (0..10).map(|seed| roll_out(world, seed)).collect();
        assert!(rollouts.iter().all(|rollout| rollout.rolled_back));
        let mut failed: Vec<u64> = rollouts.iter().map(|rollout| rollout.failed).collect();
        let mut seconds: Vec<f64> = rollouts.iter().map(|rollout| rollout.seconds).collect();
        println!(
            "{per_second} requests/s: {} failed, back after {:.1} s",
            median(&mut failed),
            median(&mut seconds)
        );
        assert!(median(&mut failed) <= 10, "{failed:?}");
    }
}

#[test]
fn a_good_release_gets_all_traffic_within_minutes_even_when_hardly_anybody_calls() {
    for (per_second, bar) in [(0.1, 240.0), (10.0, 200.0), (100.0, 130.0)] {
        let world = World { per_second, baseline: 0.001, canary: 0.001, ..WELL };
        let rollouts: Vec<Rollout> = (0..5).map(|seed| roll_out(world, 50 + seed)).collect();
        assert!(rollouts.iter().all(|rollout| !rollout.rolled_back));
        let mut seconds: Vec<f64> = rollouts.iter().map(|rollout| rollout.seconds).collect();
        let time = median(&mut seconds);
        println!("{per_second} requests/s: all traffic after {time:.0} s");
        assert!(time <= bar, "{per_second} requests/s: {time} s");
    }
}
