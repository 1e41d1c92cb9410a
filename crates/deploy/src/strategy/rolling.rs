//! Instance by instance.

use jiff::Timestamp;
use journal::{StrategyKind, Verdict};

use super::{Awaited, Order, Plan, Progress, Step, Strategy, WHOLE, later};

pub(super) const STRATEGY: Strategy = Strategy {
    kind: StrategyKind::Rolling,
    summary: "batch by batch, for services that cannot run twice or are short of room",
    forward,
};

/// Replaces a batch: new instances start, take their share, old ones go; or the other way round.
fn forward(plan: &Plan, progress: &Progress) -> Step {
    let replicas = plan.replicas.max(1);
    let batch = plan.parallelism.clamp(1, replicas);
    let new = progress.new.asked;
    let has_old = plan.older().is_some() && progress.old.asked > 0;

    if progress.new.ready < new {
        return plan.wait_ready(progress);
    }
    // Those that are ready take their share before anything else changes.
    let shared = has_old && plan.has_baseline(progress);
    let share = if shared { WHOLE * new.min(replicas) / replicas } else { WHOLE };
    if new > 0 && progress.new_weight < share {
        return plan.shift(share);
    }
    if new >= replicas {
        return Step::Promote { proven: progress.verdict == Verdict::NotWorse };
    }
    if has_old {
        let keep = match plan.order {
            Order::StartFirst => replicas - new,
            Order::StopFirst => replicas.saturating_sub(new + batch),
        };
        if progress.old.asked > keep {
            if keep == 0 && progress.old_weight > 0 {
                // Nobody is left to answer: requests are held while the one instance changes.
                return if new > 0 {
                    plan.shift(WHOLE)
                } else {
                    Step::Shift { weights: Vec::new() }
                };
            }
            let release = plan.older().cloned().expect("an old release has instances");
            return Step::Scale { release, count: keep };
        }
    }
    let pause = later(progress.since, plan.delay);
    if new > 0 && wants_pause(plan, progress.now, pause) {
        return Step::Wait { awaited: Awaited::Delay, until: Some(pause) };
    }
    plan.scale_new((new + batch).min(replicas))
}

fn wants_pause(plan: &Plan, now: Timestamp, pause: Timestamp) -> bool {
    !plan.delay.is_zero() && now < pause
}
