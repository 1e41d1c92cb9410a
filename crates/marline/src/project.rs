//! The repository a command works on, and what is known about it.

use std::path::PathBuf;

use journal::{Journal, View};
use source::git::{GitError, Repository};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::state::State;

/// The repository a command works on.
pub struct Here {
    /// The repository.
    pub repository: Repository,
    /// Where Marline keeps what it knows about it.
    pub state: State,
    /// Whether to print JSON.
    pub json: bool,
    /// Whether to use colour on standard output.
    pub colour: bool,
    /// Whether nobody may be asked.
    pub no_input: bool,
}

impl Here {
    /// Finds the repository of the directory that the command line names.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        let repository = Repository::discover(&global.directory).map_err(git_failure)?;
        let state = State::of(&repository, global.state.as_deref());
        Ok(Self {
            repository,
            state,
            json: global.json,
            colour: global.colour(),
            no_input: global.no_input,
        })
    }

    /// Opens the journal, making it if need be.
    pub fn journal(&self) -> Result<Journal, Failure> {
        self.state.make().map_err(|error| {
            let path = self.state.root().display();
            Failure::from(anyhow::Error::new(error).context(format!("make the directory {path}")))
                .help("choose another place with --state")
        })?;
        Ok(Journal::open(self.state.journal())?)
    }

    /// Opens the journal of a repository that has one.
    pub fn known(&self) -> Result<(Journal, View), Failure> {
        if !self.state.exists() {
            return Err(Failure::new(Exit::NotFound, "nothing has run in this repository yet")
                .help("run its workflows with `marline run`, or everything with `marline up`"));
        }
        let journal = self.journal()?;
        let view = journal.view()?;
        Ok((journal, view))
    }

    /// Returns the text of a file as findings point at it.
    pub fn text(&self, path: &str) -> Option<String> {
        let path: PathBuf = self.repository.root().join(path);
        let bytes = std::fs::read(path).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns how findings look on standard error.
    pub fn look(&self) -> source::render::Look {
        if self.colour { source::render::Look::Colour } else { source::render::Look::Plain }
    }
}

/// Turns what Git said into a failure that says how to mend it.
pub fn git_failure(error: GitError) -> Failure {
    let help = error.help();
    let exit = match error {
        GitError::NotARepository { .. } | GitError::UnknownRevision { .. } => Exit::NotFound,
        GitError::UnsafeOwnership { .. } => Exit::NotAllowed,
        _ => Exit::Failed,
    };
    let failure = Failure { exit, error: error.into(), help: None };
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}
