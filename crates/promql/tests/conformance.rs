//! How many of Prometheus's own cases we answer as Prometheus does.
//!
//! The data is read in place (`MARLINE_CONFORMANCE`, or `../shared/conformance` beside the
//! workspace); without it the test says so and passes.

#![allow(clippy::float_cmp, reason = "infinities are equal only exactly")]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use promql::{Value, instant, parse, range};
use series::{Labels, Row, STALE, Series, Store};

/// The files that use stable PromQL.
const STABLE: [&str; 13] = [
    "aggregators",
    "at_modifier",
    "collision",
    "functions",
    "histograms",
    "literals",
    "name_label_dropping",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "subquery",
    "trig_functions",
];

/// Cases that must pass, of those in the files that were there when this was written.
const FLOOR: usize = 694;

fn conformance() -> PathBuf {
    match std::env::var_os("MARLINE_CONFORMANCE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
    }
}

#[test]
fn prometheus_own_float_cases_pass() {
    let folder = conformance().join("watch/promqltest");
    if !folder.is_dir() {
        println!("prometheus_own_float_cases_pass skipped: {} is not there", folder.display());
        return;
    }
    let mut board = BTreeMap::new();
    for file in STABLE {
        if let Ok(text) = std::fs::read_to_string(folder.join(format!("{file}.test"))) {
            board.insert(file, Script::run(file, &text));
        }
    }
    let (mut passed, mut total) = (0, 0);
    for (file, score) in &board {
        for failure in &score.failures {
            println!("{failure}");
        }
        println!("{file}: {} of {}, {} refused", score.passed, score.total, score.refused);
        passed += score.passed;
        total += score.total;
    }
    println!("promqltest, stable float cases: {passed} of {total}");
    assert!(passed >= FLOOR, "{passed} of {total} passed, {FLOOR} must");
}

#[derive(Default)]
struct Score {
    passed: usize,
    refused: usize,
    total: usize,
    failures: Vec<String>,
}

#[derive(Default)]
struct Script {
    store: Store,
    /// Metrics that hold native histograms.
    native: HashSet<String>,
    score: Score,
}

struct Case {
    name: String,
    query: String,
    at: At,
    fails: bool,
    ordered: bool,
    text: Option<String>,
    expected: Vec<(Labels, Vec<Option<f64>>)>,
    scalar: Option<f64>,
    window: bool,
    native: bool,
}

enum At {
    Instant(i64),
    Range { from: i64, to: i64, step: i64 },
}

impl Script {
    fn run(file: &str, text: &str) -> Score {
        let mut script = Script::default();
        let lines: Vec<&str> = text.lines().collect();
        let mut next = 0;
        while next < lines.len() {
            let line = lines[next].trim();
            let number = next + 1;
            next += 1;
            if line.starts_with("clear") {
                script.store = Store::default();
                script.native.clear();
            } else if let Some(rest) = line.strip_prefix("load") {
                let mut words = rest.split_whitespace();
                let nhcb = rest.starts_with("_with_nhcb");
                let interval = words.find_map(millis).unwrap_or(0);
                while next < lines.len() && !lines[next].trim().is_empty() {
                    let series = lines[next].trim();
                    next += 1;
                    if !series.starts_with('#') {
                        script.load(interval, series, nhcb);
                    }
                }
            } else if line.starts_with("eval") {
                let mut block = Vec::new();
                while next < lines.len() && !lines[next].trim().is_empty() {
                    let line = lines[next].trim();
                    if line.starts_with("eval")
                        || line.starts_with("load")
                        || line.starts_with("clear")
                    {
                        break;
                    }
                    block.push(line);
                    next += 1;
                }
                if let Some(case) = script.case(&format!("{file}:{number}"), line, &block) {
                    script.judge(&case);
                }
            }
        }
        script.score
    }

    fn load(&mut self, interval: i64, line: &str, nhcb: bool) {
        let (series, points) = split(line);
        let labels = labels(series);
        let name = labels.metric_name().unwrap_or_default().to_owned();
        match values(points) {
            Some(values) if !nhcb => {
                let rows = values.into_iter().enumerate().filter_map(|(index, value)| {
                    Some(Row::new(labels.clone(), interval * index as i64, value?))
                });
                self.store.append(rows).expect("a write");
            }
            _ => drop(self.native.insert(name)),
        }
    }

    fn case(&self, name: &str, line: &str, block: &[&str]) -> Option<Case> {
        let (head, rest) = line.split_once(' ')?;
        let (at, query) = if let Some(rest) = rest.strip_prefix("instant at ") {
            let (at, query) = rest.trim().split_once(char::is_whitespace)?;
            (At::Instant(millis(at)?), query)
        } else {
            let rest = rest.strip_prefix("range from ")?;
            let (from, rest) = rest.split_once(" to ")?;
            let (to, rest) = rest.split_once(" step ")?;
            let (step, query) = rest.trim().split_once(char::is_whitespace)?;
            (At::Range { from: millis(from)?, to: millis(to)?, step: millis(step)? }, query)
        };
        let query = query.trim().to_owned();
        let mentions =
            |name: &String| query.contains(name.trim_end_matches("_bucket")) || name.is_empty();
        let any = query.contains("__name__")
            || query.contains('{') && query.trim_start().starts_with('{');
        let native = self.native.iter().any(mentions) || any && !self.native.is_empty();
        let mut case = Case {
            name: name.to_owned(),
            native,
            fails: head == "eval_fail",
            ordered: head == "eval_ordered",
            query,
            at,
            text: None,
            expected: Vec::new(),
            scalar: None,
            window: false,
        };
        for line in block.iter().filter(|line| !line.starts_with('#')) {
            if let Some(expect) = line.strip_prefix("expect ") {
                case.fails |= expect.starts_with("fail");
                case.ordered |= expect.starts_with("ordered");
                case.window |= expect.starts_with("range vector");
                if let Some(text) = expect.strip_prefix("string ") {
                    case.text = Some(text.trim().trim_matches(['"', '`']).to_owned());
                }
            } else if line.starts_with("expected_fail") {
            } else if let Some(value) = number(line) {
                case.scalar = Some(value);
            } else {
                let (series, points) = split(line);
                match values(points) {
                    Some(values) => case.expected.push((labels(series), values)),
                    None => case.native = true,
                }
            }
        }
        Some(case)
    }

    fn judge(&mut self, case: &Case) {
        if case.native || case.window {
            return;
        }
        self.score.total += 1;
        match self.differs(case) {
            Ok(None) => self.score.passed += 1,
            Ok(Some(difference)) => {
                self.score
                    .failures
                    .push(format!("{}: {}\n    {difference}", case.name, case.query));
            }
            Err(refused) => {
                self.score.refused += 1;
                self.score
                    .failures
                    .push(format!("{}: {}\n    refused: {refused}", case.name, case.query));
            }
        }
    }

    /// Says in what our answer differs; an error is a question that we refuse.
    fn differs(&self, case: &Case) -> Result<Option<String>, String> {
        let expr = match parse(&case.query) {
            Ok(expr) => expr,
            Err(error)
                if error.to_string().contains("not supported here")
                    || error.to_string().contains("kept here") =>
            {
                return Err(error.to_string());
            }
            Err(error) => return Ok((!case.fails).then(|| format!("is not read: {error}"))),
        };
        match case.at {
            At::Instant(at) => {
                // The look at one time, and a range of one step, must agree.
                let value = match instant(&self.store, &expr, at) {
                    Ok(value) => value,
                    Err(error) => return Ok((!case.fails).then(|| error.to_string())),
                };
                if case.fails {
                    return Ok(Some(format!("should fail, gives {value:?}")));
                }
                Ok(match (&value, case) {
                    (Value::Scalar(value), Case { scalar: Some(wanted), .. }) => {
                        (!close(*value, *wanted)).then(|| format!("{value}, not {wanted}"))
                    }
                    (Value::Text(text), Case { text: Some(wanted), .. }) => {
                        (text != wanted).then(|| format!("{text:?}, not {wanted:?}"))
                    }
                    (Value::Vector(points), _) => {
                        let points: Vec<(Labels, f64)> =
                            points.iter().map(|p| (p.labels.clone(), p.value)).collect();
                        let wanted: Vec<(Labels, f64)> = case
                            .expected
                            .iter()
                            .filter_map(|(labels, values)| {
                                Some((labels.clone(), (*values.first()?)?))
                            })
                            .collect();
                        let same_order =
                            points.iter().zip(&wanted).all(|(a, b)| a.0 == b.0 && close(a.1, b.1));
                        let same = points.len() == wanted.len()
                            && if case.ordered {
                                same_order
                            } else {
                                wanted.iter().all(|(l, v)| {
                                    points.iter().any(|(own, value)| own == l && close(*value, *v))
                                })
                            };
                        (!same).then(|| format!("{points:?}, not {wanted:?}"))
                    }
                    (other, _) => Some(format!("gives {other:?}")),
                })
            }
            At::Range { from, to, step } => {
                let series = match range(&self.store, &expr, from, to, step) {
                    Ok(series) => series,
                    Err(error) => return Ok((!case.fails).then(|| error.to_string())),
                };
                if case.fails {
                    return Ok(Some(format!("should fail, gives {series:?}")));
                }
                let wanted = |labels: &Labels, values: &[Option<f64>]| -> bool {
                    let own: &[series::Sample] = series
                        .iter()
                        .find(|s| s.labels == *labels)
                        .map_or(&[], |s: &Series| &s.samples);
                    let values: Vec<(i64, f64)> = values
                        .iter()
                        .enumerate()
                        .filter_map(|(index, value)| Some((from + index as i64 * step, (*value)?)))
                        .collect();
                    own.len() == values.len()
                        && own
                            .iter()
                            .zip(&values)
                            .all(|(s, (at, v))| s.at == *at && close(s.value, *v))
                };
                let expected: Vec<_> = case
                    .expected
                    .iter()
                    .filter(|(_, values)| values.iter().any(Option::is_some))
                    .collect();
                let same =
                    expected.len() == series.len() && expected.iter().all(|(l, v)| wanted(l, v));
                Ok((!same).then(|| format!("{series:?}\n    not {:?}", case.expected)))
            }
        }
    }
}

fn close(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    a == b || (a - b).abs() <= 1e-6 * a.abs().max(b.abs()) || (a - b).abs() < 1e-300
}

fn millis(text: &str) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let Ok(expr) = parse(text) else { return None };
    match expr.node {
        promql::expr::Node::Number(seconds) => {
            let millis = (seconds * 1000.0).round() as i64;
            Some(if negative { -millis } else { millis })
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        hex if hex.starts_with("0x") => i64::from_str_radix(&hex[2..], 16).ok().map(|v| v as f64),
        other => other.parse().ok(),
    }
}

/// Splits a line into the series and its points.
fn split(line: &str) -> (&str, &str) {
    let (mut quote, mut depth, mut escaped) = (None, 0, false);
    for (index, c) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(open) => {
                escaped = c == '\\' && open != '`';
                if c == open {
                    quote = None;
                }
            }
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' if line[index..].starts_with("{{") && depth == 0 => {
                    return line.split_at(index);
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                ' ' | '\t' if depth == 0 => {
                    let rest = line[index..].trim_start();
                    let labels_follow = rest.starts_with('{')
                        && !rest.starts_with("{{")
                        && !line[..index].contains('}');
                    if !labels_follow {
                        return (line[..index].trim(), rest);
                    }
                }
                _ => {}
            },
        }
    }
    (line.trim(), "")
}

fn labels(text: &str) -> Labels {
    let text = text.trim();
    if text == "{}" || text.is_empty() {
        return Labels::empty();
    }
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    match expr.node {
        promql::expr::Node::Selector(selector) => Labels::new(
            selector.matchers.iter().map(|m| (m.name().to_owned(), m.value().to_owned())),
        ),
        other => panic!("{text}: {other:?}"),
    }
}

/// Expands `1+2x3 _ stale`; nothing where a native histogram stands.
fn values(points: &str) -> Option<Vec<Option<f64>>> {
    if points.contains("{{") || points.contains('@') {
        return None;
    }
    let mut out = Vec::new();
    for word in points.split_whitespace() {
        let repeated = word
            .rsplit_once('x')
            .and_then(|(what, times)| Some((what, times.parse::<usize>().ok()?)));
        let (what, times) = match repeated {
            Some((what, times)) => (what, Some(times)),
            None => (word, None),
        };
        if what == "_" {
            out.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let count = times.map_or(1, |times| times + 1);
        if what == "stale" {
            out.extend(std::iter::repeat_n(Some(STALE), count));
            continue;
        }
        let (start, step) = match number(what) {
            Some(start) => (start, 0.0),
            None => {
                let sign = what.char_indices().skip(1).find(|(index, c)| {
                    matches!(c, '+' | '-') && !matches!(what.as_bytes()[index - 1], b'e' | b'E')
                })?;
                (number(&what[..sign.0])?, number(&what[sign.0..])?)
            }
        };
        let mut value = start;
        for _ in 0..count {
            out.push(Some(value));
            value += step;
        }
    }
    Some(out)
}
