//! Groups that become one value, or fewer series.

use std::collections::HashMap;

use series::{Labels, METRIC_NAME};

use crate::evaluate::{EvalError, Item, print};
use crate::expr::{AggregateOp, Grouping};
use crate::over_time::{mean, quantile, sum, variance};

/// What is given before the vector, evaluated.
pub(crate) enum Parameter {
    None,
    Number(f64),
    Text(String),
}

pub(crate) fn aggregate(
    op: AggregateOp,
    grouping: &Grouping,
    parameter: &Parameter,
    items: Vec<Item>,
    memo: &mut HashMap<Labels, Labels>,
) -> Result<Vec<Item>, EvalError> {
    let count = match (op, parameter) {
        (
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk,
            Parameter::Number(number),
        ) => {
            if number.is_nan() {
                return Err(EvalError::Parameter { reason: "Parameter value is NaN".to_owned() });
            }
            if number.abs() >= 9.2e18 {
                let reason = format!("Scalar value {number} overflows int64");
                return Err(EvalError::Parameter { reason });
            }
            if *number < 1.0 {
                return Ok(Vec::new());
            }
            *number as usize
        }
        _ => 0,
    };
    let mut order: Vec<Labels> = Vec::new();
    let mut groups: HashMap<Labels, Vec<Item>> = HashMap::new();
    for item in items {
        let mut key = match memo.get(&item.labels) {
            Some(key) => key.clone(),
            None => {
                let key = group(&item.labels, grouping);
                memo.insert(item.labels.clone(), key.clone());
                key
            }
        };
        if let (AggregateOp::CountValues, Parameter::Text(label)) = (op, parameter) {
            key = key.with(label, &print(item.value));
        }
        groups
            .entry(key)
            .or_insert_with_key(|key| {
                order.push(key.clone());
                Vec::new()
            })
            .push(item);
    }
    let mut results = Vec::new();
    for key in order {
        let Some(mut members) = groups.remove(&key) else { continue };
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                let down = op == AggregateOp::Topk;
                members.sort_by(|a, b| by_value(a.value, b.value, down));
                members.truncate(count);
                results.append(&mut members);
            }
            AggregateOp::Limitk => {
                members.truncate(count);
                results.append(&mut members);
            }
            _ => {
                let values: Vec<f64> = members.iter().map(|member| member.value).collect();
                let value = reduce(op, parameter, values);
                results.push(Item { labels: key, value, nameless: false, at: None });
            }
        }
    }
    Ok(results)
}

fn group(labels: &Labels, grouping: &Grouping) -> Labels {
    match grouping {
        Grouping::By(names) => labels.keep(|name| names.iter().any(|own| own == name)),
        Grouping::Without(names) => {
            labels.keep(|name| name != METRIC_NAME && !names.iter().any(|own| own == name))
        }
    }
}

/// Orders by value; what is not a number comes last either way.
pub(crate) fn by_value(a: f64, b: f64, down: bool) -> std::cmp::Ordering {
    let by_number = if down { b.total_cmp(&a) } else { a.total_cmp(&b) };
    // Zero and minus zero are the same value.
    let by_number = if a == b { std::cmp::Ordering::Equal } else { by_number };
    a.is_nan().cmp(&b.is_nan()).then(by_number)
}

fn reduce(op: AggregateOp, parameter: &Parameter, mut values: Vec<f64>) -> f64 {
    match op {
        AggregateOp::Sum => sum(&values),
        AggregateOp::Avg => mean(&values),
        AggregateOp::Min => extreme(&values, |new, old| new < old),
        AggregateOp::Max => extreme(&values, |new, old| new > old),
        AggregateOp::Group => 1.0,
        AggregateOp::Stddev => variance(&values).sqrt(),
        AggregateOp::Stdvar => variance(&values),
        AggregateOp::Quantile => {
            let wanted = if let Parameter::Number(wanted) = parameter { *wanted } else { f64::NAN };
            quantile(wanted, &mut values)
        }
        _ => values.len() as f64,
    }
}

/// The value that beats all others; a number beats what is not a number.
pub(crate) fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values.first().copied().unwrap_or(f64::NAN);
    for value in values {
        if beats(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}
