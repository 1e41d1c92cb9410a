//! Actions of other repositories, kept by commit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use source::git::{CommitId, GitError, fetch_to, remote_commit};
use thiserror::Error;

/// The variable with the address below which repositories are looked for.
pub const MIRROR: &str = "MARLINE_ACTIONS_MIRROR";

/// Where repositories are looked for when nobody says otherwise.
const USUAL: &str = "https://github.com";

/// Repositories of actions on this machine.
///
/// `OWNER/NAME/COMMIT` holds the files of a commit, and `OWNER/NAME/refs/NAME` the commit that a
/// tag or branch was when it was last asked for, so that what was fetched once works without a
/// network.
#[derive(Debug, Clone)]
pub struct Library {
    dir: PathBuf,
    base: String,
}

/// The files of an action's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The commit.
    pub commit: String,
    /// Its files.
    pub dir: PathBuf,
    /// Why the commit may be an old one: nobody could be asked what the name is today.
    pub stale: Option<String>,
}

/// Why an action could not be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// There is no such tag, branch or commit.
    #[error("{url} has no tag, branch or commit `{git_ref}`")]
    Unknown {
        /// Where it was looked for.
        url: String,
        /// What was asked for.
        git_ref: String,
    },
    /// The repository could not be reached or read.
    #[error("{url} could not be read: {why}")]
    Unreachable {
        /// The repository.
        url: String,
        /// What Git says.
        why: String,
    },
    /// The files could not be kept.
    #[error("it could not be kept in {}", path.display())]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Library {
    /// Returns the library in a directory, filled from where `MARLINE_ACTIONS_MIRROR` says, or
    /// from GitHub.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let base = std::env::var(MIRROR).ok().filter(|base| !base.trim().is_empty());
        Self::with_mirror(dir, base.unwrap_or_else(|| USUAL.to_owned()))
    }

    /// Returns the library in a directory, filled from repositories below an address.
    pub fn with_mirror(dir: impl Into<PathBuf>, base: impl Into<String>) -> Self {
        let base = base.into().trim().trim_end_matches('/').to_owned();
        Self { dir: dir.into(), base }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the files of `owner/name` at a tag, branch or commit, fetching what is not there.
    pub fn fetch(&self, repository: &str, git_ref: &str) -> Result<Fetched, FetchError> {
        let url = format!("{}/{repository}", self.base);
        let home = self.dir.join(repository.to_lowercase());
        let note = home.join("refs").join(escaped(git_ref));
        let unreachable =
            |error: &GitError| FetchError::Unreachable { url: url.clone(), why: told(error) };
        let mut stale = None;
        let commit = match remote_commit(&url, git_ref) {
            Ok(Some(commit)) => commit,
            Ok(None) => {
                return Err(FetchError::Unknown { url, git_ref: git_ref.to_owned() });
            }
            Err(error) => match last_known(&note) {
                Some(commit) => {
                    stale = Some(told(&error));
                    commit
                }
                None => return Err(unreachable(&error)),
            },
        };
        let dir = home.join(commit.as_str());
        if !dir.is_dir() {
            self.bring(&url, &commit, &dir, unreachable)?;
        }
        if git_ref != commit.as_str() {
            let written = fs::create_dir_all(home.join("refs"))
                .and_then(|()| fs::write(&note, commit.as_str()));
            written.map_err(|source| FetchError::Keep { path: note, source })?;
        }
        Ok(Fetched { commit: commit.as_str().to_owned(), dir, stale })
    }

    /// Fetches a commit beside its place and moves it there whole.
    fn bring(
        &self,
        url: &str,
        commit: &CommitId,
        dir: &Path,
        unreachable: impl Fn(&GitError) -> FetchError,
    ) -> Result<(), FetchError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let beside = self.dir.join(format!(".fetch-{}-{number}", std::process::id()));
        let kept = |source| FetchError::Keep { path: dir.to_owned(), source };
        fs::create_dir_all(dir.parent().unwrap_or(&self.dir)).map_err(kept)?;
        let fetched = fetch_to(url, commit, &beside);
        let moved = fetched.as_ref().map_err(&unreachable).and_then(|()| {
            match fs::rename(&beside, dir) {
                // Another run was faster.
                Err(_) if dir.is_dir() => Ok(()),
                moved => moved.map_err(kept),
            }
        });
        let _ = fs::remove_dir_all(&beside);
        moved
    }
}

fn last_known(note: &Path) -> Option<CommitId> {
    fs::read_to_string(note).ok()?.trim().parse().ok()
}

fn told(error: &GitError) -> String {
    match error {
        GitError::Failed { stderr, .. } => stderr.clone(),
        other => other.to_string(),
    }
}

/// A name of one part, each its own.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text.truncate(200);
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, arguments: &[&str]) {
        let status = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .status();
        assert!(status.expect("git is there").success());
    }

    fn mirror(base: &Path) -> PathBuf {
        let dir = base.join("mirror/Owner/act");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("action.yml"), "one").expect("a file");
        git(&dir, &["init", "-q", "-b", "main"]);
        git(&dir, &["add", "-A"]);
        git(&dir, &["commit", "-q", "-m", "one"]);
        git(&dir, &["tag", "-a", "v1", "-m", "v1"]);
        dir
    }

    #[test]
    fn a_tag_a_branch_and_a_commit_are_found_and_kept() {
        let base = tempfile::tempdir().expect("a directory");
        let dir = mirror(base.path());
        let url = format!("file://{}", base.path().join("mirror").display());
        let library = Library::with_mirror(base.path().join("kept"), url);
        let tag = library.fetch("Owner/act", "v1").expect("is there");
        let branch = library.fetch("Owner/act", "main").expect("is there");
        let commit = library.fetch("Owner/act", &tag.commit).expect("is there");
        assert_eq!((&tag.commit, &tag.dir), (&branch.commit, &commit.dir));
        assert_eq!(fs::read_to_string(tag.dir.join("action.yml")).expect("is there"), "one");
        assert!(!tag.dir.join(".git").exists());

        // Without the repository, what was fetched still works and says what it is.
        fs::rename(&dir, base.path().join("gone")).expect("moves");
        let again = library.fetch("Owner/act", "v1").expect("is kept");
        assert_eq!(again.commit, tag.commit);
        assert!(again.stale.is_some());
        let error = library.fetch("Owner/act", "v2").expect_err("is not there");
        assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn a_name_nobody_knows_is_said() {
        let base = tempfile::tempdir().expect("a directory");
        mirror(base.path());
        let url = format!("file://{}", base.path().join("mirror").display());
        let library = Library::with_mirror(base.path().join("kept"), url);
        let error = library.fetch("Owner/act", "v9").expect_err("is not there");
        assert!(error.to_string().ends_with("has no tag, branch or commit `v9`"), "{error}");
    }
}
