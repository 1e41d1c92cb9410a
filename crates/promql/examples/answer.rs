//! Answers questions about the samples of a file, one question a line: for comparisons.
//!
//! `answer FILE` reads samples in OpenMetrics from the file and from its input lines of JSON:
//! `{"query": "up", "from": 1.5, "to": 1.5, "step": 0}`; times are in seconds, and a step of 0 asks
//! at one time. It writes one line of JSON for each.

use std::io::{BufRead as _, Write as _};

use promql::{Quantity, Question, Value, parse, print};
use serde_json::{Value as Json, json};
use series::exposition::{Format, read};
use series::{Memory, Series};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: answer FILE")?;
    let mut memory = Memory::default();
    for told in read(&std::fs::read_to_string(path)?, Format::OpenMetricsUnjudged)?.samples {
        memory.number(&told.labels, told.at.unwrap_or(0), told.value);
    }
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: Json = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(&memory, &asked))?;
        out.flush()?;
    }
    Ok(())
}

fn answer(memory: &Memory, asked: &Json) -> Json {
    let expr = match parse(asked["query"].as_str().unwrap_or_default()) {
        Ok(expr) => expr,
        Err(error) => return json!({"error": "bad_data", "text": error.to_string()}),
    };
    let millis = |key: &str| (asked[key].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
    let question = Question::new(memory, &expr);
    let found = match millis("step") {
        0 => question.at(millis("from")),
        step => question.over(millis("from"), millis("to"), step),
    };
    match found.map(|answer| answer.value) {
        Ok(Value::Scalar(value)) => json!({"scalar": print::number(value)}),
        Ok(Value::Text(text)) => json!({"text": text}),
        Ok(Value::Vector(points)) => {
            let points = points.iter().map(|point| {
                let value = match &point.value {
                    Quantity::Number(value) => print::number(*value),
                    Quantity::Histogram(histogram) => histogram.to_string(),
                };
                json!([point.labels, [[0, value]]])
            });
            json!({"series": points.collect::<Vec<_>>()})
        }
        Ok(Value::Matrix(all)) => json!({"series": all.iter().map(of).collect::<Vec<_>>()}),
        Err(error) => json!({"error": "execution", "text": error.to_string()}),
    }
}

fn of(series: &Series) -> Json {
    let values: Vec<Json> = series
        .samples
        .iter()
        .map(|sample| json!([sample.at, print::number(sample.value)]))
        .collect();
    json!([series.labels, values])
}
