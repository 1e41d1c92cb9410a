//! Where Marline keeps what it knows about a repository: one directory.
//!
//! ```text
//! .git/marline/
//!   journal.db         what happened (crate `journal`)
//!   conductor.lock     held by the process that decides
//!   conductor.sock     where it is asked
//!   conductor.log
//!   proxy/             socket, routes and log of the proxy
//!   runs/N/            logs and, while it runs, workspaces of run N
//!   artifacts/         files kept from runs, by content
//!   actions/           actions of other repositories, by commit
//!   concurrency/ID/    who runs and who waits in a group of `concurrency`
//!   replay/            what steps did, to be replayed
//!   series/            numbers over time
//!   releases/ID/       immutable releases
//!   instances/ID/      shim, output and exit status of each instance
//!   volumes/           named volumes
//!   vault/             secrets, encrypted
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use source::git::Repository;

/// The directory with everything Marline knows about a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// Returns the state of a repository: `marline` inside its Git directory, unless `elsewhere`.
    pub fn of(repository: &Repository, elsewhere: Option<&Path>) -> Self {
        let root = match elsewhere {
            Some(path) => path.to_owned(),
            None => repository.common_dir().join("marline"),
        };
        Self { root }
    }

    /// Whether anything was ever kept here.
    pub fn exists(&self) -> bool {
        self.journal().exists()
    }

    /// Makes the directories, readable for nobody else.
    pub fn make(&self) -> io::Result<()> {
        for directory in [&self.root, &self.runs(), &self.artifacts(), &self.proxy()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        Ok(())
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the journal's database file.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.db")
    }

    /// Returns the directory of all runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Returns the directory of one run.
    pub fn run(&self, run: journal::RunId) -> PathBuf {
        self.runs().join(run.to_string())
    }

    /// Returns where results of tests of one run are.
    pub fn tests(&self, run: journal::RunId) -> PathBuf {
        self.run(run).join("tests")
    }

    /// Returns where files kept from runs are.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// Returns where actions of other repositories are.
    pub fn actions(&self) -> PathBuf {
        self.root.join("actions")
    }

    /// Returns where it is kept who waits for whom.
    pub fn concurrency(&self) -> PathBuf {
        self.root.join("concurrency")
    }

    /// Returns where it is kept what steps did, to be replayed.
    pub fn replay(&self) -> PathBuf {
        self.root.join("replay")
    }

    /// Returns where releases are.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Returns the directory of the series.
    pub fn series(&self) -> PathBuf {
        self.root.join("series")
    }

    /// Returns where instances are.
    pub fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Returns the directory of the proxy.
    pub fn proxy(&self) -> PathBuf {
        self.root.join("proxy")
    }

    /// Returns where secrets are.
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    /// Returns the lock that the deciding process holds.
    pub fn lock(&self) -> PathBuf {
        self.root.join("conductor.lock")
    }

    /// Returns the log of a conductor in the background.
    pub fn log(&self) -> PathBuf {
        self.root.join("conductor.log")
    }
}
