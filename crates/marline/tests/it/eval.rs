//! `marline eval`: what an expression gives, for people and for scripts.

use std::fs;

use crate::world::World;

const CONTEXT: &str = r#"{"github": {"ref": "refs/heads/main"}, "matrix": {"n": [1, 2.5]}}"#;

/// What `marline eval --json --context FILE -- EXPR` prints, and how it ends.
fn told(expression: &str) -> (serde_json::Value, Option<i32>) {
    let world = World::new();
    fs::write(world.path().join("context.json"), CONTEXT).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_marline"))
        .current_dir(world.path())
        .args(["eval", "--json", "--context", "context.json", "--", expression])
        .output()
        .unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

#[test]
fn a_value_is_told_with_its_kind() {
    for (expression, expected) in [
        ("1", r#"{"kind":"Number","value":1}"#),
        ("matrix.n[1]", r#"{"kind":"Number","value":2.5}"#),
        ("github.ref == 'REFS/heads/main'", r#"{"kind":"Boolean","value":true}"#),
        ("github.nope", r#"{"kind":"Null","value":null}"#),
        ("format('{0}!', github.ref)", r#"{"kind":"String","value":"refs/heads/main!"}"#),
        ("matrix.*", r#"{"kind":"Array","value":[[1,2.5]]}"#),
    ] {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(told(expression), (expected, Some(0)), "{expression}");
    }
}

#[test]
fn an_error_is_told_with_its_kind() {
    for (expression, kind, message) in [
        (
            "-0xFF",
            "lexing",
            "Unexpected symbol: '-0xFF'. Located at position 1 within expression: -0xFF",
        ),
        (
            "github.1",
            "parsing",
            "Unexpected symbol: '1'. Located at position 8 within expression: github.1",
        ),
        (
            "env.A",
            "parsing",
            "Unrecognized named-value: 'env'. Located at position 1 within expression: env.A",
        ),
        ("format('{0')", "evaluation", "The following format string is invalid: {0"),
    ] {
        let expected = serde_json::json!({ "error": { "kind": kind, "message": message } });
        assert_eq!(told(expression), (expected, Some(1)), "{expression}");
    }
}

#[test]
fn people_see_the_value_of_each_part() {
    let world = World::new();
    fs::write(world.path().join("context.json"), CONTEXT).unwrap();
    world
        .marline([
            "eval",
            "--context",
            "context.json",
            "github.ref == 'x' || contains(github.ref, 'main')",
        ])
        .ends(0)
        .says("github.ref == 'x'")
        .says("contains(github.ref, 'main')")
        .says("true");
}
