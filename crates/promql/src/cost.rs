//! What a question would cost, guessed before anything is read.
//!
//! A guess never refuses what the exact limits would let pass, as far as the source knows its own
//! sizes: a question is refused here only when it costs twice what it may.

use series::{Amount, Millis};

use crate::column::Grid;
use crate::evaluate::{EvalError, Evaluator, SUBQUERY_STEP};
use crate::expr::{Border, Expr, Node, Selector};
use crate::length::Length;

/// How often over a limit a guess must be.
const SURELY: usize = 2;

impl Evaluator<'_> {
    /// Refuses what would cost too much, by what the source knows without reading samples.
    pub(crate) fn weigh(&self, expr: &Expr, grid: Grid) -> Result<(), EvalError> {
        match &expr.node {
            Node::Number(_) | Node::Text(_) => Ok(()),
            Node::Selector(selector) => {
                let after = self.look_back.saturating_sub(1);
                self.weigh_selector(selector, expr, grid, after)
            }
            Node::Window { selector, range } => {
                let range = range.fixed().unwrap_or(0);
                self.weigh_selector(selector, expr, grid, range.saturating_sub(1))
            }
            Node::Subquery { expr: inner, range, step, shift } => {
                let range = range.fixed().unwrap_or(0);
                let step = step.as_ref().and_then(Length::fixed).unwrap_or(SUBQUERY_STEP).max(1);
                let from = self.shifted(shift, grid.from).saturating_sub(range);
                let to = self.shifted(shift, grid.last());
                let count = to.saturating_sub(from) / step;
                let count = usize::try_from(count).unwrap_or(0).max(1);
                self.weigh(inner, Grid { from, step, count })
            }
            Node::Negative(inner) | Node::Positive(inner) | Node::Paren(inner) => {
                self.weigh(inner, grid)
            }
            Node::Binary { left, right, .. } => {
                self.weigh(left, grid)?;
                self.weigh(right, grid)
            }
            Node::Aggregate { parameter, expr, .. } => {
                parameter.as_ref().map_or(Ok(()), |parameter| self.weigh(parameter, grid))?;
                self.weigh(expr, grid)
            }
            Node::Call { arguments, .. } => {
                arguments.iter().try_for_each(|argument| self.weigh(argument, grid))
            }
        }
    }

    fn weigh_selector(
        &self,
        selector: &Selector,
        expr: &Expr,
        grid: Grid,
        before: Millis,
    ) -> Result<(), EvalError> {
        let wider = if selector.border == Border::Plain { 0 } else { self.look_back };
        let one = self.shifted(&selector.shift, grid.from);
        let other = self.shifted(&selector.shift, grid.last());
        let from = one.min(other).saturating_sub(before).saturating_sub(wider);
        let to = one.max(other).saturating_add(wider);
        let Some(Amount { series, samples }) = self.source.amount(&selector.matchers, from, to)
        else {
            return Ok(());
        };
        let values = series.saturating_mul(grid.count);
        let about = |what: String, most: usize| Err(EvalError::TooMuch { what, most });
        if series / SURELY > self.limits.series {
            return about(format!("{series} series of `{expr}`"), self.limits.series);
        }
        let most = self.limits.samples;
        if samples / SURELY > most {
            return about(format!("reading about {samples} samples of `{expr}`"), most);
        }
        if values / SURELY > most {
            let steps = grid.count;
            let what = format!("working out {series} series of `{expr}` at {steps} times");
            return about(what, most);
        }
        Ok(())
    }
}
