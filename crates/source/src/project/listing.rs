//! The files of a repository, as far as detection needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

/// The files of a repository: their names, and what stands in the small ones.
pub trait Listing {
    /// The paths of all files from the top of the repository, with `/` between their parts.
    ///
    /// Names that are not UTF-8 are left out: no manifest has one.
    fn paths(&self) -> &BTreeSet<String>;

    /// Returns the beginning of a file as text; `None` when it cannot be read.
    fn read(&self, path: &str) -> Option<String>;
}

/// How much of a file is read.
const MAX_READ: u64 = 128 * 1024;
/// How many files are listed.
const MAX_FILES: usize = 50_000;
/// How deep directories are looked into.
const MAX_DEPTH: usize = 8;
/// Directories with other people's files or with what was built.
const SKIPPED: [&str; 10] = [
    ".git",
    "node_modules",
    "target",
    "vendor",
    ".venv",
    "venv",
    "__pycache__",
    "_build",
    "deps",
    "dist",
];

/// A directory on disk.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
    paths: BTreeSet<String>,
}

impl Directory {
    /// Lists the files below `root` that Git does not ignore, within bounds.
    pub fn walk(root: &Path) -> io::Result<Self> {
        std::fs::read_dir(root)?;
        let walk = WalkBuilder::new(root)
            .hidden(false)
            .parents(false)
            .require_git(false)
            .git_global(false)
            .max_depth(Some(MAX_DEPTH))
            .filter_entry(|entry| {
                let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
                let name = entry.file_name().to_str();
                !(is_dir && entry.depth() > 0 && name.is_some_and(|name| SKIPPED.contains(&name)))
            })
            .build();
        let paths = walk
            .flatten() // what cannot be listed has nothing to tell
            .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
            .filter_map(|entry| Some(entry.path().strip_prefix(root).ok()?.to_str()?.to_owned()))
            .take(MAX_FILES)
            .collect();
        Ok(Self { root: root.to_owned(), paths })
    }
}

impl Listing for Directory {
    fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    fn read(&self, path: &str) -> Option<String> {
        if !self.paths.contains(path) {
            return None;
        }
        let mut content = Vec::new();
        File::open(self.root.join(path)).ok()?.take(MAX_READ).read_to_end(&mut content).ok()?;
        Some(String::from_utf8_lossy(&content).into_owned())
    }
}

/// Files held in memory: of a commit, or of a test.
#[derive(Debug, Clone, Default)]
pub struct Files {
    paths: BTreeSet<String>,
    contents: BTreeMap<String, String>,
}

impl Files {
    /// Returns the files with the given paths and contents.
    pub fn new<P: Into<String>, C: Into<String>>(files: impl IntoIterator<Item = (P, C)>) -> Self {
        let contents: BTreeMap<String, String> =
            files.into_iter().map(|(path, content)| (path.into(), content.into())).collect();
        Self { paths: contents.keys().cloned().collect(), contents }
    }
}

impl Listing for Files {
    fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    fn read(&self, path: &str) -> Option<String> {
        self.contents.get(path).cloned()
    }
}
