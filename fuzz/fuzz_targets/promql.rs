//! PromQL: spans are parts of the text, and a range of one step gives what an instant gives.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use promql::{Kind, Quantity, Value, instant, parse, range};
use series::{Labels, Row, Store};

const AT: i64 = 600_000;

fuzz_target!(|text: &str| {
    let expr = match parse(text) {
        Ok(expr) => expr,
        Err(error) => {
            let (start, end) = (error.span.start, error.span.end);
            assert!(text.get(start..end).is_some(), "{start}..{end} is no part of {text:?}");
            let _ = (error.position(text), error.to_string());
            return;
        }
    };
    assert!(text.get(expr.span.start..expr.span.end).is_some(), "{:?}", expr.span);
    let printed = expr.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("{text:?} as {printed:?}: {error}"));
    assert_eq!(again.to_string(), printed);
    // A question over many windows may take its time; that is bounded elsewhere.
    let answer = instant(&*STORE, &expr, AT);
    // At one time there is no distance between times.
    let asks_for_step = printed.contains("step()");
    if asks_for_step || !matches!(expr.kind(), Kind::Scalar | Kind::Vector) {
        return;
    }
    let over_time = range(&*STORE, &expr, AT, AT, 1_000);
    match (answer, over_time) {
        (Ok(Value::Scalar(value)), Ok(series)) => {
            assert_eq!(series.len(), 1);
            assert_eq!(series[0].samples[0].value.to_bits(), value.to_bits());
        }
        (Ok(Value::Vector(mut points)), Ok(series)) => {
            points.sort_by(|a, b| a.labels.cmp(&b.labels));
            assert_eq!(points.len(), series.len());
            for (point, series) in points.iter().zip(&series) {
                assert_eq!(point.labels, series.labels);
                let Quantity::Number(value) = point.value else { panic!("{point:?}") };
                assert_eq!(value.to_bits(), series.samples[0].value.to_bits());
            }
        }
        (Err(_), Err(_)) => {}
        (answer, over_time) => panic!("{text:?} gave {answer:?}, but over time {over_time:?}"),
    }
});

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let store = Store::default();
    let mut rows = Vec::new();
    for step in 0..=40 {
        let at = step * 15_000;
        let value = step as f64 * 15.0;
        for path in ["/", "/buy"] {
            let labels = Labels::metric("requests_total", [("job", "web"), ("path", path)]);
            rows.push(Row::new(labels, at, value % 400.0));
        }
        rows.push(Row::new(Labels::metric("load", [("job", "web")]), at, (step % 8) as f64 - 2.0));
        for (bound, share) in [("0.1", 0.5), ("0.5", 0.9), ("+Inf", 1.0)] {
            let labels = Labels::metric("took_bucket", [("job", "web"), ("le", bound)]);
            rows.push(Row::new(labels, at, value * share));
        }
    }
    store.append(rows).expect("is in memory");
    store
});
