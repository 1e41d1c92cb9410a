//! What the fuzz targets share: a text that knows where its characters stand, and what must hold
//! for everything that is said about it.
//!
//! Each target under `fuzz_targets` feeds one reader of outside input and asserts more than that
//! it does not panic. `scripts/fuzz` builds them, gathers what they begin with, and runs them.

use source::{Finding, Position, Span};

/// The path that targets give the file they read.
pub const PATH: &str = "file";

/// A text and the characters of its lines.
pub struct Ground {
    lines: Vec<Vec<char>>,
}

impl Ground {
    /// Returns the ground of a text; a byte order mark is no part of it.
    pub fn new(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
        let lines = text.split(['\n', '\r']).map(|line| line.chars().collect()).collect();
        Self { lines }
    }

    /// Returns the character at a position; none behind the end of a line.
    pub fn at(&self, position: Position) -> Option<char> {
        let line = self.lines.get((position.line as usize).checked_sub(1)?)?;
        line.get((position.column as usize).checked_sub(1)?).copied()
    }

    /// Asserts that a span lies inside the text and does not end before it starts. What is about
    /// one character may be about the end of a line, where there is none.
    #[track_caller]
    pub fn holds(&self, span: Span) {
        let (start, mut end) = (span.start, span.end);
        assert!(start <= end, "{span:?} ends before it starts");
        if span == Span::at(start) {
            end = start;
        }
        for position in [start, end] {
            let line = (position.line as usize).checked_sub(1).and_then(|at| self.lines.get(at));
            let line =
                line.unwrap_or_else(|| panic!("{position:?} is on a line that is not there"));
            let column = position.column as usize;
            assert!((1..=line.len() + 1).contains(&column), "{position:?} is beside its line");
        }
    }

    /// Asserts that findings say something and point into the text.
    #[track_caller]
    pub fn hold(&self, findings: &[Finding]) {
        for finding in findings {
            assert!(!finding.rule.is_empty() && !finding.message.is_empty(), "{finding:?}");
            if let Some(span) = finding.place.span.filter(|_| finding.place.path == PATH) {
                self.holds(span);
            }
        }
    }
}

/// Splits an input into as many texts as are asked for; what is missing is empty.
pub fn texts<const COUNT: usize>(input: &str) -> [&str; COUNT] {
    let mut pieces = input.splitn(COUNT, '\0');
    std::array::from_fn(|_| pieces.next().unwrap_or_default())
}
