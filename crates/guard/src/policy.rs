//! The team's own rules: Rego files under `policy/`, evaluated behind a fence.
//!
//! As conftest has it, in any package: `deny` and `violation` hold the gate, `warn` does not (also
//! `deny_name`, `warn_name`, …). A result is a text, or an object with `msg` and, to point at
//! something, `path`, `line` and `column`. The document they get as `input` is [`Input`]. A finding
//! goes by the rule's name: `policy.main.deny`.
//!
//! Rego comes from outside, so it runs in a thread of its own, with a time limit, with its panics
//! caught and with the builtins that could fill the memory replaced by bounded ones. Whatever goes
//! wrong there gives *not checked*, never an answer.

mod builtin;
mod evaluate;
mod input;

pub use evaluate::{evaluate, read};
pub use input::{Commit, Input, Release, Run, Workflow};

use std::time::Duration;

use source::{Finding, Place};

/// The rule of a file that is not Rego.
pub const SYNTAX: &str = "policy-syntax";

/// The rule of a policy that could not be evaluated.
pub const NOT_CHECKED: &str = "policy-not-checked";

/// A Rego file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its path relative to the repository.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// What the policies said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// What they found: `deny` and `violation` as errors, `warn` as warnings.
    pub findings: Vec<Finding>,
    /// What could not be evaluated, and why.
    pub not_checked: Vec<NotEvaluated>,
}

/// A policy, or a part of one, that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotEvaluated {
    /// Where.
    pub place: Place,
    /// Why.
    pub why: String,
}

/// How far a policy may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// How long all policies together may take.
    pub time: Duration,
    /// The largest policy file, and the largest input document, in bytes.
    pub bytes: usize,
    /// The most items that one builtin may make.
    pub items: usize,
}

impl Default for Fence {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), bytes: 8 << 20, items: 100_000 }
    }
}

#[cfg(test)]
mod tests;
