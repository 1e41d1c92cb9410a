//! Findings, told to people and to programs.
//!
//! Every teller is a pure function of the findings: [`text`] for a terminal or a log, [`json`]
//! for scripts, [`sarif`] for code scanning, [`github`] for annotations in a workflow's log.

mod github;
mod sarif;
mod text;

pub use github::github;
pub use sarif::{Tool, sarif};
pub use text::{Look, text};

use crate::{Finding, Severity};

/// Returns the findings as a JSON array, in their order.
pub fn json(findings: &[Finding]) -> String {
    serde_json::to_string_pretty(findings).expect("findings have only texts and numbers")
}

/// Returns how many findings there are of each kind: "2 errors, 1 warning".
pub fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .map(|severity| (count(severity), severity))
        .filter(|(count, _)| *count > 0)
        .map(|(count, severity)| format!("{count} {severity}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if parts.is_empty() { "no findings".to_owned() } else { parts.join(", ") }
}
