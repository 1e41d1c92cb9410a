//! From matchers to the numbers of the series that fit.

use crate::Matcher;
use crate::matcher::Op;

/// Lists of series numbers by label, each in order.
pub(crate) trait Postings {
    /// Every series.
    fn everything(&self) -> Vec<u32>;
    /// The series with this value of a label.
    fn list(&self, name: &str, value: &str) -> Vec<u32>;
    /// The series with a value of a label that the question answers with yes, in any order.
    fn lists(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<u32>;
}

/// Returns the series that fit all matchers, in order.
pub(crate) fn find(postings: &impl Postings, matchers: &[Matcher]) -> Vec<u32> {
    let mut kept: Option<Vec<u32>> = None;
    // What needs no look at every value comes first: the rest may not be needed at all.
    let mut matchers: Vec<&Matcher> = matchers.iter().collect();
    matchers.sort_by_key(|matcher| matcher.op() != Op::Equal);
    for matcher in &matchers {
        if kept.as_ref().is_some_and(Vec::is_empty) {
            return Vec::new();
        }
        if matcher.matches("") {
            continue;
        }
        let fits = if matcher.op() == Op::Equal {
            postings.list(matcher.name(), matcher.value())
        } else {
            sorted(postings.lists(matcher.name(), &|value| matcher.matches(value)))
        };
        kept = Some(match kept {
            Some(kept) => intersection(&kept, &fits),
            None => fits,
        });
    }
    let mut kept = kept.unwrap_or_else(|| postings.everything());
    // A matcher that fits a missing label only takes away the values that it does not fit.
    for matcher in matchers.iter().filter(|matcher| matcher.matches("")) {
        if kept.is_empty() {
            break;
        }
        let wrong = sorted(postings.lists(matcher.name(), &|value| !matcher.matches(value)));
        if !wrong.is_empty() {
            kept.retain(|id| wrong.binary_search(id).is_err());
        }
    }
    kept
}

fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids
}

fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().copied().filter(|id| long.binary_search(id).is_ok()).collect()
}
