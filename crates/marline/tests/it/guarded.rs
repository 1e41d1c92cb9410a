//! `marline check` and the gate.

use journal::Fact;

use crate::carry::{compose, service};
use crate::world::{World, free_port, get};

/// Something that looks like a key, put together so that it stands in no file.
fn key() -> String {
    format!("{}{}", "AKIA", "Z7QK4M2X6P3W5R4T")
}

#[test]
fn a_secret_in_a_file_is_found_and_never_shown() {
    let config = format!("aws_access_key_id = \"{}\"\n", key());
    let world = World::with(&[("config.py", &config)]);
    let said = world.marline(["check"]).ends(1).says("config.py:1:");
    assert!(!said.out.contains(&key()) && !said.err.contains(&key()), "{}", said.out);
    world.marline(["check", "secrets", "--format", "sarif"]).ends(1).says("2.1.0");
    world.marline(["check", "--format", "github"]).ends(1).says("::error file=config.py,line=1");
}

#[test]
fn workflow_mistakes_that_hurt_are_found() {
    let world = World::with(&[(
        ".github/workflows/pr.yml",
        "on: pull_request_target
jobs:
  a:
    runs-on: ubuntu-latest
    if: ${{ false }} || true
    steps:
      - uses: actions/checkout@v4
        with: {ref: '${{ github.event.pull_request.head.sha }}'}
      - run: echo ${{ github.event.pull_request.title }}
      - uses: somebody/thing@main
",
    )]);
    world
        .marline(["check", "workflows"])
        .ends(1)
        .says("pr.yml:5:")
        .says("pr.yml:8:")
        .says("pr.yml:9:")
        .says("pr.yml:10:");
}

#[test]
fn the_gate_holds_until_the_finding_is_allowed_with_a_reason() {
    let port = free_port();
    let mut world = World::new();
    let config = format!("aws_access_key_id = \"{}\"\n", key());
    world.commit(
        "first",
        &[
            ("web.py", &service("one", "False")),
            ("compose.yaml", &compose(port)),
            ("config.py", &config),
        ],
    );
    world.up();
    let help = world.wait_for("a held gate", |fact| match fact {
        Fact::GateHeld { reasons, .. } => reasons.iter().find_map(|reason| reason.help.clone()),
        _ => None,
    });
    assert!(help.contains("marline check --allow"), "{help}");
    assert_eq!(get(port, "/"), None);
    world.marline(["deploy", "--no-wait"]).ends(0);
    world.marline(["why"]).ends(0).says("config.py");
    let rule = {
        let view = world.view();
        let (_, commit) = view.newest_commit().unwrap();
        let findings = &commit.findings.as_ref().unwrap().findings;
        findings.iter().find(|finding| finding.is_error()).unwrap().rule.clone()
    };
    world
        .marline([
            "check",
            "--allow",
            &rule,
            "--path",
            "config.py",
            "--reason",
            "an example of the docs",
        ])
        .ends(0);
    world.wait_deployed();
    assert_eq!(get(port, "/"), Some((200, "one".into())));
    world.marline(["check"]).ends(0);
}

#[test]
fn a_policy_holds_a_release_and_says_so() {
    let port = free_port();
    let mut world = World::new();
    let policy = "package main\n\nimport rego.v1\n\ndeny contains msg if {\n\tinput.commit.branch == \"main\"\n\tmsg := \"not on a Monday\"\n}\n";
    world.commit(
        "first",
        &[
            ("web.py", &service("one", "False")),
            ("compose.yaml", &compose(port)),
            ("policy/day.rego", policy),
        ],
    );
    world.up();
    let message = world.wait_for("a held gate", |fact| match fact {
        Fact::GateHeld { reasons, .. } => Some(reasons[0].message.clone()),
        _ => None,
    });
    assert!(message.contains("not on a Monday"), "{message}");
}

#[test]
fn a_red_workflow_holds_the_gate() {
    let port = free_port();
    let mut world = World::new();
    let ci = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'exit 1'}]\n";
    world.commit(
        "first",
        &[
            ("web.py", &service("one", "False")),
            ("compose.yaml", &compose(port)),
            (".github/workflows/ci.yml", ci),
        ],
    );
    world.up();
    world.wait_for("a held gate", |fact| matches!(fact, Fact::GateHeld { .. }).then_some(()));
    assert_eq!(get(port, "/"), None);
    world.marline(["status"]).ends(0);
}
