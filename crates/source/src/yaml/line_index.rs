//! From lines and columns to bytes of a text, and back.

use crate::{Position, Span};

/// Where the lines of a text begin.
///
/// `\n`, `\r\n` and a lone `\r` end a line, as YAML has it. Columns count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineIndex {
    starts: Vec<usize>,
    length: usize,
}

impl LineIndex {
    /// Returns the index of `text`.
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
            let first_half_of_crlf = bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n');
            if !first_half_of_crlf {
                starts.push(at + 1);
            }
        }
        Self { starts, length: bytes.len() }
    }

    /// How many lines the text has; an empty text has one.
    pub fn lines(&self) -> u32 {
        self.starts.len() as u32
    }

    /// Returns the line (from 1) of `text` without its end, if there is such a line.
    pub fn line<'a>(&self, text: &'a str, line: u32) -> Option<&'a str> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied().unwrap_or(self.length);
        Some(text.get(start..end)?.trim_end_matches(['\n', '\r']))
    }

    /// Returns the byte at a position; a column past the end of its line is the end of that line.
    pub fn offset(&self, text: &str, position: Position) -> usize {
        let Some(line) = self.line(text, position.line) else {
            return self.length;
        };
        let start = self.starts[position.line as usize - 1];
        let column = position.column.saturating_sub(1) as usize;
        let within = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        start + within
    }

    /// Returns the bytes a span covers.
    pub fn range(&self, text: &str, span: Span) -> std::ops::Range<usize> {
        let start = self.offset(text, span.start);
        start..self.offset(text, span.end).max(start)
    }

    /// Returns the position of a byte; a byte inside a character belongs to that character.
    pub fn position(&self, text: &str, offset: usize) -> Position {
        let mut offset = offset.min(self.length);
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset);
        let column = text[self.starts[line - 1]..offset].chars().count() + 1;
        Position::new(line as u32, column as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_begins_a_line() {
        let text = "a\nbé\r\nc\rd";
        let index = LineIndex::new(text);
        assert_eq!(index.lines(), 4);
        assert_eq!(index.line(text, 2), Some("bé"));
        assert_eq!(index.line(text, 5), None);
        assert_eq!(index.position(text, text.find('d').unwrap()), Position::new(4, 1));
        assert_eq!(index.offset(text, Position::new(2, 2)), text.find('é').unwrap());
        assert_eq!(index.offset(text, Position::new(2, 99)), text.find('\r').unwrap());
    }

    proptest::proptest! {
        #[test]
        fn positions_and_offsets_are_each_others_inverse(text in "[aé\n\r ]{0,40}") {
            let index = LineIndex::new(&text);
            for (offset, character) in text.char_indices() {
                if character != '\n' && character != '\r' {
                    let position = index.position(&text, offset);
                    proptest::prop_assert_eq!(index.offset(&text, position), offset);
                }
            }
        }
    }
}
