//! Which character of a scalar's text stands where in the file.

use super::Style;
use crate::{Position, Span};

/// After how many characters a stretch gets another entry, so that a position deep in a long line
/// need not be counted from its start.
const MILE: usize = 256;

/// Which character of a scalar's text stands where in the file.
///
/// Quotes, escapes, indentation and folding move text; between two such moves, text and file run
/// in step. The layout keeps one entry for each move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Byte of the text and the position it stands at, in the order of the text.
    stretches: Vec<(usize, Position)>,
}

impl Layout {
    /// A text that stands in one piece from `start`.
    pub fn straight(text: &str, start: Position) -> Self {
        let characters = text.char_indices().zip(start.column..);
        let milestones = characters.step_by(MILE).skip(1);
        let mut stretches = vec![(0, start)];
        stretches
            .extend(milestones.map(|((at, _), column)| (at, Position::new(start.line, column))));
        Self { stretches }
    }

    /// Returns the position of a byte of the text.
    pub fn position(&self, text: &str, offset: usize) -> Position {
        let next = self.stretches.partition_point(|(begins, _)| *begins <= offset);
        let Some(&(begins, at)) = next.checked_sub(1).and_then(|i| self.stretches.get(i)) else {
            return self.stretches.first().map_or(Position::new(1, 1), |(_, at)| *at);
        };
        let within = text.get(begins..offset).unwrap_or_default();
        let width = |text: &str| text.chars().count() as u32;
        let Some(line_end) = within.find('\n') else {
            return Position::new(at.line, at.column + width(within));
        };
        // Blanks at the start of a line stand before the word that follows them.
        let before = self.stretches.get(next).and_then(|(begins, at)| {
            let between = text.get(offset..*begins).filter(|between| !between.contains('\n'))?;
            Some(Position::new(at.line, at.column.saturating_sub(width(between)).max(1)))
        });
        before.unwrap_or_else(|| Position::new(at.line, at.column + width(&within[..line_end])))
    }

    /// Returns where a part of the text stands. The end is just behind its last character, so
    /// that a part never reaches over a quote, and before a line break, which has no width, also
    /// where it was folded into a blank.
    pub fn span(&self, text: &str, part: std::ops::Range<usize>) -> Span {
        let start = self.position(text, part.start);
        let Some(last) = text.get(part.clone()).and_then(|part| part.chars().next_back()) else {
            return Span::new(start, start);
        };
        let end = self.position(text, part.end - last.len_utf8());
        let next = self.stretches.binary_search_by_key(&part.end, |(begins, _)| *begins);
        let is_folded =
            last == ' ' && next.is_ok_and(|next| self.stretches[next].1.line > end.line);
        let width = u32::from(last != '\n' && !is_folded);
        Span::new(start, Position::new(end.line, end.column + width))
    }

    /// Finds the layout of a scalar by walking its text and its source in step.
    ///
    /// All styles keep the characters that are not white space, in order; what a `\` escapes
    /// is the one exception. So white space is skipped on both sides and the rest matched.
    pub(super) fn find(raw: &str, start: Position, text: &str, style: Style) -> Self {
        let content = content_start(raw, style);
        let start = advanced(start, &raw[..content]);
        let raw = &raw[content..];
        if raw.starts_with(text) && !text.contains('\n') {
            return Self::straight(text, start);
        }
        let mut walk =
            Walk { raw, text, text_at: 0, at: start, stretches: Vec::new(), expected: None };
        walk.run(style);
        if walk.stretches.first().is_none_or(|(begins, _)| *begins > 0) {
            // Leading white space of the text stands just before its first character.
            let at = walk.stretches.first().map_or(start, |(begins, at)| {
                let back = text[..*begins].chars().rev().take_while(|c| *c != '\n').count();
                let column = at.column.saturating_sub(back as u32).max(1);
                Position::new(at.line, column)
            });
            walk.stretches.insert(0, (0, at));
        }
        Self { stretches: walk.stretches }
    }
}

/// The position behind a text that begins at `start`.
fn advanced(start: Position, over: &str) -> Position {
    let mut walk =
        Walk { raw: over, text: "", text_at: 0, at: start, stretches: Vec::new(), expected: None };
    while walk.step_source().is_some() {}
    walk.at
}

/// Where the text of a scalar begins in its source: behind anchor and tag, quote or header.
fn content_start(raw: &str, style: Style) -> usize {
    let mut rest = raw;
    while rest.starts_with(['&', '!']) {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_whitespace());
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        while rest.starts_with('#') {
            rest = rest.trim_start_matches(|c| c != '\n' && c != '\r');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        }
    }
    let start = raw.len() - rest.len();
    match style {
        Style::Plain => start,
        Style::SingleQuoted | Style::DoubleQuoted => start + usize::from(!rest.is_empty()),
        Style::Literal | Style::Folded => {
            let header = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let line_end = if rest[header..].starts_with("\r\n") { 2 } else { 1 };
            (start + header + line_end).min(raw.len())
        }
    }
}

/// A walk along a scalar's source and its text.
struct Walk<'a> {
    raw: &'a str,
    text: &'a str,
    text_at: usize,
    at: Position,
    stretches: Vec<(usize, Position)>,
    /// Where the next character of the text stands if nothing moves.
    expected: Option<(usize, Position)>,
}

impl Walk<'_> {
    fn run(&mut self, style: Style) {
        while let Some(character) = self.raw.chars().next() {
            if character.is_ascii_whitespace() {
                self.step_source();
                continue;
            }
            let here = self.at;
            if style == Style::DoubleQuoted && character == '\\' {
                let written = self.escape();
                if written.is_some_and(|written| !written.is_ascii_whitespace()) {
                    self.matched(here, None);
                }
                continue;
            }
            if style == Style::SingleQuoted && self.raw.starts_with("''") {
                self.step_source();
            }
            self.step_source();
            if !self.matched(here, Some(character)) {
                break;
            }
        }
    }

    /// Moves the text over its next character that is not white space and notes where it stands.
    /// `written` is the character of the source, unless an escape stands for it.
    fn matched(&mut self, here: Position, written: Option<char>) -> bool {
        let rest = &self.text[self.text_at..];
        let skipped = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
        let Some(character) = rest[skipped..].chars().next() else {
            return false;
        };
        let begins = self.text_at + skipped;
        // Blanks between words are in step too, as long as they are as wide as in the source.
        let in_step = self.expected.is_some_and(|(from, at)| {
            let between = &self.text[from..begins];
            !between.contains('\n')
                && at.line == here.line
                && at.column + between.chars().count() as u32 == here.column
        });
        let far = self.stretches.last().is_some_and(|(last, _)| begins - last >= MILE);
        if !in_step || far {
            self.stretches.push((begins, here));
        }
        self.text_at = begins + character.len_utf8();
        self.expected = (written.is_some() && self.at == Position::new(here.line, here.column + 1))
            .then_some((self.text_at, self.at));
        true
    }

    /// Moves over one character of the source.
    fn step_source(&mut self) -> Option<char> {
        let character = self.raw.chars().next()?;
        self.raw = &self.raw[character.len_utf8()..];
        match character {
            '\r' if self.raw.starts_with('\n') => {}
            '\n' | '\r' => self.at = Position::new(self.at.line + 1, 1),
            _ => self.at.column += 1,
        }
        Some(character)
    }

    /// Moves over an escape; returns what it writes, if that is not nothing.
    fn escape(&mut self) -> Option<char> {
        self.step_source();
        let kind = self.step_source()?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            't' | '\t' | 'n' | 'r' | ' ' => return Some(' '),
            '\n' => return None,
            '\r' => {
                if self.raw.starts_with('\n') {
                    self.step_source();
                }
                return None;
            }
            // Vertical tab and form feed: only the latter is ASCII white space to Rust.
            'f' => return Some(' '),
            other => {
                return Some(if other.is_ascii_whitespace() { ' ' } else { 'x' });
            }
        };
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.step_source()?.to_digit(16)?;
        }
        char::from_u32(code)
    }
}
