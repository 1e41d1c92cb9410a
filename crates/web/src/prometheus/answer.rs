//! What is said, in the shapes and error types of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use promql::{Answer, Kind, Level, ParseError, Quantity, Value};
use serde::Serialize;
use serde_json::json;
use series::{Histogram, Labels, METRIC_NAME, Millis, Sample};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub kind: ErrorType,
    pub message: String,
}

/// The kinds of errors that Prometheus tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorType {
    BadData,
    Execution,
    Timeout,
    Canceled,
    Internal,
}

impl ApiError {
    pub fn bad(message: String) -> Self {
        Self { kind: ErrorType::BadData, message }
    }

    pub fn parameter(name: &str, reason: &str) -> Self {
        Self::bad(format!("invalid parameter \"{name}\": {reason}"))
    }

    pub fn parse(name: &str, text: &str, error: &ParseError) -> Self {
        let (line, column) = error.position(text);
        Self::parameter(name, &format!("{line}:{column}: parse error: {error}"))
    }

    pub fn status(&self) -> StatusCode {
        match self.kind {
            ErrorType::BadData => StatusCode::BAD_REQUEST,
            ErrorType::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorType::Timeout | ErrorType::Canceled => StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Makes a response of an answer that was worked out elsewhere.
pub(crate) fn respond(
    answer: Result<Result<String, ApiError>, tokio::task::JoinError>,
) -> Response {
    let answer = answer.unwrap_or_else(|_| {
        let message = "the answer could not be worked out; the log says more".to_owned();
        Err(ApiError { kind: ErrorType::Internal, message })
    });
    let headers = [(header::CONTENT_TYPE, "application/json")];
    match answer {
        Ok(body) => (headers, body).into_response(),
        Err(error) => {
            let kind = match error.kind {
                ErrorType::BadData => "bad_data",
                ErrorType::Execution => "execution",
                ErrorType::Timeout => "timeout",
                ErrorType::Canceled => "canceled",
                ErrorType::Internal => "internal",
            };
            let body = json!({"status": "error", "errorType": kind, "error": error.message});
            (error.status(), headers, body.to_string()).into_response()
        }
    }
}

/// Writes an answer around its data.
pub(crate) fn success(data: &serde_json::Value) -> String {
    json!({"status": "success", "data": data}).to_string()
}

/// Writes a list, cut where it is longer than asked for.
pub(crate) fn limited<T: Serialize>(
    list: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    limit: Option<usize>,
) -> Result<String, super::ApiError> {
    let list = list.into_iter();
    let is_cut = limit.is_some_and(|limit| list.len() > limit);
    let data: Vec<T> = list.take(limit.unwrap_or(usize::MAX)).collect();
    let mut answer = json!({"status": "success", "data": data});
    if is_cut {
        answer["warnings"] = json!(["results truncated due to limit"]);
    }
    Ok(answer.to_string())
}

/// The name of a kind of value, as Prometheus' errors say it.
pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Scalar => "scalar",
        Kind::Vector => "instant vector",
        Kind::Matrix => "range vector",
        Kind::Text => "string",
    }
}

/// Writes the answer to a question, with what is odd about it.
pub(crate) fn answer(answer: &Answer, at: Millis, limit: Option<usize>, question: &str) -> String {
    let mut out = String::from(r#"{"status":"success","data":{"resultType":"#);
    let limit = limit.unwrap_or(usize::MAX);
    let mut is_cut = false;
    match &answer.value {
        Value::Scalar(number) => {
            out.push_str(r#""scalar","result":"#);
            pair(&mut out, at, *number);
        }
        Value::Text(text) => {
            out.push_str(r#""string","result":["#);
            time(&mut out, at);
            let _ = write!(out, ",{}]", json!(text));
        }
        Value::Vector(points) => {
            out.push_str(r#""vector","result":["#);
            is_cut = points.len() > limit;
            for (index, point) in points.iter().take(limit).enumerate() {
                metric(&mut out, index, &point.labels);
                match &point.value {
                    Quantity::Number(value) => {
                        out.push_str(",\"value\":");
                        pair(&mut out, at, *value);
                    }
                    Quantity::Histogram(value) => {
                        out.push_str(",\"histogram\":");
                        histogram(&mut out, at, value);
                    }
                }
                out.push('}');
            }
            out.push(']');
        }
        Value::Matrix(all) => {
            out.push_str(r#""matrix","result":["#);
            is_cut = all.len() > limit;
            for (index, own) in all.iter().take(limit).enumerate() {
                metric(&mut out, index, &own.labels);
                if !own.samples.is_empty() {
                    out.push_str(",\"values\":[");
                    for (index, sample) in own.samples.iter().enumerate() {
                        out.push_str(if index > 0 { "," } else { "" });
                        pair(&mut out, sample.at, sample.value);
                    }
                    out.push(']');
                }
                if !own.histograms.is_empty() {
                    out.push_str(",\"histograms\":[");
                    for (index, sample) in own.histograms.iter().enumerate() {
                        out.push_str(if index > 0 { "," } else { "" });
                        histogram(&mut out, sample.at, &sample.value);
                    }
                    out.push(']');
                }
                out.push('}');
            }
            out.push(']');
        }
    }
    out.push('}');
    let told = |level: Level| {
        let notes = answer.notes.iter().filter(move |note| note.level == level);
        notes.map(|note| note.told(question))
    };
    let cut = is_cut.then(|| "results truncated due to limit".to_owned());
    let warnings: Vec<String> = told(Level::Warning).chain(cut).collect();
    let infos: Vec<String> = told(Level::Info).collect();
    for (name, notes) in [("warnings", warnings), ("infos", infos)] {
        if !notes.is_empty() {
            let _ = write!(out, ",\"{name}\":{}", json!(notes));
        }
    }
    out.push('}');
    out
}

fn metric(out: &mut String, index: usize, labels: &Labels) {
    out.push_str(if index > 0 { ",{\"metric\":" } else { "{\"metric\":" });
    // A map of texts is always JSON.
    out.push_str(&serde_json::to_string(labels).unwrap_or_default());
}

/// Writes a native histogram: each bucket with how its ends belong to it.
fn histogram(out: &mut String, at: Millis, value: &Histogram) {
    out.push('[');
    time(out, at);
    out.push_str(",{\"count\":\"");
    number(out, value.count);
    out.push_str("\",\"sum\":\"");
    number(out, value.sum);
    out.push('"');
    let ranges: Vec<_> = value.ranges().into_iter().filter(|range| range.count != 0.0).collect();
    if !ranges.is_empty() {
        out.push_str(",\"buckets\":[");
        for (index, range) in ranges.iter().enumerate() {
            let ends = match (range.lower_inclusive, range.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let _ = write!(out, "{}[{ends},\"", if index > 0 { "," } else { "" });
            for (index, part) in [range.lower, range.upper, range.count].into_iter().enumerate() {
                out.push_str(if index > 0 { "\",\"" } else { "" });
                number(out, part);
            }
            out.push_str("\"]");
        }
        out.push(']');
    }
    out.push_str("}]");
}

fn pair(out: &mut String, at: Millis, value: f64) {
    out.push('[');
    time(out, at);
    out.push_str(",\"");
    number(out, value);
    out.push_str("\"]");
}

/// Writes seconds with as many decimals as there are milliseconds.
fn time(out: &mut String, at: Millis) {
    let sign = if at < 0 { "-" } else { "" };
    let (seconds, millis) = (at.unsigned_abs() / 1000, at.unsigned_abs() % 1000);
    let _ = write!(out, "{sign}{seconds}");
    if millis > 0 {
        let text = format!(".{millis:03}");
        out.push_str(text.trim_end_matches('0'));
    }
}

/// Writes a number as Prometheus' JSON does: very large and very small ones with an exponent.
pub(crate) fn number(out: &mut String, value: f64) {
    let size = value.abs();
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
    } else {
        let _ = write!(out, "{value}");
    }
}

/// Writes samples in the text format, one metric after the other.
pub(crate) fn exposition(samples: &BTreeMap<Labels, Sample>) -> String {
    let mut out = String::new();
    let mut last = None;
    for (labels, sample) in samples {
        let name = labels.get(METRIC_NAME);
        if last != Some(name) {
            let _ = writeln!(out, "# TYPE {name} untyped");
            last = Some(name);
        }
        out.push_str(name);
        out.push('{');
        // Prometheus says that nothing else is to be added, by a label of no value.
        let mut has_instance = false;
        for (index, (name, value)) in
            labels.iter().filter(|(name, _)| *name != METRIC_NAME).enumerate()
        {
            has_instance |= name == "instance";
            let comma = if index > 0 { "," } else { "" };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(out, "{comma}{name}=\"{value}\"");
        }
        if !has_instance {
            let comma = if out.ends_with('{') { "" } else { "," };
            let _ = write!(out, "{comma}instance=\"\"");
        }
        out.push_str("} ");
        number(&mut out, sample.value);
        let _ = writeln!(out, " {}", sample.at);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_writes_them() {
        let written = |value: f64| {
            let mut out = String::new();
            number(&mut out, value);
            out
        };
        assert_eq!(written(1.0), "1");
        assert_eq!(written(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(written(1e-7), "1e-07");
        assert_eq!(written(1.5e21), "1.5e+21");
        assert_eq!(written(123_456_789_012_345_680_000.0), "123456789012345680000");
        assert_eq!(written(f64::NEG_INFINITY), "-Inf");
        assert_eq!(written(f64::NAN), "NaN");
        assert_eq!(written(-0.0), "-0");
    }

    #[test]
    fn times_have_no_more_decimals_than_they_need() {
        let written = |at: Millis| {
            let mut out = String::new();
            time(&mut out, at);
            out
        };
        assert_eq!(written(1_435_781_430_781), "1435781430.781");
        assert_eq!(written(1_435_781_430_000), "1435781430");
        assert_eq!(written(1_500), "1.5");
        assert_eq!(written(-250), "-0.25");
    }
}
