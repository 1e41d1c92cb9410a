//! `info`: labels of metrics that describe a target, added to the series of that target.

use std::collections::HashMap;

use series::{Labels, METRIC_NAME, Matcher, Millis, Op};

use crate::column::{Cell, Column, Grid, Quantity};
use crate::evaluate::{EvalError, Evaluator, merged};
use crate::expr::{Border, Expr, Node, Selector, Shift};

/// The labels by which a series and what describes its target belong together.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The metric that describes a target when none is named.
const TARGET_INFO: &str = "target_info";

/// A series that describes a target, with the times of its samples.
type Described = (Column, Vec<Millis>);

/// Which metrics describe targets, and which of their labels are wanted.
struct Wanted {
    names: Vec<Matcher>,
    labels: Vec<Matcher>,
}

impl Wanted {
    fn of(argument: Option<&Expr>) -> Self {
        let matchers = match argument.map(|argument| &argument.node) {
            Some(Node::Selector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, labels): (Vec<Matcher>, Vec<Matcher>) =
            matchers.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if names.iter().all(|name| matches!(name.op(), Op::NotEqual | Op::NotMatches)) {
            // What only says what is not meant leaves all metrics that are called so.
            names.extend(Matcher::new(METRIC_NAME, Op::Matches, ".+_info"));
        }
        Self { names, labels }
    }

    /// Whether this series describes targets itself.
    fn describes(&self, labels: &Labels) -> bool {
        self.names.iter().all(|name| name.fits(labels))
    }

    fn wants(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|matcher| matcher.name() == label)
    }

    /// Whether a series without any description may stay.
    fn allows_none(&self) -> bool {
        self.labels.iter().all(|matcher| matcher.matches(""))
    }
}

impl Evaluator<'_> {
    pub(crate) fn info(&self, arguments: &[Expr], grid: Grid) -> Result<Vec<Column>, EvalError> {
        let Some(base) = arguments.first() else { return Ok(Vec::new()) };
        let wanted = Wanted::of(arguments.get(1));
        let columns = self.columns(base, grid, false)?;
        if columns.is_empty() {
            return Ok(columns);
        }
        // What described a target is asked of the time that the samples are from.
        let mut shifts = Vec::new();
        shifts_of_first_selector(base, &mut shifts);
        let times: Vec<Millis> = grid
            .times()
            .map(|now| shifts.iter().fold(now, |now, shift| self.shifted(shift, now)))
            .collect();
        let described = self.described(&wanted, &times)?;
        let mut results: Vec<Column> = Vec::new();
        for column in columns {
            if wanted.describes(&column.labels) {
                results.push(column);
                continue;
            }
            let target = target(&column.labels);
            let describing: &[Described] = if target.is_empty() {
                &[]
            } else {
                described.get(&target).map(Vec::as_slice).unwrap_or_default()
            };
            let mut places: HashMap<Labels, usize> = HashMap::new();
            for step in 0..grid.count {
                if column.cells[step].is_none() {
                    continue;
                }
                let Some(labels) = enriched(&column, describing, &wanted, step)? else { continue };
                let place = *places.entry(labels).or_insert_with_key(|labels| {
                    let cells: Vec<Cell> = vec![None; grid.count];
                    let (labels, nameless) = (labels.clone(), column.nameless);
                    results.push(Column { labels, nameless, cells });
                    results.len() - 1
                });
                results[place].cells[step].clone_from(&column.cells[step]);
            }
        }
        merged(results, false)
    }

    /// The series that describe targets, by the target.
    fn described(
        &self,
        wanted: &Wanted,
        times: &[Millis],
    ) -> Result<HashMap<Labels, Vec<Described>>, EvalError> {
        let matchers = wanted.names.iter().chain(&wanted.labels).cloned().collect();
        let mut by_target: HashMap<Labels, Vec<Described>> = HashMap::new();
        let selector = Selector { matchers, shift: Shift::default(), border: Border::Plain };
        let expr = Expr {
            node: Node::Selector(selector.clone()),
            span: crate::expr::Span { start: 0, end: 0 },
        };
        // The times may all be the same one, or lie at equal distances.
        let step = match times {
            [first, second, ..] => second - first,
            _ => 0,
        };
        let Some(first) = times.first() else { return Ok(by_target) };
        let grid = Grid { from: *first, step, count: times.len() };
        for (column, taken) in self.latest(&selector, &expr, grid, false)? {
            let is_number = |cell: &Cell| !matches!(cell, Some(Quantity::Histogram(_)));
            if !column.cells.iter().all(is_number) {
                let reason = format!(
                    "this should be an info metric with numbers, but {} has histograms",
                    column.labels
                );
                return Err(EvalError::Parameter { reason });
            }
            by_target.entry(target(&column.labels)).or_default().push((column, taken));
        }
        Ok(by_target)
    }
}

fn target(labels: &Labels) -> Labels {
    labels.keep(|label| IDENTIFYING.contains(&label))
}

/// The labels of a series with those that describe its target at one time, or nothing when the
/// series does not fit what is wanted.
fn enriched(
    base: &Column,
    describing: &[Described],
    wanted: &Wanted,
    step: usize,
) -> Result<Option<Labels>, EvalError> {
    // Of each metric the latest sample counts.
    let mut latest: HashMap<&str, (&Column, Millis)> = HashMap::new();
    for (column, taken) in describing.iter().filter(|(column, _)| column.cells[step].is_some()) {
        let known = latest.entry(column.metric()).or_insert((column, taken[step]));
        if taken[step] > known.1 {
            *known = (column, taken[step]);
        } else if taken[step] == known.1 && !std::ptr::eq(known.0, column) {
            let reason = format!(
                "found duplicate series for info metric: existing {}, new {}",
                known.0.labels, column.labels
            );
            return Err(EvalError::Parameter { reason });
        }
    }
    if latest.is_empty() {
        return Ok(wanted.allows_none().then(|| base.labels.clone()));
    }
    let mut labels = base.labels.clone();
    let mut added: HashMap<&str, &str> = HashMap::new();
    for (column, _) in latest.values() {
        for (name, value) in column.labels.iter() {
            let own = name == METRIC_NAME
                || IDENTIFYING.contains(&name)
                || !base.labels.get(name).is_empty();
            if own || !wanted.wants(name) {
                continue;
            }
            match added.insert(name, value) {
                Some(other) if other != value => {
                    let reason = format!("conflicting label: {name}");
                    return Err(EvalError::Parameter { reason });
                }
                _ => labels = labels.with(name, value),
            }
        }
    }
    Ok(Some(labels))
}

/// How the time of the samples follows from the time that is asked about.
fn shifts_of_first_selector(expr: &Expr, shifts: &mut Vec<Shift>) -> bool {
    match &expr.node {
        Node::Number(_) | Node::Text(_) => false,
        Node::Selector(selector) | Node::Window { selector, .. } => {
            shifts.push(selector.shift.clone());
            true
        }
        Node::Subquery { expr, shift, .. } => {
            shifts.push(shift.clone());
            shifts_of_first_selector(expr, shifts)
        }
        Node::Negative(expr) | Node::Positive(expr) | Node::Paren(expr) => {
            shifts_of_first_selector(expr, shifts)
        }
        Node::Binary { left, right, .. } => {
            shifts_of_first_selector(left, shifts) || shifts_of_first_selector(right, shifts)
        }
        Node::Aggregate { expr, .. } => shifts_of_first_selector(expr, shifts),
        Node::Call { arguments, .. } => {
            arguments.iter().any(|argument| shifts_of_first_selector(argument, shifts))
        }
    }
}
