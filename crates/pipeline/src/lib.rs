//! A commit becomes a run.
