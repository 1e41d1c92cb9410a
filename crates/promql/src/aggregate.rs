//! Groups that become one value, or fewer series.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};

use series::{Histogram, Labels, METRIC_NAME};

use crate::column::{Cell, Column, Quantity};
use crate::evaluate::EvalError;
use crate::expr::{AggregateOp, Grouping, Span};
use crate::note::Notes;
use crate::over_time::{histogram_sum, mean, quantile, sum, variance};
use crate::print;

/// What is given before the vector, evaluated.
pub(crate) enum Parameter {
    None,
    Numbers(Vec<f64>),
    Text(String),
}

/// An aggregation and where its parts stand in the question.
pub(crate) struct Aggregation<'a> {
    pub op: AggregateOp,
    pub grouping: &'a Grouping,
    pub parameter: Parameter,
    pub parameter_span: Span,
    pub span: Span,
    pub notes: &'a Notes,
}

/// Columns that belong together.
struct Group {
    labels: Labels,
    members: Vec<usize>,
}

impl Aggregation<'_> {
    /// Aggregates columns of `count` cells.
    pub(crate) fn of(&self, columns: Vec<Column>, count: usize) -> Result<Vec<Column>, EvalError> {
        let numbers: &[f64] =
            if let Parameter::Numbers(numbers) = &self.parameter { numbers } else { &[] };
        self.check(numbers)?;
        let groups = self.groups(&columns);
        match self.op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                Ok(self.extremes(columns, &groups, numbers, count))
            }
            AggregateOp::Limitk => Ok(limited(columns, &groups, numbers, count)),
            AggregateOp::LimitRatio => Ok(share(columns, numbers)),
            AggregateOp::CountValues => Ok(self.count_values(&columns, &groups, count)),
            _ => Ok(self.reduced(&columns, groups, numbers, count)),
        }
    }

    fn check(&self, numbers: &[f64]) -> Result<(), EvalError> {
        let refuse = |reason: String| Err(EvalError::Parameter { reason });
        match self.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                if numbers.iter().any(|number| number.is_nan()) {
                    return refuse("Parameter value is NaN".to_owned());
                }
                if let Some(number) = numbers.iter().find(|number| number.abs() >= 9.2e18) {
                    let number = series::histogram::short(*number);
                    return refuse(format!("Scalar value {number} overflows int64"));
                }
            }
            AggregateOp::LimitRatio => {
                if numbers.iter().any(|number| number.is_nan()) {
                    return refuse("Ratio value is NaN".to_owned());
                }
                for number in numbers.iter().filter(|number| number.abs() > 1.0) {
                    self.notes.bad_ratio(self.parameter_span, *number, number.signum());
                }
            }
            AggregateOp::Quantile => {
                for number in numbers.iter().filter(|number| !(0.0..=1.0).contains(*number)) {
                    self.notes.bad_quantile(self.parameter_span, *number);
                }
            }
            AggregateOp::CountValues => {
                if matches!(&self.parameter, Parameter::Text(label) if label.is_empty()) {
                    return refuse("invalid label name \"\"".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn groups(&self, columns: &[Column]) -> Vec<Group> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (member, column) in columns.iter().enumerate() {
            let labels = match self.grouping {
                Grouping::By(names) => {
                    column.labels.keep(|name| names.iter().any(|own| own == name))
                }
                Grouping::Without(names) => column
                    .labels
                    .keep(|name| name != METRIC_NAME && !names.iter().any(|own| own == name)),
            };
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                groups.push(Group { labels: labels.clone(), members: Vec::new() });
                groups.len() - 1
            });
            groups[place].members.push(member);
        }
        groups
    }

    fn reduced(
        &self,
        columns: &[Column],
        groups: Vec<Group>,
        parameters: &[f64],
        count: usize,
    ) -> Vec<Column> {
        let mut values: Vec<f64> = Vec::new();
        let mut histograms: Vec<&Histogram> = Vec::new();
        let reduce = |group: Group| {
            let cells = (0..count)
                .map(|step| {
                    values.clear();
                    histograms.clear();
                    for member in &group.members {
                        match &columns[*member].cells[step] {
                            Some(Quantity::Number(value)) => values.push(*value),
                            Some(Quantity::Histogram(histogram)) => histograms.push(histogram),
                            None => {}
                        }
                    }
                    self.reduce(&mut values, &histograms, parameters.get(step).copied())
                })
                .collect();
            Column::new(group.labels, cells)
        };
        groups.into_iter().map(reduce).collect()
    }

    fn reduce(
        &self,
        values: &mut [f64],
        histograms: &[&Histogram],
        parameter: Option<f64>,
    ) -> Cell {
        if values.is_empty() && histograms.is_empty() {
            return None;
        }
        let all = values.len() + histograms.len();
        match self.op {
            AggregateOp::Group => return Some(Quantity::Number(1.0)),
            AggregateOp::Count => return Some(Quantity::Number(all as f64)),
            AggregateOp::Sum | AggregateOp::Avg => {
                let is_mean = self.op == AggregateOp::Avg;
                if histograms.is_empty() {
                    let value = if is_mean { mean(values) } else { sum(values) };
                    return Some(Quantity::Number(value));
                }
                if !values.is_empty() {
                    self.notes.mixed_in_aggregation(self.span);
                    return None;
                }
                return histogram_sum(histograms, is_mean, self.span, self.notes, "")
                    .map(Quantity::histogram);
            }
            _ => {}
        }
        if !histograms.is_empty() {
            self.notes.ignored_in_aggregation(self.span, self.op);
        }
        if values.is_empty() {
            return None;
        }
        Some(Quantity::Number(match self.op {
            AggregateOp::Min => extreme(values, |new, old| new < old),
            AggregateOp::Max => extreme(values, |new, old| new > old),
            AggregateOp::Stddev => variance(values).sqrt(),
            AggregateOp::Stdvar => variance(values),
            _ => quantile(parameter.unwrap_or(f64::NAN), values),
        }))
    }

    fn extremes(
        &self,
        columns: Vec<Column>,
        groups: &[Group],
        numbers: &[f64],
        count: usize,
    ) -> Vec<Column> {
        let down = self.op == AggregateOp::Topk;
        let mut kept: Vec<Vec<Cell>> = columns.iter().map(|_| vec![None; count]).collect();
        let mut order = Vec::new();
        for (step, number) in numbers.iter().enumerate().take(count) {
            let most = number.max(0.0) as usize;
            for group in groups {
                let mut ranked: Vec<(usize, f64)> = Vec::with_capacity(group.members.len());
                for member in &group.members {
                    match &columns[*member].cells[step] {
                        Some(Quantity::Number(value)) => ranked.push((*member, *value)),
                        Some(Quantity::Histogram(_)) => {
                            self.notes.ignored_in_aggregation(self.span, self.op);
                        }
                        None => {}
                    }
                }
                ranked.sort_by(|a, b| by_value(a.1, b.1, down));
                for (member, value) in ranked.into_iter().take(most) {
                    kept[member][step] = Some(Quantity::Number(value));
                    if count == 1 {
                        order.push(member);
                    }
                }
            }
        }
        let mut columns: Vec<Option<Column>> = columns
            .into_iter()
            .zip(kept)
            .map(|(column, cells)| Some(Column { cells, ..column }))
            .collect();
        if count == 1 {
            return order.into_iter().filter_map(|member| columns[member].take()).collect();
        }
        columns.into_iter().flatten().filter(|column| !column.is_empty()).collect()
    }

    fn count_values(&self, columns: &[Column], groups: &[Group], count: usize) -> Vec<Column> {
        let Parameter::Text(label) = &self.parameter else { return Vec::new() };
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut counted: Vec<Column> = Vec::new();
        for step in 0..count {
            for group in groups {
                for member in &group.members {
                    let Some(cell) = &columns[*member].cells[step] else { continue };
                    let value = match cell {
                        Quantity::Number(value) => print::number(*value),
                        Quantity::Histogram(histogram) => histogram.to_string(),
                    };
                    let labels = group.labels.with(label, &value);
                    let place = *places.entry(labels).or_insert_with_key(|labels| {
                        counted.push(Column::new(labels.clone(), vec![None; count]));
                        counted.len() - 1
                    });
                    let cell = &mut counted[place].cells[step];
                    let before = cell.as_ref().and_then(Quantity::number).unwrap_or(0.0);
                    *cell = Some(Quantity::Number(before + 1.0));
                }
            }
        }
        counted
    }
}

/// Keeps a share of the series, always the same ones.
fn share(columns: Vec<Column>, numbers: &[f64]) -> Vec<Column> {
    let keep = |mut column: Column| {
        let place = place_of(&column.labels);
        for (cell, ratio) in column.cells.iter_mut().zip(numbers) {
            let ratio = ratio.clamp(-1.0, 1.0);
            // The part for a negative ratio is what the positive rest leaves out.
            let is_in = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
            if !is_in {
                *cell = None;
            }
        }
        column
    };
    columns.into_iter().map(keep).filter(|column| !column.is_empty()).collect()
}

fn limited(columns: Vec<Column>, groups: &[Group], numbers: &[f64], count: usize) -> Vec<Column> {
    let mut columns = columns;
    for group in groups {
        for step in 0..count {
            let mut left = numbers.get(step).map_or(0, |number| number.max(0.0) as usize);
            for member in &group.members {
                let cell = &mut columns[*member].cells[step];
                if cell.is_some() {
                    if left == 0 {
                        *cell = None;
                    }
                    left = left.saturating_sub(1);
                }
            }
        }
    }
    columns.retain(|column| !column.is_empty());
    columns
}

/// Where labels stand between 0 and 1: evenly spread, and always the same for the same labels.
fn place_of(labels: &Labels) -> f64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for (name, value) in labels.iter() {
        (name, value).hash(&mut hasher);
    }
    hasher.finish() as f64 / u64::MAX as f64
}

/// Orders by value; what is not a number comes last either way.
pub(crate) fn by_value(a: f64, b: f64, down: bool) -> std::cmp::Ordering {
    let by_number = if down { b.total_cmp(&a) } else { a.total_cmp(&b) };
    // Zero and minus zero are the same value.
    let by_number = if a == b { std::cmp::Ordering::Equal } else { by_number };
    a.is_nan().cmp(&b.is_nan()).then(by_number)
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
