//! Rule files against series, second by second.

use std::time::Duration;

use jiff::Timestamp;
use series::{Labels, Matcher, Row, Store, is_stale};
use watch::rule::{Change, Rules};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + seconds).expect("a time")
}

fn read(text: &str) -> (Rules, Vec<source::Finding>) {
    let (file, mut findings) = source::rules::read("rules.yml", text);
    let (rules, own) = Rules::new("rules.yml", &file.expect("a rule file"), Duration::from_secs(1));
    findings.extend(own);
    (rules, findings)
}

fn rules(text: &str) -> Rules {
    let (rules, findings) = read(text);
    assert!(findings.is_empty(), "{findings:#?}");
    rules
}

fn set(store: &Store, labels: &Labels, seconds: i64, value: f64) {
    store.append([Row::new(labels.clone(), at(seconds).as_millisecond(), value)]).expect("a write");
}

fn told(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Fired(active) => format!("fired {}", active.labels),
        Change::Resolved(active) => format!("resolved {}", active.labels),
    };
    changes.iter().map(word).collect()
}

const DOWN: &str = r#"
groups:
  - name: availability
    rules:
      - alert: Down
        expr: up == 0
        for: 3s
        keep_firing_for: 2s
        labels:
          severity: page
          who: "{{ $labels.job }}"
        annotations:
          summary: '{{ $labels.job }} is at {{ $value | humanizePercentage }}'
"#;

#[test]
fn an_alert_fires_after_its_for_and_resolves_after_its_keep_firing() {
    let mut rules = rules(DOWN);
    let store = Store::default();
    let up = Labels::metric("up", [("job", "web")]);
    let values = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    let mut log = Vec::new();
    for (second, value) in values.iter().enumerate() {
        let second = second as i64;
        set(&store, &up, second, *value);
        let evaluated = rules.evaluate(&store, at(second));
        assert!(evaluated.errors.is_empty(), "{:?}", evaluated.errors);
        for change in &evaluated.changes {
            if let Change::Fired(active) = change {
                let summary = [("summary".to_owned(), "web is at 0%".to_owned())];
                assert_eq!(active.annotations, summary);
                assert_eq!(active.since, at(1));
            }
        }
        log.extend(told(&evaluated.changes).into_iter().map(|line| format!("{second} {line}")));
    }
    let labels = r#"{alertname="Down", job="web", severity="page", who="web"}"#;
    assert_eq!(log, [format!("4 fired {labels}"), format!("10 resolved {labels}")]);
}

#[test]
fn a_condition_that_ends_while_pending_fires_nothing() {
    let mut rules = rules(DOWN);
    let store = Store::default();
    let up = Labels::metric("up", [("job", "web")]);
    for (second, value) in [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0].iter().enumerate() {
        set(&store, &up, second as i64, *value);
        assert_eq!(rules.evaluate(&store, at(second as i64)).changes, []);
    }
    assert_eq!(rules.active().count(), 1);
}

#[test]
fn a_recording_rule_writes_a_series_that_the_next_rule_sees_and_ends_it() {
    let mut rules = rules(
        r"
groups:
  - name: derived
    labels: {team: core}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {env: test}
      - alert: Few
        expr: job:up:sum < 2
",
    );
    let store = Store::default();
    let up = Labels::metric("up", [("job", "web")]);
    set(&store, &up, 0, 1.0);
    let evaluated = rules.evaluate(&store, at(0));
    assert_eq!(
        told(&evaluated.changes),
        [r#"fired {alertname="Few", env="test", job="web", team="core"}"#]
    );
    // The series vanishes: what was recorded of it ends with a stale marker.
    let evaluated = rules.evaluate(&store, at(400));
    assert_eq!(told(&evaluated.changes).len(), 1);
    let recorded = store
        .select(&[Matcher::equal("__name__", "job:up:sum")], 0, i64::MAX)
        .expect("a selection");
    let samples = &recorded[0].samples;
    assert_eq!((samples.len(), samples[0].value), (2, 1.0));
    assert!(is_stale(samples[1].value));
}

#[test]
fn a_rule_that_cannot_be_asked_leaves_its_alerts_as_they_are() {
    let text = "groups: [{name: g, rules: [{alert: Twice, expr: 'a * on(job) b > 0'}]}]";
    let mut rules = rules(text);
    let store = Store::default();
    let series = |name: &str, id: &str| Labels::metric(name, [("job", "web"), ("id", id)]);
    set(&store, &series("a", "1"), 0, 1.0);
    set(&store, &series("b", "1"), 0, 1.0);
    assert_eq!(rules.evaluate(&store, at(0)).changes.len(), 1);
    // A second series on the right side makes the question ambiguous.
    set(&store, &series("b", "2"), 1, 1.0);
    let evaluated = rules.evaluate(&store, at(1));
    assert_eq!((evaluated.changes.len(), evaluated.errors.len()), (0, 1));
    assert_eq!(evaluated.errors[0].to_string(), "evaluate the rule `Twice` of group `g`");
    assert_eq!(rules.active().count(), 1);
}

#[test]
fn groups_are_evaluated_at_their_own_interval() {
    let text = "groups: [{name: slow, interval: 10s, rules: [{record: r, expr: vector(1)}]}]";
    let mut rules = rules(text);
    let store = Store::default();
    for second in 0..25 {
        rules.evaluate(&store, at(second));
    }
    assert_eq!(store.stats().samples, 3);
    assert_eq!(rules.due(), Some(at(30)));
}

#[test]
fn mistakes_in_queries_and_templates_are_found_where_they_stand() {
    let (rules, findings) = read(
        r#"groups:
  - name: g
    rules:
      - alert: A
        expr: rat(up[5m]) > 0
      - alert: B
        expr: up == 0
        annotations:
          summary: "{{ if true }}x{{ done }}"
      - alert: C
        expr: up[5m]
      - alert: Good
        expr: vector(1)
"#,
    );
    let told: Vec<String> =
        findings.iter().map(|f| format!("{} {}: {}", f.place, f.rule, f.message)).collect();
    assert_eq!(
        told,
        [
            "rules.yml:5:15 rule-query: no function is called `rat`",
            "rules.yml:9:20 rule-template: the template of `summary` cannot be used: no function is called `done`",
            "rules.yml:11:15 rule-query: a rule needs a number or an instant vector, this is a range vector",
        ]
    );
    let mut rules = rules;
    assert_eq!(rules.evaluate(&Store::default(), at(0)).changes.len(), 1);
}

#[test]
fn a_change_is_recorded_as_the_fact_it_is() {
    let mut rules = rules(
        "groups: [{name: g, rules: [{alert: Always, expr: vector(2), labels: {severity: page}}]}]",
    );
    let evaluated = rules.evaluate(&Store::default(), at(0));
    let journal::Fact::AlertFired { alert, labels, value, .. } = evaluated.changes[0].recorded()
    else {
        panic!("{evaluated:?}")
    };
    assert_eq!((alert.as_str(), value.as_str()), ("Always", "2"));
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        [("severity".to_owned(), "page".to_owned())]
    );
}

#[test]
fn alerts_are_written_as_series_and_end_with_a_marker() {
    let mut rules = rules(DOWN);
    let store = Store::default();
    let up = Labels::metric("up", [("job", "web")]);
    for (second, value) in [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0].iter().enumerate() {
        set(&store, &up, second as i64, *value);
        rules.evaluate(&store, at(second as i64));
    }
    let states = |state: &str| -> Vec<String> {
        let matchers = [Matcher::equal("__name__", "ALERTS"), Matcher::equal("alertstate", state)];
        let series = store.select(&matchers, 0, i64::MAX).expect("a selection");
        let word = |value: f64| if is_stale(value) { "ends".to_owned() } else { value.to_string() };
        series[0].samples.iter().map(|sample| word(sample.value)).collect()
    };
    assert_eq!(states("pending"), ["1", "1", "1", "ends"]);
    assert_eq!(states("firing"), ["1", "1", "1", "ends"]);
    let since = store
        .select(&[Matcher::equal("__name__", "ALERTS_FOR_STATE")], 0, i64::MAX)
        .expect("a selection");
    assert_eq!(since[0].samples[0].value as i64, at(0).as_second());
}

#[test]
fn a_restart_keeps_what_is_pending_and_what_fires() {
    let store = Store::default();
    let up = Labels::metric("up", [("job", "web")]);
    let mut before = rules(DOWN);
    for second in 0..3 {
        set(&store, &up, second, 0.0);
        assert_eq!(before.evaluate(&store, at(second)).changes, []);
    }
    // Down for 100 seconds, which do not count for `for: 3s`; the third second of it comes after.
    set(&store, &up, 102, 0.0);
    let mut after = rules(DOWN).resuming();
    assert_eq!(after.evaluate(&store, at(102)).changes, []);
    set(&store, &up, 103, 0.0);
    assert_eq!(after.evaluate(&store, at(103)).changes.len(), 1);

    // The next start finds no numbers yet: what fired is unknown, and stays.
    let mut later = rules(DOWN).resuming();
    assert_eq!(later.evaluate(&store, at(1000)).changes, []);
    assert_eq!(later.active().count(), 1);
    // With the numbers back it is resolved as ever.
    set(&store, &up, 1400, 1.0);
    assert_eq!(told(&later.evaluate(&store, at(1400)).changes).len(), 1);
}
