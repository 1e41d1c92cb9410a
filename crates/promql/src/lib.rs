//! Questions to the series.
//!
//! [`parse`] reads a PromQL expression into an [`Expr`] whose types are checked; a [`Question`]
//! answers it from whatever series can be selected from. Semantics are those of Prometheus 3.14
//! with everything that is experimental there: windows are open on the left, a series is gone five
//! minutes after its last sample or at its stale marker, and the metric's name is dropped at the
//! end of the evaluation, where no later part needs it.
//!
//! | module | is |
//! |---|---|
//! | [`expr`] | a question, read and checked |
//! | [`length`] | durations that may be calculated |
//! | [`parse`](mod@parse) | from text to a question |
//! | [`print`] | from a question to its text |
//! | [`function`] | the functions and what they take |
//! | [`evaluate`](mod@evaluate) | from a question to an answer |
//! | [`note`] | what is odd about an answer |
//! | [`sequence`] | samples written in short, as unit tests of rules have them |
//!
//! # Glossary
//!
//! - **instant vector**: for each series at most one value at one time.
//! - **range vector**: for each series the samples of a window.
//! - **matching**: which series of the two sides of an operator belong together.
//! - **note**: a warning or a hint that comes with an answer.
//! - **look-back**: how long the last sample stands for "now".

#![allow(clippy::float_cmp, reason = "PromQL compares exactly")]

mod aggregate;
mod binary;
mod call;
mod column;
mod cost;
mod date;
pub mod evaluate;
pub mod expr;
pub mod function;
mod info;
pub mod length;
mod lex;
pub mod note;
mod over_time;
pub mod parse;
pub mod print;
mod quantile;
mod rate;
pub mod sequence;
mod sliding;
mod window;

pub use column::Quantity;
pub use evaluate::{Answer, EvalError, Limits, Point, Question, Value, instant, range};
pub use expr::{Expr, Kind, Span};
pub use note::{Level, Note};
pub use parse::{ParseError, parse};
