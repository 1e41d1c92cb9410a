//! File commands: what a step writes to `$GITHUB_ENV` and its like.
//!
//! Each step gets fresh files, which are read when it has ended, however it ended. Reading their
//! content is pure.

use thiserror::Error;

/// A file a step may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileCommand {
    /// `GITHUB_ENV`: variables for the steps that follow.
    Env,
    /// `GITHUB_OUTPUT`: outputs of the step.
    Output,
    /// `GITHUB_PATH`: directories to look for programs in first.
    Path,
    /// `GITHUB_STATE`: what an action hands to its clean-up.
    State,
    /// `GITHUB_STEP_SUMMARY`: words for the page of the run.
    StepSummary,
    /// `GITHUB_ARTIFACTS`: what the step made, see [`crate::subject`].
    Artifacts,
}

impl FileCommand {
    /// Every file command.
    pub const ALL: &[FileCommand] = &[
        FileCommand::Env,
        FileCommand::Output,
        FileCommand::Path,
        FileCommand::State,
        FileCommand::StepSummary,
        FileCommand::Artifacts,
    ];

    /// The variable that holds the path of the file.
    pub fn variable(self) -> &'static str {
        match self {
            FileCommand::Env => "GITHUB_ENV",
            FileCommand::Output => "GITHUB_OUTPUT",
            FileCommand::Path => "GITHUB_PATH",
            FileCommand::State => "GITHUB_STATE",
            FileCommand::StepSummary => "GITHUB_STEP_SUMMARY",
            FileCommand::Artifacts => "GITHUB_ARTIFACTS",
        }
    }

    /// What it is called in the `github` context and in messages.
    pub fn name(self) -> &'static str {
        match self {
            FileCommand::Env => "env",
            FileCommand::Output => "output",
            FileCommand::Path => "path",
            FileCommand::State => "state",
            FileCommand::StepSummary => "step_summary",
            FileCommand::Artifacts => "artifacts",
        }
    }

    /// How the name of its file begins.
    pub fn prefix(self) -> &'static str {
        match self {
            FileCommand::Env => "set_env_",
            FileCommand::Output => "set_output_",
            FileCommand::Path => "add_path_",
            FileCommand::State => "save_state_",
            FileCommand::StepSummary => "step_summary_",
            FileCommand::Artifacts => "artifacts_",
        }
    }
}

/// Why the content of a file could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileCommandError {
    /// A line is neither `NAME=VALUE` nor `NAME<<DELIMITER`.
    #[error("Invalid format '{0}'")]
    Format(String),
    /// There is no name before `=` or `<<`, or no delimiter after it.
    #[error("Invalid format '{0}'. Name must not be empty and delimiter must not be empty")]
    Empty(String),
    /// The delimiter does not come.
    #[error("Invalid value. Matching delimiter not found '{0}'")]
    Delimiter(String),
}

/// Reads names with values: `NAME=VALUE` lines, and `NAME<<DELIMITER` up to the line `DELIMITER`.
///
/// Empty lines are passed over; between delimiters every line end counts but the last.
pub fn read_pairs(text: &str) -> Result<Vec<(String, String)>, FileCommandError> {
    let mut pairs = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while let Some(line) = next_line(&mut rest) {
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=').unwrap_or(usize::MAX);
        let heredoc = line.find("<<").unwrap_or(usize::MAX);
        if equals == heredoc {
            return Err(FileCommandError::Format(line.to_owned()));
        }
        if equals < heredoc {
            if equals == 0 {
                return Err(FileCommandError::Empty(line.to_owned()));
            }
            pairs.push((line[..equals].to_owned(), line[equals + 1..].to_owned()));
        } else {
            let (name, delimiter) = (&line[..heredoc], &line[heredoc + 2..]);
            if name.is_empty() || delimiter.is_empty() {
                return Err(FileCommandError::Empty(line.to_owned()));
            }
            pairs.push((name.to_owned(), value_until(&mut rest, delimiter)?));
        }
    }
    Ok(pairs)
}

fn value_until(rest: &mut &str, delimiter: &str) -> Result<String, FileCommandError> {
    let whole = *rest;
    loop {
        let at = whole.len() - rest.len();
        match next_line(rest) {
            Some(line) if line == delimiter => {
                let value = &whole[..at];
                return Ok(value.strip_suffix('\n').unwrap_or(value).to_owned());
            }
            Some(_) => {}
            None => return Err(FileCommandError::Delimiter(delimiter.to_owned())),
        }
    }
}

/// Reads lines of directories; empty ones are passed over.
pub fn read_paths(text: &str) -> Vec<String> {
    text.strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn next_line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    if rest.is_empty() {
        return None;
    }
    let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
    *rest = after;
    Some(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        read_pairs(text).expect("is legal")
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn empty_lines_are_passed_over() {
        assert_eq!(read("A=1\n\nB=2\n"), [pair("A", "1"), pair("B", "2")]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn a_value_between_delimiters_keeps_its_lines() {
        assert_eq!(read("V<<EOF\n\n\nx\n\nEOF\n"), [pair("V", "\n\nx\n")]);
        assert_eq!(read("V<<EOF\nEOF"), [pair("V", "")]);
        assert_eq!(read("V<<EOF\n\nEOF"), [pair("V", "")]);
        assert_eq!(read("V<<=\na\n=\n"), [pair("V", "a")]);
    }

    #[test]
    fn the_sign_that_comes_first_decides() {
        assert_eq!(read("A=x<<y"), [pair("A", "x<<y")]);
        assert_eq!(read("A<<x=y\nv\nx=y"), [pair("A", "v")]);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        assert_eq!(read_pairs("word"), Err(FileCommandError::Format("word".to_owned())));
        assert_eq!(read_pairs("<<EOF\nEOF"), Err(FileCommandError::Empty("<<EOF".to_owned())));
        assert_eq!(read_pairs("A<<EOF\nx\n"), Err(FileCommandError::Delimiter("EOF".to_owned())));
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in "(A|=|<<|EOF|\n|\\PC){0,30}") {
            let _ = read_pairs(&text);
            let _ = read_paths(&text);
        }

        #[test]
        fn values_come_back_as_they_were_written(
            pairs in proptest::collection::vec(("[A-Z]{1,4}", "[a-z=< \n]{0,12}"), 0..5)
        ) {
            let mut text = String::new();
            for (name, value) in &pairs {
                text += &format!("{name}<<ghadelimiter\n{value}\nghadelimiter\n");
            }
            prop_assert_eq!(read_pairs(&text), Ok(pairs));
        }
    }
}
