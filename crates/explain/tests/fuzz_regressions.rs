//! What the fuzz targets found, each as small as it gets.

use explain::{Audience, Subject, render};
use jiff::Timestamp;
use journal::{Actor, Event, EventId, Fact, InstanceId, JobKey, RunId, View};

fn journal(facts: &[(&str, serde_json::Value)]) -> (View, Vec<Event>) {
    let mut view = View::default();
    let mut events = Vec::new();
    for (kind, body) in facts {
        let fact = Fact::decode(kind, 1, body.clone());
        assert!(!matches!(fact, Fact::Unknown { .. }), "{fact:?}");
        let id = EventId(events.len() as u64 + 1);
        let at = Timestamp::UNIX_EPOCH;
        let event = Event { id, at, actor: Actor::Conductor, cause: None, fact };
        view.apply(&event);
        events.push(event);
    }
    (view, events)
}

#[test]
fn managers_are_told_something_about_every_step() {
    let facts = [
        (
            "RunStarted",
            serde_json::json!({
                "run": 1, "workflow": "ci.yml", "name": "ci", "event": "push", "commit": "9f2c1e4d",
                "git_ref": "refs/heads/main", "dirty": false,
                "jobs": [{ "job": "test", "id": "test", "needs": [], "steps": ["Unit", "Pack"] }],
            }),
        ),
        (
            "StepFinished",
            serde_json::json!({
                "run": 1, "job": "test", "step": 1, "name": "Unit", "outcome": "failure",
                "conclusion": "success", "milliseconds": 5, "files_changed": [],
            }),
        ),
    ];
    let (view, events) = journal(&facts);
    for step in [1, 2] {
        let subject = Subject::Step(RunId(1), JobKey::from("test"), step);
        let told = explain::why(&subject, &view, &events).expect("the step is known");
        assert!(told.for_manager.iter().all(|line| !line.events.is_empty()), "{told:?}");
        assert!(render::text(&told, Audience::Manager).starts_with("This part of an automatic"));
    }
}

#[test]
fn managers_are_told_that_an_instance_was_stopped() {
    let (view, events) = journal(&[
        (
            "InstanceStarted",
            serde_json::json!({
                "instance": "web-1", "service": "web", "release": "3f9a2c1b", "deployment": 1,
                "port": 41234, "pid": 42,
            }),
        ),
        (
            "InstanceStopped",
            serde_json::json!({ "instance": "web-1", "service": "web", "reason": "asked to" }),
        ),
    ]);
    let subject = Subject::Instance(InstanceId::from("web-1"));
    let told = explain::why(&subject, &view, &events).expect("the instance is known");
    assert_eq!(told.for_manager[0].events, [EventId(2)]);
    assert!(render::text(&told, Audience::Manager).contains("stopped in good order"));
}
