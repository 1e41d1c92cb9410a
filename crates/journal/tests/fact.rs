//! The stored form of every kind: a golden file each, and a round trip for all of them.

use std::fs;
use std::path::PathBuf;

use journal::Fact;
use proptest::prelude::*;
use serde_json::{Value, json};

fn golden(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{kind}.json"))
}

fn read(kind: &str) -> Value {
    let path = golden(kind);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("every kind has a golden file: {}: {error}", path.display())
    });
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_kind_reads_what_was_stored_and_stores_it_the_same() {
    for (kind, version) in Fact::KINDS {
        let stored = read(kind);
        let fact = Fact::decode(kind, *version, stored.clone());
        assert_eq!(fact.kind(), *kind);
        assert!(!matches!(fact, Fact::Unknown { .. }), "{kind} is not understood");
        assert_eq!(fact.encode(), stored, "{kind} is stored in another form now");
    }
}

#[test]
fn what_was_added_later_is_stored_and_read() {
    let added = [
        (
            "SilenceSet",
            json!({
                "matchers": {"service": "web"},
                "more": ["severity=~\"page|ticket\""],
                "reason": "asked to",
                "from_ms": 1_795_391_000_000_i64,
                "until_ms": 1_795_392_000_000_i64,
            }),
        ),
        (
            "NotificationSent",
            json!({
                "channel": "pager/pagerduty[0]",
                "subject": "Errors",
                "group": "{}:{alertname=\"Errors\"}",
                "firing": ["8c3d8e2b4f2a90b1"],
                "resolved": ["0c3d8e2b4f2a90b1"],
                "receipt": "42",
            }),
        ),
        (
            "NotificationFailed",
            json!({"channel": "a", "subject": "b", "error": "c", "group": "{}:{}"}),
        ),
    ];
    for (kind, stored) in added {
        let fact = Fact::decode(kind, 1, stored.clone());
        assert_eq!(fact.encode(), stored, "{kind}");
    }
}

#[test]
fn a_golden_file_without_a_kind_is_a_kind_that_was_lost() {
    for entry in fs::read_dir(golden("x").parent().unwrap()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let kind = name.trim_end_matches(".json");
        assert!(Fact::KINDS.iter().any(|(known, _)| *known == kind), "{name} has no kind");
    }
}

/// Replaces some texts and numbers of a stored form by others.
fn disturb(value: &mut Value, texts: &[String], numbers: &[u64], turn: &mut usize) {
    *turn += 1;
    match value {
        Value::String(text) if turn.is_multiple_of(2) && !texts.is_empty() => {
            text.clone_from(&texts[*turn % texts.len()]);
        }
        Value::Number(number) if turn.is_multiple_of(3) && !numbers.is_empty() => {
            *number = numbers[*turn % numbers.len()].into();
        }
        Value::Array(items) => items.iter_mut().for_each(|i| disturb(i, texts, numbers, turn)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| disturb(field, texts, numbers, turn));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_content_survives_storing_and_reading(
        which in 0..Fact::KINDS.len(),
        texts in proptest::collection::vec(any::<String>(), 0..6),
        numbers in proptest::collection::vec(0..=u64::from(u16::MAX), 0..6),
        first in 0_usize..6,
    ) {
        let (kind, version) = Fact::KINDS[which];
        let mut stored = read(kind);
        disturb(&mut stored, &texts, &numbers, &mut first.clone());
        let fact = Fact::decode(kind, version, stored.clone());
        prop_assert_eq!(fact.encode(), stored);
        prop_assert_eq!(Fact::decode(kind, version, fact.encode()), fact);
    }
}
