//! The files a team wrote, at a commit or in the work tree.

use std::fs;
use std::path::{Path, PathBuf};

use source::git::{CommitId, GitError, Repository};
use source::project::{self, Detection, Directory, Files};

/// A larger file is no workflow, Compose file, rule file or policy.
const LARGEST: usize = 2 << 20;

/// How many files of a commit detection looks at.
const MOST_FILES: usize = 5_000;

/// The files of a commit, or of the work tree with what is not committed.
#[derive(Debug, Clone)]
pub struct Tree {
    repository: Repository,
    commit: Option<CommitId>,
}

/// A file somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its path from the top of the repository.
    pub path: String,
    /// Its text; bytes that are not UTF-8 are replaced, and readers say so by what they make of it.
    pub text: String,
}

impl Tree {
    /// The files of a commit.
    pub fn of_commit(repository: &Repository, commit: CommitId) -> Self {
        Self { repository: repository.clone(), commit: Some(commit) }
    }

    /// The files as they lie there.
    pub fn of_work_tree(repository: &Repository) -> Self {
        Self { repository: repository.clone(), commit: None }
    }

    /// Returns the workflows, in order of their paths.
    pub fn workflows(&self) -> Result<Vec<Written>, GitError> {
        self.written(&[".github/workflows"], &["yml", "yaml"])
    }

    /// Returns the Compose file and its override, as `docker compose` finds them.
    pub fn compose(&self) -> Result<Vec<Written>, GitError> {
        let names = source::compose::FILE_NAMES;
        let all: Vec<&str> = names.iter().flat_map(|(base, over)| [*base, *over]).collect();
        let there = self.read_all(&all)?;
        let chosen =
            source::compose::default_files(|name| there.iter().any(|file| file.path == name));
        Ok(there.into_iter().filter(|file| chosen.contains(&file.path.as_str())).collect())
    }

    /// Returns the text of one file, if it is there.
    pub fn text(&self, path: &str) -> Result<Option<String>, GitError> {
        Ok(self.read_all(&[path])?.pop().map(|file| file.text))
    }

    /// Returns the rule files in `rules`.
    pub fn rules(&self) -> Result<Vec<Written>, GitError> {
        self.written(&["rules"], &["yml", "yaml"])
    }

    /// Returns the files as detection sees them.
    pub fn detection(&self) -> anyhow::Result<Detection> {
        let Some(commit) = &self.commit else {
            return Ok(project::detect(&Directory::walk(self.repository.root())?));
        };
        let entries = self.repository.files_at(commit)?;
        let names: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.path.to_str().map(str::to_owned))
            .take(MOST_FILES)
            .collect();
        // Only what stands at the top or is small enough to be a manifest is read; the rest counts
        // by its name.
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (read, named): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| name.matches('/').count() <= 2);
        let read = self.read_all(&read)?.into_iter().map(|file| (file.path, file.text));
        let named = named.into_iter().map(|name| (name.to_owned(), String::new()));
        Ok(project::detect(&Files::new(read.chain(named))))
    }

    /// Returns the files directly below these folders that end so.
    fn written(&self, folders: &[&str], endings: &[&str]) -> Result<Vec<Written>, GitError> {
        let mut names: Vec<String> = Vec::new();
        let mut add = |path: &Path| {
            let Some(name) = path.to_str() else { return };
            let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
            let fits = endings.iter().any(|ending| name.ends_with(&format!(".{ending}")));
            if fits && folders.contains(&folder) {
                names.push(name.to_owned());
            }
        };
        match &self.commit {
            Some(commit) => {
                self.repository.files_at(commit)?.iter().for_each(|entry| add(&entry.path));
            }
            None => {
                for folder in folders {
                    let Ok(entries) = fs::read_dir(self.repository.root().join(folder)) else {
                        continue;
                    };
                    entries
                        .flatten()
                        .for_each(|entry| add(&Path::new(folder).join(entry.file_name())));
                }
            }
        }
        names.sort();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.read_all(&names)
    }

    /// Returns those of the files that are there, in the order asked.
    fn read_all(&self, names: &[&str]) -> Result<Vec<Written>, GitError> {
        let contents: Vec<Option<Vec<u8>>> = match &self.commit {
            Some(commit) => {
                let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
                self.repository.read_many_at(commit, &paths)?
            }
            None => {
                names.iter().map(|name| fs::read(self.repository.root().join(name)).ok()).collect()
            }
        };
        Ok(names
            .iter()
            .zip(contents)
            .filter_map(|(name, bytes)| {
                let bytes = bytes.filter(|bytes| bytes.len() <= LARGEST)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Some(Written { path: (*name).to_owned(), text })
            })
            .collect())
    }
}
