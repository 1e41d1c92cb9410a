//! Prometheus rule files, good and bad.

use std::path::{Path, PathBuf};

use source::render::{Look, text};
use source::rules::{RuleKind, read};
use source::yaml::LineIndex;

fn told(rules: &str) -> String {
    let (_, findings) = read("rules.yml", rules);
    text(&findings, Look::Plain, |_| Some(rules.to_owned()))
}

const GOOD: &str = "groups:
  - name: web
    interval: 30s
    query_offset: 1m
    limit: 5
    labels: {team: web}
    rules:
      - record: job:requests:rate5m
        expr: sum by (job) (rate(requests_total[5m]))
      - alert: Down
        expr: |
          up == 0
            and on () vector(1)
        for: 1h30m
        keep_firing_for: 0s
        labels: {severity: 1}
        annotations:
          summary: '{{ $labels.instance }} is down'
";

#[test]
fn a_rule_file_is_read_with_durations_and_places() {
    let (file, findings) = read("rules.yml", GOOD);
    assert_eq!(findings, []);
    let group = &file.expect("it is well formed").groups[0];
    assert_eq!(group.interval.expect("it is written").value.as_secs(), 30);
    assert_eq!(group.limit.expect("it is written").value, 5);
    assert_eq!(group.rules[0].name().value, "job:requests:rate5m");
    let RuleKind::Alert { hold, annotations, .. } = &group.rules[1].kind else {
        panic!("the second rule is an alert");
    };
    assert_eq!(hold.expect("it is written").value.as_secs(), 5400);
    assert_eq!(annotations[0].name.value, "summary");
    assert_eq!(group.rules[1].labels[0].value.value, "1");
}

#[test]
fn a_part_of_a_query_is_found_again_in_the_file() {
    let (file, _) = read("rules.yml", GOOD);
    let query = &file.expect("it is well formed").groups[0].rules[1].query;
    let at = query.text.find("vector").expect("the query calls it");
    let span = query.span_of(at..at + "vector".len());
    assert_eq!(&GOOD[LineIndex::new(GOOD).range(GOOD, span)], "vector");
    assert_eq!(span.start.line, 13);
}

#[test]
fn everything_wrong_with_a_rule_file_is_said_at_once() {
    let rules = "groups:
  - name: a
    intervall: 30s
    rules:
      - record: x
        alert: Y
        expr: up
      - expr: up
      - record: 'x{a=\"b\"}'
        expr: up
      - record: x
        for: 5m
        expr: ''
      - alert: Y
        expr: up
        for: 5 minutes
      - alert: Y
        expr: up
        labels: {__name__: y}
  - name: a
    rules: up
";
    insta::assert_snapshot!(told(rules), @r#"
    error[unknown-key]: `intervall` is not a key here
     --> rules.yml:3:5
      |
    3 |     intervall: 30s
      |     ^^^^^^^^^
      = help: did you mean `interval`?

    error[rule-kind]: a rule has both `record` and `alert`
     --> rules.yml:6:9
      |
    6 |         alert: Y
      |         ^^^^^
      = help: make two rules of it

    error[rule-kind]: a rule has neither `record` nor `alert`
     --> rules.yml:8:9
      |
    8 |       - expr: up
      |         ^
      = help: add `record: name` or `alert: Name`

    error[rule-record-name]: `x{a="b"}` is not the name of a series
     --> rules.yml:9:17
      |
    9 |       - record: 'x{a="b"}'
      |                 ^^^^^^^^^^
      = help: write the name alone; labels belong into `labels`

    error[rule-key-misplaced]: a recording rule has no `for`
      --> rules.yml:12:9
       |
    12 |         for: 5m
       |         ^^^
       = help: remove `for`, or make it an alert

    error[empty-value]: `expr` is empty
      --> rules.yml:13:15
       |
    13 |         expr: ''
       |               ^^
       = help: give `expr` a value

    error[rule-duration]: `5 minutes` is not a duration
      --> rules.yml:16:14
       |
    16 |         for: 5 minutes
       |              ^^^^^^^^^
       = help: write a number and a unit: `30s`, `5m`, `1h30m`, `7d`

    warning[rule-repeated]: `Y` with the same labels is already there, at 14:16
      --> rules.yml:17:16
       |
    17 |       - alert: Y
       |                ^
       = help: give one of them another label, or remove it

    error[rule-label-name]: `__name__` cannot be a label here
      --> rules.yml:19:18
       |
    19 |         labels: {__name__: y}
       |                  ^^^^^^^^
       = help: choose another name

    error[rule-group-repeated]: the group `a` is already there, at 2:11
      --> rules.yml:20:11
       |
    20 |   - name: a
       |           ^
       = help: give each group of a file a name of its own

    error[wrong-type]: expected a list, found a text
      --> rules.yml:21:12
       |
    21 |     rules: up
       |            ^^ this is a text
    "#);
}

#[test]
fn an_empty_file_has_no_rules_and_no_fault() {
    for rules in ["", "# nothing yet\n", "groups:\n", "groups: []\n"] {
        let (file, findings) = read("rules.yml", rules);
        assert_eq!(findings, []);
        assert_eq!(file.expect("it is well formed").groups, []);
    }
}

fn rule_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rule_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn rule_files_of_prometheus_are_read_as_prometheus_does() {
    let root = std::env::var_os("MARLINE_CONFORMANCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        PathBuf::from,
    );
    let folder = root.join("watch/prom-rules");
    let mut paths = Vec::new();
    rule_files(&folder, &mut paths);
    if paths.is_empty() {
        println!("skipped rule_files_of_prometheus: no test data at {}", folder.display());
    }
    for path in paths {
        let rules = std::fs::read_to_string(&path).expect("a rule file is UTF-8");
        let (_, findings) = read("rules.yml", &rules);
        let is_bad = path.file_name().is_some_and(|name| name == "invalid_rules.yaml");
        let has_error = findings.iter().any(source::Finding::is_error);
        assert_eq!(has_error, is_bad, "{}: {findings:#?}", path.display());
    }
}
