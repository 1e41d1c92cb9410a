//! What the fuzz targets found, each as small as it gets.

use source::yaml::{LineIndex, Options, read};
use source::{Position, Span};

#[test]
fn a_text_that_ends_with_a_line_break_ends_on_its_line() {
    let yaml = "if: |\n  a &&\n  b\n";
    let (node, findings) = read("t.yml", yaml, &Options::default());
    assert_eq!(findings, []);
    let scalar = node.as_ref().and_then(|node| node.get("if")?.as_scalar()).expect("is a text");
    let span = scalar.span_of(0..scalar.text.len());
    assert_eq!(span, Span::new(Position::new(2, 3), Position::new(3, 4)));
    assert_eq!(&yaml[LineIndex::new(yaml).range(yaml, span)], "a &&\n  b");
}
