//! Runs scripts in the language of Prometheus's promqltest.

#![allow(clippy::float_cmp, reason = "infinities are equal only exactly")]

use std::cell::Cell;
use std::collections::BTreeMap;

use promql::expr::{At, Node};
use promql::sequence::{self, Item};
use promql::{Answer, Expr, Level, Note, Quantity, Question, Value, parse};
use series::histogram::{Bucket, CUSTOM};
use series::{
    Histogram, Labels, METRIC_NAME, Matcher, Memory, Millis, Select, SelectError, Series,
};

/// What a case stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Numbers, and what is stable in the language.
    Float,
    /// What Prometheus calls experimental.
    Experimental,
    /// Native histograms.
    Native,
}

/// Words that only experimental questions have.
const EXPERIMENTAL: [&str; 24] = [
    "anchored",
    "smoothed",
    "fill(",
    "fill_left(",
    "fill_right(",
    "info(",
    "limitk",
    "limit_ratio",
    "sort_by_label",
    "mad_over_time",
    "double_exponential_smoothing",
    "ts_of_",
    "first_over_time",
    "step()",
    "range()",
    "start()",
    "end()",
    "min_of",
    "max_of",
    "histogram_quantiles",
    "start_timestamp",
    "__type__",
    "__unit__",
    "STep()",
];

/// The samples that were loaded so far, and what has been found out about the questions.
#[derive(Default)]
pub struct Script {
    memory: Memory,
    has_starts: bool,
    has_types: bool,
}

/// Remembers whether a histogram was read.
struct Watched<'a> {
    memory: &'a Memory,
    histograms: Watch,
}

#[derive(Default)]
struct Watch(std::sync::atomic::AtomicBool);

impl Select for Watched<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        let selected = self.memory.select(matchers, from, to)?;
        if selected.iter().any(|series| !series.histograms.is_empty()) {
            self.histograms.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(selected)
    }
}

#[derive(Debug, Default)]
struct Case {
    query: String,
    at: Millis,
    range: Option<(Millis, Millis, Millis)>,
    fails: bool,
    fail_text: Option<Text>,
    ordered: bool,
    warns: Vec<Text>,
    infos: Vec<Text>,
    no_warn: bool,
    no_info: bool,
    text: Option<String>,
    window: Option<(Millis, Millis)>,
    scalar: Option<f64>,
    series: Vec<(Labels, Vec<Item>)>,
}

/// What a message must be.
#[derive(Debug)]
enum Text {
    Any,
    Exact(String),
    Pattern(regex::Regex),
}

impl Text {
    fn of(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(exact) = text.strip_prefix("msg:") {
            return Ok(Self::Exact(unquoted(exact.trim())));
        }
        if let Some(pattern) = text.strip_prefix("regex:") {
            let pattern = unquoted(pattern.trim());
            return regex::Regex::new(&pattern).map(Self::Pattern).map_err(|e| e.to_string());
        }
        if text.is_empty() { Ok(Self::Any) } else { Err(format!("expect what? {text}")) }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

fn unquoted(text: &str) -> String {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    if quoted { text[1..text.len() - 1].to_owned() } else { text.to_owned() }
}

impl Script {
    /// Runs a script and gives each case with what it stands on and whether it passed.
    pub fn run(file: &str, text: &str) -> Vec<(String, Ground, Result<(), String>)> {
        let mut script = Self::default();
        let mut outcomes = Vec::new();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut next = 0;
        while let Some(line) = lines.get(next) {
            let name = format!("{file}:{}", next + 1);
            next += 1;
            let starts = |line: &str| {
                ["eval", "load", "clear"].iter().any(|command| line.starts_with(command))
            };
            let mut block = Vec::new();
            while starts(line)
                && lines.get(next).is_some_and(|line| !line.is_empty() && !starts(line))
            {
                block.push(lines[next]);
                next += 1;
            }
            block.retain(|line| !line.starts_with('#'));
            if line.starts_with("clear") {
                script = Self::default();
            } else if let Some(rest) = line.strip_prefix("load") {
                if let Err(error) = script.load(rest, &block) {
                    outcomes.push((name, Ground::Float, Err(format!("load: {error}"))));
                }
            } else if line.starts_with("eval") {
                let (ground, outcome) = match case(line, &block) {
                    Ok(case) => script.judge(&case),
                    Err(error) => (Ground::Float, Err(format!("is not read: {error}"))),
                };
                let outcome = outcome.map_err(|error| format!("{line}\n{error}"));
                outcomes.push((name, ground, outcome));
            }
        }
        outcomes
    }

    fn load(&mut self, head: &str, block: &[&str]) -> Result<(), String> {
        let (with_custom, head) = match head.strip_prefix("_with_nhcb") {
            Some(rest) => (true, rest),
            None => (false, head),
        };
        let interval = millis(head.trim()).ok_or("an interval")?;
        let mut classic = Vec::new();
        let mut starts: Vec<(Labels, Vec<Option<Millis>>)> = Vec::new();
        for line in block {
            if let Some((series, distances)) = line.split_once("@st") {
                let labels = sequence::labels(series).map_err(|e| format!("{line}: {e}"))?;
                let distances =
                    sequence::distances(distances).map_err(|e| format!("{line}: {e}"))?;
                starts.push((labels, distances));
                self.has_starts = true;
                continue;
            }
            let (labels, items) = sequence::series(line).map_err(|e| format!("{line}: {e}"))?;
            self.has_types |= !labels.get("__type__").is_empty();
            for (index, item) in items.iter().enumerate() {
                let at = interval * index as i64;
                match item {
                    Item::Missing => {}
                    Item::Number(value) => self.memory.number(&labels, at, *value),
                    Item::Histogram { value, .. } => {
                        self.memory.histogram(&labels, at, (**value).clone());
                    }
                }
            }
            if with_custom {
                classic.push((labels, items));
            }
        }
        for (labels, distances) in starts {
            for (index, distance) in distances.iter().enumerate() {
                let at = interval * index as i64;
                // A start at the very beginning of time is the same as none.
                if let Some(start) = distance.map(|distance| at + distance).filter(|s| *s != 0) {
                    self.memory.start(&labels, at, start);
                }
            }
        }
        self.load_custom(&classic, interval);
        Ok(())
    }

    /// Loads classic histograms as native ones with custom buckets as well.
    fn load_custom(&mut self, classic: &[(Labels, Vec<Item>)], interval: Millis) {
        #[derive(Default)]
        struct Parts {
            buckets: Vec<(f64, f64)>,
            count: Option<f64>,
            sum: Option<f64>,
        }
        let mut all: BTreeMap<(Labels, usize), Parts> = BTreeMap::new();
        for (labels, items) in classic {
            let name = labels.get(METRIC_NAME);
            let part = ["_bucket", "_count", "_sum"].iter().find(|part| name.ends_with(**part));
            let Some(part) = part else { continue };
            let base = labels.with(METRIC_NAME, name.trim_end_matches(part)).with("le", "");
            for (index, item) in items.iter().enumerate() {
                let Item::Number(value) = item else { continue };
                if series::is_stale(*value) {
                    continue;
                }
                let parts = all.entry((base.clone(), index)).or_default();
                match *part {
                    "_count" => parts.count = Some(*value),
                    "_sum" => parts.sum = Some(*value),
                    _ => {
                        let bound = labels.get("le").replace("+Inf", "inf");
                        if let Ok(bound) = bound.parse() {
                            parts.buckets.push((bound, *value));
                        }
                    }
                }
            }
        }
        for ((labels, index), mut parts) in all {
            parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut before = 0.0;
            let mut positive = Vec::new();
            for (place, (_, up_to)) in (0..).zip(&parts.buckets) {
                positive.push(Bucket { index: place, count: up_to - before });
                before = *up_to;
            }
            let bounds = parts.buckets.iter().map(|(bound, _)| *bound).filter(|b| b.is_finite());
            let histogram = Histogram {
                schema: CUSTOM,
                count: parts.count.unwrap_or(before),
                sum: parts.sum.unwrap_or(0.0),
                bounds: bounds.collect(),
                positive,
                ..Histogram::default()
            };
            if let Ok(histogram) = histogram.checked() {
                self.memory.histogram(&labels, interval * index as i64, histogram);
            }
        }
    }

    fn judge(&self, case: &Case) -> (Ground, Result<(), String>) {
        let watched = Watched { memory: &self.memory, histograms: Watch::default() };
        let outcome = Self::outcome(case, &watched);
        let expects_histogram = case
            .series
            .iter()
            .any(|(_, items)| items.iter().any(|item| matches!(item, Item::Histogram { .. })));
        let has_arithmetic = case.query.split('[').skip(1).any(|part| {
            let inside = part.split(']').next().unwrap_or_default();
            inside.contains(['+', '*', '/', '-', '%', '('])
        });
        let native = expects_histogram
            || watched.histograms.0.load(std::sync::atomic::Ordering::Relaxed)
            || case.query.contains("</")
            || case.query.contains(">/");
        let experimental = self.has_starts
            || self.has_types
            || has_arithmetic
            || EXPERIMENTAL.iter().any(|word| case.query.contains(word));
        let ground = match (native, experimental) {
            (true, _) => Ground::Native,
            (_, true) => Ground::Experimental,
            _ => Ground::Float,
        };
        (ground, outcome)
    }

    fn outcome(case: &Case, source: &dyn Select) -> Result<(), String> {
        let expr = match parse(&case.query) {
            Ok(expr) => expr,
            Err(error) => return failed(case, &error.message),
        };
        let asked = match case.range {
            Some((from, to, step)) => Question::new(source, &expr).over(from, to, step),
            None => Question::new(source, &expr).at(case.at),
        };
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let text = error.to_string();
                return failed(
                    case,
                    &cause.map_or(text.clone(), |cause| format!("{text}: {cause}")),
                );
            }
        };
        if case.fails {
            return Err(format!("should fail, gives {:?}", answer.value));
        }
        notes(case, &answer.notes)?;
        if let Some((from, _, step)) = case.range {
            return series(case, &answer, |index| from + step * index as i64);
        }
        value(case, &answer)?;
        if case.text.is_some() || case.window.is_some() {
            return Ok(());
        }
        let calls_of_range =
            ["step()", "range()", "start()", "end()"].iter().any(|call| case.query.contains(call));
        if !calls_of_range {
            Self::also_over_a_range(case, &expr, source)?;
            Self::also_at_a_fixed_time(case, &expr, source)?;
        }
        let printed = expr.to_string();
        let again = parse(&printed).map_err(|error| format!("printed as {printed}: {error}"))?;
        if again.to_string() != printed {
            return Err(format!("printed as {printed}, then as {again}"));
        }
        Ok(())
    }

    /// The middle of a range of three times must be what the one time gives.
    fn also_over_a_range(case: &Case, expr: &Expr, source: &dyn Select) -> Result<(), String> {
        const MINUTE: Millis = 60_000;
        let asked = Question::new(source, expr).over(case.at - MINUTE, case.at + MINUTE, MINUTE);
        // Other times may have no answer where this one has.
        let Ok(answer) = asked else { return Ok(()) };
        let Value::Matrix(all) = answer.value else { return Err("no matrix".to_owned()) };
        let mut points = Vec::new();
        for series in all {
            let number = series.samples.iter().find(|s| s.at == case.at).map(|s| s.value);
            let histogram = series.histograms.iter().find(|s| s.at == case.at);
            let value = match (number, histogram) {
                (Some(value), _) => Quantity::Number(value),
                (_, Some(sample)) => Quantity::Histogram(sample.value.clone()),
                _ => continue,
            };
            points.push((series.labels, value));
        }
        same(case, &points, false).map_err(|error| format!("over a range: {error}"))
    }

    /// With `@` at every selector the answer is the same, whatever time is asked about.
    fn also_at_a_fixed_time(case: &Case, expr: &Expr, source: &dyn Select) -> Result<(), String> {
        let depends_on_time = Cell::new(false);
        let mut fixed = expr.clone();
        let at = Some(At::Time(case.at));
        fixed.walk_mut(&mut |part| match &mut part.node {
            Node::Selector(selector) | Node::Window { selector, .. } => {
                selector.shift.at = selector.shift.at.or(at);
                false
            }
            Node::Subquery { shift, .. } => {
                shift.at = shift.at.or(at);
                false
            }
            Node::Call { function, .. } => {
                let depends = matches!(
                    function.name,
                    "time"
                        | "timestamp"
                        | "start_timestamp"
                        | "predict_linear"
                        | "minute"
                        | "hour"
                        | "day_of_month"
                        | "day_of_week"
                        | "day_of_year"
                        | "days_in_month"
                        | "month"
                        | "year"
                );
                depends_on_time.set(depends_on_time.get() || depends);
                // What describes a target is found by the time of the selector.
                true
            }
            _ => true,
        });
        let hour: Millis = 3_600_000;
        let others = [case.at, case.at + hour, case.at - hour, 0, case.at + 10 * hour];
        let times = if depends_on_time.get() { &others[..1] } else { &others[..] };
        for time in times {
            let answer = Question::new(source, &fixed)
                .at(*time)
                .map_err(|error| format!("with @ at {time}: {error}"))?;
            value(case, &answer).map_err(|error| format!("with @ at {time}: {error}"))?;
        }
        Ok(())
    }
}

fn failed(case: &Case, error: &str) -> Result<(), String> {
    if !case.fails {
        return Err(format!("fails: {error}"));
    }
    match &case.fail_text {
        Some(text) if !text.fits(error) => Err(format!("fails with: {error}")),
        _ => Ok(()),
    }
}

fn notes(case: &Case, notes: &[Note]) -> Result<(), String> {
    for (level, wanted, none) in
        [(Level::Warning, &case.warns, case.no_warn), (Level::Info, &case.infos, case.no_info)]
    {
        let told: Vec<String> = notes
            .iter()
            .filter(|note| note.level == level)
            .map(|note| note.told(&case.query))
            .collect();
        if none && !told.is_empty() {
            return Err(format!("should not say {told:?}"));
        }
        let unmet = wanted.iter().find(|text| !told.iter().any(|told| text.fits(told)));
        if let Some(text) = unmet {
            return Err(format!("should say {text:?}, says {told:?}"));
        }
        if wanted.is_empty() {
            continue;
        }
        if let Some(other) = told.iter().find(|told| !wanted.iter().any(|text| text.fits(told))) {
            return Err(format!("should not say {other}"));
        }
    }
    Ok(())
}

fn value(case: &Case, answer: &Answer) -> Result<(), String> {
    match (&answer.value, case) {
        (Value::Text(text), Case { text: Some(wanted), .. }) => {
            if text == wanted {
                Ok(())
            } else {
                Err(format!("{text:?}, not {wanted:?}"))
            }
        }
        (Value::Scalar(value), Case { scalar: Some(wanted), .. }) => {
            if close(*value, *wanted) {
                Ok(())
            } else {
                Err(format!("{value}, not {wanted}"))
            }
        }
        (Value::Vector(points), _) => {
            let points: Vec<(Labels, Quantity)> =
                points.iter().map(|p| (p.labels.clone(), p.value.clone())).collect();
            same(case, &points, case.ordered)
        }
        (Value::Matrix(_), Case { window: Some((from, step)), .. }) => {
            series(case, answer, |index| from + step * index as i64)
        }
        (other, _) => Err(format!("gives {other:?}")),
    }
}

/// Compares the values at one time.
fn same(case: &Case, points: &[(Labels, Quantity)], ordered: bool) -> Result<(), String> {
    let scalar = case.scalar.map(|value| (Labels::empty(), Item::Number(value)));
    let wanted: Vec<(Labels, Item)> = case
        .series
        .iter()
        .filter_map(|(labels, items)| Some((labels.clone(), items.first()?.clone())))
        .filter(|(_, item)| *item != Item::Missing)
        .chain(scalar)
        .collect();
    let fits = |(labels, item): &(Labels, Item), (own, value): &(Labels, Quantity)| {
        own == labels && fits(item, value)
    };
    let is_same = points.len() == wanted.len()
        && if ordered {
            wanted.iter().zip(points).all(|(wanted, point)| fits(wanted, point))
        } else {
            wanted.iter().all(|wanted| points.iter().any(|point| fits(wanted, point)))
        };
    if is_same { Ok(()) } else { Err(format!("{}\nnot {}", list(points), list(&wanted))) }
}

fn list<T: std::fmt::Debug>(all: &[(Labels, T)]) -> String {
    all.iter().map(|(labels, value)| format!("{labels} {value:?}")).collect::<Vec<_>>().join("\n  ")
}

/// Compares the values at many times.
fn series(case: &Case, answer: &Answer, time: impl Fn(usize) -> Millis) -> Result<(), String> {
    let Value::Matrix(all) = &answer.value else {
        return Err(format!("gives {:?}", answer.value));
    };
    let wanted: Vec<&(Labels, Vec<Item>)> = case
        .series
        .iter()
        .filter(|(_, items)| items.iter().any(|item| *item != Item::Missing))
        .collect();
    let is_same = |(labels, items): &(Labels, Vec<Item>)| {
        let Some(own) = all.iter().find(|series| series.labels == *labels) else { return false };
        let there = items.iter().filter(|item| **item != Item::Missing).count();
        there == own.samples.len() + own.histograms.len()
            && items.iter().enumerate().all(|(index, item)| {
                let at = time(index);
                let number = own.samples.iter().find(|sample| sample.at == at);
                let histogram = own.histograms.iter().find(|sample| sample.at == at);
                match (item, number, histogram) {
                    (Item::Missing, None, None) => true,
                    (_, Some(number), _) => fits(item, &Quantity::Number(number.value)),
                    (_, _, Some(sample)) => fits(item, &Quantity::Histogram(sample.value.clone())),
                    _ => false,
                }
            })
    };
    if wanted.len() == all.len() && wanted.iter().all(|wanted| is_same(wanted)) {
        return Ok(());
    }
    let own: Vec<String> = all
        .iter()
        .map(|series| {
            let numbers: Vec<String> =
                series.samples.iter().map(|s| format!("{}@{}", s.value, s.at)).collect();
            let histograms: Vec<String> =
                series.histograms.iter().map(|s| format!("{:?}@{}", s.value, s.at)).collect();
            format!("{} {} {}", series.labels, numbers.join(" "), histograms.join(" "))
        })
        .collect();
    Err(format!("{}\nnot {}", own.join("\n  "), list(&case.series)))
}

fn fits(item: &Item, value: &Quantity) -> bool {
    match (item, value) {
        (Item::Number(wanted), Quantity::Number(value)) => close(*value, *wanted),
        (Item::Histogram { value: wanted, tells_reset }, Quantity::Histogram(own)) => {
            let buckets = |own: &[Bucket], wanted: &[Bucket]| {
                own.len() == wanted.len()
                    && own.iter().zip(wanted).all(|(own, wanted)| {
                        own.index == wanted.index && close(own.count, wanted.count)
                    })
            };
            own.schema == wanted.schema
                && (!tells_reset || own.hint == wanted.hint)
                && close(own.count, wanted.count)
                && close(own.sum, wanted.sum)
                && close(own.zero_threshold, wanted.zero_threshold)
                && close(own.zero_count, wanted.zero_count)
                && own.bounds == wanted.bounds
                && buckets(&own.positive, &wanted.positive)
                && buckets(&own.negative, &wanted.negative)
        }
        _ => false,
    }
}

/// Whether two numbers are as close as Prometheus's own tests ask for.
fn close(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a.to_bits() == b.to_bits() || a == b {
        return true;
    }
    let (all, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || all < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / all.min(f64::MAX) < 1e-6
}

fn case(line: &str, block: &[&str]) -> Result<Case, String> {
    let (head, rest) = line.split_once(char::is_whitespace).ok_or("a command")?;
    let mut case = Case::default();
    match head {
        "eval_fail" => case.fails = true,
        "eval_warn" => case.warns.push(Text::Any),
        "eval_info" => case.infos.push(Text::Any),
        "eval_ordered" => case.ordered = true,
        _ => {}
    }
    let rest = rest.trim();
    if let Some(rest) = rest.strip_prefix("instant at ") {
        let (at, query) = rest.trim().split_once(char::is_whitespace).ok_or("a time")?;
        case.at = millis(at).ok_or("a time")?;
        query.trim().clone_into(&mut case.query);
    } else {
        let rest = rest.strip_prefix("range from ").ok_or("instant or range")?;
        let (from, rest) = rest.split_once(" to ").ok_or("to")?;
        let (to, rest) = rest.split_once(" step ").ok_or("step")?;
        let (step, query) = rest.trim().split_once(char::is_whitespace).ok_or("a query")?;
        let time = |text: &str| millis(text.trim()).ok_or("a time");
        case.range = Some((time(from)?, time(to)?, time(step)?));
        query.trim().clone_into(&mut case.query);
    }
    for line in block {
        if let Some(expect) = line.strip_prefix("expect ") {
            let (what, rest) = expect.split_once(char::is_whitespace).unwrap_or((expect, ""));
            match what {
                "fail" => {
                    case.fails = true;
                    case.fail_text = Some(Text::of(rest)?);
                }
                "warn" => case.warns.push(Text::of(rest)?),
                "info" => case.infos.push(Text::of(rest)?),
                "no_warn" => case.no_warn = true,
                "no_info" => case.no_info = true,
                "ordered" => case.ordered = true,
                "string" => {
                    let quoted = rest.trim();
                    case.text = Some(quoted[1..quoted.len() - 1].to_owned());
                }
                "range" => {
                    let rest = rest.trim().strip_prefix("vector from ").ok_or("vector")?;
                    let (from, rest) = rest.split_once(" to ").ok_or("to")?;
                    let (_, step) = rest.split_once(" step ").ok_or("step")?;
                    let time = |text: &str| millis(text.trim()).ok_or("a time");
                    case.window = Some((time(from)?, time(step)?));
                }
                _ => return Err(format!("expect {what}")),
            }
        } else if let Some(text) = line.strip_prefix("expected_fail_message") {
            case.fail_text = Some(Text::Exact(text.trim().to_owned()));
        } else if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            case.fail_text = Some(Text::of(&format!("regex:{text}"))?);
        } else if let Some(value) = scalar(line) {
            case.scalar = Some(value);
        } else {
            let found = sequence::series(line).map_err(|error| format!("{line}: {error}"))?;
            case.series.push(found);
        }
    }
    Ok(case)
}

fn scalar(line: &str) -> Option<f64> {
    match parse(line).ok()?.node {
        Node::Number(value) => Some(value),
        Node::Negative(inner) => match inner.node {
            Node::Number(value) => Some(-value),
            _ => None,
        },
        Node::Positive(inner) => match inner.node {
            Node::Number(value) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

fn millis(text: &str) -> Option<Millis> {
    scalar(text).map(|seconds| (seconds * 1000.0).round() as Millis)
}
