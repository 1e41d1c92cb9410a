//! Unit tests of rules as promtool reads them, with positions.
//!
//! Series, labels and queries are kept as texts with their places: whoever runs the tests reads
//! them.

use std::time::Duration;

use super::{Label, Query, duration, known_keys, labels, optional, query, required};
use crate::yaml::{self, Findings, Node};
use crate::{Finding, Span, Spanned};

/// A file of unit tests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestFile {
    /// `rule_files`: paths and patterns, beside the file.
    pub rule_files: Vec<Spanned<String>>,
    /// `evaluation_interval`; a minute if left out.
    pub evaluation_interval: Option<Duration>,
    /// `group_eval_order`: names of groups, in the order in which they are evaluated.
    pub group_order: Vec<Spanned<String>>,
    /// `fuzzy_compare`: whether numbers may differ in their last bit.
    pub fuzzy: bool,
    /// `tests`.
    pub tests: Vec<UnitTest>,
}

/// Series, and what is expected of them.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTest {
    /// Where it stands.
    pub span: Span,
    /// `name`.
    pub name: Option<Spanned<String>>,
    /// `interval` between samples; the interval of evaluations if left out.
    pub interval: Option<Duration>,
    /// `input_series`.
    pub series: Vec<InputSeries>,
    /// `alert_rule_test`.
    pub alerts: Vec<AlertTest>,
    /// `promql_expr_test`.
    pub queries: Vec<QueryTest>,
    /// `external_labels`.
    pub external_labels: Vec<Label>,
    /// `external_url`.
    pub external_url: Option<Spanned<String>>,
}

/// A series and its samples, written in short.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSeries {
    /// `series`.
    pub series: Query,
    /// `values`.
    pub values: Query,
}

/// Which alerts of a name fire at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertTest {
    /// Where it stands.
    pub span: Span,
    /// `eval_time`.
    pub at: Duration,
    /// `alertname`.
    pub alert: Spanned<String>,
    /// `exp_alerts`.
    pub expected: Vec<ExpectedAlert>,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedAlert {
    /// `exp_labels`, without the name of the alert.
    pub labels: Vec<Label>,
    /// `exp_annotations`.
    pub annotations: Vec<Label>,
}

/// What a query gives at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryTest {
    /// Where it stands.
    pub span: Span,
    /// `expr`.
    pub query: Query,
    /// `eval_time`.
    pub at: Duration,
    /// `exp_samples`.
    pub expected: Vec<ExpectedSample>,
}

/// A sample.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSample {
    /// `labels`; none if left out.
    pub labels: Option<Query>,
    /// `value`, as written; 0 if left out.
    pub value: f64,
    /// `histogram`, in short.
    pub histogram: Option<Query>,
}

const FILE_KEYS: &[&str] =
    &["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"];
const TEST_KEYS: &[&str] = &[
    "name",
    "interval",
    "input_series",
    "alert_rule_test",
    "promql_expr_test",
    "external_labels",
    "external_url",
];

/// Reads a file of unit tests: what could be read, and everything that is wrong with it.
pub fn read(path: &str, text: &str) -> (Option<TestFile>, Vec<Finding>) {
    let options = yaml::Options {
        max_bytes: super::MOST_BYTES,
        max_nodes: super::MOST_NODES,
        merge_keys: true,
        ..yaml::Options::default()
    };
    let (root, faults) = yaml::read(path, text, &options);
    let is_empty = faults.is_empty() && root.as_ref().is_none_or(Node::is_null);
    let mut findings = Findings::new(path);
    findings.extend(faults);
    if is_empty {
        return (Some(TestFile::default()), findings.into_sorted());
    }
    let file = root.map(|root| file(&root, &mut findings));
    (file, findings.into_sorted())
}

fn file(root: &Node, findings: &mut Findings) -> TestFile {
    known_keys(root, FILE_KEYS, findings);
    TestFile {
        rule_files: texts(root, "rule_files", findings),
        evaluation_interval: positive(root, "evaluation_interval", findings),
        group_order: texts(root, "group_eval_order", findings),
        fuzzy: optional(root, "fuzzy_compare")
            .and_then(|node| node.expect_boolean(findings))
            .unwrap_or(false),
        tests: each(root, "tests", findings, |node, findings| Some(test(node, findings))),
    }
}

fn test(node: &Node, findings: &mut Findings) -> UnitTest {
    known_keys(node, TEST_KEYS, findings);
    let text = |key: &str, findings: &mut Findings| {
        let value = optional(node, key)?;
        Some(Spanned::new(value.expect_scalar(findings)?.to_owned(), value.span))
    };
    UnitTest {
        span: node.span,
        name: text("name", findings),
        interval: positive(node, "interval", findings),
        series: each(node, "input_series", findings, |node, findings| {
            known_keys(node, &["series", "values"], findings);
            let series = query(node, "series", "a series", findings);
            let values = query(node, "values", "a series", findings);
            Some(InputSeries { series: series?, values: values? })
        }),
        alerts: each(node, "alert_rule_test", findings, alert),
        queries: each(node, "promql_expr_test", findings, expression),
        external_labels: labels(node, "external_labels", findings),
        external_url: text("external_url", findings),
    }
}

fn alert(node: &Node, findings: &mut Findings) -> Option<AlertTest> {
    known_keys(node, &["eval_time", "alertname", "exp_alerts"], findings);
    let at = duration(node, "eval_time", findings);
    let alert = required(node, "alertname", "a test of alerts", findings);
    let expected = each(node, "exp_alerts", findings, |node, findings| {
        known_keys(node, &["exp_labels", "exp_annotations"], findings);
        Some(ExpectedAlert {
            labels: labels(node, "exp_labels", findings),
            annotations: labels(node, "exp_annotations", findings),
        })
    });
    let at = at.map_or(Duration::ZERO, |at| at.value);
    Some(AlertTest { span: node.span, at, alert: alert?, expected })
}

fn expression(node: &Node, findings: &mut Findings) -> Option<QueryTest> {
    known_keys(node, &["expr", "eval_time", "exp_samples"], findings);
    let query = query(node, "expr", "a test of a query", findings);
    let at = duration(node, "eval_time", findings);
    let expected = each(node, "exp_samples", findings, |node, findings| {
        known_keys(node, &["labels", "value", "histogram"], findings);
        let part = |key: &str, findings: &mut Findings| {
            optional(node, key)?;
            super::query(node, key, "a sample", findings)
        };
        Some(ExpectedSample {
            labels: part("labels", findings),
            value: optional(node, "value").and_then(|value| number(value, findings)).unwrap_or(0.0),
            histogram: part("histogram", findings),
        })
    });
    let at = at.map_or(Duration::ZERO, |at| at.value);
    Some(QueryTest { span: node.span, query: query?, at, expected })
}

/// The number, which may also be written as in PromQL: `NaN`, `+Inf`.
fn number(node: &Node, findings: &mut Findings) -> Option<f64> {
    let text = node.expect_scalar(findings)?;
    let plain = text.strip_prefix('.').filter(|rest| rest.eq_ignore_ascii_case("nan"));
    let number = plain.unwrap_or(text).parse().ok();
    if number.is_none() {
        let message = format!("`{text}` is not a number");
        findings.error("unit-test-value", message, node.span);
    }
    number
}

fn positive(node: &Node, key: &str, findings: &mut Findings) -> Option<Duration> {
    let duration = duration(node, key, findings)?;
    if duration.value.is_zero() {
        let message = format!("`{key}` must be longer than nothing");
        findings.error("unit-test-interval", message, duration.span).help =
            Some("leave it out for a minute".to_owned());
        return None;
    }
    Some(duration.value)
}

fn texts(node: &Node, key: &str, findings: &mut Findings) -> Vec<Spanned<String>> {
    each(node, key, findings, |node, findings| {
        Some(Spanned::new(node.expect_scalar(findings)?.to_owned(), node.span))
    })
}

/// Reads each item of a list that may be left out.
fn each<T>(
    node: &Node,
    key: &str,
    findings: &mut Findings,
    read: impl Fn(&Node, &mut Findings) -> Option<T>,
) -> Vec<T> {
    let items = optional(node, key).and_then(|items| items.expect_sequence(findings));
    items.unwrap_or_default().iter().filter_map(|node| read(node, findings)).collect()
}
