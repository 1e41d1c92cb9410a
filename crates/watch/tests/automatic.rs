//! The rules that every service gets, over numbers as the proxy gives them.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use series::{Labels, Row, Store};
use watch::rule::{Change, Rules, automatic};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + seconds).expect("a time")
}

/// Plays so many seconds of a service with two releases, and says which alerts fire and end when.
/// `behave` gives, for a second, the requests until then, how many of them failed, and how long
/// each answer takes.
fn play(seconds: i64, behave: impl Fn(i64) -> Option<(f64, f64, f64)>) -> Vec<String> {
    let text = automatic::file(["web", "db"]);
    let (file, findings) = source::rules::read(automatic::NAME, &text);
    assert!(findings.is_empty(), "{findings:#?}");
    let file = file.expect("a rule file");
    let (mut rules, findings) = Rules::new(automatic::NAME, &file, Duration::from_secs(15));
    assert!(findings.is_empty(), "{findings:#?}\n{text}");
    let store = Store::default();
    let mut log = Vec::new();
    for second in (0..=seconds).step_by(60) {
        let millis = at(second).as_millisecond();
        if let Some((requests, failed, takes)) = behave(second) {
            let row = |name: &str, more: &[(&str, &str)], value: f64| {
                let mut pairs = vec![("service", "web"), ("release", "r1")];
                pairs.extend_from_slice(more);
                Row::new(Labels::metric(name, pairs), millis, value)
            };
            let bucket = |le: &str, value: f64| {
                row("marline_request_duration_seconds_bucket", &[("le", le)], value)
            };
            let quick = if takes <= 1.0 { requests } else { 0.0 };
            store
                .append([
                    row("marline_requests_total", &[("class", "2xx")], requests - failed),
                    row("marline_requests_total", &[("class", "5xx")], failed),
                    row("marline_request_errors_total", &[], failed),
                    bucket("1", quick),
                    bucket("10", requests),
                    bucket("+Inf", requests),
                ])
                .expect("a write");
        }
        let evaluated = rules.evaluate(&store, at(second));
        assert!(evaluated.errors.is_empty(), "{:?}", evaluated.errors);
        for change in &evaluated.changes {
            log.push(match change {
                Change::Fired(active) => {
                    format!("{second} {}: {}", active.alert, active.annotations[0].1)
                }
                Change::Resolved(active) => format!("{second} {} is over", active.alert),
            });
        }
    }
    log
}

#[test]
fn a_service_that_is_well_makes_no_alert() {
    // One request a second, one in fifty fails: less than one in twenty.
    let log = play(4 * 3600, |second| {
        let requests = second as f64;
        Some((requests, (requests / 50.0).floor(), 0.1))
    });
    assert_eq!(log, [""; 0]);
    // Nobody asks at all, and nobody did.
    assert_eq!(play(3 * 3600, |_| Some((0.0, 0.0, 0.0))), [""; 0]);
}

#[test]
fn errors_are_told_when_they_are_many_and_last() {
    let log = play(2400, |second| {
        let failing = (second - 600).clamp(0, 900) as f64;
        Some((second as f64, failing * 0.2, 0.1))
    });
    let names: Vec<&str> = log.iter().map(|line| line.split(':').next().unwrap_or("")).collect();
    assert_eq!(names.len(), 2, "{log:?}");
    assert!(
        log[0].contains("ManyErrors") && log[0].contains("of the requests to web fail"),
        "{log:?}"
    );
    assert!(log[1].ends_with("ManyErrors is over"), "{log:?}");
    // Three failures, however large their share, are not many.
    assert_eq!(
        play(1200, |second| Some((3.0f64.min(second as f64), 3.0f64.min(second as f64), 0.1))),
        [""; 0]
    );
}

#[test]
fn answers_that_take_long_are_told() {
    let log = play(1800, |second| Some((second as f64, 0.0, 5.0)));
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("SlowAnswers: one answer of web in a hundred takes"), "{log:?}");
}

#[test]
fn requests_that_are_missing_are_told_whether_they_are_zero_or_not_counted() {
    let stop = 2 * 3600;
    for is_counted in [true, false] {
        let log = play(4 * 3600, |second| {
            let requests = second.min(stop) as f64;
            (is_counted || second <= stop).then_some((requests, 0.0, 0.1))
        });
        assert!(log[0].contains("NoMoreRequests: nobody asks web any more"), "{log:?}");
        assert_eq!(log.len(), 2, "{log:?}");
    }
}

#[test]
fn a_rule_of_the_team_stands_in_the_place_of_ours() {
    let (file, _) = source::rules::read(automatic::NAME, &automatic::file(["web"]));
    let file = file.expect("a rule file");
    let taken = BTreeSet::from(["SlowAnswers".to_owned(), "Other".to_owned()]);
    let (file, left_out) = automatic::without(file, &taken);
    assert_eq!(left_out, ["SlowAnswers"]);
    let left: Vec<String> = automatic::alerts(&file).collect();
    assert_eq!(left, ["ManyErrors", "NoMoreRequests"]);
}
