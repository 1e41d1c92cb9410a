//! Facts: any JSON is a fact or kept as it is, and whatever happened can be folded and told.
//!
//! The input has a fact on each line: a kind, a blank, its stored form.

#![no_main]

use explain::{Audience, Subject, why};
use jiff::Timestamp;
use journal::{Actor, Event, EventId, Fact, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut view = View::default();
    let mut events = Vec::new();
    for line in text.lines() {
        let Some((kind, body)) = line.split_once(' ') else { continue };
        let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else { continue };
        let fact = Fact::decode(kind, 1, body.clone());
        assert_eq!(fact.kind(), kind);
        if let Fact::Unknown { .. } = fact {
            assert_eq!(fact.encode(), body);
        }
        assert_eq!(Fact::decode(kind, fact.version(), fact.encode()), fact);
        let event = Event {
            id: EventId(events.len() as u64 + 1),
            at: Timestamp::from_second(1_795_400_000 + events.len() as i64).expect("is a time"),
            actor: Actor::Person("ada".to_owned()),
            cause: events.len().checked_sub(1).map(|before| EventId(before as u64 + 1)),
            fact,
        };
        view.apply(&event);
        events.push(event);
    }
    let story = explain::story(&events);
    assert_eq!(story.len(), events.len());
    assert!(story.iter().all(|moment| !moment.text.is_empty()));
    let subjects = [Subject::Everything, Subject::most_urgent(&view)];
    let subjects = subjects.into_iter().chain(story.into_iter().filter_map(|m| m.subject));
    for subject in subjects.take(10) {
        if let Some(found) = Subject::find(&subject.path(), &view) {
            let _ = (found.command(), Subject::find(&found.command(), &view));
        }
        if let Ok(explanation) = why(&subject, &view, &events) {
            for audience in [Audience::Developer, Audience::Manager] {
                let told = explain::render::text(&explanation, audience);
                assert!(!told.is_empty(), "{subject:?} tells the {audience:?} nothing");
            }
        }
    }
});
