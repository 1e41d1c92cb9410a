//! Two sides and an operator between them.

use std::collections::HashMap;

use series::{Labels, METRIC_NAME};

use crate::column::{Cell, Column, Quantity};
use crate::evaluate::EvalError;
use crate::expr::{BinaryOp, Matching, Side, Span};
use crate::note::Notes;

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

/// An operator and where it stands.
pub(crate) struct Operation<'a> {
    pub op: BinaryOp,
    /// Whether a comparison gives 0 and 1 instead of filtering.
    pub bool: bool,
    pub span: Span,
    pub notes: &'a Notes,
}

impl Operation<'_> {
    /// Whether the result is another metric than the one that went in.
    fn renames(&self) -> bool {
        self.bool || !(self.op.is_comparison() || self.op.is_trim())
    }

    /// The value of a result, or nothing when it is filtered out or makes no sense.
    fn outcome(&self, left: &Quantity, right: &Quantity) -> Cell {
        use Quantity::{Histogram, Number};
        let op = self.op;
        let compared = |holds: bool| {
            if self.bool {
                Some(Number(f64::from(u8::from(holds))))
            } else {
                holds.then(|| left.clone())
            }
        };
        match (left, right) {
            (Number(_), Number(_)) if op.is_trim() => self.incompatible("float", "float"),
            (Number(a), Number(b)) if op.is_comparison() => compared(compare(op, *a, *b)),
            (Number(a), Number(b)) => Some(Number(arithmetic(op, *a, *b))),
            (Histogram(a), Number(b)) => match op {
                BinaryOp::Multiply => Some(Quantity::histogram(a.scaled(*b))),
                BinaryOp::Divide => Some(Quantity::histogram(a.divided(*b))),
                BinaryOp::TrimUpper => Some(Quantity::histogram(a.trimmed(*b, true))),
                BinaryOp::TrimLower => Some(Quantity::histogram(a.trimmed(*b, false))),
                _ => self.incompatible("histogram", "float"),
            },
            (Number(a), Histogram(b)) => match op {
                BinaryOp::Multiply => Some(Quantity::histogram(b.scaled(*a))),
                _ => self.incompatible("float", "histogram"),
            },
            (Histogram(a), Histogram(b)) => {
                let (merged, during) = match op {
                    BinaryOp::Add => (a.plus(b), "addition"),
                    BinaryOp::Subtract => (a.minus(b), "subtraction"),
                    BinaryOp::Equal => return compared(a.is_same(b)),
                    BinaryOp::NotEqual => return compared(!a.is_same(b)),
                    _ => return self.incompatible("histogram", "histogram"),
                };
                let Ok((result, merged)) = merged else {
                    self.notes.incompatible_layout(self.span, op);
                    return None;
                };
                if merged.conflicting_resets {
                    self.notes.reset_conflict(self.span, during);
                }
                if merged.bounds_reconciled {
                    self.notes.bounds_reconciled(self.span, during);
                }
                Some(Quantity::histogram(result))
            }
        }
    }

    fn incompatible(&self, left: &str, right: &str) -> Cell {
        self.notes.incompatible_types(self.span, self.op, left, right);
        None
    }

    pub(crate) fn with_scalar(
        &self,
        columns: Vec<Column>,
        scalars: &[f64],
        scalar_left: bool,
    ) -> Vec<Column> {
        let change = |mut column: Column| {
            for (cell, scalar) in column.cells.iter_mut().zip(scalars) {
                let Some(own) = cell else { continue };
                let scalar = Quantity::Number(*scalar);
                let result = if scalar_left {
                    self.outcome(&scalar, own)
                } else {
                    self.outcome(own, &scalar)
                };
                let filters = self.op.is_comparison() && !self.bool;
                // A filter gives the value of the series, whichever side it stands on.
                *cell = if filters { result.map(|_| own.clone()) } else { result };
            }
            column.nameless |= self.renames();
            column
        };
        columns.into_iter().map(change).filter(|column| !column.is_empty()).collect()
    }

    pub(crate) fn vectors(
        &self,
        left: Vec<Column>,
        right: Vec<Column>,
        matching: &Matching,
        count: usize,
    ) -> Result<Vec<Column>, EvalError> {
        // The side that has one series for each group.
        let one_is_left = matching.many == Some(Side::Right);
        let (many, one) = if one_is_left { (right, left) } else { (left, right) };
        // The side with many counts as the left one, on whichever side it is written.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let mut groups = Groups::default();
        let many_groups: Vec<usize> =
            many.iter().map(|column| groups.of(&column.labels, matching)).collect();
        let one_groups: Vec<usize> =
            one.iter().map(|column| groups.of(&column.labels, matching)).collect();
        let mut results = Results {
            matching,
            renames: self.renames(),
            bool: self.bool,
            columns: Vec::new(),
            pairs: HashMap::new(),
            places: HashMap::new(),
            count,
        };
        // For each group the column of the one side that is there at this step.
        let mut present: Vec<Option<usize>> = vec![None; groups.all.len()];
        let mut matched: Vec<bool> = vec![false; groups.all.len()];
        for step in 0..count {
            let there = |columns: &[Column]| columns.iter().any(|c| c.cells[step].is_some());
            // With nothing on one side and nothing to fill it, the other side need not be unique.
            if fill_many.is_none() && fill_one.is_none() && !(there(&many) && there(&one)) {
                continue;
            }
            present.fill(None);
            matched.fill(false);
            for (place, column) in one.iter().enumerate() {
                if column.cells[step].is_none() {
                    continue;
                }
                let group = one_groups[place];
                if let Some(other) = present[group] {
                    let mut both = [braced(&one[other].labels), braced(&column.labels)];
                    both.sort();
                    let [first, second] = both;
                    return Err(EvalError::ManyToMany {
                        group: braced(&groups.all[group]),
                        side: if one_is_left { "left" } else { "right" },
                        one: first,
                        other: second,
                    });
                }
                present[group] = Some(place);
            }
            for (place, column) in many.iter().enumerate() {
                let Some(own) = &column.cells[step] else { continue };
                let group = many_groups[place];
                let filled = fill_one.map(Quantity::Number);
                let partner = present[group];
                let other = match partner {
                    Some(place) => one[place].cells[step].as_ref(),
                    None => filled.as_ref(),
                };
                let Some(other) = other else { continue };
                // Said of series that a comparison filters out too: the next value may keep them.
                if matching.many.is_none() && matched[group] {
                    return Err(EvalError::ManyToOne);
                }
                matched[group] = true;
                let kept =
                    if one_is_left { self.outcome(other, own) } else { self.outcome(own, other) };
                let Some(value) = kept else { continue };
                let partner_labels = partner.map_or(&groups.all[group], |place| &one[place].labels);
                let key = (Some(place), partner);
                results.put(key, column, partner_labels, step, value)?;
            }
            let Some(fill) = fill_many.map(Quantity::Number) else { continue };
            for group in 0..groups.all.len() {
                let Some(place) = present[group].filter(|_| !matched[group]) else { continue };
                let Some(own) = &one[place].cells[step] else { continue };
                let kept =
                    if one_is_left { self.outcome(own, &fill) } else { self.outcome(&fill, own) };
                let Some(value) = kept else { continue };
                let missing = Column::new(groups.all[group].clone(), Vec::new());
                results.put((None, Some(place)), &missing, &one[place].labels, step, value)?;
            }
        }
        Ok(results.columns)
    }
}

/// The labels by which the series of two sides belong together.
#[derive(Default)]
struct Groups {
    all: Vec<Labels>,
    places: HashMap<Labels, usize>,
}

impl Groups {
    fn of(&mut self, labels: &Labels, matching: &Matching) -> usize {
        let group = signature(labels, matching);
        *self.places.entry(group).or_insert_with_key(|group| {
            self.all.push(group.clone());
            self.all.len() - 1
        })
    }
}

/// The columns of a result as they come up.
struct Results<'a> {
    matching: &'a Matching,
    renames: bool,
    bool: bool,
    columns: Vec<Column>,
    pairs: HashMap<(Option<usize>, Option<usize>), usize>,
    places: HashMap<(Labels, bool), usize>,
    count: usize,
}

impl Results<'_> {
    fn put(
        &mut self,
        key: (Option<usize>, Option<usize>),
        many: &Column,
        one: &Labels,
        step: usize,
        value: Quantity,
    ) -> Result<(), EvalError> {
        let place = match self.pairs.get(&key) {
            Some(place) => *place,
            None => {
                let labels = self.labels(&many.labels, one);
                let nameless = many.nameless || self.renames;
                let place = *self.places.entry((labels, nameless)).or_insert_with_key(
                    |(labels, nameless)| {
                        let cells = vec![None; self.count];
                        let (labels, nameless) = (labels.clone(), *nameless);
                        self.columns.push(Column { labels, nameless, cells });
                        self.columns.len() - 1
                    },
                );
                self.pairs.insert(key, place);
                place
            }
        };
        let cell = &mut self.columns[place].cells[step];
        if cell.is_some() {
            return Err(if self.matching.many.is_some() {
                EvalError::GroupNotUnique
            } else {
                EvalError::SameLabels { labels: self.columns[place].labels.clone() }
            });
        }
        *cell = Some(value);
        Ok(())
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let named = |name: &str| self.matching.labels.iter().any(|label| label == name);
        // A name that goes away anyhow must not keep apart what is the same without it.
        let many = if self.renames && !self.bool {
            many.keep(|label| !crate::column::is_of_metric(label))
        } else {
            many.clone()
        };
        if self.matching.many.is_none() {
            return many.keep(|name| named(name) == self.matching.on);
        }
        let take = |labels: Labels, name: &String| labels.with(name, one.get(name));
        self.matching.include.iter().fold(many, take)
    }
}

fn signature(labels: &Labels, matching: &Matching) -> Labels {
    let named = |name: &str| matching.labels.iter().any(|label| label == name);
    if matching.on {
        labels.keep(named)
    } else {
        labels.keep(|name| name != METRIC_NAME && !named(name))
    }
}

/// Writes labels with the name of the metric as one of them.
fn braced(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

pub(crate) fn sets(
    op: BinaryOp,
    left: Vec<Column>,
    right: Vec<Column>,
    matching: &Matching,
    count: usize,
) -> Vec<Column> {
    let mut groups = Groups::default();
    let left_groups: Vec<usize> =
        left.iter().map(|column| groups.of(&column.labels, matching)).collect();
    let right_groups: Vec<usize> =
        right.iter().map(|column| groups.of(&column.labels, matching)).collect();
    // What decides about the other side: for `or` the left side, else the right one.
    let (deciding, deciding_groups, mut decided, decided_groups) = if op == BinaryOp::Or {
        (&left, &left_groups, right.clone(), &right_groups)
    } else {
        (&right, &right_groups, left.clone(), &left_groups)
    };
    let wanted = op == BinaryOp::And;
    let mut known = vec![false; groups.all.len()];
    for step in 0..count {
        known.fill(false);
        for (column, group) in deciding.iter().zip(deciding_groups) {
            known[*group] |= column.cells[step].is_some();
        }
        for (column, group) in decided.iter_mut().zip(decided_groups) {
            if known[*group] != wanted {
                column.cells[step] = None;
            }
        }
    }
    decided.retain(|column| !column.is_empty());
    if op == BinaryOp::Or {
        let mut all = left;
        all.append(&mut decided);
        all
    } else {
        decided
    }
}
