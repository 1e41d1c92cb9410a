//! Findings for people, with the line they are about.

use std::collections::HashMap;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::yaml::LineIndex;
use crate::{Finding, Severity, Span};

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Characters only.
    Plain,
    /// With the colours of a terminal.
    Colour,
}

/// The widest line shown; a longer one is cut around its underline.
const WIDTH: usize = 140;

/// Returns the findings as text, each with the line it is about and an empty line between two.
///
/// `file` gives the text of a path. Where it gives none, the place is named without its line.
pub fn text(
    findings: &[Finding],
    look: Look,
    mut file: impl FnMut(&str) -> Option<String>,
) -> String {
    let renderer = match look {
        Look::Plain => Renderer::plain(),
        Look::Colour => Renderer::styled(),
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let mut files: HashMap<&str, Option<File>> = HashMap::new();
    let mut told = String::new();
    for finding in findings {
        let path = finding.place.path.as_str();
        let file = files.entry(path).or_insert_with(|| file(path).map(File::new));
        if !told.is_empty() {
            told.push('\n');
        }
        told.push_str(&closed_up(&renderer.render(&[group(finding, file.as_ref())])));
    }
    told
}

/// The text of a file and where its lines begin.
struct File {
    text: String,
    lines: LineIndex,
}

impl File {
    fn new(text: String) -> Self {
        // Positions do not count a byte order mark. Controls above ASCII (the renderer shows the
        // others itself) give way to a character that does nothing, so that columns stay.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace(|c| ('\u{80}'..='\u{9f}').contains(&c), "\u{fffd}");
        let lines = LineIndex::new(&text);
        Self { text, lines }
    }

    /// The first line of a span, and which bytes of that line the span covers.
    fn line(&self, span: Span) -> Option<(&str, std::ops::Range<usize>)> {
        let line = self.lines.line(&self.text, span.start.line)?;
        let byte = |column: u32| {
            let column = column.saturating_sub(1) as usize;
            line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
        };
        let start = byte(span.start.column);
        let end = if span.end.line > span.start.line {
            line.trim_end().len()
        } else {
            byte(span.end.column)
        };
        Some((line, start..end.max(start)))
    }
}

fn group<'a>(finding: &'a Finding, file: Option<&'a File>) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(safe(&finding.message)).id(safe(&finding.rule));
    let path = safe(&finding.place.path);
    let place = finding.place.span;
    let mut group = match (place, place.zip(file).and_then(|(span, file)| file.line(span))) {
        (Some(span), Some((line, range))) => {
            let label = finding.label.as_deref().map(safe);
            title.element(
                Snippet::source(line)
                    .line_start(span.start.line as usize)
                    .path(path)
                    .annotation(AnnotationKind::Primary.span(range).label(label)),
            )
        }
        (Some(span), None) => {
            let origin = Origin::path(path).line(span.start.line as usize);
            title.element(origin.char_column(span.start.column as usize))
        }
        (None, _) => title.element(Origin::path(path)),
    };
    if let Some(why) = &finding.why {
        group = group.element(Level::NOTE.message(safe(why)));
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(safe(help)));
    }
    group
}

/// Takes out the empty `|` line above the first `= note` or `= help`.
fn closed_up(rendered: &str) -> String {
    let bare = |line: &str| {
        let mut bare = String::new();
        let mut pieces = line.split('\u{1b}');
        bare.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            bare.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
        }
        bare.trim().to_owned()
    };
    let lines: Vec<&str> = rendered.lines().collect();
    let mut closed = String::new();
    for (at, line) in lines.iter().enumerate() {
        let next = lines.get(at + 1).map(|next| bare(next)).unwrap_or_default();
        if bare(line) != "|" || !next.starts_with("= ") {
            closed.push_str(line);
            closed.push('\n');
        }
    }
    closed
}

/// Shows control characters instead of sending them: the text comes from a file somebody else
/// wrote, and a terminal would obey it.
fn safe(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' => "\n".to_owned(),
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, Position};
    use insta::assert_snapshot;

    const CI: &str =
        "on: push\njobs:\n  deploy:\n    needs: [buidl]\n    steps: |\n      a\n      b\n";

    fn span(line: u32, from: u32, to: u32) -> Span {
        Span::new(Position::new(line, from), Position::new(line, to))
    }

    fn plain(finding: Finding) -> String {
        text(&[finding], Look::Plain, |path| (path == "ci.yml").then(|| CI.to_owned()))
    }

    #[test]
    fn a_finding_shows_its_line_what_stands_there_and_how_to_mend_it() {
        let message = "job `deploy` waits for a job that does not exist";
        let finding =
            Finding::error("job-needs-unknown", message, Place::at("ci.yml", span(4, 13, 18)))
                .label("no job is called `buidl`")
                .why("it would wait for ever")
                .help("did you mean `build`?");
        assert_snapshot!(plain(finding), @r#"
error[job-needs-unknown]: job `deploy` waits for a job that does not exist
 --> ci.yml:4:13
  |
4 |     needs: [buidl]
  |             ^^^^^ no job is called `buidl`
  = note: it would wait for ever
  = help: did you mean `build`?
"#);
    }

    #[test]
    fn a_span_over_several_lines_underlines_its_first() {
        let long = Span::new(Position::new(5, 12), Position::new(7, 8));
        let finding = Finding::warning("too-long", "it is long", Place::at("ci.yml", long));
        assert_snapshot!(plain(finding), @r#"
warning[too-long]: it is long
 --> ci.yml:5:12
  |
5 |     steps: |
  |            ^
"#);
    }

    #[test]
    fn without_the_file_the_place_is_named_alone() {
        let place = Place::at("gone.yml", span(3, 1, 2));
        let gone = Finding::note("gone", "it was there", place);
        let whole = Finding::error("too-large", "it is too large", Place::file("big.yml"));
        assert_snapshot!(plain(gone) + &plain(whole), @r#"
note[gone]: it was there
--> gone.yml:3:1
error[too-large]: it is too large
--> big.yml
"#);
    }

    #[test]
    fn what_a_stranger_wrote_cannot_command_the_terminal() {
        let told = text(
            &[Finding::error("r", "a\u{1b}[2Jb", Place::at("x\u{7}", span(1, 1, 3)))],
            Look::Plain,
            |_| Some("\u{1b}[31mred\u{9b}".to_owned()),
        );
        assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
    }

    #[test]
    fn a_position_outside_the_file_is_told_all_the_same() {
        for (line, from, to) in [(1, 200, 300), (99, 1, 1), (0, 0, 0), (7, 8, 8), (8, 1, 1)] {
            let finding = Finding::error("r", "m", Place::at("ci.yml", span(line, from, to)));
            assert!(plain(finding).starts_with("error[r]: m\n"));
        }
    }

    #[test]
    fn colour_adds_escapes_and_changes_no_word() {
        let finding = Finding::error("r", "m", Place::at("ci.yml", span(4, 13, 18)));
        let coloured = text(std::slice::from_ref(&finding), Look::Colour, |_| Some(CI.to_owned()));
        assert!(coloured.contains("\u{1b}["));
        let mut rest = coloured.as_str();
        let mut stripped = String::new();
        while let Some(at) = rest.find("\u{1b}[") {
            stripped.push_str(&rest[..at]);
            rest = &rest[at..];
            rest = &rest[rest.find('m').expect("an escape ends in m") + 1..];
        }
        assert_eq!(stripped + rest, plain(finding));
    }
}
