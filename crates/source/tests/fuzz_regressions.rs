//! What the fuzz targets found, each as small as it gets.

use std::time::{Duration, Instant};

use source::compose::{ComposeFile, Environment, read_env_file};
use source::workflow::Part;
use source::yaml::{LineIndex, Options, read};
use source::{Position, Span, compose};

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

#[test]
fn indentation_inside_a_block_stands_on_its_own_line() {
    let yaml = "run: |\n  a:\n\n    b\n";
    let (node, _) = read("t.yml", yaml, &Options::default());
    let scalar = node.as_ref().and_then(|node| node.get("run")?.as_scalar()).expect("is a text");
    assert_eq!(scalar.text, "a:\n\n  b\n");
    let stands = |at: usize| scalar.span_of(at..at + 1).start;
    assert_eq!(stands(4), Position::new(4, 3));
    assert_eq!(stands(6), Position::new(4, 5));
    assert_eq!(stands(3), Position::new(2, 5), "an empty line is told as the end before it");
}

#[test]
fn a_comment_glued_to_a_bracket_moves_nothing() {
    let options = Options { glued_comments: true, ..Options::default() };
    for yaml in ["a:\n  - [one]#é, two ]", "a:\n  - [one]#", "a:\n  - [one]##\n"] {
        let (node, findings) = read("t.yml", yaml, &options);
        assert_eq!(findings, [], "{yaml:?}");
        let list = node.as_ref().and_then(|node| node.get("a")).expect("is there");
        let end = list.span.end;
        let line = yaml.lines().nth(1).expect("two lines");
        assert!(end.column as usize <= line.chars().count() + 1, "{yaml:?} ends at {end}");
    }
}

#[test]
fn an_error_at_the_end_is_told_on_the_last_line() {
    let (_, findings) = read("t.yml", "a: 1\nb:c ", &Options::default());
    let span = findings[0].place.span.expect("a position");
    assert_eq!(span, Span::at(Position::new(2, 5)), "{findings:?}");
}

#[test]
fn what_is_open_at_the_end_ends_on_the_last_line() {
    let yaml = "a:\n  b:\n   ? ";
    let (node, _) = read("t.yml", yaml, &Options::default());
    let end = node.expect("a mapping").span.end;
    assert!(end <= Position::new(3, 6), "{end}");
}

#[test]
fn a_line_of_an_env_file_stands_where_a_lone_carriage_return_puts_it() {
    let text = "A=1\n\r\rB C\n";
    let mut findings = Vec::new();
    let _ = read_env_file(".env", text, &Environment::default(), &mut findings);
    let span = findings[0].place.span.expect("a line");
    assert_eq!(span, Span::new(Position::new(2, 1), Position::new(4, 4)));
}

#[test]
fn blanks_before_a_line_break_stay_in_a_quoted_value() {
    let mut findings = Vec::new();
    let text = "A='x  \n1' \nB = y \nC \n";
    let values = read_env_file(".env", text, &Environment::default(), &mut findings);
    assert_eq!(findings, []);
    let values: Vec<_> = values.iter().map(|(name, v)| (name.as_str(), v.as_deref())).collect();
    assert_eq!(values, [("A", Some("x  \n1")), ("B", Some("y")), ("C", None)]);
}

#[test]
fn variables_made_of_variables_cannot_fill_the_memory() {
    let mut text = "A0=0123456789\n".to_owned();
    for line in 1..40 {
        text.push_str(&format!("A{line}=$A{0}$A{0}$A{0}\n", line - 1));
    }
    let mut findings = Vec::new();
    let values = read_env_file(".env", &text, &Environment::default(), &mut findings);
    assert!(values.values().flatten().map(String::len).sum::<usize>() < 8 << 20);
    assert!(
        findings[0].message.starts_with("the variables of the file fill in more"),
        "{findings:?}"
    );

    let long = Environment::new([("A", "x".repeat(1 << 20))]);
    let yaml =
        format!("name: a\nservices: {{a: {{image: x, command: [{}]}}}}\n", "$A, ".repeat(999));
    let (_, findings) = compose::read(&[ComposeFile::new("compose.yaml", yaml)], &long);
    assert!(findings.iter().any(|finding| finding.rule == "compose-variable"));
}

#[test]
fn a_quote_that_is_never_closed_does_not_cost_its_square() {
    let text = format!("A=\"{}", "line\n".repeat(200_000));
    let started = Instant::now();
    let mut findings = Vec::new();
    let values = read_env_file(".env", &text, &Environment::default(), &mut findings);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!((values.len(), findings[0].message.as_str()), (0, "the quote is never closed"));
}

#[test]
fn a_part_that_ends_with_a_folded_line_ends_on_that_line() {
    let text =
        "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: echo |-\n        ${{ 1 }}\n";
    let (workflow, _) = source::workflow::read("w.yml", text);
    let workflow = workflow.expect("a workflow");
    let site = workflow.expressions.iter().find(|site| site.template.text.contains("echo"));
    let parts = site.expect("the script").template.parts().expect("parts");
    let Part::Text { span, .. } = &parts[0] else { panic!("{parts:?}") };
    // The line has 18 characters, so its end is column 19.
    assert_eq!(*span, Span::new(Position::new(6, 12), Position::new(6, 19)));
}

#[test]
fn a_block_whose_text_begins_like_a_header_or_an_anchor_is_found_where_it_stands() {
    for first in ["&", "!", "| ", "> ", ">"] {
        for (before, line) in [("run: |-\n       ", 7), ("run:\n       |-\n       ", 8)] {
            let text = format!(
                "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - {before}{first}${{{{ 1 }}}}\n"
            );
            let (workflow, findings) = source::workflow::read("w.yml", &text);
            let workflow = workflow.unwrap_or_else(|| panic!("{text}\n{findings:?}"));
            let site = workflow.expressions.iter().find(|site| site.template.text.contains("{{"));
            let parts = site.expect("the script").template.parts().expect("parts");
            let Part::Expression { outer, .. } = parts[1] else { panic!("{parts:?}") };
            let column = 8 + first.len() as u32;
            assert_eq!(outer.start, Position::new(line, column), "{text}");
        }
    }
}
