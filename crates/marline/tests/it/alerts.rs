//! `marline alerts`: Alertmanager's files, looked through and asked, as amtool does it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CONFIG: &str = r#"global:
  slack_api_url: https://hooks.example.com/services/T0/B0/hunter2
route:
  receiver: team
  group_by: [alertname, service]
  routes:
    - matchers: [severity=~"page|critical"]
      receiver: pager
      continue: true
    - match: {service: shop}
      receiver: shop
receivers:
  - name: team
    slack_configs: [{channel: '#ops'}]
  - name: pager
    pagerduty_configs: [{routing_key: hunter2}]
  - name: shop
    webhook_configs: [{url: "http://127.0.0.1:1/hook"}]
"#;

fn alerts(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marline"))
        .current_dir(dir)
        .arg("alerts")
        .args(arguments)
        .output()
        .expect("it starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn folder(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("am.yml"), config).expect("a file");
    dir
}

#[test]
fn an_alert_is_sent_down_the_tree_to_its_receivers() {
    let dir = folder(CONFIG);
    let route = |arguments: &[&str]| {
        let output = alerts(dir.path(), &[&["route", "--file", "am.yml"], arguments].concat());
        (said(&output), output.status.code())
    };
    assert_eq!(route(&["severity=page", "service=shop"]), ("pager,shop\n".to_owned(), Some(0)));
    assert_eq!(route(&["severity=info"]), ("team\n".to_owned(), Some(0)));
    assert_eq!(route(&["--expect", "shop", "service=shop"]).1, Some(0));
    assert_eq!(route(&["--expect", "team", "service=shop"]).1, Some(1));
    assert_eq!(route(&["severity=~page"]).1, Some(2));
    let drawn = "everything  → team\n  severity=~\"page|critical\"  → pager, and goes on\n  \
                 service=\"shop\"  → shop\n";
    assert_eq!(route(&[]).0, drawn);
    let output = alerts(dir.path(), &["check", "am.yml"]);
    assert_eq!(said(&output), "✓ ./am.yml  3 routes, 3 receivers\n");
}

#[test]
fn mistakes_are_shown_where_they_stand_and_secrets_are_not() {
    let dir = folder(
        &CONFIG
            .replace("receiver: shop", "receiver: shopp")
            .replace("routing_key: hunter2", "routing_key: hunter2, service_key: hunter2"),
    );
    let output = alerts(dir.path(), &["check", "am.yml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    for wanted in ["no receiver is called `shopp`", "did you mean `shop`?", "am.yml:11:17"] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    assert!(said.contains("`service_key` and `routing_key` are both there"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }
}

fn random_routes(dice: &mut Dice, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth * 2 + 1);
    out.push_str(&format!("{indent}routes:\n"));
    for _ in 0..=dice.below(3) {
        let matcher = dice.one_of(&[
            "a=x",
            "a=\"y\"",
            "a!=x",
            "a=~\"x|y\"",
            "a!~\"x.*\"",
            "b=x",
            "b=~\"\"",
            "b!=\"\"",
            "{a=x, b=~\"y?\"}",
            "c=~\".+\"",
            "a=~\"x|\"",
        ]);
        out.push_str(&format!("{indent}  - matchers: ['{matcher}']\n"));
        if dice.below(3) > 0 {
            out.push_str(&format!("{indent}    receiver: r{}\n", dice.below(4)));
        }
        if dice.below(2) == 0 {
            out.push_str(&format!("{indent}    continue: true\n"));
        }
        if depth < 2 && dice.below(2) == 0 {
            random_routes(dice, depth + 1, out);
        }
    }
}

#[test]
fn amtool_sends_every_alert_to_the_same_receivers() {
    let test = "amtool_sends_every_alert_to_the_same_receivers";
    if Command::new("amtool").arg("--version").output().is_err() {
        crate::world::peer_is_missing(test, "amtool");
        return;
    }
    let mut dice = Dice(7);
    let mut several = 0;
    for round in 0..25 {
        let mut config = "route:\n  receiver: r0\n".to_owned();
        random_routes(&mut dice, 0, &mut config);
        config += "receivers: [{name: r0}, {name: r1}, {name: r2}, {name: r3}]\n";
        let dir = folder(&config);
        for labels in [&["a=x"][..], &["a=xy", "b=y"], &["b=x"], &["c=z", "a=y"]] {
            let amtool = Command::new("amtool")
                .current_dir(dir.path())
                .args(["config", "routes", "test", "--config.file=am.yml"])
                .args(labels)
                .output()
                .expect("amtool starts");
            assert!(amtool.status.success(), "{amtool:?}\n{config}");
            let ours = alerts(dir.path(), &[&["route", "--file", "am.yml"], labels].concat());
            assert_eq!(said(&ours).trim(), said(&amtool).trim(), "{round} {labels:?}\n{config}");
            several += usize::from(said(&ours).contains(','));
        }
    }
    assert!(several > 5, "only {several} alerts went to more than one receiver");
}
