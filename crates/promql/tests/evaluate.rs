//! What questions give, beyond the public cases: one small store, one line per question.

use promql::evaluate::print;
use promql::{Limits, Point, Question, Value, instant, parse, range};
use proptest::prelude::*;
use series::{Labels, Row, Store};

const MINUTE: i64 = 60_000;

/// Two counters that rise by 60 and 120 a minute, the second of which starts again after five
/// minutes; a histogram; a gauge.
fn store() -> Store {
    let store = Store::default();
    let mut rows = Vec::new();
    for step in 0..=40 {
        let at = step * 15_000;
        let value = step as f64 * 15.0;
        let counter =
            |path: &str| Labels::metric("requests_total", [("job", "web"), ("path", path)]);
        rows.push(Row::new(counter("/"), at, value));
        rows.push(Row::new(
            counter("/buy"),
            at,
            if step < 20 { value * 2.0 } else { value * 2.0 - 600.0 },
        ));
        rows.push(Row::new(Labels::metric("load", [("job", "web")]), at, (step % 8) as f64));
        for (bound, share) in [("0.1", 0.5), ("0.5", 0.9), ("1", 1.0), ("+Inf", 1.0)] {
            let bucket = Labels::metric("took_bucket", [("job", "web"), ("le", bound)]);
            rows.push(Row::new(bucket, at, value * share));
        }
    }
    store.append(rows).expect("a write");
    store
}

fn answer(store: &Store, question: &str) -> String {
    let expr = match parse(question) {
        Ok(expr) => expr,
        Err(error) => return format!("not read: {error}"),
    };
    match instant(store, &expr, 10 * MINUTE) {
        Ok(Value::Scalar(value)) => print(round(value)),
        Ok(Value::Text(text)) => format!("{text:?}"),
        Ok(Value::Vector(points)) => {
            let points: Vec<String> = points
                .iter()
                .map(|point| format!("{} {}", point.labels, print(round(number(point)))))
                .collect();
            points.join(" | ")
        }
        Ok(Value::Matrix(series)) => {
            let series: Vec<String> =
                series.iter().map(|one| format!("{} {}", one.labels, one.samples.len())).collect();
            series.join(" | ")
        }
        Err(error) => format!("no answer: {error}"),
    }
}

fn number(point: &Point) -> f64 {
    point.value.number().expect("a number")
}

fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[test]
fn questions_give_what_prometheus_gives() {
    let store = store();
    let table = [
        // Rates, with a counter that started again.
        (r#"rate(requests_total{path="/"}[5m])"#, r#"{job="web", path="/"} 1"#),
        ("sum(rate(requests_total[5m]))", "{} 3"),
        (r#"resets(requests_total{path="/buy"}[10m])"#, r#"{job="web", path="/buy"} 1"#),
        (r#"increase(requests_total{path="/"}[1m])"#, r#"{job="web", path="/"} 60"#),
        // Latency out of buckets.
        ("histogram_quantile(0.5, sum by (le) (rate(took_bucket[5m])))", "{} 0.1"),
        ("histogram_quantile(0.95, rate(took_bucket[5m]))", r#"{job="web"} 0.75"#),
        ("histogram_quantile(0.5, rate(took_bucket{le!=\"+Inf\"}[5m]))", r#"{job="web"} NaN"#),
        ("histogram_quantile(2, rate(took_bucket[5m]))", r#"{job="web"} +Inf"#),
        // Ratios and matching.
        (
            r#"rate(requests_total{path="/"}[5m]) / ignoring(path) sum without (path) (rate(requests_total[5m]))"#,
            r#"{job="web"} 0.333333"#,
        ),
        ("requests_total * on(job) group_left load > 99", ""),
        (
            "rate(requests_total[5m]) / on(job) group_left() sum by (job) (rate(requests_total[5m]))",
            r#"{job="web", path="/"} 0.333333 | {job="web", path="/buy"} 0.666667"#,
        ),
        (
            "requests_total + on(job) load",
            "no answer: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
        ),
        (
            "load + on(job) requests_total",
            "no answer: found duplicate series for the match group {job=\"web\"} on the right hand-side of the operation: [{__name__=\"requests_total\", job=\"web\", path=\"/\"}, {__name__=\"requests_total\", job=\"web\", path=\"/buy\"}];many-to-many matching not allowed: matching labels must be unique on one side",
        ),
        // Subqueries.
        ("max_over_time(load[10m:1m])", r#"{job="web"} 4"#),
        ("count_over_time(load[10m:])", r#"{job="web"} 10"#),
        ("count_over_time(load[5m:1m] offset 2m)", r#"{job="web"} 5"#),
        (
            r#"max_over_time(rate(requests_total{path="/"}[1m])[5m:1m])"#,
            r#"{job="web", path="/"} 1"#,
        ),
        ("load[1m]", r#"load{job="web"} 4"#),
        // Times.
        ("load @ 0", r#"load{job="web"} 0"#),
        ("load offset 45s", r#"load{job="web"} 5"#),
        ("load @ end() - load @ start()", r#"{job="web"} 0"#),
        ("load @ 800", r#"load{job="web"} 0"#),
        ("load @ 1200", ""),
        ("time() - timestamp(load)", r#"{job="web"} 0"#),
        // Names are dropped at the end: what groups by them, or sets them, still sees them.
        ("sum by (__name__) (rate(requests_total[5m]))", "requests_total 3"),
        (
            r#"label_replace(-load, "__name__", "minus_$1", "__name__", "(.*)")"#,
            r#"minus_load{job="web"} -0"#,
        ),
        (r#"count(-{__name__=~"load|requests_total", path=~"/?"})"#, "{} 2"),
        (
            r#"-{__name__=~"took_bucket|load", le=~"|1"} * 0 or vector(1)"#,
            r#"{job="web"} -0 | {job="web", le="1"} -0 | {} 1"#,
        ),
        (
            r#"-label_replace({__name__=~"took_bucket|load", le=~"|1"}, "le", "", "", "")"#,
            "no answer: vector cannot contain metrics with the same labelset",
        ),
        // Trigonometry.
        ("round(sin(vector(pi() / 6)), 0.001)", "{} 0.5"),
        ("deg(vector(pi())) + rad(vector(180))", "{} 183.141593"),
        ("vector(1) atan2 vector(1)", "{} 0.785398"),
        ("acosh(vector(1)) + tanh(vector(0)) + cos(vector(0))", "{} 1"),
        // Dates.
        ("year(vector(951782400)) * 100 + month(vector(951782400))", "{} 200002"),
        ("days_in_month(vector(951782400)) + day_of_year(vector(951782400))", "{} 89"),
        ("day_of_week(vector(-1))", "{} 3"),
        // Absence.
        (r#"absent(up{job="web", env=~"p.*"})"#, r#"{job="web"} 1"#),
        ("absent_over_time(load[5m])", ""),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(question, wanted)| (question, wanted, answer(&store, question)))
        .filter(|(_, wanted, found)| found != *wanted)
        .map(|(question, wanted, found)| format!("{question}\n  gives {found}\n  and not {wanted}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_series_that_ended_is_gone_and_one_that_fell_silent_stays_five_minutes() {
    let store = Store::default();
    let silent = Labels::metric("silent", [("a", "1")]);
    let ended = Labels::metric("ended", [("a", "1")]);
    let rows = [
        Row::new(silent, 0, 1.0),
        Row::new(ended.clone(), 0, 1.0),
        Row::new(ended, 1000, series::STALE),
    ];
    store.append(rows).expect("a write");
    let count =
        |question: &str, at: i64| match instant(&store, &parse(question).expect(question), at) {
            Ok(Value::Vector(points)) => points.len(),
            other => panic!("{other:?}"),
        };
    assert_eq!([count("silent", 299_999), count("silent", 300_000)], [1, 0]);
    assert_eq!([count("ended", 999), count("ended", 1000)], [1, 0]);
}

#[test]
fn the_golden_signals_answer_rate_errors_and_latency_for_each_release() {
    use series::signal::{Instance, Signals};
    use std::time::Duration;
    let (store, signals) = (Store::default(), Signals::default());
    let (old, new) = (Instance::new("web", "v1", "web-1"), Instance::new("web", "v2", "web-2"));
    for second in 0..=10 * 60 {
        for _ in 0..9 {
            signals.observe(&old, Some(200), Duration::from_millis(4));
        }
        let status = if second % 2 == 0 { Some(503) } else { None };
        signals.observe(&new, status, Duration::from_millis(700));
        store.append(signals.rows(second * 1000)).expect("a write");
    }
    let table = [
        (
            "sum by (release) (rate(service_requests_total[1m]))",
            r#"{release="v1"} 9 | {release="v2"} 1"#,
        ),
        (
            r#"sum by (release) (rate(service_requests_total{code=~"5xx|none"}[1m])) / sum by (release) (rate(service_requests_total[1m]))"#,
            r#"{release="v1"} 0 | {release="v2"} 1"#,
        ),
        (
            "histogram_quantile(0.5, sum by (release, le) (rate(service_request_duration_seconds_bucket[1m])))",
            r#"{release="v1"} 0.00375 | {release="v2"} 0.75"#,
        ),
        (
            "sum by (release) (rate(service_request_duration_seconds_sum[1m])) / sum by (release) (rate(service_request_duration_seconds_count[1m]))",
            r#"{release="v1"} 0.004 | {release="v2"} 0.7"#,
        ),
    ];
    for (question, wanted) in table {
        assert_eq!(answer(&store, question), wanted, "{question}");
    }
    store.append(signals.end(&new, 10 * MINUTE)).expect("a write");
    assert_eq!(
        answer(&store, "count by (release) (service_requests_total)"),
        r#"{release="v1"} 6"#
    );
}

#[test]
fn a_range_has_so_many_steps_and_no_more() {
    let expr = parse("1").expect("a number");
    let store = Store::default();
    assert_eq!(range(&store, &expr, 0, 10, 5).expect("an answer")[0].samples.len(), 3);
    for (from, to, step) in [(0, 10, 0), (10, 0, 1), (0, i64::from(i32::MAX), 1)] {
        assert!(range(&store, &expr, from, to, step).is_err(), "{from} {to} {step}");
    }
}

#[test]
fn a_question_that_costs_too_much_is_refused_with_what_to_ask_instead() {
    let store = store();
    let expr = parse("sum(rate(requests_total[5m]))").expect("a question");
    let refused = |limits: Limits| {
        let asked = Question::new(&store, &expr).limits(limits).over(0, 600_000, 1_000);
        asked.expect_err("too much").to_string()
    };
    assert_eq!(
        refused(Limits { series: 1, ..Limits::default() }),
        "2 series of one selector is more than 1: ask for fewer series, a shorter time or longer steps"
    );
    assert!(refused(Limits { samples: 100, ..Limits::default() }).contains("is more than 100"));
    assert!(
        refused(Limits { time: std::time::Duration::ZERO, ..Limits::default() })
            .starts_with("the answer takes longer than 0 s")
    );
}

#[test]
fn a_question_is_weighed_before_anything_is_read() {
    /// Knows how much there is and must not be read.
    struct Heavy;
    impl series::Select for Heavy {
        fn select(
            &self,
            _: &[series::Matcher],
            _: i64,
            _: i64,
        ) -> Result<Vec<series::Series>, series::SelectError> {
            panic!("nothing is to be read")
        }
        fn amount(&self, _: &[series::Matcher], from: i64, to: i64) -> Option<series::Amount> {
            let samples = usize::try_from((to - from) / 1000).unwrap_or(0) * 20_000;
            Some(series::Amount { series: 20_000, samples })
        }
    }
    let refused = |text: &str, from: i64, step: i64| {
        let expr = parse(text).expect("a question");
        let asked = Question::new(&Heavy, &expr).over(from, 86_400_000, step);
        asked.expect_err("too much").to_string()
    };
    assert_eq!(
        refused("sum(rate(requests_total[1d]))", 86_000_000, 60_000),
        "reading about 1735180000 samples of `requests_total[1d]` is more than 50000000: ask for \
         fewer series, a shorter time or longer steps"
    );
    assert!(refused("max_over_time(up[1h:1s])", 0, 60_000).starts_with("reading about"));
    assert!(
        refused("sum(up)", 86_400_000 - 1_000_000, 100)
            .starts_with("working out 20000 series of `up` at 10001 times is more than 50000000")
    );
}

#[test]
fn a_question_that_was_cancelled_has_no_answer() {
    let store = store();
    let expr = parse("rate(requests_total[5m])").expect("a question");
    let cancelled = std::sync::atomic::AtomicBool::new(true);
    let asked = Question::new(&store, &expr).until(&cancelled).at(600_000);
    assert!(matches!(asked, Err(promql::EvalError::Cancelled)), "{asked:?}");
}

#[test]
fn an_answer_comes_with_what_is_odd_about_it() {
    let store = store();
    let text = "histogram_quantile(2,\n  rate(load[5m]))";
    let expr = parse(text).expect("a question");
    let notes = Question::new(&store, &expr).at(600_000).expect("an answer").notes;
    let told: Vec<String> = notes.iter().map(|note| note.told(text)).collect();
    assert_eq!(
        told,
        [
            "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"\" for metric name \"load\" (2:3)",
            "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)",
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"load\" (2:8)",
        ]
    );
}

fn question() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("load".to_owned()),
        Just("requests_total".to_owned()),
        Just("rate(requests_total[2m])".to_owned()),
        Just("avg_over_time(load[3m:30s])".to_owned()),
        Just("load offset 1m".to_owned()),
        (0u8..5).prop_map(|n| n.to_string()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "> bool", "^"]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            inner.clone().prop_map(|a| format!("sum by (job) (({a}) or vector(0))")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.prop_map(|a| format!("max(({a}) or vector(1))")),
        ]
    })
}

/// Functions whose windows slide over the samples.
const SLIDING: [&str; 9] = [
    "sum_over_time(odd[W])",
    "avg_over_time(odd[W])",
    "min_over_time(odd[W])",
    "max_over_time(odd[W])",
    "stddev_over_time(odd[W])",
    "stdvar_over_time(odd[W])",
    "quantile_over_time(0.9, odd[W])",
    "changes(odd[W])",
    "resets(odd[W])",
];

fn odd_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-50i32..50).prop_map(f64::from),
        2 => -1e3..1e3,
        1 => prop::sample::select(vec![1e100, -1e100, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0]),
    ]
}

fn close(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
        || (a.is_nan() && b.is_nan())
        || a.partial_cmp(&b).is_some_and(std::cmp::Ordering::is_eq)
        || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

proptest! {
    #[test]
    fn a_window_that_slides_gives_what_it_gives_alone(
        samples in prop::collection::vec((1i64..40, odd_value()), 1..120),
        width in 1i64..600,
        step in 1i64..200,
    ) {
        let store = Store::default();
        let mut at = 0;
        let rows: Vec<Row> = samples
            .iter()
            .map(|(apart, value)| {
                at += apart * 1000;
                Row::new(Labels::metric("odd", [("job", "web")]), at, *value)
            })
            .collect();
        store.append(rows).expect("a write");
        for question in SLIDING {
            let expr = parse(&question.replace('W', &format!("{width}s"))).expect("a question");
            let series = range(&store, &expr, 0, at, step * 1000).expect("an answer");
            for now in (0..=at).step_by(usize::try_from(step * 1000).expect("a step")) {
                let alone = match instant(&store, &expr, now).expect("an answer") {
                    Value::Vector(points) => points.first().map(number),
                    other => panic!("{other:?}"),
                };
                let slid = series
                    .first()
                    .and_then(|one| one.samples.iter().find(|sample| sample.at == now))
                    .map(|sample| sample.value);
                let same = match (slid, alone) {
                    (Some(slid), Some(alone)) => close(slid, alone),
                    (slid, alone) => slid.is_none() && alone.is_none(),
                };
                prop_assert!(same, "{question} [{width}s] at {now}: {slid:?}, alone {alone:?}");
            }
        }
    }
}

#[test]
fn a_sum_forgets_what_left_its_window() {
    let store = Store::default();
    let values = [1e100, 1.0, 2.0, 3.0, 4.0, 5.0];
    let row = |(step, value): (i64, &f64)| {
        Row::new(Labels::metric("odd", [("job", "web")]), step * 1000, *value)
    };
    store.append((0..).zip(&values).map(row)).expect("a write");
    let sums = range(&store, &parse("sum_over_time(odd[3s])").expect("a question"), 0, 5000, 1000);
    let sums: Vec<f64> = sums.expect("an answer")[0].samples.iter().map(|s| s.value).collect();
    assert_eq!(sums, [1e100, 1e100, 1e100, 6.0, 9.0, 12.0]);
}

proptest! {
    #[test]
    fn each_step_of_a_range_is_the_instant_at_that_time(question in question(), from in 0i64..8) {
        let Ok(expr) = parse(&question) else { return Ok(()) };
        let store = store();
        let (from, to, step) = (from * MINUTE, (from + 3) * MINUTE, 45_000);
        let Ok(series) = range(&store, &expr, from, to, step) else { return Ok(()) };
        let mut at = from;
        while at <= to {
            let mut expected: Vec<(Labels, u64)> = match instant(&store, &expr, at).expect("an answer") {
                Value::Scalar(value) => vec![(Labels::empty(), value.to_bits())],
                Value::Vector(points) => points.iter().map(|p| (p.labels.clone(), number(p).to_bits())).collect(),
                other => panic!("{other:?}"),
            };
            expected.sort();
            let found: Vec<(Labels, u64)> = series
                .iter()
                .filter_map(|one| {
                    let sample = one.samples.iter().find(|sample| sample.at == at)?;
                    Some((one.labels.clone(), sample.value.to_bits()))
                })
                .collect();
            prop_assert_eq!(found, expected, "{} at {}", question, at);
            at += step;
        }
    }
}
