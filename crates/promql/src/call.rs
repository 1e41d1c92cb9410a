//! The functions.

use series::{Labels, METRIC_NAME, Millis, Op};

use crate::aggregate::by_value;
use crate::column::{Column, Grid, Quantity};
use crate::date::date_part;
use crate::evaluate::{EvalError, Evaluator, Part, merged};
use crate::expr::{Expr, Kind, Node};
use crate::over_time::OverTime;
use crate::quantile::{self, Wanted, native_variance};
use crate::rate::{self, seconds};
use crate::sliding;
use crate::window::Slide;

impl Evaluator<'_> {
    pub(crate) fn call(
        &self,
        function: &str,
        arguments: &[Expr],
        whole: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Part, EvalError> {
        if let Some(window) = arguments.iter().find(|argument| argument.kind() == Kind::Matrix) {
            let columns = self.over_time(function, arguments, window, grid, counts_only)?;
            return Ok(Part::Columns(columns));
        }
        let constant = |value: f64| Ok(Part::Scalars(vec![value; grid.count]));
        match (function, arguments) {
            ("time", _) => return Ok(Part::Scalars(grid.times().map(seconds).collect())),
            ("pi", _) => return constant(std::f64::consts::PI),
            ("start", _) => return constant(seconds(self.from)),
            ("end", _) => return constant(seconds(self.to)),
            ("range", _) => return constant(seconds(self.to - self.from)),
            ("step", _) => return constant(seconds(self.step)),
            ("min_of" | "max_of", [one, other]) => {
                let least = function == "min_of";
                let pick = |(a, b): (f64, f64)| if least { lesser(a, b) } else { greater(a, b) };
                let (one, other) = (self.scalars(one, grid)?, self.scalars(other, grid)?);
                return Ok(Part::Scalars(one.into_iter().zip(other).map(pick).collect()));
            }
            ("scalar", [vector]) => {
                let columns = self.columns(vector, grid, counts_only)?;
                return Ok(Part::Scalars(
                    (0..grid.count).map(|step| single(&columns, step)).collect(),
                ));
            }
            _ => {}
        }
        self.vector_call(function, arguments, whole, grid, counts_only).map(Part::Columns)
    }

    fn vector_call(
        &self,
        function: &str,
        arguments: &[Expr],
        whole: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Vec<Column>, EvalError> {
        let first = arguments.first();
        let columns = |counts_only: bool| {
            first.map_or(Ok(Vec::new()), |first| self.columns(first, grid, counts_only))
        };
        let mapped = |change: &dyn Fn(f64) -> f64| -> Result<Vec<Column>, EvalError> {
            let changed =
                columns(counts_only)?.into_iter().map(|column| column.map_numbers(change));
            Ok(changed.filter(|column| !column.is_empty()).collect())
        };
        let scalars = |place: usize| {
            let none = || Ok(vec![f64::NAN; grid.count]);
            arguments.get(place).map_or_else(none, |argument| self.scalars(argument, grid))
        };
        match function {
            "vector" => {
                let cells = scalars(0)?.into_iter().map(|value| Some(Quantity::Number(value)));
                Ok(vec![Column::new(Labels::empty(), cells.collect())])
            }
            "absent" => {
                let columns = columns(counts_only)?;
                let cells = (0..grid.count).map(|step| {
                    let there = columns.iter().any(|column| column.cells[step].is_some());
                    (!there).then_some(Quantity::Number(1.0))
                });
                Ok(vec![Column::new(fixed_labels(first), cells.collect())])
            }
            "timestamp" => self.timestamps(first, grid, counts_only),
            "start_timestamp" => self.start_timestamps(first, grid),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                let columns = columns(counts_only)?;
                if !self.instant {
                    self.notes.sort_in_range(whole.span);
                }
                self.sorted(function, columns, &arguments[1.min(arguments.len())..], whole, grid)
            }
            "clamp" | "clamp_min" | "clamp_max" => {
                let infinite = |value: f64| vec![value; grid.count];
                let (least, most) = match function {
                    "clamp" => (scalars(1)?, scalars(2)?),
                    "clamp_min" => (scalars(1)?, infinite(f64::INFINITY)),
                    _ => (infinite(f64::NEG_INFINITY), scalars(1)?),
                };
                Ok(clamped(columns(counts_only)?, &least, &most))
            }
            "round" => {
                let to = if arguments.len() > 1 { scalars(1)? } else { vec![1.0; grid.count] };
                let mut columns = columns(counts_only)?;
                for column in &mut columns {
                    for (cell, to) in column.cells.iter_mut().zip(&to) {
                        // The inverse first: tenths are exact as tens.
                        let inverse = 1.0 / to;
                        let round = |value: f64| (value * inverse + 0.5).floor() / inverse;
                        *cell = cell.as_ref().and_then(Quantity::number).map(|v| round(v).into());
                    }
                    column.nameless = true;
                }
                columns.retain(|column| !column.is_empty());
                Ok(columns)
            }
            "histogram_count" | "histogram_sum" | "histogram_avg" => {
                let part = |histogram: &series::Histogram| match function {
                    "histogram_count" => histogram.count,
                    "histogram_sum" => histogram.sum,
                    _ => histogram.sum / histogram.count,
                };
                Ok(of_histograms(columns(true)?, part))
            }
            "histogram_stddev" => {
                Ok(of_histograms(columns(false)?, |histogram| native_variance(histogram).sqrt()))
            }
            "histogram_stdvar" => Ok(of_histograms(columns(false)?, native_variance)),
            "histogram_quantile" | "histogram_fraction" | "histogram_quantiles" => {
                self.distribution(function, arguments, grid)
            }
            "info" => self.info(arguments, grid),
            "label_replace" | "label_join" => self.relabel(function, arguments, grid, counts_only),
            "day_of_month" | "day_of_week" | "day_of_year" | "days_in_month" | "hour"
            | "minute" | "month" | "year" => {
                if first.is_some() {
                    return mapped(&|value| date_part(function, value));
                }
                let cells = grid
                    .times()
                    .map(|now| Some(Quantity::Number(date_part(function, seconds(now)))));
                Ok(vec![Column::new(Labels::empty(), cells.collect())])
            }
            _ => mapped(&|value| of_number(function, value)),
        }
    }

    /// When the sample was taken that stands for each time.
    fn timestamps(
        &self,
        argument: Option<&Expr>,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Vec<Column>, EvalError> {
        let Some(argument) = argument else { return Ok(Vec::new()) };
        let times: Vec<Millis> = grid.times().collect();
        let selected = match &argument.bare().node {
            Node::Selector(selector) => {
                self.latest(selector, argument.bare(), grid, counts_only)?
            }
            _ => {
                let columns = self.columns(argument, grid, counts_only)?;
                columns.into_iter().map(|column| (column, times.clone())).collect()
            }
        };
        let told = selected.into_iter().map(|(mut column, taken)| {
            for (cell, at) in column.cells.iter_mut().zip(taken) {
                *cell = cell.take().map(|_| Quantity::Number(seconds(at)));
            }
            column.nameless = true;
            column
        });
        Ok(told.collect())
    }

    /// When the counter of the sample began that stands for each time; zero if that is not known.
    fn start_timestamps(
        &self,
        argument: Option<&Expr>,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let Some(Node::Selector(selector)) = argument.map(|argument| &argument.bare().node) else {
            return Ok(Vec::new());
        };
        let Some(argument) = argument else { return Ok(Vec::new()) };
        let first = self.shifted(&selector.shift, grid.from);
        let last = self.shifted(&selector.shift, grid.last());
        let after = first.saturating_sub(self.look_back);
        let starts: std::collections::HashMap<Labels, Vec<series::Start>> = self
            .select(&selector.matchers, after, last)?
            .into_iter()
            .map(|series| (series.labels, series.starts))
            .collect();
        let mut told = Vec::new();
        for (mut column, taken) in self.latest(selector, argument.bare(), grid, false)? {
            let starts = starts.get(&column.labels).map(Vec::as_slice).unwrap_or_default();
            for (cell, at) in column.cells.iter_mut().zip(taken) {
                let start = starts.binary_search_by_key(&at, |start| start.at);
                let start = start.map_or(0, |place| starts[place].start);
                *cell = cell.take().map(|_| Quantity::Number(seconds(start)));
            }
            column.nameless = true;
            told.push(column);
        }
        Ok(told)
    }

    fn sorted(
        &self,
        function: &str,
        mut columns: Vec<Column>,
        labels: &[Expr],
        whole: &Expr,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let down = function.ends_with("desc");
        if function.starts_with("sort_by_label") {
            let mut names = Vec::with_capacity(labels.len());
            for label in labels {
                names.push(self.text(label, grid)?);
            }
            columns.sort_by(|a, b| {
                let by_names = names
                    .iter()
                    .map(|name| natural(a.labels.get(name), b.labels.get(name)))
                    .find(|order| order.is_ne());
                let order = by_names.unwrap_or_else(|| a.labels.cmp(&b.labels));
                if down { order.reverse() } else { order }
            });
            return Ok(columns);
        }
        for column in &mut columns {
            for cell in &mut column.cells {
                if matches!(cell, Some(Quantity::Histogram(_))) {
                    self.notes.ignored_in_sort(whole.span, function);
                    *cell = None;
                }
            }
        }
        columns.retain(|column| !column.is_empty());
        if grid.count == 1 {
            let value = |column: &Column| {
                column.cells[0].as_ref().and_then(Quantity::number).unwrap_or(f64::NAN)
            };
            columns.sort_by(|a, b| by_value(value(a), value(b), down));
        }
        Ok(columns)
    }

    fn distribution(
        &self,
        function: &str,
        arguments: &[Expr],
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let notes = &self.notes;
        let check = |quantiles: &[f64], place: &Expr| {
            for quantile in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                notes.bad_quantile(place.span, *quantile);
            }
        };
        let of = |wanted: &Wanted, vector: &Expr| -> Result<Vec<Column>, EvalError> {
            let columns = self.columns(vector, grid, false)?;
            Ok(quantile::of_columns(wanted, &columns, grid.count, vector.span, notes))
        };
        match (function, arguments) {
            ("histogram_quantile", [wanted, vector]) => {
                let quantiles = self.scalars(wanted, grid)?;
                check(&quantiles, wanted);
                of(&Wanted::Quantile(&quantiles), vector)
            }
            ("histogram_fraction", [lower, upper, vector]) => {
                let (lower, upper) = (self.scalars(lower, grid)?, self.scalars(upper, grid)?);
                of(&Wanted::Fraction(&lower, &upper), vector)
            }
            (_, [vector, label, wanted @ ..]) => {
                let label = self.text(label, grid)?;
                if label.is_empty() {
                    let reason = "invalid label name \"\"".to_owned();
                    return Err(EvalError::Parameter { reason });
                }
                let columns = self.columns(vector, grid, false)?;
                let mut all = Vec::new();
                for place in wanted {
                    let quantiles = self.scalars(place, grid)?;
                    check(&quantiles, place);
                    let wanted = Wanted::Quantile(&quantiles);
                    let found =
                        quantile::of_columns(&wanted, &columns, grid.count, vector.span, notes);
                    // The quantile may be another one at every time.
                    for column in found {
                        for (step, cell) in column.cells.iter().enumerate() {
                            let Some(cell) = cell else { continue };
                            let value = series::histogram::short(quantiles[step]);
                            let mut cells = vec![None; grid.count];
                            cells[step] = Some(cell.clone());
                            let labels = column.labels.with(&label, &value);
                            all.push(Column { labels, nameless: true, cells });
                        }
                    }
                }
                merged(all, false)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn over_time(
        &self,
        function: &str,
        arguments: &[Expr],
        window: &Expr,
        grid: Grid,
        counts_only: bool,
    ) -> Result<Vec<Column>, EvalError> {
        let mut given: Vec<Vec<f64>> = Vec::new();
        for argument in arguments.iter().filter(|argument| argument.kind() == Kind::Scalar) {
            let numbers = self.scalars(argument, grid)?;
            if function == "quantile_over_time" {
                for number in numbers.iter().filter(|number| !(0.0..=1.0).contains(*number)) {
                    self.notes.bad_quantile(argument.span, *number);
                }
            }
            given.push(numbers);
        }
        let (tracks, frame) = self.tracks(window, grid, counts_only)?;
        if function == "absent_over_time" {
            let mut there = vec![false; grid.count];
            for track in &tracks {
                let mut slide = Slide::new(track, &frame);
                for (step, there) in there.iter_mut().enumerate() {
                    *there |= !slide.window(step).is_empty();
                }
            }
            let cells = there.into_iter().map(|there| (!there).then_some(Quantity::Number(1.0)));
            return Ok(vec![Column::new(fixed_labels(Some(window)), cells.collect())]);
        }
        if function == "double_exponential_smoothing" && !tracks.is_empty() {
            for (name, factors) in ["smoothing", "trend"].iter().zip(&given) {
                if let Some(factor) = factors.iter().find(|f| !(**f > 0.0 && **f < 1.0)) {
                    let reason = format!(
                        "invalid {name} factor. Expected: 0 < {name} factor < 1, got: {factor}"
                    );
                    return Err(EvalError::Parameter { reason });
                }
            }
        }
        let keeps_name = matches!(function, "last_over_time" | "first_over_time");
        let is_rate = matches!(function, "rate" | "increase");
        let mut columns = Vec::with_capacity(tracks.len());
        let mut numbers = vec![0.0; given.len()];
        for track in &tracks {
            let wanted = given.first().map(Vec::as_slice);
            if let Some(cells) = sliding::column(function, track, &frame, wanted) {
                let column = Column { labels: track.labels.clone(), nameless: true, cells };
                if !column.is_empty() {
                    columns.push(column);
                }
                continue;
            }
            let falls = if is_rate { rate::falls(track) } else { Vec::new() };
            let mut slide = Slide::new(track, &frame);
            let mut cells = Vec::with_capacity(grid.count);
            let mut has_number = false;
            for step in 0..grid.count {
                for (number, all) in numbers.iter_mut().zip(&given) {
                    *number = all[step];
                }
                let of = OverTime {
                    name: function,
                    span: window.span,
                    notes: &self.notes,
                    falls: &falls,
                    numbers: &numbers,
                    now: grid.at(step),
                };
                let cell = of.of(&slide.window(step));
                has_number |= matches!(cell, Some(Quantity::Number(_)));
                cells.push(cell);
            }
            if is_rate && has_number {
                self.doubt_counter(&track.labels, window);
            }
            let nameless = track.nameless || !keeps_name;
            let column = Column { labels: track.labels.clone(), nameless, cells };
            if !column.is_empty() {
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// Says that a metric does not look like a counter.
    fn doubt_counter(&self, labels: &Labels, window: &Expr) {
        let (metric, kind) = (labels.get(METRIC_NAME), labels.get("__type__"));
        if !kind.is_empty() {
            if !matches!(kind, "counter" | "histogram") {
                self.notes.no_counter_type(window.span, metric, kind);
            }
            return;
        }
        let ends = ["_total", "_sum", "_count", "_bucket"];
        if !metric.is_empty() && !ends.iter().any(|end| metric.ends_with(end)) {
            self.notes.maybe_no_counter(window.span, metric);
        }
    }

    fn relabel(
        &self,
        function: &str,
        arguments: &[Expr],
        grid: Grid,
        counts_only: bool,
    ) -> Result<Vec<Column>, EvalError> {
        let [vector, rest @ ..] = arguments else { return Ok(Vec::new()) };
        let mut texts = Vec::new();
        for argument in rest {
            texts.push(self.text(argument, grid)?);
        }
        let mut columns = self.columns(vector, grid, counts_only)?;
        let Some(target) = texts.first().cloned() else { return Ok(columns) };
        if target.is_empty() {
            let reason = format!("invalid destination label name in {function}(): {target}");
            return Err(EvalError::Parameter { reason });
        }
        let set = |column: &mut Column, value: &str| {
            column.labels = column.labels.with(&target, value);
            if target == METRIC_NAME {
                column.nameless = false;
            }
        };
        match (function, texts.as_slice()) {
            ("label_replace", [_, replacement, source, pattern]) => {
                let regex = series::matcher::anchored(pattern).map_err(|_| {
                    let reason =
                        format!("invalid regular expression in label_replace(): {pattern}");
                    EvalError::Parameter { reason }
                })?;
                for column in &mut columns {
                    let value = column.labels.get(source).to_owned();
                    if let Some(captures) = regex.captures(&value) {
                        let mut new = String::new();
                        captures.expand(replacement, &mut new);
                        set(column, &new);
                    }
                }
            }
            (_, [_, separator, sources @ ..]) => {
                for column in &mut columns {
                    let values: Vec<&str> =
                        sources.iter().map(|source| column.labels.get(source)).collect();
                    let joined = values.join(separator);
                    set(column, &joined);
                }
            }
            _ => {}
        }
        merged(columns, false)
    }
}

/// The number of the only series that has one.
fn single(columns: &[Column], step: usize) -> f64 {
    let mut numbers =
        columns.iter().filter_map(|column| column.cells[step].as_ref().and_then(Quantity::number));
    match (numbers.next(), numbers.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

/// The labels that a selector fixes, for what says that something is not there.
fn fixed_labels(argument: Option<&Expr>) -> Labels {
    let mut labels = Labels::empty();
    if let Some(Node::Selector(selector) | Node::Window { selector, .. }) =
        argument.map(|a| &a.bare().node)
    {
        for matcher in selector.matchers.iter().filter(|m| m.name() != METRIC_NAME) {
            let alone =
                selector.matchers.iter().filter(|other| other.name() == matcher.name()).count()
                    == 1;
            if matcher.op() == Op::Equal && alone {
                labels = labels.with(matcher.name(), matcher.value());
            }
        }
    }
    labels
}

fn clamped(mut columns: Vec<Column>, least: &[f64], most: &[f64]) -> Vec<Column> {
    for column in &mut columns {
        for (step, cell) in column.cells.iter_mut().enumerate() {
            let (least, most) = (least[step], most[step]);
            let clamp = |value: f64| greater(least, lesser(most, value));
            let number = cell.as_ref().and_then(Quantity::number);
            *cell = number
                .filter(|_| least <= most || least.is_nan() || most.is_nan())
                .map(|value| Quantity::Number(clamp(value)));
        }
        column.nameless = true;
    }
    columns.retain(|column| !column.is_empty());
    columns
}

/// The lesser of two; nothing is less than minus infinity, not even what is no number.
fn lesser(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// The greater of two; nothing is greater than infinity, not even what is no number.
fn greater(a: f64, b: f64) -> f64 {
    -lesser(-a, -b)
}

/// Takes a number out of each histogram; plain numbers go away.
fn of_histograms(columns: Vec<Column>, part: impl Fn(&series::Histogram) -> f64) -> Vec<Column> {
    let taken = columns.into_iter().map(|mut column| {
        for cell in &mut column.cells {
            *cell = match cell {
                Some(Quantity::Histogram(histogram)) => Some(Quantity::Number(part(histogram))),
                _ => None,
            };
        }
        column.nameless = true;
        column
    });
    taken.filter(|column| !column.is_empty()).collect()
}

/// Orders texts as people do: numbers within them by their value.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else {
            return a.len().cmp(&b.len());
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (digits_a, rest_a) = a.split_at(digits(a));
            let (digits_b, rest_b) = b.split_at(digits(b));
            let (value_a, value_b) = (without_zeros(digits_a), without_zeros(digits_b));
            let order = value_a
                .len()
                .cmp(&value_b.len())
                .then_with(|| value_a.cmp(value_b))
                .then_with(|| digits_a.len().cmp(&digits_b.len()));
            if order.is_ne() {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else {
            if x != y {
                return x.cmp(y);
            }
            (a, b) = (&a[1..], &b[1..]);
        }
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros..]
}

fn of_number(function: &str, x: f64) -> f64 {
    match function {
        "abs" => x.abs(),
        "acos" => x.acos(),
        "acosh" => x.acosh(),
        "asin" => x.asin(),
        "asinh" => x.asinh(),
        "atan" => x.atan(),
        "atanh" => x.atanh(),
        "ceil" => x.ceil(),
        "cos" => x.cos(),
        "cosh" => x.cosh(),
        "deg" => x.to_degrees(),
        "exp" => x.exp(),
        "floor" => x.floor(),
        "ln" => x.ln(),
        "log10" => x.log10(),
        "log2" => x.log2(),
        "rad" => x.to_radians(),
        "sgn" if x == 0.0 || x.is_nan() => x,
        "sgn" => x.signum(),
        "sin" => x.sin(),
        "sinh" => x.sinh(),
        "sqrt" => x.sqrt(),
        "tan" => x.tan(),
        "tanh" => x.tanh(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_in_labels_are_ordered_by_value() {
        let mut labels = ["1.111.3", "4m1000", "1.2.3", "4m5", "1.11.3", "4m600", ""];
        labels.sort_by(|a, b| natural(a, b));
        assert_eq!(labels, ["", "1.2.3", "1.11.3", "1.111.3", "4m5", "4m600", "4m1000"]);
    }
}
