//! The files teams write, read with positions.
//!
//! Everything a person typed is read here and nowhere else: YAML ([`yaml`]), workflows, Compose
//! files, rule files, and the Git repository that holds them. A reader gives what could be read
//! *plus* every [`Finding`], never only the first failure.
//!
//! # Glossary
//!
//! - **finding**: something wrong in a file, with its place, why it matters and how to mend it.
//! - **place**: a path relative to the repository and, where known, a span in that file.
//! - **span**: from one line and column to another; both count from 1, columns in characters.

pub mod alertmanager;
pub mod compose;
pub mod expression;
pub mod finding;
pub mod git;
pub mod project;
pub mod render;
pub mod rules;
pub mod workflow;
pub mod yaml;

pub use finding::{Finding, Place, Position, Severity, Span, Spanned};
