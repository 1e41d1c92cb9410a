//! What readers of a format ask a node for, with a finding when it is something else.

use super::{Node, Value, core_schema};
use crate::{Finding, Place, Span};

/// The findings of one file while it is being read.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    path: String,
    list: Vec<Finding>,
}

impl Findings {
    /// Starts an empty list for the file at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), list: Vec::new() }
    }

    /// The path of the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was found so far.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// Whether something found so far is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(Finding::is_error)
    }

    /// Adds a finding.
    pub fn push(&mut self, finding: Finding) {
        self.list.push(finding);
    }

    /// Adds findings.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.list.extend(findings);
    }

    /// Returns the place of `span` in this file.
    pub fn place(&self, span: Span) -> Place {
        Place::at(self.path.clone(), span)
    }

    /// Adds an error and returns it, so that a label or help can be set.
    pub fn error(&mut self, rule: &str, message: impl Into<String>, span: Span) -> &mut Finding {
        self.list.push(Finding::error(rule, message, Place::at(self.path.clone(), span)));
        self.list.last_mut().expect("it was pushed on the line above")
    }

    /// Adds a warning and returns it, so that a label or help can be set.
    pub fn warning(&mut self, rule: &str, message: impl Into<String>, span: Span) -> &mut Finding {
        self.list.push(Finding::warning(rule, message, Place::at(self.path.clone(), span)));
        self.list.last_mut().expect("it was pushed on the line above")
    }

    /// Says that `key` is none of `known`, and which of them was perhaps meant.
    pub fn unknown_key(&mut self, key: &Node, known: &[&str]) {
        let name = key.as_str().unwrap_or_default();
        let help = match did_you_mean(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys are {}", listed(known)),
        };
        let finding = self.error("unknown-key", format!("`{name}` is not a key here"), key.span);
        finding.help = Some(help);
    }

    /// Returns the findings in the order they were added.
    pub(crate) fn into_list(self) -> Vec<Finding> {
        self.list
    }

    /// Returns the findings in the order of the file; beyond a thousand, how many more there are.
    pub fn into_sorted(mut self) -> Vec<Finding> {
        const MOST: usize = 1000;
        self.list.sort_by(|a, b| a.place.span.map(|s| s.start).cmp(&b.place.span.map(|s| s.start)));
        let more = self.list.len().saturating_sub(MOST);
        if more > 0 {
            let is_error = self.list[MOST..].iter().any(Finding::is_error);
            self.list.truncate(MOST);
            let message = format!("{more} more findings are not shown");
            let place = Place::file(self.path.as_str());
            let make = if is_error { Finding::error } else { Finding::note };
            self.list.push(make("too-many-findings", message, place));
        }
        self.list
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let kind = node.kind();
        self.error("wrong-type", format!("expected {wanted}, found {kind}"), node.span).label =
            Some(format!("this is {kind}"));
    }
}

/// Returns the known word nearest to `word`, if one is near enough to have been meant.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a word that long, and comparing costs the product of both lengths.
    const LONGEST: usize = 64;
    const MOST: usize = 200;
    if word.len() > LONGEST {
        return None;
    }
    let lowered = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .take(MOST)
        .map(|candidate| {
            (strsim::damerau_levenshtein(&lowered, &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Joins names for a sentence: "`a`, `b` and `c`"; of very many, the first.
pub(crate) fn listed(names: &[&str]) -> String {
    const MOST: usize = 24;
    let mut quoted: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    if names.len() > MOST {
        quoted.push(format!("{} more", names.len() - MOST));
    }
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

impl Node {
    /// The entries; a finding if this is no mapping.
    pub fn expect_mapping(&self, findings: &mut Findings) -> Option<&[(Node, Node)]> {
        if self.as_mapping().is_none() {
            findings.wrong_type(self, "a mapping");
        }
        self.as_mapping()
    }

    /// The items; a finding if this is no list.
    pub fn expect_sequence(&self, findings: &mut Findings) -> Option<&[Node]> {
        if self.as_sequence().is_none() {
            findings.wrong_type(self, "a list");
        }
        self.as_sequence()
    }

    /// The text; a finding if this is a mapping, a list, nothing, a number or a truth value.
    pub fn expect_string(&self, findings: &mut Findings) -> Option<&str> {
        match core_schema::resolve(self) {
            Ok(core_schema::Typed::Text(text)) => Some(text),
            _ => {
                findings.wrong_type(self, "a text");
                None
            }
        }
    }

    /// The text as written, also of a number or a truth value; a finding if it is anything else.
    pub fn expect_scalar(&self, findings: &mut Findings) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if !self.is_null() => Some(&scalar.text),
            _ => {
                findings.wrong_type(self, "a text");
                None
            }
        }
    }

    /// The truth value; a finding if this is something else.
    pub fn expect_boolean(&self, findings: &mut Findings) -> Option<bool> {
        match core_schema::resolve(self) {
            Ok(core_schema::Typed::Boolean(value)) => Some(value),
            _ => {
                findings.wrong_type(self, "true or false");
                None
            }
        }
    }

    /// The number; a finding if this is something else.
    pub fn expect_number(&self, findings: &mut Findings) -> Option<f64> {
        match core_schema::resolve(self) {
            Ok(core_schema::Typed::Integer(value) | core_schema::Typed::Float(value)) => {
                Some(value)
            }
            _ => {
                findings.wrong_type(self, "a number");
                None
            }
        }
    }

    /// The whole number from zero up; a finding if this is something else.
    pub fn expect_unsigned(&self, findings: &mut Findings) -> Option<u64> {
        match core_schema::resolve(self) {
            // Whole floats below 2^53 convert exactly.
            Ok(core_schema::Typed::Integer(value)) if (0.0..9.0e15).contains(&value) => {
                Some(value as u64)
            }
            _ => {
                findings.wrong_type(self, "a whole number from 0 up");
                None
            }
        }
    }
}
