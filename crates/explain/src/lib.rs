//! Events become words.
//!
//! Everything here is pure: events and logs go in, sentences come out. No sentence without
//! evidence: each [`Line`] names the events it rests on. What cannot be proven is called `likely`
//! or `unsure`; what is not known is said to be not known.
//!
//! - [`why()`]: cause, evidence, what changed, who was affected, what was done, what to do next.
//! - [`mod@story`]: one line of prose for each event; the timeline of a page, a run, an incident.
//! - [`signature`]: what known failures look like in a log, as data in `signatures/*.toml`.
//! - [`novelty`]: lines of a log that the last green run did not have.
//! - [`exit`]: what an exit code or a signal means.
//! - [`render`]: an explanation as text for developers or managers, and as JSON.
//! - [`words`]: durations, counts, shares, sizes and moments as people say them.
//!
//! # Glossary
//!
//! - **subject**: what an explanation is about: a run, a job, a commit at the gate, an incident.
//! - **explanation**: the answer, in parts, each with its evidence.
//! - **certainty**: `certain` when the evidence proves the cause, `likely` when it points there,
//!   `unsure` when it may be something else.
//! - **signature**: a pattern of a log line with the cause it speaks for, and how to mend it.
//! - **new line**: a line that the last green run of the same step did not have, numbers aside.
//! - **audience**: developers get exact numbers and commands, managers plain words.

pub mod exit;
pub mod explanation;
pub mod lookup;
pub mod novelty;
pub mod render;
pub mod signature;
pub mod story;
pub mod subject;
mod why;
pub mod words;

pub use explanation::{Cause, Explanation, Line, Next, Standing};
pub use lookup::Lookup;
pub use render::Audience;
pub use story::{Moment, story};
pub use subject::Subject;
pub use why::{WhyError, why};
