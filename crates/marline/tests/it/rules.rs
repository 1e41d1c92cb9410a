//! `marline rules`: rule files looked through and their unit tests run, as promtool does it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RULES: &str = r#"groups:
  - name: shop
    rules:
      - alert: ShopDown
        expr: up{job="shop"} == 0
        for: 2m
        labels: {severity: page}
        annotations:
          summary: "{{ $labels.instance }} is down{{ if eq $value 0.0 }} for good{{ end }}"
      - record: job:up:sum
        expr: sum by (job) (up)
"#;

const TESTS: &str = r#"rule_files: ["rules/*.yml"]
tests:
  - name: down
    interval: 1m
    input_series:
      - series: up{job="shop", instance="shop-1"}
        values: "1 0x5"
    alert_rule_test:
      - eval_time: 2m
        alertname: ShopDown
        exp_alerts: []
      - eval_time: 4m
        alertname: ShopDown
        exp_alerts:
          - exp_labels: {severity: page, job: shop, instance: shop-1}
            exp_annotations: {summary: shop-1 is down for good}
    promql_expr_test:
      - expr: job:up:sum
        eval_time: 1m
        exp_samples: [{labels: 'job:up:sum{job="shop"}', value: 0}]
  - name: up
    input_series:
      - series: up{job="shop", instance="shop-1"}
        values: "1x5"
    promql_expr_test:
      - expr: job:up:sum
        eval_time: 1m
        exp_samples: [{labels: 'job:up:sum{job="shop"}', value: VALUE}]
"#;

fn folder(value: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("rules")).expect("a folder");
    fs::write(dir.path().join("rules/shop.yml"), RULES).expect("a file");
    fs::write(dir.path().join("tests.yml"), TESTS.replace("VALUE", value)).expect("a file");
    dir
}

fn rules(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marline"))
        .current_dir(dir)
        .arg("rules")
        .args(arguments)
        .output()
        .expect("it starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn tests_of_rules_pass_or_say_what_came_instead() {
    let output = rules(folder("1").path(), &["test", "tests.yml"]);
    assert_eq!(
        (said(&output).as_str(), output.status.code()),
        ("✓ ./tests.yml  2 tests\n", Some(0))
    );

    let dir = folder("2");
    let output = rules(dir.path(), &["test", "tests.yml"]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = "\
✗ ./tests.yml  1 of 2 tests failed
  up
    ./tests.yml:26:9: job:up:sum at 1m
      expected  job:up:sum{job=\"shop\"} 2
      got       job:up:sum{job=\"shop\"} 1
";
    assert_eq!(said(&output), wanted);
    // One of them by itself passes.
    let output = rules(dir.path(), &["test", "--run", "^down$", "tests.yml"]);
    assert_eq!(output.status.code(), Some(0));
    let output = rules(dir.path(), &["test", "--json", "tests.yml"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told[0]["tests"][1]["failures"][0]["got"][0], "job:up:sum{job=\"shop\"} 1");
}

#[test]
fn mistakes_in_rule_files_are_shown_where_they_stand() {
    let dir = folder("1");
    let output = rules(dir.path(), &["check", "rules/shop.yml"]);
    assert_eq!(said(&output), "✓ ./rules/shop.yml  2 rules\n");
    assert_eq!(output.status.code(), Some(0));

    fs::write(dir.path().join("rules/shop.yml"), RULES.replace("$labels.instance", "$label.a"))
        .expect("a file");
    for arguments in [&["check", "rules/shop.yml"][..], &["test", "tests.yml"]] {
        let output = rules(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = said(&output);
        assert!(said.contains("no variable is called `$label`"), "{said}");
        assert!(said.contains("rules/shop.yml:9:20"), "{said}");
        assert!(said.contains("did you mean `$labels`?"), "{said}");
    }
    let output = rules(dir.path(), &["check", "rules/nothing.yml"]);
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn promtool_says_the_same_of_every_rule_file_and_test() {
    let test = "promtool_says_the_same_of_every_rule_file_and_test";
    if Command::new("promtool").arg("--version").output().is_err() {
        crate::world::peer_is_missing(test, "promtool");
        return;
    }
    let Some(root) = scoreboard::data(test, "watch") else { return };
    let agrees = |kind: &str, path: &Path| {
        let promtool = Command::new("promtool")
            .args([kind, "rules"])
            .arg(path)
            .output()
            .expect("promtool starts");
        let name = path.to_str().expect("its path is text");
        let ours = rules(Path::new("/"), &[kind, name]);
        let (wanted, got) = (promtool.status.code() == Some(0), ours.status.code() == Some(0));
        assert_eq!(
            got,
            wanted,
            "{kind} {name}\npromtool: {}{}\nours: {}",
            String::from_utf8_lossy(&promtool.stdout),
            String::from_utf8_lossy(&promtool.stderr),
            said(&ours)
        );
    };
    let mut count = 0;
    for path in scoreboard::files(&root.join("prom-rules"), &["yaml"]) {
        agrees("check", &path);
        count += 1;
    }
    for name in ["rules.yml", "rules-bad.yml", "at-modifier.yml", "negative-offset.yml"] {
        agrees("check", &root.join("promtool").join(name));
    }
    // A rule file that is not there is an error here and a warning there, which is why
    // bad-rules-syntax-test.yml is not in the list. Debian's promtool does not know histograms in unit tests, which unittest.yml has.
    for name in ["rules_run.yml", "long-period.yml", "bad-promql.yml", "bad-input-series.yml"] {
        agrees("test", &root.join("promtool").join(name));
    }
    let dir = folder("1");
    agrees("test", &dir.path().join("tests.yml"));
    agrees("test", &folder("2").path().join("tests.yml"));
    assert!(count > 10, "{count} files are too few");
}

#[test]
fn a_rule_is_replayed_over_what_is_stored() {
    let mut world = crate::world::World::of_example("guestbook-python");
    world.up();
    world.wait_deployed();
    let rules = "groups:\n  - name: g\n    interval: 1s\n    rules:\n      \
                 - {alert: Always, expr: vector(1), for: 3s}\n      \
                 - {alert: Never, expr: vector(1) > 2}\n";
    world.write("what-if.yml", rules);
    world
        .marline(["rules", "backtest", "--since", "20s", "what-if.yml"])
        .ends(0)
        .says("would have fired once, for 17 s in all")
        .says("would not have fired; its condition never held");
    world
        .marline(["rules", "backtest", "--alert", "Sometimes", "what-if.yml"])
        .ends(5)
        .says("there is no such alert");
}
