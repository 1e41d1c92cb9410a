//! The functions and what they take.

use crate::expr::Kind;

/// A function by its name, what it takes and what it gives.
#[derive(Debug)]
pub struct Function {
    /// As it is written.
    pub name: &'static str,
    /// What it takes; the last ones may be left out.
    pub takes: &'static [Kind],
    /// How many of these are needed.
    pub least: usize,
    /// Whether the last one may be repeated.
    pub repeats: bool,
    /// What it gives.
    pub gives: Kind,
}

use Kind::{Matrix as M, Scalar as S, Text as T, Vector as V};

const fn f(name: &'static str, takes: &'static [Kind], gives: Kind) -> Function {
    Function { name, takes, least: takes.len(), repeats: false, gives }
}

const fn optional(name: &'static str, takes: &'static [Kind], least: usize) -> Function {
    Function { name, takes, least, repeats: false, gives: V }
}

/// Every function, in the order of the alphabet.
pub const FUNCTIONS: &[Function] = &[
    f("abs", &[V], V),
    f("absent", &[V], V),
    f("absent_over_time", &[M], V),
    f("acos", &[V], V),
    f("acosh", &[V], V),
    f("asin", &[V], V),
    f("asinh", &[V], V),
    f("atan", &[V], V),
    f("atanh", &[V], V),
    f("avg_over_time", &[M], V),
    f("ceil", &[V], V),
    f("changes", &[M], V),
    f("clamp", &[V, S, S], V),
    f("clamp_max", &[V, S], V),
    f("clamp_min", &[V, S], V),
    f("cos", &[V], V),
    f("cosh", &[V], V),
    f("count_over_time", &[M], V),
    optional("day_of_month", &[V], 0),
    optional("day_of_week", &[V], 0),
    optional("day_of_year", &[V], 0),
    optional("days_in_month", &[V], 0),
    f("deg", &[V], V),
    f("delta", &[M], V),
    f("deriv", &[M], V),
    f("double_exponential_smoothing", &[M, S, S], V),
    f("end", &[], S),
    f("exp", &[V], V),
    f("first_over_time", &[M], V),
    f("floor", &[V], V),
    f("histogram_avg", &[V], V),
    f("histogram_count", &[V], V),
    f("histogram_fraction", &[S, S, V], V),
    f("histogram_quantile", &[S, V], V),
    Function { name: "histogram_quantiles", takes: &[V, T, S], least: 3, repeats: true, gives: V },
    f("histogram_stddev", &[V], V),
    f("histogram_stdvar", &[V], V),
    f("histogram_sum", &[V], V),
    optional("hour", &[V], 0),
    f("idelta", &[M], V),
    f("increase", &[M], V),
    optional("info", &[V, V], 1),
    f("irate", &[M], V),
    Function { name: "label_join", takes: &[V, T, T, T], least: 3, repeats: true, gives: V },
    f("label_replace", &[V, T, T, T, T], V),
    f("last_over_time", &[M], V),
    f("ln", &[V], V),
    f("log10", &[V], V),
    f("log2", &[V], V),
    f("mad_over_time", &[M], V),
    f("max_of", &[S, S], S),
    f("max_over_time", &[M], V),
    f("min_of", &[S, S], S),
    f("min_over_time", &[M], V),
    optional("minute", &[V], 0),
    optional("month", &[V], 0),
    f("pi", &[], S),
    f("predict_linear", &[M, S], V),
    f("present_over_time", &[M], V),
    f("quantile_over_time", &[S, M], V),
    f("rad", &[V], V),
    f("range", &[], S),
    f("rate", &[M], V),
    f("resets", &[M], V),
    optional("round", &[V, S], 1),
    f("scalar", &[V], S),
    f("sgn", &[V], V),
    f("sin", &[V], V),
    f("sinh", &[V], V),
    f("sort", &[V], V),
    Function { name: "sort_by_label", takes: &[V, T], least: 1, repeats: true, gives: V },
    Function { name: "sort_by_label_desc", takes: &[V, T], least: 1, repeats: true, gives: V },
    f("sort_desc", &[V], V),
    f("sqrt", &[V], V),
    f("start", &[], S),
    f("start_timestamp", &[V], V),
    f("stddev_over_time", &[M], V),
    f("stdvar_over_time", &[M], V),
    f("step", &[], S),
    f("sum_over_time", &[M], V),
    f("tan", &[V], V),
    f("tanh", &[V], V),
    f("time", &[], S),
    f("timestamp", &[V], V),
    f("ts_of_first_over_time", &[M], V),
    f("ts_of_last_over_time", &[M], V),
    f("ts_of_max_over_time", &[M], V),
    f("ts_of_min_over_time", &[M], V),
    f("vector", &[S], V),
    optional("year", &[V], 0),
];

/// Names that Prometheus had once, with what they are called now.
pub(crate) const RENAMED: &[(&str, &str)] = &[("holt_winters", "double_exponential_smoothing")];

impl Function {
    /// Returns the function of this name.
    pub fn named(name: &str) -> Option<&'static Function> {
        FUNCTIONS
            .binary_search_by(|function| function.name.cmp(name))
            .ok()
            .map(|index| &FUNCTIONS[index])
    }

    /// What it takes at this place, counted from 0.
    pub(crate) fn takes_at(&self, place: usize) -> Option<Kind> {
        match self.takes.get(place) {
            Some(kind) => Some(*kind),
            None if self.repeats => self.takes.last().copied(),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_in_order_so_that_each_is_found() {
        for function in FUNCTIONS {
            assert!(
                Function::named(function.name).is_some(),
                "{} stands in the wrong place",
                function.name
            );
        }
    }
}
