//! The next step of a deployment, out of the present.
//!
//! A strategy (`deploy::strategy`) is a pure function of a plan and of how far it has come. Both
//! are read off the [`View`] here, so that a conductor that was killed goes on from what the
//! journal says, and the step is turned into an [`Action`].

use std::time::Duration;

use deploy::strategy::{
    Awaited, OnWorse, Order, Outcome, Plan, Progress, Reason, Side, Step, WHOLE, Wish,
};
use jiff::Timestamp;
use journal::view::{Deployment, Service};
use journal::{DeploymentId, ReleaseId, Verdict, View};

use super::action::{Action, Ending};

/// Returns what to do next for a deployment, as of `now`.
pub fn next(view: &View, id: DeploymentId, now: Timestamp) -> Vec<Action> {
    let Some(deployment) = view.deployments.get(&id).filter(|deployment| !deployment.is_over())
    else {
        return vec![];
    };
    let Some(service) = view.services.get(&deployment.service) else { return vec![] };
    let plan = plan(deployment);
    let mut progress = progress(deployment, service, now);
    let step = match plan.next(&progress) {
        // That all traffic has moved is on record already; what counts is what comes after it.
        step @ Step::Promote { .. } => {
            progress.took(&plan, &step, progress.since);
            progress.now = now;
            plan.next(&progress)
        }
        step => step,
    };
    let is_more = match &step {
        Step::Shift { .. } => true,
        Step::Scale { release, .. } => *release == deployment.to,
        _ => false,
    };
    let step = match suspected_until(deployment) {
        Some(until) if is_more && now < until => {
            Step::Wait { awaited: Awaited::Verdict, until: Some(until) }
        }
        _ => step,
    };
    act(deployment, step)
}

/// How long a canary that failed requests, and too few to tell, keeps its small share.
const SUSPECTED_FOR: Duration = Duration::from_mins(1);

/// Returns until when a canary keeps its share because it failed more than the old release did,
/// and there were too few requests to tell: more traffic would only fail more users.
fn suspected_until(deployment: &Deployment) -> Option<Timestamp> {
    let (step, share) = judged_share(deployment)?;
    let last = deployment.verdicts.last().filter(|last| last.step == step)?;
    let seen = &last.evidence;
    let rate = |failed: u64, requests: u64| failed as f64 / requests.max(1) as f64;
    let is_suspected = last.verdict == Verdict::NotEnough
        && share < WHOLE
        && !deployment.promote_requested
        && rate(seen.canary_failed, seen.canary_requests)
            > 2.0 * rate(seen.baseline_failed, seen.baseline_requests);
    let (shifted, _) = deployment.shifts.last()?;
    is_suspected.then(|| shifted.saturating_add(SUSPECTED_FOR).unwrap_or(Timestamp::MAX))
}

/// Returns the share of the new release at which it is judged, if it is judged now.
pub fn judged_share(deployment: &Deployment) -> Option<(u32, u32)> {
    let share = deployment.share();
    let is_judged = !deployment.is_over() && deployment.from.is_some() && share > 0;
    is_judged.then(|| (step_number(deployment), share))
}

/// Returns the number of the present step: how often traffic was shifted, less one.
fn step_number(deployment: &Deployment) -> u32 {
    deployment.shifts.len().saturating_sub(1) as u32
}

fn plan(deployment: &Deployment) -> Plan {
    Plan {
        strategy: deployment.strategy,
        from: deployment.from.clone(),
        to: deployment.to.clone(),
        replicas: deployment.replicas,
        order: if deployment.stop_first { Order::StopFirst } else { Order::StartFirst },
        parallelism: deployment.parallelism.max(1),
        delay: Duration::from_millis(deployment.delay_ms),
        steps: deployment.steps.clone(),
        step_time: Duration::from_millis(deployment.step_ms),
        patience: Duration::from_millis(deployment.patience_ms),
        start_time: Duration::from_millis(deployment.start_ms),
        monitor: Duration::from_millis(deployment.monitor_ms),
        on_worse: match (deployment.automatic, deployment.goes_on) {
            (true, _) => OnWorse::RollBack,
            (false, false) => OnWorse::Hold,
            (false, true) => OnWorse::GoOn,
        },
        hold_when_unsure: deployment.hold_when_unsure,
    }
}

fn progress(deployment: &Deployment, service: &Service, now: Timestamp) -> Progress {
    let mut new = side(service, &deployment.to, deployment.at);
    // One that failed was asked for too; without it a release of which nothing runs any more would
    // look like one that was not started yet.
    new.asked += new.failed;
    let old = match &deployment.from {
        Some(from) if *from != deployment.to => side(service, from, deployment.at),
        _ => Side::default(),
    };
    let shifted = deployment.shifts.last();
    let share_of = |release: &ReleaseId| {
        let weights = shifted.map_or(&service.weights, |(_, weights)| weights);
        weights.iter().find(|weight| weight.release == *release).map_or(0, |w| w.basis_points)
    };
    let new_weight = share_of(&deployment.to);
    let last_start = service
        .instances
        .values()
        .filter(|instance| instance.release == deployment.to)
        .map(|instance| instance.started)
        .max();
    let since = [Some(deployment.at), shifted.map(|(at, _)| *at), last_start];
    let step = step_number(deployment);
    let worse = deployment.verdicts.iter().any(|verdict| verdict.verdict == Verdict::Worse);
    let verdict = match deployment.verdicts.last() {
        _ if worse => Verdict::Worse,
        Some(last) if last.step == step => last.verdict,
        _ => Verdict::NotEnough,
    };
    let mut progress = Progress {
        now,
        shifted: shifted.map_or(deployment.at, |(at, _)| *at),
        since: since.into_iter().flatten().max().unwrap_or(deployment.at),
        old,
        new,
        old_weight: deployment
            .from
            .as_ref()
            .filter(|from| **from != deployment.to)
            .map_or(0, share_of),
        new_weight,
        verdict,
        promoted: false,
        rolling_back: None,
        wish: match () {
            () if deployment.abort_requested => Some(Wish::Abort),
            () if deployment.promote_requested => Some(Wish::Promote),
            () => None,
        },
    };
    // A new release whose instances stop at the end of the monitored time is not one that crashed.
    if shifted.is_some() && new_weight == 0 && deployment.from.is_some() {
        progress.rolling_back = Some(match () {
            () if deployment.abort_requested => Reason::Asked,
            () if worse => Reason::Worse,
            () if new.failed > 0 => Reason::Crashed,
            () => Reason::NotReady,
        });
    }
    progress
}

/// What is seen of a release's instances since a deployment began.
fn side(service: &Service, release: &ReleaseId, since: Timestamp) -> Side {
    let running = service.instances.values().filter(|instance| instance.release == *release);
    let failed = service.past.iter().filter(|instance| {
        let has_failed = instance.exit.is_some() || instance.diagnosis.is_some();
        instance.release == *release && instance.started >= since && has_failed
    });
    Side {
        asked: running.clone().count() as u32,
        ready: running.filter(|instance| instance.is_ready).count() as u32,
        failed: failed.count() as u32,
    }
}

fn act(deployment: &Deployment, step: Step) -> Vec<Action> {
    let id = deployment.id;
    let service = deployment.service.clone();
    let action = match step {
        Step::Scale { release, count } => Action::Scale { service, release, count },
        Step::Shift { weights } => Action::Shift { deployment: id, service, weights },
        Step::Wait { awaited, until } => {
            let is_judged = judged_share(deployment).is_some();
            let judge = (is_judged && awaited != Awaited::Ready)
                .then_some(Action::Judge { deployment: id, step: step_number(deployment) });
            let again = until.map(|at| Action::LookAgain { deployment: id, at });
            return judge.into_iter().chain(again).collect();
        }
        Step::Promote { .. } => return vec![],
        // The old release is not there any more: it is started first, and the new one keeps what
        // traffic it has until then.
        Step::RollBack { weights, .. }
            if weights.iter().any(|weight| weight.release == deployment.to) =>
        {
            let Some(release) = deployment.from.clone() else { return vec![] };
            Action::Scale { service, release, count: deployment.replicas }
        }
        Step::RollBack { reason, weights } => {
            Action::RollBack { deployment: id, reason: words(deployment, reason), weights }
        }
        Step::Finish { outcome } => {
            let ending = match outcome {
                Outcome::Promoted => Ending::Finished,
                Outcome::RolledBack(reason) | Outcome::Failed(reason) => {
                    Ending::RolledBack { reason: words(deployment, reason) }
                }
            };
            Action::Finish { deployment: id, ending }
        }
    };
    vec![action]
}

/// Says why a deployment goes back, with what is known.
fn words(deployment: &Deployment, reason: Reason) -> String {
    let evidence = match reason {
        Reason::Worse => deployment
            .verdicts
            .iter()
            .find(|verdict| verdict.verdict == Verdict::Worse)
            .map(|verdict| verdict.evidence.summary.clone()),
        Reason::Crashed | Reason::NotReady => {
            deployment.failures.last().map(|(_, diagnosis)| diagnosis.cause.clone())
        }
        Reason::Asked => None,
    };
    match evidence {
        // What the numbers say is the whole reason; anything before it would say it twice.
        Some(evidence) if reason == Reason::Worse && !evidence.is_empty() => evidence,
        Some(evidence) if !evidence.is_empty() => format!("{reason}: {evidence}"),
        _ => reason.to_string(),
    }
}
