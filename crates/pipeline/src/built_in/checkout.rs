//! `actions/checkout`: the commit's files in the workspace.

use std::path::{Component, Path, PathBuf};

use source::git::{CloneOptions, CommitId, Repository};

/// Where the files of a commit come from.
pub trait Checkout: Send + Sync {
    /// Puts a commit into an empty directory, as a Git work tree: what the run is for when
    /// `reference` is none, otherwise what a branch, tag or commit of this name is.
    fn checkout(&self, reference: Option<&str>, dir: &Path) -> Result<CheckedOut, String>;

    /// Directories that a checkout reads from later, so that jobs must be able to read them.
    fn readable(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// What was checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOut {
    /// The commit.
    pub commit: String,
    /// The branch or tag, as far as it is known.
    pub git_ref: String,
}

/// Checks out of a repository of this machine.
#[derive(Debug, Clone)]
pub struct RepositoryCheckout {
    /// The repository.
    pub repository: Repository,
    /// The commit of the run.
    pub commit: CommitId,
    /// The branch of the run; none when it is not on one.
    pub branch: Option<String>,
    /// Whether to take along what is not committed.
    pub include_uncommitted: bool,
}

impl Checkout for RepositoryCheckout {
    fn checkout(&self, reference: Option<&str>, dir: &Path) -> Result<CheckedOut, String> {
        let said = |error: &dyn std::error::Error| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                cause = inner.source();
            }
            text
        };
        let short = |name: &str| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
        let (commit, branch, uncommitted) = match reference {
            None => (self.commit.clone(), self.branch.clone(), self.include_uncommitted),
            Some(name) => {
                let commit = self.repository.resolve(name).map_err(|error| said(&error))?;
                let tip = self.repository.branch_tip(&short(name)).map_err(|error| said(&error))?;
                (commit, tip.map(|_| short(name)), false)
            }
        };
        let options = CloneOptions { branch: branch.clone(), include_uncommitted: uncommitted };
        self.repository.clone_to(&commit, dir, &options).map_err(|error| said(&error))?;
        Ok(CheckedOut {
            commit: commit.as_str().to_owned(),
            git_ref: branch.map_or_else(String::new, |branch| format!("refs/heads/{branch}")),
        })
    }

    fn readable(&self) -> Vec<PathBuf> {
        self.repository.object_dirs()
    }
}

/// Returns a path below the workspace, making its directories; an error if it would lead out of
/// it, by name or through a link.
pub(crate) fn inside(workspace: &Path, path: &str) -> Result<PathBuf, String> {
    let outside = || format!("`{path}` is not below the workspace");
    let relative = Path::new(path);
    let relative = relative.strip_prefix(workspace).unwrap_or(relative);
    let mut target = workspace.to_owned();
    for part in relative.components() {
        match part {
            Component::CurDir => continue,
            Component::Normal(name) => target.push(name),
            _ => return Err(outside()),
        }
        match std::fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => return Err(outside()),
            Ok(_) => {}
            Err(_) => {
                std::fs::create_dir(&target)
                    .map_err(|error| format!("make {}: {error}", target.display()))?;
            }
        }
    }
    Ok(target)
}

/// Removes what is in a directory, links themselves and not what they lead to.
pub(crate) fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_workspace() {
        let dir = tempfile::tempdir().expect("a directory");
        let workspace = dir.path();
        std::os::unix::fs::symlink("/", workspace.join("link")).expect("a link");
        assert_eq!(inside(workspace, "a/b"), Ok(workspace.join("a/b")));
        assert_eq!(inside(workspace, "."), Ok(workspace.to_owned()));
        assert!(inside(workspace, "../x").is_err());
        assert!(inside(workspace, "/etc").is_err());
        assert!(inside(workspace, "link/etc").is_err());
    }
}
