//! YAML as a tree: order, places, bounds, and words for what is wrong.

use proptest::prelude::*;
use source::render::{Look, text};
use source::yaml::{DuplicateKeys, LineIndex, Node, Options, Value, decode, read, read_all};
use source::{Finding, Position};

fn tree(yaml: &str) -> Node {
    let (node, findings) = read("t.yml", yaml, &Options::default());
    assert_eq!(findings, []);
    node.expect("the text holds a document")
}

fn findings(yaml: &str, options: &Options) -> String {
    let (_, findings) = read("t.yml", yaml, options);
    told(&findings, yaml)
}

fn told(findings: &[Finding], yaml: &str) -> String {
    text(findings, Look::Plain, |_| Some(yaml.to_owned()))
}

/// What stands in the file at the span of a node.
fn written<'a>(yaml: &'a str, node: &Node) -> &'a str {
    let yaml = yaml.strip_prefix('\u{feff}').unwrap_or(yaml);
    &yaml[LineIndex::new(yaml).range(yaml, node.span)]
}

#[test]
fn keys_keep_their_order_and_every_node_its_place() {
    let yaml = "b: 1\na:\n  - x\n  - 'y z'\né: [p, {q: r}]\n";
    let node = tree(yaml);
    let keys: Vec<&str> =
        node.as_mapping().unwrap().iter().filter_map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["b", "a", "é"]);
    assert_eq!(written(yaml, node.get("b").unwrap()), "1");
    assert_eq!(written(yaml, node.get("a").unwrap()), "- x\n  - 'y z'");
    assert_eq!(written(yaml, node.get("é").unwrap()), "[p, {q: r}]");
    assert_eq!(node.get("é").unwrap().span.start, Position::new(5, 4));
}

#[test]
fn line_ends_and_a_byte_order_mark_change_no_place() {
    for yaml in ["a: 1\nb:\n  c: 2\n", "a: 1\r\nb:\r\n  c: 2\r\n", "\u{feff}a: 1\nb:\n  c: 2\n"] {
        let node = tree(yaml);
        let c = node.get("b").unwrap().get("c").unwrap();
        assert_eq!(c.span.start, Position::new(3, 6), "{yaml:?}");
        assert_eq!(written(yaml, c), "2", "{yaml:?}");
        assert_eq!(node.get("a").unwrap().span.start, Position::new(1, 4), "{yaml:?}");
    }
}

#[test]
fn nothing_stands_just_behind_what_announced_it() {
    let node = tree("a:\nb:\n  -\n");
    assert_eq!(node.get("a").unwrap().span.start, Position::new(1, 3));
    assert_eq!(node.get("b").unwrap().as_sequence().unwrap()[0].span.start, Position::new(3, 4));
}

#[test]
fn a_block_stands_at_its_header() {
    for (yaml, column) in [
        ("k: |\n  x\n", 4),
        ("'a | b': >- # |\n\n\n  x\n", 10),
        ("k: &a |\n  x\n", 4),
        ("k: |2\n    x\n", 4),
        ("k: |\n", 4),
        ("k: |", 4),
        ("k: |\n\nl: 1\n", 4),
    ] {
        let node = tree(yaml);
        let (_, value) = &node.as_mapping().unwrap()[0];
        assert_eq!(value.span.start, Position::new(1, column), "{yaml:?}");
    }
}

#[test]
fn an_alias_is_its_anchor_and_remembers_where_it_stands() {
    let node = tree("a: &x {k: v}\nb: *x\n");
    let b = node.get("b").unwrap();
    assert_eq!(b.get("k").and_then(Node::as_str), Some("v"));
    assert_eq!(b.alias.unwrap().start, Position::new(2, 4));
    assert_eq!(b.span.start, Position::new(1, 4));
}

#[test]
fn aliases_cannot_blow_up_a_file() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let (node, findings) = read("t.yml", &bomb, &Options::default());
    assert_eq!(node, None);
    assert_eq!(findings[0].rule, "yaml-too-many-values");

    let (node, findings) = read("t.yml", "a: &a [*a]\n", &Options::default());
    assert_eq!((node, findings[0].rule.as_str()), (None, "yaml-alias"));
}

#[test]
fn a_hostile_file_is_read_or_refused_without_delay() {
    // Each of these once cost the square of its length.
    let expressions = format!("'{}'", "${{a}}".repeat(20_000));
    let scalar = tree(&expressions);
    let template = source::workflow::Template::of(&scalar).expect("it is a scalar");
    assert_eq!(template.parts().expect("all are closed").len(), 20_000);

    let line = format!("[{}]", "é,".repeat(49_000));
    assert_eq!(tree(&line).as_sequence().map(<[Node]>::len), Some(49_000));
    let keys: Vec<String> = (0..20_000).map(|n| format!("k{n}")).collect();
    let empties = format!("{{{}}}", keys.join(","));
    assert_eq!(tree(&empties).as_mapping().map(<[_]>::len), Some(20_000));
    let job = |n: u32| format!("  a{n}: {{needs: [b{n}], runs-on: x}}\n");
    let jobs: String = (0..2_000).map(job).collect();
    let (_, findings) = source::workflow::read("t.yml", &format!("on: push\njobs:\n{jobs}"));
    assert_eq!(findings.len(), 1001);
    let long_key = format!("{}: 1\n", "k".repeat(1000));
    let (_, findings) = source::workflow::read("t.yml", &long_key);
    assert!(findings.iter().any(|finding| finding.rule == "unknown-key"));
}

#[test]
fn nesting_is_bounded_with_aliases_counted() {
    let options = Options { max_depth: 3, ..Options::default() };
    let rule = |yaml: &str| read("t.yml", yaml, &options).1.first().map(|f| f.rule.clone());
    assert_eq!(rule("[[[x]]]"), None);
    assert_eq!(rule("[[[[x]]]]"), Some("yaml-too-deep".to_owned()));
    assert_eq!(rule("[&a [[x]], *a]"), None);
    assert_eq!(rule("[&a [[x]], [*a]]"), Some("yaml-too-deep".to_owned()));
    let deep = "[".repeat(100_000);
    assert!(read("t.yml", &deep, &Options::default()).1[0].is_error());
}

#[test]
fn merge_keys_yield_to_what_is_written() {
    let options = Options { merge_keys: true, ..Options::default() };
    let yaml = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\na:\n  <<: [*b, *o]\n  x: 9\n";
    let (node, findings) = read("t.yml", yaml, &options);
    assert_eq!(findings, []);
    let a = node.unwrap().get("a").unwrap().clone();
    let value = |key| a.get(key).and_then(Node::as_str);
    assert_eq!((value("x"), value("y"), value("z")), (Some("9"), Some("2"), Some("4")));
    assert_eq!(a.as_mapping().unwrap().len(), 3);

    let yaml = "a:\n  x: 9\n  <<: {x: 1, y: 2}\n  x: 8\n";
    insta::assert_snapshot!(self::findings(yaml, &options), @r"
    error[duplicate-key]: the key `x` is already there, at 2:3
     --> t.yml:4:3
      |
    4 |   x: 8
      |   ^ this is the second
      = help: keep one of the two
    ");
}

#[test]
fn the_same_key_twice_names_both_places() {
    let ignoring =
        Options { duplicate_keys: DuplicateKeys::RefuseIgnoringCase, ..Options::default() };
    insta::assert_snapshot!(findings("a: 1\nA: 2\n", &ignoring), @r"
    error[duplicate-key]: the key `A` is already there, at 1:1
     --> t.yml:2:1
      |
    2 | A: 2
      | ^ this is the second
      = help: keep one of the two
    ");
    assert_eq!(findings("a: 1\nA: 2\n", &Options::default()), "");
}

#[test]
fn broken_yaml_says_where_and_what_usually_mends_it() {
    let default = Options::default();
    insta::assert_snapshot!(findings("a: b: c\n", &default), @r"
    error[yaml-syntax]: `:` begins a value here, where no key can stand
     --> t.yml:1:5
      |
    1 | a: b: c
      |     ^
      = help: check the indentation, or put the text in quotes if the `:` belongs to it
    ");
    insta::assert_snapshot!(findings("a:\n\t- b\n", &default), @r"
    error[yaml-syntax]: a tab is used as indentation
     --> t.yml:2:2
      |
    2 |     - b
      |     ^
      = help: indent with spaces; YAML allows no tabs there
    ");
    insta::assert_snapshot!(findings("a: 1\n---\nb: 2\n", &default), @r"
    error[several-documents]: the file holds more than one document
     --> t.yml:3:1
      |
    3 | b: 2
      | ^ the second begins here
      = help: remove the `---` line, or put the second document in a file of its own
    ");
}

#[test]
fn several_documents_are_read_where_they_are_wanted() {
    let (documents, findings) = read_all("t.yml", "a: 1\n---\nb: 2\n", &Options::default());
    assert_eq!((documents.len(), findings), (2, vec![]));
    let (documents, findings) = read_all("t.yml", "# only a comment\n", &Options::default());
    assert_eq!((documents.len(), findings), (0, vec![]));
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let finding = decode("t.yml", b"a: 1\nb: \xff\n").unwrap_err();
    assert_eq!(finding.place.to_string(), "t.yml:2:4");
    assert_eq!(decode("t.yml", b"\xef\xbb\xbfa: 1\n"), Ok("a: 1\n"));
    let (node, findings) = read("t.yml", "a: 1\n\0b: 2\n", &Options::default());
    assert_eq!(node, None);
    assert_eq!(findings[0].place.to_string(), "t.yml:2:1");
}

#[test]
fn every_style_knows_where_its_characters_stand() {
    for (yaml, needle) in [
        ("k: plain é here\n", "here"),
        ("k: plain\n  over lines here\n", "here"),
        ("k: 'it''s here'\n", "here"),
        ("k: \"tab\\t\\u00e9 and \\\n  here\"\n", "here"),
        ("k: |\n  one\n\n    two here\n  three\n", "here"),
        ("k: >-\n  one\n  two\n\n  three here\n", "here"),
        ("k: |2\n    indented here\n", "here"),
        ("- k: >\r\n    folded\r\n    and here\r\n", "here"),
        ("k: \"a\n\n  b here\"\n", "here"),
        ("k: &a here\n", "here"),
        ("k: !!str here\n", "here"),
        ("k: &a # c\n  'it is here'\n", "here"),
        ("k: !!str &a |+ # |\n\n  and here\n\n", "here"),
    ] {
        let node = tree(yaml);
        let node = node.as_sequence().map_or(&node, |items| &items[0]);
        let scalar = node.get("k").unwrap().as_scalar().unwrap();
        let at = scalar.text.find(needle).expect("the text holds the word");
        let span = scalar.span_of(at..at + needle.len());
        assert_eq!(&yaml[LineIndex::new(yaml).range(yaml, span)], needle, "{yaml:?}");
    }
}

/// Walks a tree and checks that every child stands inside its parent or came from elsewhere.
fn assert_sound(node: &Node) {
    assert!(node.span.start <= node.span.end, "{node:?}");
    match &node.value {
        Value::Scalar(scalar) => {
            for (offset, character) in scalar.text.char_indices() {
                let span = scalar.span_of(offset..offset + character.len_utf8());
                assert!(span.start.line >= 1 && span.start.column >= 1);
            }
        }
        Value::Sequence(items) => items.iter().for_each(assert_sound),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                assert_sound(key);
                assert_sound(value);
            }
        }
    }
}

fn assert_readable(yaml: &str) {
    let options = Options { merge_keys: true, glued_comments: true, ..Options::default() };
    let (documents, findings) = read_all("t.yml", yaml, &options);
    documents.iter().for_each(assert_sound);
    told(&findings, yaml);
}

const SEED: &str = "on: {push: [a, 'b']}\njobs:\n  x: &a\n    if: \"${{ a }}\"\n    \
                    run: |\n      echo é\n    <<: *a\n  y: >-\n    a\n    b\n---\n? k\n: !!str v\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(yaml) = decode("t.yml", &bytes) {
            assert_readable(yaml);
        }
    }

    #[test]
    fn text_that_looks_like_yaml_is_read_or_refused(
        yaml in "([-:?&*!|>'\"%@`#{}\\[\\],<~ \n\r\t\u{feff}aé0\\\\]|---\n|<<: |- |: |\\$\\{\\{|\\}\\}){0,60}",
    ) {
        assert_readable(&yaml);
    }

    #[test]
    fn a_mutated_file_is_read_or_refused(
        at in 0..SEED.len(),
        cut in 0..6_usize,
        put in "[-:?&*!|>'\"{}\\[\\],< \n\t]{0,3}",
    ) {
        let characters: Vec<char> = SEED.chars().collect();
        let at = at.min(characters.len());
        let end = (at + cut).min(characters.len());
        let head: String = characters[..at].iter().collect();
        let tail: String = characters[end..].iter().collect();
        assert_readable(&format!("{head}{put}{tail}"));
    }

    #[test]
    fn what_is_written_as_json_is_read_back(texts in prop::collection::vec("[ -~é😀\n\t]{0,12}", 1..6)) {
        let json = serde_json::to_string(&texts).expect("texts are JSON");
        let node = tree(&json);
        let read: Vec<&str> =
            node.as_sequence().expect("it is a list").iter().filter_map(Node::as_str).collect();
        prop_assert_eq!(read, texts.iter().map(String::as_str).collect::<Vec<_>>());
        for (item, text) in node.as_sequence().expect("it is a list").iter().zip(&texts) {
            let scalar = item.as_scalar().expect("it is a text");
            for (offset, character) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
                let span = scalar.span_of(offset..offset + character.len_utf8());
                let written = &json[LineIndex::new(&json).range(&json, span)];
                prop_assert_eq!(written, character.to_string());
            }
        }
    }
}

#[test]
fn a_block_at_the_end_of_the_file_has_the_line_breaks_that_are_written() {
    for (yaml, text) in [
        ("a: |\n  b\n  c", "b\nc"),
        ("a: |\n  b\n  c\n", "b\nc\n"),
        ("a: >\n  b\n  c", "b c"),
        ("a: |+\n  b\n\n", "b\n\n"),
        ("a: |\n  b\n# b", "b\n"),
        ("a:\n - |\n  b\n - b", "b\n"),
    ] {
        let (node, findings) = read("t.yml", yaml, &Options::default());
        assert_eq!(findings, [], "{yaml:?}");
        let node = node.expect("a mapping");
        let value = node.get("a").expect("is there");
        let scalar = value.as_sequence().map_or(value, |items| &items[0]);
        assert_eq!(scalar.as_str(), Some(text), "{yaml:?}");
    }
}
