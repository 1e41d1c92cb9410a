//! Tables: journal in, actions out; no clock, no network.

use jiff::Timestamp;
use journal::{
    Actor, Affected, CommitId, Conclusion, DeploymentId, Diagnosis, Event, EventId, Evidence, Fact,
    HoldReason, IncidentId, InstanceId, ReleaseId, RunId, ServiceName, StrategyKind, Verdict, View,
    Weight,
};

use super::super::action::{Action, DeployReason, Ending, Trouble};
use super::{react, resume};

/// Folds facts, a second apart, and reacts to the last one.
struct Story {
    view: View,
    next: u64,
}

impl Story {
    fn new() -> Self {
        Self { view: View::default(), next: 1 }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + self.next as i64).unwrap()
    }

    /// Folds a fact in and returns what the conductor does about it.
    fn then(&mut self, fact: Fact) -> Vec<Action> {
        self.then_by(Actor::Person("ana".into()), fact)
    }

    fn then_by(&mut self, actor: Actor, fact: Fact) -> Vec<Action> {
        let event = Event { id: EventId(self.next), at: self.now(), actor, cause: None, fact };
        self.next += 1;
        self.view.apply(&event);
        react(&self.view, &event)
    }

    fn told(facts: impl IntoIterator<Item = Fact>) -> Self {
        let mut story = Self::new();
        for fact in facts {
            story.then(fact);
        }
        story
    }

    /// Version `one` serves; `two` is being deployed by a canary with two instances.
    fn with_canary() -> Self {
        let mut story = Self::told([seen("a"), cut("a", "one"), started(1, None, "one")]);
        story.run_instances("one");
        story.then(shifted(1, &[("one", 10_000)]));
        story.then(finished(1));
        for fact in [seen("b"), cut("b", "two"), started(2, Some("one"), "two")] {
            story.then(fact);
        }
        story
    }

    fn run_instances(&mut self, release: &str) -> Vec<Action> {
        self.then(instance_started(release, 0));
        self.then(instance_started(release, 1));
        self.then(ready(release, 0));
        self.then(ready(release, 1))
    }
}

fn seen(commit: &str) -> Fact {
    Fact::CommitSeen {
        commit: commit.into(),
        branch: Some("main".into()),
        before: None,
        author: "Ana".into(),
        subject: "a change".into(),
        files_changed: 1,
    }
}

fn crash_loop(release: &str) -> Fact {
    Fact::CrashLoopFound {
        service: web(),
        release: release.into(),
        exits: 5,
        milliseconds: 12_000,
        cause: "the program ends by itself".into(),
    }
}

fn planned(commit: &str, workflows: &[&str]) -> Fact {
    Fact::CommitPlanned {
        commit: commit.into(),
        workflows: workflows.iter().map(|&w| w.into()).collect(),
        not_triggered: vec![],
        findings: vec![],
    }
}

fn inspected(commit: &str) -> Fact {
    Fact::FindingsReported {
        commit: commit.into(),
        findings: vec![],
        not_checked: vec![],
        files: 1,
        milliseconds: 1,
    }
}

fn run_started(run: u64, commit: &str) -> Fact {
    Fact::RunStarted {
        run: RunId(run),
        workflow: "ci.yml".into(),
        name: "ci".into(),
        event: "push".into(),
        commit: commit.into(),
        git_ref: "refs/heads/main".into(),
        dirty: false,
        jobs: vec![],
        again: None,
    }
}

fn run_finished(run: u64, conclusion: Conclusion) -> Fact {
    Fact::RunFinished { run: RunId(run), conclusion, milliseconds: 1 }
}

fn cut(commit: &str, release: &str) -> Fact {
    Fact::ReleaseCut {
        release: release.into(),
        commit: commit.into(),
        runs: vec![],
        services: vec!["web".into()],
        files: 1,
        bytes: 1,
    }
}

fn started(deployment: u64, from: Option<&str>, to: &str) -> Fact {
    Fact::DeploymentStarted {
        deployment: DeploymentId(deployment),
        service: "web".into(),
        from: from.map(ReleaseId::from),
        to: to.into(),
        strategy: StrategyKind::Canary,
        steps: vec![1_000, 10_000],
        replicas: 2,
        monitor_ms: 10_000,
        automatic: true,
        goes_on: false,
        hold_when_unsure: false,
        stop_first: false,
        parallelism: 1,
        delay_ms: 0,
        step_ms: 3_000,
        patience_ms: 30_000,
        start_ms: 60_000,
        is_rollback: false,
    }
}

fn name(release: &str, number: u32) -> InstanceId {
    InstanceId(format!("web-{release}-{number}"))
}

fn instance_started(release: &str, number: u32) -> Fact {
    Fact::InstanceStarted {
        instance: name(release, number),
        service: "web".into(),
        release: release.into(),
        deployment: None,
        port: 40_000,
        pid: 1,
    }
}

fn ready(release: &str, number: u32) -> Fact {
    Fact::InstanceReady { instance: name(release, number), service: "web".into(), after_ms: 5 }
}

fn failed(release: &str, number: u32) -> Fact {
    Fact::InstanceFailed {
        instance: name(release, number),
        service: "web".into(),
        release: release.into(),
        diagnosis: Diagnosis {
            cause: "the process ended with exit code 1".into(),
            certainty: journal::Certainty::Certain,
            help: None,
            last_lines: vec![],
        },
    }
}

fn exited(release: &str, number: u32) -> Fact {
    Fact::InstanceExited {
        instance: name(release, number),
        service: "web".into(),
        release: release.into(),
        exit: journal::Exit { code: Some(1), ..journal::Exit::default() },
        ran_ms: 5,
        last_lines: vec![],
    }
}

fn weights(shares: &[(&str, u32)]) -> Vec<Weight> {
    shares
        .iter()
        .map(|&(release, basis_points)| Weight { release: release.into(), basis_points })
        .collect()
}

fn shifted(deployment: u64, shares: &[(&str, u32)]) -> Fact {
    Fact::TrafficShifted {
        service: "web".into(),
        deployment: Some(DeploymentId(deployment)),
        weights: weights(shares),
    }
}

fn finished(deployment: u64) -> Fact {
    Fact::DeploymentFinished {
        deployment: DeploymentId(deployment),
        service: "web".into(),
        milliseconds: 1,
    }
}

fn verdict(verdict: Verdict, step: u32) -> Fact {
    let summary = "4 of 5 requests failed".to_owned();
    Fact::VerdictReached {
        deployment: DeploymentId(2),
        service: "web".into(),
        step,
        verdict,
        evidence: Evidence { summary, ..Evidence::default() },
    }
}

fn web() -> ServiceName {
    "web".into()
}

#[test]
fn a_commit_is_planned_and_looked_through_at_once() {
    let a = CommitId::from("a");
    assert_eq!(
        Story::new().then(seen("a")),
        [Action::Plan { commit: a.clone() }, Action::Inspect { commit: a }]
    );
}

#[test]
fn each_workflow_that_starts_is_run() {
    let mut story = Story::told([seen("a")]);
    let actions = story.then(planned("a", &["ci.yml", "docs.yml"]));
    let workflows: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::Run { workflow, .. } => workflow.as_str(),
            other => panic!("{other:?} is no run"),
        })
        .collect();
    assert_eq!(workflows, ["ci.yml", "docs.yml"]);
}

#[test]
fn the_gate_waits_for_the_runs_and_the_findings() {
    let gate = [Action::DecideGate { commit: "a".into() }];
    let mut story = Story::told([seen("a"), planned("a", &["ci.yml"]), run_started(1, "a")]);
    assert_eq!(story.then(inspected("a")), []);
    assert_eq!(story.then(run_finished(1, Conclusion::Failure)), gate);

    let mut without_workflows = Story::told([seen("a"), planned("a", &[])]);
    assert_eq!(without_workflows.then(inspected("a")), gate);
}

#[test]
fn nothing_runs_when_a_workflow_cannot_be_read() {
    let place = source::Place::file(".github/workflows/ci.yml");
    let finding = source::Finding::error("yaml", "a bracket is not closed", place);
    let mut story = Story::told([seen("a"), inspected("a")]);
    let actions = story.then(Fact::CommitPlanned {
        commit: "a".into(),
        workflows: vec!["ci.yml".into()],
        not_triggered: vec![],
        findings: vec![finding],
    });
    assert_eq!(actions, [Action::DecideGate { commit: "a".into() }]);
}

#[test]
fn an_interrupted_run_is_run_again() {
    let mut story = Story::told([seen("a"), planned("a", &["ci.yml"]), run_started(1, "a")]);
    let again = story.then(run_finished(1, Conclusion::Interrupted));
    assert!(matches!(&again[..], [Action::Run { again: Some(RunId(1)), .. }]), "{again:?}");
}

#[test]
fn the_end_of_a_run_of_its_own_starts_what_waits_for_it_at_the_newest_commit() {
    let mut story = Story::told([seen("a"), run_started(1, "a"), seen("b")]);
    let done = run_finished(1, Conclusion::Failure);
    let actions = story.then_by(Actor::Conductor, done.clone());
    let [Action::Start { commit, occasion }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((commit.as_str(), occasion.event.as_str()), ("b", "workflow_run.completed"));
    let payload = occasion.payload().unwrap().unwrap();
    assert_eq!(payload["workflow_run"]["conclusion"], "failure");
    assert_eq!(payload["workflow_run"]["head_sha"], "a");
    // One that somebody started by hand starts nothing.
    assert_eq!(Story::told([seen("a"), run_started(1, "a")]).then(done), []);
}

#[test]
fn a_wish_without_a_workflow_is_for_all_that_the_event_starts() {
    let mut story = Story::told([seen("a")]);
    let wish = |workflow: Option<&str>| Fact::RunRequested {
        commit: None,
        workflow: workflow.map(str::to_owned),
        event: "repository_dispatch.ship".into(),
        inputs: std::collections::BTreeMap::new(),
        payload: Some(serde_json::json!({ "client_payload": 1 })),
    };
    let actions = story.then(wish(None));
    assert!(matches!(&actions[..], [Action::Start { .. }]), "{actions:?}");
    let actions = story.then(wish(Some("w.yml")));
    assert!(matches!(&actions[..], [Action::Run { .. }]), "{actions:?}");
}

#[test]
fn a_run_of_an_overtaken_commit_is_not_run_again() {
    let mut story = Story::told([seen("a"), run_started(1, "a"), seen("b")]);
    assert_eq!(story.then(run_finished(1, Conclusion::Interrupted)), []);
}

#[test]
fn a_passed_gate_makes_a_release_and_a_release_is_deployed() {
    let mut story = Story::told([seen("a")]);
    let passed = Fact::GatePassed { commit: "a".into(), allowed: vec![], not_checked: vec![] };
    assert_eq!(story.then(passed), [Action::CutRelease { commit: "a".into() }]);
    let deploy = Action::Deploy {
        release: "one".into(),
        services: vec![],
        strategy: None,
        reason: DeployReason::Cut,
    };
    assert_eq!(story.then(cut("a", "one")), [deploy, Action::CleanUp]);
}

#[test]
fn a_held_commit_is_asked_about_again_when_a_finding_is_allowed() {
    let reason = HoldReason { rule: "aws".into(), message: "key".into(), place: None, help: None };
    let held = Fact::GateHeld { commit: "a".into(), reasons: vec![reason] };
    let mut story = Story::told([seen("a")]);
    assert_eq!(story.then(held), []);
    let allowed = Fact::FindingAllowed {
        rule: "aws".into(),
        path: "x".into(),
        line: None,
        reason: "an example".into(),
        until: None,
    };
    assert_eq!(story.then(allowed), [Action::DecideGate { commit: "a".into() }]);
}

#[test]
fn the_first_release_gets_all_traffic_once_every_instance_is_ready() {
    let mut story = Story::told([seen("a"), cut("a", "one")]);
    let scale = story.then(started(1, None, "one"));
    assert_eq!(scale, [Action::Scale { service: web(), release: "one".into(), count: 2 }]);
    let last = story.run_instances("one");
    let all = weights(&[("one", 10_000)]);
    assert_eq!(
        last[0],
        Action::Shift { deployment: DeploymentId(1), service: web(), weights: all }
    );
    let end = story.then(shifted(1, &[("one", 10_000)]));
    assert_eq!(end, [Action::Finish { deployment: DeploymentId(1), ending: Ending::Finished }]);
}

#[test]
fn a_canary_gets_a_share_and_is_judged_at_it() {
    let mut story = Story::with_canary();
    story.then(instance_started("two", 0));
    let share = weights(&[("two", 1_000), ("one", 9_000)]);
    let shift = Action::Shift { deployment: DeploymentId(2), service: web(), weights: share };
    assert_eq!(story.then(ready("two", 0))[0], shift);
    let after = story.then(shifted(2, &[("two", 1_000), ("one", 9_000)]));
    assert_eq!(after[0], Action::Judge { deployment: DeploymentId(2), step: 0 });
    assert!(matches!(after[1], Action::LookAgain { .. }), "{after:?}");
}

#[test]
fn a_canary_that_is_worse_is_taken_back_by_one_route_change() {
    let mut story = Story::with_canary();
    story.then(instance_started("two", 0));
    story.then(ready("two", 0));
    story.then(shifted(2, &[("two", 1_000), ("one", 9_000)]));
    let actions = story.then(verdict(Verdict::Worse, 0));
    let [Action::RollBack { weights: after, reason, .. }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*after, weights(&[("one", 10_000)]));
    assert!(reason.contains("4 of 5 requests failed"), "{reason}");
}

#[test]
fn a_canary_that_is_not_worse_goes_on_after_its_time() {
    let mut story = Story::with_canary();
    story.then(instance_started("two", 0));
    story.then(ready("two", 0));
    story.then(shifted(2, &[("two", 1_000), ("one", 9_000)]));
    for _ in 0..4 {
        story.then(Fact::DownRequested {});
    }
    let actions = story.then(verdict(Verdict::NotWorse, 0));
    assert_eq!(actions, [Action::Scale { service: web(), release: "two".into(), count: 2 }]);
}

#[test]
fn a_canary_that_failed_too_few_requests_to_tell_gets_no_more_of_them() {
    let mut story = Story::with_canary();
    story.then(instance_started("two", 0));
    story.then(ready("two", 0));
    story.then(shifted(2, &[("two", 1_000), ("one", 9_000)]));
    for _ in 0..4 {
        story.then(Fact::DownRequested {});
    }
    let Fact::VerdictReached { deployment, service, step, verdict, mut evidence } =
        verdict(Verdict::NotEnough, 0)
    else {
        unreachable!("made above")
    };
    (evidence.canary_requests, evidence.canary_failed) = (3, 3);
    (evidence.baseline_requests, evidence.baseline_failed) = (27, 0);
    let fact = Fact::VerdictReached { deployment, service, step, verdict, evidence };
    let actions = story.then(fact);
    assert!(
        matches!(&actions[..], [Action::Judge { .. }, Action::LookAgain { .. }]),
        "{actions:?}"
    );
}

#[test]
fn instances_that_do_not_start_never_get_traffic() {
    let mut story = Story::with_canary();
    story.then(instance_started("two", 0));
    story.then(instance_started("two", 1));
    let actions = story.then(failed("two", 0));
    let Some(Action::RollBack { weights: after, reason, .. }) = actions.first() else {
        panic!("{actions:?}");
    };
    assert_eq!(*after, weights(&[("one", 10_000)]));
    assert!(reason.contains("exit code 1"), "{reason}");
}

#[test]
fn a_release_whose_instances_all_ended_is_not_started_again() {
    let mut story = Story::with_canary();
    story.then(instance_started("two", 0));
    let actions = story.then(failed("two", 0));
    assert!(matches!(actions.first(), Some(Action::RollBack { .. })), "{actions:?}");
}

#[test]
fn a_deployment_ends_when_the_old_instances_have_stopped() {
    let mut story = Story::with_canary();
    story.run_instances("two");
    story.then(shifted(2, &[("two", 10_000)]));
    for _ in 0..12 {
        story.then(Fact::DownRequested {});
    }
    let stopped = |number| Fact::InstanceStopped {
        instance: name("one", number),
        service: web(),
        reason: "no longer wanted".into(),
    };
    story.then(stopped(0));
    let actions = story.then(stopped(1));
    let end = Action::Finish { deployment: DeploymentId(2), ending: Ending::Finished };
    assert_eq!(actions[0], end);
}

#[test]
fn an_incident_is_watched_to_its_end_after_the_roll_back() {
    let mut story = Story::with_canary();
    story.then(Fact::IncidentOpened {
        incident: IncidentId(1),
        service: web(),
        title: "web answers with errors".into(),
        deployment: Some(DeploymentId(2)),
        release: Some("two".into()),
        onset_ms: 0,
        suspects: vec![],
        affected: Affected::default(),
    });
    let actions = story.then(Fact::DeploymentRolledBack {
        deployment: DeploymentId(2),
        service: web(),
        from: "two".into(),
        to: Some("one".into()),
        reason: "worse".into(),
        affected: Affected::default(),
    });
    let open = Action::OpenIncident { about: Trouble::Deployment(DeploymentId(2)) };
    let resolve = Action::Resolve { incident: IncidentId(1) };
    assert_eq!(actions[..3], [Action::Reconcile { service: web() }, open, resolve]);
}

#[test]
fn an_instance_that_ends_in_peace_time_is_healed() {
    let mut story = Story::told([seen("a"), cut("a", "one"), started(1, None, "one")]);
    story.run_instances("one");
    story.then(shifted(1, &[("one", 10_000)]));
    story.then(finished(1));
    let heal = Action::Heal { service: web(), instance: name("one", 0), release: "one".into() };
    assert_eq!(story.then(exited("one", 0)), [heal]);
}

#[test]
fn a_crash_loop_in_peace_time_is_an_incident_that_is_watched_until_it_is_healed() {
    let mut story = Story::told([seen("a"), cut("a", "one"), started(1, None, "one")]);
    story.run_instances("one");
    story.then(shifted(1, &[("one", 10_000)]));
    story.then(finished(1));
    let found = EventId(story.next);
    let about = Trouble::CrashLoop { found, service: web() };
    assert_eq!(story.then(crash_loop("one")), [Action::OpenIncident { about }]);
    let resolve = Action::Resolve { incident: IncidentId(1) };
    let opened = story.then(Fact::IncidentOpened {
        incident: IncidentId(1),
        service: web(),
        title: "web crashes again and again".into(),
        deployment: None,
        release: Some("one".into()),
        onset_ms: 0,
        suspects: vec![],
        affected: Affected::default(),
    });
    assert_eq!(opened, std::slice::from_ref(&resolve));
    assert!(resume(&story.view, story.now()).contains(&resolve));
    let healed = story.then(Fact::HealingFinished {
        service: web(),
        started: found,
        worked: true,
        outcome: "all its instances answer again".into(),
    });
    assert_eq!(healed, [resolve]);
}

#[test]
fn a_crash_loop_of_a_release_that_is_going_out_is_told_by_its_deployment() {
    let mut story = Story::with_canary();
    assert_eq!(story.then(crash_loop("two")), []);
}

#[test]
fn going_back_without_an_earlier_release_is_refused() {
    let mut story = Story::told([seen("a"), cut("a", "one"), started(1, None, "one")]);
    story.run_instances("one");
    story.then(shifted(1, &[("one", 10_000)]));
    story.then(finished(1));
    let wish = Fact::RollbackRequested { service: Some(web()), to: None };
    let actions = story.then(wish);
    assert!(matches!(&actions[..], [Action::Refuse { .. }]), "{actions:?}");
}

#[test]
fn going_back_from_a_deployment_under_way_takes_it_back() {
    let mut story = Story::with_canary();
    let actions = story.then(Fact::RollbackRequested { service: None, to: None });
    assert!(matches!(&actions[..], [Action::RollBack { .. }]), "{actions:?}");
}

#[test]
fn a_conductor_that_starts_again_takes_up_what_was_under_way() {
    let mut story = Story::told([seen("a"), planned("a", &["ci.yml"]), inspected("a")]);
    story.then(run_started(1, "a"));
    let actions = resume(&story.view, story.now());
    assert_eq!(actions[0], Action::StartProxy);
    assert!(actions.contains(&Action::EndInterrupted { run: RunId(1) }), "{actions:?}");

    let canary = Story::with_canary();
    let actions = resume(&canary.view, canary.now());
    let scale = Action::Scale { service: web(), release: "two".into(), count: 1 };
    assert!(actions.contains(&scale), "{actions:?}");
}

#[test]
fn what_is_only_known_leads_to_nothing() {
    let kinds = [
        Fact::ConductorStopped { reason: "asked".into() },
        Fact::SignedIn { address: "127.0.0.1".into() },
        Fact::SecretRemoved { name: "TOKEN".into() },
        Fact::Unknown { kind: "New".into(), version: 9, body: serde_json::Value::Null },
    ];
    for fact in kinds {
        assert_eq!(Story::new().then(fact), []);
    }
}
