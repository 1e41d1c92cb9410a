//! Prometheus rule files, read with positions.
//!
//! [`read`] checks everything but the queries and templates: whoever evaluates them parses them,
//! and [`Query::span_of`] says where in the file a part of a query stands.

mod duration;
pub mod unit_test;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use crate::yaml::{self, Findings, Node, Scalar};
use crate::{Finding, Position, Span, Spanned};

pub use duration::parse as parse_duration;

/// A rule file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RuleFile {
    /// `groups`, in the order written.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other, at one interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// `name`, unique in the file.
    pub name: Spanned<String>,
    /// Where the group's mapping stands.
    pub span: Span,
    /// `interval` between evaluations.
    pub interval: Option<Spanned<Duration>>,
    /// `query_offset`: how far in the past the queries look.
    pub query_offset: Option<Spanned<Duration>>,
    /// `limit`: the most series or alerts a rule may give; 0 is no limit.
    pub limit: Option<Spanned<u64>>,
    /// `labels` of all its rules.
    pub labels: Vec<Label>,
    /// `rules`, in the order written.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Where its mapping stands.
    pub span: Span,
    /// What it makes of its query.
    pub kind: RuleKind,
    /// `expr`.
    pub query: Query,
    /// `labels`.
    pub labels: Vec<Label>,
}

/// What a rule makes of its query.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A series of this name.
    Record(Spanned<String>),
    /// An alert.
    Alert {
        /// `alert`: its name.
        name: Spanned<String>,
        /// `for`: how long the condition holds before it fires.
        hold: Option<Spanned<Duration>>,
        /// `keep_firing_for`: how long it fires after the condition ended.
        keep_firing: Option<Spanned<Duration>>,
        /// `annotations`.
        annotations: Vec<Label>,
    },
}

impl Rule {
    /// The name of the series or the alert.
    pub fn name(&self) -> &Spanned<String> {
        match &self.kind {
            RuleKind::Record(name) | RuleKind::Alert { name, .. } => name,
        }
    }
}

/// A name and its value, which may be a template.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// The name.
    pub name: Spanned<String>,
    /// The value.
    pub value: Spanned<String>,
}

/// The text of a query and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Query {
    /// The text: unquoted, unescaped, folded.
    pub text: String,
    /// Where the scalar stands, quotes included.
    pub span: Span,
    #[serde(skip)]
    scalar: Scalar,
}

impl Query {
    /// Returns where a part of the text, in bytes, stands in the file.
    pub fn span_of(&self, part: Range<usize>) -> Span {
        self.scalar.span_of(part)
    }
}

const FILE_KEYS: &[&str] = &["groups"];
const GROUP_KEYS: &[&str] = &["name", "interval", "query_offset", "limit", "labels", "rules"];
const RULE_KEYS: &[&str] =
    &["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/// Rule files are often generated, and larger than what a person writes.
const MOST_BYTES: usize = 16 << 20;
const MOST_NODES: usize = 1_000_000;

/// Reads a rule file: what could be read, and everything that is wrong with it.
///
/// A rule with an error of its own is left out. The file is `None` only if it is not well-formed
/// YAML.
pub fn read(path: &str, text: &str) -> (Option<RuleFile>, Vec<Finding>) {
    let options = yaml::Options {
        max_bytes: MOST_BYTES,
        max_nodes: MOST_NODES,
        merge_keys: true,
        ..yaml::Options::default()
    };
    let (root, faults) = yaml::read(path, text, &options);
    let is_empty = faults.is_empty() && root.as_ref().is_none_or(Node::is_null);
    let mut findings = Findings::new(path);
    findings.extend(faults);
    if is_empty {
        return (Some(RuleFile::default()), findings.into_sorted());
    }
    let file = root.map(|root| file(&root, &mut findings));
    (file, findings.into_sorted())
}

fn file(root: &Node, findings: &mut Findings) -> RuleFile {
    known_keys(root, FILE_KEYS, findings);
    let groups = optional(root, "groups").and_then(|groups| groups.expect_sequence(findings));
    let groups = groups.unwrap_or_default().iter().filter_map(|node| group(node, findings));
    let groups: Vec<Group> = groups.collect();
    let mut first: HashMap<&str, Position> = HashMap::new();
    for group in &groups {
        let name = group.name.value.as_str();
        if let Some(at) = first.get(name) {
            let message = format!("the group `{name}` is already there, at {at}");
            findings.error("rule-group-repeated", message, group.name.span).help =
                Some("give each group of a file a name of its own".to_owned());
        } else {
            first.insert(name, group.name.span.start);
        }
    }
    RuleFile { groups }
}

fn group(node: &Node, findings: &mut Findings) -> Option<Group> {
    node.expect_mapping(findings)?;
    known_keys(node, GROUP_KEYS, findings);
    let name = required(node, "name", "a group", findings);
    let interval = duration(node, "interval", findings);
    let query_offset = duration(node, "query_offset", findings);
    let limit = optional(node, "limit")
        .and_then(|limit| Some(Spanned::new(limit.expect_unsigned(findings)?, limit.span)));
    let labels = labels(node, "labels", findings);
    let rules = optional(node, "rules").and_then(|rules| rules.expect_sequence(findings));
    let rules: Vec<Rule> =
        rules.unwrap_or_default().iter().filter_map(|node| rule(node, findings)).collect();
    repeated_rules(&rules, findings);
    Some(Group { name: name?, span: node.span, interval, query_offset, limit, labels, rules })
}

fn rule(node: &Node, findings: &mut Findings) -> Option<Rule> {
    node.expect_mapping(findings)?;
    known_keys(node, RULE_KEYS, findings);
    let kind = kind(node, findings);
    let query = query(node, "expr", "a rule", findings);
    let labels = labels(node, "labels", findings);
    Some(Rule { span: node.span, kind: kind?, query: query?, labels })
}

/// The query under a key that must be there.
fn query(node: &Node, key: &str, owner: &str, findings: &mut Findings) -> Option<Query> {
    let text = required(node, key, owner, findings)?;
    let scalar = node.get(key)?.as_scalar()?.clone();
    Some(Query { text: text.value, span: text.span, scalar })
}

fn kind(node: &Node, findings: &mut Findings) -> Option<RuleKind> {
    let hold = duration(node, "for", findings);
    let keep_firing = duration(node, "keep_firing_for", findings);
    let annotations = labels(node, "annotations", findings);
    match (node.entry("record"), node.entry("alert")) {
        (Some((record, _)), Some((alert, _))) => {
            let later = if record.span.start < alert.span.start { alert } else { record };
            findings.error("rule-kind", "a rule has both `record` and `alert`", later.span).help =
                Some("make two rules of it".to_owned());
            None
        }
        (None, None) => {
            findings
                .error("rule-kind", "a rule has neither `record` nor `alert`", node.span.first())
                .help = Some("add `record: name` or `alert: Name`".to_owned());
            None
        }
        (None, Some(_)) => {
            let name = required(node, "alert", "a rule", findings)?;
            Some(RuleKind::Alert { name, hold, keep_firing, annotations })
        }
        (Some(_), None) => {
            for key in ["for", "keep_firing_for", "annotations"] {
                if let Some((key, _)) = node.entry(key) {
                    let name = key.as_str().unwrap_or_default();
                    let message = format!("a recording rule has no `{name}`");
                    findings.error("rule-key-misplaced", message, key.span).help =
                        Some(format!("remove `{name}`, or make it an alert"));
                }
            }
            let name = required(node, "record", "a rule", findings)?;
            if name.value.contains(['{', '}']) {
                let message = format!("`{}` is not the name of a series", name.value);
                findings.error("rule-record-name", message, name.span).help =
                    Some("write the name alone; labels belong into `labels`".to_owned());
                return None;
            }
            Some(RuleKind::Record(name))
        }
    }
}

fn labels(node: &Node, key: &str, findings: &mut Findings) -> Vec<Label> {
    let Some(entries) = optional(node, key).and_then(|labels| labels.expect_mapping(findings))
    else {
        return Vec::new();
    };
    let mut labels = Vec::new();
    for (name, value) in entries {
        let Some(name_text) = name.expect_scalar(findings) else { continue };
        if name_text.is_empty() || (key == "labels" && name_text == "__name__") {
            let message = format!("`{name_text}` cannot be a label here");
            findings.error("rule-label-name", message, name.span).help =
                Some("choose another name".to_owned());
            continue;
        }
        let text = if value.is_null() { Some("") } else { value.expect_scalar(findings) };
        let Some(text) = text else { continue };
        labels.push(Label {
            name: Spanned::new(name_text.to_owned(), name.span),
            value: Spanned::new(text.to_owned(), value.span),
        });
    }
    labels
}

fn duration(node: &Node, key: &str, findings: &mut Findings) -> Option<Spanned<Duration>> {
    let value = optional(node, key)?;
    let text = value.expect_scalar(findings)?;
    match duration::parse(text) {
        Some(duration) => Some(Spanned::new(duration, value.span)),
        None => {
            let message = format!("`{text}` is not a duration");
            findings.error("rule-duration", message, value.span).help =
                Some("write a number and a unit: `30s`, `5m`, `1h30m`, `7d`".to_owned());
            None
        }
    }
}

/// The text of a key that must be there and hold something.
fn required(
    node: &Node,
    key: &str,
    owner: &str,
    findings: &mut Findings,
) -> Option<Spanned<String>> {
    let Some(value) = node.get(key) else {
        let message = format!("{owner} has no `{key}`");
        findings.error("missing-key", message, node.span.first()).help =
            Some(format!("add `{key}: …`"));
        return None;
    };
    let text = if value.is_null() { "" } else { value.expect_scalar(findings)? };
    if text.trim().is_empty() {
        findings.error("empty-value", format!("`{key}` is empty"), value.span).help =
            Some(format!("give `{key}` a value"));
        return None;
    }
    Some(Spanned::new(text.to_owned(), value.span))
}

/// The value of a key, unless nothing stands there.
fn optional<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !value.is_null())
}

fn known_keys(node: &Node, known: &[&str], findings: &mut Findings) {
    for (key, _) in node.expect_mapping(findings).unwrap_or_default() {
        if !key.as_str().is_some_and(|name| known.contains(&name)) {
            findings.unknown_key(key, known);
        }
    }
}

/// Warns of rules that would write the same series or fire the same alert twice.
fn repeated_rules(rules: &[Rule], findings: &mut Findings) {
    let mut first = HashMap::new();
    for rule in rules {
        let mut labels: Vec<(&str, &str)> = rule
            .labels
            .iter()
            .map(|label| (label.name.value.as_str(), label.value.value.as_str()))
            .collect();
        labels.sort_unstable();
        let records = matches!(rule.kind, RuleKind::Record(_));
        let name = rule.name();
        let identity = (records, name.value.as_str(), labels);
        if let Some(at) = first.get(&identity) {
            let message =
                format!("`{}` with the same labels is already there, at {at}", name.value);
            findings.warning("rule-repeated", message, name.span).help =
                Some("give one of them another label, or remove it".to_owned());
        } else {
            first.insert(identity, name.span.start);
        }
    }
}
