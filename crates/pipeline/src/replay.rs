//! A step that would do the same again is not run again.
//!
//! While a step runs, the box tells every path that it names and every address that it reaches
//! (`sandbox::Seen`). [`observe`] turns that into *inputs*: a question about a path, as "what does
//! this file contain?", with its answer before the step ran. [`key`] names what is known before a
//! step starts: its program, script, variables and box. [`store`] keeps, for such a key, the inputs
//! and what the step left: its layer, its output, and what it wrote to `$GITHUB_OUTPUT` and the
//! like. A step is replayed when every question gets its old answer.
//!
//! Soundness comes first: what was not seen, or cannot be known, keeps a step from being recorded,
//! and [`Verdict::Ran`] says why. `docs/concepts/replay.md` lists what is seen and what is not.

pub mod key;
pub mod observe;
pub mod quick;
pub mod store;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a step ran, or that it did not have to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was replayed, and took this many milliseconds when it ran.
    Replayed {
        /// The time that was saved.
        saved: u64,
    },
    /// It ran, for this reason.
    Ran {
        /// What differed from the last time, or that there was none.
        why: String,
    },
    /// It will run the next time, too, for this reason.
    NotKept {
        /// What keeps it from being replayed.
        why: String,
    },
}

/// Places that a step may write to, and those it does not see.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The workspace; its changes are in the layer.
    pub workspace: PathBuf,
    /// The home directory of jobs.
    pub home: PathBuf,
    /// Other directories that the box may write to.
    pub writable: Vec<PathBuf>,
    /// What the step is given by Marline itself and what it gives back: part of the key and of the
    /// value already.
    pub own: Vec<PathBuf>,
    /// What the box does not show.
    pub hidden: Vec<PathBuf>,
}

/// What kind of place a path is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the workspace, or in a place that lasts: known by content.
    Content,
    /// A cache of a tool in the home directory: it changes the time a step takes, not its result.
    Cache,
    /// Private to the job and empty at its start.
    Temporary,
    /// The system, which the box cannot change: known by inode, size and times.
    Machine,
    /// Nothing that a result should depend on, or the same for every step.
    Nothing,
}

/// Directories that each box has for itself.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run"];

/// What tools keep below the home directory to be faster the next time.
const CACHES: &[&str] = &[
    ".cache",
    ".npm",
    ".cargo/registry",
    ".cargo/git",
    ".cargo/.package-cache",
    ".cargo/.package-cache-mutate",
    ".cargo/.global-cache",
    ".cargo/.global-cache-journal",
    ".cargo/.crates.toml",
    "go/pkg/mod",
    ".gradle/caches",
    ".m2/repository",
    ".node_repl_history",
    ".yarn/cache",
];

impl Places {
    pub(crate) fn of(&self, path: &Path) -> Place {
        let below = |dir: &PathBuf| is_below(path, dir);
        if self.own.iter().any(below) {
            return Place::Nothing;
        }
        if below(&self.workspace) {
            return Place::Content;
        }
        if below(&self.home)
            && let Ok(inner) = path.strip_prefix(&self.home)
        {
            let is_cache = CACHES.iter().any(|cache| inner.starts_with(cache));
            return if is_cache { Place::Cache } else { Place::Content };
        }
        if self.writable.iter().any(below) {
            return Place::Content;
        }
        let is_in = |dirs: &[&str]| dirs.iter().any(|dir| is_below(path, Path::new(dir)));
        if is_in(TEMPORARY) {
            return Place::Temporary;
        }
        if is_in(&["/dev", "/proc", "/sys"]) || self.hidden.iter().any(below) {
            return Place::Nothing;
        }
        Place::Machine
    }

    /// Tells whether a path is one that the box may change and no layer records.
    pub(crate) fn is_outside_layer(&self, path: &Path) -> bool {
        self.of(path) == Place::Content && !is_below(path, &self.workspace)
    }
}

/// Tells whether a path is a directory or below it. Both are without `.` and doubled slashes, so
/// their bytes can be compared, which is done thousands of times for a step.
fn is_below(path: &Path, dir: &Path) -> bool {
    let (path, dir) = (path.as_os_str().as_bytes(), dir.as_os_str().as_bytes());
    match path.strip_prefix(dir) {
        Some([]) => true,
        Some([next, ..]) => *next == b'/' || dir.ends_with(b"/"),
        None => false,
    }
}
