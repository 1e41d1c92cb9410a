//! The log of a job.
//!
//! One file per job, one line per line of output, already masked:
//!
//! ```text
//! 1795400000123 3 o Compiling shop v0.1.0
//! ```
//!
//! is the time in milliseconds since 1970, the number of the step from 1 (0 is the job itself), a
//! letter for the [`Kind`], and the text up to the end of the line. Bytes that are not UTF-8 were
//! replaced. A line that does not read so is damaged and can be shown as it is.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use journal::JobKey;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it came, in milliseconds since 1970.
    pub at: u64,
    /// The step it belongs to, from 1; 0 is the job itself.
    pub step: u32,
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Output.
    Output,
    /// The command line that runs, and what Marline itself has to say.
    Command,
    /// A group begins; the text is its title.
    Group,
    /// A group ends.
    EndGroup,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// A notice.
    Notice,
    /// For those who look for a fault.
    Debug,
}

impl Kind {
    const LETTERS: &[(Kind, char)] = &[
        (Kind::Output, 'o'),
        (Kind::Command, 'c'),
        (Kind::Group, 'g'),
        (Kind::EndGroup, 'e'),
        (Kind::Error, '!'),
        (Kind::Warning, 'w'),
        (Kind::Notice, 'n'),
        (Kind::Debug, 'd'),
    ];

    fn letter(self) -> char {
        Self::LETTERS.iter().find(|(kind, _)| *kind == self).map_or('o', |(_, letter)| *letter)
    }
}

impl Line {
    /// Reads a line of a log file, without its line end.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        let at = parts.next()?.parse().ok()?;
        let step = parts.next()?.parse().ok()?;
        let letter = parts.next()?;
        let (kind, _) = Kind::LETTERS.iter().find(|(_, known)| letter.chars().eq([*known]))?;
        Some(Self { at, step, kind: *kind, text: parts.next()?.to_owned() })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = self.kind.letter();
        // A text of one line stays one.
        let text = self.text.replace('\n', "\u{240a}");
        write!(f, "{} {} {letter} {text}", self.at, self.step)
    }
}

/// Returns where the log of a job lies in the folder of its run's logs.
pub fn path(logs: &Path, job: &JobKey) -> PathBuf {
    let mut name = String::new();
    for byte in job.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            // Every key has its own name, as every other byte is written out.
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > 200 {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(job.as_str().as_bytes());
        name.truncate(120);
        name.push('~');
        name.extend(digest.iter().take(8).map(|byte| format!("{byte:02x}")));
    }
    logs.join(format!("{name}.log"))
}

/// Writes a log, many lines at a time.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log of a job. Losing a log fails no job, so a log that cannot be opened is only
    /// told once.
    pub fn create(path: &Path) -> (Self, Option<io::Error>) {
        let made =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(path));
        let (file, error) = match made {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error)),
        };
        let buffer = Vec::new();
        (Self { file, buffer }, error)
    }

    pub fn write(&mut self, lines: &[Line]) {
        for line in lines {
            // Writing to memory cannot fail.
            let _ = writeln!(self.buffer, "{line}");
        }
        if let Some(file) = &mut self.file
            && file.write_all(&self.buffer).is_err()
        {
            self.file = None;
        }
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_differ_have_logs_that_differ() {
        let logs = Path::new("/logs");
        let path = |key: &str| path(logs, &JobKey(key.to_owned()));
        assert_eq!(path("test (3.12)"), Path::new("/logs/test%20%283.12%29.log"));
        assert_ne!(path("a/b"), path("a b"));
        assert_ne!(path(&"x".repeat(300)), path(&"x".repeat(301)));
        assert_eq!(path("../x"), Path::new("/logs/..%2Fx.log"));
    }

    proptest! {
        #[test]
        fn a_line_comes_back_as_it_was_written(at: u64, step: u32, kind in 0..Kind::LETTERS.len(), text in "[^\n]{0,40}") {
            let line = Line { at, step, kind: Kind::LETTERS[kind].0, text };
            prop_assert_eq!(Line::parse(&line.to_string()), Some(line));
        }

        #[test]
        fn any_text_is_a_line_or_damaged(text in "\\PC{0,40}") {
            let _ = Line::parse(&text);
        }
    }
}
