//! Expressions: a part read by itself is the same part, and explaining gives what evaluating gives.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pipeline::expression::{Contexts, Object, Value, evaluate, explain};
use source::expression::{Expression, Function, Node, NodeKind, Vocabulary};

const EVERYTHING: Vocabulary<'_> =
    Vocabulary { contexts: &["github", "env", "a", "b"], functions: Function::ALL };

static CONTEXTS: LazyLock<Contexts> = LazyLock::new(|| {
    let value: serde_json::Value = serde_json::json!({
        "ref": "refs/heads/main", "n": 3.5, "t": true, "z": null,
        "list": [1, "2", [3], {"x": "y"}, {"x": {"x": 1}}],
    });
    let value = Value::from(value);
    Contexts(
        ["github", "env", "a"].into_iter().map(|name| (name, value.clone())).collect::<Object>(),
    )
});

fuzz_target!(|text: &str| {
    let expression = match Expression::parse(text, &EVERYTHING) {
        Ok(expression) => expression,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let Some(symbol) = &error.symbol {
                assert!(text.get(symbol.range.clone()).is_some(), "{symbol:?}");
            }
            return;
        }
    };
    for node in expression.nodes() {
        let written = &text[node.range.clone()];
        for child in node.children() {
            assert!(node.range.start <= child.range.start && child.range.end <= node.range.end);
        }
        // The name after a dot and the star in brackets, also with more behind it, are no
        // expressions of their own.
        let is_name = matches!(node.kind, NodeKind::Text(_)) && !written.starts_with('\'');
        if is_name || written.starts_with('*') || expression.nodes().len() > 40 {
            continue;
        }
        let alone = Expression::parse(written, &EVERYTHING)
            .unwrap_or_else(|error| panic!("{written:?} is a part of {text:?}: {error}"));
        assert!(alone.root.is_some_and(|root| same(&root, node)), "{written:?} in {text:?}");
    }
    let value = evaluate(&expression, &*CONTEXTS);
    let (explained, parts) = explain(&expression, &*CONTEXTS);
    assert_eq!(format!("{value:?}"), format!("{explained:?}"));
    for part in parts {
        assert!(text.get(part.range.clone()).is_some(), "{part:?}");
    }
    if let Ok(value) = value {
        let _ = (value.to_text(), value.to_number(), value.is_truthy());
        let json = value.to_json();
        // JSON has no word for these, and GitHub writes them as they are.
        if !json.contains("NaN") && !json.contains("Infinity") {
            serde_json::from_str::<serde_json::Value>(&json)
                .unwrap_or_else(|error| panic!("toJSON gave {json:?}: {error}"));
        }
    }
});

/// Whether two nodes are the same but for where they stand.
fn same(a: &Node, b: &Node) -> bool {
    let leaf = match (&a.kind, &b.kind) {
        (NodeKind::Number(a), NodeKind::Number(b)) => a.to_bits() == b.to_bits(),
        (NodeKind::Call(a, _), NodeKind::Call(b, _)) => a == b,
        (NodeKind::Compare(a, ..), NodeKind::Compare(b, ..)) => a == b,
        (NodeKind::Index(..), NodeKind::Index(..))
        | (NodeKind::Not(_), NodeKind::Not(_))
        | (NodeKind::And(_), NodeKind::And(_))
        | (NodeKind::Or(_), NodeKind::Or(_)) => true,
        (a, b) => a == b,
    };
    let (left, right) = (a.children(), b.children());
    leaf && left.len() == right.len() && left.iter().zip(&right).all(|(a, b)| same(a, b))
}
