//! What is wrong with a workflow, and whether GitHub's own reader says so too.

use crate::yaml::Findings;
use crate::{Finding, Place, Span};

/// What is wrong with one file, in the order it was noticed.
#[derive(Debug)]
pub(super) struct Faults {
    path: String,
    /// What GitHub's reader says.
    pub said: Vec<Fault>,
    /// What only we say: warnings, and errors that GitHub finds elsewhere.
    pub own: Findings,
}

/// An error in GitHub's words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// The error.
    pub finding: Finding,
    /// What GitHub says of its place.
    pub shown: Shown,
}

/// What GitHub says of the place of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// File, line and column.
    Position,
    /// Only the file.
    File,
    /// Nothing.
    Nothing,
}

impl Faults {
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), said: Vec::new(), own: Findings::new(path) }
    }

    /// The path of the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Adds an error that GitHub shows with its position.
    pub fn at(&mut self, rule: &str, message: impl Into<String>, span: Span) -> &mut Finding {
        self.say(rule, message.into(), Place::at(self.path.as_str(), span), Shown::Position)
    }

    /// Adds an error of which GitHub names only the file.
    pub fn in_file(&mut self, rule: &str, message: impl Into<String>, span: Span) -> &mut Finding {
        self.say(rule, message.into(), Place::at(self.path.as_str(), span), Shown::File)
    }

    /// Adds an error that is about no place in particular.
    pub fn nowhere(&mut self, rule: &str, message: impl Into<String>) -> &mut Finding {
        self.say(rule, message.into(), Place::file(self.path.as_str()), Shown::Nothing)
    }

    fn say(&mut self, rule: &str, message: String, place: Place, shown: Shown) -> &mut Finding {
        self.said.push(Fault { finding: Finding::error(rule, message, place), shown });
        &mut self.said.last_mut().expect("it was pushed on the line above").finding
    }

    /// Adds what was found later. Once the reading has failed GitHub looks no further, so that what
    /// else is wrong is ours to say.
    pub fn append(&mut self, later: Faults) {
        let looked_further = self.said.is_empty();
        self.own.extend(later.own.into_list());
        if looked_further {
            self.said.extend(later.said);
        } else {
            self.own.extend(later.said.into_iter().map(|fault| fault.finding));
        }
    }

    /// Everything that was found, in the order of the file.
    pub fn into_findings(self) -> Vec<Finding> {
        let mut all = self.own;
        all.extend(self.said.into_iter().map(|fault| fault.finding));
        all.into_sorted()
    }
}

impl Fault {
    /// The error as GitHub shows it, cut where GitHub cuts it.
    pub fn line(&self) -> String {
        const LONGEST: usize = 500;
        let path = &self.finding.place.path;
        let message = &self.finding.message;
        let line = match (self.shown, self.finding.place.span) {
            (Shown::Position, Some(span)) => {
                let (line, column) = (span.start.line, span.start.column);
                format!("{path} (Line: {line}, Col: {column}): {message}")
            }
            (Shown::Nothing, _) => message.clone(),
            (Shown::Position | Shown::File, _) => format!("{path}: {message}"),
        };
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}[...]", &line[..end]),
            None => line,
        }
    }
}
