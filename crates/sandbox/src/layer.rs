//! The files that one step changed.
//!
//! While a layered step runs, the workspace is an overlay: the workspace as it was, below an empty
//! upper directory. When the step has ended, the upper directory holds exactly what it changed.
//! The zygote then writes the list of changes beside it and folds them into the workspace by hard
//! links, so that a thousand steps still stack one layer on one directory.
//!
//! `<layers_dir>/<number>/upper` keeps the files, `<layers_dir>/<number>/changes` the list. A file
//! of a layer shares its inode with the workspace until a later step changes it, which gives the
//! workspace a new inode and leaves the layer as it was. So a layer must not be edited in place,
//! and a process started without [`Command::layer`](crate::Command::layer) that edits such a file
//! in place edits the layer, too.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::fold;

/// What one step changed in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    number: u64,
    dir: PathBuf,
    file: String,
    shared: bool,
}

/// One path that a step changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The path, relative to the workspace.
    pub path: PathBuf,
    /// How it changed.
    pub kind: ChangeKind,
    /// What it is now, or was before it was deleted.
    pub file: FileKind,
}

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// Its content or its permissions changed, or it became another kind of file.
    Modified,
    /// It is gone; what was below it is gone too and not listed.
    Deleted,
}

/// What kind of file a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket or a device.
    Other,
}

/// Why the changes of a layer could not be read.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The list beside the layer could not be read.
    #[error("read the list of changes {path:?}")]
    Read {
        /// The list.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The list is not one of ours.
    #[error("understand the list of changes {path:?}")]
    Malformed {
        /// The list.
        path: PathBuf,
    },
}

impl Layer {
    pub(crate) fn new(layers_dir: &Path, number: u64, part: u32, shared: bool) -> Self {
        Self { number, dir: layers_dir.join(number.to_string()), file: list_name(part), shared }
    }

    /// Returns a layer that was kept in a directory with [`keep`](Self::keep).
    pub fn kept(dir: impl Into<PathBuf>) -> Self {
        Self { number: 0, dir: dir.into(), file: list_name(0), shared: false }
    }

    /// Keeps a copy of the layer in a directory that does not exist yet, by hard links.
    ///
    /// As with the layer itself, a file that is edited in place is edited in the copy, too.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let from = std::fs::File::open(self.dir.join("upper"))?.into();
        std::fs::create_dir(dir.join("upper"))?;
        let to = std::fs::File::open(dir.join("upper"))?.into();
        fold::keep(&from, &to)?;
        std::fs::copy(self.dir.join(&self.file), dir.join(list_name(0))).map(drop)
    }

    /// Returns the number of the layer in its box, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the directory of the layer; the changed files are in `upper` below it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells whether other processes ran in the box during the step, so that some of the changes
    /// may be theirs and the layer goes on growing until they end.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Lists what the step changed, in the order of the paths.
    pub fn changes(&self) -> Result<Vec<Change>, LayerError> {
        let path = self.dir.join(&self.file);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(LayerError::Read { path, source }),
        };
        read_list(&bytes).ok_or(LayerError::Malformed { path })
    }
}

/// Names the list of changes; a shared layer has one for each step that ended in it.
pub(crate) fn list_name(part: u32) -> String {
    if part == 0 { "changes".to_owned() } else { format!("changes.{part}") }
}

/// Writes changes as `<kind><file><path>\0`: the one byte that no path contains ends each entry.
pub(crate) fn write_list(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        bytes.push(match change.kind {
            ChangeKind::Added => b'A',
            ChangeKind::Modified => b'M',
            ChangeKind::Deleted => b'D',
        });
        bytes.push(match change.file {
            FileKind::File => b'f',
            FileKind::Directory => b'd',
            FileKind::Symlink => b'l',
            FileKind::Other => b'o',
        });
        bytes.extend_from_slice(change.path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

fn read_list(bytes: &[u8]) -> Option<Vec<Change>> {
    let Some(entries) = bytes.strip_suffix(b"\0") else {
        return bytes.is_empty().then(Vec::new);
    };
    entries.split(|byte| *byte == 0).map(read_change).collect()
}

fn read_change(entry: &[u8]) -> Option<Change> {
    let [kind, file, path @ ..] = entry else {
        return None;
    };
    if path.is_empty() {
        return None;
    }
    let kind = match kind {
        b'A' => ChangeKind::Added,
        b'M' => ChangeKind::Modified,
        b'D' => ChangeKind::Deleted,
        _ => return None,
    };
    let file = match file {
        b'f' => FileKind::File,
        b'd' => FileKind::Directory,
        b'l' => FileKind::Symlink,
        b'o' => FileKind::Other,
        _ => return None,
    };
    Some(Change { path: PathBuf::from(OsStr::from_bytes(path)), kind, file })
}
