//! The command lines of shells.

use thiserror::Error;

/// What runs the script of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program, looked up in the `PATH` of the step.
    pub program: String,
    /// Its arguments, with `{0}` where the script goes.
    arguments: Vec<String>,
    /// How the name of the script ends.
    pub extension: &'static str,
    before: &'static str,
    after: &'static str,
}

/// Why a text names no shell.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{shell}` is not a shell: {why}")]
pub struct ShellError {
    /// The text.
    pub shell: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Shell {
    /// The shell of a step that names none: `bash` where there is one, otherwise `sh`.
    pub fn unnamed(has_bash: bool) -> Self {
        Self::of(if has_bash { "bash" } else { "sh" }, &["-e", "{0}"], ".sh")
    }

    /// Reads the name of a shell, or a command line with `{0}`.
    pub fn parse(text: &str) -> Result<Self, ShellError> {
        Ok(match text {
            "bash" => {
                Self::of("bash", &["--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"], ".sh")
            }
            "sh" => Self::of("sh", &["-e", "{0}"], ".sh"),
            "python" => Self::of("python", &["{0}"], ".py"),
            "pwsh" | "powershell" => Self {
                before: "$ErrorActionPreference = 'stop'\n",
                after: "\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) { exit $LASTEXITCODE }",
                ..Self::of(text, &["-command", ". '{0}'"], ".ps1")
            },
            "cmd" => {
                return Err(ShellError {
                    shell: text.to_owned(),
                    why: "it exists only on Windows",
                });
            }
            _ => Self::custom(text)?,
        })
    }

    fn of(program: &str, arguments: &[&str], extension: &'static str) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            extension,
            before: "",
            after: "",
        }
    }

    fn custom(text: &str) -> Result<Self, ShellError> {
        let wrong = |why| ShellError { shell: text.to_owned(), why };
        let trimmed = text.trim();
        let (program, arguments) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        if !arguments.contains("{0}") {
            return Err(wrong("a command line of your own needs `{0}` where the script goes"));
        }
        let arguments = words(arguments).ok_or_else(|| wrong("a quote is not closed"))?;
        let extension = match program.rsplit('/').next() {
            Some("bash" | "sh") => ".sh",
            Some("python") => ".py",
            Some("pwsh" | "powershell") => ".ps1",
            _ => "",
        };
        Ok(Self { program: program.to_owned(), arguments, extension, before: "", after: "" })
    }

    /// The arguments for a script.
    pub fn arguments(&self, script: &str) -> Vec<String> {
        self.arguments.iter().map(|argument| argument.replace("{0}", script)).collect()
    }

    /// What the script's file holds.
    pub fn script(&self, text: &str) -> String {
        format!("{}{text}{}", self.before, self.after)
    }
}

/// Splits a command line at blanks; quotes keep words together.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(shell: &Shell) -> String {
        format!("{} {}", shell.program, shell.arguments("S").join(" "))
    }

    #[test]
    fn shells_have_the_command_lines_of_github() {
        assert_eq!(line(&Shell::unnamed(true)), "bash -e S");
        assert_eq!(line(&Shell::unnamed(false)), "sh -e S");
        for (name, expected) in [
            ("bash", "bash --noprofile --norc -e -o pipefail S"),
            ("sh", "sh -e S"),
            ("python", "python S"),
            ("pwsh", "pwsh -command . 'S'"),
            ("perl -w {0}", "perl -w S"),
            ("awk -f \"{0}\" 'a b'", "awk -f S a b"),
        ] {
            assert_eq!(line(&Shell::parse(name).expect("is a shell")), expected);
        }
    }

    #[test]
    fn a_command_line_needs_a_place_for_the_script() {
        assert!(Shell::parse("perl").is_err());
        assert!(Shell::parse("cmd").is_err());
        assert!(Shell::parse("perl '{0}").is_err());
    }

    #[test]
    fn powershell_stops_at_errors() {
        let shell = Shell::parse("pwsh").expect("is a shell");
        assert!(shell.script("x").starts_with("$ErrorActionPreference = 'stop'\nx\n"));
    }
}
