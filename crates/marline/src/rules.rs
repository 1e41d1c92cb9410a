//! What is wrong in Prometheus rule files and in `alertmanager.yml`, for those who check them.

use std::time::Duration;

use source::Finding;
use source::git::GitError;
use watch::rule::Rules;

use crate::conductor::notify::{CONFIGURATION, FORWARDING};
use crate::tree::Tree;

/// Returns what is wrong with the queries and templates of all rule files below `rules`.
///
/// That the files themselves can be read is for `guard` to check.
pub fn findings(tree: &Tree) -> Result<Vec<Finding>, GitError> {
    let files = tree.rules()?;
    Ok(files.iter().flat_map(|file| queries(&file.path, &file.text)).collect())
}

/// Returns what is wrong with `alertmanager.yml`, what of it Marline cannot do, and what is wrong
/// with `alerting` of `prometheus.yml`.
pub fn receivers(tree: &Tree) -> Result<Vec<Finding>, GitError> {
    let mut findings = Vec::new();
    if let Some(text) = tree.text(CONFIGURATION)? {
        let (config, found) = source::alertmanager::read(CONFIGURATION, &text);
        findings.extend(found);
        let limits =
            config.iter().flat_map(|config| watch::notify::findings(CONFIGURATION, config));
        findings.extend(limits);
    }
    if let Some(text) = tree.text(FORWARDING)? {
        findings.extend(source::alertmanager::forward::read(FORWARDING, &text).1);
    }
    Ok(findings)
}

fn queries(path: &str, text: &str) -> Vec<Finding> {
    let (file, _) = source::rules::read(path, text);
    file.map(|file| Rules::new(path, &file, Duration::from_mins(1)).1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_no_promql_is_found_where_it_stands() {
        let text = "groups:\n  - name: a\n    rules:\n      - record: x\n        expr: sum(\n";
        let found = queries("rules/a.yml", text);
        let places: Vec<String> = found.iter().map(|finding| finding.place.to_string()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(places[0].starts_with("rules/a.yml:5:"), "{places:?}");
    }
}
