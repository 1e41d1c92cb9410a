//! Secrets in files, by rules in gitleaks' TOML format.
//!
//! One automaton looks for the keywords of all rules at once; only the rules whose keywords stand
//! in a file run their pattern over it. Patterns are RE2, as gitleaks has them, translated to what
//! the `regex` crate reads and compiled when first needed. A finding never holds the secret, only
//! its first characters and its length.
//!
//! A line that says `gitleaks:allow` or `marline:allow` is let be.

mod config;
mod pattern;
mod scan;

#[cfg(test)]
mod examples;

pub use config::{Allowlist, RegexTarget, RuleSet, SecretRule};
pub use pattern::{Pattern, translate};
pub use scan::{NotScanned, Scan, Scanner, entropy};
