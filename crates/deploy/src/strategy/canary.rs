//! In growing shares, each judged against the old release.

use journal::{StrategyKind, Verdict};

use super::{Plan, Progress, Step, Strategy, WHOLE};

pub(super) const STRATEGY: Strategy = Strategy {
    kind: StrategyKind::Canary,
    summary: "growing shares of the traffic, each judged against the old release",
    forward,
};

/// Takes the next share once the present one is judged.
///
/// A service with few requests cannot prove anything at one percent, so a step whose time is over
/// without a verdict hands on to the next share; only the last one waits as long as patience goes.
fn forward(plan: &Plan, progress: &Progress) -> Step {
    let share = progress.new_weight;
    let next = match plan.steps.iter().find(|step| **step > share) {
        Some(next) if plan.has_baseline(progress) => *next,
        _ => WHOLE,
    };
    if share == WHOLE {
        return Step::Promote { proven: progress.verdict == Verdict::NotWorse };
    }
    if share > 0
        && let Err(meanwhile) = plan.judged(progress, next < WHOLE)
    {
        return meanwhile;
    }
    let needed = plan.instances_for(next);
    if progress.new.asked < needed {
        return plan.scale_new(needed);
    }
    if progress.new.ready < needed {
        return plan.wait_ready(progress);
    }
    plan.shift(next)
}
