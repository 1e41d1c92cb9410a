//! All at once, the old release kept warm.

use journal::{StrategyKind, Verdict};

use super::{Plan, Progress, Step, Strategy, WHOLE};

pub(super) const STRATEGY: Strategy = Strategy {
    kind: StrategyKind::BlueGreen,
    summary: "all traffic at once, the old release kept warm",
    forward,
};

fn forward(plan: &Plan, progress: &Progress) -> Step {
    let needed = plan.replicas.max(1);
    match () {
        () if progress.new_weight == WHOLE => {
            Step::Promote { proven: progress.verdict == Verdict::NotWorse }
        }
        () if progress.new.asked < needed => plan.scale_new(needed),
        () if progress.new.ready < needed => plan.wait_ready(progress),
        () => plan.shift(WHOLE),
    }
}
