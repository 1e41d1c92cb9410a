//! Instances are scaled, traffic is shifted, taken back, healed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use deploy::plan::ServicePlan;
use deploy::strategy::{OnWorse, Order};
use jiff::Timestamp;
use journal::{
    DeploymentId, EventId, Fact, Healing, InstanceId, ReleaseId, ServiceName, StrategyKind, Weight,
};
use watch::restart::{Backoff, Cause, Circumstances, CrashLoop, Decision, Ended};

use super::action::{Action, DeployReason, Ending};
use super::spec::Spec;
use super::traffic::Question;
use super::{Conductor, lock, rollout};

/// How long a release is under suspicion after it got traffic.
const BAKE: Duration = Duration::from_mins(10);

/// How long to wait for instances that were started to heal a service.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// A service whose instances ended, and what is remembered about that.
pub struct Patient {
    backoff: Backoff,
    crashes: CrashLoop,
    /// When it was acted on, newest last.
    acted: VecDeque<Timestamp>,
}

impl Conductor {
    /// Begins to move services to a release, as far as what they depend on is there.
    pub(super) async fn deploy(
        self: &Arc<Self>,
        release: &ReleaseId,
        services: &[ServiceName],
        strategy: Option<StrategyKind>,
        reason: DeployReason,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let all = self.specs.of(release);
        for (name, spec) in &all.services {
            if !services.is_empty() && !services.contains(name) {
                continue;
            }
            if let Some(fact) = self.begin(release, name, spec, strategy, reason) {
                self.journal
                    .append_with(journal::Actor::Conductor, cause, move |numbers| {
                        let mut fact = fact;
                        if let Fact::DeploymentStarted { deployment, .. } = &mut fact {
                            *deployment = numbers.deployment()?;
                        }
                        Ok(fact)
                    })
                    .await
                    .context("write down that a deployment began")?;
            }
        }
        Ok(())
    }

    /// Returns how a deployment of a service begins, if it begins now.
    fn begin(
        &self,
        release: &ReleaseId,
        name: &ServiceName,
        spec: &Spec,
        strategy: Option<StrategyKind>,
        reason: DeployReason,
    ) -> Option<Fact> {
        let view = self.view();
        let service = view.services.get(name);
        if let Some(moving) = view.deployment_of(name) {
            if moving.to == *release {
                return None;
            }
            // What is under way is taken back first; then the newest release is looked at again.
            let id = moving.id;
            let journal = self.journal.clone();
            tokio::spawn(async move {
                let abort = Fact::AbortRequested { deployment: id };
                let _ = journal.append(journal::Actor::Conductor, None, abort).await;
            });
            return None;
        }
        if reason == DeployReason::Cut {
            let cut = view.releases.get(release)?.cut;
            let last = view.deployments.values().rev().find(|d| d.service == *name);
            if last.is_some_and(|last| last.started > cut) {
                return None;
            }
            let is_there = |needed: &ServiceName| {
                view.services.get(needed).is_some_and(|needed| {
                    needed.release.as_ref() == Some(release)
                        && needed.ready(release).next().is_some()
                })
            };
            let all = self.specs.of(release);
            let waits = spec
                .plan
                .depends_on
                .iter()
                .any(|(needed, _)| all.services.contains_key(needed) && !is_there(needed));
            if waits {
                return None;
            }
        }
        let from = service.and_then(|service| service.release.clone());
        if from.as_ref() == Some(release) {
            return None;
        }
        Some(started(&spec.plan, from, release, strategy, reason, service.map(|s| s.replicas)))
    }

    /// Makes so many instances of a release run, letting those that go answer what they have.
    pub(super) async fn scale(
        &self,
        service: &ServiceName,
        release: &ReleaseId,
        count: u32,
    ) -> anyhow::Result<()> {
        let running = self.engine.instances(service).await?;
        let mut running: Vec<_> = running
            .into_iter()
            .filter(|instance| instance.release == *release && instance.is_running())
            .collect();
        running.sort_by_key(|instance| instance.started);
        let surplus = running.len().saturating_sub(count as usize);
        let spec = self.specs.get(release, service);
        if surplus > 0 {
            let going: Vec<InstanceId> =
                running.iter().rev().take(surplus).map(|instance| instance.id.clone()).collect();
            let grace = spec.as_ref().map_or(Duration::from_secs(10), |spec| spec.drain);
            self.drain(&going, grace).await?;
            let stops = going.iter().map(|instance| self.engine.stop(instance));
            for stopped in futures_util::future::join_all(stops).await {
                stopped.context("stop an instance")?;
            }
            self.look_now();
            self.forget_leaving(&going).await;
        }
        let Some(deployment) = self.specs.deployment(release, service) else {
            if count == 0 {
                return Ok(());
            }
            bail!("release {} has no service `{service}` that can run", release.short());
        };
        // An instance that cannot be started is on record by itself and judged there.
        let scaled = self.engine.scale(&deployment, count).await;
        self.look_now();
        match scaled {
            Err(deploy::EngineError::NotStarted { .. }) => Ok(()),
            other => other.with_context(|| format!("make {count} instances of `{service}` run")),
        }
    }

    /// Splits a service's traffic.
    pub(super) async fn shift(
        &self,
        deployment: Option<DeploymentId>,
        service: &ServiceName,
        weights: &[Weight],
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        if !self.weigh(service, weights).await? {
            return Ok(());
        }
        let fact = Fact::TrafficShifted {
            service: service.clone(),
            deployment,
            weights: weights.to_vec(),
        };
        self.append(cause, fact).await.map(drop)
    }

    /// Has the new release judged at its present share.
    pub(super) fn judge(&self, id: DeploymentId, step: u32, cause: Option<EventId>) {
        let question = {
            let view = self.view();
            let Some(deployment) = view.deployments.get(&id) else { return };
            let (Some((now_at, share)), Some(from)) =
                (rollout::judged_share(deployment), deployment.from.clone())
            else {
                return;
            };
            if now_at != step {
                return;
            }
            Question {
                deployment: id,
                cause: cause.unwrap_or(deployment.started),
                service: deployment.service.clone(),
                from,
                to: deployment.to.clone(),
                step,
                share,
                step_time: Duration::from_millis(deployment.step_ms),
            }
        };
        self.traffic.judge(question);
    }

    /// Waits for a time and looks at a deployment again.
    pub(super) async fn look_again(
        self: &Arc<Self>,
        id: DeploymentId,
        at: Timestamp,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let wait = Duration::try_from(at.duration_since(self.journal.now())).unwrap_or_default();
        tokio::time::sleep(wait + Duration::from_millis(5)).await;
        let now = self.journal.now();
        // What can be said of the step is on record before anything follows from its end.
        let is_judged = self.view().deployments.get(&id).is_some_and(|deployment| {
            rollout::judged_share(deployment).is_some() && {
                let shifted = deployment.shifts.last().map_or(deployment.at, |(at, _)| *at);
                now.duration_since(shifted).as_millis() >= i128::from(deployment.step_ms)
            }
        });
        if is_judged {
            self.traffic.record(id, now).await?;
        }
        let actions = rollout::next(&self.view(), id, now);
        for action in actions {
            self.take(action, cause);
        }
        Ok(())
    }

    /// Gives the traffic back and ends a deployment.
    pub(super) async fn roll_back(
        self: &Arc<Self>,
        id: DeploymentId,
        reason: &str,
        weights: &[Weight],
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let Some((service, from, to)) = self.view().deployments.get(&id).and_then(|deployment| {
            let ends = (deployment.service.clone(), deployment.to.clone(), deployment.from.clone());
            (!deployment.is_over()).then_some(ends)
        }) else {
            return Ok(());
        };
        self.shift(Some(id), &service, weights, cause).await?;
        let affected = self.traffic.affected(id);
        let fact = Fact::DeploymentRolledBack {
            deployment: id,
            service,
            from,
            to: to.filter(|_| !weights.is_empty()),
            reason: reason.to_owned(),
            affected,
        };
        self.append(cause, fact).await.map(drop)
    }

    /// Says that a deployment is over.
    pub(super) async fn finish(
        self: &Arc<Self>,
        id: DeploymentId,
        ending: &Ending,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let Some(deployment) = self.view().deployments.get(&id).cloned() else { return Ok(()) };
        if deployment.is_over() {
            return Ok(());
        }
        let took = self.journal.now().duration_since(deployment.at).as_millis().max(0) as u64;
        let fact = match ending {
            Ending::Finished => Fact::DeploymentFinished {
                deployment: id,
                service: deployment.service,
                milliseconds: took,
            },
            Ending::RolledBack { reason } => Fact::DeploymentRolledBack {
                deployment: id,
                service: deployment.service,
                from: deployment.to,
                to: deployment.from,
                reason: reason.clone(),
                affected: self.traffic.affected(id),
            },
        };
        self.append(cause, fact).await?;
        if *ending == Ending::Finished {
            self.traffic.forget(id);
        }
        Ok(())
    }

    /// Brings instances and routes of a service to what is wanted.
    pub(super) async fn reconcile(self: &Arc<Self>, service: &ServiceName) -> anyhow::Result<()> {
        self.push_routes().await?;
        let (is_moving, wanted, replicas) = {
            let view = self.view();
            let Some(state) = view.services.get(service) else { return Ok(()) };
            let last = view.deployments.values().rev().find(|d| d.service == *service);
            let never_served =
                last.is_some_and(|last| last.from.is_none() && state.weights.is_empty());
            let wanted = state.release.clone().filter(|_| !never_served);
            (state.deployment.is_some(), wanted, state.replicas)
        };
        if is_moving {
            return Ok(());
        }
        let running = self.engine.instances(service).await?;
        let mut releases: Vec<ReleaseId> =
            running.iter().map(|instance| instance.release.clone()).collect();
        releases.sort();
        releases.dedup();
        if let Some(wanted) = &wanted
            && self.specs.get(wanted, service).is_some()
            && !self.is_in_care(service)
        {
            let count = running.iter().filter(|i| i.release == *wanted && i.is_running()).count();
            if count != replicas as usize {
                self.scale(service, wanted, replicas).await?;
            }
        }
        for release in releases.iter().filter(|release| Some(*release) != wanted.as_ref()) {
            self.scale(service, release, 0).await?;
        }
        Ok(())
    }

    /// Whether something else decides just now how many instances a service has.
    fn is_in_care(&self, service: &ServiceName) -> bool {
        lock(&self.busy).keys().any(|action| match action {
            Action::Heal { service: other, .. } | Action::Restart { service: other } => {
                other == service
            }
            _ => false,
        })
    }

    /// Starts a service's instances again, one by one, so that one is always there.
    pub(super) async fn restart(self: &Arc<Self>, service: &ServiceName) -> anyhow::Result<()> {
        let Some((release, replicas)) = self
            .view()
            .services
            .get(service)
            .and_then(|state| Some((state.release.clone()?, state.replicas)))
        else {
            bail!("`{service}` has no release that runs");
        };
        let old = self.engine.instances(service).await?;
        let old = old.into_iter().filter(|i| i.is_running() && i.release == release);
        for instance in old.collect::<Vec<_>>() {
            let Some(deployment) = self.specs.deployment(&release, service) else { break };
            self.engine.scale(&deployment, replicas + 1).await?;
            self.look_now();
            self.wait_ready(service, &release, replicas as usize + 1).await;
            let grace =
                self.specs.get(&release, service).map_or(Duration::from_secs(10), |s| s.drain);
            self.drain(std::slice::from_ref(&instance.id), grace).await?;
            self.engine.stop(&instance.id).await?;
            self.look_now();
            self.forget_leaving(std::slice::from_ref(&instance.id)).await;
        }
        self.reconcile(service).await
    }

    /// Waits, for a bounded time, until so many instances are ready; says whether they are.
    async fn wait_ready(&self, service: &ServiceName, release: &ReleaseId, count: usize) -> bool {
        let deadline = tokio::time::Instant::now() + HEALED_WITHIN;
        loop {
            let ready = self.view().services.get(service).map_or(0, |s| s.ready(release).count());
            if ready >= count {
                return true;
            }
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes a service well after an instance ended, by cause and with brakes.
    pub(super) async fn heal(
        self: &Arc<Self>,
        service: &ServiceName,
        instance: &InstanceId,
        release: &ReleaseId,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let Some(spec) = self.specs.get(release, service) else { return Ok(()) };
        let now = self.journal.now();
        let (ended, is_wanted, dependency_down, release_age) = {
            let view = self.view();
            let Some(state) = view.services.get(service) else { return Ok(()) };
            let past = state.past.iter().rev().find(|past| past.id == *instance);
            let ran = past.map_or(0, |past| now.duration_since(past.started).as_millis().max(0));
            let exit = past.and_then(|past| past.exit.clone()).unwrap_or_default();
            let down = spec.plan.depends_on.iter().find(|(needed, _)| {
                view.services.get(needed).is_some_and(|needed| {
                    needed.release.as_ref().is_some_and(|r| needed.ready(r).next().is_none())
                })
            });
            let newest = view.deployments.values().rev().find(|d| d.service == *service);
            let release_age = newest
                .filter(|deployment| deployment.to == *release && deployment.from.is_some())
                .map(|deployment| now.duration_since(deployment.at).unsigned_abs());
            let ended = Ended { at: now, ran: Duration::from_millis(ran as u64), exit };
            (
                ended,
                state.release.as_ref() == Some(release),
                down.map(|(n, _)| n.clone()),
                release_age,
            )
        };
        if !is_wanted {
            return Ok(());
        }
        let (decision, wait) = {
            let mut healing = lock(&self.healing);
            let patient = healing.entry(service.clone()).or_insert_with(|| Patient {
                backoff: Backoff::new(Duration::from_secs(1)),
                crashes: CrashLoop::new(spec.restart, Duration::from_secs(1)),
                acted: VecDeque::new(),
            });
            patient.acted.push_back(now);
            patient.acted.truncate(100);
            let wait = patient.backoff.next(ended.ran, dice());
            (patient.crashes.observe(&ended), wait)
        };
        match decision {
            Decision::Done => return Ok(()),
            Decision::Restart => {}
            Decision::Loop { exits, within } => {
                let circumstances = Circumstances {
                    exit: ended.exit.clone(),
                    release_age,
                    bake: BAKE,
                    dependency_down: dependency_down.as_ref().map(ToString::to_string),
                    ..Circumstances::default()
                };
                let found = circumstances.cause();
                let is_new = exits <= 5;
                if is_new {
                    let fact = Fact::CrashLoopFound {
                        service: service.clone(),
                        release: release.clone(),
                        exits,
                        milliseconds: within.as_millis() as u64,
                        cause: found.words(),
                    };
                    self.append(cause, fact).await?;
                }
                if found == Cause::NewRelease {
                    return Ok(());
                }
            }
        }
        let healing =
            Healing::Restart { instance: instance.clone(), after_ms: wait.as_millis() as u64 };
        let started = self
            .append(
                cause,
                Fact::HealingStarted {
                    service: service.clone(),
                    healing,
                    trigger: format!("{instance} ended with {}", ended.exit),
                    undo: format!("marline rollback {service}"),
                    dry_run: false,
                },
            )
            .await?;
        tokio::time::sleep(wait).await;
        let replicas = self.view().services.get(service).map_or(1, |state| state.replicas);
        self.scale(service, release, replicas).await?;
        let worked = self.wait_ready(service, release, replicas as usize).await;
        let outcome =
            if worked { "all its instances answer again" } else { "it did not become ready" }
                .to_owned();
        let fact = Fact::HealingFinished {
            service: service.clone(),
            started: started.id,
            worked,
            outcome,
        };
        self.append(Some(started.id), fact).await.map(drop)
    }

    /// Removes old releases that nobody needs.
    pub(super) async fn clean_up(&self, cause: Option<EventId>) -> anyhow::Result<()> {
        let needed: Vec<ReleaseId> = {
            let view = self.view();
            let of_services = view.services.values().flat_map(|service| {
                let running = service.instances.values().map(|instance| &instance.release);
                let serving = service.release.iter().chain(service.previous());
                serving.chain(running).cloned().collect::<Vec<_>>()
            });
            let moving = view.deployments.values().filter(|deployment| !deployment.is_over());
            let moving =
                moving.flat_map(|d| d.from.iter().chain([&d.to]).cloned().collect::<Vec<_>>());
            of_services.chain(moving).collect()
        };
        let releases = Arc::clone(&self.releases);
        let removed = tokio::task::spawn_blocking(move || releases.prune(KEPT_RELEASES, &needed));
        for release in removed.await?? {
            self.append(cause, Fact::ReleaseRemoved { release }).await?;
        }
        Ok(())
    }

    /// Stops all instances and the proxy, and ends the conductor.
    pub(super) async fn stop_all(self: &Arc<Self>, cause: Option<EventId>) -> anyhow::Result<()> {
        for cancel in lock(&self.cancels).values() {
            cancel.send_replace(true);
        }
        let services = self.engine.services().await?;
        for service in services {
            let running = self.engine.instances(&service).await?;
            let stops = running.iter().filter(|i| i.is_running()).map(|i| self.engine.stop(&i.id));
            for stopped in futures_util::future::join_all(stops).await {
                stopped.context("stop an instance")?;
            }
        }
        // One last look, so that the journal says that they were stopped.
        self.look_now();
        let _ = self.proxy.shut_down().await;
        let fact =
            Fact::ConductorStopped { reason: "somebody asked to stop everything".to_owned() };
        self.append(cause, fact).await?;
        self.gone.send_replace(true);
        Ok(())
    }
}

/// How many releases are kept besides those that are needed.
const KEPT_RELEASES: usize = 5;

/// Returns the fact with which a deployment begins; its number is not known yet.
fn started(
    plan: &ServicePlan,
    from: Option<ReleaseId>,
    to: &ReleaseId,
    strategy: Option<StrategyKind>,
    reason: DeployReason,
    replicas: Option<u32>,
) -> Fact {
    let rollout = &plan.rollout;
    let goes_back = reason == DeployReason::GoBack;
    let strategy = match strategy {
        _ if goes_back => StrategyKind::BlueGreen,
        Some(asked) if rollout.order == Order::StartFirst => asked,
        _ => rollout.strategy,
    };
    let steps = match strategy {
        StrategyKind::Canary => rollout.steps.clone(),
        StrategyKind::BlueGreen | StrategyKind::Rolling => vec![deploy::strategy::WHOLE],
    };
    let milliseconds = |duration: Duration| duration.as_millis() as u64;
    Fact::DeploymentStarted {
        deployment: DeploymentId(0),
        service: plan.service.clone(),
        from,
        to: to.clone(),
        strategy,
        steps,
        // What somebody asked for by `scale` holds until the file says another number.
        replicas: replicas.filter(|_| goes_back).unwrap_or(plan.replicas),
        monitor_ms: if goes_back { 0 } else { milliseconds(rollout.monitor) },
        automatic: rollout.on_worse == OnWorse::RollBack && !goes_back,
        goes_on: rollout.on_worse == OnWorse::GoOn,
        hold_when_unsure: false,
        stop_first: rollout.order == Order::StopFirst,
        parallelism: rollout.parallelism,
        delay_ms: milliseconds(rollout.delay),
        step_ms: if goes_back { 0 } else { milliseconds(rollout.step_time) },
        patience_ms: milliseconds(rollout.patience),
        start_ms: milliseconds(rollout.start_time),
        is_rollback: goes_back,
    }
}

/// Returns a number from 0 to 1 that nobody can foresee.
fn dice() -> f64 {
    let mut bytes = [0_u8; 4];
    // Without randomness all instances wait equally long, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
