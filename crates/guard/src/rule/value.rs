//! Where the value of an expression comes from.

use source::Span;
use source::expression::{Expression, Function, Node, NodeKind, Vocabulary};
use source::workflow::{Part, Template};

const EVERYTHING: Vocabulary<'static> = Vocabulary {
    contexts: &[
        "env", "github", "inputs", "job", "jobs", "matrix", "needs", "runner", "secrets", "steps",
        "strategy", "vars",
    ],
    functions: Function::ALL,
};

/// What may become part of a template's value: `github.event.issue.title`, and where it stands.
///
/// In lower case; `*` is a wildcard, `?` an entry that is computed. What is only compared, searched
/// or decided by is left out.
pub(super) fn origins(template: &Template) -> Vec<(String, Span)> {
    let mut origins = Vec::new();
    for part in template.parts().unwrap_or_default() {
        let Part::Expression { text, range, .. } = part else { continue };
        // What is no expression is said by whoever plans the run.
        let Ok(expression) = Expression::parse(text, &EVERYTHING) else { continue };
        let mut found = Vec::new();
        if let Some(root) = &expression.root {
            collect(root, &mut found);
        }
        origins.extend(found.into_iter().map(|(path, at)| {
            (path, template.span_of(range.start + at.start..range.start + at.end))
        }));
    }
    origins
}

fn collect(node: &Node, out: &mut Vec<(String, std::ops::Range<usize>)>) {
    match &node.kind {
        NodeKind::Context(_) | NodeKind::Index(..) => match path(node) {
            Some(path) => out.push((path, node.range.clone())),
            None => {
                if let NodeKind::Index(of, _) = &node.kind {
                    collect(of, out);
                }
            }
        },
        // An `&&` gives what stands last in it, or something empty.
        NodeKind::And(nodes) => nodes.last().into_iter().for_each(|node| collect(node, out)),
        NodeKind::Or(nodes) => nodes.iter().for_each(|node| collect(node, out)),
        NodeKind::Call(
            Function::Format
            | Function::Join
            | Function::ToJson
            | Function::FromJson
            | Function::Case,
            nodes,
        ) => nodes.iter().for_each(|node| collect(node, out)),
        _ => {}
    }
}

fn path(node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::Context(name) => Some(name.to_ascii_lowercase()),
        NodeKind::Index(of, index) => {
            let entry = match &index.kind {
                NodeKind::Text(name) => name.to_ascii_lowercase(),
                NodeKind::Wildcard | NodeKind::Number(_) => "*".to_owned(),
                _ => "?".to_owned(),
            };
            Some(format!("{}.{entry}", path(of)?))
        }
        _ => None,
    }
}

/// Whether a name says that its value is secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    const SIGNS: &[&str] = &[
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "ACCESS_KEY",
        "CREDENTIAL",
    ];
    const OTHERWISE: &[&str] =
        &["_FILE", "_PATH", "_URL", "_NAME", "_ID", "_TTL", "_LENGTH", "_EXPIRY"];
    let name = name.to_ascii_uppercase().replace('-', "_");
    SIGNS.iter().any(|sign| name.contains(sign)) && !OTHERWISE.iter().any(|end| name.ends_with(end))
}

/// Whether a value stands for another: a variable, a switch, an empty one, a placeholder.
pub(super) fn is_placeholder(value: &str) -> bool {
    const WORDS: &[&str] = &["changeme", "change-me", "example", "placeholder", "dummy", "none"];
    let value = value.trim();
    let lowered = value.to_ascii_lowercase();
    value.len() < 4
        || value.starts_with('$')
        || value.starts_with('<')
        || value.contains("${{")
        || matches!(lowered.as_str(), "true" | "false" | "null" | "read" | "write")
        || value.chars().all(|c| matches!(c, 'x' | 'X' | '*' | '.'))
        || WORDS.iter().any(|word| lowered.contains(word))
}
