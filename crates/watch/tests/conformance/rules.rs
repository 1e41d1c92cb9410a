//! Rule files and unit tests of Prometheus and of vmalert.

use std::path::Path;
use std::time::Duration;

use scoreboard::Suite;
use source::Finding;
use source::rules::RuleFile;
use source::rules::unit_test;
use watch::rule::Rules;

fn read(path: &Path) -> (String, Option<RuleFile>, Vec<Finding>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).expect("a file of the suite");
    let (file, mut findings) = source::rules::read(&name, &text);
    if let Some(file) = &file {
        findings.extend(Rules::new(&name, file, Duration::from_mins(1)).1);
    }
    (name, file, findings)
}

fn told(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error());
    let lines: Vec<String> =
        errors.map(|finding| format!("{} {}", finding.place, finding.message)).collect();
    lines.join("\n")
}

/// A file that is good must be read without an error, and one that is bad must be refused.
fn judge(suite: &mut Suite, path: &Path, is_good: bool) {
    let (name, _, findings) = read(path);
    let errors = told(&findings);
    suite.case(
        name,
        match (is_good, errors.is_empty()) {
            (true, false) => Err(errors),
            (false, true) => Err("it is wrong and was not refused".to_owned()),
            _ => Ok(()),
        },
    );
}

#[test]
fn rule_fixtures_of_prometheus() {
    let test = "rule_fixtures_of_prometheus";
    let Some(root) = scoreboard::data(test, "watch") else { return };
    let mut suite = Suite::new("prometheus rule fixtures");
    for path in scoreboard::files(&root.join("prom-rules"), &["yaml"]) {
        judge(&mut suite, &path, !path.ends_with("invalid_rules.yaml"));
    }
    for name in [
        "rules.yml",
        "at-modifier.yml",
        "negative-offset.yml",
        "rules_duplicates.yml",
        "features.yml",
    ] {
        judge(&mut suite, &root.join("promtool").join(name), true);
    }
    judge(&mut suite, &root.join("promtool/rules-bad.yml"), false);
    suite.must_pass(100.0);
}

/// What vmalert reads that is not a Prometheus rule file.
const OTHERS: [(&str, &str); 16] = [
    ("rules0-good.rules", "names `$expr`, vmalert's own"),
    ("rules2-good.rules", "has `concurrency`, vmalert's own"),
    ("rules4-good.rules", "has `params`, vmalert's own"),
    ("rules-multi-doc-good.rules", "has several documents in one file, vmalert's own"),
    ("rules-multi-doc2-good.rules", "has several documents in one file, vmalert's own"),
    ("rules-query-good.rules", "calls vmalert's own query functions"),
    ("rules_interval_good.rules", "has `eval_offset`, vmalert's own"),
    ("rules1-good.rules", "has `type: graphite`, vmalert's own"),
    ("kube-good.rules", "has `concurrency`, vmalert's own"),
    ("vlog-rules0-good.rules", "asks VictoriaLogs"),
    ("alerts-vmanomaly.yml", "asks MetricsQL"),
    ("rules5-bad.rules", "is refused for one name of an alert and a record, as by vmalert alone"),
    ("alerts-cluster.yml", "has `concurrency`, vmalert's own"),
    ("alerts-single-node.yml", "has `concurrency`, vmalert's own"),
    ("alerts-vmagent.yml", "has `concurrency`, vmalert's own"),
    ("alerts-vmauth.yml", "has a quoted text that goes on left of its key, which YAML 1.2 forbids"),
];

#[test]
fn rule_files_of_vmalert() {
    let test = "rule_files_of_vmalert";
    let Some(root) = scoreboard::data(test, "watch/vmalert") else { return };
    let mut suite = Suite::new("vmalert rule files");
    for path in scoreboard::files(&root, &["yml", "rules"]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let other = OTHERS.iter().find(|(other, _)| *other == name);
        match other {
            Some((_, why)) if told(&read(&path).2).is_empty() == name.contains("bad") => {
                suite.exclude(name, *why);
            }
            _ => judge(&mut suite, &path, !name.contains("bad")),
        }
    }
    suite.must_pass(100.0);
}

/// Files of promtool that name a rule file which is not part of the data.
const INCOMPLETE: [&str; 2] = ["bad-rules-syntax-test.yml", "rules_run_extrafields.yml"];

#[test]
fn unit_tests_of_promtool() {
    let test = "unit_tests_of_promtool";
    let Some(root) = scoreboard::data(test, "watch/promtool") else { return };
    let mut suite = Suite::new("promtool unit tests");
    for name in INCOMPLETE {
        suite.exclude(name, "its rule file is not part of the data");
    }
    // Which tests must fail, by their place in the file; a file in which all must be refused.
    let files: [(&str, &[usize]); 6] = [
        ("unittest.yml", &[]),
        ("rules_run.yml", &[1]),
        ("rules_run_no_fuzzy.yml", &[0]),
        ("long-period.yml", &[]),
        ("bad-promql.yml", &[0]),
        ("bad-input-series.yml", &[0]),
    ];
    for (name, failing) in files {
        let text = std::fs::read_to_string(root.join(name)).expect("a file of the suite");
        let (file, findings) = unit_test::read(name, &text);
        let file = file.expect("it is YAML");
        assert_eq!(told(&findings), "", "{name}");
        let rules: Vec<(String, RuleFile)> = (file.rule_files.iter())
            .filter_map(|rules| {
                let (name, file, _) = read(&root.join(&rules.value));
                Some((name, file?))
            })
            .collect();
        let (outcomes, findings) = watch::rule::unit_test::run(name, &file, &rules, |_| true);
        if !findings.is_empty() {
            suite.case(name, if failing == [0] { Ok(()) } else { Err(told(&findings)) });
            continue;
        }
        for (place, outcome) in outcomes.iter().enumerate() {
            let case = format!("{name} {}", outcome.name);
            suite.case(
                case,
                match (failing.contains(&place), outcome.failures.is_empty()) {
                    (true, false) | (false, true) => Ok(()),
                    (true, true) => Err("it should fail".to_owned()),
                    (false, false) => Err(format!("{:#?}", outcome.failures)),
                },
            );
        }
    }
    // What differs in the last bit only is the same once that is asked for.
    let fuzzy = std::fs::read_to_string(root.join("rules_run_no_fuzzy.yml")).expect("a file");
    let fuzzy = fuzzy.replace("fuzzy_compare: false", "fuzzy_compare: true");
    let (file, _) = unit_test::read("fuzzy.yml", &fuzzy);
    let (outcomes, _) =
        watch::rule::unit_test::run("fuzzy.yml", &file.expect("it is YAML"), &[], |_| true);
    let unmet: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.failures).collect();
    let outcome = if unmet.is_empty() { Ok(()) } else { Err(format!("{unmet:?}")) };
    suite.case("rules_run_no_fuzzy.yml with fuzzy_compare", outcome);
    suite.must_pass(100.0);
}

#[test]
fn unit_tests_of_vmalert() {
    let test = "unit_tests_of_vmalert";
    let Some(root) = scoreboard::data(test, "watch/vmalert/app/vmalert-tool") else { return };
    let files = scoreboard::files(&root, &["yaml"]);
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a file of the suite");
        let (file, _) = unit_test::read("test.yaml", &text);
        // All of them name rule files that are not part of the data: that is said, not counted.
        for rules in file.expect("it is YAML").rule_files {
            assert!(!path.with_file_name(&rules.value).exists(), "{}: count it", path.display());
        }
    }
    println!("excluded vmalert-tool unit tests: their rules.yaml is not part of the data");
}
