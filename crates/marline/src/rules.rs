//! The PromQL in Prometheus rule files, for those who check them.

use source::git::GitError;
use source::{Finding, Place};

use crate::tree::Tree;

/// Returns what is wrong with the queries of all rule files below `rules`.
///
/// That the files themselves can be read is for `guard` to check.
pub fn findings(tree: &Tree) -> Result<Vec<Finding>, GitError> {
    let files = tree.rules()?;
    Ok(files.iter().flat_map(|file| queries(&file.path, &file.text)).collect())
}

fn queries(path: &str, text: &str) -> Vec<Finding> {
    let (file, _) = source::rules::read(path, text);
    let groups = file.iter().flat_map(|file| &file.groups);
    groups
        .flat_map(|group| &group.rules)
        .filter_map(|rule| {
            let error = promql::parse(&rule.query.text).err()?;
            let span = rule.query.span_of(error.span.start..error.span.end);
            let finding = Finding::error("promql", error.message, Place::at(path, span));
            Some(match error.help {
                Some(help) => finding.help(help),
                None => finding,
            })
        })
        .collect()
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
