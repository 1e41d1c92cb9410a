//! What a store keeps, gives back and lets go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use series::{Labels, Limits, Matcher, Millis, Op, Row, Sample, Series, Store};

fn up(job: &str) -> Labels {
    Labels::metric("up", [("job", job)])
}

fn everything(store: &Store) -> Vec<Series> {
    store.select(&[], Millis::MIN, Millis::MAX).expect("a selection")
}

fn times(series: &Series) -> Vec<Millis> {
    series.samples.iter().map(|sample| sample.at).collect()
}

#[test]
fn a_sample_out_of_order_is_put_where_it_belongs() {
    let store = Store::default();
    let rows = [10, 30, 20, 30].map(|at| Row::new(up("web"), at, 1.0));
    let appended = store.append(rows).expect("a write");
    assert_eq!((appended.kept, appended.out_of_order, appended.replaced), (4, 1, 0));
    assert_eq!(times(&everything(&store)[0]), [10, 20, 30]);
}

#[test]
fn the_last_value_at_one_time_wins() {
    let store = Store::default();
    let appended = store
        .append([Row::new(up("web"), 10, 1.0), Row::new(up("web"), 10, 2.0)])
        .expect("a write");
    assert_eq!(appended.replaced, 1);
    assert_eq!(everything(&store)[0].samples, [Sample { at: 10, value: 2.0 }]);
}

#[test]
fn samples_past_the_retention_are_gone() {
    let limits = Limits { retention: Duration::from_secs(1), ..Limits::default() };
    let store = Store::new(limits);
    store.append([Row::new(up("old"), 0, 1.0), Row::new(up("new"), 5_000, 1.0)]).expect("a write");
    let late = store.append([Row::new(up("late"), 3_999, 1.0)]).expect("a write");
    assert_eq!(late.too_old, 1);
    store.trim();
    let stats = store.stats();
    assert_eq!((stats.series, stats.samples, stats.dropped, stats.refused), (1, 1, 1, 1));
}

#[test]
fn too_many_samples_drop_the_oldest_of_all_series() {
    let limits = Limits { samples: 100, ..Limits::default() };
    let store = Store::new(limits);
    for at in 0..1_000 {
        let job = if at % 2 == 0 { "even" } else { "odd" };
        store.append([Row::new(up(job), at, 0.0)]).expect("a write");
    }
    let stats = store.stats();
    assert!(stats.samples <= 100 && stats.samples >= 80, "{stats:?}");
    let kept: Vec<Millis> = everything(&store).iter().flat_map(times).collect();
    assert_eq!(kept.len(), stats.samples);
    assert!(kept.iter().all(|at| *at >= 900 - 20), "{kept:?}");
}

#[test]
fn too_many_series_drop_the_ones_not_written_to() {
    let limits = Limits { series: 10, ..Limits::default() };
    let store = Store::new(limits);
    for at in 0..50 {
        store
            .append([Row::new(up("busy"), at, 0.0), Row::new(up(&format!("job{at}")), at, 0.0)])
            .expect("a write");
    }
    let stats = store.stats();
    assert!(stats.series <= 10, "{stats:?}");
    let busy = store.select(&[Matcher::equal("job", "busy")], 0, 100).expect("a selection");
    assert_eq!(busy[0].samples.len(), 50);
}

#[test]
fn a_clock_far_ahead_does_not_wipe_the_store() {
    let limits = Limits { ahead: Duration::from_mins(1), ..Limits::default() };
    let store = Store::new(limits);
    store.append([Row::new(up("web"), 1_000, 1.0)]).expect("a write");
    let appended = store.append([Row::new(up("web"), 1_000_000_000, 1.0)]).expect("a write");
    assert_eq!(appended.too_new, 1);
    assert_eq!(everything(&store)[0].samples.len(), 1);
}

#[test]
fn label_names_and_values_cover_the_series_that_fit() {
    let store = Store::default();
    store.append([Row::new(up("a"), 0, 1.0), Row::new(up("b"), 100, 1.0)]).expect("a write");
    assert_eq!(store.label_names(&[], 0, 100).expect("names"), ["__name__", "job"]);
    assert_eq!(store.label_values("job", &[], 50, 100).expect("values"), ["b"]);
}

#[test]
fn many_threads_append_without_losing_a_sample() {
    let store = Arc::new(Store::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for at in 0..500 {
                    let own = Row::new(up(&format!("t{thread}")), at, 1.0);
                    let shared = Row::new(up("shared"), at * 4 + thread, 1.0);
                    store.append([own, shared]).expect("a write");
                }
            });
        }
    });
    let all = everything(&store);
    assert_eq!(all.iter().map(|s| s.samples.len()).sum::<usize>(), 4_000);
    assert_eq!(store.stats().samples, 4_000);
}

/// A store that cannot be wrong: a map from labels and time to the last value.
type Model = BTreeMap<Labels, BTreeMap<Millis, f64>>;

fn row() -> impl Strategy<Value = Row> {
    ("[abc]", prop::option::of("[xy]"), 0i64..60, 0u8..4).prop_map(|(job, env, at, value)| {
        let pairs = [("job", job), ("env", env.unwrap_or_default())];
        Row::new(Labels::metric("m", pairs), at, f64::from(value))
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op =
        prop_oneof![Just(Op::Equal), Just(Op::NotEqual), Just(Op::Matches), Just(Op::NotMatches)];
    let name = prop::sample::select(vec!["job", "env", "none"]);
    let value = prop::sample::select(vec!["", "a", "x", "a|b", "[xy]", ".*", ".+"]);
    (name, op, value)
        .prop_map(|(name, op, value)| Matcher::new(name, op, value).expect("a pattern"))
}

proptest! {
    #[test]
    fn a_selection_is_what_a_plain_map_would_give(
        rows in prop::collection::vec(row(), 0..120),
        matchers in prop::collection::vec(matcher(), 0..3),
        from in 0i64..60,
        length in 0i64..60,
    ) {
        let store = Store::default();
        let mut model = Model::new();
        for part in rows.chunks(7) {
            store.append(part.iter().cloned()).expect("a write");
            for row in part {
                model.entry(row.labels.clone()).or_default().insert(row.at, row.value);
            }
        }
        let to = from + length;
        let expected: Vec<Series> = model
            .iter()
            .filter(|(labels, _)| matchers.iter().all(|m| m.fits(labels)))
            .map(|(labels, samples)| Series::new(
                labels.clone(),
                samples.range(from..=to).map(|(at, value)| Sample { at: *at, value: *value }).collect(),
            ))
            .filter(|series| !series.samples.is_empty())
            .collect();
        prop_assert_eq!(store.select(&matchers, from, to).expect("a selection"), expected);
        let held: usize = model.values().map(BTreeMap::len).sum();
        prop_assert_eq!(store.stats().samples, held);
    }

    #[test]
    fn whatever_comes_in_the_limits_hold(
        rows in prop::collection::vec(row(), 0..60),
        samples in 1usize..20,
        seconds in 1u64..40,
    ) {
        let limits = Limits { samples, series: 3, retention: Duration::from_millis(seconds), ..Limits::default() };
        let store = Store::new(limits);
        for row in rows {
            store.append([row]).expect("a write");
            let stats = store.stats();
            prop_assert!(stats.samples <= samples, "{stats:?}");
            prop_assert!(stats.series <= 3, "{stats:?}");
            let held: usize = everything(&store).iter().map(|s| s.samples.len()).sum();
            prop_assert!(held <= stats.samples);
        }
    }
}
