use proptest::prelude::{
    Just, ProptestConfig, TestCaseError, any, prop_assert, prop_oneof, proptest,
};
use proptest::strategy::Strategy as Generate;

use super::{
    Awaited, Duration, OnWorse, Order, Plan, Progress, STRATEGIES, Step, StrategyKind, Timestamp,
    Verdict, WHOLE, Weight, Wish,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time in range")
}

fn plan(strategy: StrategyKind) -> Plan {
    Plan {
        strategy,
        from: Some("old".into()),
        to: "new".into(),
        replicas: 2,
        order: Order::StartFirst,
        parallelism: 1,
        delay: Duration::ZERO,
        steps: vec![100, 1_000, 5_000, WHOLE],
        step_time: Duration::from_secs(10),
        patience: Duration::from_mins(1),
        start_time: Duration::from_mins(1),
        monitor: Duration::from_secs(30),
        on_worse: OnWorse::RollBack,
        hold_when_unsure: false,
    }
}

/// A machine that does what it is told, and a story of what it did.
struct World {
    plan: Plan,
    progress: Progress,
    seconds: i64,
    story: Vec<String>,
    starts: bool,
}

impl World {
    fn new(plan: Plan) -> Self {
        let old_ready = if plan.from.is_some() { plan.replicas } else { 0 };
        let progress = Progress::start(&plan, old_ready, at(0));
        Self { plan, progress, seconds: 0, story: Vec::new(), starts: true }
    }

    /// Takes one step; a wait passes ten seconds, or until its end if that comes sooner.
    fn step(&mut self) -> Step {
        let step = self.plan.next(&self.progress);
        let told = tell(&step);
        if self.story.last() != Some(&told) {
            self.story.push(told);
        }
        self.progress.took(&self.plan, &step, at(self.seconds));
        match &step {
            Step::Wait { until, .. } => {
                let end = until.map_or(i64::MAX, |until| until.as_second() - at(0).as_second());
                self.seconds = end.min(self.seconds + 10).max(self.seconds);
                self.progress.now = at(self.seconds);
            }
            Step::Scale { .. } if self.starts => {
                self.progress.new.ready = self.progress.new.asked;
                self.progress.old.ready = self.progress.old.asked;
            }
            _ => {}
        }
        step
    }

    fn run(mut self) -> String {
        for _ in 0..200 {
            if let Step::Finish { .. } = self.step() {
                return self.story.join("\n");
            }
        }
        panic!("the deployment does not end:\n{}", self.story.join("\n"));
    }

    fn until(&mut self, wanted: impl Fn(&Step) -> bool) {
        for _ in 0..200 {
            if wanted(&self.step()) {
                return;
            }
        }
        panic!("never came:\n{}", self.story.join("\n"));
    }
}

fn tell(step: &Step) -> String {
    match step {
        Step::Scale { release, count } => format!("scale {release} to {count}"),
        Step::Shift { weights } => format!("shift {}", shares(weights)),
        Step::Wait { awaited, .. } => format!("wait for {awaited:?}"),
        Step::Promote { proven } => format!("promote, proven {proven}"),
        Step::RollBack { reason, weights } => format!("roll back ({reason:?}) {}", shares(weights)),
        Step::Finish { outcome } => format!("finish {outcome:?}"),
    }
}

fn shares(weights: &[Weight]) -> String {
    let shown: Vec<_> = weights
        .iter()
        .map(|weight| format!("{} {}", weight.release, weight.basis_points))
        .collect();
    format!("[{}]", shown.join(", "))
}

#[test]
fn a_canary_that_is_not_worse_goes_through_its_shares() {
    let mut world = World::new(plan(StrategyKind::Canary));
    for _ in 0..60 {
        if let Step::Shift { .. } = world.step() {
            world.progress.verdict = Verdict::NotWorse;
        }
    }
    insta::assert_snapshot!(world.run(), @r"
    scale new to 1
    shift [new 100, old 9900]
    wait for Verdict
    shift [new 1000, old 9000]
    wait for Verdict
    shift [new 5000, old 5000]
    wait for Verdict
    scale new to 2
    shift [new 10000]
    promote, proven true
    wait for Monitor
    scale old to 0
    finish Promoted
    ");
}

#[test]
fn a_canary_that_is_worse_goes_back_with_one_route_change() {
    let mut world = World::new(plan(StrategyKind::Canary));
    world.until(|step| matches!(step, Step::Shift { .. }));
    world.progress.verdict = Verdict::Worse;
    insta::assert_snapshot!(world.run(), @r"
    scale new to 1
    shift [new 100, old 9900]
    roll back (Worse) [old 10000]
    scale new to 0
    finish RolledBack(Worse)
    ");
}

#[test]
fn a_canary_with_few_requests_asks_for_more_of_them_and_says_it_is_not_proven() {
    insta::assert_snapshot!(World::new(plan(StrategyKind::Canary)).run(), @r"
    scale new to 1
    shift [new 100, old 9900]
    wait for Verdict
    shift [new 1000, old 9000]
    wait for Verdict
    shift [new 5000, old 5000]
    wait for Verdict
    scale new to 2
    shift [new 10000]
    promote, proven false
    wait for Monitor
    scale old to 0
    finish Promoted
    ");
}

#[test]
fn instances_that_crash_before_they_are_ready_never_get_traffic() {
    for strategy in STRATEGIES {
        let mut world = World::new(plan(strategy.kind));
        world.starts = false;
        world.until(|step| matches!(step, Step::Scale { .. }));
        world.progress.new.failed = 1;
        world.starts = true;
        let story = world.run();
        assert!(story.contains("roll back (Crashed) [old 10000]"), "{story}");
        assert!(!story.contains("shift"), "{story}");
        assert!(story.ends_with("finish RolledBack(Crashed)"), "{story}");
    }
}

#[test]
fn instances_that_are_never_ready_go_back_when_their_time_is_over() {
    let mut world = World::new(plan(StrategyKind::BlueGreen));
    world.starts = false;
    insta::assert_snapshot!(world.run(), @r"
    scale new to 2
    wait for Ready
    roll back (NotReady) [old 10000]
    scale new to 0
    finish RolledBack(NotReady)
    ");
}

#[test]
fn blue_green_keeps_the_old_release_warm_and_goes_back_to_it_at_once() {
    let mut world = World::new(plan(StrategyKind::BlueGreen));
    world.until(|step| matches!(step, Step::Wait { awaited: Awaited::Monitor, .. }));
    assert_eq!(world.progress.old.ready, 2);
    world.progress.verdict = Verdict::Worse;
    insta::assert_snapshot!(world.run(), @r"
    scale new to 2
    shift [new 10000]
    promote, proven false
    wait for Monitor
    roll back (Worse) [old 10000]
    scale new to 0
    finish RolledBack(Worse)
    ");
}

#[test]
fn a_first_deployment_has_nothing_to_go_back_to() {
    let mut first = plan(StrategyKind::Canary);
    first.from = None;
    insta::assert_snapshot!(World::new(first.clone()).run(), @r"
    scale new to 2
    shift [new 10000]
    promote, proven false
    finish Promoted
    ");
    let mut world = World::new(first);
    world.starts = false;
    world.until(|step| matches!(step, Step::Scale { .. }));
    world.progress.new.failed = 1;
    insta::assert_snapshot!(world.run(), @r"
    scale new to 2
    roll back (Crashed) []
    scale new to 0
    finish Failed(Crashed)
    ");
}

#[test]
fn rolling_replaces_one_after_the_other() {
    insta::assert_snapshot!(World::new(plan(StrategyKind::Rolling)).run(), @r"
    scale new to 1
    shift [new 5000, old 5000]
    scale old to 1
    scale new to 2
    shift [new 10000]
    promote, proven false
    wait for Monitor
    scale old to 0
    finish Promoted
    ");
}

#[test]
fn stop_first_holds_requests_while_the_only_instance_changes() {
    let mut single = plan(StrategyKind::Rolling);
    single.replicas = 1;
    single.order = Order::StopFirst;
    insta::assert_snapshot!(World::new(single.clone()).run(), @r"
    shift []
    scale old to 0
    scale new to 1
    shift [new 10000]
    promote, proven false
    finish Promoted
    ");
    let mut world = World::new(single);
    world.until(|step| {
        matches!(step, Step::Wait { awaited: Awaited::Monitor, .. } | Step::Promote { .. })
    });
    world.progress.new.ready = 0;
    world.progress.new.failed = 1;
    world.starts = true;
    insta::assert_snapshot!(world.run(), @r"
    shift []
    scale old to 0
    scale new to 1
    shift [new 10000]
    promote, proven false
    roll back (Crashed) []
    scale new to 0
    scale old to 1
    shift [old 10000]
    finish RolledBack(Crashed)
    ");
}

#[test]
fn a_person_can_promote_and_abort() {
    let mut world = World::new(plan(StrategyKind::Canary));
    world.until(|step| matches!(step, Step::Shift { .. }));
    world.progress.wish = Some(Wish::Promote);
    world.progress.verdict = Verdict::Worse;
    assert!(world.run().ends_with("finish Promoted"));
    let mut world = World::new(plan(StrategyKind::Canary));
    world.until(|step| matches!(step, Step::Shift { .. }));
    world.progress.wish = Some(Wish::Abort);
    assert!(world.run().ends_with("finish RolledBack(Asked)"));
}

#[test]
fn a_plan_that_holds_waits_for_a_person() {
    let mut held = plan(StrategyKind::Canary);
    held.on_worse = OnWorse::Hold;
    let mut world = World::new(held);
    world.until(|step| matches!(step, Step::Shift { .. }));
    world.progress.verdict = Verdict::Worse;
    assert_eq!(world.step(), Step::Wait { awaited: Awaited::Person, until: None });
}

#[test]
fn a_plan_may_wait_for_a_person_when_there_was_too_little_traffic() {
    let mut unsure = plan(StrategyKind::Canary);
    unsure.hold_when_unsure = true;
    let mut world = World::new(unsure);
    world.until(|step| matches!(step, Step::Wait { awaited: Awaited::Person, .. }));
    assert_eq!(world.progress.new_weight, 5_000);
    world.progress.wish = Some(Wish::Promote);
    assert!(world.run().ends_with("finish Promoted"));
}

/// What the world may do between two steps.
#[derive(Debug, Clone)]
enum Happening {
    Ready { old: u32, new: u32 },
    Failed,
    Verdict(u8),
    Time(i64),
    Wish(bool),
    Nothing,
}

fn happening() -> impl Generate<Value = Happening> {
    prop_oneof![
        (0..4_u32, 0..4_u32).prop_map(|(old, new)| Happening::Ready { old, new }),
        Just(Happening::Failed),
        (0..3_u8).prop_map(Happening::Verdict),
        (0..90_i64).prop_map(Happening::Time),
        any::<bool>().prop_map(Happening::Wish),
        Just(Happening::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_happens_traffic_is_whole_goes_to_the_ready_and_the_deployment_ends(
        kind in 0..3_usize,
        first in any::<bool>(),
        stop_first in any::<bool>(),
        replicas in 1..4_u32,
        parallelism in 1..3_u32,
        on_worse in 0..3_u8,
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut plan = plan(STRATEGIES[kind].kind);
        plan.replicas = replicas;
        plan.parallelism = parallelism;
        if first { plan.from = None; }
        if stop_first { plan.strategy = StrategyKind::Rolling; plan.order = Order::StopFirst; }
        plan.on_worse = [OnWorse::RollBack, OnWorse::Hold, OnWorse::GoOn][usize::from(on_worse)];
        let mut world = World::new(plan);
        world.starts = false;
        for happening in happenings {
            match happening {
                Happening::Ready { old, new } => {
                    world.progress.old.ready = old.min(world.progress.old.asked);
                    world.progress.new.ready = new.min(world.progress.new.asked);
                }
                Happening::Failed => world.progress.new.failed += 1,
                Happening::Verdict(n) => world.progress.verdict =
                    [Verdict::NotWorse, Verdict::Worse, Verdict::NotEnough][usize::from(n)],
                Happening::Time(n) => {
                    world.seconds += n;
                    world.progress.now = at(world.seconds);
                }
                Happening::Wish(promote) => world.progress.wish =
                    Some(if promote { Wish::Promote } else { Wish::Abort }),
                Happening::Nothing => {}
            }
            let seen = world.progress.clone();
            let step = world.step();
            check(&world.plan, &seen, &step)?;
        }
        // From here on the world is quiet: time passes, what was asked for runs, a person decides.
        world.starts = true;
        world.progress.old.ready = world.progress.old.asked;
        let mut ended = false;
        for _ in 0..400 {
            let seen = world.progress.clone();
            let step = world.step();
            check(&world.plan, &seen, &step)?;
            match step {
                Step::Wait { awaited: Awaited::Person, .. } => {
                    world.progress.wish = Some(Wish::Abort);
                }
                Step::Finish { .. } => { ended = true; break; }
                _ => {}
            }
        }
        prop_assert!(ended, "does not end:\n{}", world.story.join("\n"));
    }
}

fn check(plan: &Plan, seen: &Progress, step: &Step) -> Result<(), TestCaseError> {
    if let Step::Shift { weights } | Step::RollBack { weights, .. } = step {
        let sum: u32 = weights.iter().map(|weight| weight.basis_points).sum();
        prop_assert!(weights.is_empty() || sum == WHOLE, "shares of {sum}: {step:?}");
        for weight in weights {
            let side = if weight.release == plan.to { seen.new } else { seen.old };
            prop_assert!(side.ready > 0, "traffic for nobody: {step:?} {seen:?}");
        }
    }
    Ok(())
}
