//! Exit codes, documented and stable.

use std::process::ExitCode;

/// How a command ended, as a shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, all is well.
    Done = 0,
    /// The thing asked for failed: a job, a check, a deployment.
    Failed = 1,
    /// The command line or a file it reads is wrong.
    Usage = 2,
    /// Cancelled or declined.
    Cancelled = 3,
    /// Not allowed.
    NotAllowed = 4,
    /// Not found.
    NotFound = 5,
    /// Held by a gate, or waiting for approval.
    Held = 6,
    /// Deployed, and rolled back automatically.
    RolledBack = 7,
    /// Timed out.
    TimedOut = 8,
    /// The conductor or an engine does not answer.
    Unreachable = 69,
    /// Our bug.
    Bug = 70,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error that knows how the command ends and how to mend it.
#[derive(Debug)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// What to do about it.
    pub help: Option<String>,
}

impl Failure {
    /// Returns a failure with a text.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, error: anyhow::Error::msg(text.into()), help: None }
    }

    /// Says what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what could not be done because of it.
    pub fn context(mut self, text: &'static str) -> Self {
        self.error = self.error.context(text);
        self
    }

    /// Prints it as `error:`, the chain of causes, and `help:`; or as one JSON value.
    pub fn print(&self, json: bool) {
        let causes: Vec<String> = self.error.chain().map(ToString::to_string).collect();
        if json {
            let value = serde_json::json!({
                "error": causes.first(),
                "because": &causes[1..],
                "help": self.help,
                "exit": self.exit as u8,
            });
            println!("{value}");
            return;
        }
        for (number, cause) in causes.iter().enumerate() {
            if number == 0 {
                eprintln!("error: {cause}");
            } else {
                eprintln!("  because: {cause}");
            }
        }
        if let Some(help) = &self.help {
            eprintln!("  help: {help}");
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failed, error: error.into(), help: None }
    }
}

/// What every command gives.
pub type Outcome = Result<Exit, Failure>;
