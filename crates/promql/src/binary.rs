//! Two sides and an operator between them.

use std::collections::{HashMap, HashSet};

use series::{Labels, METRIC_NAME};

use crate::evaluate::{EvalError, Item};
use crate::expr::{BinaryOp, Matching, Side};

pub(crate) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Modulo => a % b,
        BinaryOp::Power => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::from(u8::from(compare(op, a, b))),
    }
}

fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => false,
    }
}

/// A value of a result, or nothing when a comparison filters it out.
fn outcome(op: BinaryOp, bool: bool, a: f64, b: f64) -> Option<f64> {
    if !op.is_comparison() || bool {
        Some(arithmetic(op, a, b))
    } else {
        compare(op, a, b).then_some(a)
    }
}

/// Whether the result is another metric than the one that went in.
fn renames(op: BinaryOp, bool: bool) -> bool {
    bool || !op.is_comparison()
}

pub(crate) fn with_scalar(
    op: BinaryOp,
    bool: bool,
    vector: Vec<Item>,
    scalar: f64,
    scalar_left: bool,
) -> Vec<Item> {
    let drops = renames(op, bool);
    let keep = |item: Item| {
        let (a, b) = if scalar_left { (scalar, item.value) } else { (item.value, scalar) };
        let value = outcome(op, bool, a, b)?;
        // A filter gives the value of the series, whichever side it stands on.
        let value = if drops { value } else { item.value };
        Some(Item { value, nameless: item.nameless || drops, ..item })
    };
    vector.into_iter().filter_map(keep).collect()
}

fn signature(labels: &Labels, matching: &Matching) -> Labels {
    let named = |name: &str| matching.labels.iter().any(|label| label == name);
    if matching.on {
        labels.keep(named)
    } else {
        labels.keep(|name| name != METRIC_NAME && !named(name))
    }
}

pub(crate) fn sets(
    op: BinaryOp,
    left: Vec<Item>,
    right: Vec<Item>,
    matching: &Matching,
) -> Vec<Item> {
    let key = |item: &Item| signature(&item.labels, matching);
    match op {
        BinaryOp::Or => {
            let known: HashSet<Labels> = left.iter().map(key).collect();
            let mut all = left;
            all.extend(right.into_iter().filter(|item| !known.contains(&key(item))));
            all
        }
        _ => {
            let known: HashSet<Labels> = right.iter().map(key).collect();
            let wanted = op == BinaryOp::And;
            left.into_iter().filter(|item| known.contains(&key(item)) == wanted).collect()
        }
    }
}

pub(crate) fn vectors(
    op: BinaryOp,
    bool: bool,
    left: Vec<Item>,
    right: Vec<Item>,
    matching: &Matching,
) -> Result<Vec<Item>, EvalError> {
    // The side that has one series for each group.
    let one_is_left = matching.many == Some(Side::Right);
    let (many, one) = if one_is_left { (right, left) } else { (left, right) };
    if many.is_empty() || one.is_empty() {
        return Ok(Vec::new());
    }
    let mut ones: HashMap<Labels, Item> = HashMap::with_capacity(one.len());
    for item in one {
        let group = signature(&item.labels, matching);
        if let Some(other) = ones.get(&group) {
            return Err(EvalError::ManyToMany {
                group,
                side: if one_is_left { "left" } else { "right" },
                one: other.labels.clone(),
                other: item.labels,
            });
        }
        ones.insert(group, item);
    }
    let mut results = Vec::with_capacity(many.len());
    let mut seen: HashSet<Labels> = HashSet::with_capacity(many.len());
    let drops = renames(op, bool);
    for item in many {
        let group = signature(&item.labels, matching);
        let Some(other) = ones.get(&group) else { continue };
        let (a, b) =
            if one_is_left { (other.value, item.value) } else { (item.value, other.value) };
        let kept = outcome(op, bool, a, b);
        let labels = match matching.many {
            None => {
                // Said of series that a comparison filters out too: the next value may keep them.
                if !seen.insert(group) {
                    return Err(EvalError::ManyToOne);
                }
                let named = |name: &str| matching.labels.iter().any(|label| label == name);
                item.labels.keep(|name| named(name) == matching.on)
            }
            Some(_) => {
                let take =
                    |labels: Labels, name: &String| labels.with(name, other.labels.get(name));
                matching.include.iter().fold(item.labels.clone(), take)
            }
        };
        let Some(value) = kept else { continue };
        let bare = if drops { labels.with(METRIC_NAME, "") } else { labels.clone() };
        if matching.many.is_some() && !seen.insert(bare) {
            return Err(EvalError::GroupNotUnique);
        }
        results.push(Item { labels, value, nameless: item.nameless || drops, at: None });
    }
    Ok(results)
}
