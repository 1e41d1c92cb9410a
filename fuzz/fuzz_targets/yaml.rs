//! YAML: every node and every character stands where the tree says it does.

#![no_main]

use fuzz::{Ground, PATH};
use libfuzzer_sys::fuzz_target;
use source::yaml::{DuplicateKeys, Node, Options, Style, Value, read_all};

fuzz_target!(|text: &str| {
    let ground = Ground::new(text);
    let lenient = Options {
        duplicate_keys: DuplicateKeys::Keep,
        merge_keys: true,
        glued_comments: true,
        max_nodes: 2_000,
        ..Options::default()
    };
    for options in [Options::default(), lenient] {
        let (documents, findings) = read_all(PATH, text, &options);
        ground.hold(&findings);
        for document in &documents {
            assert!(document.depth() <= options.max_depth + 1);
            assert!(document.size() <= options.max_nodes);
            check(document, &ground);
        }
    }
});

fn check(node: &Node, ground: &Ground) {
    ground.holds(node.span);
    if let Some(alias) = node.alias {
        ground.holds(alias);
    }
    let _ = (node.kind(), node.is_null());
    match &node.value {
        Value::Sequence(items) => items.iter().for_each(|item| check(item, ground)),
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            check(key, ground);
            check(value, ground);
        }),
        Value::Scalar(scalar) => {
            ground.holds(scalar.span_of(0..scalar.text.len()));
            for (at, character) in scalar.text.char_indices() {
                let span = scalar.span_of(at..at + character.len_utf8());
                ground.holds(span);
                let found = ground.at(span.start);
                let is_escape = scalar.style == Style::DoubleQuoted && found == Some('\\');
                if !character.is_ascii_whitespace() && !is_escape {
                    assert_eq!(found, Some(character), "byte {at} of {scalar:?}");
                }
            }
        }
    }
}
