//! Secrets in files, by rules in gitleaks' TOML format.

use std::sync::Arc;

use source::Finding;

/// Rules for secrets, read.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {}

impl RuleSet {
    /// The rules that Marline brings.
    pub fn built_in() -> Arc<Self> {
        Arc::default()
    }

    /// Reads a `.gitleaks.toml`; what could be read, and everything that is wrong with it.
    pub fn read(_path: &str, _text: &str) -> (Option<Self>, Vec<Finding>) {
        (Some(Self::default()), Vec::new())
    }
}
