//! How much of what other projects test we read as they do.

mod compose;
mod workflow;
