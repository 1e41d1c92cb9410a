//! What to do about what just happened: the whole DevOps engineer in one `match`.
//!
//! Pure: no clock, no network, no files. [`react`] answers to one event; [`resume`] gives what is
//! still to be done when a conductor starts, by looking at the present alone. Every action is safe
//! to repeat, so an action without its outcome in the journal is simply taken again.

use jiff::Timestamp;
use journal::view::{Commit, Deployment, Gate};
use journal::{CommitId, Conclusion, Event, Fact, ReleaseId, ServiceName, View, Weight};

use super::action::{Action, DeployReason, Occasion, Trouble};
use super::rollout;

/// Returns what to do about an event. The view has the event folded in already.
pub fn react(view: &View, event: &Event) -> Vec<Action> {
    match &event.fact {
        Fact::ProxyLost { .. } => vec![Action::StartProxy],

        // A commit goes its way: tested and looked through, gated, released, deployed.
        Fact::CommitSeen { commit, .. } => vec![
            Action::Plan { commit: commit.clone() },
            Action::Inspect { commit: commit.clone() },
        ],
        Fact::CommitPlanned { commit, .. } => {
            let runs = view.commits.get(commit).map(|c| runs_to_start(commit, c));
            runs.filter(|runs| !runs.is_empty()).unwrap_or_else(|| gate(view, commit))
        }
        Fact::FindingsReported { commit, .. } => gate(view, commit),
        Fact::RunFinished { run, conclusion, .. } => match view.runs.get(run) {
            Some(run) if *conclusion == Conclusion::Interrupted => run_again(view, run),
            Some(run) if !run.dirty => {
                let mut actions = gate(view, &run.commit);
                // What somebody tries by hand starts nothing.
                let is_ours = event.actor == journal::Actor::Conductor;
                actions.extend(view.newest_commit().filter(|_| is_ours).map(|(newest, _)| {
                    Action::Start { commit: newest.clone(), occasion: end_of(run) }
                }));
                actions
            }
            _ => vec![],
        },
        Fact::FindingAllowed { .. } => held_commit(view)
            .map(|commit| Action::DecideGate { commit: commit.clone() })
            .into_iter()
            .collect(),
        Fact::GatePassed { commit, .. } | Fact::GateOverridden { commit, .. } => {
            vec![Action::CutRelease { commit: commit.clone() }]
        }
        Fact::ReleaseCut { release, .. } => vec![deploy(release), Action::CleanUp],

        // Somebody asks.
        Fact::RunRequested { commit, workflow, event, inputs, payload } => {
            let newest = view.newest_commit().map(|(id, _)| id);
            let Some(commit) = commit.as_ref().or(newest).cloned() else { return vec![] };
            let occasion = Occasion {
                event: event.clone(),
                inputs: inputs.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
                payload: payload.as_ref().map(ToString::to_string),
            };
            vec![match workflow.clone() {
                Some(workflow) => Action::Run { commit, workflow, occasion, again: None },
                None => Action::Start { commit, occasion },
            }]
        }
        Fact::CancelRequested { run } => vec![Action::Cancel { run: *run }],
        Fact::DeployRequested { release, commit, services, strategy } => {
            requested_deploy(view, event, release.as_ref(), commit.as_ref(), services, *strategy)
        }
        Fact::RollbackRequested { service, to } => {
            go_back(view, event, service.as_ref(), to.as_ref())
        }
        Fact::PromoteRequested { deployment } | Fact::AbortRequested { deployment } => {
            rollout::next(view, *deployment, event.at)
        }
        Fact::ScaleRequested { service, .. } | Fact::MaintenanceRequested { service, .. } => {
            vec![Action::Reconcile { service: service.clone() }]
        }
        Fact::RestartRequested { service } => vec![Action::Restart { service: service.clone() }],
        Fact::DownRequested {} => vec![Action::StopAll],

        // A deployment goes step by step.
        Fact::DeploymentStarted { deployment, .. } => rollout::next(view, *deployment, event.at),
        Fact::TrafficShifted { deployment: Some(deployment), .. }
        | Fact::VerdictReached { deployment, .. } => rollout::next(view, *deployment, event.at),
        Fact::DeploymentFinished { deployment, service, .. } => {
            let done = view.deployments.get(deployment);
            let more = done.map(|done| vec![deploy(&done.to), Action::CleanUp]);
            let mended = crash_incidents(view, service);
            more.into_iter().flatten().chain(mended).collect()
        }
        Fact::DeploymentRolledBack { deployment, service, .. } => {
            let incident = view
                .open_incidents()
                .filter(|incident| incident.deployment == Some(*deployment))
                .map(|incident| Action::Resolve { incident: incident.id });
            // Users were, or could have been, affected unless somebody asked for it.
            let is_asked = view.deployments.get(deployment).is_none_or(|d| d.abort_requested);
            let about = Trouble::Deployment(*deployment);
            let open = (!is_asked).then_some(Action::OpenIncident { about });
            // A newer release may have waited for this one to be out of the way.
            let newest = view.newest_release().map(|(release, _)| deploy(release));
            std::iter::once(Action::Reconcile { service: service.clone() })
                .chain(open)
                .chain(incident)
                .chain(newest)
                .collect()
        }
        Fact::IncidentOpened { incident, deployment: Some(deployment), .. } => {
            let is_over = view.deployments.get(deployment).is_some_and(Deployment::is_over);
            is_over.then_some(Action::Resolve { incident: *incident }).into_iter().collect()
        }

        // Instances come and go.
        Fact::InstanceReady { service, .. }
        | Fact::InstanceStopped { service, .. }
        | Fact::HealthChanged { service, .. } => moving(view, service, event.at)
            .unwrap_or_else(|| vec![Action::Reconcile { service: service.clone() }]),
        Fact::InstanceFailed { service, instance, release, .. }
        | Fact::InstanceExited { service, instance, release, .. } => {
            moving(view, service, event.at).unwrap_or_else(|| {
                vec![Action::Heal {
                    service: service.clone(),
                    instance: instance.clone(),
                    release: release.clone(),
                }]
            })
        }
        Fact::CrashLoopFound { service, release, .. } => {
            // A deployment under way tells of it when it goes back.
            let is_moving = view.deployment_of(service).is_some();
            let about = Trouble::CrashLoop { found: event.id, service: service.clone() };
            let open = (!is_moving).then_some(Action::OpenIncident { about });
            open.into_iter().chain(after_crash_loop(view, service, release)).collect()
        }
        Fact::IncidentOpened { service, deployment: None, .. }
        | Fact::HealingFinished { service, worked: true, .. } => {
            crash_incidents(view, service).collect()
        }

        // Known for its own sake; others read it.
        _ => vec![],
    }
}

/// Returns what is still to be done, by the present alone.
pub fn resume(view: &View, now: Timestamp) -> Vec<Action> {
    let mut actions = vec![Action::StartProxy];
    actions.extend(view.running().map(|run| Action::EndInterrupted { run: run.id }));
    if let Some((id, commit)) = view.newest_commit() {
        if commit.plan.is_none() {
            actions.push(Action::Plan { commit: id.clone() });
        } else {
            actions.extend(runs_to_start(id, commit));
        }
        if commit.findings.is_none() {
            actions.push(Action::Inspect { commit: id.clone() });
        }
        match (&commit.gate, &commit.release) {
            (Gate::Open, _) => actions.extend(gate(view, id)),
            (Gate::Passed { .. }, None) => actions.push(Action::CutRelease { commit: id.clone() }),
            (Gate::Passed { .. }, Some(release)) => actions.push(deploy(release)),
            (Gate::Held { .. }, _) => {}
        }
    }
    for deployment in view.deployments.values().filter(|deployment| !deployment.is_over()) {
        actions.extend(rollout::next(view, deployment.id, now));
    }
    actions
        .extend(view.services.keys().map(|service| Action::Reconcile { service: service.clone() }));
    actions.extend(view.open_incidents().filter_map(|incident| {
        let deployment = incident.deployment.and_then(|id| view.deployments.get(&id));
        let is_over = deployment.is_none_or(Deployment::is_over);
        is_over.then_some(Action::Resolve { incident: incident.id })
    }));
    actions
}

/// Returns what watches the open incidents of a service that no deployment is behind.
fn crash_incidents<'a>(
    view: &'a View,
    service: &'a ServiceName,
) -> impl Iterator<Item = Action> + 'a {
    view.open_incidents()
        .filter(move |incident| incident.deployment.is_none() && incident.service == *service)
        .map(|incident| Action::Resolve { incident: incident.id })
}

fn deploy(release: &ReleaseId) -> Action {
    Action::Deploy {
        release: release.clone(),
        services: vec![],
        strategy: None,
        reason: DeployReason::Cut,
    }
}

/// Returns the runs that a commit starts and that were not started yet.
fn runs_to_start(id: &CommitId, commit: &Commit) -> Vec<Action> {
    let Some(plan) = &commit.plan else { return vec![] };
    if plan.findings.iter().any(source::Finding::is_error) {
        return vec![];
    }
    plan.workflows
        .iter()
        .filter(|workflow| !commit.runs.contains_key(*workflow))
        .map(|workflow| Action::Run {
            commit: id.clone(),
            workflow: workflow.clone(),
            occasion: Occasion::plain("push"),
            again: None,
        })
        .collect()
}

/// Returns the event that workflows hear with `workflow_run` when a run has ended.
fn end_of(run: &journal::view::Run) -> Occasion {
    let conclusion = match run.conclusion {
        Some(Conclusion::Success | Conclusion::AllowedFailure) => "success",
        Some(Conclusion::Cancelled) => "cancelled",
        Some(Conclusion::Skipped) => "skipped",
        _ => "failure",
    };
    let branch = run.git_ref.strip_prefix("refs/heads/").unwrap_or(&run.git_ref);
    let payload = serde_json::json!({
        "action": "completed",
        "workflow": { "name": run.name, "path": run.workflow, "state": "active" },
        "workflow_run": {
            "id": run.id.0,
            "run_number": run.id.0,
            "run_attempt": 1,
            "name": run.name,
            "path": run.workflow,
            "event": run.event,
            "status": "completed",
            "conclusion": conclusion,
            "head_branch": branch,
            "head_sha": run.commit.as_str(),
            "created_at": run.at.to_string(),
        },
    });
    let payload = Some(payload.to_string());
    Occasion { event: "workflow_run.completed".to_owned(), inputs: vec![], payload }
}

fn run_again(view: &View, run: &journal::view::Run) -> Vec<Action> {
    // A commit that was overtaken is not worth a second run.
    let is_newest = view.newest_commit().is_some_and(|(newest, _)| *newest == run.commit);
    if run.dirty || run.cancel_requested || !is_newest {
        return vec![];
    }
    vec![Action::Run {
        commit: run.commit.clone(),
        workflow: run.workflow.clone(),
        occasion: Occasion::plain(&run.event),
        again: Some(run.id),
    }]
}

/// Returns the question to the gate once all runs have ended and the findings are known.
fn gate(view: &View, id: &CommitId) -> Vec<Action> {
    let Some(commit) = view.commits.get(id) else { return vec![] };
    let Some(plan) = &commit.plan else { return vec![] };
    let is_broken = plan.findings.iter().any(source::Finding::is_error);
    let has_run = |workflow: &String| {
        let run = commit.runs.get(workflow).and_then(|run| view.runs.get(run));
        run.and_then(|run| run.conclusion).is_some_and(|end| end != Conclusion::Interrupted)
    };
    let is_ready = commit.findings.is_some() && (is_broken || plan.workflows.iter().all(has_run));
    let is_decided = matches!(commit.gate, Gate::Passed { .. });
    if is_ready && !is_decided { vec![Action::DecideGate { commit: id.clone() }] } else { vec![] }
}

fn held_commit(view: &View) -> Option<&CommitId> {
    let (id, commit) = view.newest_commit()?;
    matches!(commit.gate, Gate::Held { .. }).then_some(id)
}

fn requested_deploy(
    view: &View,
    event: &Event,
    release: Option<&ReleaseId>,
    commit: Option<&CommitId>,
    services: &[ServiceName],
    strategy: Option<journal::StrategyKind>,
) -> Vec<Action> {
    let refuse = |why: String| vec![Action::Refuse { request: event.id, why }];
    let of_commit = commit.and_then(|id| view.commits.get(id));
    let release = match (release, commit, of_commit) {
        (Some(release), ..)
            if view.releases.get(release).is_some_and(|known| !known.is_removed) =>
        {
            release.clone()
        }
        (Some(release), ..) => {
            return refuse(format!(
                "there is no release {} any more; `marline release list` shows those that are kept",
                release.short()
            ));
        }
        (None, Some(id), Some(commit)) => match (&commit.release, &commit.gate) {
            (Some(release), _) => release.clone(),
            (None, Gate::Held { .. }) => {
                return refuse(format!(
                    "the gate holds commit {}; `marline why` says why",
                    id.short()
                ));
            }
            // It is on its way and is deployed when it gets there.
            (None, _) => return vec![],
        },
        (None, Some(id), None) => {
            return vec![
                Action::Plan { commit: id.clone() },
                Action::Inspect { commit: id.clone() },
            ];
        }
        (None, None, _) => match view.newest_release() {
            Some((release, _)) => release.clone(),
            None => return refuse("there is no release yet; commit something first".to_owned()),
        },
    };
    vec![Action::Deploy {
        release,
        services: services.to_vec(),
        strategy,
        reason: DeployReason::Asked,
    }]
}

fn go_back(
    view: &View,
    event: &Event,
    service: Option<&ServiceName>,
    to: Option<&ReleaseId>,
) -> Vec<Action> {
    let asked: Vec<_> = view
        .services
        .iter()
        .filter(|(name, _)| service.is_none_or(|service| service == *name))
        .collect();
    if asked.is_empty() {
        let why = match service {
            Some(service) => format!("no service is called `{service}`"),
            None => "nothing is deployed yet".to_owned(),
        };
        return vec![Action::Refuse { request: event.id, why }];
    }
    asked
        .into_iter()
        .map(|(name, state)| {
            // A deployment under way is the thing to go back from.
            if let Some(deployment) = view.deployment_of(name).filter(|_| to.is_none()) {
                return Action::RollBack {
                    deployment: deployment.id,
                    reason: format!("{} asked to go back", event.actor),
                    weights: whole(deployment.from.as_ref()),
                };
            }
            let kept = |release: &&ReleaseId| {
                view.releases.get(*release).is_some_and(|release| !release.is_removed)
            };
            match to.or_else(|| state.previous()).filter(kept) {
                Some(release) => Action::Deploy {
                    release: release.clone(),
                    services: vec![name.clone()],
                    strategy: None,
                    reason: DeployReason::GoBack,
                },
                None => Action::Refuse {
                    request: event.id,
                    why: format!("no earlier release of `{name}` is kept"),
                },
            }
        })
        .collect()
}

fn whole(release: Option<&ReleaseId>) -> Vec<Weight> {
    let all = |release: &ReleaseId| Weight { release: release.clone(), basis_points: 10_000 };
    release.map(all).into_iter().collect()
}

/// Returns the next step of the deployment that moves a service, if one does.
fn moving(view: &View, service: &ServiceName, now: Timestamp) -> Option<Vec<Action>> {
    let deployment = view.deployment_of(service)?;
    let mut actions = rollout::next(view, deployment.id, now);
    actions.push(Action::Reconcile { service: service.clone() });
    Some(actions)
}

/// A crash loop of a release that replaced another one is mended by the other one.
fn after_crash_loop(view: &View, service: &ServiceName, release: &ReleaseId) -> Vec<Action> {
    let Some(state) = view.services.get(service) else { return vec![] };
    if state.release.as_ref() != Some(release) {
        return vec![];
    }
    let newest = view
        .deployments
        .values()
        .rev()
        .find(|deployment| deployment.service == *service && deployment.to == *release);
    let is_automatic = newest.is_some_and(|deployment| deployment.automatic);
    let back = state
        .previous()
        .filter(|previous| view.releases.get(*previous).is_some_and(|release| !release.is_removed));
    match back {
        Some(previous) if is_automatic => vec![Action::Deploy {
            release: previous.clone(),
            services: vec![service.clone()],
            strategy: None,
            reason: DeployReason::GoBack,
        }],
        _ => vec![],
    }
}

#[cfg(test)]
#[path = "react_tests.rs"]
mod tests;
