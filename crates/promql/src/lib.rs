//! Questions to the series.
//!
//! [`parse`] reads a PromQL expression into an [`Expr`] whose types are checked; [`instant`] and
//! [`range`] answer it from a `series::Store`. Semantics are those of Prometheus 3: windows are
//! open on the left, a series is gone five minutes after its last sample or at its stale marker,
//! and the metric's name is dropped at the end of the evaluation, where no later part needs it.
//!
//! Native histograms and experimental syntax (`anchored`, `smoothed`, `fill`, `info`, arithmetic
//! on durations) are refused by name, never misread.
//!
//! | module | is |
//! |---|---|
//! | [`expr`] | a question, read and checked |
//! | [`parse`](mod@parse) | from text to a question |
//! | [`function`] | the functions and what they take |
//! | [`evaluate`](mod@evaluate) | from a question to an answer |
//!
//! # Glossary
//!
//! - **instant vector**: for each series at most one value at one time.
//! - **range vector**: for each series the samples of a window.
//! - **matching**: which series of the two sides of an operator belong together.
//! - **look-back**: how long the last sample stands for "now".

#![allow(clippy::float_cmp, reason = "PromQL compares exactly")]

mod aggregate;
mod binary;
pub mod evaluate;
pub mod expr;
pub mod function;
mod lex;
mod over_time;
pub mod parse;

pub use evaluate::{EvalError, Point, Value, instant, range};
pub use expr::{Expr, Kind, Span};
pub use parse::{ParseError, parse};
